//! Single system calls that need no more than themselves.
#![expect(unsafe_code, reason = "system calls")]

use std::io;

/// The calling thread's id (gettid(2)).
pub(crate) fn thread_id() -> u32 {
    // SAFETY: takes nothing and cannot fail.
    let tid = unsafe { libc::gettid() };
    tid as u32
}

/// Whether there is a process with this id, visible in /proc or not (tgkill(2) of its leader with signal 0, which sends none). True
/// of a zombie; false of a thread that leads no process.
pub(super) fn exists(pid: u32) -> bool {
    let Some(pid) = libc::pid_t::try_from(pid).ok().filter(|pid| *pid > 0) else { return false };
    // SAFETY: takes integers; signal 0 only asks.
    let asked = unsafe { libc::syscall(libc::SYS_tgkill, pid, pid, 0) };
    asked == 0 || io::Error::last_os_error().raw_os_error() == Some(libc::EPERM)
}

/// Nanoseconds of `CLOCK_MONOTONIC` (clock_gettime(2)), the clock of the kernel's process records.
pub(crate) fn monotonic() -> u64 {
    clock(libc::CLOCK_MONOTONIC)
}

/// Nanoseconds of `CLOCK_BOOTTIME`, the clock of start times in /proc.
pub(super) fn boottime() -> u64 {
    clock(libc::CLOCK_BOOTTIME)
}

fn clock(id: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a timespec to be written; the clocks named above always exist.
    unsafe { libc::clock_gettime(id, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Clock ticks a second, the unit of start times in /proc (sysconf(3)).
pub(super) fn ticks_per_second() -> u64 {
    // SAFETY: takes a name by value.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    u64::try_from(ticks).ok().filter(|ticks| *ticks > 0).unwrap_or(100)
}

/// Has the kernel give orphans of all descendants to this program (prctl(2)).
pub(super) fn adopt_orphans() -> io::Result<()> {
    // SAFETY: takes integers.
    check(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) })
}

/// How many processors there may be, online or not (sysconf(3)).
pub(super) fn processors() -> u32 {
    // SAFETY: takes a name by value.
    let count = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_CONF) };
    u32::try_from(count).ok().filter(|count| *count > 0).unwrap_or(1)
}

/// How many descriptors this program may have open (getrlimit(2)).
pub(super) fn open_files_limit() -> usize {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is to be written. It cannot fail with what it is given.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX)
}

/// Gives the calling thread the name it has, which the kernel reports like any renaming (prctl(2)).
pub(super) fn rename_to_own_name() -> io::Result<()> {
    let mut name = [0_u8; 16];
    // SAFETY: PR_GET_NAME writes at most 16 bytes.
    let got = unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) };
    check(got)?;
    // SAFETY: PR_SET_NAME reads up to the NUL, which PR_GET_NAME wrote within the 16 bytes.
    let set = unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
    check(set)
}

/// The processors that the calling thread may run on (sched_getaffinity(2)).
pub(super) fn allowed_cpus() -> io::Result<Vec<u32>> {
    let words = affinity()?;
    let bit = |cpu: u32| words[cpu as usize / 64] & (1 << (cpu % 64)) != 0;
    Ok((0..words.len() as u32 * 64).filter(|cpu| bit(*cpu)).collect())
}

/// The same as the kernel has it, a bit each.
fn affinity() -> io::Result<Vec<u64>> {
    let mut words = vec![0_u64; 16];
    loop {
        // SAFETY: the size is that of the buffer.
        let written = unsafe {
            libc::syscall(libc::SYS_sched_getaffinity, 0, words.len() * size_of::<u64>(), words.as_mut_ptr())
        };
        if written >= 0 {
            return Ok(words);
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::EINVAL) || words.len() > 1024 {
            return Err(error);
        }
        words.resize(words.len() * 2, 0);
    }
}

/// Moves the calling thread to one processor (sched_setaffinity(2)).
pub(super) fn run_on(cpu: u32) -> io::Result<()> {
    let mut words = vec![0_u64; cpu as usize / 64 + 1];
    words[cpu as usize / 64] = 1 << (cpu % 64);
    set_affinity(&words)
}

fn set_affinity(words: &[u64]) -> io::Result<()> {
    // SAFETY: the size is that of the buffer, which is only read.
    let set = unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, size_of_val(words), words.as_ptr()) };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// What a child has from the thread that starts it, to be taken on by another thread: the signal mask (pthread_sigmask(3)) and
/// the processors that it may run on. What cannot be had or set stays as it is.
pub(crate) fn like_this_thread() -> impl FnOnce() + Send + 'static {
    // SAFETY: all zeroes is a sigset_t, and the call writes one.
    let mut mask: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: with no new set nothing is read, and `mask` is written.
    let got = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), &raw mut mask) };
    let mask = (got == 0).then_some(mask);
    let cpus = affinity().ok();
    move || {
        if let Some(mask) = mask {
            // SAFETY: reads the set that was written above.
            unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const mask, std::ptr::null_mut()) };
        }
        if let Some(cpus) = cpus {
            let _ = set_affinity(&cpus);
        }
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
