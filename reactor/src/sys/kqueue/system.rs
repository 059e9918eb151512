//! What is asked of a system: two queues of notes, its process table, and the time.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use crate::flags::{NOTE_CHILD, NOTE_EXEC, NOTE_EXIT, NOTE_FORK, NOTE_TRACKERR};
use crate::source::{Living, Reading};

/// Which of the two queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Queue {
    /// Tells of execs and ends. A note of it may be active while its process ends, and may then lose both.
    Full,
    /// Tells of ends only, so that no note of it is active before its end: it loses none.
    Ends,
}

impl Queue {
    pub(super) const BOTH: [Self; 2] = [Self::Full, Self::Ends];
}

/// An event of EVFILT_PROC as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Note {
    pub(crate) pid: u32,
    pub(crate) fflags: u32,
    /// `EV_EOF`.
    pub(crate) eof: bool,
    pub(crate) data: i64,
}

impl Note {
    pub(super) fn is_child(self) -> bool {
        self.fflags & NOTE_CHILD != 0
    }

    pub(super) fn is_exec(self) -> bool {
        self.fflags & NOTE_EXEC != 0
    }

    pub(super) fn is_fork(self) -> bool {
        self.fflags & NOTE_FORK != 0
    }

    pub(super) fn is_trouble(self) -> bool {
        self.fflags & NOTE_TRACKERR != 0
    }

    /// The last of a birth. `EV_EOF` alone says so of a note that is none of a child (C20).
    pub(super) fn is_exit(self) -> bool {
        self.fflags & NOTE_EXIT != 0 || (self.eof && !self.is_child())
    }

    /// `None` where the note merged with that of the end, whose status took the parent's place.
    pub(super) fn parent(self) -> Option<u32> {
        u32::try_from(self.data).ok().filter(|_| self.fflags & NOTE_EXIT == 0)
    }
}

/// A process as the system's table has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) pid: u32,
    pub(crate) parent: u32,
    /// Nanoseconds of the monotonic clock. 0: not told, as of a zombie on some systems, which is then taken for who was there before.
    pub(crate) start: u64,
    /// How many threads; 0 of a zombie.
    pub(crate) threads: u32,
    /// It is ending, and may have been told to have ended, though it is no zombie yet.
    pub(crate) ending: bool,
    /// Of a zombie, where it may be read.
    pub(crate) status: Option<i32>,
    /// It has run a program since it was born.
    pub(crate) executed: bool,
}

impl Entry {
    pub(super) fn is_zombie(self) -> bool {
        self.threads == 0
    }
}

impl From<Entry> for Living {
    /// The threads have no names here: a process's own id stands for all of them, as its end does.
    fn from(entry: Entry) -> Self {
        let threads = if entry.is_zombie() { Vec::new() } else { vec![entry.pid] };
        Self { pid: entry.pid, parent: entry.parent, start: entry.start, threads, status: entry.status }
    }
}

/// A kernel with an EVFILT_PROC. Its descriptor polls readable when a queue has something, or the alarm has come.
pub(crate) trait System: Send + fmt::Debug + AsFd {
    /// Appends what is ready, `room` notes at most. Fewer: there are no more.
    fn read(&mut self, queue: Queue, out: &mut Vec<Note>, room: usize) -> io::Result<usize>;

    /// Whether something has come since the queues were read. If not, the descriptor polls readable when something does: it may not do
    /// so again for what it has been readable for all along.
    fn rest(&mut self) -> io::Result<bool>;

    /// Sets a note (EV_ADD), or sets the one that is there anew, which changes nothing (C7).
    fn add(&mut self, queue: Queue, pid: u32) -> io::Result<()>;

    /// Takes a note away (EV_DELETE). False if there was none (ENOENT).
    fn delete(&mut self, queue: Queue, pid: u32) -> io::Result<bool>;

    /// Looks one process up; a zombie too.
    fn entry(&mut self, pid: u32) -> io::Result<Option<Entry>>;

    /// All that are visible.
    fn entries(&mut self) -> io::Result<Vec<Entry>>;

    /// Children of a process, for a kernel without NOTE_TRACK.
    fn children(&mut self, pid: u32) -> io::Result<Vec<u32>>;

    /// How many processes the machine has made so far, by its own count. `None`: it keeps none.
    fn forks(&mut self) -> Option<u64>;

    /// Whether orphans come to this program, as it has asked for them: then a child of it need not be one that it has made.
    fn adopts_orphans(&self) -> bool;

    /// Has the descriptor poll readable so many nanoseconds from now. The last call counts.
    fn alarm(&mut self, after: u64) -> io::Result<()>;

    /// A descriptor that polls readable when the process that has this pid now has ended.
    fn witness(&mut self, pid: u32) -> io::Result<OwnedFd>;

    /// Reads what a process runs.
    fn inspect(&mut self, pid: u32) -> Reading;

    /// Nanoseconds of the monotonic clock.
    fn now(&self) -> u64;
}
