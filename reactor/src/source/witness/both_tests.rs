//! Two scripted sources as one.

use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use super::audit::GRACE;
use super::both::Witnesses;
use super::report::{Told, WitnessReport};
use crate::error::SourceError;
use crate::event::{Change, Stamped};
use crate::source::sim::{Script, SimSource, scripted};
use crate::source::{Capabilities, Drained, Living, Loss, Reading, Source, Spawner};
use crate::{Reactor, sys};

/// A scripted source that sees only what a thread of its own starts, and only part of whom it is attached to.
#[derive(Debug)]
struct Second {
    source: SimSource,
    spawner: Arc<Spawner>,
    follows: Result<Vec<u32>, i32>,
}

impl Source for Second {
    fn name(&self) -> &'static str {
        "second"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { statuses: false, whole_machine: false, ..self.source.capabilities() }
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.source.fd()
    }

    fn drain(&mut self, out: &mut Vec<Stamped>, limit: usize) -> Result<Drained, SourceError> {
        self.source.drain(out, limit)
    }

    fn settle(&mut self, out: &mut Vec<Stamped>) -> Result<Loss, SourceError> {
        self.source.settle(out)
    }

    fn pids(&mut self) -> io::Result<Vec<u32>> {
        panic!("the process list is the first's")
    }

    fn look(&mut self, _pid: u32) -> io::Result<Option<Living>> {
        panic!("the process list is the first's")
    }

    fn attach_tree(&mut self, _pid: u32) -> io::Result<Vec<u32>> {
        self.follows.clone().map_err(io::Error::from_raw_os_error)
    }

    fn spawner(&self) -> Option<Arc<Spawner>> {
        Some(Arc::clone(&self.spawner))
    }

    fn inspect(&mut self, _pid: u32) -> Reading {
        panic!("the process list is the first's")
    }

    fn now(&self) -> u64 {
        panic!("the clock is the first's")
    }
}

/// The two, and what they are told to tell.
struct Pair {
    source: Witnesses<SimSource, Second>,
    first: Script,
    second: Script,
    /// A birth on the spawner's thread.
    thread: u32,
}

impl Pair {
    fn new(follows: Result<Vec<u32>, i32>) -> Self {
        let (first, first_script) = scripted().unwrap();
        let (second, second_script) = scripted().unwrap();
        let (spawner, thread) = Spawner::start(sys::thread_id).unwrap();
        let second = Second { source: second, spawner: Arc::new(spawner), follows };
        // Nobody polls it here.
        let (joined, _) = UnixStream::pair().unwrap();
        let source = Witnesses::new(first, second, joined.into());
        Self { source, first: first_script, second: second_script, thread }
    }

    fn spawned(&self, child: u32) -> Change {
        Change::Fork { parent: std::process::id(), thread: self.thread, child }
    }

    /// Everything that is told.
    fn drain(&mut self) -> Vec<Change> {
        let mut out = Vec::new();
        while self.source.drain(&mut out, 3).unwrap() == Drained::More {}
        out.into_iter().map(|stamped| stamped.change).collect()
    }

    fn report(&mut self) -> WitnessReport {
        self.drain();
        self.source.witnesses().unwrap()
    }
}

fn end(process: u32) -> Change {
    Change::End { process, status: None }
}

#[test]
fn what_is_told_is_the_firsts() {
    let mut pair = Pair::new(Ok(vec![]));
    let spawned = pair.spawned(10);
    pair.first.change(spawned.clone()).fork(10, 11).exec(11).exit(11, 0).exit(10, 0).fork(500, 501);
    let told = [spawned.clone(), Change::Fork { parent: 10, thread: 10, child: 11 }];
    pair.second.change(spawned).fork(10, 11).exec(11).change(end(11)).change(end(10));
    let out = pair.drain();
    assert_eq!((out.len(), &out[..2]), (6, &told[..]));
    assert_eq!((pair.source.name(), pair.source.capabilities()), ("both", Capabilities::all()));
    let report = pair.report();
    assert_eq!((report.agreed, report.processes, report.open, report.disagreed()), (5, 2, 0, 0));
}

