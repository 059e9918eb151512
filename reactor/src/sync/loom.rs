use std::ops::{Deref, DerefMut};
use std::sync::PoisonError;

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
