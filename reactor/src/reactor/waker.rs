//! A reader's waker: put there by its task, taken by whoever has news.

use std::task::Waker;

use crate::sync::Mutex;

/// Holds at most one waker. Wakers are not ours, so none is cloned, dropped or woken under the lock (K4).
#[derive(Debug, Default)]
pub(crate) struct WakeSlot(Mutex<Option<Waker>>);

impl WakeSlot {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// From here on, news wake `waker`. Look for news after this, not before.
    pub(crate) fn register(&self, waker: &Waker) {
        let waker = waker.clone();
        let old = self.0.lock().replace(waker);
        drop(old);
    }

    /// News wake nobody any more.
    pub(crate) fn deregister(&self) {
        let old = self.0.lock().take();
        drop(old);
    }

    pub(crate) fn wake(&self) {
        let waker = self.0.lock().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}