#[test]
fn what_they_tell_differently_is_reported() {
    let mut pair = Pair::new(Ok(vec![]));
    let spawned = pair.spawned(10);
    pair.first.change(spawned.clone()).exec(10).exit(10, 0);
    pair.second.change(spawned).change(end(10));
    let report = pair.report();
    let [disagreement] = &report.disagreements[..] else { panic!("one, not {report:?}") };
    assert_eq!((disagreement.pid, disagreement.names), (10, ["sim", "second"]));
    assert_eq!(disagreement.first, Told { births: 1, execs: 1, ends: 1 });
    assert_eq!(disagreement.second, Told { births: 1, execs: 0, ends: 1 });
    assert_eq!(disagreement.time, 3_000, "by the clock of the first");
}

#[test]
fn the_second_is_given_time() {
    let mut pair = Pair::new(Ok(vec![]));
    let spawned = pair.spawned(10);
    pair.first.change(spawned.clone()).exit(10, 0);
    pair.second.change(spawned);
    assert_eq!((pair.report().open, pair.report().disagreed()), (1, 0));
    pair.first.wait(GRACE - 1);
    assert_eq!((pair.report().open, pair.report().disagreed()), (1, 0));
    pair.first.wait(1);
    assert_eq!((pair.report().open, pair.report().disagreed()), (0, 1));
}

/// What is queued has been told in time, whenever it is read.
#[test]
fn who_slept_reads_what_is_queued_before_it_judges() {
    let mut pair = Pair::new(Ok(vec![]));
    let spawned = pair.spawned(10);
    pair.first.change(spawned.clone()).exit(10, 0);
    pair.drain();
    pair.first.wait(2 * GRACE);
    // More than is taken at one drain, of which the first has nothing to keep it busy.
    pair.second.change(spawned);
    for _ in 0..20_000 {
        pair.second.exec(9);
    }
    pair.second.change(end(10));
    let report = pair.report();
    assert_eq!((report.disagreed(), report.processes, report.open), (0, 1, 1), "open is 9");
}

/// What the second says of whose child it is has been heard by the time the first tells what the child did, though both were queued
/// by then.
#[test]
fn the_second_is_heard_first() {
    let mut pair = Pair::new(Ok(vec![]));
    let spawned = pair.spawned(10);
    pair.first.fork(10, 11).exec(11).exit(11, 0).exit(10, 0);
    pair.second.change(spawned).fork(10, 11).exec(11).change(end(11)).change(end(10));
    let report = pair.report();
    let about: Vec<u32> = report.disagreements.iter().map(|one| one.pid).collect();
    assert_eq!((about, report.agreed), (vec![10], 3), "only the birth that the first missed");
}

#[test]
fn a_loss_of_the_second_alone_is_counted_and_not_told() {
    let mut pair = Pair::new(Ok(vec![]));
    let spawned = pair.spawned(10);
    pair.first.change(spawned.clone()).exec(10).exit(10, 0);
    pair.second.change(spawned).lose(5).change(end(10));
    let mut out = Vec::new();
    assert_eq!(pair.source.drain(&mut out, 1_000).unwrap(), Drained::All);
    assert_eq!(out.len(), 3);
    let report = pair.report();
    assert_eq!((report.lost_by_second, report.disagreed(), report.exempt), (5, 0, 1));
}

#[test]
fn a_loss_of_the_first_is_told_as_ever() {
    let mut pair = Pair::new(Ok(vec![]));
    let spawned = pair.spawned(10);
    pair.first.change(spawned.clone()).lose(7).exit(10, 0);
    pair.second.change(spawned).exec(10).change(end(10));
    let mut out = Vec::new();
    assert_eq!(pair.source.drain(&mut out, 1_000).unwrap(), Drained::Overrun);
    let loss = pair.source.settle(&mut out).unwrap();
    assert_eq!((loss, out.len()), (Loss { count: 7, exact: true }, 2));
    let report = pair.report();
    assert_eq!((report.lost_by_second, report.disagreed(), report.open), (0, 0, 0));
}

#[test]
fn who_is_exempt_and_gone_is_not_kept() {
    let mut pair = Pair::new(Ok(vec![]));
    let spawned = pair.spawned(10);
    pair.first.change(spawned.clone());
    pair.second.change(spawned);
    pair.drain();
    pair.first.list(Living { pid: 10, parent: 1, start: 0, threads: vec![10], status: None });
    pair.second.lose(1);
    pair.first.wait(2 * GRACE);
    pair.drain();
    assert_eq!(pair.source.kept(), 1, "it lives");
    pair.first.unlist(10).wait(2 * GRACE);
    pair.drain();
    assert_eq!(pair.source.kept(), 0);
}

