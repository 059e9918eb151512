//! Our own algorithm as a model, in the steps of the code: between any two of them every other thread may come in.
//!
//! A process may be known to the table, which has it with the keys of its notes. A note is in a slot of its queue and carries a
//! serial. There are three locks, in this order: the baton of whoever drives, the table's, the queue's. The threads are
//! those of the code: whoever drives and so applies the exit (`turn`), readers who take events and wait for more (`reader`),
//! and those who change what is registered: `EV_ADD`, `EV_DELETE`, the closing of the queue (`change`). The kernel is three more: a
//! process becomes a zombie and a moment later its exit is queued; somebody reaps it; somebody forks, and the child has
//! the pid that is free now. So a birth can be queued before the exit of the last owner of the pid.
//!
//! Two things are simpler than the code. Readers follow and never drive. And where the table has a process that was found in
//! the system's list, the record of its birth is known for what it is, which the code can only tell from parent and time.

mod change;
mod kernel;
mod reader;
mod state;
mod turn;

use stateright::{Checker, Model, Property};

use crate::algorithm::{ALL_FAULTS, Fault, Found};
use state::{
    Add, At, Both, EXEC, Entry, LOCKS, Life, Lock, NEW, OLD, STRANGER, State, Step, Thread, Who, pid,
};

/// In what the mutants differ from the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// The code as it is.
    Ours,
    /// A key is a slot, whoever is in it.
    SerialUnchecked,
    /// A note is read in one hold of the lock and settled in a second, after asking once more, which says "nothing" for a note
    /// whose process has ended.
    AsksAgain,
    /// Read in one hold, settled in a second.
    TwoHolds,
    /// The exit takes the notes away instead of marking them.
    ExitRemoves,
    /// Whoever is about to wait looks with no lock, and then says that it waits.
    LooksUnlocked,
    /// It says that it waits before its waker is where it will be looked for.
    ArmsLate,
    /// Whoever takes one event of two wakes nobody for the other.
    NoHeir,
    /// The registration binds to whom it saw when it began, and turns go on meanwhile.
    BindsBlind,
    /// Turns go on during a registration, which looks again.
    NoBaton,
    /// It does not take in what is queued before it begins.
    NoPump,
    /// Notes are found by pid, whoever has it.
    ByPid,
    /// A note that is still to tell of an end is taken for the pid's own, whoever has had the pid since.
    ForgetsBirths,
    /// An exit is that of the youngest who has the pid.
    ExitOfYoungest,
    /// The exit lets the table's lock go before it marks, and believes that the queue is still there.
    MarksUnlocked,
    /// A lock is let go by way of the process that it was taken for, looked up again.
    UnlocksByProcess,
}

impl Mutant {
    /// None for the code as it is.
    pub(crate) fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::Ours => return None,
            Self::SerialUnchecked => "- serial not compared",
            Self::AsksAgain => "- scan asks again",
            Self::TwoHolds => "- scan in two holds",
            Self::ExitRemoves => "- exit removes the note",
            Self::LooksUnlocked => "- waiter looks unlocked",
            Self::ArmsLate => "- waker put there late",
            Self::NoHeir => "- leaver wakes nobody",
            Self::BindsBlind => "- bind does not look again",
            Self::NoBaton => "- turns while attaching",
            Self::NoPump => "- added before drained",
            Self::ByPid => "- notes by pid only",
            Self::ForgetsBirths => "- births forgotten",
            Self::ExitOfYoungest => "- exit is the youngest's",
            Self::MarksUnlocked => "- exit marks unlocked",
            Self::UnlocksByProcess => "- unlock looks up again",
        })
    }
}

/// What there is, and who comes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scene {
    pub(crate) name: &'static str,
    /// The old process has a note with an unread exec.
    pub(crate) watched: bool,
    /// That note goes with its first event.
    pub(crate) oneshot: bool,
    /// The old process is in the table.
    pub(crate) known: bool,
    /// Its threads' statuses are at odds.
    pub(crate) contested: bool,
    /// The stranger has a note with an unread exec too.
    pub(crate) two_notes: bool,
    pub(crate) readers: u8,
    /// The first reader waits for a time only.
    pub(crate) times_out: bool,
    pub(crate) deletes: bool,
    pub(crate) closes: bool,
    /// The old process's pid is used again, once it is reaped.
    pub(crate) reuse: bool,
    /// The kernel may queue the exit of the new owner of a pid before that of the old. It was never seen to; it was seen to queue
    /// the new one's birth before.
    pub(crate) exits_cross: bool,
    /// Whom somebody registers, as soon as there is one.
    pub(crate) registers: Option<Who>,
}

