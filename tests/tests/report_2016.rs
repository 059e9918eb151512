//! The two runs in which a kernel's own queue is known to lose, on ours over each source that works here: children that exec, of which
//! FreeBSD 12.3 loses some ends (one forking thread, several processors), and children of four threads that fork and vfork at once, of
//! which it does not tell some at all. Where there is a kernel to compare with, it is asked the same, and what it says is printed.

#[path = "../../examples/watch/account.rs"]
mod account;

use std::collections::HashMap;
use std::process::{Command, Output};

use proc_reactor::flags::*;
use proc_reactor::{Kevent, OpenOptions, SourceName, open};

use account::{Account, Heap, Verdict};

/// What a program printed last, and whether it was content.
fn last_lines(output: &Output) -> (String, bool) {
    let text = String::from_utf8_lossy(&output.stdout);
    let totals: Vec<&str> =
        text.lines().filter(|line| !line.starts_with('#')).rev().take(3).collect::<Vec<_>>();
    let error = String::from_utf8_lossy(&output.stderr);
    (format!("{}\n{error}", totals.into_iter().rev().collect::<Vec<_>>().join("\n")), output.status.success())
}

fn on_each(mut command: impl FnMut(&[&str]) -> Command, native: &[&str], ours: &[&str], totals: &str) {
    let mut asked = 0;
    for name in SourceName::ALL {
        let mut options = OpenOptions::default();
        options.source = Some(*name);
        if let Err(why) = open(&options) {
            println!("SKIPPED: {name}: {why}");
            continue;
        }
        asked += 1;
        let arguments = [ours, &["--source", name.as_str()]].concat();
        let (text, good) = last_lines(&command(&arguments).output().expect("the program runs"));
        println!("{name}: {text}");
        assert!(good, "{name}: {text}");
        assert!(text.contains(totals) && text.contains("missing 0 twice 0 wrong 0"), "{name}: {text}");
    }
    if cfg!(target_os = "linux") {
        assert!(asked > 0, "no source works here");
        return;
    }
    let (text, good) = last_lines(&command(native).output().expect("the program runs"));
    println!("the kernel's own: {}: {text}", if good { "as it should be" } else { "not as it should be" });
}

fn exec_children(count: u32) {
    let count = count.to_string();
    let command = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_watch"));
        command.args(["--child", "exec", "--processes", &count, "--time-limit", "600"]).args(arguments);
        command
    };
    let totals = format!(
        "totals: born {count} reaped {count} NOTE_CHILD {count} NOTE_EXEC {count} NOTE_EXIT {count} "
    );
    on_each(command, &["--native"], &["--queue"], &totals);
}

fn four_threads(count: u32) {
    let count = count.to_string();
    let truth = tempfile::NamedTempFile::new().expect("a file");
    let command = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_make_tree"));
        command.arg("--truth").arg(truth.path());
        command.args(["--shape", "race", "--threads", "4", "--count", &count]).args(arguments);
        command
    };
    let totals = format!("totals: born {count} ended {count} NOTE_CHILD {count} ");
    on_each(command, &["--watch", "native"], &["--watch", "ours"], &totals);
}

#[test]
fn children_that_exec() {
    exec_children(1_000);
}

#[test]
fn children_of_four_threads() {
    four_threads(1_200);
}

#[test]
#[ignore = "it takes minutes"]
fn long_children_that_exec() {
    exec_children(50_000);
}

#[test]
#[ignore = "it takes a minute"]
fn long_children_of_four_threads() {
    four_threads(48_000);
}

/// What the programs compare with must find each fault there is.
#[test]
fn what_is_missing_twice_or_wrong_is_found() {
    let (root, child) = (100, 101);
    let event = |fflags, data| Kevent { data, ..Kevent::process(child, 0, fflags) };
    let (born, execs, ended) = (event(NOTE_CHILD, 100), event(NOTE_EXEC, 0), event(NOTE_EXIT, 0x300));
    let verdict = |events: &[Kevent], all_statuses| {
        let heap = Heap { births: 1, execs: 1, forks: 0, statuses: vec![0x300] };
        let account = Account::of(events, root);
        assert!(account.grandchildren.is_empty() && account.track_errors == 0);
        assert_eq!(account.born + account.execs + account.ended, events.len());
        account.compare(HashMap::from([(child, heap)]), all_statuses)
    };
    let good = Verdict::default();
    assert_eq!(verdict(&[born, execs, ended], true), good);
    assert!(good.is_good());
    for without in [[born, execs], [born, ended], [execs, ended]] {
        assert_eq!(verdict(&without, true), Verdict { missing: 1, ..good });
    }
    assert_eq!(verdict(&[], true), Verdict { missing: 3, ..good });
    for twice in [born, execs, ended] {
        assert_eq!(verdict(&[born, execs, ended, twice], true), Verdict { twice: 1, ..good });
    }
    let unknown = event(NOTE_EXIT, -1);
    for wrong in [event(NOTE_EXIT, 0x400), unknown] {
        let verdict = verdict(&[born, execs, wrong], true);
        assert_eq!(verdict, Verdict { wrong: 1, ..good });
        assert!(!verdict.is_good());
    }
    assert_eq!(verdict(&[born, execs, unknown], false), Verdict { unknown: 1, ..good });
    assert_eq!(verdict(&[born, unknown], false), Verdict { unknown: 1, missing: 1, ..good });
}

/// Nor is it a success where there is nothing to ask, or not enough time.
#[test]
fn a_kernel_without_a_queue_is_no_success() {
    if !cfg!(target_os = "linux") {
        return println!("SKIPPED: this kernel has a queue");
    }
    let watch = Command::new(env!("CARGO_BIN_EXE_watch")).arg("--native").output().expect("the program runs");
    assert_eq!(watch.status.code(), Some(1), "{watch:?}");
    let watch = Command::new(env!("CARGO_BIN_EXE_watch"))
        .args(["--queue", "--processes", "1000000", "--time-limit", "1"])
        .output()
        .expect("the program runs");
    let text = String::from_utf8_lossy(&watch.stdout);
    let hung = text.starts_with("hung: making and reaping children, for 1 s; so far: ");
    // Or there is no source here that it could be tracked by.
    assert!(watch.status.code() == Some(1) && (hung || text.is_empty()), "{watch:?}");
}
