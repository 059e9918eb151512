//! What can be told apart of the algorithms, and what can go wrong with them.

/// What can go wrong. Each is searched for by itself: after any other the run goes on, as far as it can.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Fault {
    /// The call returns to the program with the process's lock held (the report's variety 1).
    ReturnsWithLock,
    /// It sleeps with the lock held, and another comes for it (variety 2).
    SleepsWithLock,
    /// The pointer to the list was there when tested and is not when used (variety 3).
    NullList,
    /// The list is there, and its way to lock has been cleared (variety 3 too).
    NullLock,
    /// It writes to the program's memory with the lock held, which may fault (variety 4).
    CopiesWithLock,
    /// Another waits for the lock already when it goes to sleep: all stand still (seen when the report was run again).
    Hang,
    /// The list's memory is used after it was given back.
    FreedList,
    /// The note's memory is.
    FreedNote,
    /// The process has ended, nothing is going on, and its end was not told and will not be.
    LostExit,
    /// What happened to one process comes to the note of another, or who asks for one gets the note of another; also where they have
    /// the same pid.
    WrongBirth,
    /// One note tells the end twice.
    ToldTwice,
    /// Somebody sleeps while there is something to be told, and nothing else is going on.
    LostWake,
}

impl Fault {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ReturnsWithLock => "ReturnsWithLock",
            Self::SleepsWithLock => "SleepsWithLock",
            Self::NullList => "NullList",
            Self::NullLock => "NullLock",
            Self::CopiesWithLock => "CopiesWithLock",
            Self::Hang => "Hang",
            Self::FreedList => "FreedList",
            Self::FreedNote => "FreedNote",
            Self::LostExit => "LostExit",
            Self::WrongBirth => "WrongBirth",
            Self::ToldTwice => "ToldTwice",
            Self::LostWake => "LostWake",
        }
    }
}

/// Those that the algorithms of the kernels are searched for.
pub(crate) const FAULTS: [Fault; 9] = [
    Fault::ReturnsWithLock,
    Fault::SleepsWithLock,
    Fault::NullList,
    Fault::NullLock,
    Fault::CopiesWithLock,
    Fault::Hang,
    Fault::FreedList,
    Fault::FreedNote,
    Fault::LostExit,
];

/// And those that there are besides in a model with births, several readers and sleep.
pub(crate) const ALL_FAULTS: [Fault; 12] = [
    Fault::ReturnsWithLock,
    Fault::SleepsWithLock,
    Fault::NullList,
    Fault::NullLock,
    Fault::CopiesWithLock,
    Fault::Hang,
    Fault::FreedList,
    Fault::FreedNote,
    Fault::LostExit,
    Fault::WrongBirth,
    Fault::ToldTwice,
    Fault::LostWake,
];

/// What a search came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// After this many steps.
    Yes { steps: usize },
    /// In no reachable state; there are this many.
    No { states: usize },
}

/// How a thread gets at the list's lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Through the note's pointer, read anew each time it is needed.
    Reread,
    /// Through the pointer read once; what was locked is remembered and unlocked.
    Remembered,
}

/// What becomes of the list when the process is no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Memory {
    /// It stays for ever, and is another process's later.
    TypeStable,
    /// The same, but its functions are cleared when the process is reaped.
    ClearedAtReap,
    /// It is given back when the process is reaped.
    FreedAtReap,
    /// It has an allocation of its own, which goes with its last note after the exit.
    Counted,
    /// The same, but it goes with the exit, notes or not.
    FreedAtExit,
}

/// One algorithm.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Algorithm {
    pub(crate) name: &'static str,
    pub(crate) lock: Way,
    pub(crate) unlock: Way,
    /// The exit takes the note off the list and clears the note's pointer.
    pub(crate) exit_clears_pointer: bool,
    pub(crate) memory: Memory,
    /// The reader asks the filter again, which for a note without a process says that there is nothing.
    pub(crate) filter_needs_process: bool,
    /// The exit passes over a note that is being read.
    pub(crate) exit_skips_scanned: bool,
    /// A deletion waits until the note is not being read.
    pub(crate) delete_waits: bool,
    /// Whether the scenario has a deletion.
    pub(crate) deletes: bool,
}
