//! The lives of a tree, as those see them who wait in a queue, while others register, delete, disable, enable, trigger, open
//! and close.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use shuttle::thread::{self, JoinHandle};

use crate::error::{ChangeError, QueueError};
use crate::flags::*;
use crate::reactor::waker::WakeSlot;
use crate::source::sim::{Script, scripted};
use crate::source::{Living, Source};
use crate::sync::Arc;
use crate::{ExitStatus, Kevent, Notice, NoticeKind, ProcId, Queue, QueueOptions, Reactor};

const ALL: u32 = NOTE_EXIT | NOTE_FORK | NOTE_EXEC | NOTE_TRACK;

/// Whose tree is followed all the time, and whose note comes and goes.
const ROOT: u32 = 100;
const OTHER: u32 = 200;

/// The ends that there are to be told: pid, which of its births that are told of, and exit code.
const ENDS: &[(u32, usize, u8)] =
    &[(100, 0, 4), (101, 0, 1), (101, 1, 3), (102, 0, 2), (103, 0, 9), (200, 0, 6), (202, 0, 5)];
/// Of all those with a parent that is followed.
const CHILDREN: &[u32] = &[101, 101, 102, 103, 202];
const USERS: u64 = 3;

/// What a waiter was told, with the moments before and after the call.
struct Seen {
    begun: u64,
    ended: u64,
    notice: Notice,
}

struct Bench {
    queue: Queue,
    script: Script,
    /// Moments, which no schedule is to depend on: the standard library's, which shuttle knows nothing of.
    clock: AtomicU64,
    /// Ends and user events that have been told.
    told: AtomicUsize,
}

impl Bench {
    fn new() -> Arc<Self> {
        let (source, script) = scripted().unwrap();
        for pid in [ROOT, OTHER] {
            script.list(Living { pid, parent: 1, start: 1, threads: vec![pid], status: None });
        }
        let source: Box<dyn Source> = Box::new(source);
        let queue = Reactor::new(source).unwrap().queue(QueueOptions::default()).unwrap();
        let (clock, told) = (AtomicU64::new(0), AtomicUsize::new(0));
        let bench = Self { queue, script, clock, told };
        bench.change(Kevent::process(ROOT, EV_ADD, ALL));
        (0..USERS).for_each(|ident| bench.change(Kevent::user(ident, EV_ADD | EV_ONESHOT, 0)));
        Arc::new(bench)
    }

    fn change(&self, change: Kevent) {
        assert_eq!(self.queue.kevent(&[change], &mut [], None).unwrap(), 0);
    }

