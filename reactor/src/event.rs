//! What is told: [`Change`] by a source to the turn, [`Event`] by a log to its readers.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::error::SourceError;
use crate::{ExitStatus, Loss, Metadata, ProcId};

/// What a source says happened, in pids, before anybody knows whose they are.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// Process `parent`, by its thread `thread`, made process `child`.
    Fork {
        /// Pid of the parent process.
        parent: u32,
        /// The thread that forked; equal to `parent` where a source does not tell threads.
        thread: u32,
        /// Pid of the child.
        child: u32,
    },
    /// Process `process` has a new thread.
    Thread {
        /// The process.
        process: u32,
        /// The thread's id.
        thread: u32,
    },
    /// `process` runs a new program; its thread set is the leader alone.
    Exec {
        /// The process.
        process: u32,
    },
    /// A thread ended. The process has when its last thread did.
    Exit {
        /// The process.
        process: u32,
        /// The thread; equal to `process` for the leader, or where a source does not tell threads.
        thread: u32,
        /// Wait status of the thread, `None` where the source tells none.
        status: Option<i32>,
        /// Pid of the parent, if the process had not been reaped at the time of the change; else, and where that is not known, 0. It
        /// tells the ends of two owners of one pid apart.
        parent: u32,
    },
    /// A process ended, with all the threads that it had, known or not: for sources that tell no threads.
    End {
        /// The process.
        process: u32,
        /// Its wait status, `None` if it is not known.
        status: Option<i32>,
    },
    /// The source will tell of `process` nothing more but its end, and nothing of what it starts from now on.
    Unseen {
        /// The process.
        process: u32,
    },
}

/// A change and when it was, in nanoseconds of the monotonic clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamped {
    /// Nanoseconds of `CLOCK_MONOTONIC`.
    pub time: u64,
    /// What happened.
    pub change: Change,
}

/// When something happened, by two clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time {
    monotonic: u64,
    /// Nanoseconds from the monotonic to the wall clock, as read when the event was taken in.
    wall_offset: i64,
}

impl Time {
    /// `monotonic` in nanoseconds of `CLOCK_MONOTONIC`, `wall_offset` the nanoseconds to add for wall time.
    pub const fn new(monotonic: u64, wall_offset: i64) -> Self {
        Self { monotonic, wall_offset }
    }

    /// Since an arbitrary point, usually boot, by the clock of [`std::time::Instant`] on Linux. Never steps back
    /// or forth, does not count suspended time.
    pub const fn monotonic(self) -> Duration {
        Duration::from_nanos(self.monotonic)
    }

    /// By the wall clock as it was set when the event was taken in.
    pub fn wall(self) -> SystemTime {
        let nanos = i128::from(self.monotonic) + i128::from(self.wall_offset);
        SystemTime::UNIX_EPOCH + Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
    }
}

/// One entry of a tracked tree's stream.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Event {
    /// Whom it is about; for a [`EventKind::Fork`] the parent; for entries about the whole stream the root.
    pub id: ProcId,
    /// The parent of `id`, where known.
    pub parent: Option<ProcId>,
    /// When it happened.
    pub time: Time,
    /// What happened.
    pub kind: EventKind,
}

/// What happened to a process of a tree, or to the stream that tells of it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum EventKind {
    /// `id` made the process `child`: the first event of the child, before any other of it (C28).
    Fork {
        /// The new process.
        child: ProcId,
    },
    /// `id` runs a new program.
    Exec {
        /// What it runs, read from the system after the fact.
        metadata: Arc<Metadata>,
    },
    /// `id` ended, all threads of it. Its last event (C20). Its zombie may not be reapable yet (C21).
    Exit {
        /// How.
        status: ExitStatus,
    },
    /// `id` was there when looked for, without its birth having been seen: the first event of it.
    Found {
        /// What it runs.
        metadata: Arc<Metadata>,
    },
    /// This reader was too slow: `count` events were dropped from the log before it read them. `living` is who
    /// is alive at this point of the stream; whoever was known and is not in it has ended (its status was
    /// in a dropped event).
    Gap {
        /// How many events this reader missed.
        count: u64,
        /// What the system lost, where a [`EventKind::Lost`] was among them.
        lost: Option<Loss>,
        /// The living processes of the tree, parents first.
        living: Arc<[Member]>,
    },
    /// The system lost records before anybody could read them. What can be found out from the process list
    /// follows as `Found` and `Exit` events up to a [`EventKind::Resync`] (K8).
    Lost {
        /// How many records of the source, of whatever process of the machine.
        count: u64,
        /// Whether `count` is exact, or only a lower bound.
        exact: bool,
    },
    /// The tree is again what it really is. Between `Lost` and here, processes may have been born and have
    /// died unseen.
    Resync {
        /// Processes found alive that the loss had hidden.
        found: u64,
        /// Processes whose end was told since the `Lost`, found out or seen.
        exited: u64,
    },
    /// The source sees nothing more of what `id` does but its end, nor what it starts: it ran a program that is not to be
    /// looked into (setuid, or not readable), and the source in use is shut out of those.
    Unseen,
    /// The source broke. The last event of the stream, which is not complete: processes may live on.
    Failed {
        /// What the source said.
        error: Arc<SourceError>,
    },
}

/// A living process of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Member {
    /// The process.
    pub id: ProcId,
    /// Its parent, where known.
    pub parent: Option<ProcId>,
}

impl fmt::Display for Event {
    /// One line, for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            EventKind::Fork { child } => write!(f, "{} fork {child}", self.id),
            EventKind::Exec { metadata } => write!(f, "{} exec {metadata}", self.id),
            EventKind::Exit { status } => write!(f, "{} {status}", self.id),
            EventKind::Found { metadata } => write!(f, "{} found {metadata}", self.id),
            EventKind::Gap { count, lost, living } => {
                write!(f, "{} gap: {count} events were not read in time", self.id)?;
                if let Some(lost) = lost {
                    write!(f, " and {lost} of the source lost")?;
                }
                write!(f, ", {} processes live", living.len())
            }
            &EventKind::Lost { count, exact } => {
                write!(f, "{} lost {} of the source", self.id, Loss { count, exact })
            }
            EventKind::Resync { found, exited } => {
                write!(f, "{} resync: {found} processes found, {exited} ended", self.id)
            }
            EventKind::Unseen => {
                write!(f, "{} cannot be seen into any more: only its end will be told", self.id)
            }
            EventKind::Failed { error } => write!(f, "{} the source failed: {error}", self.id),
        }
    }
}
