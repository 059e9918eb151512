//! The reading half of a queue: its notes, who waits for them, a scan, and the end of it all.

use std::collections::VecDeque;

use crate::error::QueueError;
use crate::knote::table::{Notes, Taken};
use crate::queue::{QueueOptions, QueueShared};
use crate::reactor::state::State;
use crate::reactor::waker::WakeSlot;
use crate::sync::{Arc, Mutex};

/// How many notes of a queue that is closed are unlinked in one hold of the process table's lock.
const UNLINKED_AT_ONCE: usize = 1024;

/// What a queue has under its lock.
#[derive(Debug)]
pub(crate) struct Inbox {
    pub(crate) notes: Notes,
    /// Who waits, longest first. Each is woken once for one piece of news, and sees to it that what it does not take wakes the next.
    waiters: VecDeque<Arc<WakeSlot>>,
    options: QueueOptions,
    pub(crate) closed: bool,
    pub(crate) failed: bool,
}

impl Inbox {
    pub(crate) fn new(options: QueueOptions) -> Self {
        Self { notes: Notes::new(), waiters: VecDeque::new(), options, closed: false, failed: false }
    }

    pub(crate) fn has_room(&self) -> bool {
        self.notes.len() < self.options.max_notes
    }

    /// Two notes or none (C30).
    pub(crate) fn has_room_for_child(&self) -> bool {
        self.notes.len().saturating_add(2) <= self.options.max_notes
            && self.notes.unread() < self.options.max_unread
    }

    /// Takes up to `most` events. Returns how many, and whom to wake for what is left.
    pub(crate) fn scan(
        &mut self,
        most: usize,
        mut tell: impl FnMut(Taken),
    ) -> (usize, Option<Arc<WakeSlot>>) {
        let mut told = 0;
        for _ in 0..self.notes.ready() {
            if told == most {
                break;
            }
            match self.notes.take() {
                Some(Some(taken)) => {
                    tell(taken);
                    told += 1;
                }
                Some(None) => {}
                None => break,
            }
        }
        (told, self.next_waiter_for_rest())
    }

    /// Whoever has waited longest; not any more then.
    pub(crate) fn next_waiter(&mut self) -> Option<Arc<WakeSlot>> {
        self.waiters.pop_front()
    }

    fn next_waiter_for_rest(&mut self) -> Option<Arc<WakeSlot>> {
        if self.notes.telling() > 0 { self.next_waiter() } else { None }
    }

    /// Whether there is nothing for a waiter, who then is one from here on. Under the same lock as what it looks at, so that
    /// no news come between.
    pub(crate) fn waits(&mut self, waiter: &Arc<WakeSlot>) -> bool {
        if self.closed || self.failed || self.notes.telling() > 0 {
            return false;
        }
        if !self.waiters.iter().any(|other| Arc::ptr_eq(other, waiter)) {
            self.waiters.push_back(Arc::clone(waiter));
        }
        true
    }

    /// The same with a fault, for the checker to find: a waiter that does not look once more.
    #[cfg(all(test, proc_reactor_loom))]
    pub(crate) fn waits_unseen(&mut self, waiter: &Arc<WakeSlot>) {
        self.waiters.push_back(Arc::clone(waiter));
    }

    /// It waits no more. If it was woken for something that is still there, another is.
    pub(crate) fn leaves(&mut self, waiter: &Arc<WakeSlot>) -> Option<Arc<WakeSlot>> {
        self.waiters.retain(|other| !Arc::ptr_eq(other, waiter));
        self.next_waiter_for_rest()
    }

    /// No source any more. Returns who waited.
    pub(crate) fn fail(&mut self) -> VecDeque<Arc<WakeSlot>> {
        self.failed = true;
        std::mem::take(&mut self.waiters)
    }

    /// Nothing is told any more. What is returned is dropped, and woken, where no lock is held.
    pub(crate) fn close(&mut self) -> (Notes, VecDeque<Arc<WakeSlot>>) {
        self.closed = true;
        (std::mem::replace(&mut self.notes, Notes::new()), std::mem::take(&mut self.waiters))
    }
}

/// What a scan came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scanned {
    /// How many events it told.
    pub(crate) count: usize,
    /// The source has failed: nothing comes after what is there.
    pub(crate) failed: bool,
}

impl QueueShared {
    /// Tells up to `most` events, and wakes another for what is left.
    pub(crate) fn scan(
        &self,
        state: &Mutex<State>,
        most: usize,
        mut tell: impl FnMut(Taken),
    ) -> Result<Scanned, QueueError> {
        let mut unlink = Vec::new();
        let mut inbox = self.lock();
        if inbox.closed {
            return Err(QueueError::Closed);
        }
        let (count, heir) = inbox.scan(most, |taken| {
            unlink.extend(taken.unlink.zip(taken.id));
            tell(taken);
        });
        let failed = inbox.failed;
        drop(inbox);
        heir.iter().for_each(|waiter| waiter.wake());
        if !unlink.is_empty() {
            let mut state = state.lock();
            unlink.into_iter().for_each(|(serial, id)| state.unlink(id, serial));
        }
        Ok(Scanned { count, failed })
    }

    /// Nothing is told from here on, and whoever waits learns of it (C35).
    pub(crate) fn close(&self, state: &Mutex<State>) {
        let (place, (notes, waiters)) = {
            let mut state = state.lock();
            let mut inbox = self.lock();
            if inbox.closed {
                return;
            }
            (state.queues.remove(self.place()), inbox.close())
        };
        waiters.iter().for_each(|waiter| waiter.wake());
        drop(place);
        // Their keys find nothing any more, and are no process's burden either.
        for some in notes.linked().chunks(UNLINKED_AT_ONCE) {
            let mut state = state.lock();
            some.iter().for_each(|(id, serial)| state.unlink(*id, *serial));
        }
    }

    /// `waiter` waits no more, and passes on what it was woken for.
    pub(crate) fn leave(&self, waiter: &Arc<WakeSlot>) {
        let heir = self.lock().leaves(waiter);
        heir.iter().for_each(|waiter| waiter.wake());
    }
}
