//! Keys, and one leaf lock a queue: a process has keys, the notes they name lie in their queue's slots, under the
//! queue's lock, with everything that a scan needs. The order of locks is table, queue; a scan and a delete take the
//! second alone. A change takes the queue's lock for each key.
//!
//! A delete leaves its key with the process. A stale key finds nothing, and goes when the process's next change finds
//! that out, or before the list of keys grows.

use rustc_hash::FxHashMap;

use crate::lock::{Alone, Lock};
use crate::notes::{Change, EXIT, Event, Notes, Pid, push_tight};
use crate::slots::{Key, Slots};

pub(crate) struct Keys {
    table: Lock<FxHashMap<Pid, Vec<Key>>>,
    queues: Box<[Alone<Slots>]>,
}

impl Notes for Keys {
    const NAME: &str = "keys";
    type Handle = Key;
    type Scratch = ();

    fn new(queues: usize) -> Self {
        Self { table: Lock::default(), queues: Alone::many(queues) }
    }

    fn fork(&self, pid: Pid) {
        self.table.lock().insert(pid, Vec::new());
    }

    fn register(&self, queue: usize, pid: Pid) -> Option<Key> {
        let mut table = self.table.lock();
        let keys = table.get_mut(&pid)?;
        shed(keys, &self.queues);
        let key = self.queues[queue].0.lock().insert(queue, pid);
        push_tight(keys, key);
        Some(key)
    }

    fn apply(&self, changes: &[Change]) {
        let mut table = self.table.lock();
        for change in changes {
            change.other_work();
            let tell = |key: &Key| self.queues[key.queue as usize].0.lock().activate(*key, change.flags);
            if change.flags & EXIT != 0 {
                for key in table.remove(&change.pid).iter().flatten() {
                    tell(key);
                }
            } else if let Some(keys) = table.get_mut(&change.pid) {
                keys.retain(tell);
            }
        }
    }

    fn scan(&self, queue: usize, _: &mut (), events: &mut Vec<Event>) {
        self.queues[queue].0.lock().scan(events);
    }

    fn delete(&self, key: &Key) {
        self.queues[key.queue as usize].0.lock().remove(*key);
    }

    fn is_empty(&self) -> bool {
        self.table.lock().is_empty() && self.queues.iter().all(|queue| queue.0.lock().is_empty())
    }
}

/// Before a list of keys grows, drops those whose notes were deleted.
pub(crate) fn shed(keys: &mut Vec<Key>, queues: &[Alone<Slots>]) {
    if keys.len() < keys.capacity() {
        return;
    }
    let mut held = None;
    keys.retain(|key| {
        if held.as_ref().is_none_or(|(queue, _)| *queue != key.queue) {
            // Let go first: no queue's lock is taken under another's.
            held = None;
        }
        held.get_or_insert_with(|| (key.queue, queues[key.queue as usize].0.lock())).1.holds(*key)
    });
    // Room for as many again, or one stale key a time would have all of them looked at each time.
    if keys.len() * 2 > keys.capacity() {
        keys.reserve(keys.len() + 1);
    }
}
