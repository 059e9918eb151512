//! The system calls that std has no safe form of.
#![expect(unsafe_code, reason = "fork, wait by pid, kill and limits have no safe interface in std")]

use std::ffi::c_int;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// The highest signal that there is on each system; the lowest 31 have names, and the same numbers nearly everywhere.
pub(crate) const LAST_SIGNAL: c_int = if cfg!(target_os = "linux") || cfg!(target_os = "dragonfly") {
    64
} else if cfg!(target_os = "freebsd") {
    126
} else if cfg!(target_os = "netbsd") {
    63
} else {
    31
};

/// How long any one thing may take, whatever else the machine does.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// How long between two looks whether it has happened.
pub(crate) const LOOK: Duration = Duration::from_micros(500);

/// What has become of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waited {
    /// It has ended, and has been reaped: its wait status.
    Ended(i32),
    /// It lives.
    Lives,
    /// There is no such child.
    Nobody,
}

/// Reaps one child, if it has ended; with `block` when it has.
pub(crate) fn wait(pid: u32, block: bool) -> Waited {
    let mut status = 0;
    loop {
        // SAFETY: the status is this function's.
        let reaped =
            unsafe { libc::waitpid(pid as c_int, &mut status, if block { 0 } else { libc::WNOHANG }) };
        match reaped {
            0 => return Waited::Lives,
            1.. => return Waited::Ended(status),
            _ if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
            _ => return Waited::Nobody,
        }
    }
}

/// Sends a signal to a process that has not been reaped.
pub(crate) fn kill(pid: u32, signal: i32) {
    // SAFETY: two numbers.
    unsafe { libc::kill(pid as c_int, signal) };
}

pub(crate) fn is_root() -> bool {
    // SAFETY: it takes nothing.
    unsafe { libc::geteuid() == 0 }
}

/// Whether there is such a process, be it a zombie.
pub(crate) fn exists(pid: u32) -> bool {
    // SAFETY: two numbers; no signal is sent.
    let found = unsafe { libc::kill(pid as c_int, 0) } == 0;
    found || io::Error::last_os_error().raw_os_error() == Some(libc::EPERM)
}

/// Whether a child of this process has ended; it stays a zombie. False for who is no child, too.
pub(crate) fn has_ended(pid: u32) -> bool {
    // SAFETY: plain data, for which zeros are valid.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let look = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: the information is this function's.
    let result = unsafe { libc::waitid(libc::P_PID, pid as libc::id_t, &mut info, look) };
    // It stays as it was where there is nothing to tell.
    result == 0 && info.si_signo != 0
}

/// Waits until a child of this process has been stopped.
pub(crate) fn await_stop(pid: u32) {
    let mut status = 0;
    // SAFETY: the status is this function's.
    let told = unsafe { libc::waitpid(pid as c_int, &mut status, libc::WUNTRACED) };
    assert!(
        told == pid as c_int && libc::WIFSTOPPED(status),
        "{pid} does not stop: {told}, status {status:#x}"
    );
}

/// Who loses its parent becomes a child of this process, where that can be had; its pid, or that of the system's first process.
pub(crate) fn become_subreaper() -> u32 {
    #[cfg(target_os = "linux")]
    // SAFETY: numbers only.
    let result = unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
    #[cfg(any(target_os = "freebsd", target_os = "dragonfly"))]
    let result = {
        #[cfg(target_os = "freebsd")]
        let me = libc::P_PID;
        #[cfg(target_os = "dragonfly")]
        let me = libc::P_PID as _;
        // SAFETY: the calling process, and no data. It may be one already.
        match unsafe {
            libc::procctl(me, std::process::id() as _, libc::PROC_REAP_ACQUIRE, std::ptr::null_mut())
        } {
            -1 if io::Error::last_os_error().raw_os_error() == Some(libc::EBUSY) => 0,
            result => result,
        }
    };
    #[cfg(not(any(target_os = "linux", target_os = "freebsd", target_os = "dragonfly")))]
    let result = -1;
    if result == 0 { std::process::id() } else { 1 }
}

/// A child that ends with a code when it is let go, and has nothing of this program but that.
#[derive(Debug)]
pub(crate) struct Quick {
    pub(crate) pid: u32,
    lead: UnixStream,
}

