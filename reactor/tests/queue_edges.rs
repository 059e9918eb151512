//! The queue where the process list hides processes, where losses meet, and at the edges of its interface.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use proc_reactor::flags::*;
use proc_reactor::source::sim::{Script, SimSource, scripted};
use proc_reactor::source::{Drained, Living, Loss, Reading, Source};
use proc_reactor::{
    Capabilities, Change, Interest, Kevent, Queue, QueueError, QueueOptions, Reactor, SourceError, Stamped,
};

const NOW: Option<Duration> = Some(Duration::ZERO);

/// A list that hides processes of others: they answer when looked up, and are not listed. And one during whose reading things happen.
#[derive(Debug)]
struct Altered {
    inner: SimSource,
    hidden: Option<u32>,
    /// Whose being looked up sets it off.
    meddles: Option<(u32, Script)>,
    /// Records are lost faster than it settles: there is always another loss, and the time goes on.
    flooded: Option<AtomicU64>,
}

impl Source for Altered {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.inner.fd()
    }

    fn drain(&mut self, out: &mut Vec<Stamped>, limit: usize) -> Result<Drained, SourceError> {
        if self.flooded.is_some() {
            return Ok(Drained::Overrun);
        }
        self.inner.drain(out, limit)
    }

    fn settle(&mut self, out: &mut Vec<Stamped>) -> Result<Loss, SourceError> {
        self.inner.settle(out)
    }

    fn pids(&mut self) -> io::Result<Vec<u32>> {
        let hidden = self.hidden;
        Ok(self.inner.pids()?.into_iter().filter(|pid| Some(*pid) != hidden).collect())
    }

    fn look(&mut self, pid: u32) -> io::Result<Option<Living>> {
        if let Some((_, script)) = self.meddles.take_if(|(at, _)| *at == pid) {
            // Born, and its end falls to another loss.
            script.fork(100, 109).unlist(109).lose(1);
        }
        self.inner.look(pid)
    }

    fn inspect(&mut self, pid: u32) -> Reading {
        self.inner.inspect(pid)
    }

    fn now(&self) -> u64 {
        self.flooded.as_ref().map_or_else(|| self.inner.now(), |clock| clock.fetch_add(1, Ordering::Relaxed))
    }
}

fn living(pid: u32, parent: u32) -> Living {
    Living { pid, parent, start: 1, threads: vec![pid], status: None }
}

fn bench() -> (Queue, Script) {
    let (source, script) = scripted().unwrap();
    script.list(living(100, 1));
    let source: Box<dyn Source> = Box::new(source);
    (Reactor::new(source).unwrap().queue(QueueOptions::default()).unwrap(), script)
}

fn hiding(hidden: u32) -> (Queue, Script) {
    let (inner, script) = scripted().unwrap();
    script.list(living(100, 1));
    let source: Box<dyn Source> =
        Box::new(Altered { inner, hidden: Some(hidden), meddles: None, flooded: None });
    (Reactor::new(source).unwrap().queue(QueueOptions::default()).unwrap(), script)
}

fn add(queue: &Queue, pid: u32, fflags: u32) {
    assert_eq!(queue.kevent(&[Kevent::process(pid, EV_ADD, fflags)], &mut [], NOW).unwrap(), 0);
}

fn read(queue: &Queue) -> Vec<Kevent> {
    let mut events = [Kevent::default(); 64];
    let count = queue.kevent(&[], &mut events, NOW).unwrap();
    events[..count].to_vec()
}

/// A process that is watched by a queue and not listed (hidepid) is not ended by a loss.
#[test]
fn c18_who_is_hidden_from_the_list_survives_a_loss() {
    let (queue, script) = hiding(200);
    script.fork(1, 200);
    add(&queue, 200, NOTE_EXIT);
    script.lose(3);
    assert_eq!(read(&queue), [], "it lives");
    script.exit(200, 0x300);
    assert_eq!(read(&queue).iter().map(|event| event.data).collect::<Vec<_>>(), [0x300]);
}

/// So with a child that is tracked.
#[test]
fn c18_a_hidden_tracked_child_survives_a_loss() {
    let (queue, script) = hiding(200);
    add(&queue, 100, NOTE_TRACK | NOTE_EXIT);
    script.fork(100, 200);
    assert_eq!(read(&queue).len(), 1);
    script.lose(3);
    let told = read(&queue);
    assert!(!told.iter().any(|event| event.ident == 200 && event.fflags & NOTE_EXIT != 0), "{told:?}");
}

