//! What the rest asks of a system about its threads and its clock.
#![expect(unsafe_code, reason = "system calls")]

use std::io;
use std::mem::zeroed;
use std::ptr;

/// A note tells of a birth before the child runs, so that whoever is known has been told of.
pub(crate) fn has_run(_pid: u32) -> io::Result<bool> {
    Ok(true)
}

/// Processes have no identity here that a later program would know.
pub(crate) fn boot() -> io::Result<u128> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(crate) fn mark(_pid: u32, _pidfd: &super::Pidfd) -> io::Result<Option<crate::persist::Mark>> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Not asked: a note names no thread.
pub(crate) fn thread_id() -> u32 {
    std::process::id()
}

/// Nanoseconds of `CLOCK_MONOTONIC` (clock_gettime(2)).
pub(crate) fn monotonic() -> u64 {
    clock(libc::CLOCK_MONOTONIC)
}

/// From the monotonic to the wall clock, by which starts are told. Rather too much than too little, so that nobody seems to have started
/// later than it has.
#[cfg(not(target_os = "freebsd"))]
pub(super) fn offset() -> u64 {
    let monotonic = monotonic();
    clock(libc::CLOCK_REALTIME).saturating_sub(monotonic)
}

fn clock(id: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a timespec to be written; both clocks always exist.
    unsafe { libc::clock_gettime(id, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// What a child has from the thread that starts it, to be taken on by another thread: the signal mask (pthread_sigmask(3)).
pub(crate) fn like_this_thread() -> impl FnOnce() + Send + 'static {
    // SAFETY: all zeroes is a sigset_t, and the call writes one.
    let mut mask: libc::sigset_t = unsafe { zeroed() };
    // SAFETY: with no new set nothing is read, and `mask` is written.
    let got = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, ptr::null(), &raw mut mask) };
    move || {
        if got == 0 {
            // SAFETY: reads the set that was written above.
            unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const mask, ptr::null_mut()) };
        }
    }
}
