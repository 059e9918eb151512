//! Real children over real perf events, where what is looked at is inside the source.

use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;
use std::time::{Duration, Instant};

use super::super::procfs;
use super::bell::Bell;
use super::cover::Watch;
use super::record::{Record, What};
use super::source::Perf;
use crate::event::{Change, Stamped};
use crate::source::{Drained, Source};
use crate::sys::OpenOptions;

pub(super) const PATIENCE: Duration = Duration::from_secs(30);

pub(super) fn open() -> Option<Perf> {
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

/// Drains until the ends of all these are told; their statuses.
pub(super) fn ends_of<const N: usize>(perf: &mut Perf, pids: [u32; N]) -> [Option<i32>; N] {
    let begun = Instant::now();
    let mut out: Vec<Stamped> = Vec::new();
    loop {
        assert_ne!(perf.drain(&mut out, usize::MAX).unwrap(), Drained::Overrun);
        let told = pids.map(|pid| {
            out.iter().find_map(|stamped| match stamped.change {
                Change::End { process, status } if process == pid => Some(status),
                _ => None,
            })
        });
        if told.iter().all(Option::is_some) {
            return told.map(Option::flatten);
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
        assert_eq!(ends_of(&mut perf, [child.id()]), [Some(i32::from(code) << 8)], "K9");
        perf.drain(&mut Vec::new(), usize::MAX).unwrap();
        child.wait().unwrap();
        assert!(perf.parted.is_empty() && perf.watches.is_empty(), "{:?} {:?}", perf.parted, perf.watches);
    }
    assert_eq!((perf.members.len(), perf.pidfds, perf.awaited), (0, 0, 0), "K11");
}

#[test]
fn k11_so_are_they_if_the_records_were_lost() {
    let Some(mut perf) = open() else { return };
    let mut child = child(1);
    perf.attach(child.id()).unwrap();
    drop(child.stdin.take());
    child.wait().unwrap();
    perf.rings.read(&mut Vec::new());
    perf.check_members();
    assert_eq!(ends_of(&mut perf, [child.id()]), [Some(1 << 8)], "K9");
    perf.drain(&mut Vec::new(), usize::MAX).unwrap();
    assert!(perf.parted.is_empty() && perf.watches.is_empty(), "{:?} {:?}", perf.parted, perf.watches);
}

/// Who is on its way out when it is attached to is known by a pidfd that was opened before.
#[test]
fn k9_the_status_of_who_ends_while_it_is_attached_to() {
    let Some(mut perf) = open() else { return };
    for round in 0..200_u32 {
        let code = (round % 100) as u8;
        let mut child = child(code);
        drop(child.stdin.take());
        (0..round * 300).for_each(|_| std::hint::spin_loop());
        let attached = perf.attach(child.id());
        if perf.members.contains_key(&child.id()) {
            assert_eq!(ends_of(&mut perf, [child.id()]), [Some(i32::from(code) << 8)]);
        }
        attached.unwrap();
        child.wait().unwrap();
    }
}

/// The child of a first fork may not have inherited, and may have a tree below it by the time its birth is read.
#[test]
fn all_below_the_child_of_a_first_fork_are_told() {
    let Some(mut perf) = open() else { return };
    let mut child = Command::new("sh")
        .args(["-c", "sh -c 'sh -c \"echo; read x\"; :'; :"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut [0]).unwrap();
    let (me, maker, pid) = (std::process::id(), crate::sys::thread_id(), child.id());
    perf.watches.insert(maker, Watch { process: me, events: Vec::new(), first_fork: true });
    let what = What::Fork { process: pid, thread: pid, parent: me, by: maker };
    let mut out = Vec::new();
    perf.take(&Record { time: crate::sys::monotonic(), event: 0, what }, false, &mut out);
    let mut below = vec![pid];
    for stamped in &out[1..] {
        let Change::Fork { parent, child, .. } = stamped.change else { panic!("{out:?}") };
        assert_eq!(Some(&parent), below.last(), "{out:?}");
        below.push(child);
    }
    assert_eq!(below.len(), 3, "{out:?}");
    assert_eq!(procfs::children(below[1]).unwrap(), below[2..]);
    drop(child.stdin.take());
    child.wait().unwrap();
    // Whoever was followed by events ends with them.
    ends_of(&mut perf, [below[0], below[1], below[2]]);
}

/// A wake that meets a drain is either answered by it or rings for the next.
#[test]
fn a_bell_that_rings_can_be_heard() {
    const ROUNDS: usize = 20_000;
    let bell = Arc::new(Bell::new().unwrap());
    let (begun, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let mut wrong = None;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 1..=ROUNDS {
                while begun.load(Ordering::Acquire) < round {
                    std::hint::spin_loop();
                }
                bell.wake_by_ref();
                done.store(round, Ordering::Release);
            }
        });
        for round in 1..=ROUNDS {
            // Every other round it rings already.
            if round % 2 == 0 {
                bell.wake_by_ref();
            }
            begun.store(round, Ordering::Release);
            bell.hush();
            while done.load(Ordering::Acquire) < round {
                std::hint::spin_loop();
            }
            let readable = crate::sys::poll([bell.as_fd(); 2], Some(Duration::ZERO)).unwrap();
            if readable != bell.rings() {
                wrong.get_or_insert(round);
            }
        }
    });
    assert_eq!(
        wrong, None,
        "the first round after which it was readable and said that it was not, or the reverse"
    );
}

