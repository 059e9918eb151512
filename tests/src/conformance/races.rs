//! Rules that only many rounds can show on real processes (C21, C22, C29, C40, C41).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use proc_reactor::flags::*;
use proc_reactor::{Change, Kevent};

use super::case::{Case, Gate, case};
use super::kqueue::Kqueue;
use super::os::{self, Waited};
use super::stage::How;
use super::world::*;

pub(crate) const CASES: &[Case] = &[
    case(
        "C21",
        "told_before_it_can_be_reaped",
        "NOTE_EXIT may be told before wait(2) can reap: a wait that blocks gets the same status, one that \
         does not may find the process alive.",
        told_before_it_can_be_reaped,
    )
    .differs("On F this was seen only for notes that were added while the process was ending.")
    .gated(&[Gate::Scripted("there is nobody to wait for")]),
    case(
        "C22",
        "reaped_by_another",
        "NOTE_EXIT is told though another thread has reaped the process.",
        reaped_by_another,
    )
    .gated(&[Gate::Scripted("there is nobody to reap")]),
    case(
        "C22",
        "reaped_by_nobody",
        "NOTE_EXIT is told, with the status, of children that become no zombies since their parent ignores \
         SIGCHLD.",
        reaped_by_nobody,
    ),
    case(
        "C22",
        "reaped_before_the_read",
        "NOTE_EXIT is told though the process was reaped before the read.",
        reaped_before_the_read,
    ),
    case(
        "C20",
        "ends_meet_scans",
        "An end that comes while the process's other events are being read is told like any other.",
        ends_meet_scans,
    )
    .differs("F 12.3 loses a few of them in ten thousand, and with them the notes."),
    case(
        "C29",
        "ended_at_once",
        "A child that ends at once is told of, and its end: no gap between its birth and its being \
         followed.",
        ended_at_once,
    ),
    case(
        "C29",
        "replaced_at_once",
        "So is a child that runs another program at once, with its exec.",
        replaced_at_once,
    ),
    case(
        "C29",
        "threads_fork_at_once",
        "So are the children of threads that fork at the same time, by vfork or by fork.",
        threads_fork_at_once,
    )
    .differs(
        "F 12.3 misses some of them without a word, neither NOTE_CHILD nor NOTE_TRACKERR: with four \
         threads and vfork several in a hundred.",
    ),
    case(
        "C29",
        "changing_while_it_forks",
        "So are children that are born while another thread adds the note again and again.",
        changing_while_it_forks,
    ),
    case(
        "C40",
        "nothing_is_left",
        "When all processes are gone and all events have been read, a queue holds nothing, nor does the \
         reactor.",
        nothing_is_left,
    ),
    case(
        "C41",
        "an_end_that_was_waited_for",
        "An end that the program has seen by wait(2) is told before a call says that there is nothing, \
         also one with time-out zero.",
        an_end_that_was_waited_for,
    ),
    case(
        "C41",
        "a_late_record",
        "So it is if the source is late with its record: the call waits for that, a second at most.",
        a_late_record,
    )
    .differs("A kernel's own events are never late.")
    .gated(&[Gate::Real("how late a real source is cannot be chosen")]),
    case("C41", "under_load", "So it is on a machine that is busy.", under_load)
        .gated(&[Gate::Scripted("it is about the machine")]),
];

fn told_before_it_can_be_reaped(world: &mut World) {
    let mut before = 0;
    for status in 0..200 {
        let pid = world.stage().quick(status);
        world.add(pid, NOTE_EXIT);
        world.stage().let_go(pid);
        let events = world.gather("the end", |events| !events.is_empty());
        assert_eq!(events, [event(pid, LAST, NOTE_EXIT, code(status))]);
        match os::wait(pid, false) {
            Waited::Lives => before += 1,
            Waited::Ended(told) => {
                assert_eq!(i64::from(told), code(status));
                world.stage().forget(pid);
                continue;
            }
            Waited::Nobody => panic!("{pid}"),
        }
        assert_eq!(world.reap(pid), code(status));
    }
    eprintln!("{before} of 200 ends were told before they could be waited for");
}

