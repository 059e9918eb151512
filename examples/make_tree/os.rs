//! The system calls that std has no safe form of.
//!
//! After a fork in a process with threads, the child may only do what is async-signal-safe. None
//! of these functions allocates in a child.
#![expect(unsafe_code, reason = "fork, vfork, exec and raw exits have no safe interface")]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use crate::process::{self, End};

/// The status of a process that met an error which it can't log.
const GAVE_UP: i32 = 96;
/// The status of a process that took too long.
const TOOK_TOO_LONG: u8 = 99;
/// As much as a vfork child needs to log two lines and to exec, with room to spare.
const VFORK_STACK: usize = 64 * 1024;
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

/// Forks as vfork does: the child uses this process's memory, and this thread stands still until
/// the child has exec'd or exited. (vfork(2) itself returns twice, on one stack, which Rust cannot
/// express; this is the same to the kernel.)
pub(crate) fn vfork(mut child: &mut dyn FnMut()) -> u32 {
    extern "C" fn start(child: *mut c_void) -> c_int {
        // SAFETY: `child` points to the reference that `vfork` holds until this process is done.
        let child = unsafe { &mut *child.cast::<&mut dyn FnMut()>() };
        child();
        GAVE_UP
    }
    let mut stack = vec![0_u128; VFORK_STACK / size_of::<u128>()];
    let stack_end = stack.as_mut_ptr_range().end.cast();
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    let pid = again("cannot vfork", || {
        let child: *mut &mut dyn FnMut() = &mut child;
        // SAFETY: the stack is aligned and large enough, and no one else's until the child has
        // left this address space, before which this call does not return.
        unsafe { libc::clone(start, stack_end, flags, child.cast()) }
    });
    pid.unsigned_abs()
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

/// Ends only the calling thread, as pthread_exit does at last, but without unwinding (which must
/// not happen in Rust's main).
pub(crate) fn exit_thread(code: u8) -> ! {
    // SAFETY: nothing on this thread's stack is used by others: they got all they use by value.
    unsafe { libc::syscall(libc::SYS_exit, c_int::from(code)) };
    give_up("a thread survived its exit")
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

/// A pipe whose write end goes to all descendants, over execs as well.
pub(crate) fn inherited_pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut fds = [-1; 2];
    // SAFETY: there's room for two descriptors.
    if unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: pipe2 has made it, and no one else has it.
    let read_end = unsafe { OwnedFd::from_raw_fd(fds[0]) };
    // SAFETY: as above.
    let write_end = unsafe { OwnedFd::from_raw_fd(fds[1]) };
    keep_over_exec(&write_end)?;
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
