//! The algorithm of the 2016 report, its fixes, and faulty versions of these, as a model: what each thread does between two
//! moments when another may come in is one step, and a checker goes through every order of steps.
//!
//! One process is watched by one note of one queue, and an event of it (an exec) is there unread. Four threads: one reads
//! events (`Scan`, kevent's second half), one is the process itself in its exit (`Exit`), one waits for it (`Reap`), and
//! in some scenarios one takes the registration back (`Delete`). Two locks: the process's, which is also that of the
//! list of its notes, and the queue's. What the report found wrong is the way to the first: through a pointer in the
//! note to the list, and from there by the list's own pointer to a function.

mod state;
mod steps;

use stateright::{Checker, Model, Property};

use crate::algorithm::{Algorithm, Fault, Found};
use state::{Delete, EXEC, Exit, Reap, Scan, State, Thread};

/// An algorithm in its scenario, searched for one fault.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) algorithm: Algorithm,
    pub(crate) fault: Fault,
}

impl Scenario {
    fn start(&self) -> State {
        State {
            scan: Scan::Look,
            exit: Exit::TakeLock,
            reap: Reap::Come,
            delete: if self.algorithm.deletes { Delete::TakeQueue } else { Delete::Done },
            process_lock: None,
            queue_lock: None,
            remembers: false,
            pointer: true,
            process: true,
            collected: EXEC,
            last: false,
            queued: true,
            linked: true,
            in_flux: false,
            scanned: false,
            note_freed: false,
            on_list: true,
            list_works: true,
            list_freed: false,
            process_gone: false,
            told: 0,
            deleted: false,
            faults: 0,
            crashed: false,
        }
    }
}

impl Model for Scenario {
    type State = State;
    type Action = Thread;

    fn init_states(&self) -> Vec<State> {
        vec![self.start()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Thread>) {
        actions.extend(self.threads().into_iter().filter(|thread| self.step(state, *thread).is_some()));
    }

    fn next_state(&self, state: &State, thread: Thread) -> Option<State> {
        self.step(state, thread)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![Property::always("is free of the fault", |model, state| match model.fault {
            Fault::LostExit => !model.is_lost(state),
            fault => !state.has(fault),
        })]
    }
}

/// Searches one algorithm for one fault, to the end.
pub(crate) fn search(algorithm: Algorithm, fault: Fault) -> (Found, Vec<String>) {
    let checker = Scenario { algorithm, fault }.checker().spawn_bfs().join();
    assert!(checker.is_done(), "the search did not end");
    match checker.discoveries().into_values().next() {
        Some(path) => {
            let trace: Vec<_> = path.into_actions().iter().map(|thread| format!("{thread:?}")).collect();
            (Found::Yes { steps: trace.len() }, trace)
        }
        None => (Found::No { states: checker.unique_state_count() }, Vec::new()),
    }
}
