//! The queue over a scripted source, from many threads and in the corners of its interface. What each rule says is held against it in
//! the workspace's conformance table.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use proc_reactor::flags::*;
use proc_reactor::source::sim::{Script, scripted};
use proc_reactor::source::{Living, Source};
use proc_reactor::{
    ChangeError, ExitStatus, Guard, Interest, Kevent, NoticeKind, Queue, QueueError, QueueOptions, Reactor,
};

const ALL: u32 = NOTE_EXIT | NOTE_FORK | NOTE_EXEC | NOTE_TRACK;
const NOW: Option<Duration> = Some(Duration::ZERO);

fn bench() -> (Queue, Script) {
    bench_with(QueueOptions::default())
}

fn bench_with(options: QueueOptions) -> (Queue, Script) {
    let (source, script) = scripted().unwrap();
    script.list(Living { pid: 100, parent: 1, start: 1, threads: vec![100], status: None });
    let source: Box<dyn Source> = Box::new(source);
    let reactor = Reactor::new(source).unwrap();
    (reactor.queue(options).unwrap(), script)
}

fn add(queue: &Queue, pid: u32, fflags: u32) {
    assert_eq!(queue.kevent(&[Kevent::process(pid, EV_ADD, fflags)], &mut [], NOW).unwrap(), 0);
}

fn read(queue: &Queue) -> Vec<Kevent> {
    let mut events = [Kevent::default(); 64];
    let count = queue.kevent(&[], &mut events, NOW).unwrap();
    events[..count].to_vec()
}

#[test]
fn a_tracked_tree_from_birth_to_end() {
    let (queue, script) = bench();
    queue.kevent(&[Kevent::process(100, EV_ADD, ALL).with_udata(9)], &mut [], NOW).unwrap();
    script.fork(100, 101).exec(101).exit(101, 0x700).exit(100, 9);
    let event = |pid, flags, fflags, data| Kevent { data, udata: 9, ..Kevent::process(pid, flags, fflags) };
    assert_eq!(
        read(&queue),
        [
            event(101, EV_CLEAR | EV_ONESHOT, NOTE_CHILD, 100),
            event(100, EV_CLEAR | EV_ONESHOT | EV_EOF, NOTE_FORK | NOTE_EXIT, 9),
            event(101, EV_CLEAR | EV_ONESHOT | EV_EOF, NOTE_EXEC | NOTE_EXIT, 0x700),
        ]
    );
    assert_eq!(queue.stats().notes, 0);
}

/// Many waiters: each event is one's, and none sleeps while there is something to be had.
#[test]
fn each_event_is_one_waiters() {
    const PROCESSES: u32 = 2_000;
    let (queue, script) = bench();
    add(&queue, 100, NOTE_TRACK | NOTE_EXIT);
    let ended = Arc::new(AtomicUsize::new(0));
    let waiters: Vec<_> = (0..4)
        .map(|_| {
            let (queue, ended) = (queue.clone(), Arc::clone(&ended));
            thread::spawn(move || {
                let mut events = [Kevent::default(); 3];
                loop {
                    match queue.kevent(&[], &mut events, None) {
                        Ok(count) => {
                            let exits = events[..count].iter().filter(|event| event.fflags & NOTE_EXIT != 0);
                            if ended.fetch_add(exits.clone().count(), Ordering::SeqCst) + exits.count()
                                == PROCESSES as usize
                            {
                                queue.close();
                            }
                        }
                        Err(QueueError::Closed) => return,
                        Err(error) => panic!("{error}"),
                    }
                }
            })
        })
        .collect();
    for pid in 1_000..1_000 + PROCESSES {
        script.fork(100, pid).exit(pid, 0);
    }
    waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
    assert_eq!(ended.load(Ordering::SeqCst), PROCESSES as usize);
}

/// One waiter leads and leaves with an event; those behind it must not sleep for ever.
#[test]
fn the_lead_is_handed_over() {
    let (queue, script) = bench();
    let other = queue.reactor().queue(QueueOptions::default()).unwrap();
    for pid in 101..=110 {
        script.fork(100, pid);
    }
    let waiters: Vec<_> = (101..=110)
        .map(|pid| {
            let queue = if pid % 2 == 0 { queue.clone() } else { other.clone() };
            add(&queue, pid, NOTE_EXIT);
            thread::spawn(move || {
                let mut events = [Kevent::default(); 1];
                assert_eq!(queue.kevent(&[], &mut events, Some(Duration::from_secs(60))).unwrap(), 1);
            })
        })
        .collect();
    for pid in 101..=110 {
        script.exit(pid, 0);
        thread::sleep(Duration::from_millis(1));
    }
    waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
}

