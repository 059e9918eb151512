//! A lock a note: counted notes, each with a lock for its flags. The order of locks is table, note, queue.
//!
//! A note that is popped is still marked as queued until its flags have been read under its lock, so that a change
//! that comes between adds to what is about to be read. It is why a scan need not hold two locks at once.

use std::collections::VecDeque;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::lock::{Alone, Lock};
use crate::notes::{BATCH, Change, EXIT, Event, Flags, Notes, Pid, push_tight};

pub(crate) struct Note {
    pid: Pid,
    queue: u32,
    state: Lock<State>,
}

#[derive(Default)]
struct State {
    flags: Flags,
    queued: bool,
    deleted: bool,
}

pub(crate) struct LockANote {
    table: Lock<FxHashMap<Pid, Vec<Arc<Note>>>>,
    queues: Box<[Alone<VecDeque<Arc<Note>>>]>,
}

impl LockANote {
    fn activate(&self, note: &Arc<Note>, flags: Flags) {
        let mut state = note.state.lock();
        state.flags |= flags;
        if !state.queued {
            state.queued = true;
            self.queues[note.queue as usize].0.lock().push_back(note.clone());
        }
    }
}

impl Notes for LockANote {
    const NAME: &str = "note";
    type Handle = Arc<Note>;
    type Scratch = Vec<Arc<Note>>;

    fn new(queues: usize) -> Self {
        Self { table: Lock::default(), queues: Alone::many(queues) }
    }

    fn fork(&self, pid: Pid) {
        self.table.lock().insert(pid, Vec::new());
    }

    fn register(&self, queue: usize, pid: Pid) -> Option<Arc<Note>> {
        let mut table = self.table.lock();
        let notes = table.get_mut(&pid)?;
        let note = Arc::new(Note { pid, queue: queue as u32, state: Lock::default() });
        push_tight(notes, note.clone());
        Some(note)
    }

    fn apply(&self, changes: &[Change]) {
        let mut table = self.table.lock();
        for change in changes {
            change.other_work();
            let tell = |note: &Arc<Note>| self.activate(note, change.flags);
            if change.flags & EXIT != 0 {
                table.remove(&change.pid).iter().flatten().for_each(tell);
            } else {
                table.get(&change.pid).into_iter().flatten().for_each(tell);
            }
        }
    }

    fn scan(&self, queue: usize, popped: &mut Vec<Arc<Note>>, events: &mut Vec<Event>) {
        let mut ready = self.queues[queue].0.lock();
        let count = ready.len().min(BATCH);
        popped.extend(ready.drain(..count));
        drop(ready);
        for note in popped.drain(..) {
            let mut state = note.state.lock();
            state.queued = false;
            let flags = std::mem::take(&mut state.flags);
            // Deleted while it was queued.
            if flags != 0 && !state.deleted {
                events.push(Event { pid: note.pid, flags });
            }
            state.deleted |= flags & EXIT != 0;
        }
    }

    fn delete(&self, note: &Arc<Note>) {
        // Under the table's lock: the note must leave the process's list, or it would stay for as long as the process.
        let mut table = self.table.lock();
        if let Some(notes) = table.get_mut(&note.pid) {
            notes.retain(|other| !Arc::ptr_eq(other, note));
        }
        note.state.lock().deleted = true;
    }

    fn is_empty(&self) -> bool {
        self.table.lock().is_empty() && self.queues.iter().all(|queue| queue.0.lock().is_empty())
    }
}
