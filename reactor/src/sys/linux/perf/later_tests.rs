//! Ends that come fast, and are told by a later drain: of real grandchildren, for own children are never left.

use std::io::Write;
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::super::procfs;
use super::record::{Record, What};
use super::source::Perf;
use super::tests::{PATIENCE, ends_of, open};
use crate::event::{Change, Stamped};
use crate::source::Source;

/// A shell that does `then` when it is told to, and has forked before, so that who it makes then is followed as any.
fn shell(perf: &mut Perf, then: &str) -> Child {
    let script = format!("exec 3<&0; read go; /bin/true; {then}");
    let child = Command::new("sh").args(["-c", &script]).stdin(Stdio::piped()).spawn().unwrap();
    perf.attach(child.id()).unwrap();
    child
}

/// From now on ends count as coming fast.
fn hurry(perf: &mut Perf) {
    let later = crate::sys::monotonic() + 3_600_000_000_000;
    (0..4).for_each(|_| perf.pace.tick(later));
}

fn say(child: &mut Child) {
    child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
}

/// Drains until that is so.
fn until(perf: &mut Perf, out: &mut Vec<Stamped>, mut is_so: impl FnMut(&Perf, &[Stamped]) -> bool) {
    let begun = Instant::now();
    while !is_so(perf, out) {
        assert!(begun.elapsed() < PATIENCE, "{out:?}");
        perf.drain(out, usize::MAX).unwrap();
        crate::sys::poll([perf.fd(); 2], Some(Duration::from_millis(10))).unwrap();
    }
}

/// The last child of `parent` that was told of.
fn last_child(out: &[Stamped], parent: u32) -> Option<u32> {
    out.iter().rev().find_map(|stamped| match stamped.change {
        Change::Fork { parent: by, child, .. } if by == parent => Some(child),
        _ => None,
    })
}

/// A shell with two children: the first has ended; the second, which is returned, reads a line.
fn grandchild(perf: &mut Perf, then: &str) -> (Child, u32) {
    let mut shell = shell(perf, then);
    let mut out = Vec::new();
    say(&mut shell);
    until(perf, &mut out, |perf, out| {
        let births = out.iter().filter(|stamped| matches!(stamped.change, Change::Fork { .. })).count();
        births == 2 && perf.members.len() == 2 && procfs::children(shell.id()).unwrap().len() == 1
    });
    let pid = last_child(&out, shell.id()).unwrap();
    (shell, pid)
}

/// The status that it had when it was reaped, by one question.
#[test]
fn k9_who_has_been_reaped_is_told_by_the_next_drain() {
    let Some(mut perf) = open() else { return };
    let (mut shell, pid) = grandchild(&mut perf, "sh -c 'read x; exit 7'; read y");
    hurry(&mut perf);
    say(&mut shell);
    let begun = Instant::now();
    while !procfs::children(shell.id()).unwrap().is_empty() {
        assert!(begun.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(1));
    }
    let mut out = Vec::new();
    perf.read(&mut out, usize::MAX).unwrap();
    let left = perf.later.contains(&pid);
    assert_eq!(ends_of(&mut perf, [pid]), [Some(7 << 8)]);
    assert!(left && perf.later.is_empty(), "it was left for the next drain: {out:?}");
    drop(shell.stdin.take());
    shell.wait().unwrap();
    ends_of(&mut perf, [shell.id()]);
    assert_eq!((perf.members.len(), perf.pidfds), (0, 0), "K11");
}

