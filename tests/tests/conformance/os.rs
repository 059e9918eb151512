//! The system calls that std has no safe form of.
#![expect(unsafe_code, reason = "fork, wait by pid, kill and limits have no safe interface in std")]

use std::ffi::c_int;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

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

/// Who loses its parent becomes a child of this process.
pub(crate) fn become_subreaper() {
    // SAFETY: numbers only.
    let result = unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
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

/// No descriptor beyond those that are open from here on.
pub(crate) fn no_more_descriptors() {
    let open = std::fs::read_dir("/proc/self/fd").expect("/proc");
    let numbers = open.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u64>().ok());
    let highest = numbers.max().expect("there are some");
    // Fill what is free below, but for the one that was just used for looking.
    let limit = libc::rlimit { rlim_cur: highest, rlim_max: highest };
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

/// The calling thread, for [`interrupt`].
pub(crate) fn this_thread() -> c_int {
    // SAFETY: it takes nothing.
    unsafe { libc::gettid() }
}

/// Sends SIGUSR2 to a thread of this process that has not ended.
pub(crate) fn interrupt(thread: c_int) {
    // SAFETY: numbers only.
    let result =
        unsafe { libc::syscall(libc::SYS_tgkill, std::process::id() as c_int, thread, libc::SIGUSR2) };
    assert_eq!(result, 0);
}
