use std::io;
use std::os::fd::BorrowedFd;
use std::sync::PoisonError;
use std::task::{Wake, Waker};
use std::time::Duration;

pub(crate) use shuttle::sync::{
    Arc, MutexGuard,
    atomic::{AtomicBool, AtomicU64, Ordering, fence},
};

/// The same face as in `std.rs`, over shuttle's mutex.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(shuttle::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(shuttle::sync::Mutex::new(value))
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

struct Unpark(shuttle::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Ends a [`park`] of this thread.
pub(crate) fn thread_waker() -> Waker {
    Waker::from(Arc::new(Unpark(shuttle::thread::current())))
}

/// Sleeps until woken. There are no time-outs here.
pub(crate) fn park(_left: Option<Duration>) {
    shuttle::thread::park();
}

/// Lets others run until one of them is readable: all threads of a schedule are one of the system's, which must not sleep. If
/// none ever is, the schedule comes to its limit of steps, and that is found.
pub(crate) fn poll(fds: [BorrowedFd<'_>; 2], _left: Option<Duration>) -> io::Result<()> {
    while !crate::sys::poll(fds, Some(Duration::ZERO))? {
        shuttle::thread::yield_now();
    }
    Ok(())
}