/// Nobody reaps it: the descriptor polls readable by itself, and the process list tells how it ended.
#[test]
fn k9_who_is_not_reaped_is_told_all_the_same() {
    let Some(mut perf) = open() else { return };
    let mut shell = shell(&mut perf, "sh -c 'read x; exit 7' & exec cat");
    hurry(&mut perf);
    say(&mut shell);
    let mut out = Vec::new();
    let ended = |out: &[Stamped], pid| {
        out.iter().any(|stamped| matches!(stamped.change, Change::End { process, .. } if process == pid))
    };
    until(&mut perf, &mut out, |_, out| {
        let births = out.iter().filter(|stamped| matches!(stamped.change, Change::Fork { .. })).count();
        births == 2 && last_child(out, shell.id()).is_some_and(|pid| ended(out, pid))
    });
    let pid = last_child(&out, shell.id()).unwrap();
    let status = out.iter().find_map(|stamped| match stamped.change {
        Change::End { process, status } if process == pid => Some(status),
        _ => None,
    });
    // What runs in the background has no input, and ends at once.
    assert!(matches!(status, Some(Some(code)) if code == 7 << 8), "{status:?}");
    assert_eq!(procfs::children(shell.id()).unwrap(), [pid], "it is still a zombie");
    drop(shell.stdin.take());
    shell.wait().unwrap();
}

/// The record of an end right after an exec may be of a program that may not be looked into, and lives.
#[test]
fn k9_an_end_that_is_none_is_told_for_what_it_is() {
    let Some(mut perf) = open() else { return };
    let (mut shell, pid) = grandchild(&mut perf, "sh -c 'read x; exit 9'; read y");
    hurry(&mut perf);
    let mut out = Vec::new();
    for what in [What::Exec { process: pid }, What::Exit { process: pid, thread: pid }] {
        perf.take(&Record { time: crate::sys::monotonic(), event: 0, what }, false, &mut out);
    }
    assert!(perf.later.contains(&pid), "it has time to be seen to be real");
    until(&mut perf, &mut out, |_, out| {
        out.iter().any(|stamped| stamped.change == Change::Unseen { process: pid })
    });
    assert!(!out.iter().any(|stamped| matches!(stamped.change, Change::End { .. })), "{out:?}");
    say(&mut shell);
    assert_eq!(ends_of(&mut perf, [pid]), [Some(9 << 8)]);
    drop(shell.stdin.take());
    shell.wait().unwrap();
}

/// Who went out of sight was seen to live, so that its pidfd is its own, though no record tells its end and its parent is gone.
#[test]
fn k9_the_status_of_who_went_out_of_sight() {
    let Some(mut perf) = open() else { return };
    let (mut shell, pid) = grandchild(&mut perf, "sh -c 'read x; exit 9' <&3; read y");
    // To wait closes it, and it is the input of the other too.
    let input = shell.stdin.take();
    shell.kill().unwrap();
    shell.wait().unwrap();
    ends_of(&mut perf, [shell.id()]);
    let mut out = Vec::new();
    perf.lose_sight(pid, crate::sys::monotonic(), &mut out);
    let pidfd = perf.members[&pid].witness.as_ref().unwrap().pidfd.as_fd().try_clone_to_owned().unwrap();
    drop(input);
    crate::sys::poll([pidfd.as_fd(); 2], Some(PATIENCE)).unwrap();
    // Nothing of what was written is read.
    perf.rings.read(&mut Vec::new());
    assert_eq!(ends_of(&mut perf, [pid]), [Some(9 << 8)]);
}

/// For want of descriptors pidfds are given up; whose they were is told to have ended all the same, and none is opened again.
#[test]
fn k9_a_pidfd_that_was_given_up_leaves_a_status_unknown() {
    let Some(mut perf) = open() else { return };
    let (mut shell, pid) = grandchild(&mut perf, "sh -c 'read x; exit 9'; read y");
    let held = perf.pidfds;
    assert!(perf.members[&pid].witness.is_some());
    assert!(perf.shed_witnesses() && perf.pidfds < held && perf.budget == perf.pidfds);
    assert!(perf.members[&pid].witness.is_none());
    assert!(!perf.shed_witnesses(), "that of the shell is awaited, and is kept");
    say(&mut shell);
    assert_eq!(ends_of(&mut perf, [pid]), [None]);
    drop(shell.stdin.take());
    shell.wait().unwrap();
    ends_of(&mut perf, [shell.id()]);
    assert_eq!((perf.members.len(), perf.pidfds, perf.awaited), (0, 0, 0), "K11");
}
