//! Real children over real perf events, where what is looked at is inside the source.

use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::source::Perf;
use crate::event::{Change, Stamped};
use crate::source::{Drained, Source};
use crate::sys::OpenOptions;

const PATIENCE: Duration = Duration::from_secs(30);

fn open() -> Option<Perf> {
    match Perf::open(&OpenOptions::default()) {
        Ok(perf) => Some(perf),
        Err(error) => {
            println!("SKIPPED: {error}");
            None
        }
    }
}

/// A process that ends with `code` when its input does.
fn child(code: u8) -> Child {
    let script = format!("read x; exit {code}");
    Command::new("sh").args(["-c", &script]).stdin(Stdio::piped()).spawn().unwrap()
}

/// Drains until the end of `pid` is told; its status.
fn end_of(perf: &mut Perf, pid: u32) -> Option<i32> {
    let begun = Instant::now();
    let mut out: Vec<Stamped> = Vec::new();
    loop {
        assert_ne!(perf.drain(&mut out, usize::MAX).unwrap(), Drained::Overrun);
        let told = out.iter().find_map(|stamped| match stamped.change {
            Change::End { process, status } if process == pid => Some(status),
            _ => None,
        });
        if let Some(status) = told {
            return status;
        }
        assert!(begun.elapsed() < PATIENCE, "{out:?}");
        crate::sys::poll([perf.fd(); 2], Some(Duration::from_millis(100))).unwrap();
    }
}

/// A child that was forked and has run no program yet has copies of all descriptors. What is in an epoll stays there until the
/// last copy is closed, and a pidfd of an ended process would make it readable for ever.
#[test]
fn a_copy_of_a_pidfd_keeps_nothing_in_the_epoll() {
    let Some(mut perf) = open() else { return };
    let mut child = child(3);
    let pid = child.id();
    perf.attach(pid).unwrap();
    let copy = perf.members[&pid].witness.as_ref().unwrap().pidfd.as_fd().try_clone_to_owned().unwrap();
    drop(child.stdin.take());
    // So that the record of its end is read before its pidfd is looked at.
    crate::sys::poll([copy.as_fd(); 2], None).unwrap();
    let mut out = Vec::new();
    let begun = Instant::now();
    while !out.iter().any(|stamped: &Stamped| matches!(stamped.change, Change::End { .. })) {
        assert!(begun.elapsed() < PATIENCE);
        perf.read(&mut out, usize::MAX).unwrap();
    }
    let mut tokens = Vec::new();
    perf.epoll.ready(&mut tokens).unwrap();
    assert!(!tokens.contains(&pid.into()), "{tokens:?}");
    child.wait().unwrap();
}

#[test]
fn k11_events_of_threads_that_have_ended_are_closed() {
    let Some(mut perf) = open() else { return };
    for code in 1..50 {
        let mut child = child(code);
        perf.attach(child.id()).unwrap();
        drop(child.stdin.take());
        assert_eq!(end_of(&mut perf, child.id()), Some(i32::from(code) << 8), "K9");
        perf.drain(&mut Vec::new(), usize::MAX).unwrap();
        child.wait().unwrap();
        assert!(perf.parted.is_empty() && perf.watches.is_empty(), "{:?} {:?}", perf.parted, perf.watches);
    }
    assert_eq!((perf.members.len(), perf.pidfds, perf.awaited), (0, 0, 0), "K11");
}
