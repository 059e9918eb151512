//! Where changes come from: the one trait, [`Source`], and what a source can promise.

#[cfg(any(target_os = "linux", test))]
pub(crate) mod order;
#[cfg(any(feature = "sim", test))]
pub mod sim;
mod spawner;
mod witness;

use std::fmt;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

pub use spawner::Spawner;
pub use witness::{Disagreement, Told, WitnessReport, Witnesses};

use crate::error::SourceError;
use crate::event::Stamped;
use crate::process::metadata::Metadata;

/// What the streams over a source can promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// Every process born into a tree is seen, unless a loss is told.
    pub exact_tree: bool,
    /// Exit statuses of all processes, not only of own children.
    pub statuses: bool,
    /// A loss is told with the exact number of records.
    pub counts_losses: bool,
    /// Processes that run already can be attached to, with what they started before.
    pub attach: bool,
    /// Told of every process of the machine, whosever it is. Else of the trees that are watched only: those that
    /// [`Reactor::spawn`](crate::Reactor::spawn) started and those attached to.
    pub whole_machine: bool,
}

impl Capabilities {
    /// Everything a source can promise.
    pub const fn all() -> Self {
        Self { exact_tree: true, statuses: true, counts_losses: true, attach: true, whole_machine: true }
    }
}

/// What one [`Source::drain`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Drained {
    /// Nothing was left behind when it looked.
    All,
    /// It stopped at the limit; there is more.
    More,
    /// The system dropped records after the last one that was handed out. [`Source::settle`] comes next.
    Overrun,
}

/// How much was lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loss {
    /// Records of the source, of whatever process of the machine.
    pub count: u64,
    /// Whether the count is exact, or only a lower bound.
    pub exact: bool,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at_least = if self.exact { "" } else { "at least " };
        write!(f, "{at_least}{} records", self.count)
    }
}

/// A living process, or one that nobody has reaped, as the system's list has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Living {
    /// Its pid.
    pub pid: u32,
    /// Its parent's pid as of now, 0 if it has none that is visible.
    pub parent: u32,
    /// When it started, in nanoseconds of the monotonic clock, to the system's precision.
    pub start: u64,
    /// Its living threads; empty for a zombie.
    pub threads: Vec<u32>,
    /// For a zombie its wait status, where it may be read.
    pub status: Option<i32>,
}

impl Living {
    /// Whether all its threads have ended.
    pub fn is_zombie(&self) -> bool {
        self.threads.is_empty()
    }
}

/// What [`Source::inspect`] read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// What the process was seen to run.
    pub metadata: Metadata,
    /// The change that made the process run this was queued before the reading was over: no exec was under way whose
    /// program could be read already and whose [`Change::Exec`](crate::Change::Exec) was yet to come.
    pub settled: bool,
}

/// Turns what a system says into ordered [`Change`](crate::Change)s. All that is particular to a system ends here.
///
/// A source is owned by the turn and called by one thread at a time. No call waits for anything to happen.
pub trait Source: Send + fmt::Debug {
    /// The name that `--source` takes.
    fn name(&self) -> &'static str;

    /// What streams over it can promise.
    fn capabilities(&self) -> Capabilities;

    /// What else is worth knowing of it as it was opened, for people: names in `snake_case`.
    fn details(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// A descriptor that polls readable when [`drain`](Self::drain) would hand out something.
    fn fd(&self) -> BorrowedFd<'_>;

    /// Appends what is queued now, in causal order, about `limit` records at most.
    ///
    /// # Errors
    /// The source is broken for good; nothing more will come of it.
    fn drain(&mut self, out: &mut Vec<Stamped>, limit: usize) -> Result<Drained, SourceError>;

    /// After an overrun: appends everything from the loss up to now and says how much was lost, in all.
    ///
    /// # Errors
    /// As for [`drain`](Self::drain).
    fn settle(&mut self, out: &mut Vec<Stamped>) -> Result<Loss, SourceError>;

    /// The pids of all processes now.
    ///
    /// # Errors
    /// The system's list cannot be read.
    fn pids(&mut self) -> io::Result<Vec<u32>>;

    /// Looks one process up in the system's list; `None` if it is not there.
    ///
    /// # Errors
    /// The system's list cannot be read, for another reason than that there is no such process.
    fn look(&mut self, pid: u32) -> io::Result<Option<Living>>;

    /// Follow this process from now on: for a source that is told of those only that it asks for. One that is told of the whole
    /// machine has nothing to do.
    ///
    /// # Errors
    /// The process may not or cannot be followed (C5).
    fn attach(&mut self, pid: u32) -> io::Result<()> {
        let _ = pid;
        Ok(())
    }

    /// The same for a process and all that descends from it now. Returns the pids of those it follows by it, for a source
    /// that is not told of the whole machine.
    ///
    /// # Errors
    /// As for [`attach`](Self::attach).
    fn attach_tree(&mut self, pid: u32) -> io::Result<Vec<u32>> {
        self.attach(pid).map(|()| Vec::new())
    }

    /// After a loss, the system's list showed this process below one that is followed, and it is followed from now on.
    fn found(&mut self, living: &Living) {
        let _ = living;
    }

    /// The thread that processes have to be started on to be seen from birth, for a source that sees no others.
    fn spawner(&self) -> Option<std::sync::Arc<Spawner>> {
        None
    }

    /// Makes its descriptor readable until the next drain. For a source whose descriptor tells one of those who poll it, and
    /// no other: who was told and takes no turn wakes this.
    fn recall(&self) -> Option<std::task::Waker> {
        None
    }

    /// When the process that has this pid started, as [`look`](Self::look) says it; for sources that can say that alone for less.
    fn start(&mut self, pid: u32) -> io::Result<Option<u64>> {
        Ok(self.look(pid)?.map(|living| living.start))
    }

    /// Whether the record of an end is always queued before it can be seen otherwise that the process has ended. A pid whose owner has
    /// ended unseen is then never taken for that one's.
    fn tells_ends_early(&self) -> bool {
        false
    }

    /// Closes some of the descriptors that it can do without, for who needs them more, and does not open as many again. False if it has none.
    fn shed(&mut self) -> bool {
        false
    }

    /// Whether it says which thread of a process forked. Where it does not, whoever is born to this program while it spawns seems to be of
    /// that spawn, until the spawn has said its pid.
    fn tells_threads(&self) -> bool {
        true
    }

    /// Whether nothing is left of a process, no zombie either: the record of its end is queued then, or on its way.
    fn is_gone(&mut self, pid: u32) -> bool {
        matches!(self.look(pid), Ok(None))
    }

    /// A descriptor of the process that has this pid now (pidfd_open(2)), for a source whose pids are this system's.
    ///
    /// # Errors
    /// `Unsupported`, or what the system says.
    fn pidfd(&mut self, pid: u32) -> io::Result<OwnedFd> {
        let _ = pid;
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Reads what a process runs. May be that of a later exec or a later process: the caller drains once more, and
    /// believes what is [`settled`](Reading::settled) and not contradicted by what was queued.
    fn inspect(&mut self, pid: u32) -> Reading;

    /// Now, in nanoseconds of the monotonic clock.
    fn now(&self) -> u64;

    /// What holding it against another source has come to, for one that is held against another ([`Witnesses`]).
    fn witnesses(&mut self) -> Option<WitnessReport> {
        None
    }
}
