//! The constants of kqueue(2), with the values that FreeBSD gives them, so that a C interface can be laid over
//! [`Queue`](crate::Queue) without a table. What each does here stands at the rules in `docs/differences.md`.

/// The filter that follows processes.
pub const EVFILT_PROC: i16 = -5;
/// The filter for events that the program triggers itself.
pub const EVFILT_USER: i16 = -11;

/// Registers a note, or modifies the one that is there (C1, C7).
pub const EV_ADD: u16 = 0x1;
/// Takes a note away, with what it has collected (C9, C11).
pub const EV_DELETE: u16 = 0x2;
/// Lets a disabled note deliver again, also what it collected meanwhile (C12).
pub const EV_ENABLE: u16 = 0x4;
/// A disabled note collects and does not deliver (C11, C12).
pub const EV_DISABLE: u16 = 0x8;
/// The note goes with its first event (C14).
pub const EV_ONESHOT: u16 = 0x10;
/// What was delivered is forgotten; always so for processes (C13).
pub const EV_CLEAR: u16 = 0x20;
/// Answers each change with an entry of the event list, good ones too (C10).
pub const EV_RECEIPT: u16 = 0x40;
/// The note is disabled by each delivery (C15).
pub const EV_DISPATCH: u16 = 0x80;
/// FreeBSD's immediate delivery; refused here (C16).
pub const EV_FORCEONESHOT: u16 = 0x100;
/// What a program cannot set: taken off changes, as FreeBSD does.
pub const EV_SYSFLAGS: u16 = 0xf000;
/// An entry that answers a change: `data` is an errno, or 0 (C10).
pub const EV_ERROR: u16 = 0x4000;
/// The process has ended (C18).
pub const EV_EOF: u16 = 0x8000;

/// The process ended; `data` is its wait status (C18).
pub const NOTE_EXIT: u32 = 0x8000_0000;
/// The process forked, once or more (C24).
pub const NOTE_FORK: u32 = 0x4000_0000;
/// The process runs another program (C23).
pub const NOTE_EXEC: u32 = 0x2000_0000;
/// Follow its children, and theirs (C25, C26).
pub const NOTE_TRACK: u32 = 0x1;
/// Told: something of this process or its children was not followed (C30).
pub const NOTE_TRACKERR: u32 = 0x2;
/// Told: the process is a child that is followed from here on; `data` is its parent's pid (C25).
pub const NOTE_CHILD: u32 = 0x4;

/// A user event's flags stay.
pub const NOTE_FFNOP: u32 = 0;
/// A user event's flags are ANDed with these.
pub const NOTE_FFAND: u32 = 0x4000_0000;
/// A user event's flags are ORed with these.
pub const NOTE_FFOR: u32 = 0x8000_0000;
/// A user event's flags become these.
pub const NOTE_FFCOPY: u32 = 0xc000_0000;
/// Which of these four a change asks for.
pub const NOTE_FFCTRLMASK: u32 = 0xc000_0000;
/// The flags of a user event that are the program's own.
pub const NOTE_FFLAGSMASK: u32 = 0x00ff_ffff;
/// Triggers a user event.
pub const NOTE_TRIGGER: u32 = 0x0100_0000;

/// What may be asked of a process.
pub(crate) const PROC_INPUT: u32 = NOTE_EXIT | NOTE_FORK | NOTE_EXEC | NOTE_TRACK;
/// How a note delivers: kept for its life, and shown in its events.
pub(crate) const DELIVERY: u16 = EV_ONESHOT | EV_CLEAR | EV_RECEIPT | EV_DISPATCH;
/// What may be set in a change, once what only the system sets is taken off.
pub(crate) const INPUT: u16 = EV_ADD | EV_DELETE | EV_ENABLE | EV_DISABLE | DELIVERY;

pub(crate) const FLAG_NAMES: &[(u16, &str)] = &[
    (EV_ADD, "ADD"),
    (EV_DELETE, "DELETE"),
    (EV_ENABLE, "ENABLE"),
    (EV_DISABLE, "DISABLE"),
    (EV_ONESHOT, "ONESHOT"),
    (EV_CLEAR, "CLEAR"),
    (EV_RECEIPT, "RECEIPT"),
    (EV_DISPATCH, "DISPATCH"),
    (EV_FORCEONESHOT, "FORCEONESHOT"),
    (EV_ERROR, "ERROR"),
    (EV_EOF, "EOF"),
];

pub(crate) const PROC_NAMES: &[(u32, &str)] = &[
    (NOTE_EXIT, "EXIT"),
    (NOTE_FORK, "FORK"),
    (NOTE_EXEC, "EXEC"),
    (NOTE_TRACK, "TRACK"),
    (NOTE_TRACKERR, "TRACKERR"),
    (NOTE_CHILD, "CHILD"),
];
