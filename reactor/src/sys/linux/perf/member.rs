//! A process that is followed, as the records have it.

use super::super::pidfd::Pidfd;
use crate::process::threads::Threads;

/// A process from its birth, or from when it was found, until its end has been told.
#[derive(Debug)]
pub(super) struct Member {
    /// Who made it, or had it when it was found.
    pub(super) parent: u32,
    /// Which thread of that one made it; 0 if it was found.
    pub(super) maker: u32,
    pub(super) threads: Threads,
    /// When it was made, or when it started by the system's account; nanoseconds of the monotonic clock.
    pub(super) born: u64,
    pub(super) birth: Birth,
    /// When the process list showed it, if that is how it was found.
    pub(super) seen: u64,
    /// The last record of it told that it runs a new program.
    pub(super) just_executed: bool,
    pub(super) witness: Option<Witness>,
    /// There was nobody by its pid any more when a pidfd was to be opened: it has been reaped.
    pub(super) gone: bool,
    /// When its last thread ended, if that was told: the end is told when its status is known, or cannot be.
    pub(super) ended: Option<u64>,
    /// A record told so, and when. Else its pidfd did, if that was its own.
    pub(super) end_recorded: bool,
    /// That record came right after an exec, so that it may be one of those that are none (see [`ending`](super::ending)).
    pub(super) end_doubted: bool,
    /// Its end was left for a later drain to tell.
    pub(super) left: bool,
}

/// What is known of a birth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Birth {
    /// Its record has been read.
    Told,
    /// A reading of the process list showed the process; the record of its birth may be still to come.
    Found,
    /// The same, and it has been told as if the record had come.
    Presumed,
}

/// A pidfd of what had the process's id when it was opened.
#[derive(Debug)]
pub(super) struct Witness {
    pub(super) pidfd: Pidfd,
    /// Just after it was opened. If the process ended later, it is the process's.
    pub(super) opened: u64,
    /// Whether what it stands for has the parent that the process was born to, once that was asked. That one has no second child
    /// of this id unless a record tells of it that was written before that child can have ended.
    pub(super) same_parent: Option<bool>,
    /// It was seen among the children of the thread that made the process, after it was opened.
    pub(super) same_maker: bool,
    /// Just after it was seen that what it stands for had ended, where it was opened after the process's end.
    pub(super) seen_ended: Option<u64>,
    /// The status that the kernel told when it had been reaped.
    pub(super) reaped_with: Option<i32>,
    /// The source's epoll has it.
    pub(super) awaited: bool,
}

impl Witness {
    pub(super) fn new(pidfd: Pidfd, opened: u64) -> Self {
        let (same_parent, same_maker, seen_ended, reaped_with) = (None, false, None, None);
        Self { pidfd, opened, same_parent, same_maker, seen_ended, reaped_with, awaited: false }
    }

    /// Has it said whether what it stands for has this parent, while it can: who has been reaped has none.
    pub(super) fn ask_for_parent(&mut self, parent: u32) {
        self.same_parent.get_or_insert_with(|| self.pidfd.parent() == Some(parent));
    }
}

impl Member {
    pub(super) fn born(parent: u32, maker: u32, born: u64) -> Self {
        Self {
            parent,
            maker,
            threads: Threads::Leader,
            born,
            birth: Birth::Told,
            seen: 0,
            just_executed: false,
            witness: None,
            gone: false,
            ended: None,
            end_recorded: false,
            end_doubted: false,
            left: false,
        }
    }

    pub(super) fn found(parent: u32, start: u64, seen: u64, threads: Threads) -> Self {
        Self { threads, birth: Birth::Found, seen, ..Self::born(parent, 0, start) }
    }

    /// Whether a pidfd that was opened then may have been opened after the process's end, given when that was told. One that was
    /// found in the process list was held against it.
    pub(super) fn may_be_late(&self, opened: u64, ended: u64) -> bool {
        opened >= ended || (!self.end_recorded && self.seen == 0)
    }

    /// The same of the pidfd that it has; false if it has none.
    pub(super) fn is_witness_late(&self, ended: u64) -> bool {
        self.witness.as_ref().is_some_and(|witness| self.may_be_late(witness.opened, ended))
    }

    /// Whether it was seen to have been reaped, with a status.
    pub(super) fn is_reaped(&self) -> bool {
        self.witness.as_ref().is_some_and(|witness| witness.reaped_with.is_some())
    }

    /// Whether the record of a birth is that of this process, which was found before it was read; else its id is in use again.
    pub(super) fn awaits_birth(&self, parent: u32, time: u64) -> bool {
        // A forker can be preempted between making a process, when the list shows it, and the record; and that the process has ended may be
        // known before the record is read. No parent makes a second child of one id in such a time.
        self.birth != Birth::Told && (time <= self.seen || self.ended.is_none() || parent == self.parent)
    }
}
