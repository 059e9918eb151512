//! The thread that forks and the thread that reaps.
#![expect(unsafe_code, reason = "fork, wait4 and _exit, which have no safe face")]

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::births;

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

/// What children are made, by one thread of several.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) count: usize,
    /// What they do, in turn.
    pub(crate) kinds: Vec<u8>,
    /// How many may be unreaped at a time.
    pub(crate) limit: usize,
    pub(crate) program: CString,
    /// No other thread makes any.
    pub(crate) alone: bool,
}

/// The path of this program: as the system knows it, or as it was called.
pub(crate) fn program() -> io::Result<CString> {
    let called = || {
        let name = PathBuf::from(std::env::args_os().next().unwrap_or_default());
        std::env::current_dir().map(|dir| dir.join(&name)).unwrap_or(name)
    };
    let path = std::env::current_exe().ok().filter(|path| path.exists()).unwrap_or_else(called);
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

/// Forks children, at most `limit` unreaped at a time.
pub(crate) fn make(order: &Order, unreaped: &AtomicUsize, truth: &Mutex<Truth>) -> io::Result<()> {
    let Order { count, kinds, limit, program, alone } = order;
    for number in 0..*count {
        while unreaped.load(Ordering::Acquire) >= *limit {
            std::thread::yield_now();
        }
        let kind = kinds[number % kinds.len()];
        // Never 7, which is the grandchildren's.
        let code = (8 + number % 200) as i32;
        let argument = CString::new(format!("--exit={code}"))?;
        let argv = [program.as_ptr(), argument.as_ptr(), std::ptr::null()];
        unreaped.fetch_add(1, Ordering::AcqRel);
        let lock = || truth.lock().map_err(|_| io::Error::other("another thread panicked"));
        // One that is alone notes its children in the order of their births, also where a pid is used again. Several must not wait for
        // one another.
        let held = if *alone { Some(lock()?) } else { None };
        let pid = born(kind, code, &argv);
        if pid < 0 {
            return Err(io::Error::last_os_error());
        }
        let made = Made {
            pid: pid as u32,
            execs: usize::from(kind == b'x'),
            forks: usize::from(matches!(kind, b'f' | b'g')),
        };
        held.map_or_else(lock, Ok)?.made.push(made);
    }
    Ok(())
}

/// The pid of a new child, or -1 and the errno.
fn born(kind: u8, code: i32, argv: &[*const libc::c_char; 3]) -> libc::pid_t {
    match kind {
        b'v' => births::vfork(&mut || exit(code)),
        b'r' => births::raw(&mut || exit(code)),
        // SAFETY: the child calls only fork, wait4, execv and _exit, which are async-signal-safe.
        _ => match unsafe { libc::fork() } {
            0 => child(kind, code, argv),
            pid => pid,
        },
    }
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

/// So that orphans are left to us, where that can be had. Elsewhere they are the first process's, and it is told of their ends all the
/// same.
pub(crate) fn become_subreaper() -> io::Result<()> {
    #[cfg(target_os = "linux")]
    // SAFETY: takes integers.
    let set = unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) };
    #[cfg(any(target_os = "freebsd", target_os = "dragonfly"))]
    let set = {
        let me = std::process::id();
        // SAFETY: the calling process, and no data.
        unsafe { libc::procctl(libc::P_PID, me as _, libc::PROC_REAP_ACQUIRE, std::ptr::null_mut()) }
    };
    #[cfg(not(any(target_os = "linux", target_os = "freebsd", target_os = "dragonfly")))]
    let set = 0;
    let error = io::Error::last_os_error();
    // The first process is one.
    if set == 0 || error.raw_os_error() == Some(libc::EBUSY) { Ok(()) } else { Err(error) }
}
