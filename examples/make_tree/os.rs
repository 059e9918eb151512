//! The system calls that std has no safe form of.
//!
//! After a fork in a process with threads, the child may only do what is async-signal-safe. None
//! of these functions allocates in a child.
#![expect(unsafe_code, reason = "fork, vfork, exec and raw exits have no safe interface")]

use std::ffi::{CStr, c_char, c_int};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use crate::births;
use crate::process::{self, End};

/// The status of a process that met an error which it can't log.
const GAVE_UP: i32 = 96;
/// The status of a process that took too long.
const TOOK_TOO_LONG: u8 = 99;
/// How often, and how long apart, a fork is tried again for want of memory or pids.
const FORK_TRIES: (u32, Duration) = (2000, Duration::from_millis(1));

/// Which side of a fork this is.
pub(crate) enum Fork {
    /// The new process.
    Child,
    /// The one that made it, which has this pid.
    Parent(u32),
}

/// Forks. In a process with threads the child must not allocate, nor take a lock.
pub(crate) fn fork() -> Fork {
    // SAFETY: on the child's side only this thread exists; what it may do is said above, and glibc
    // keeps even malloc usable.
    let pid = again("cannot fork", || unsafe { libc::fork() });
    if pid == 0 { Fork::Child } else { Fork::Parent(pid.unsigned_abs()) }
}

/// Forks as vfork does: the child uses this process's memory, and this thread stands still until the child has exec'd or exited.
pub(crate) fn vfork(child: &mut dyn FnMut()) -> u32 {
    again("cannot vfork", || births::vfork(child)).unsigned_abs()
}

/// Forks past libc, whose lock lets one thread fork at a time. The child must not allocate, nor take a lock.
pub(crate) fn fork_raw(child: &mut dyn FnMut()) -> u32 {
    again("cannot fork", || births::raw(child)).unsigned_abs()
}

/// A program and its arguments in the form that exec wants, made before the fork.
pub(crate) struct Argv<'a> {
    path: &'a CStr,
    pointers: Vec<*const c_char>,
}

impl<'a> Argv<'a> {
    /// Borrows all strings.
    pub(crate) fn new(path: &'a CStr, args: impl Iterator<Item = &'a CStr>) -> Self {
        let pointers = args.map(CStr::as_ptr).chain([std::ptr::null()]).collect();
        Self { path, pointers }
    }

    /// Becomes the program; comes back if that fails.
    pub(crate) fn exec(&self) {
        let no_environment = [std::ptr::null()];
        // SAFETY: both lists end with a null, and all strings are borrowed as long as `self` lives.
        unsafe { libc::execve(self.path.as_ptr(), self.pointers.as_ptr(), no_environment.as_ptr()) };
    }

    /// Starts the program with posix_spawn.
    pub(crate) fn spawn(&self) -> u32 {
        let argv: *const *mut c_char = self.pointers.as_ptr().cast();
        let no_environment = [std::ptr::null_mut()];
        let mut pid = 0;
        again("cannot spawn", || {
            // SAFETY: as for `exec`; null stands for the default attributes and for no file actions.
            let error = unsafe {
                libc::posix_spawn(
                    &mut pid,
                    self.path.as_ptr(),
                    std::ptr::null(),
                    std::ptr::null(),
                    argv,
                    no_environment.as_ptr(),
                )
            };
            if error == 0 { 0 } else { -1 }
        });
        pid.unsigned_abs()
    }
}

/// Calls something that fails while the machine is short of processes, for a bounded time.
fn again(complaint: &str, mut make: impl FnMut() -> c_int) -> c_int {
    let (tries, apart) = FORK_TRIES;
    for _ in 0..tries {
        let result = make();
        if result >= 0 {
            return result;
        }
        std::thread::sleep(apart);
    }
    give_up(complaint)
}

/// Reaps a child, or any child if there's no `pid`. None if there is none.
pub(crate) fn wait(pid: Option<u32>) -> Option<u32> {
    let pid = pid.map_or(-1, |pid| pid as libc::pid_t);
    loop {
        // SAFETY: the status and the usage may be null.
        let reaped = unsafe { libc::wait4(pid, std::ptr::null_mut(), 0, std::ptr::null_mut()) };
        if reaped > 0 {
            return Some(reaped.unsigned_abs());
        }
        if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return None;
        }
    }
}

/// Ends the process, and all of its threads, at once.
pub(crate) fn exit(code: i32) -> ! {
    // SAFETY: it takes any number.
    unsafe { libc::_exit(code) }
}

/// Whether [`exit_thread`] ends a thread, the first and the last too, and the code of the last is the process's.
pub(crate) const THREADS_END_ALONE: bool = cfg!(target_os = "linux");

/// Ends only the calling thread, as pthread_exit does at last, but without unwinding (which must
/// not happen in Rust's main).
#[cfg(target_os = "linux")]
pub(crate) fn exit_thread(code: u8) -> ! {
    // SAFETY: nothing on this thread's stack is used by others: they got all they use by value.
    unsafe { libc::syscall(libc::SYS_exit, c_int::from(code)) };
    give_up("a thread survived its exit")
}

