//! What every variant does.

/// Whose pid it is does not matter here: none is used twice.
pub(crate) type Pid = u64;

/// What happened to a process, or to those that a note tells of: bits, added up until they are read.
pub(crate) type Flags = u32;

pub(crate) const FORK: Flags = 1;
pub(crate) const EXEC: Flags = 2;
/// Takes the process out of the table. The note that has told of it is gone.
pub(crate) const EXIT: Flags = 4;

/// As many changes are applied under one hold of the table's lock, and as many events read in one scan.
pub(crate) const BATCH: usize = 64;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Change {
    pub(crate) pid: Pid,
    pub(crate) flags: Flags,
    /// How much else there is to be done for it under the table's lock: so many multiplications, each of which waits
    /// for the one before.
    pub(crate) work: u32,
}

impl Change {
    pub(crate) fn new(pid: Pid, flags: Flags) -> Self {
        Self { pid, flags, work: 0 }
    }

    pub(crate) fn other_work(self) {
        let mut product = self.pid;
        for _ in 0..self.work {
            product = std::hint::black_box(product).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) pid: Pid,
    pub(crate) flags: Flags,
}

/// Processes, the notes on them, and the queues that the notes belong to. One thread applies changes, in order; any
/// number of threads do the rest.
pub(crate) trait Notes: Send + Sync {
    const NAME: &str;
    /// What a note is deleted by.
    type Handle: Send;
    /// What a reader keeps between two scans.
    type Scratch: Default;

    fn new(queues: usize) -> Self;

    /// A process is born. Nobody has a note on it.
    fn fork(&self, pid: Pid);

    /// A note of this queue on a process; none if that has ended.
    fn register(&self, queue: usize, pid: Pid) -> Option<Self::Handle>;

    /// What happened, up to [`BATCH`] changes.
    fn apply(&self, changes: &[Change]);

    /// Adds up to [`BATCH`] events to these.
    fn scan(&self, queue: usize, scratch: &mut Self::Scratch, events: &mut Vec<Event>);

    /// Takes the note away. When this returns, no scan that begins sees it; one that has told of an exit has done so
    /// already.
    fn delete(&self, handle: &Self::Handle);

    /// Whether there is no process, and no note that is still to be read.
    fn is_empty(&self) -> bool;
}

/// Adds to a list of which most have one element: room for one, then for four.
pub(crate) fn push_tight<T>(list: &mut Vec<T>, value: T) {
    if list.capacity() == 0 {
        list.reserve_exact(1);
    }
    list.push(value);
}
