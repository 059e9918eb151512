//! Where each thread is, and what is true of the note, the list and the process.

use crate::algorithm::Fault;

pub(super) const EXEC: u8 = 1;
pub(super) const EXIT: u8 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Thread {
    Scan,
    Exit,
    Reap,
    Delete,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Scan {
    /// At the beginning of the loop over what is queued.
    Look,
    /// Found nothing, and is asleep until something is queued.
    Asleep,
    /// Is to see whether the note has a list.
    TestList,
    /// Is to follow the pointer to the list.
    FollowPointer,
    /// Is to call the list's function.
    CallLock,
    /// Waits for the lock.
    TakeLock,
    AskFilter,
    /// Is to write down what the filter said.
    Settle {
        got: bool,
    },
    Unlock {
        got: bool,
        last: bool,
    },
    /// Has an event for the program.
    CopyOut,
    Return,
    /// Is to take the note away, which has had its last event.
    Drop,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Exit {
    TakeLock,
    TakeQueue,
    Mark,
    ReleaseQueue,
    Detach,
    Unlock,
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Reap {
    Come,
    Wait,
    Unlock,
    Destroy,
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Delete {
    TakeQueue,
    Drop,
    Done,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(super) scan: Scan,
    pub(super) exit: Exit,
    pub(super) reap: Reap,
    pub(super) delete: Delete,
    pub(super) process_lock: Option<Thread>,
    pub(super) queue_lock: Option<Thread>,
    /// The reader remembers that it locked the list.
    pub(super) remembers: bool,
    /// The note's pointer to its list.
    pub(super) pointer: bool,
    /// The note's pointer to the process.
    pub(super) process: bool,
    /// What was collected and not read.
    pub(super) collected: u8,
    pub(super) last: bool,
    /// On the queue, or thought to be so while it is read.
    pub(super) queued: bool,
    pub(super) linked: bool,
    /// Somebody works on the note with no lock held.
    pub(super) in_flux: bool,
    /// Who does is the reader.
    pub(super) scanned: bool,
    pub(super) note_freed: bool,
    pub(super) on_list: bool,
    pub(super) list_works: bool,
    pub(super) list_freed: bool,
    pub(super) process_gone: bool,
    pub(super) told: u8,
    pub(super) deleted: bool,
    pub(super) faults: u16,
    /// A null pointer was followed: the kernel is no more.
    pub(super) crashed: bool,
}

impl State {
    pub(super) fn add(&mut self, fault: Fault) {
        self.faults |= 1 << fault as u16;
    }

    pub(crate) fn has(&self, fault: Fault) -> bool {
        self.faults & 1 << fault as u16 != 0
    }
}
