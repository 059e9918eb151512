//! The traps of Linux's process interfaces, each by name: first that the kernel really does it, where that can be shown, and then that
//! what is told over it is right.
//!
//! `LISTED` has them as they were found: those with 0 in front by number, those with 13 as they were measured later. Each has a test,
//! here or in the file that is named.
#![cfg(target_os = "linux")]

mod connector;
mod perf;
mod raw;
mod rig;
mod told;

/// Where its test is.
#[derive(Debug)]
enum Test {
    /// In this program.
    Here(&'static str),
    /// In another file, by its path in the workspace.
    In(&'static str, &'static str),
}
use Test::{Here, In};

/// Each trap, what it is, and its tests.
#[rustfmt::skip]
const LISTED: &[(&str, &str, &[Test])] = &[
    ("0.1", "perf: of a fork under way at the attach there is a birth and never an end",
        &[Here("perf::trap_0_1_a_fork_under_way_at_the_attach")]),
    ("0.2", "perf: who runs a program that may not be read is said to end, and lives",
        &[Here("perf::trap_0_2_a_program_that_may_not_be_read"), Here("perf::trap_0_2_a_setuid_program")]),
    ("0.3", "perf: no record tells of a loss if none comes after it",
        &[Here("perf::trap_0_3_a_tree_that_ends_in_a_loss")]),
    ("0.4", "perf: polling takes readiness away",
        &[Here("perf::trap_0_4_two_who_poll")]),
    ("0.5", "the end of the leader is not the process's",
        &[Here("told::trap_0_5_the_leader_leaves_first"), Here("told::trap_0_5_a_thread_runs_a_program")]),
    ("0.6", "perf tells an end before it can be waited for, cn_proc perhaps after it has been",
        &[Here("told::trap_0_6_an_end_before_it_can_be_waited_for"), Here("told::trap_0_6_an_end_after_it_was_waited_for")]),
    ("0.7", "PIDFD_INFO_EXIT is not there before the reaping",
        &[In("reactor/src/sys/linux/pidfd_tests.rs", "trap_7_info_exit_is_not_there_before_the_reaping")]),
    ("0.8", "cn_proc: messages that a filter holds back are numbered too",
        &[Here("connector::trap_0_8_a_filter_leaves_holes_in_the_numbers")]),
    ("13 buffer", "cn_proc: a socket of a stock system holds 255 messages, 512 if it asks for more",
        &[Here("connector::trap_13_a_stock_buffer_is_small")]),
    ("13 shards", "cn_proc: over several sockets nothing is in order by itself",
        &[In("tests/tests/tree_is_exact.rs", "fn storm"), In("reactor/src/sys/linux/cn_proc_tests.rs", "k12_in_order_across_losses_too")]),
    ("13 numbers", "cn_proc: the numbers show no loss before the next event of that processor",
        &[Here("connector::trap_13_numbers_show_a_loss_late"), Here("connector::trap_13_a_tree_that_ends_in_a_loss")]),
    ("13 listen", "cn_proc: LISTEN with a filter is not answered",
        &[Here("connector::trap_13_a_filtered_listen_is_not_answered")]),
    ("13 sender", "cn_proc: others than the kernel may send to the group",
        &[In("reactor/src/sys/linux/cn_proc_tests.rs", "only a privileged program can send to the group")]),
    ("13 order", "perf: rings that are read in turn are out of order",
        &[Here("perf::trap_13_rings_one_after_the_other")]),
    ("13 re-use", "cn_proc: the birth of a pid's next owner may be told before the end of the last",
        &[In("tests/tests/reuse/main.rs", "fn k7_one_pid_not_waited_for")]),
    ("13 pid_max", "a small pid_max in a pid namespace recycles that namespace's pids, and not those of the initial one",
        &[In("tests/tests/reuse/main.rs", "fn k7_eleven_pids_come_round")]),
    ("13 spawner", "perf: the children of another thread than the one that is followed are not seen",
        &[Here("perf::trap_13_another_thread_s_children")]),
    ("13 spawn", "cn_proc: a child's whole life is told before the spawn returns; a failed exec is a life too",
        &[Here("told::trap_13_over_before_spawn_returns"), Here("told::trap_13_a_failed_exec_is_nobody")]),
    ("13 comm", "what a process runs can be read only after the fact, of a later exec perhaps",
        &[In("reactor/tests/traced.rs", "#[test]"), In("tests/tests/tree_is_exact.rs", "fn exec_chain")]),
];

/// As they are numbered.
const NUMBERED: std::ops::RangeInclusive<u32> = 1..=8;

#[test]
fn each_trap_has_a_test() {
    let me = std::env::current_exe().expect("/proc");
    let list = std::process::Command::new(me).arg("--list").output().expect("the list of tests");
    let list = String::from_utf8(list.stdout).expect("names");
    let workspace = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    for (trap, _, tests) in LISTED {
        assert!(!tests.is_empty(), "{trap} has no test");
        for test in *tests {
            match test {
                Here(name) => {
                    assert!(list.lines().any(|line| line == format!("{name}: test")), "{trap}: no {name}")
                }
                In(file, words) => {
                    let text = std::fs::read_to_string(workspace.join(file))
                        .unwrap_or_else(|error| panic!("{file}: {error}"));
                    assert!(text.contains(words), "{trap}: no {words} in {file}");
                }
            }
        }
    }
    for number in NUMBERED {
        assert!(LISTED.iter().any(|(trap, ..)| *trap == format!("0.{number}")), "0.{number} is not listed");
    }
    for line in list.lines().filter(|line| line.contains("::trap_")) {
        let name = line.strip_suffix(": test").expect("a test");
        let named = LISTED
            .iter()
            .flat_map(|(.., tests)| *tests)
            .any(|test| matches!(test, Here(here) if *here == name));
        assert!(named, "{name} is of no trap");
    }
}