#[test]
fn a_second_that_breaks_ends_the_comparing_and_nothing_else() {
    let mut pair = Pair::new(Ok(vec![]));
    let spawned = pair.spawned(10);
    pair.first.change(spawned.clone());
    pair.second.change(spawned).fail("no more");
    pair.drain();
    pair.first.exec(10).exit(10, 0).fork(10, 11);
    assert_eq!(pair.drain().len(), 3);
    pair.first.wait(2 * GRACE);
    let report = pair.report();
    assert_eq!((report.disagreed(), report.open), (0, 0));
    assert!(report.silent.as_ref().is_some_and(|why| why.contains("no more")), "{report:?}");
    assert!(pair.source.spawner().is_some(), "children go on being started there");
}

#[test]
fn a_first_that_breaks_breaks_both() {
    let mut pair = Pair::new(Ok(vec![]));
    pair.first.fail("no more");
    assert!(pair.source.drain(&mut Vec::new(), 10).is_err());
}

#[test]
fn both_attach() {
    let mut pair = Pair::new(Ok(vec![10, 11]));
    for pid in [10, 11, 12] {
        pair.first.list(Living { pid, parent: 10, start: 0, threads: vec![pid], status: None });
    }
    assert_eq!(pair.source.attach_tree(10).unwrap(), [], "the first sees the whole machine");
    pair.first.wait(GRACE);
    // 12 is not followed by the second.
    pair.first.exec(11).exec(12).exit(12, 0).exit(11, 0);
    pair.second.exec(11).change_at(GRACE, end(11));
    let report = pair.report();
    assert_eq!((report.agreed, report.processes, report.open, report.disagreed()), (2, 1, 0, 0));
    pair.first.wait(2 * GRACE).exit(10, 0);
    pair.drain();
    pair.first.wait(2 * GRACE);
    assert_eq!(pair.report().disagreed(), 1, "of 10 only the first told the end");
}

/// Between being followed by the second and being looked at.
#[test]
fn who_ends_while_it_is_attached_to_is_nobodys_fault() {
    let mut pair = Pair::new(Ok(vec![10, 11]));
    let zombie = Living { pid: 11, parent: 1, start: 0, threads: vec![], status: Some(0) };
    pair.first.list(zombie);
    pair.first.exit(10, 0).exit(11, 0);
    pair.source.attach_tree(10).unwrap();
    pair.drain();
    pair.first.wait(2 * GRACE);
    pair.second.change(end(10)).change(end(11));
    pair.drain();
    pair.first.wait(2 * GRACE);
    let report = pair.report();
    assert_eq!((report.disagreed(), report.open, report.exempt), (0, 0, 2));
    assert_eq!(pair.source.kept(), 0);
}

#[test]
fn that_the_second_may_not_attach_is_no_reason_not_to() {
    let mut pair = Pair::new(Err(libc::EACCES));
    pair.source.attach_tree(10).unwrap();
    pair.first.exec(10).exit(10, 0).wait(2 * GRACE);
    let report = pair.report();
    assert_eq!((report.exempt, report.disagreed()), (1, 0));
    // Who has ended is nobody's fault.
    let mut pair = Pair::new(Err(libc::ESRCH));
    pair.source.attach_tree(10).unwrap();
    assert_eq!(pair.report().exempt, 0);
}

#[test]
fn a_reactor_says_what_its_witnesses_came_to() {
    let pair = Pair::new(Ok(vec![]));
    let spawned = pair.spawned(10);
    let reactor = Reactor::new(Box::new(pair.source)).unwrap();
    pair.first.change(spawned.clone()).exit(10, 0);
    pair.second.change(spawned).change(end(10));
    let report = reactor.witnesses().unwrap();
    assert_eq!((report.agreed, report.processes), (2, 1));
    let (one, _script) = scripted().unwrap();
    assert_eq!(Reactor::new(Box::new(one)).unwrap().witnesses(), None);
}
