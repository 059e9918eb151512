//! Single system calls that need no more than themselves.
#![expect(unsafe_code, reason = "system calls")]

use std::ffi::CStr;
use std::io;
use std::mem::zeroed;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

/// Nanoseconds of `CLOCK_MONOTONIC`.
pub fn monotonic() -> u64 {
    clock(libc::CLOCK_MONOTONIC).expect("the monotonic clock is there")
}

/// Nanoseconds of processor time that all threads of a living process have used, the ended ones included. Exact but
/// for a thread that is running on another processor just now, which lags by up to a tick.
///
/// # Errors
/// There is no such process.
pub fn process_cpu(pid: u32) -> io::Result<u64> {
    let mut id: libc::clockid_t = 0;
    // SAFETY: `id` is to be written.
    let error = unsafe { libc::clock_getcpuclockid(pid as libc::pid_t, &raw mut id) };
    if error == 0 { clock(id) } else { Err(io::Error::from_raw_os_error(error)) }
}

fn clock(id: libc::clockid_t) -> io::Result<u64> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a timespec to be written.
    check(unsafe { libc::clock_gettime(id, &raw mut time) })?;
    Ok(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

/// Nanoseconds of processor time of the calling process and of its children that have been waited for.
pub fn own_cpu() -> u64 {
    usage(libc::RUSAGE_SELF) + usage(libc::RUSAGE_CHILDREN)
}

fn usage(who: libc::c_int) -> u64 {
    // SAFETY: an all-zero rusage is a valid value: integers.
    let mut usage: libc::rusage = unsafe { zeroed() };
    // SAFETY: `usage` is to be written; `who` is one of the two that cannot fail.
    unsafe { libc::getrusage(who, &raw mut usage) };
    let nanos = |time: libc::timeval| time.tv_sec as u64 * 1_000_000_000 + time.tv_usec as u64 * 1_000;
    nanos(usage.ru_utime) + nanos(usage.ru_stime)
}

/// The calling thread's id.
pub fn thread_id() -> u32 {
    // SAFETY: takes nothing and cannot fail.
    unsafe { libc::gettid() as u32 }
}

/// Keeps the calling thread, and all threads and processes that it makes from now on, on one processor.
///
/// # Errors
/// There is no such processor for it.
pub fn pin(cpu: usize) -> io::Result<()> {
    let mut words = [0_u64; 16];
    let Some(word) = words.get_mut(cpu / 64) else { return Err(io::ErrorKind::InvalidInput.into()) };
    *word = 1 << (cpu % 64);
    // SAFETY: the size is that of the array, which is only read.
    check(unsafe { libc::sched_setaffinity(0, size_of_val(&words), words.as_ptr().cast()) })
}

/// Makes a child that ends at once, and waits for it. To be called in a program of one thread.
///
/// # Errors
/// No more processes are to be had.
pub fn fork_and_reap() -> io::Result<()> {
    // SAFETY: nobody else's thread can have left a lock behind in the child, which does nothing but end.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => exit_now(),
        child => reap(child),
    }
}

/// Runs a program without arguments or environment, and waits for it.
///
/// # Errors
/// There is no such program, or no more processes are to be had.
pub fn spawn_and_reap(program: &CStr) -> io::Result<()> {
    let mut child: libc::pid_t = 0;
    let arguments = [program.as_ptr().cast_mut(), ptr::null_mut()];
    let environment = [ptr::null_mut()];
    // SAFETY: all strings and arrays end with a zero and outlive the call; `child` is to be written.
    let error = unsafe {
        libc::posix_spawn(
            &raw mut child,
            program.as_ptr(),
            ptr::null(),
            ptr::null(),
            arguments.as_ptr(),
            environment.as_ptr(),
        )
    };
    if error == 0 { reap(child) } else { Err(io::Error::from_raw_os_error(error)) }
}

fn reap(child: libc::pid_t) -> io::Result<()> {
    // SAFETY: no status is asked for.
    check(unsafe { libc::waitpid(child, ptr::null_mut(), 0) })
}

/// Ends the calling process here and now.
pub fn exit_now() -> ! {
    // SAFETY: does not return, and runs nothing of this program.
    unsafe { libc::_exit(0) }
}

/// Asks a process to end. To be called for own children that have not been waited for.
///
/// # Errors
/// It is gone or somebody else's.
pub fn terminate(pid: u32) -> io::Result<()> {
    // SAFETY: takes integers.
    check(unsafe { libc::kill(pid as libc::pid_t, libc::SIGTERM) })
}

/// Asks for a SIGTERM when the thread that made this process ends: a watcher that is left behind would make every
/// process of the machine dearer.
///
/// # Errors
/// The system does not know how.
pub fn end_with_parent() -> io::Result<()> {
    // SAFETY: takes integers.
    check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) })
}

static TERMINATED: AtomicBool = AtomicBool::new(false);

/// From now on SIGTERM and SIGINT do not end the program, but interrupt what it waits for and make [`terminated`] true.
pub fn note_terminations() {
    extern "C" fn note(_: libc::c_int) {
        TERMINATED.store(true, Ordering::Relaxed);
    }
    // SAFETY: an all-zero sigaction is a valid value: integers and null pointers. No SA_RESTART.
    let mut action: libc::sigaction = unsafe { zeroed() };
    action.sa_sigaction = note as *const () as libc::sighandler_t;
    for signal in [libc::SIGTERM, libc::SIGINT] {
        // SAFETY: the handler does nothing but store to an atomic.
        unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) };
    }
}

/// Whether one has come.
pub fn terminated() -> bool {
    TERMINATED.load(Ordering::Relaxed)
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Bytes of this program that are in memory now.
///
/// # Errors
/// `/proc/self/status` cannot be read.
pub fn resident() -> io::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let kilobytes = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kilobytes
        .map(|kilobytes| kilobytes * 1024)
        .ok_or_else(|| io::Error::other("no VmRSS in /proc/self/status"))
}