fn reaped_by_another(world: &mut World) {
    for status in 0..200 {
        let pid = world.stage().quick(status);
        world.add(pid, NOTE_EXIT);
        let reaper = thread::spawn(move || os::wait(pid, true));
        world.stage().let_go(pid);
        let mut events = Vec::new();
        if status % 2 == 0 {
            events = world.gather("the end", |events| !events.is_empty());
        }
        assert_eq!(reaper.join().unwrap(), Waited::Ended(code(status) as i32));
        world.stage().forget(pid);
        events.extend(read(&world.queue));
        assert_eq!(events, [event(pid, LAST, NOTE_EXIT, code(status))]);
    }
}

fn reaped_by_nobody(world: &mut World) {
    let parent = world.spawn();
    world.stage().ignore_children(parent);
    world.add(parent, NOTE_TRACK | NOTE_EXIT);
    for how in [How::Fork, How::Exec] {
        let children = world.stage().many(parent, 200, how, 5);
        all_told(world, parent, &children, 5);
    }
}

fn reaped_before_the_read(world: &mut World) {
    let parent = world.spawn();
    world.add(parent, NOTE_TRACK | NOTE_EXIT);
    let child = world.once(parent, How::Fork, 4);
    world.reap(child);
    world.exit(parent, 1);
    world.reap(parent);
    world.tells(&[
        event(child, TELLS, NOTE_CHILD, parent.into()),
        event(child, LAST, NOTE_EXIT, code(4)),
        event(parent, LAST, NOTE_EXIT, code(1)),
    ]);
}

/// Each child is told of once, ends once, with this code, and nobody else is; execs are not looked at.
fn all_told(world: &World, parent: u32, children: &[u32], status: u8) -> Vec<Kevent> {
    let mut events = world.gather("all ends", |events| tally(events)[1] >= children.len());
    events.extend(read(&world.queue));
    assert_eq!(tally(&events)[..2], [children.len(), children.len()]);
    for &child in children {
        let of_child: Vec<&Kevent> = events.iter().filter(|event| event.ident == u64::from(child)).collect();
        let (first, last) = (of_child[0], of_child[of_child.len() - 1]);
        assert_eq!(*first, event(child, TELLS, NOTE_CHILD, parent.into()), "{of_child:?}");
        // A child that did something else just before tells of it with its end.
        let end = event(child, LAST, last.fflags | NOTE_EXIT, code(status));
        assert!(world.may_tell(last, &end), "{of_child:?}");
    }
    events
}

fn ends_meet_scans(world: &mut World) {
    let parent = world.spawn();
    world.add(parent, ALL);
    let over = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let (queue, over) = (world.queue.clone(), Arc::clone(&over));
            thread::spawn(move || {
                let mut all = Vec::new();
                while !over.load(Ordering::SeqCst) {
                    all.extend(read(&queue));
                }
                all
            })
        })
        .collect();
    let children = world.stage().many(parent, 500, How::Exec, 3);
    over.store(true, Ordering::SeqCst);
    let mut events: Vec<Kevent> = readers.into_iter().flat_map(|reader| reader.join().unwrap()).collect();
    let missing = children.len() - tally(&events)[1];
    events.extend(world.gather("the rest of the ends", |events| tally(events)[1] >= missing));
    assert_eq!(tally(&events), [children.len(); 3]);
}

fn ended_at_once(world: &mut World) {
    let parent = world.spawn();
    world.add(parent, NOTE_TRACK | NOTE_EXIT);
    for how in [How::Fork, How::Vfork, How::Raw] {
        let children = world.stage().many(parent, 300, how, 7);
        assert_eq!(children.len(), 300);
        all_told(world, parent, &children, 7);
    }
}

fn replaced_at_once(world: &mut World) {
    let parent = world.spawn();
    world.add(parent, NOTE_TRACK | NOTE_EXIT | NOTE_EXEC);
    let children = world.stage().many(parent, 300, How::Exec, 9);
    let events = all_told(world, parent, &children, 9);
    for child in children {
        let execs =
            events.iter().filter(|event| event.ident == u64::from(child) && event.fflags & NOTE_EXEC != 0);
        assert_eq!(execs.count(), 1);
    }
}

