//! A queue's notes in slots, named by keys, and the list of those that are ready, which runs through them.

use crate::notes::{BATCH, EXIT, Event, Flags, Pid};

/// Names a note. The slot may be used again; the serial number is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) queue: u32,
    slot: u32,
    serial: u64,
}

const NONE: u32 = u32::MAX;

#[derive(Debug)]
struct Slot {
    /// 0: free.
    serial: u64,
    pid: Pid,
    /// Not 0 if and only if it is in the list of ready ones.
    flags: Flags,
    /// Neighbours in the list of ready ones; the next free slot.
    next: u32,
    previous: u32,
}

#[derive(Debug)]
pub(crate) struct Slots {
    slots: Vec<Slot>,
    serial: u64,
    free: u32,
    first: u32,
    last: u32,
    used: usize,
}

impl Default for Slots {
    fn default() -> Self {
        Self { slots: Vec::new(), serial: 0, free: NONE, first: NONE, last: NONE, used: 0 }
    }
}

impl Slots {
    pub(crate) fn insert(&mut self, queue: usize, pid: Pid) -> Key {
        self.serial += 1;
        self.used += 1;
        let new = Slot { serial: self.serial, pid, flags: 0, next: NONE, previous: NONE };
        let slot = match self.free {
            NONE => {
                self.slots.push(new);
                self.slots.len() as u32 - 1
            }
            slot => {
                self.free = self.slots[slot as usize].next;
                self.slots[slot as usize] = new;
                slot
            }
        };
        Key { queue: queue as u32, slot, serial: self.serial }
    }

    /// Whether there was such a note.
    pub(crate) fn activate(&mut self, key: Key, flags: Flags) -> bool {
        let Some(note) = self.slots.get_mut(key.slot as usize).filter(|note| note.serial == key.serial)
        else {
            return false;
        };
        let was = note.flags;
        note.flags |= flags;
        if was == 0 {
            note.next = NONE;
            note.previous = self.last;
            match self.last {
                NONE => self.first = key.slot,
                last => self.slots[last as usize].next = key.slot,
            }
            self.last = key.slot;
        }
        true
    }

    pub(crate) fn holds(&self, key: Key) -> bool {
        self.slots.get(key.slot as usize).is_some_and(|note| note.serial == key.serial)
    }

    /// Takes a note away; whose it was.
    pub(crate) fn remove(&mut self, key: Key) -> Option<Pid> {
        let note = self.slots.get(key.slot as usize).filter(|note| note.serial == key.serial)?;
        let (pid, ready) = (note.pid, note.flags != 0);
        if ready {
            self.unlink(key.slot);
        }
        self.give_back(key.slot);
        Some(pid)
    }

    pub(crate) fn scan(&mut self, events: &mut Vec<Event>) {
        for _ in 0..BATCH {
            let slot = self.first;
            if slot == NONE {
                return;
            }
            self.unlink(slot);
            let note = &mut self.slots[slot as usize];
            let event = Event { pid: note.pid, flags: std::mem::take(&mut note.flags) };
            events.push(event);
            if event.flags & EXIT != 0 {
                self.give_back(slot);
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.used == 0
    }

    fn unlink(&mut self, slot: u32) {
        let Slot { next, previous, .. } = self.slots[slot as usize];
        match previous {
            NONE => self.first = next,
            previous => self.slots[previous as usize].next = next,
        }
        match next {
            NONE => self.last = previous,
            next => self.slots[next as usize].previous = previous,
        }
    }

    fn give_back(&mut self, slot: u32) {
        let note = &mut self.slots[slot as usize];
        (note.serial, note.flags, note.next) = (0, 0, self.free);
        self.free = slot;
        self.used -= 1;
    }
}