/// The same for a thread that is not the last; the process has a code of its own.
#[cfg(target_os = "freebsd")]
pub(crate) fn exit_thread(_code: u8) -> ! {
    /// thr_exit(2), sys/syscall.h
    const SYS_THR_EXIT: c_int = 431;
    // SAFETY: nothing on this thread's stack is used by others: they got all they use by value; and nobody waits for a word.
    unsafe { libc::syscall(SYS_THR_EXIT, std::ptr::null_mut::<libc::c_long>()) };
    give_up("a thread survived its exit")
}

/// Where a thread cannot end past libc it stays until others end it.
#[cfg(not(any(target_os = "linux", target_os = "freebsd")))]
pub(crate) fn exit_thread(_code: u8) -> ! {
    match process::sleep_on() {}
}

/// Kills this process, whatever was done with the signal before.
pub(crate) fn raise(signal: i32) {
    // SAFETY: the default action needs no handler. (SIGKILL's can't be set; it is the default.)
    unsafe { libc::signal(signal, libc::SIG_DFL) };
    // SAFETY: it is a system call with two numbers.
    unsafe { libc::kill(std::process::id() as libc::pid_t, signal) };
}

/// Starts a session. A process that leads a group cannot, but those that call this do not.
pub(crate) fn setsid() {
    // SAFETY: it is a system call without arguments.
    if unsafe { libc::setsid() } < 0 {
        give_up("cannot make a session");
    }
}

/// Starts a process group.
pub(crate) fn setpgid() {
    // SAFETY: it is a system call with two numbers.
    if unsafe { libc::setpgid(0, 0) } < 0 {
        give_up("cannot make a process group");
    }
}

/// Writes in a single call; None if that failed.
pub(crate) fn write(fd: RawFd, bytes: &[u8]) -> Option<usize> {
    // SAFETY: the pointer and the length are those of a slice.
    let written = unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) };
    usize::try_from(written).ok()
}

/// Whether a child has ended; it stays a zombie.
pub(crate) fn has_ended(pid: u32) -> bool {
    // SAFETY: plain data, for which zeros are valid.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let look = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: the information is this function's.
    let result = unsafe { libc::waitid(libc::P_PID, pid as libc::id_t, &mut info, look) };
    // It stays as it was where there is nothing to tell.
    result == 0 && info.si_signo != 0
}

/// A pipe whose write end goes to all descendants, over execs as well.
pub(crate) fn inherited_pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read_end, write_end) = pipe()?;
    keep_over_exec(&write_end)?;
    Ok((read_end, write_end))
}

/// A pipe that is closed by an exec.
pub(crate) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut fds = [-1; 2];
    // Not pipe2, which macOS lacks: there are no other threads here that could fork in between.
    // SAFETY: there's room for two descriptors.
    if unsafe { libc::pipe(fds.as_mut_ptr()) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: pipe has made it, and no one else has it.
    let read_end = unsafe { OwnedFd::from_raw_fd(fds[0]) };
    // SAFETY: as above.
    let write_end = unsafe { OwnedFd::from_raw_fd(fds[1]) };
    for end in [&read_end, &write_end] {
        // SAFETY: the descriptor is open, and takes flags.
        if unsafe { libc::fcntl(end.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok((read_end, write_end))
}

/// Lets a descriptor stay open over execs.
pub(crate) fn keep_over_exec(fd: &OwnedFd) -> io::Result<()> {
    // SAFETY: the descriptor is open, and takes flags.
    if unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, 0) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Undoes what this process may have inherited: an ignored SIGCHLD would leave nothing to reap, a
/// blocked signal would not kill. And deaths leave no core files.
pub(crate) fn reset_signals() -> io::Result<()> {
    // SAFETY: the default action needs no handler.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
    // SAFETY: a signal set is plain data, for which zeros are valid.
    let mut none: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is this function's.
    unsafe { libc::sigemptyset(&mut none) };
    // SAFETY: the set is initialized, and the old one isn't wanted.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut()) };
    let nothing = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the limit is only read.
    if unsafe { libc::setrlimit(libc::RLIMIT_CORE, &nothing) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Bounds the life of this process, which logs its end even so. Children don't inherit the alarm.
pub(crate) fn give_up_after(limit: Duration) {
    extern "C" fn time_is_up(_signal: c_int) {
        process::finish(End::Code(TOOK_TOO_LONG));
    }
    let handler: extern "C" fn(c_int) = time_is_up;
    // SAFETY: the handler only writes from the stack, and exits; both are async-signal-safe.
    unsafe { libc::signal(libc::SIGALRM, handler as libc::sighandler_t) };
    let seconds = u32::try_from(limit.as_secs()).unwrap_or(u32::MAX);
    // SAFETY: it is a system call with a number.
    unsafe { libc::alarm(seconds) };
}

/// Ends a process that cannot go on. It logs no end, so that the truth shows it.
pub(crate) fn give_up(complaint: &str) -> ! {
    for part in ["make_tree: ", complaint, "\n"] {
        write(2, part.as_bytes());
    }
    exit(GAVE_UP)
}

/// Keeps a panic in a child from unwinding into its copy of the parent's stack.
pub(crate) fn die_of_panics() {
    std::panic::set_hook(Box::new(|panic| {
        eprintln!("make_tree: {panic}");
        exit(GAVE_UP)
    }));
}
