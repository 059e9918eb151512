//! mio's, libkqueue's, and that of a program that starts programs.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread;

use proc_reactor::flags::*;
use proc_reactor::source::sim::scripted;
use proc_reactor::{Change, Kevent, Queue, QueueOptions, Reactor, Turned};
use tests::around::Around;

use crate::bench::{
    Done, LONG, NOW, ROOT, add, at_once, change, exits, kernel_queue, read, read_until, row, scripted_queue,
};
use crate::gate::Gate;
use crate::interleave::search;

/// mio #172, #265, #267, #911: events that had been fetched before a deregistration were handled after it, by a number that was
/// another's by then.
#[test]
fn stale_token_after_deregistration() {
    #[derive(Clone, PartialEq, Eq, Hash, Default)]
    struct State {
        fetched: Option<u8>,
        /// Who has slot 0.
        slot: u8,
        user: u8,
        wrong: bool,
    }
    fn handler(s: &mut State) -> bool {
        match s.fetched.take() {
            // For the first, by slot.
            Some(slot) => s.wrong = s.slot != slot + 1,
            None => return false,
        }
        true
    }
    fn user(s: &mut State) -> bool {
        match s.user {
            0 => s.slot = 0,
            1 => s.slot = 2,
            _ => return false,
        }
        s.user += 1;
        true
    }
    let start = State { fetched: Some(0), slot: 1, ..State::default() };
    let before = search(start, &[handler, user], |s, _| s.wrong && s.slot == 2);
    // Its slot is taken by a note on a process that lives on, while the first one's end is applied.
    let (queue, script) = scripted_queue();
    script.fork(ROOT, 200);
    let mut told = 0;
    for round in 0..3_000 {
        let pid = 1_000 + round;
        script.fork(ROOT, pid);
        let flags = if round % 2 == 0 { EV_ADD } else { EV_ADD | EV_ONESHOT };
        assert_eq!(change(&queue, pid, flags, NOTE_EXIT | NOTE_EXEC, 1), 0);
        let end = || {
            script.exec(pid).exit(pid, 0);
            while queue.reactor().turn() == Turned::More {}
        };
        at_once(end, || {
            // Once by EV_DELETE, once by reading it.
            if round % 2 == 0 {
                change(&queue, pid, EV_DELETE, 0, 0);
            } else {
                told += read(&queue).iter().filter(|event| event.udata == 1).count();
            }
            add(&queue, 200, NOTE_EXIT, 2);
        });
        queue.reactor().turn();
        let rest = read(&queue);
        assert!(rest.iter().all(|event| event.udata == 1 && event.ident == u64::from(pid)), "{rest:?}");
        told += rest.len();
        assert_eq!(change(&queue, 200, EV_DELETE, 0, 0), 0, "it is the living one's");
    }
    assert_eq!(queue.stats().notes, 0);
    assert!(told >= 1_500, "each that goes with its first event is told: {told}");
    a_stale_key_finds_nothing();
    let ours = "3,000 slots used again while an end is applied, and one for sure between its halves";
    row("stale token (mio #172, #265, #267, #911)", before, ours);
}

/// The same with the turn held up where it has the key and not the lock.
fn a_stale_key_finds_nothing() {
    const PID: u32 = 300;
    let (inner, script) = scripted().expect("two descriptors");
    let (entered, enters) = channel();
    let (goes, go) = channel();
    let source = Around::new(Box::new(inner), Gate { pid: PID, entered, go });
    let reactor = Reactor::new(Box::new(source)).expect("a reactor");
    let queue = reactor.queue(QueueOptions::default()).expect("a queue");
    script.fork(ROOT, PID);
    add(&queue, PID, NOTE_EXIT, 1);
    // Its threads end differently, so that the system is asked how it ended.
    let end = |thread, status| Change::Exit { process: PID, thread, status: Some(status), parent: ROOT };
    script.change(Change::Thread { process: PID, thread: PID + 1 });
    script.change(end(PID + 1, 0x100)).change(end(PID, 0));
    assert!(enters.try_recv().is_err(), "nothing was held up so far");
    thread::scope(|scope| {
        let turn = scope.spawn(|| reactor.turn());
        enters.recv_timeout(LONG).expect("the turn asks");
        assert_eq!(change(&queue, PID, EV_DELETE, 0, 0), 0);
        // Takes the slot, and no turn.
        queue.kevent(&[Kevent::user(5, EV_ADD | EV_CLEAR, 0)], &mut [], NOW).unwrap();
        goes.send(()).unwrap();
        turn.join().expect("the key finds nothing");
    });
    assert_eq!(read(&queue), []);
    queue.kevent(&[Kevent::user(5, 0, NOTE_TRIGGER)], &mut [], NOW).unwrap();
    assert_eq!(read(&queue).len(), 1);
}

