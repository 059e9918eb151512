//! The thread that forks and the thread that reaps.
#![expect(unsafe_code, reason = "fork, wait4 and _exit, which have no safe face")]

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// How grandchildren end, and no child does.
pub(crate) const GRANDCHILD: i32 = 7 << 8;

/// What the forker and the reaper saw.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    /// Children, in order of birth.
    pub(crate) made: Vec<Made>,
    /// Wait statuses in the order of reaping.
    pub(crate) reaped: Vec<(u32, i32)>,
}

/// A child.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Made {
    pub(crate) pid: u32,
    pub(crate) execs: usize,
    pub(crate) forks: usize,
}

/// Forks children, at most `limit` unreaped at a time.
pub(crate) fn make(
    count: usize,
    kinds: &[u8],
    limit: usize,
    unreaped: &AtomicUsize,
    truth: &Mutex<Truth>,
) -> io::Result<()> {
    let program = CString::new(std::env::current_exe()?.as_os_str().as_bytes())?;
    for number in 0..count {
        while unreaped.load(Ordering::Acquire) >= limit {
            std::thread::yield_now();
        }
        let kind = kinds[number % kinds.len()];
        // Never 7, which is the grandchildren's.
        let code = (8 + number % 200) as i32;
        let argument = CString::new(format!("--exit={code}"))?;
        let argv = [program.as_ptr(), argument.as_ptr(), std::ptr::null()];
        unreaped.fetch_add(1, Ordering::AcqRel);
        // The reaper must not look for the child before it is noted.
        let mut truth = truth.lock().map_err(|_| io::Error::other("the reaper panicked"))?;
        // SAFETY: the child calls only fork, wait4, execv and _exit, which are async-signal-safe.
        let pid = unsafe { libc::fork() };
        match pid {
            -1 => return Err(io::Error::last_os_error()),
            0 => child(kind, code, &argv),
            pid => truth.made.push(Made {
                pid: pid as u32,
                execs: usize::from(kind == b'x'),
                forks: usize::from(matches!(kind, b'f' | b'g')),
            }),
        }
    }
    Ok(())
}

/// What a child does; async-signal-safe.
fn child(kind: u8, code: i32, argv: &[*const libc::c_char; 3]) -> ! {
    match kind {
        b'x' => {
            // SAFETY: a null-terminated array of C strings, the first of them the program.
            unsafe { libc::execv(argv[0], argv.as_ptr()) };
            exit(99)
        }
        b'f' | b'g' => {
            // SAFETY: as in `make`.
            let grandchild = unsafe { libc::fork() };
            if grandchild == 0 {
                exit(7);
            }
            if kind == b'f' {
                // SAFETY: no status and no usage are asked for.
                unsafe { libc::wait4(grandchild, std::ptr::null_mut(), 0, std::ptr::null_mut()) };
            }
            exit(code)
        }
        _ => exit(code),
    }
}

fn exit(code: i32) -> ! {
    // SAFETY: ends the process, without running anything of the parent's.
    unsafe { libc::_exit(code) }
}

/// Reaps whoever ends, until all have been made and nobody is left.
pub(crate) fn reap(unreaped: &AtomicUsize, made_all: &AtomicBool, truth: &Mutex<Truth>) -> io::Result<()> {
    loop {
        let last_round = made_all.load(Ordering::Acquire);
        let mut status = 0;
        // SAFETY: the status is written to an int; no usage is asked for.
        let pid = unsafe { libc::wait4(-1, &raw mut status, 0, std::ptr::null_mut()) };
        if pid > 0 {
            truth
                .lock()
                .map_err(|_| io::Error::other("the maker panicked"))?
                .reaped
                .push((pid as u32, status));
            if status != GRANDCHILD {
                unreaped.fetch_sub(1, Ordering::AcqRel);
            }
            continue;
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::ECHILD) if last_round => return Ok(()),
            Some(libc::ECHILD) => std::thread::yield_now(),
            Some(libc::EINTR) => {}
            _ => return Err(error),
        }
    }
}

/// So that orphans are left to us.
pub(crate) fn become_subreaper() -> io::Result<()> {
    // SAFETY: takes integers.
    let set = unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