/// A process that is hidden can be added.
#[test]
fn c1_who_is_hidden_from_the_list_can_be_watched() {
    let (queue, script) = hiding(200);
    script.list(living(200, 1));
    add(&queue, 200, NOTE_EXIT);
    script.exit(200, 0);
    assert_eq!(read(&queue).len(), 1);
}

/// A process is born between two losses, and so is a thread of its, unseen: its first thread's end is not its own.
#[test]
fn c18_a_thread_that_a_second_loss_hides_keeps_the_process_alive() {
    let (queue, script) = bench();
    add(&queue, 100, NOTE_TRACK | NOTE_EXIT);
    script.lose(1).fork(100, 109);
    // Its second thread is born, unseen.
    script.lose(1);
    script.list(Living { threads: vec![110], ..living(109, 100) });
    script.list(Living { pid: 109, parent: 100, start: 3_000, threads: vec![110], status: None });
    script.change(Change::Exit { process: 109, thread: 109, status: Some(0), parent: 100 });
    let told = read(&queue);
    assert!(!told.iter().any(|event| event.ident == 109 && event.fflags & NOTE_EXIT != 0), "{told:?}");
    script.unlist(109);
    script.change(Change::Exit { process: 109, thread: 110, status: Some(0x700), parent: 100 });
    let told = read(&queue);
    let exits: Vec<_> = told
        .iter()
        .filter(|event| event.ident == 109 && event.fflags & NOTE_EXIT != 0)
        .map(|event| event.data)
        .collect();
    assert_eq!(exits, [0x700], "{told:?}");
}

/// What is registered anew after disable() is enabled, and the old handle can do nothing.
#[test]
fn a_registration_taken_over_after_disable() {
    let (queue, script) = bench();
    let mut old = queue.register(100, Interest::EXIT | Interest::FORK, 1).unwrap();
    old.disable().unwrap();
    script.fork(100, 101);
    let new = queue.register(100, Interest::EXIT, 2).unwrap();
    assert_eq!(old.disable().unwrap_err().errno(), libc::ENOENT);
    assert_eq!(old.set_interest(Interest::EXIT).unwrap_err().errno(), libc::ENOENT);
    drop(old);
    let mut notices = Vec::new();
    assert_eq!(queue.wait(&mut notices, 8, NOW).unwrap(), 1);
    assert_eq!(notices[0].token, 2);
    script.exit(100, 0);
    assert_eq!(queue.wait(&mut notices, 8, NOW).unwrap(), 1);
    drop(new);
    assert_eq!(queue.stats().notes, 0);
}

/// Two threads register one process: whoever holds it is whose token and interest it has.
#[test]
fn a_registration_that_holds_is_the_one_that_was_last() {
    let (queue, _script) = bench();
    for _ in 0..20_000 {
        let barrier = std::sync::Barrier::new(2);
        let held: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = [1, 2]
                .map(|token| {
                    let (queue, barrier) = (&queue, &barrier);
                    scope.spawn(move || {
                        barrier.wait();
                        queue.register(100, Interest::FORK, token).unwrap()
                    })
                })
                .into_iter()
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let mut events = [Kevent::default(); 4];
        // Who has it, without a change: the token of what is told.
        _script.fork(100, 101).exit(101, 0);
        let count = queue.kevent(&[], &mut events, NOW).unwrap();
        assert_eq!(count, 1);
        let token = events[0].udata;
        let holder = held.iter().position(|registration| registration.disable().is_ok()).unwrap();
        assert_eq!(holder as u64 + 1, token, "the other's interest is in force");
        drop(held);
        assert_eq!(queue.stats().notes, 0);
    }
}