#[test]
fn a_trigger_wakes_a_waiter() {
    let (queue, _script) = bench();
    queue.kevent(&[Kevent::user(1, EV_ADD | EV_CLEAR, 0)], &mut [], None).unwrap();
    let waiter = {
        let queue = queue.clone();
        thread::spawn(move || {
            let mut events = [Kevent::default(); 8];
            let count = queue.kevent(&[], &mut events, Some(Duration::from_secs(60))).unwrap();
            events[..count].to_vec()
        })
    };
    thread::sleep(Duration::from_millis(20));
    queue.kevent(&[Kevent::user(1, 0, NOTE_TRIGGER)], &mut [], None).unwrap();
    assert_eq!(waiter.join().unwrap().len(), 1);
}

/// A tree beyond what the queue may hold: NOTE_TRACKERR, and when there is room again tracking goes on.
#[test]
fn c30_unread_notes_are_bounded() {
    let mut options = QueueOptions::default();
    options.max_unread = 10;
    let (queue, script) = bench_with(options);
    add(&queue, 100, NOTE_TRACK | NOTE_EXIT);
    for pid in 200..300 {
        script.fork(100, pid).exit(pid, 0);
    }
    queue.reactor().turn();
    assert!(queue.stats().unread <= 12, "{:?}", queue.stats());
    let events = read(&queue);
    let children = events.iter().filter(|event| event.fflags == NOTE_CHILD).count();
    assert!((5..=11).contains(&children), "{events:?}");
    assert!(events.iter().any(|event| event.ident == 100 && event.fflags == NOTE_TRACKERR));
    script.fork(100, 300);
    assert!(read(&queue).iter().any(|event| event.ident == 300 && event.fflags == NOTE_CHILD));
}

