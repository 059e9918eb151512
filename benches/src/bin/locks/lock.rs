//! A mutex that counts how often it is taken, and how often it was somebody else's just then.

use std::cell::Cell;
use std::ops::Add;
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

/// What the calling thread did with locks.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Count {
    pub(crate) taken: u64,
    pub(crate) waited: u64,
}

impl Add for Count {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { taken: self.taken + other.taken, waited: self.waited + other.waited }
    }
}

thread_local! {
    // Of the thread, so that counting is an addition and nobody else's cache line; the same for every variant.
    static COUNT: Cell<Count> = const { Cell::new(Count { taken: 0, waited: 0 }) };
}

/// What the calling thread did since it asked last.
pub(crate) fn take_count() -> Count {
    COUNT.take()
}

#[derive(Debug, Default)]
pub(crate) struct Lock<T>(Mutex<T>);

impl<T> Lock<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        let mut count = COUNT.get();
        count.taken += 1;
        let guard = match self.0.try_lock() {
            Ok(guard) => guard,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => {
                count.waited += 1;
                self.0.lock().unwrap_or_else(PoisonError::into_inner)
            }
        };
        COUNT.set(count);
        guard
    }
}

/// A lock in a cache line of its own: two queues are not to disturb each other by lying side by side.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct Alone<T>(pub(crate) Lock<T>);

impl<T: Default> Alone<T> {
    pub(crate) fn many(count: usize) -> Box<[Self]> {
        (0..count).map(|_| Self::default()).collect()
    }
}
