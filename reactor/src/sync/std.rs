use std::io;
use std::os::fd::BorrowedFd;
use std::sync::PoisonError;
use std::task::{Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

pub(crate) use std::sync::{
    Arc, MutexGuard,
    atomic::{AtomicBool, AtomicU64, Ordering, fence},
};

/// A mutex without poison: what it guards is valid between any two statements of this crate that can
/// panic, and a panic of one task must not take the process table from all others.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(std::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(std::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Some(guard),
            Err(std::sync::TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(std::sync::TryLockError::WouldBlock) => None,
        }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Ends a [`park`] of this thread.
pub(crate) fn thread_waker() -> Waker {
    Waker::from(Arc::new(Unpark(std::thread::current())))
}

/// Sleeps until woken, up to `left`, or for no reason.
pub(crate) fn park(left: Option<Duration>) {
    match left {
        Some(left) => std::thread::park_timeout(left),
        None => std::thread::park(),
    }
}

/// Waits until one of them is readable, up to `left`.
pub(crate) fn poll(fds: [BorrowedFd<'_>; 2], left: Option<Duration>) -> io::Result<()> {
    crate::sys::poll(fds, left).map(|_| ())
}
