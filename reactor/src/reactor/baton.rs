//! The baton: one turn at a time, and none asked for is ever missed.

use crate::sync::{AtomicBool, Mutex, MutexGuard, Ordering, fence};

/// Guards `T`, which is worked on one turn at a time.
///
/// Whoever asks while another has it leaves a note and goes away; the holder looks at the note after it let
/// go, so that after every [`request`](Baton::request) a turn begins, by whomever.
#[derive(Debug)]
pub(crate) struct Baton<T> {
    wanted: AtomicBool,
    inner: Mutex<T>,
}

impl<T> Baton<T> {
    pub(crate) fn new(inner: T) -> Self {
        Self { wanted: AtomicBool::new(false), inner: Mutex::new(inner) }
    }

    /// Asks for a turn: runs `work` here, or leaves it to the one who is at it. `work` says whether it is to be
    /// called again at once. False if it was left to another.
    pub(crate) fn request(&self, mut work: impl FnMut(&mut T)) -> bool {
        // A read-modify-write, not a store: whoever takes the note then sees what all those left it for who wrote
        // it, also those whose note this one overwrites. (Found by loom with a store.)
        self.wanted.swap(true, Ordering::AcqRel);
        let mut worked = false;
        loop {
            // Between the note and the try: with the fence below it makes sure that either the holder sees the
            // note after it let go, or we find the baton free.
            fence(Ordering::SeqCst);
            let Some(mut inner) = self.inner.try_lock() else { return worked };
            while self.wanted.swap(false, Ordering::AcqRel) {
                work(&mut inner);
                worked = true;
            }
            drop(inner);
            fence(Ordering::SeqCst);
            if !self.wanted.load(Ordering::Acquire) {
                return worked;
            }
        }
    }

    /// Waits for the baton. What others ask for meanwhile is done by `after`, once, when it is given back.
    pub(crate) fn take(&self) -> MutexGuard<'_, T> {
        self.inner.lock()
    }

    /// Gives the baton back and does what was asked for meanwhile.
    pub(crate) fn give_back(&self, guard: MutexGuard<'_, T>, work: impl FnMut(&mut T)) {
        drop(guard);
        fence(Ordering::SeqCst);
        if self.wanted.load(Ordering::Acquire) {
            self.request(work);
        }
    }
}

/// Batons with a fault, for the checker to find.
#[cfg(all(test, proc_reactor_loom))]
impl<T> Baton<T> {
    pub(crate) fn request_noted_by_a_store(&self, mut work: impl FnMut(&mut T)) {
        self.wanted.store(true, Ordering::Release);
        loop {
            fence(Ordering::SeqCst);
            let Some(mut inner) = self.inner.try_lock() else { return };
            while self.wanted.swap(false, Ordering::AcqRel) {
                work(&mut inner);
            }
            drop(inner);
            fence(Ordering::SeqCst);
            if !self.wanted.load(Ordering::Acquire) {
                return;
            }
        }
    }

    pub(crate) fn request_without_looking_back(&self, mut work: impl FnMut(&mut T)) {
        self.wanted.swap(true, Ordering::AcqRel);
        fence(Ordering::SeqCst);
        let Some(mut inner) = self.inner.try_lock() else { return };
        while self.wanted.swap(false, Ordering::AcqRel) {
            work(&mut inner);
        }
    }
}

#[cfg(all(test, not(any(proc_reactor_loom, proc_reactor_shuttle))))]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::thread;

    use super::*;

    /// After each asking a turn begins, whoever asks and whoever holds. What is sent and taken is no atomic's value but a plain one's,
    /// for ThreadSanitizer to look at: it understands the mutex and the note, by which everything passes from one holder to
    /// the next. Of the fences it knows nothing, and need not: they see to it that a turn begins, and order no memory.
    #[test]
    fn threads_that_ask_and_take() {
        const EACH: usize = 20_000;
        let baton = Baton::new(0_usize);
        let sent = AtomicUsize::new(0);
        let drain = |taken: &mut usize| *taken = sent.load(Ordering::Relaxed).max(*taken);
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..EACH {
                        sent.fetch_add(1, Ordering::Relaxed);
                        baton.request(drain);
                    }
                });
            }
            scope.spawn(|| {
                for _ in 0..EACH {
                    let mut guard = baton.take();
                    drain(&mut guard);
                    baton.give_back(guard, drain);
                }
            });
        });
        assert_eq!(*baton.take(), 3 * EACH, "an asking was missed");
    }
}