#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) scene: Scene,
    pub(crate) mutant: Mutant,
}

impl Scenario {
    fn start(&self) -> State {
        let scene = &self.scene;
        let mut state = State::new();
        if scene.known {
            let keys = if scene.watched {
                vec![state.insert(pid(OLD), Some(OLD), EXEC, scene.oneshot)]
            } else {
                Vec::new()
            };
            state.table.push(Entry { who: OLD, keys });
        }
        let keys = if scene.two_notes {
            vec![state.insert(pid(STRANGER), Some(STRANGER), EXEC, false)]
        } else {
            Vec::new()
        };
        state.table.push(Entry { who: STRANGER, keys });
        for reader in 0..scene.readers {
            state.readers[reader as usize].at = At::TakeQueue;
        }
        if scene.deletes {
            state.delete = Both::TakeTable;
        }
        if scene.closes {
            state.close = Both::TakeTable;
        }
        if scene.registers.is_some() {
            state.adder.add = if self.mutant == Mutant::NoPump { Add::TakeBaton } else { Add::Pump };
        }
        state
    }

    fn threads(&self) -> Vec<Thread> {
        let mut threads = vec![Thread::Die(OLD), Thread::Reap(OLD), Thread::Turn, Thread::Read(0)];
        if self.scene.readers > 1 {
            threads.push(Thread::Read(1));
        }
        if self.scene.times_out {
            threads.push(Thread::Clock);
        }
        if self.scene.reuse {
            threads.extend([Thread::Fork, Thread::Die(NEW), Thread::Reap(NEW)]);
        }
        if self.scene.deletes {
            threads.push(Thread::Delete);
        }
        if self.scene.closes {
            threads.push(Thread::Close);
        }
        if self.scene.registers.is_some() {
            threads.push(Thread::Register);
        }
        threads
    }

    fn step(&self, state: &State, thread: Thread) -> Option<State> {
        if state.crashed {
            return None;
        }
        let mut state = state.clone();
        let moved = match thread {
            Thread::Die(who) => self.die(&mut state, who),
            Thread::Clock => !std::mem::replace(&mut state.expired, true),
            Thread::Reap(who) => Self::reap(&mut state, who),
            Thread::Fork => Self::fork(&mut state),
            Thread::Turn => self.drive(&mut state, 0, Thread::Turn),
            Thread::Read(reader) => self.read(&mut state, reader),
            Thread::Delete => self.delete(&mut state),
            Thread::Register => self.register(&mut state),
            Thread::Close => self.close(&mut state),
        };
        moved.then_some(state)
    }

    /// The lock that a thread is about to take.
    fn wants(state: &State, thread: Thread) -> Option<Lock> {
        let driver = |driver: usize| match state.drivers[driver].step {
            Step::Idle if !state.records.is_empty() => Some(Lock::Baton),
            Step::TakeTable | Step::TakeTableAgain => Some(Lock::Table),
            Step::TakeQueue => Some(Lock::Queue),
            _ => None,
        };
        let both = |both: Both| match both {
            Both::TakeTable => Some(Lock::Table),
            Both::TakeQueue => Some(Lock::Queue),
            Both::Do | Both::Done => None,
        };
        match thread {
            Thread::Die(_) | Thread::Reap(_) | Thread::Fork | Thread::Clock => None,
            Thread::Turn => driver(0),
            Thread::Read(reader) => match state.readers[reader as usize].at {
                At::TakeQueue | At::TakeQueueAgain(..) | At::TakeQueueToWait | At::TakeQueueToLeave => {
                    Some(Lock::Queue)
                }
                At::TakeTable => Some(Lock::Table),
                _ => None,
            },
            Thread::Delete => both(state.delete),
            Thread::Close => both(state.close),
            Thread::Register => match state.adder.add {
                // Also where there is nothing to do, and another is at it.
                Add::Pump => driver(1).or((state.drivers[1].step == Step::Idle).then_some(Lock::Baton)),
                Add::TakeBaton => Some(Lock::Baton),
                Add::TakeTable | Add::TakeTableToBind => Some(Lock::Table),
                Add::TakeQueue | Add::TakeQueueToBind => Some(Lock::Queue),
                _ => None,
            },
        }
    }