#[test]
fn huge_lists() {
    let (queue, script) = bench();
    let adds: Vec<_> = (0..200_000).map(|ident| Kevent::user(ident, EV_ADD | EV_ONESHOT, 0)).collect();
    assert_eq!(queue.kevent(&adds, &mut [], NOW).unwrap(), 0);
    let triggers: Vec<_> = (0..200_000).map(|ident| Kevent::user(ident, 0, NOTE_TRIGGER)).collect();
    let mut events = vec![Kevent::default(); 300_000];
    assert_eq!(queue.kevent(&triggers, &mut events, NOW).unwrap(), 200_000);
    assert_eq!(queue.stats().notes, 0);
    let bad: Vec<_> = (0..100_000).map(|pid| Kevent::process(1_000_000 + pid, EV_ADD, NOTE_EXIT)).collect();
    let begun = Instant::now();
    assert_eq!(queue.kevent(&bad, &mut events, NOW).unwrap(), 100_000);
    assert!(events[..100_000].iter().all(|event| event.data == i64::from(libc::ESRCH)));
    let receipts: Vec<_> = (0..1_000).map(|ident| Kevent::user(ident, EV_ADD | EV_RECEIPT, 0)).collect();
    let error = queue.kevent(&receipts, &mut events[..999], NOW).unwrap_err();
    assert!(matches!(error, QueueError::EventListTooSmall { needed: 1000, room: 999 }), "{error}");
    assert_eq!(queue.stats().notes, 0);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let _ = script;
}

/// A waker may close the queue that wakes it, wait in it or drop its waiter.
#[test]
fn a_waker_may_close_the_queue() {
    use std::sync::Arc;
    use std::task::{Context, Wake, Waker};
    #[derive(Debug)]
    struct Closes(Queue);
    impl Wake for Closes {
        fn wake(self: Arc<Self>) {
            let _ = self.0.kevent(&[Kevent::user(3, EV_ADD, NOTE_TRIGGER)], &mut [], NOW);
            let _ = self.0.kevent(&[], &mut [Kevent::default()], Some(Duration::from_millis(1)));
            self.0.close();
        }
    }
    let (queue, script) = bench();
    add(&queue, 100, NOTE_EXIT | NOTE_FORK);
    let mut waiter = queue.waiter();
    let waker = Waker::from(Arc::new(Closes(queue.clone())));
    assert!(waiter.poll_kevent(&mut Context::from_waker(&waker), &mut [Kevent::default()]).is_pending());
    script.fork(100, 101);
    queue.reactor().turn();
    assert!(matches!(queue.kevent(&[], &mut [], NOW), Err(QueueError::Closed)));
    drop(waiter);
    assert_eq!(queue.reactor().stats().queues, 0);
}

/// Who is asked whether it is gone, and is not, is not told of.
#[test]
fn polling_with_many_children() {
    let (queue, script) = bench();
    script.list(living(std::process::id(), 1));
    for pid in 1_000..21_000 {
        script.list(living(pid, std::process::id()));
    }
    let adds: Vec<_> = (1_000..21_000).map(|pid| Kevent::process(pid, EV_ADD, NOTE_EXIT)).collect();
    queue.kevent(&adds, &mut [], NOW).unwrap();
    for _ in 0..100 {
        assert_eq!(read(&queue), []);
    }
}

/// The list is read anew when records are lost meanwhile; who was born before that and is not in it has ended (K8).
#[test]
fn k8_born_and_lost_while_the_list_was_read() {
    let (inner, script) = scripted().unwrap();
    script.list(living(100, 1)).list(living(108, 1));
    let source = Altered { inner, hidden: None, meddles: Some((107, script.clone())), flooded: None };
    let reactor = Reactor::new(Box::new(source)).unwrap();
    let queue = reactor.queue(QueueOptions::default()).unwrap();
    add(&queue, 100, NOTE_TRACK | NOTE_EXIT);
    script.list(living(107, 1)).lose(1);
    let told = read(&queue);
    let of_it: Vec<_> =
        told.iter().filter(|event| event.ident == 109).map(|event| (event.fflags, event.data)).collect();
    assert_eq!(of_it, [(NOTE_CHILD, 100), (NOTE_EXIT, -1)], "{told:?}");
}

/// A call takes in what was queued when it began, or knows it to be lost, and does not wait for the end of a flood (C37).
#[test]
fn c37_a_flood_that_never_settles_holds_nobody() {
    let (inner, script) = scripted().unwrap();
    script.list(living(100, 1));
    let flooded = Some(AtomicU64::new(1));
    let reactor = Reactor::new(Box::new(Altered { inner, hidden: None, meddles: None, flooded })).unwrap();
    let queue = reactor.queue(QueueOptions::default()).unwrap();
    assert_eq!(queue.kevent(&[], &mut [Kevent::default()], NOW).unwrap(), 0);
}