/// That a process has ended may be known by its pidfd before the record of its birth is read, if the process list showed it first.
#[test]
fn k7_a_birth_that_is_read_after_the_end_is_known_is_no_second_one() {
    let Some(mut perf) = open() else { return };
    let mut child = child(3);
    let pid = child.id();
    perf.attach(pid).unwrap();
    drop(child.stdin.take());
    child.wait().unwrap();
    let now = crate::sys::monotonic();
    perf.members.get_mut(&pid).unwrap().ended = Some(now);
    perf.ending.push(pid);
    let mut out = Vec::new();
    let me = std::process::id();
    let what = What::Fork { process: pid, thread: pid, parent: me, by: me };
    perf.take(&Record { time: now - 1, event: 1, what }, false, &mut out);
    perf.look_into_ends(&mut out);
    let told: Vec<_> = out.into_iter().map(|stamped| stamped.change).collect();
    assert!(
        matches!(told[..], [Change::Fork { child, .. }, Change::End { process, .. }] if (child, process) == (pid, pid)),
        "{told:?}"
    );
}

/// A pid had another owner, who had ended and whose end nobody has told of yet, when its pidfd was opened: what it is of is the next owner.
/// That one's end is no end of the first with its status. It is made by somebody else.
#[test]
fn k9_k7_an_end_that_only_a_pidfd_told_may_be_the_next_owners() {
    let Some(mut perf) = open() else { return };
    let mut next = child(3);
    let pid = next.id();
    let mut out = Vec::new();
    let what = What::Fork { process: pid, thread: pid, parent: u32::MAX, by: u32::MAX };
    perf.take(&Record { time: crate::sys::monotonic(), event: 0, what }, false, &mut out);
    assert!(perf.members[&pid].witness.is_some(), "it was opened");
    // As the child of a first fork is.
    perf.await_found(pid);
    drop(next.stdin.take());
    next.wait().unwrap();
    assert_eq!(ends_of(&mut perf, [pid]), [None], "3 is the status of the next owner");
    // The record of the first's end tells nothing more.
    let what = What::Exit { process: pid, thread: pid };
    perf.take(&Record { time: crate::sys::monotonic(), event: 0, what }, false, &mut out);
    assert!(!perf.look_into_ends(&mut out) && perf.members.is_empty());
}

/// However often records are lost, those who are followed by nothing are each looked at once.
#[test]
fn k11_who_is_followed_blindly_is_so_once() {
    let Some(mut perf) = open() else { return };
    perf.budget = 0;
    let mut child = child(0);
    perf.attach(child.id()).unwrap();
    (0..3).for_each(|_| perf.check_members());
    assert_eq!(perf.blind.iter().collect::<Vec<_>>(), [&child.id()]);
    drop(child.stdin.take());
    child.wait().unwrap();
    assert_eq!(ends_of(&mut perf, [child.id()]), [None]);
}
