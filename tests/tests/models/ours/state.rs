//! The world, what is registered, and where each thread is.

use crate::algorithm::Fault;

pub(super) const EXEC: u8 = 1;
pub(super) const EXIT: u8 = 2;

/// A process as it really is, whatever the program takes it for.
pub(super) type Who = u8;
/// Its pid is `FIRST_PID`.
pub(super) const OLD: Who = 0;
/// Is born when `OLD` has been reaped, and gets its pid.
pub(super) const NEW: Who = 1;
/// Has another pid, and lives on.
pub(super) const STRANGER: Who = 2;
const FIRST_PID: u8 = 1;

pub(super) fn pid(who: Who) -> u8 {
    if who == STRANGER { FIRST_PID + 1 } else { FIRST_PID }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Thread {
    /// A process in its exit.
    Die(Who),
    Reap(Who),
    /// Makes `NEW`.
    Fork,
    /// Ends the time for which the first reader waits.
    Clock,
    /// Whoever drives: drains the source and applies what came.
    Turn,
    /// Reads events, and waits for them.
    Read(u8),
    Delete,
    /// `EV_ADD`.
    Register,
    Close,
}

/// The queue's is a leaf: taken after the table's where both are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Lock {
    Baton,
    Table,
    Queue,
}

pub(super) const LOCKS: [Lock; 3] = [Lock::Baton, Lock::Table, Lock::Queue];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Life {
    Unborn,
    Alive,
    /// Its end is not queued yet: the kernel does that a moment later.
    Zombie,
    Gone,
}

/// What the source has queued. The program sees the pid only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Record {
    Fork(Who),
    Exit(Who),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) slot: u8,
    pub(super) serial: u8,
}

/// A process in the table. `who` stands for its birth number as well.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Entry {
    pub(super) who: Who,
    pub(super) keys: Vec<Key>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Note {
    pub(super) serial: u8,
    pub(super) pid: u8,
    /// Whom it is on; nobody while it is being attached.
    pub(super) on: Option<Who>,
    pub(super) collected: u8,
    pub(super) ended: bool,
    pub(super) oneshot: bool,
    /// Off the ready list though it has something to tell: only what reads in two holds does that.
    pub(super) off: bool,
}

impl Note {
    pub(super) fn tells(&self) -> bool {
        self.on.is_some() && self.collected != 0 && !self.off
    }
}

/// Who takes the records in, and what it is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Step {
    Idle,
    Drain,
    TakeTable,
    Apply,
    /// A process is out of the table with its list; the system is asked how it ended.
    AskStatus,
    TakeTableAgain,
    /// Mutant: looks the queue up where nothing keeps it.
    LookUp,
    TakeQueue,
    Mark,
    /// Mutant: the same with the table's lock long released.
    Unlock,
    GiveBack,
    Wake,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Driver {
    pub(super) step: Step,
    pub(super) batch: Vec<Record>,
    /// The list of the process that has just been taken out, and who that is by its record.
    pub(super) keys: Vec<Key>,
    pub(super) who: Who,
    pub(super) woken: Vec<u8>,
}