fn threads_fork_at_once(world: &mut World) {
    for how in [How::Vfork, How::Raw, How::Fork] {
        let parent = world.spawn();
        world.add(parent, NOTE_TRACK | NOTE_EXIT);
        let children = world.stage().storm(parent, 4, 100, how);
        assert_eq!(children.len(), 400);
        all_told(world, parent, &children, 0);
    }
}

fn changing_while_it_forks(world: &mut World) {
    let parent = world.spawn();
    world.add(parent, NOTE_TRACK | NOTE_EXIT);
    let over = Arc::new(AtomicBool::new(false));
    let changer = {
        let (queue, over) = (world.queue.clone(), Arc::clone(&over));
        thread::spawn(move || {
            while !over.load(Ordering::SeqCst) {
                change_only(&queue, Kevent::process(parent, EV_ADD, NOTE_TRACK | NOTE_EXIT));
            }
        })
    };
    let children = world.stage().many(parent, 300, How::Vfork, 2);
    over.store(true, Ordering::SeqCst);
    changer.join().unwrap();
    all_told(world, parent, &children, 2);
}

/// One change, with no look at what else goes on in the queue.
fn change_only(queue: &Kqueue, change: Kevent) {
    queue.kevent(&[change], &mut [], NOW).unwrap();
}

fn nothing_is_left(world: &mut World) {
    let parent = world.spawn();
    world.add(parent, ALL);
    let living: Vec<u32> = (0..5).map(|_| world.fork_exec(parent)).collect();
    for how in [How::Fork, How::Vfork, How::Exec, How::ByThread] {
        for &process in &living {
            world.stage().many(process, 5, how, 0);
        }
    }
    for pid in living.into_iter().chain([parent]) {
        world.exit(pid, 0);
        world.reap(pid);
    }
    world.gather("all 106 ends", |events| tally(events)[1] == 106);
    world.queue.has_notes(0);
    world.queue.has_ready(0);
    if let Kqueue::Ours(queue) = &world.queue {
        assert_eq!(queue.stats().unread, 0);
    }
}

fn an_end_that_was_waited_for(world: &mut World) {
    for round in 0..2_000_u32 {
        let status = (round % 256) as u8;
        let pid = world.stage().quick(status);
        world.add(pid, NOTE_EXIT);
        world.stage().let_go(pid);
        assert_eq!(world.reap(pid), code(status));
        world.tells(&[event(pid, LAST, NOTE_EXIT, code(status))]);
    }
    let pid = world.stage().quick(1);
    world.stage().let_go(pid);
    world.reap(pid);
    world.bad(Kevent::process(pid, EV_ADD, NOTE_EXIT), libc::ESRCH);
}

fn a_late_record(world: &mut World) {
    let script = world.script.clone().unwrap();
    let pid = world.stage().spawn();
    world.add(pid, NOTE_EXIT);
    world.good(Kevent::user(1, EV_ADD | EV_ONESHOT, 0));
    world.good(Kevent::user(1, 0, NOTE_TRIGGER));
    // It ends, and is reaped. What happened is not queued yet.
    script.unlist(pid);
    // What is there does not have to wait.
    world.tells(&[Kevent::user(1, EV_ONESHOT, 0)]);
    let late = thread::spawn(move || {
        thread::sleep(Duration::from_millis(30));
        script.change(Change::Exit { process: pid, thread: pid, status: Some(0x500), parent: 0 });
    });
    world.tells(&[event(pid, LAST, NOTE_EXIT, code(5))]);
    late.join().unwrap();
    world.stage().forget(pid);
}

fn under_load(world: &mut World) {
    let over = Arc::new(AtomicBool::new(false));
    let busy: Vec<_> = (0..4)
        .map(|_| {
            let over = Arc::clone(&over);
            thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            })
        })
        .collect();
    // Also where the case fails.
    struct End(Arc<AtomicBool>);
    impl Drop for End {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let end = End(over);
    for round in 0..300_u32 {
        let status = (round % 256) as u8;
        let pid = world.stage().quick(status);
        world.add(pid, NOTE_EXIT);
        world.stage().let_go(pid);
        assert_eq!(world.reap(pid), code(status));
        world.tells(&[event(pid, LAST, NOTE_EXIT, code(status))]);
    }
    drop(end);
    busy.into_iter().for_each(|thread| thread.join().unwrap());
}
