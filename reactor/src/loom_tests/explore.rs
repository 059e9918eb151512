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

/// A test for each scenario, with the executions that it took at a preemption bound of 2 (two threads take more without one).
macro_rules! scenarios {
    ($($test:ident: $name:literal, $threads:literal threads, $recorded:literal executions, $scenario:path;)*) => {
        const SCENARIOS: &[(&str, usize)] = &[$(($name, $recorded)),*];

        $(
            #[test]
            fn $test() {
                explore($name, $threads, $recorded, $scenario);
            }
        )*
    };
}

scenarios! {
    loom_turn_x_turn: "turn x turn", 2 threads, 86 executions, turn::turn_x_turn;
    loom_turn_x_turn_x_turn: "turn x turn x turn", 3 threads, 1252 executions, turn::turn_x_turn_x_turn;
    loom_turn_x_take: "turn x take", 2 threads, 33 executions, turn::turn_x_take;
    loom_slot_x_poll: "slot x poll", 2 threads, 14 executions, turn::wake_x_poll;
    loom_exit_x_read: "exit x read", 2 threads, 22 executions, turn::exit_x_read;
    loom_fork_x_unsubscribe: "fork x unsubscribe", 2 threads, 16 executions, turn::fork_x_unsubscribe;
    loom_claim_x_turn: "claim x turn", 2 threads, 33 executions, turn::claim_x_turn;
    loom_attach_x_exit: "attach x exit", 2 threads, 6 executions, turn::attach_x_exit;

    loom_register_x_exit: "register x exit", 2 threads, 86 executions, notes::register_x_exit;
    loom_register_x_reaped: "register x exit, reaped", 2 threads, 86 executions, notes::register_x_reaped;
    loom_scan_x_exit: "scan x exit", 2 threads, 5 executions, notes::scan_x_exit;
    loom_scan_x_scan_x_exit: "scan x scan x exit", 3 threads, 78 executions, notes::scan_x_scan_x_exit;
    loom_delete_x_exit: "delete x exit", 2 threads, 5 executions, notes::delete_x_exit;
    loom_delete_x_scan: "delete x scan", 2 threads, 12 executions, notes::delete_x_scan;
    loom_delete_x_scan_x_exit: "delete x scan x exit", 3 threads, 75 executions, notes::delete_x_scan_x_exit;
    loom_reregister_x_exit: "re-register x exit", 2 threads, 97 executions, notes::reregister_x_exit;
    loom_track_x_delete_parent: "track x delete parent", 2 threads, 5 executions,
        notes::track_x_delete_parent;
    loom_fork_x_exit_of_child: "fork x exit of the child", 2 threads, 14 executions,
        notes::fork_x_exit_of_child;
    loom_close_x_activate: "close x activate", 2 threads, 12 executions, notes::close_x_activate;
    loom_close_x_add: "close x register", 2 threads, 16 executions, notes::close_x_register;
    loom_disable_x_activate_x_enable: "disable x activate x enable", 3 threads, 144 executions,
        notes::disable_x_activate_x_enable;
    loom_attaching_x_delete: "attaching x delete", 2 threads, 16 executions, notes::attaching_x_delete;
    loom_attaching_x_exit: "attaching x exit", 2 threads, 12 executions, notes::attaching_x_exit;

    loom_wake_x_poll: "wake x poll", 2 threads, 10 executions, waiting::wake_x_poll;
    loom_waiter_x_activation: "waiter x activation", 2 threads, 8 executions, waiting::waiter_x_activation;
    loom_waiter_x_turn: "waiter x turn of another", 2 threads, 96 executions, waiting::waiter_x_turn;
    loom_waiter_x_trigger: "waiter x trigger", 2 threads, 20 executions, waiting::waiter_x_trigger;
    loom_waiter_x_close: "waiter x close", 2 threads, 20 executions, waiting::waiter_x_close;
    loom_lead_x_lead: "lead x lead", 2 threads, 27 executions, waiting::lead_x_lead;
    loom_lead_x_lead_x_exit: "lead x lead x exit", 3 threads, 613 executions, waiting::lead_x_lead_x_exit;
    loom_waiter_x_waiter_x_activation: "waiter x waiter x activation", 3 threads, 1514 executions,
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

pub(super) fn model(threads: usize) -> loom::model::Builder {
    let mut model = loom::model::Builder::new();
    // Either would end a search early and without a word.
    assert!(
        model.max_permutations.is_none() && model.max_duration.is_none(),
        "a search must come to its end"
    );
    model.max_branches = 10_000;
    if threads > 2 {
        model.preemption_bound = Some(model.preemption_bound.unwrap_or(2).min(2));
    }
    model
}

/// Runs a scenario and holds the number of executions against what it was: if that drops by half, it no longer searches what
/// it did.
fn explore(name: &str, threads: usize, recorded: usize, scenario: fn()) {
    let executions = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&executions);
    model(threads).check(move || {
        count.fetch_add(1, Relaxed);
        scenario();
    });
    // The model returns only when the search has ended.
    let executions = executions.load(Relaxed);
    println!("loom: {name}: {executions} executions, search ended");
    assert!(executions > recorded / 2, "{name}: {executions} executions, and it were {recorded}");
}