impl Driver {
    fn new() -> Self {
        Self { step: Step::Idle, batch: Vec::new(), keys: Vec::new(), who: OLD, woken: Vec::new() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum At {
    TakeQueue,
    Scan,
    /// Mutant: has read a note, let the lock go, and is to come back to it.
    TakeQueueAgain(Key, u8),
    Settle(Key, u8),
    Release,
    WakeHeir,
    TakeTable,
    Unlink,
    Arm,
    TakeQueueToWait,
    Stand,
    /// Mutants: looks with no lock; arms when it stands there already.
    Peek,
    ArmLate,
    Sleep,
    TakeQueueToLeave,
    Leave,
    Return,
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Reader {
    pub(super) at: At,
    pub(super) got: bool,
    /// A note that is gone, to be taken off its process's list.
    pub(super) unlink: Option<(Who, u8)>,
    pub(super) heir: Option<u8>,
    /// It has waited, and must leave its place.
    pub(super) seated: bool,
    /// Its waker is where who has news finds it.
    pub(super) armed: bool,
    /// It was woken, asleep or not.
    pub(super) token: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Add {
    /// Takes in what is queued, before all else.
    Pump,
    TakeBaton,
    TakeTable,
    TakeQueue,
    Begin,
    /// The source follows the process; no lock but the baton is held.
    Attach,
    TakeTableToBind,
    TakeQueueToBind,
    Bind,
    /// Looks into the system's list; likewise.
    Look,
    GiveBack,
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Looked {
    Not,
    Living,
    Zombie,
    Nothing,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Adder {
    pub(super) add: Add,
    pub(super) key: Key,
    pub(super) looked: Looked,
    /// Mutant: whom the table had when it began.
    pub(super) began: Option<Who>,
    pub(super) news: Option<u8>,
}

/// Takes the table's lock, the queue's, does it, lets them go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Both {
    TakeTable,
    TakeQueue,
    Do,
    Done,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(super) life: [Life; 3],
    /// Whose exit the kernel has still to queue.
    pub(super) unqueued: [bool; 3],
    pub(super) records: Vec<Record>,
    pub(super) owner: [Option<Thread>; 3],
    /// In the order of birth; two of a pid where the next was told before the exit of the last.
    pub(super) table: Vec<Entry>,
    pub(super) slots: Vec<Option<Note>>,
    pub(super) serials: u8,
    pub(super) closed: bool,
    /// The reactor's list of queues has it.
    pub(super) listed: bool,
    pub(super) waiters: Vec<u8>,
    /// The turn's, and that of the registration's pump.
    pub(super) drivers: [Driver; 2],
    pub(super) expired: bool,
    pub(super) readers: [Reader; 2],
    pub(super) delete: Both,
    pub(super) adder: Adder,
    pub(super) close: Both,
    pub(super) to_wake: Vec<u8>,
    /// By serial: whose end is to be told by it, and whether it was.
    pub(super) owed: Vec<Option<Who>>,
    pub(super) told: u8,
    /// Whom somebody takes for watched, who got the note of another.
    pub(super) believed: Option<Who>,
    /// Who was the last to end under the first pid, if it has notes and nobody was born since.
    pub(super) last_end: Option<Who>,
    faults: u16,
    pub(super) crashed: bool,
}

impl State {
    pub(super) fn new() -> Self {
        let reader = Reader {
            at: At::Done,
            got: false,
            unlink: None,
            heir: None,
            seated: false,
            armed: false,
            token: false,
        };
        Self {
            life: [Life::Alive, Life::Unborn, Life::Alive],
            unqueued: [false; 3],
            records: Vec::new(),
            owner: [None; 3],
            table: Vec::new(),
            slots: Vec::new(),
            serials: 0,
            closed: false,
            listed: true,
            waiters: Vec::new(),
            drivers: [Driver::new(), Driver::new()],
            expired: false,
            readers: [reader; 2],
            delete: Both::Done,
            adder: Adder {
                add: Add::Done,
                key: Key { slot: 0, serial: 0 },
                looked: Looked::Not,
                began: None,
                news: None,
            },
            close: Both::Done,
            to_wake: Vec::new(),
            owed: Vec::new(),
            told: 0,
            believed: None,
            last_end: None,
            faults: 0,
            crashed: false,
        }
    }

    pub(super) fn add(&mut self, fault: Fault) {
        self.faults |= 1 << fault as u16;
    }

    pub(crate) fn has(&self, fault: Fault) -> bool {
        self.faults & 1 << fault as u16 != 0
    }

    pub(super) fn expires(&self, thread: Thread) -> bool {
        self.expired && thread == Thread::Read(0)
    }

    /// A fault after which there is nothing to go on with.
    pub(super) fn crash(&mut self, fault: Fault) {
        self.add(fault);
        self.crashed = true;
    }

    /// Takes a lock. False if it is taken.
    pub(super) fn take(&mut self, lock: Lock, thread: Thread) -> bool {
        let owner = &mut self.owner[lock as usize];
        if owner.is_some() {
            return false;
        }
        *owner = Some(thread);
        true
    }

    pub(super) fn release(&mut self, lock: Lock) {
        self.owner[lock as usize] = None;
    }

    /// Puts a note into the first slot that is free.
    pub(super) fn insert(&mut self, pid: u8, on: Option<Who>, collected: u8, oneshot: bool) -> Key {
        let serial = self.serials;
        self.serials += 1;
        self.owed.push(on);
        let note = Some(Note { serial, pid, on, collected, ended: false, oneshot, off: false });
        let slot = self.slots.iter().position(Option::is_none).unwrap_or(self.slots.len());
        if slot == self.slots.len() {
            self.slots.push(note);
        } else {
            self.slots[slot] = note;
        }
        Key { slot: slot as u8, serial }
    }

    /// A note goes whose process's end it need not tell any more.
    pub(super) fn remove(&mut self, slot: u8) {
        if let Some(note) = self.slots[slot as usize].take() {
            self.owed[note.serial as usize] = None;
        }
    }

    pub(super) fn find(&self, key: Key) -> Option<&Note> {
        self.slots.get(key.slot as usize)?.as_ref().filter(|note| note.serial == key.serial)
    }

    /// A process is in the table from now on.
    pub(super) fn born(&mut self, who: Who) {
        if pid(who) == FIRST_PID {
            self.last_end = None;
        }
        self.table.push(Entry { who, keys: Vec::new() });
    }

    /// A process with notes ended, and is out of the table.
    pub(super) fn ended(&mut self, who: Who) {
        if pid(who) == FIRST_PID && self.newest(FIRST_PID).is_none() {
            self.last_end = Some(who);
        }
    }

    pub(super) fn newest(&self, pid: u8) -> Option<usize> {
        self.table.iter().rposition(|entry| self::pid(entry.who) == pid)
    }

    pub(super) fn unlink(&mut self, who: Who, serial: u8) {
        if let Some(entry) = self.table.iter_mut().find(|entry| entry.who == who) {
            entry.keys.retain(|key| key.serial != serial);
        }
    }

    pub(super) fn telling(&self) -> bool {
        self.slots.iter().flatten().any(Note::tells)
    }

    pub(super) fn next_waiter(&mut self) -> Option<u8> {
        if self.waiters.is_empty() { None } else { Some(self.waiters.remove(0)) }
    }

    pub(super) fn wake(&mut self, reader: u8) {
        let reader = &mut self.readers[reader as usize];
        if std::mem::take(&mut reader.armed) {
            reader.token = true;
        }
    }
}
