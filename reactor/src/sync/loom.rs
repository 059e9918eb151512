use std::io;
use std::ops::{Deref, DerefMut};
use std::os::fd::BorrowedFd;
use std::sync::PoisonError;
use std::task::{Wake, Waker};
use std::time::Duration;

pub(crate) use loom::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering, fence},
};

/// The same face as in `std.rs`, over loom's mutex.
#[derive(Debug)]
pub(crate) struct Mutex<T> {
    inner: loom::sync::Mutex<T>,
    letting_go: AtomicBool,
}

/// loom lets no other thread run between the last step under a lock and the unlocking. Others who try the lock just then
/// must be searched too, so a guard takes one more step before it lets go, and one that a try depends on.
#[derive(Debug)]
pub(crate) struct MutexGuard<'a, T> {
    inner: loom::sync::MutexGuard<'a, T>,
    letting_go: &'a AtomicBool,
}

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { inner: loom::sync::Mutex::new(value), letting_go: AtomicBool::new(false) }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        MutexGuard { inner, letting_go: &self.letting_go }
    }

    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.letting_go.swap(true, Ordering::Relaxed);
        let inner = self.inner.try_lock().ok()?;
        Some(MutexGuard { inner, letting_go: &self.letting_go })
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        self.letting_go.swap(false, Ordering::Relaxed);
    }
}

/// What a [`park`] waits for. loom's own `unpark` ends whatever its thread waits for, a mutex for one, and is lost by that
/// (tokio-rs/loom#249).
#[derive(Debug, Default)]
struct Token {
    given: loom::sync::Mutex<bool>,
    changed: loom::sync::Condvar,
}

loom::thread_local! {
    static TOKEN: std::sync::Arc<Token> = std::sync::Arc::default();
}

impl Wake for Token {
    fn wake(self: std::sync::Arc<Self>) {
        *self.given.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_one();
    }
}

/// Ends a [`park`] of this thread.
pub(crate) fn thread_waker() -> Waker {
    Waker::from(TOKEN.with(std::sync::Arc::clone))
}

/// Sleeps until woken. There are no time-outs here.
pub(crate) fn park(_left: Option<Duration>) {
    let token = TOKEN.with(std::sync::Arc::clone);
    let mut given = token.given.lock().unwrap_or_else(PoisonError::into_inner);
    while !*given {
        given = token.changed.wait(given).unwrap_or_else(PoisonError::into_inner);
    }
    *given = false;
}

/// Nothing that loom knows of is waited for by descriptors: the scenarios bring a source of their own.
pub(crate) fn poll(fds: [BorrowedFd<'_>; 2], _left: Option<Duration>) -> io::Result<()> {
    loom::thread::yield_now();
    crate::sys::poll(fds, Some(Duration::ZERO)).map(|_| ())
}
