//! Several queues and waiters, forks, closing, signals, time-outs (C33 to C37).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use proc_reactor::flags::*;
use proc_reactor::{Interest, Kevent, QueueError, QueueOptions, Registration};

use super::case::{Case, Gate, case};
use super::kqueue::{Kqueue, Refused};
use super::os;
use super::real::until;
use super::stage::How;
use super::world::*;

pub(crate) const CASES: &[Case] = &[
    case(
        "C33",
        "every_queue_is_told",
        "Each of several queues is told of everything it asked for, once, with its own udata.",
        every_queue_is_told,
    ),
    case(
        "C33",
        "one_waiter_is_told",
        "Of several threads that wait in a queue, exactly one gets each event.",
        one_waiter_is_told,
    ),
    case(
        "C34",
        "not_after_a_fork",
        "A queue is not inherited by a fork: every use in the child is EBADF, and the parent's is not \
         disturbed.",
        not_after_a_fork,
    )
    .differs("On F it is kept over exec and by whoever shares the descriptor table (rfork, dup)."),
    case(
        "C35",
        "closing_wakes",
        "Closing a queue drops its notes and wakes everybody who waits in it, with EBADF.",
        closing_wakes,
    )
    .gated(&[Gate::Kernel("a waiter that close does not wake can be woken by nothing else")])
    .differs(
        "F does not wake who sleeps: such a call goes on to get events, and the notes go when it returns; \
         L wakes with an error. A thread that nobody can wake cannot be joined.",
    ),
    case(
        "C35",
        "nothing_works_after_closing",
        "Every call on a closed queue is EBADF; closing it again does nothing.",
        nothing_works_after_closing,
    )
    .gated(&[Gate::Kernel("the number of a closed descriptor is soon another's")]),
    case(
        "C35",
        "closing_while_events_arrive",
        "A queue can be closed while events arrive and others read and change it.",
        closing_while_events_arrive,
    )
    .gated(&[Gate::Kernel("the number of a closed descriptor is soon another's")]),
    case(
        "C36",
        "signals_do_not_interrupt",
        "A call that waits is not ended by a signal, and its changes were done before it waited.",
        signals_do_not_interrupt,
    )
    .differs(
        "F: EINTR, with the changes done. Here a library cannot know whose signal it was; a user event or \
         closing the queue ends a wait.",
    ),
    case(
        "C36",
        "a_wait_lasts_as_long_as_it_says",
        "A time-out ends a wait when it has passed and not before; any is valid.",
        a_wait_lasts_as_long_as_it_says,
    )
    .differs(
        "F: EINVAL for negative and too large ones, with the changes done. `Duration` has no such values.",
    ),
    case(
        "C37",
        "zero_never_waits",
        "A call with time-out zero, or without room for events, returns what is ready and does not wait, \
         also while a process forks as fast as it can.",
        zero_never_waits,
    ),
    case("C37", "room_for_some", "What finds no room in the event list stays, in order.", room_for_some),
];

fn every_queue_is_told(world: &mut World) {
    let pid = world.spawn();
    let queues: Vec<Kqueue> = (0..4).map(|_| world.another_queue(QueueOptions::default())).collect();
    for (udata, queue) in (0..).zip(&queues) {
        change(queue, Kevent::process(pid, EV_ADD, XF).with_udata(udata)).unwrap();
    }
    let told = |note, flags, data| {
        for (udata, queue) in (0..).zip(&queues) {
            assert_eq!(read(queue), [event(pid, flags, note, data).with_udata(udata)]);
            assert_eq!(read(queue), []);
        }
    };
    world.fork(pid);
    told(NOTE_FORK, EV_CLEAR, 0);
    world.exec(pid);
    told(NOTE_EXEC, EV_CLEAR, 0);
    world.exit(pid, 3);
    told(NOTE_EXIT, LAST, code(3));
}