#[test]
fn a_failed_source_fails_the_call_after_what_is_there() {
    let (queue, script) = bench();
    add(&queue, 100, NOTE_EXIT);
    script.exit(100, 0).fail("pulled out");
    assert_eq!(read(&queue).len(), 1);
    let error = queue.kevent(&[], &mut [Kevent::default()], None).unwrap_err();
    assert!(matches!(error, QueueError::Source(_)), "{error}");
    assert!(queue.reactor().queue(QueueOptions::default()).is_err());
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn a_task_waits_without_a_thread() {
    let (queue, script) = bench();
    let _guard = Guard::start(&queue.reactor()).unwrap();
    add(&queue, 100, NOTE_EXIT);
    let mut waiter = queue.waiter();
    let flag = Arc::new(Flag(AtomicBool::new(false)));
    let waker = Waker::from(Arc::clone(&flag));
    let mut cx = Context::from_waker(&waker);
    let mut events = [Kevent::default(); 4];
    assert!(waiter.poll_kevent(&mut cx, &mut events).is_pending());
    script.exit(100, 0x300);
    let begun = Instant::now();
    while !flag.0.load(Ordering::SeqCst) {
        assert!(begun.elapsed() < Duration::from_secs(60), "the task was never woken");
        thread::sleep(Duration::from_millis(1));
    }
    assert!(matches!(waiter.poll_kevent(&mut cx, &mut events), Poll::Ready(Ok(1))));
    assert_eq!(events[0].data, 0x300);
}

/// A queue that is closed leaves nothing on the processes that it watched.
#[test]
fn queues_come_and_go() {
    let (queue, script) = bench();
    let reactor = queue.reactor();
    for _ in 0..100 {
        let other = reactor.queue(QueueOptions::default()).unwrap();
        add(&other, 100, ALL);
        let waiter = other.waiter();
        drop(other);
        drop(waiter);
    }
    assert_eq!(reactor.stats().queues, 1);
    add(&queue, 100, NOTE_EXIT);
    script.exit(100, 0);
    assert_eq!(read(&queue).len(), 1);
}

#[test]
fn registrations_name_births_and_end_when_dropped() {
    let (queue, script) = bench();
    let mut registration = queue.register(100, Interest::EXIT | Interest::TRACK, 7).unwrap();
    let root = registration.id();
    script.fork(100, 101).exec(101);
    let mut notices = Vec::new();
    queue.wait(&mut notices, 64, NOW).unwrap();
    let NoticeKind::Child { id: child, parent } = notices[0].kind else { panic!("{notices:?}") };
    assert_eq!((child.pid(), parent, notices[0].token, notices.len()), (101, root, 7, 1));
    registration.set_interest(Interest::EXIT | Interest::FORK).unwrap();
    registration.disable().unwrap();
    script.fork(100, 102).exit(101, 9);
    notices.clear();
    queue.wait(&mut notices, 64, NOW).unwrap();
    let exit = Some(ExitStatus::Signal { signal: 9, core: false });
    let ended = NoticeKind::Process { id: child, forked: false, ran: false, exit, missed: false };
    assert_eq!(notices.iter().map(|notice| notice.kind).collect::<Vec<_>>(), [ended]);
    registration.enable().unwrap();
    drop(registration);
    script.exit(100, 0);
    assert_eq!(queue.wait(&mut notices, 64, NOW).unwrap(), 0);
    assert_eq!(queue.stats().notes, 0);
    assert!(matches!(
        queue.register(4242, Interest::EXIT, 0),
        Err(QueueError::Change { error: ChangeError::NoSuchProcess { ident: 4242 }, .. })
    ));
}

/// Random changes found that its deletion was counted as that of an event.
#[test]
fn c19_a_note_that_ended_with_nothing_to_tell_can_be_deleted() {
    let (queue, script) = bench();
    add(&queue, 100, 0);
    script.exit(100, 0);
    queue.reactor().turn();
    assert_eq!((queue.stats().notes, queue.stats().ready), (1, 0));
    queue.kevent(&[Kevent::process(100, EV_DELETE, 0)], &mut [], NOW).unwrap();
    assert_eq!((queue.stats().notes, queue.stats().ready), (0, 0));
}

/// The pid of a process whose end is unread is used again, and the new one ends before anybody asks for it: its zombie answers
/// (C4), and the old one's note stays the old one's (C8).
#[test]
fn c8_a_zombie_is_not_taken_for_the_last_owner_of_its_pid() {
    let (queue, script) = bench();
    script.fork(100, 200);
    queue.kevent(&[Kevent::process(200, EV_ADD, NOTE_EXIT).with_udata(1)], &mut [], NOW).unwrap();
    script.exit(200, 0x100).fork(100, 200).exit(200, 0x200);
    script.list(Living { pid: 200, parent: 100, start: 5_000, threads: vec![], status: Some(0x200) });
    queue.kevent(&[Kevent::process(200, EV_ADD, NOTE_EXIT).with_udata(2)], &mut [], NOW).unwrap();
    let told: Vec<_> = read(&queue).iter().map(|event| (event.udata, event.data)).collect();
    assert_eq!(told, [(1, 0x100), (2, 0x200)]);
}

/// EBADF comes before everything else that may be wrong, and also where there is nothing to do (C35).
#[test]
fn c35_a_closed_queue_is_closed_first() {
    let (queue, _script) = bench();
    let mut waiter = queue.waiter();
    queue.close();
    let closed = |result| matches!(result, Err(QueueError::Closed));
    assert!(closed(queue.kevent(&[], &mut [], NOW)));
    let unknown = Kevent { filter: 99, ..Kevent::process(100, EV_ADD, 0) };
    assert!(closed(queue.kevent(&[unknown], &mut [Kevent::default()], NOW)));
    assert!(closed(queue.wait(&mut Vec::new(), 0, NOW)));
    assert!(matches!(
        waiter.poll_kevent(&mut Context::from_waker(Waker::noop()), &mut []),
        Poll::Ready(Err(QueueError::Closed))
    ));
}

/// The process list is ahead of the records: who is gone from it cannot be registered any more (C3).
#[test]
fn c3_gone_before_its_record() {
    let (queue, script) = bench();
    script.fork(100, 101);
    queue.reactor().turn();
    script.unlist(101);
    let error = queue.kevent(&[Kevent::process(101, EV_ADD, NOTE_EXIT)], &mut [], NOW).unwrap_err();
    assert_eq!(error.errno(), libc::ESRCH, "{error}");
    script.exit(101, 0);
    assert_eq!(read(&queue), []);
    assert_eq!(queue.stats().notes, 0);
}