    fn now(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::Relaxed)
    }

    /// Waits until the queue is closed; who takes the last of what there is to be told closes it.
    fn wait(&self, most: usize) -> Vec<Seen> {
        let mut seen = Vec::new();
        let mut notices = Vec::new();
        loop {
            let begun = self.now();
            match self.queue.wait(&mut notices, most, None) {
                Ok(count) => assert!(count > 0 && count <= most && count == notices.len()),
                Err(QueueError::Closed) => return seen,
                Err(error) => panic!("{error}"),
            }
            let ended = self.now();
            let last = notices.iter().filter(|notice| match notice.kind {
                NoticeKind::Process { exit, .. } => exit.is_some(),
                NoticeKind::User { .. } => true,
                NoticeKind::Child { .. } => false,
            });
            let last = last.count();
            seen.extend(notices.drain(..).map(|notice| Seen { begun, ended, notice }));
            let all = ENDS.len() + USERS as usize;
            if last > 0 && self.told.fetch_add(last, Ordering::Relaxed) + last == all {
                let stats = self.queue.stats();
                assert_eq!((stats.notes, stats.ready, stats.unread), (0, 0, 0), "all has been read (K11)");
                self.queue.close();
            }
        }
    }

    /// A tree comes and goes, and a pid comes round again.
    fn forks(&self) {
        let script = &self.script;
        script.fork(100, 101).exec(101).fork(101, 102).exit(101, 1 << 8);
        script.fork(100, 103).exit(102, 2 << 8);
        script.fork(100, 101).exit(103, 9 << 8).exit(101, 3 << 8).exit(100, 4 << 8);
    }

    /// One process is registered, deleted and registered again.
    fn registers(&self) {
        self.change(Kevent::process(OTHER, EV_ADD, NOTE_EXIT | NOTE_EXEC));
        self.script.fork(OTHER, 201).exit(201, 0);
        self.change(Kevent::process(OTHER, EV_DELETE, 0));
        self.change(Kevent::process(OTHER, EV_ADD, ALL));
        self.script.fork(OTHER, 202).exit(202, 5 << 8).exit(OTHER, 6 << 8);
    }

    /// The root's note is disabled and enabled, until it has told the end.
    fn switches(&self) {
        for flags in [EV_DISABLE, EV_ENABLE, EV_DISABLE, EV_ENABLE] {
            match self.queue.kevent(&[Kevent::process(ROOT, flags, ALL)], &mut [], None) {
                Ok(_) | Err(QueueError::Closed) => {}
                Err(QueueError::Change { error: ChangeError::NoSuchNote, .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// User events are triggered, a turn is taken for nobody, and another queue is opened and closed over the same processes.
    fn triggers(&self) {
        let reactor = self.queue.reactor();
        self.change(Kevent::user(0, 0, NOTE_TRIGGER));
        reactor.turn();
        let other = reactor.queue(QueueOptions::default()).unwrap();
        match other.kevent(&[Kevent::process(ROOT, EV_ADD, ALL)], &mut [], None) {
            Ok(_) | Err(QueueError::Change { error: ChangeError::NoSuchProcess { .. }, .. }) => {}
            Err(error) => panic!("{error}"),
        }
        self.change(Kevent::user(1, 0, NOTE_TRIGGER));
        drop(other);
        self.change(Kevent::user(2, 0, NOTE_TRIGGER));
    }
}

fn beside<T: Send + 'static>(
    bench: &Arc<Bench>,
    work: impl FnOnce(&Bench) -> T + Send + 'static,
) -> JoinHandle<T> {
    let bench = Arc::clone(bench);
    thread::spawn(move || work(&bench))
}

/// Six threads, and the books are balanced afterwards.
pub(super) fn life() {
    let bench = Bench::new();
    let waiters = [1, 3].map(|most| beside(&bench, move |bench| bench.wait(most)));
    let works = [Bench::forks, Bench::registers, Bench::switches, Bench::triggers];
    let works = works.map(|work| beside(&bench, work));
    works.into_iter().for_each(|work| work.join().unwrap());
    let seen: Vec<Seen> = waiters.into_iter().flat_map(|waiter| waiter.join().unwrap()).collect();
    balance(&seen);
    let reactor = bench.queue.reactor();
    drop(bench);
    reactor.turn();
    let stats = reactor.stats();
    assert_eq!((stats.queues, stats.processes, stats.tracked), (0, 0, 0), "nobody lives and nobody waits");
}

/// The same with one more who comes, leads, and leaves without a word, again and again.
pub(super) fn life_beside_one_who_keeps_the_lead() {
    let bench = Bench::new();
    let waiters = [1, 3].map(|most| beside(&bench, move |bench| bench.wait(most)));
    let fault = beside(&bench, |bench| {
        let reactor = bench.queue.reactor();
        let slot = Arc::new(WakeSlot::new());
        for _ in 0..4 {
            if reactor.shared.lead.sit(&slot) {
                (0..60).for_each(|_| thread::yield_now());
                drop(reactor.shared.lead.leave(&slot, true));
            }
            thread::yield_now();
        }
    });
    let works = [Bench::forks, Bench::registers, Bench::switches, Bench::triggers];
    let works = works.map(|work| beside(&bench, work));
    works.into_iter().chain([fault]).for_each(|work| work.join().unwrap());
    let seen: Vec<Seen> = waiters.into_iter().flat_map(|waiter| waiter.join().unwrap()).collect();
    balance(&seen);
}

fn id(seen: &Seen) -> Option<ProcId> {
    match seen.notice.kind {
        NoticeKind::Process { id, .. } | NoticeKind::Child { id, .. } => Some(id),
        NoticeKind::User { .. } => None,
    }
}

/// Each birth's NOTE_CHILD is its first and each end its last, once each; none is missing, and none has another's status.
fn balance(seen: &[Seen]) {
    let mut users: Vec<u64> = seen.iter().filter_map(|seen| user(&seen.notice)).collect();
    users.sort_unstable();
    assert_eq!(users, (0..USERS).collect::<Vec<_>>(), "each user event once");
    let mut lives: HashMap<ProcId, Vec<&Seen>> = HashMap::new();
    for (id, seen) in seen.iter().filter_map(|seen| Some((id(seen)?, seen))) {
        lives.entry(id).or_default().push(seen);
    }
    let mut ends: Vec<(ProcId, ExitStatus)> = Vec::new();
    let mut children: Vec<u32> = Vec::new();
    for (&id, life) in &lives {
        for told in life {
            let others = life.iter().filter(|other| !std::ptr::eq(**other, *told));
            match told.notice.kind {
                NoticeKind::Child { .. } => {
                    children.push(id.pid());
                    // What was over when this had not begun came before it.
                    assert!(others.clone().all(|other| other.ended > told.begun), "{id}: not the first");
                }
                NoticeKind::Process { exit: Some(status), missed, .. } => {
                    ends.push((id, status));
                    assert!(!missed, "{id}: nothing was lost");
                    assert!(others.clone().all(|other| other.begun < told.ended), "{id}: not the last");
                }
                _ => {}
            }
        }
    }
    children.sort_unstable();
    assert_eq!(children, CHILDREN, "each child once");
    ends.sort_unstable_by_key(|(id, _)| (id.pid(), id.birth()));
    let mut expected = ENDS.iter();
    let mut nth = 0;
    let mut before = 0;
    for (id, status) in &ends {
        nth = if id.pid() == before { nth + 1 } else { 0 };
        before = id.pid();
        let end = expected.next().unwrap_or_else(|| panic!("{id} has an end too many"));
        assert_eq!((id.pid(), nth, *status), (end.0, end.1, ExitStatus::Code(end.2)));
    }
    assert_eq!(expected.next(), None, "an end is missing");
}

fn user(notice: &Notice) -> Option<u64> {
    match notice.kind {
        NoticeKind::User { ident } => Some(ident),
        _ => None,
    }
}
