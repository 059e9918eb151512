//! The reading half of a queue: its notes, who waits for them, and a scan.

use std::collections::VecDeque;

use crate::knote::table::{Notes, Taken};
use crate::queue::QueueOptions;
use crate::reactor::waker::WakeSlot;
use crate::sync::Arc;

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