impl Quick {
    pub(crate) fn fork(code: u8) -> Self {
        let (reader, lead) = UnixStream::pair().expect("descriptors");
        // SAFETY: the child calls nothing that takes a lock.
        match unsafe { libc::fork() } {
            0 => {
                // So that it does not stay if this program is killed.
                // SAFETY: this process has its own copy of the table, and uses the descriptor no more.
                unsafe { libc::close(lead.as_raw_fd()) };
                let mut byte = 0_u8;
                // A byte and not the end of the file, for others may have been forked with the writing end meanwhile.
                // SAFETY: there is room for one byte.
                unsafe { libc::read(reader.as_raw_fd(), (&raw mut byte).cast(), 1) };
                exit(code.into())
            }
            pid if pid > 0 => Self { pid: pid.unsigned_abs(), lead },
            _ => panic!("fork: {}", io::Error::last_os_error()),
        }
    }

    pub(crate) fn let_go(&mut self) {
        self.lead.write_all(&[1]).expect("it reads, or has been killed");
    }
}

/// Runs `work` in a child of this process, which has none of its threads; 0 to 255 comes back as its code, or whatever its wait
/// status is. `work` must take no lock and allocate nothing.
pub(crate) fn in_a_fork(work: impl FnOnce() -> u8) -> i32 {
    // SAFETY: what the child may do is said above.
    match unsafe { libc::fork() } {
        0 => exit(work().into()),
        pid if pid > 0 => {
            let pid = pid.unsigned_abs();
            let begun = Instant::now();
            loop {
                match wait(pid, false) {
                    Waited::Ended(status) => return status,
                    Waited::Lives if begun.elapsed() < PATIENCE => std::thread::sleep(LOOK),
                    Waited::Lives => {
                        kill(pid, libc::SIGKILL);
                        wait(pid, true);
                        panic!("hung: a fork that was to end at once");
                    }
                    Waited::Nobody => panic!("{pid} has been reaped by another"),
                }
            }
        }
        _ => panic!("fork: {}", io::Error::last_os_error()),
    }
}

fn exit(code: c_int) -> ! {
    // SAFETY: it takes any number.
    unsafe { libc::_exit(code) }
}

/// The descriptors that are open, as far as they are small numbers, which those of tests are.
pub(crate) fn open_descriptors() -> impl Iterator<Item = c_int> {
    // SAFETY: it only asks.
    (0..4096).filter(|number| unsafe { libc::fcntl(*number, libc::F_GETFD) } >= 0)
}

/// No descriptor beyond those that are open from here on.
pub(crate) fn no_more_descriptors() {
    let highest = open_descriptors().max().expect("there are some");
    let limit = highest as libc::rlim_t + 1;
    // What is free below is filled.
    let limit = libc::rlimit { rlim_cur: limit, rlim_max: limit };
    // SAFETY: the limit is only read.
    let result = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
    while let Ok(file) = std::fs::File::open("/dev/null") {
        std::mem::forget(file);
    }
}

extern "C" fn nothing(_signal: c_int) {}

/// From here on SIGUSR2 interrupts what waits, and does nothing else.
pub(crate) fn let_signals_interrupt() {
    // SAFETY: zeros are a valid action: no flags, so no restart, and an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = nothing as extern "C" fn(c_int) as usize;
    // SAFETY: the handler does nothing.
    let result = unsafe { libc::sigaction(libc::SIGUSR2, &action, std::ptr::null_mut()) };
    assert_eq!(result, 0);
}

/// A thread of this process, for [`interrupt`].
#[derive(Debug)]
pub(crate) struct Thread(libc::pthread_t);

// SAFETY: it is a name, which is good in every thread of the process.
unsafe impl Send for Thread {}

pub(crate) fn this_thread() -> Thread {
    // SAFETY: it takes nothing.
    Thread(unsafe { libc::pthread_self() })
}

/// Sends SIGUSR2 to a thread of this process that has not been joined.
pub(crate) fn interrupt(thread: &Thread) {
    // SAFETY: the name is good until the thread is joined, says the caller.
    let result = unsafe { libc::pthread_kill(thread.0, libc::SIGUSR2) };
    assert_eq!(result, 0);
}