fn one_waiter_is_told(world: &mut World) {
    const EACH: u32 = 200;
    let parent = world.spawn();
    world.add(parent, NOTE_TRACK | NOTE_EXIT);
    let ended = Arc::new(AtomicUsize::new(0));
    let waiters: Vec<_> = (0..4)
        .map(|_| {
            let (queue, ended) = (world.queue.clone(), Arc::clone(&ended));
            thread::spawn(move || {
                let mut mine = Vec::new();
                let begun = Instant::now();
                while ended.load(Ordering::SeqCst) < EACH as usize {
                    assert!(begun.elapsed() < FOREVER.unwrap(), "hung: all ends are told");
                    let mut events = [Kevent::default(); 2];
                    let count = queue.kevent(&[], &mut events, Some(Duration::from_millis(20))).unwrap();
                    mine.extend_from_slice(&events[..count]);
                    ended.fetch_add(tally(&events[..count])[1], Ordering::SeqCst);
                }
                mine
            })
        })
        .collect();
    let mut expected = world.stage().many(parent, EACH, How::Vfork, 1);
    let mut children = HashMap::new();
    let mut ends: Vec<u32> = Vec::new();
    for event in waiters.into_iter().flat_map(|waiter| waiter.join().unwrap()) {
        match event.fflags {
            NOTE_CHILD => *children.entry(event.ident).or_insert(0) += 1,
            NOTE_EXIT => ends.push(event.ident as u32),
            _ => panic!("{event:?}"),
        }
    }
    ends.sort_unstable();
    expected.sort_unstable();
    assert_eq!(ends, expected);
    assert_eq!(children.len(), EACH as usize);
    assert!(children.values().all(|count| *count == 1));
}

/// The number of the first call that was not refused as it should be, or 0. Takes no lock where all is well.
fn refused(queue: &Kqueue, pid: u32, expected: fn(&QueueError) -> bool) -> u8 {
    let bad = |result: Result<usize, Refused>| match result {
        Err(error) => !error.is(expected) || error.errno() != libc::EBADF,
        Ok(_) => true,
    };
    let add = [Kevent::process(pid, EV_ADD, NOTE_EXIT)];
    let wrong = [Kevent { filter: 99, ..add[0] }];
    let calls = [
        bad(queue.kevent(&[], &mut [Kevent::default()], NOW)),
        bad(queue.kevent(&add, &mut [], NOW)),
        bad(queue.kevent(&[], &mut [], NOW)),
        bad(queue.kevent(&wrong, &mut [Kevent::default()], NOW)),
    ];
    let first =
        |number: u8, results: &[bool]| (number..).zip(results).find(|(_, bad)| **bad).map(|(at, _)| at);
    let typed = || {
        let Kqueue::Ours(queue) = queue else { return None };
        let bad = |result: Result<(), QueueError>| bad(result.map(|()| 0).map_err(Refused::Ours));
        let calls = [
            bad(queue.register(pid, Interest::EXIT, 0).map(Registration::keep)),
            bad(queue.add_user(1, 0)),
            bad(queue.trigger(1, 0)),
            bad(queue.wait(&mut Vec::new(), 1, NOW).map(drop)),
            bad(queue.wait(&mut Vec::new(), 0, NOW).map(drop)),
        ];
        first(5, &calls)
    };
    first(1, &calls).or_else(typed).unwrap_or(0)
}

fn not_after_a_fork(world: &mut World) {
    let pid = world.spawn();
    world.add(pid, NOTE_FORK);
    world.fork(pid);
    let stats = |world: &World| match &world.queue {
        Kqueue::Ours(queue) => Some(queue.stats()),
        Kqueue::Kernel(_) => None,
    };
    let before = stats(world);
    let queue = &world.queue;
    let status = os::in_a_fork(|| {
        let wrong = refused(queue, pid, |error| matches!(error, QueueError::Forked { .. }));
        if let Kqueue::Ours(queue) = queue {
            queue.close();
        }
        wrong
    });
    assert_eq!(status, 0, "call {} in a fork", status >> 8);
    assert_eq!(stats(world), before);
    world.tells(&[event(pid, EV_CLEAR, NOTE_FORK, 0)]);
}