    /// Who wants a lock that `owner` says is held.
    fn blocked(&self, state: &State, owner: impl Fn(Thread) -> bool) -> bool {
        self.threads()
            .into_iter()
            .filter_map(|thread| Self::wants(state, thread))
            .any(|lock| LOCKS.contains(&lock) && state.owner[lock as usize].is_some_and(&owner))
    }

    fn sleeps(state: &State, thread: Thread) -> bool {
        match thread {
            Thread::Read(reader) => {
                let reader = &state.readers[reader as usize];
                reader.at == At::Sleep && !reader.token && !state.expires(thread)
            }
            _ => false,
        }
    }

    /// Nothing more happens of itself. What need not come, or need not yet, does not count.
    fn stands(&self, state: &State) -> bool {
        let comes = |thread: &Thread| match thread {
            Thread::Clock => false,
            Thread::Delete => state.delete != Both::TakeTable,
            Thread::Close => state.close != Both::TakeTable,
            _ => true,
        };
        !state.crashed
            && self.threads().into_iter().filter(comes).all(|thread| self.step(state, thread).is_none())
    }

    fn has(&self, state: &State, fault: Fault) -> bool {
        match fault {
            Fault::SleepsWithLock => self.blocked(state, |owner| Self::sleeps(state, owner)),
            Fault::Hang => self.blocked(state, |_| true) && self.stands(state),
            Fault::LostExit => {
                let untold = |who: &Who| matches!(state.life[*who as usize], Life::Zombie | Life::Gone);
                let mut owed = state.owed.iter().chain([&state.believed]).flatten();
                owed.any(untold) && self.stands(state)
            }
            Fault::LostWake => {
                let asleep = || (0..2).any(|reader| Self::sleeps(state, Thread::Read(reader)));
                (state.telling() || state.closed) && asleep() && self.stands(state)
            }
            fault => state.has(fault),
        }
    }
}

impl Model for Scenario {
    type State = State;
    type Action = Thread;

    fn init_states(&self) -> Vec<State> {
        vec![self.start()]
    }

    fn actions(&self, _: &State, actions: &mut Vec<Thread>) {
        // Those that cannot move have no next state.
        actions.extend(self.threads());
    }

    fn next_state(&self, state: &State, thread: Thread) -> Option<State> {
        self.step(state, thread)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        fn is_free_of<const FAULT: usize>(model: &Scenario, state: &State) -> bool {
            !model.has(state, ALL_FAULTS[FAULT])
        }
        let names = ALL_FAULTS.map(Fault::name);
        vec![
            Property::always(names[0], is_free_of::<0>),
            Property::always(names[1], is_free_of::<1>),
            Property::always(names[2], is_free_of::<2>),
            Property::always(names[3], is_free_of::<3>),
            Property::always(names[4], is_free_of::<4>),
            Property::always(names[5], is_free_of::<5>),
            Property::always(names[6], is_free_of::<6>),
            Property::always(names[7], is_free_of::<7>),
            Property::always(names[8], is_free_of::<8>),
            Property::always(names[9], is_free_of::<9>),
            Property::always(names[10], is_free_of::<10>),
            Property::always(names[11], is_free_of::<11>),
        ]
    }
}

/// Searches a scenario to its end for all faults, each of which is a property of its own: having found one, the checker goes on
/// with the others. In the order of [`ALL_FAULTS`], each with the steps to it.
pub(crate) fn search(scene: Scene, mutant: Mutant) -> [(Found, Vec<String>); 12] {
    let checker = Scenario { scene, mutant }.checker().spawn_bfs().join();
    assert!(checker.is_done(), "the search did not end");
    let states = checker.unique_state_count();
    let mut discoveries = checker.discoveries();
    ALL_FAULTS.map(|fault| match discoveries.remove(fault.name()) {
        Some(path) => {
            let trace: Vec<_> = path.into_actions().iter().map(|thread| format!("{thread:?}")).collect();
            (Found::Yes { steps: trace.len() }, trace)
        }
        None => (Found::No { states }, Vec::new()),
    })
}
