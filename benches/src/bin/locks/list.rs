//! A lock a list: each process has a list of notes with its own lock, which guards what its notes have to tell. The
//! order of locks is table, list, queue.
//!
//! A note keeps the list that it is on alive, so that there is always a lock to be taken, and the same to be released,
//! whatever became of the process. Two ways to scan:
//!
//! As the fixed kernel does: take the queue's lock, pop a note, mark it as in flux, let go; take its list's lock, the
//! queue's lock again, clear the mark, read. A change that finds the note in flux adds its flags and does not queue it,
//! for the reader is about to come.
//!
//! Popped first: what is popped is still marked as queued until it has been read under its list's lock, so the queue's
//! lock is not needed again and guards the list of ready ones alone.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

use rustc_hash::FxHashMap;

use crate::lock::{Alone, Lock};
use crate::notes::{BATCH, Change, EXIT, Event, Flags, Notes, Pid, push_tight};

pub(crate) struct Note {
    pid: Pid,
    queue: u32,
    list: Arc<List>,
    // Guarded by the list's lock, and atomic only because the compiler cannot know.
    flags: AtomicU32,
    deleted: AtomicBool,
    // Guarded by the queue's lock as in the kernel; if popped first, by the list's.
    queued: AtomicBool,
    in_flux: AtomicBool,
}

type List = Lock<Vec<Arc<Note>>>;

pub(crate) struct LockAList<const KERNEL: bool> {
    /// A process has a list when it has had a note.
    table: Lock<FxHashMap<Pid, Option<Arc<List>>>>,
    queues: Box<[Alone<VecDeque<Arc<Note>>>]>,
}

impl<const KERNEL: bool> LockAList<KERNEL> {
    /// With the note's list locked.
    fn activate(&self, note: &Arc<Note>, flags: Flags) {
        note.flags.store(note.flags.load(Relaxed) | flags, Relaxed);
        let queue = || self.queues[note.queue as usize].0.lock();
        if KERNEL {
            let mut ready = queue();
            if !note.queued.load(Relaxed) && !note.in_flux.load(Relaxed) {
                note.queued.store(true, Relaxed);
                ready.push_back(note.clone());
            }
        } else if !note.queued.load(Relaxed) {
            note.queued.store(true, Relaxed);
            queue().push_back(note.clone());
        }
    }

    fn scan_as_kernel(&self, queue: usize, events: &mut Vec<Event>) {
        let mut ready = self.queues[queue].0.lock();
        for _ in 0..BATCH {
            let Some(note) = ready.pop_front() else { break };
            note.queued.store(false, Relaxed);
            note.in_flux.store(true, Relaxed);
            drop(ready);
            let list = note.list.lock();
            ready = self.queues[queue].0.lock();
            note.in_flux.store(false, Relaxed);
            read(&note, events);
            drop(list);
        }
    }

    fn scan_popped(&self, queue: usize, popped: &mut Vec<Arc<Note>>, events: &mut Vec<Event>) {
        let mut ready = self.queues[queue].0.lock();
        let count = ready.len().min(BATCH);
        popped.extend(ready.drain(..count));
        drop(ready);
        for note in popped.drain(..) {
            let list = note.list.lock();
            note.queued.store(false, Relaxed);
            read(&note, events);
            drop(list);
        }
    }
}

/// Reads a note that was ready, with its list locked.
fn read(note: &Note, events: &mut Vec<Event>) {
    let flags = note.flags.load(Relaxed);
    note.flags.store(0, Relaxed);
    // Deleted while it was queued or in flux.
    if flags != 0 && !note.deleted.load(Relaxed) {
        events.push(Event { pid: note.pid, flags });
    }
    if flags & EXIT != 0 {
        note.deleted.store(true, Relaxed);
    }
}

impl<const KERNEL: bool> Notes for LockAList<KERNEL> {
    const NAME: &str = if KERNEL { "list, as kernel" } else { "list" };
    type Handle = Arc<Note>;
    type Scratch = Vec<Arc<Note>>;

    fn new(queues: usize) -> Self {
        Self { table: Lock::default(), queues: Alone::many(queues) }
    }

    fn fork(&self, pid: Pid) {
        self.table.lock().insert(pid, None);
    }

    fn register(&self, queue: usize, pid: Pid) -> Option<Arc<Note>> {
        // The table's lock is held on: if the process exited between, the note would be on a list that nobody tells.
        let mut table = self.table.lock();
        let list = table.get_mut(&pid)?.get_or_insert_default();
        let note = Arc::new(Note {
            pid,
            queue: queue as u32,
            list: list.clone(),
            flags: AtomicU32::new(0),
            deleted: AtomicBool::new(false),
            queued: AtomicBool::new(false),
            in_flux: AtomicBool::new(false),
        });
        push_tight(&mut list.lock(), note.clone());
        Some(note)
    }

    fn apply(&self, changes: &[Change]) {
        let mut table = self.table.lock();
        for change in changes {
            change.other_work();
            let tell = |note: &Arc<Note>| self.activate(note, change.flags);
            if change.flags & EXIT != 0 {
                let Some(list) = table.remove(&change.pid).flatten() else { continue };
                // The list is left empty: notes keep it, and it must not keep them.
                let mut notes = list.lock();
                std::mem::take(&mut *notes).iter().for_each(tell);
            } else if let Some(Some(list)) = table.get(&change.pid) {
                list.lock().iter().for_each(tell);
            }
        }
    }

    fn scan(&self, queue: usize, popped: &mut Vec<Arc<Note>>, events: &mut Vec<Event>) {
        if KERNEL { self.scan_as_kernel(queue, events) } else { self.scan_popped(queue, popped, events) }
    }

    fn delete(&self, note: &Arc<Note>) {
        // The kernel waits here while the note is in flux, as its notes are not counted.
        let mut notes = note.list.lock();
        notes.retain(|other| !Arc::ptr_eq(other, note));
        note.deleted.store(true, Relaxed);
    }

    fn is_empty(&self) -> bool {
        self.table.lock().is_empty() && self.queues.iter().all(|queue| queue.0.lock().is_empty())
    }
}