fn closing_wakes(world: &mut World) {
    let pid = world.spawn();
    world.add(pid, ALL);
    let waiting = Arc::new(AtomicUsize::new(0));
    let waiters: Vec<_> = [None, None, FOREVER]
        .into_iter()
        .map(|timeout| {
            let (queue, waiting) = (world.queue.clone(), Arc::clone(&waiting));
            thread::spawn(move || {
                waiting.fetch_add(1, Ordering::SeqCst);
                queue.kevent(&[], &mut [Kevent::default(); 4], timeout).unwrap_err()
            })
        })
        .collect();
    until(|| "three wait".to_owned(), || (waiting.load(Ordering::SeqCst) == 3).then_some(()));
    thread::sleep(Duration::from_millis(10));
    world.queue.ours().close();
    for waiter in waiters {
        until(|| "a waiter returns".to_owned(), || waiter.is_finished().then_some(()));
        let error = waiter.join().unwrap();
        assert!(error.is(|error| matches!(error, QueueError::Closed)), "{error}");
        assert_eq!(error.errno(), libc::EBADF);
    }
    world.queue.has_notes(0);
}

fn nothing_works_after_closing(world: &mut World) {
    let pid = world.spawn();
    world.add(pid, ALL);
    world.fork(pid);
    world.queue.ours().close();
    world.queue.ours().close();
    let wrong = refused(&world.queue, pid, |error| matches!(error, QueueError::Closed));
    assert_eq!(wrong, 0, "call {wrong} on a closed queue");
    world.queue.has_notes(0);
}

fn closing_while_events_arrive(world: &mut World) {
    let parent = world.spawn();
    let rounds = 30;
    for round in 0..rounds {
        let queue = world.another_queue(QueueOptions::default());
        change(&queue, Kevent::process(parent, EV_ADD, ALL)).unwrap();
        let users: Vec<_> = (0..3)
            .map(|number| {
                let queue = queue.clone();
                thread::spawn(move || {
                    loop {
                        let timeout = if number == 0 { None } else { NOW };
                        let add = [Kevent::process(parent, EV_ADD, ALL)];
                        let changes = if number == 2 { &add[..] } else { &[] };
                        match queue.kevent(changes, &mut [Kevent::default(); 8], timeout) {
                            Ok(_) => {}
                            Err(Refused::Ours(QueueError::Closed)) => return,
                            Err(error) => panic!("{error}"),
                        }
                    }
                })
            })
            .collect();
        let closer = {
            let queue = queue.clone();
            thread::spawn(move || {
                thread::sleep(Duration::from_micros(200 * round));
                queue.ours().close();
            })
        };
        world.stage().many(parent, 40, How::Vfork, 0);
        closer.join().unwrap();
        for user in users {
            until(|| format!("round {round}: a user returns"), || user.is_finished().then_some(()));
            user.join().unwrap();
        }
        queue.has_notes(0);
    }
    // And a handle that is dropped while others wait in a clone changes nothing.
    drop(world.queue.clone());
    world.quiet();
}

fn signals_do_not_interrupt(world: &mut World) {
    os::let_signals_interrupt();
    let pid = world.spawn();
    let (tell, told) = mpsc::channel();
    let waiter = {
        let queue = world.queue.clone();
        thread::spawn(move || {
            tell.send(os::this_thread()).expect("it is waited for");
            let mut events = [Kevent::default(); 4];
            let add = [Kevent::process(pid, EV_ADD, XF)];
            let count = queue.kevent(&add, &mut events, FOREVER).unwrap();
            events[..count].to_vec()
        })
    };
    let waiting = told.recv().expect("the waiter's thread");
    match &world.queue {
        Kqueue::Ours(queue) => {
            until(|| "the change is done".to_owned(), || (queue.stats().notes == 1).then_some(()));
        }
        // It cannot be seen from outside.
        Kqueue::Kernel(_) => thread::sleep(Duration::from_millis(20)),
    }
    for _ in 0..20 {
        assert!(!waiter.is_finished(), "a signal ended the wait: {:?}", waiter.join());
        os::interrupt(&waiting);
        thread::sleep(Duration::from_millis(1));
    }
    assert!(!waiter.is_finished(), "a signal ended the wait: {:?}", waiter.join());
    world.fork(pid);
    assert_eq!(waiter.join().unwrap(), [event(pid, EV_CLEAR, NOTE_FORK, 0)]);
}

