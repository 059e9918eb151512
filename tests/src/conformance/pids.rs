//! FreeBSD has no way to choose a pid. It gives them in turn, up to a number that root may lower: so one waits for it to come round.
#![expect(unsafe_code, reason = "sysctl and fork")]

use std::io;

use super::os::{self, Waited};

const MAX: &std::ffi::CStr = c"kern.pid_max";
/// The kernel takes no less.
const LEAST: i32 = 400;
/// Between the pid that is wanted and the last.
const AFTER: i32 = 100;

/// The highest pid is low as long as this is there.
pub(super) struct Lowered {
    before: i32,
    now: i32,
}

impl Lowered {
    /// # Errors
    /// It takes root.
    pub(super) fn for_pid(pid: u32) -> io::Result<Self> {
        let now = LEAST.max(pid as i32 + AFTER);
        Ok(Self { before: exchange(now)?, now })
    }

    /// Makes and reaps children until the next process will get this pid.
    ///
    /// # Errors
    /// It did not come round in two turns, or there can be no more processes.
    pub(super) fn until_next_is(&self, pid: u32) -> io::Result<()> {
        for _ in 0..2 * self.now {
            let last = child()?;
            // Those in between are taken.
            if last < pid && (last + 1..pid).all(os::exists) {
                return Ok(());
            }
        }
        Err(io::Error::other(format!("pid {pid} did not come round")))
    }
}

impl Drop for Lowered {
    fn drop(&mut self) {
        // Where it fails pids stay few, which harms nobody.
        let _ = exchange(self.before);
    }
}

/// Sets the highest pid; what it was.
fn exchange(new: i32) -> io::Result<i32> {
    let mut old = 0;
    let mut length = size_of::<i32>();
    // SAFETY: both numbers are as long as is said, and the name ends with a null.
    let result = unsafe {
        libc::sysctlbyname(
            MAX.as_ptr(),
            (&raw mut old).cast(),
            &raw mut length,
            (&raw const new).cast(),
            size_of::<i32>(),
        )
    };
    if result == 0 { Ok(old) } else { Err(io::Error::last_os_error()) }
}

/// The pid of a child that has ended and was reaped.
fn child() -> io::Result<u32> {
    // SAFETY: the child only exits.
    match unsafe { libc::fork() } {
        // SAFETY: it takes any number.
        0 => unsafe { libc::_exit(0) },
        pid if pid > 0 => {
            let pid = pid.unsigned_abs();
            match os::wait(pid, true) {
                Waited::Ended(_) => Ok(pid),
                other => Err(io::Error::other(format!("{pid}: {other:?}"))),
            }
        }
        _ => Err(io::Error::last_os_error()),
    }
}