/// libkqueue: a timer fired and its thread went by the pointer to a note that was being deleted.
#[test]
fn used_after_free_as_it_fires_during_deletion() {
    #[derive(Clone, PartialEq, Eq, Hash, Default)]
    struct State {
        timer: u8,
        deleter: u8,
        has: bool,
        freed: bool,
        used_freed: bool,
    }
    fn timer(s: &mut State) -> bool {
        match s.timer {
            0 => s.has = !s.freed,
            1 => s.used_freed = s.has && s.freed,
            _ => return false,
        }
        s.timer += 1;
        true
    }
    fn deleter(s: &mut State) -> bool {
        !std::mem::replace(&mut s.freed, true)
    }
    let before = search(State::default(), &[timer, deleter], |s, _| s.used_freed);
    // A user event fires, and a process ends, while both notes are deleted and made again and somebody reads.
    let (queue, script) = scripted_queue();
    let done = AtomicBool::new(false);
    const ROUNDS: u64 = 10_000;
    let fire = |queue: &Queue, flags, fflags, udata| {
        queue.kevent(&[Kevent::user(5, flags, fflags).with_udata(udata)], &mut [], NOW).is_ok()
    };
    let (fired, read_all) = thread::scope(|scope| {
        let timer = scope.spawn(|| {
            let mut fired = 0;
            while !done.load(Ordering::Relaxed) {
                fired += u64::from(fire(&queue, 0, NOTE_TRIGGER, 1));
            }
            fired
        });
        let reader = scope.spawn(|| {
            let mut count = 0;
            while !done.load(Ordering::Relaxed) {
                let some = read(&queue);
                assert!(some.iter().all(|event| event.filter == EVFILT_USER || exits(event)), "{some:?}");
                count += some.iter().filter(|event| event.filter == EVFILT_USER).count() as u64;
            }
            count
        });
        let going = Done(&done);
        for round in 0..ROUNDS {
            let pid = 1_000 + round as u32;
            assert!(fire(&queue, EV_ADD | EV_CLEAR, 0, 0));
            script.fork(ROOT, pid);
            add(&queue, pid, NOTE_EXIT, 0);
            script.exit(pid, 0);
            change(&queue, pid, EV_DELETE, 0, 0);
            assert!(fire(&queue, EV_DELETE, 0, 0));
        }
        drop(going);
        (timer.join().unwrap(), reader.join().unwrap())
    });
    assert!(read_all <= fired, "{read_all} events of {fired} triggers");
    assert!(!fire(&queue, 0, NOTE_TRIGGER, 0), "there is none to fire");
    while !read(&queue).is_empty() {}
    assert_eq!(queue.stats().notes, 0);
    let ours = format!("10,000 notes deleted while {fired} triggers fire and ends come");
    row("used after free in delete (libkqueue)", before, &ours);
}

/// acsandmann/rift PR #465: 97 zombies were left of 40,000 programs. As modelled here: children are waited for when their event comes,
/// and the registration of one that had ended already brings none.
#[test]
fn zombies_of_many_spawns() {
    zombies(400);
}

#[test]
#[ignore = "long"]
fn long_zombies_of_40_000_spawns() {
    zombies(40_000);
}

fn zombies(spawns: u32) {
    #[derive(Clone, PartialEq, Eq, Hash, Default)]
    struct State {
        ended: bool,
        registered: Option<bool>,
        event: bool,
        reaped: bool,
    }
    fn process(s: &mut State) -> bool {
        let ends = !std::mem::replace(&mut s.ended, true);
        s.event |= ends && s.registered == Some(true);
        ends
    }
    fn spawner(s: &mut State) -> bool {
        let first = s.registered.is_none();
        s.registered.get_or_insert(!s.ended);
        first
    }
    fn reaper(s: &mut State) -> bool {
        let comes = std::mem::take(&mut s.event);
        s.reaped |= comes;
        comes
    }
    let before = search(State::default(), &[process, spawner, reaper], |s, stands| stands && !s.reaped);
    let Some(queue) = kernel_queue() else { return };
    // Waited for at their event and not otherwise, by another thread than that which spawns.
    let (sender, spawned) = channel::<std::process::Child>();
    let reaped = thread::scope(|scope| {
        let queue = &queue;
        let reaper = scope.spawn(move || {
            let mut children = std::collections::HashMap::new();
            let mut reaped = 0;
            while reaped < spawns {
                for event in read_until(queue, exits) {
                    let pid = event.ident as u32;
                    let mut child = loop {
                        match children.remove(&pid) {
                            Some(child) => break child,
                            // The spawner sends it before it registers it.
                            None => {
                                let child = spawned.recv().expect("the spawner goes on");
                                children.insert(child.id(), child);
                            }
                        }
                    };
                    let status = child.wait().unwrap();
                    assert_eq!((status.code(), event.data), (Some(0), 0));
                    reaped += 1;
                }
            }
            reaped
        });
        for spawned in 0..spawns {
            let child = Command::new("true").stdin(Stdio::null()).spawn().expect("true");
            let pid = child.id();
            sender.send(child).unwrap();
            if spawned % 4 == 0 {
                thread::yield_now();
            }
            add(queue, pid, NOTE_EXIT, 0);
        }
        reaper.join().unwrap()
    });
    assert_eq!(reaped, spawns);
    assert!(read(&queue).is_empty());
    assert_eq!(queue.stats().notes, 0);
    let ours = format!("{spawns} real programs, each waited for at its event: no zombie");
    row("97 zombies of 40,000 spawns (rift #465)", before, &ours);
}