fn a_wait_lasts_as_long_as_it_says(world: &mut World) {
    let pid = world.spawn();
    world.add(pid, XF);
    let mut events = [Kevent::default(); 4];
    for timeout in [Duration::from_nanos(1), Duration::from_millis(30)] {
        let begun = Instant::now();
        assert_eq!(world.queue.kevent(&[], &mut events, Some(timeout)).unwrap(), 0);
        assert!(begun.elapsed() >= timeout);
    }
    // Longer than any clock runs.
    world.fork(pid);
    assert_eq!(world.queue.kevent(&[], &mut events, Some(Duration::MAX)).unwrap(), 1);
}

fn zero_never_waits(world: &mut World) {
    let parent = world.spawn();
    world.add(parent, ALL);
    let begun = Instant::now();
    assert_eq!(world.queue.kevent(&[], &mut [], None).unwrap(), 0);
    (0..1_000).for_each(|_| world.quiet());
    let (queue, over) = (world.queue.clone(), Arc::new(AtomicBool::new(false)));
    let reader = {
        let over = Arc::clone(&over);
        thread::spawn(move || {
            let (mut events, mut calls) = (Vec::new(), 0_u32);
            while !over.load(Ordering::SeqCst) {
                let mut some = [Kevent::default(); 8];
                let count = queue.kevent(&[], &mut some, NOW).unwrap();
                events.extend_from_slice(&some[..count]);
                calls += 1;
            }
            (events, calls)
        })
    };
    let children = world.stage().many(parent, 400, How::Vfork, 0);
    over.store(true, Ordering::SeqCst);
    let (mut events, calls) = reader.join().unwrap();
    let missing = children.len() - tally(&events)[1];
    events.extend(world.gather("the rest of the ends", |events| tally(events)[1] >= missing));
    eprintln!("{calls} calls while {} children ended, {:?} in all", children.len(), begun.elapsed());
    assert_eq!(tally(&events)[..2], [400, 400]);
}

fn room_for_some(world: &mut World) {
    let pids: Vec<u32> = (0..30).map(|_| world.stage().quick(0)).collect();
    for &pid in &pids {
        world.add(pid, NOTE_EXIT);
    }
    for &pid in &pids {
        world.stage().let_go(pid);
        until(|| format!("{pid} has ended"), || told_of(world, pid, &pids).then_some(()));
    }
    let mut events = [Kevent::default(); 20];
    let mut order = Vec::new();
    for expected in [20, 10, 0] {
        let count = world.queue.kevent(&[], &mut events, NOW).unwrap();
        assert_eq!(count, expected);
        order.extend(events[..count].iter().map(|event| event.ident as u32));
    }
    assert_eq!(order, pids);
    for pid in pids {
        world.reap(pid);
    }
}

/// Whether as many have ended as are expected to have by the time that `pid` has.
fn told_of(world: &World, pid: u32, pids: &[u32]) -> bool {
    let (Some(reactor), Kqueue::Ours(queue)) = (world.reactor(), &world.queue) else {
        // A kernel tells of an end before it can be waited for.
        return os::has_ended(pid);
    };
    reactor.turn();
    let expected = 1 + pids.iter().position(|other| *other == pid).expect("one of them");
    queue.stats().ready == expected
}
