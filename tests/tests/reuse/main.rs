//! K7 and K2 with pids that are used again as fast as the kernel lets them: no event, status or signal goes to the wrong birth.
//!
//! `reuser` makes children that have the same few pids one after the other, each with an end that tells which it was. A stream follows
//! it, and another thread registers with a queue whoever has the pid. Every end has to be that of its own birth, with nothing
//! missing and nothing told twice.
//!
//! A pid may be chosen by whoever has CAP_CHECKPOINT_RESTORE over the pid namespace: by root, and by anybody in a namespace of his own,
//! where however cn_proc does not work. The usual run makes 10,000 births; with `LONG_REUSE=1` 100,000:
//!
//! ```text
//! LONG_REUSE=1 cargo test -p tests --test reuse -- --nocapture
//! ```
#![cfg(target_os = "linux")]

mod judge;
mod namespace;
mod rig;
mod signals;
mod tap;
mod wrap;

use proc_reactor::SourceName;

use rig::Plan;

/// How often a run is done again because records were lost or somebody else had one of the pids.
const ATTEMPTS: u32 = 6;

fn births() -> u64 {
    if std::env::var_os("LONG_REUSE").is_some_and(|wanted| wanted == "1") { 100_000 } else { 10_000 }
}

/// All, or the one that `SOURCE` names.
fn sources() -> Vec<SourceName> {
    match std::env::var("SOURCE") {
        Ok(name) => vec![name.parse().unwrap_or_else(|error| panic!("{error}"))],
        Err(_) => SourceName::ALL.to_vec(),
    }
}

/// Whether a pid may be chosen here.
fn may_choose() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc");
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:")).expect("capabilities");
    let effective = u64::from_str_radix(effective.trim(), 16).expect("a number");
    // CAP_SYS_ADMIN, CAP_CHECKPOINT_RESTORE.
    let may = effective & (1 << 21 | 1 << 40) != 0;
    if !may {
        println!("SKIPPED: a pid may not be chosen here without CAP_CHECKPOINT_RESTORE");
    }
    may
}

/// Over each source that opens here.
fn re_use(pids: usize, mode: &'static str) {
    if pids > 0 && !may_choose() {
        return;
    }
    for source in sources() {
        // Perf takes milliseconds to close the events of who was registered before it was told of, and the next owner of the pid waits.
        let slow = mode == "auto" && source != SourceName::CnProc;
        let births = if slow { births() / 10 } else { births() };
        re_use_over(Plan { source, pids, births, mode });
    }
}

fn re_use_over(plan: Plan) {
    for _ in 0..ATTEMPTS {
        let Some(account) = rig::run(plan) else { return };
        let (lost, strangers) = (rig::lost(&account.events), account.strangers);
        if lost > 0 || strangers > 0 {
            println!("{lost} records of a busy machine LOST, {strangers} strangers had a pid: once more");
            continue;
        }
        let (told, overlaps) = account.overlaps;
        if plan.pids > 0 && told > plan.births + plan.pids as u64 {
            println!("{told} births told: a stranger had a pid and was gone before its turn: once more");
            continue;
        }
        let births = judge::births(&account);
        let unknown = judge::ends(&account, &births);
        let registered = judge::registrations(&account, &births);
        println!(
            "{plan:?}: {told} births told, {overlaps} before the last owner's end; {unknown} statuses unknown; {} \
             registrations of {registered} births, {} refused; {:?}",
            account.added.len(),
            account.refused,
            account.took
        );
        return;
    }
    panic!("disturbed each time");
}

#[test]
fn k7_one_pid_reaped() {
    re_use(1, "reap");
}

#[test]
fn k7_one_pid_reaped_at_once() {
    re_use(1, "spin");
}

/// It is free before its end is told: the kernel queues the next birth first more often than not.
#[test]
fn k7_one_pid_not_waited_for() {
    re_use(1, "auto");
}

#[test]
fn k7_a_handful_of_pids() {
    re_use(5, "reap");
}

#[test]
fn k7_a_handful_of_pids_not_waited_for() {
    re_use(5, "auto");
}

/// Each child has a signal of its own that it waits for, for a moment, and says by its end which came.
#[test]
fn k2_no_signal_reaches_the_next_owner() {
    if !may_choose() {
        return;
    }
    for source in sources() {
        let plan = Plan { source, pids: 1, births: births() / 2, mode: "target" };
        let mut runs = (0..ATTEMPTS).map(|_| signals::race(plan));
        match runs.find(|run| !matches!(run, Ok(None))) {
            Some(Ok(Some(decisions))) => {
                println!("{plan:?}: {decisions:?}");
                assert!(decisions.sent > 0 && decisions.gone > 0, "there was no race");
            }
            Some(_) => {}
            None => panic!("disturbed each time"),
        }
    }
}

/// Where there are eleven pids to be had, and a pid namespace in which cn_proc does not work.
#[test]
fn k7_eleven_pids_come_round() {
    namespace::run("part_the_kernel_chooses", Some(311));
}

#[test]
#[ignore = "a part of `k7_eleven_pids_come_round`"]
fn part_the_kernel_chooses() {
    if namespace::is_inside() {
        re_use(0, "reap");
        re_use(0, "auto");
    }
}

/// In a pid namespace of one's own, as anybody.
#[test]
fn k7_chosen_pids_in_a_namespace() {
    namespace::run("part_chosen_pids", None);
}

#[test]
#[ignore = "a part of `k7_chosen_pids_in_a_namespace`"]
fn part_chosen_pids() {
    if namespace::is_inside() {
        re_use(1, "reap");
        re_use(5, "auto");
    }
}

/// Trees in which processes exec, fork, have threads and lose their parents, with 700 pids for all of them.
#[test]
fn k7_trees_where_pids_come_round() {
    namespace::run("part_trees", Some(1000));
}

#[test]
#[ignore = "a part of `k7_trees_where_pids_come_round`"]
fn part_trees() {
    if namespace::is_inside() {
        for source in sources() {
            wrap::wrap_around(source, "mix", births() / 2);
            wrap::wrap_around(source, "instant", births() / 4);
            wrap::wrap_around(source, "orphans", births() / 4);
        }
    }
}
