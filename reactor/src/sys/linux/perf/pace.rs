//! How fast ends come, and a timer for those that are told later.
#![expect(unsafe_code, reason = "system calls that the standard library does not have")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::super::syscall;

/// Ends come fast if the last so many of them came within [`WITHIN`] nanoseconds. A single program that ends at once is told
/// of as soon as it can be.
const ENDS: usize = 4;
const WITHIN: u64 = 4_000_000;

/// When the last few ends were.
#[derive(Debug, Default)]
pub(super) struct Pace {
    ends: [u64; ENDS],
    next: usize,
}

impl Pace {
    /// There was an end.
    pub(super) fn tick(&mut self, time: u64) {
        self.ends[self.next] = time;
        self.next = (self.next + 1) % ENDS;
    }

    pub(super) fn is_fast(&self, now: u64) -> bool {
        let first = self.ends[self.next];
        first != 0 && now.saturating_sub(first) < WITHIN
    }
}

/// Polls readable from when it was set to, until it is looked at (timerfd_create(2)).
#[derive(Debug)]
pub(super) struct Timer {
    fd: OwnedFd,
    /// Nanoseconds of the monotonic clock.
    set: Option<u64>,
}

impl Timer {
    pub(super) fn new() -> io::Result<Self> {
        let flags = libc::TFD_CLOEXEC | libc::TFD_NONBLOCK;
        // SAFETY: takes integers, gives a descriptor or -1.
        let fd = unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, flags) };
        if fd == -1 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new and nobody else's.
        Ok(Self { fd: unsafe { OwnedFd::from_raw_fd(fd) }, set: None })
    }

    /// Sees to it that it rings no later than `due`, if that says anything. One that is set already is left alone, for it is
    /// cheaper to be woken once for nothing.
    pub(super) fn keep(&mut self, due: impl FnOnce() -> Option<u64>) {
        if self.set.is_some_and(|set| syscall::monotonic() < set) {
            return;
        }
        // Set anew, or to none, it is not readable any more.
        let due = due();
        if due != self.set {
            self.set(due.unwrap_or(0));
            self.set = due;
        }
    }

    fn set(&self, at: u64) {
        let never = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let at = libc::timespec { tv_sec: (at / 1_000_000_000) as _, tv_nsec: (at % 1_000_000_000) as _ };
        let spec = libc::itimerspec { it_interval: never, it_value: at };
        // SAFETY: reads `spec`. It fails only for what is no timer.
        unsafe {
            libc::timerfd_settime(
                self.fd.as_raw_fd(),
                libc::TFD_TIMER_ABSTIME,
                &raw const spec,
                std::ptr::null_mut(),
            )
        };
    }
}

impl AsFd for Timer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn a_burst_is_fast_and_a_single_end_is_not() {
        let mut pace = Pace::default();
        assert!(!pace.is_fast(1_000));
        (1..ENDS as u64).for_each(|end| pace.tick(end * 1_000));
        assert!(!pace.is_fast(4_000), "one is missing");
        pace.tick(4_000);
        assert!(pace.is_fast(5_000));
        assert!(!pace.is_fast(5_000 + WITHIN));
        pace.tick(10 * WITHIN);
        assert!(!pace.is_fast(10 * WITHIN), "the others are long ago");
    }

    #[test]
    fn it_rings_when_it_is_due_and_not_after_it_was_looked_at() {
        let mut timer = Timer::new().unwrap();
        let rings = |timer: &Timer, wait: u64| {
            let begun = Instant::now();
            crate::sys::poll([timer.as_fd(); 2], Some(Duration::from_millis(wait))).unwrap();
            begun.elapsed() < Duration::from_millis(wait)
        };
        assert!(!rings(&timer, 20));
        let due = syscall::monotonic() + 5_000_000;
        timer.keep(|| Some(due));
        timer.keep(|| panic!("it is set already"));
        assert!(rings(&timer, 10_000) && syscall::monotonic() >= due);
        assert!(rings(&timer, 10_000), "it rings on");
        timer.keep(|| None);
        assert!(!rings(&timer, 20));
        timer.keep(|| Some(1));
        assert!(rings(&timer, 10_000), "what is due already rings at once");
    }
}
