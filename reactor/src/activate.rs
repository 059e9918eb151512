//! What a change does to the notes on a process. Called under the lock of the process table; takes each queue's own for a
//! moment.

use slab::Slab;

use crate::ProcId;
use crate::flags::{NOTE_EXEC, NOTE_FORK, NOTE_TRACK};
use crate::knote::list::{NoteKey, NoteList};
use crate::knote::state::Input;
use crate::queue::{QueueOptions, QueueShared};
use crate::reactor::waker::WakeSlot;
use crate::scan::Inbox;
use crate::sync::Arc;

/// The queues of a reactor, and who of their waiters has news.
#[derive(Debug)]
pub(crate) struct Queues {
    slots: Slab<Arc<QueueShared>>,
    serials: u64,
    failed: bool,
    /// To be woken when no lock is held.
    woken: Vec<Arc<WakeSlot>>,
}

impl Queues {
    pub(crate) fn new() -> Self {
        Self { slots: Slab::new(), serials: 0, failed: false, woken: Vec::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn open(&mut self, options: QueueOptions) -> Arc<QueueShared> {
        let entry = self.slots.vacant_entry();
        let place = u32::try_from(entry.key()).expect("fewer queues than 2^32");
        let queue = Arc::clone(entry.insert(Arc::new(QueueShared::new(place, options))));
        // The source may have failed since the caller looked.
        queue.lock().failed = self.failed;
        queue
    }

    /// The keys of its notes find nothing from here on. Dropped by the caller where no lock is held.
    pub(crate) fn remove(&mut self, place: u32) -> Option<Arc<QueueShared>> {
        self.slots.try_remove(place as usize)
    }

    /// A number for a note that no other of this reactor has, had or will have.
    pub(crate) fn serial(&mut self) -> u64 {
        self.serials += 1;
        self.serials
    }

    /// Whoever waits at a queue that has news since the last call.
    pub(crate) fn news(&mut self, wakes: &mut Vec<Arc<WakeSlot>>) {
        wakes.append(&mut self.woken);
    }

    /// Whether some queue has still to tell of an end under this pid, or is being told of it.
    pub(crate) fn is_unread(&self, pid: u32) -> bool {
        self.slots.iter().any(|(_, queue)| queue.lock().notes.named(pid).is_some())
    }

    /// Tells `input` to the notes of `list`.
    pub(crate) fn activate(&mut self, list: &mut NoteList, input: Input) {
        self.each(list, |inbox, _, slot| inbox.notes.step(slot, input));
    }

    /// Makes the notes of a child where the parent's track. `own` if it is a child of this program's. Returns the keys for the
    /// child's list.
    pub(crate) fn track(
        &mut self,
        list: &mut NoteList,
        parent: ProcId,
        child: ProcId,
        own: bool,
    ) -> Vec<NoteKey> {
        let mut inherited = Vec::new();
        let mut serials = self.serials;
        self.each(list, |inbox, key, slot| {
            if !inbox.notes.state(slot).tracks() {
                return false;
            }
            if !inbox.has_room_for_child() {
                return inbox.notes.step(slot, Input::TrackError);
            }
            serials += 2;
            let (tells, follows) = (serials - 1, serials);
            let main = inbox.notes.inherit(slot, parent, child, own, [tells, follows]);
            inherited.extend(main.map(|slot| NoteKey { queue: key.queue, slot, serial: follows }));
            true
        });
        self.serials = serials;
        inherited
    }

    /// The source lost records: whoever wanted to know of more than ends is told that there may have been more (C30).
    pub(crate) fn lost(&mut self, list: &mut NoteList) {
        self.each(list, |inbox, _, slot| {
            let asked = inbox.notes.state(slot).asked;
            let may_have_missed = asked & (NOTE_TRACK | NOTE_FORK | NOTE_EXEC) != 0;
            may_have_missed && inbox.notes.step(slot, Input::TrackError)
        });
    }

    /// The source failed: nobody waits for more.
    pub(crate) fn failed(&mut self) {
        self.failed = true;
        for (_, queue) in &self.slots {
            self.woken.extend(queue.lock().fail());
        }
    }

    /// Goes through the notes of a list, each under its queue's lock, and forgets the keys that find nothing (K1). `tell` says
    /// whether its queue has news.
    fn each(&mut self, list: &mut NoteList, mut tell: impl FnMut(&mut Inbox, &NoteKey, u32) -> bool) {
        let Self { slots, woken, .. } = self;
        list.retain(|key| {
            let Some(queue) = slots.get(key.queue as usize) else { return false };
            let mut inbox = queue.lock();
            let Some(slot) = inbox.notes.find(key.slot, key.serial) else { return false };
            if tell(&mut inbox, key, slot) {
                woken.extend(inbox.next_waiter());
            }
            true
        });
    }
}

#[cfg(all(test, not(any(proc_reactor_loom, proc_reactor_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn who_comes_after_the_source_failed_waits_for_nothing() {
        let mut queues = Queues::new();
        let before = queues.open(QueueOptions::default());
        queues.failed();
        let after = queues.open(QueueOptions::default());
        let waiter = Arc::new(WakeSlot::new());
        assert!(!before.lock().waits(&waiter));
        assert!(!after.lock().waits(&waiter));
    }
}
