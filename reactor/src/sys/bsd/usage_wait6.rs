//! FreeBSD, NetBSD and DragonFly: what a child has used, from wait6(2) with WNOWAIT, which leaves it to be reaped.
#![expect(unsafe_code, reason = "a system call")]

use std::io;
use std::mem::zeroed;
use std::ptr;
use std::time::Duration;

use libc::{c_int, id_t, idtype_t, pid_t, rusage, siginfo_t};

use crate::status::Usage;

/// `struct __wrusage`, `struct wrusage` (sys/resource.h), which libc has not.
#[repr(C)]
struct Used {
    itself: rusage,
    children: rusage,
}

// Two of 14 fields each: two times, and 14 counts.
const _: () =
    assert!(size_of::<Used>() == 2 * (2 * size_of::<libc::timeval>() + 14 * size_of::<libc::c_long>()));

unsafe extern "C" {
    fn wait6(
        of: idtype_t,
        id: id_t,
        status: *mut c_int,
        options: c_int,
        used: *mut Used,
        info: *mut siginfo_t,
    ) -> pid_t;
}

/// How often a child is looked for that is about to become a zombie.
const ATTEMPTS: usize = 64;

/// What the child with this pid has used, if it has ended and has not been reaped: itself and those whom it has waited for.
///
/// The note on its end comes before it can be waited for, mostly by microseconds: so it is asked a few times. `None` if it cannot yet be:
/// it is being traced, or closes a terminal that nobody reads.
///
/// # Errors
/// `ECHILD`: it has been reaped, or never was a child of this program.
pub(super) fn of_ended(pid: u32) -> io::Result<Option<Usage>> {
    for _ in 0..ATTEMPTS {
        if let Some(usage) = peek(pid)? {
            return Ok(Some(usage));
        }
        std::thread::yield_now();
    }
    Ok(None)
}

fn peek(pid: u32) -> io::Result<Option<Usage>> {
    // SAFETY: integers, all of which may be zero.
    let mut used: Used = unsafe { zeroed() };
    let options = libc::WEXITED | libc::WNOWAIT | libc::WNOHANG;
    // SAFETY: `used` is what is to be written, and of the rest nothing is.
    let found =
        unsafe { wait6(libc::P_PID, pid as id_t, ptr::null_mut(), options, &raw mut used, ptr::null_mut()) };
    match found {
        0 => Ok(None),
        found if found < 0 => Err(io::Error::last_os_error()),
        _ => {
            let sum = |of: fn(&rusage) -> libc::timeval| time(of(&used.itself)) + time(of(&used.children));
            let peak = used.itself.ru_maxrss.max(used.children.ru_maxrss);
            let (user, system) = (sum(|used| used.ru_utime), sum(|used| used.ru_stime));
            Ok(Some(Usage { user, system, peak_memory: peak.unsigned_abs() * 1_024 }))
        }
    }
}

fn time(time: libc::timeval) -> Duration {
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_usec).unwrap_or(0) * 1_000)
}
