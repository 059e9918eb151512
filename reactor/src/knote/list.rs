//! The notes on one process: keys, in an allocation of their own that goes with the last of them (K3).

/// Names a note from outside its queue. A key whose note is gone finds nothing (K1): serials are given once by a reactor,
/// so neither another note in the slot nor another queue in that place is taken for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct NoteKey {
    /// The queue's place among the reactor's.
    pub(crate) queue: u32,
    pub(crate) slot: u32,
    pub(crate) serial: u64,
}

/// The notes that a process's changes are to be told to.
#[derive(Debug, Default)]
pub(crate) struct NoteList {
    keys: Vec<NoteKey>,
}

impl NoteList {
    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub(crate) fn push(&mut self, key: NoteKey) {
        // Most processes have one note: no room for more before there are more.
        if self.keys.is_empty() {
            self.keys.reserve_exact(1);
        }
        self.keys.push(key);
    }

    /// Goes through all, and forgets those that `tell` says are gone.
    pub(crate) fn retain(&mut self, tell: impl FnMut(&NoteKey) -> bool) {
        self.keys.retain(tell);
        if self.keys.is_empty() {
            self.keys = Vec::new();
        }
    }

    pub(crate) fn remove(&mut self, serial: u64) {
        self.retain(|key| key.serial != serial);
    }
}
