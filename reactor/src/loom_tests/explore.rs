//! The scenarios that there are, and how each is searched.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::{notes, turn, waiting};

/// What must be searched, whatever else is.
const REQUIRED: &[&str] = &[
    "register x exit",
    "scan x exit",
    "delete x exit",
    "delete x scan",
    "re-register x exit",
    "track x delete parent",
    "fork x exit of the child",
    "close x activate",
    "wake x poll",
    "disable x activate x enable",
    "attaching x delete",
    "attaching x exit",
    "turn x turn",
    "waiter x activation",
    "lead x lead",
];

/// Of the preemptions in the long run: the search is exhaustive.
const UNBOUNDED: Option<usize> = None;

/// A test for each scenario, with the bound of the long run and the executions that it took at a bound of 2. Two threads are
/// unbounded but where the baton, with its fences and the note that is left at it, is all that there would be to search.
macro_rules! scenarios {
    ($($test:ident: $name:literal, $bound:expr, $recorded:literal executions, $scenario:path;)*) => {
        const SCENARIOS: &[(&str, usize)] = &[$(($name, $recorded)),*];

        $(
            #[test]
            fn $test() {
                explore($name, $bound, $recorded, $scenario);
            }
        )*
    };
}

scenarios! {
    loom_turn_x_turn: "turn x turn", UNBOUNDED, 86 executions, turn::turn_x_turn;
    loom_turn_x_turn_x_turn: "turn x turn x turn", Some(3), 1252 executions, turn::turn_x_turn_x_turn;
    loom_turn_x_take: "turn x take", UNBOUNDED, 33 executions, turn::turn_x_take;
    loom_slot_x_poll: "slot x poll", UNBOUNDED, 14 executions, turn::wake_x_poll;
    loom_exit_x_read: "exit x read", UNBOUNDED, 22 executions, turn::exit_x_read;
    loom_fork_x_unsubscribe: "fork x unsubscribe", UNBOUNDED, 16 executions, turn::fork_x_unsubscribe;
    loom_claim_x_turn: "claim x turn", UNBOUNDED, 33 executions, turn::claim_x_turn;
    loom_attach_x_exit: "attach x exit", UNBOUNDED, 6 executions, turn::attach_x_exit;

    loom_register_x_exit: "register x exit", UNBOUNDED, 33 executions, notes::register_x_exit;
    loom_register_x_reaped: "register x exit, reaped", UNBOUNDED, 33 executions, notes::register_x_reaped;
    loom_register_x_turn: "register x exit by a turn", Some(7), 106 executions, notes::register_x_turn;
    loom_scan_x_exit: "scan x exit", UNBOUNDED, 5 executions, notes::scan_x_exit;
    loom_scan_x_scan_x_exit: "scan x scan x exit", UNBOUNDED, 78 executions, notes::scan_x_scan_x_exit;
    loom_delete_x_exit: "delete x exit", UNBOUNDED, 5 executions, notes::delete_x_exit;
    loom_delete_x_scan: "delete x scan", UNBOUNDED, 12 executions, notes::delete_x_scan;
    loom_delete_x_scan_x_exit: "delete x scan x exit", UNBOUNDED, 75 executions, notes::delete_x_scan_x_exit;
    loom_reregister_x_exit: "re-register x exit", UNBOUNDED, 23 executions, notes::reregister_x_exit;
    loom_reregister_x_turn: "re-register x exit by a turn", Some(7), 92 executions, notes::reregister_x_turn;
    loom_track_x_delete_parent: "track x delete parent", UNBOUNDED, 5 executions,
        notes::track_x_delete_parent;
    loom_fork_x_exit_of_child: "fork x exit of the child", UNBOUNDED, 14 executions,
        notes::fork_x_exit_of_child;
    loom_close_x_activate: "close x activate", UNBOUNDED, 12 executions, notes::close_x_activate;
    loom_close_x_add: "close x register", UNBOUNDED, 16 executions, notes::close_x_register;
    loom_disable_x_activate_x_enable: "disable x activate x enable", UNBOUNDED, 144 executions,
        notes::disable_x_activate_x_enable;
    loom_attaching_x_delete: "attaching x delete", UNBOUNDED, 16 executions, notes::attaching_x_delete;
    loom_attaching_x_exit: "attaching x exit", UNBOUNDED, 27 executions, notes::attaching_x_exit;

    loom_wake_x_poll: "wake x poll", UNBOUNDED, 10 executions, waiting::wake_x_poll;
    loom_waiter_x_activation: "waiter x activation", UNBOUNDED, 8 executions, waiting::waiter_x_activation;
    loom_waiter_x_turn: "waiter x turn of another", Some(7), 96 executions, waiting::waiter_x_turn;
    loom_waiter_x_pump: "waiter x pump of another", UNBOUNDED, 59 executions, waiting::waiter_x_pump;
    loom_waiter_x_trigger: "waiter x trigger", UNBOUNDED, 20 executions, waiting::waiter_x_trigger;
    loom_waiter_x_close: "waiter x close", UNBOUNDED, 20 executions, waiting::waiter_x_close;
    loom_task_x_waiter: "task x waiter", UNBOUNDED, 64 executions, waiting::task_x_waiter;
    loom_lead_x_lead: "lead x lead", UNBOUNDED, 29 executions, waiting::lead_x_lead;
    loom_lead_x_lead_x_exit: "lead x lead x exit", Some(4), 698 executions, waiting::lead_x_lead_x_exit;
    loom_waiter_x_waiter_x_activation: "waiter x waiter x activation", Some(4), 1652 executions,
        waiting::waiter_x_waiter_x_activation;
}

/// A list of scenarios is worth something if it cannot lose one unseen.
#[test]
fn loom_nothing_is_missing() {
    for required in REQUIRED {
        let scenario = SCENARIOS.iter().find(|(name, _)| name == required);
        let (_, recorded) = scenario.unwrap_or_else(|| panic!("no scenario searches {required}"));
        assert!(*recorded > 2, "{required}: a search of {recorded} executions is none");
    }
    for (index, (name, _)) in SCENARIOS.iter().enumerate() {
        assert!(SCENARIOS[..index].iter().all(|(other, _)| other != name), "{name} stands there twice");
    }
}

/// `LOOM_MAX_PREEMPTIONS` bounds what is not bounded more narrowly.
pub(super) fn model(bound: Option<usize>) -> loom::model::Builder {
    let mut model = loom::model::Builder::new();
    // Either would end a search early and without a word.
    assert!(
        model.max_permutations.is_none() && model.max_duration.is_none(),
        "a search must come to its end"
    );
    model.max_branches = 10_000;
    model.preemption_bound = bound.into_iter().chain(model.preemption_bound).min();
    model
}

/// Runs a scenario and holds the number of executions against what it was: if that drops by half, it no longer searches what
/// it did.
fn explore(name: &str, bound: Option<usize>, recorded: usize, scenario: fn()) {
    let executions = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&executions);
    model(bound).check(move || {
        count.fetch_add(1, Relaxed);
        scenario();
    });
    // The model returns only when the search has ended.
    let executions = executions.load(Relaxed);
    println!("loom: {name}: {executions} executions, search ended");
    assert!(executions > recorded / 2, "{name}: {executions} executions, and it were {recorded}");
}
