//! FreeBSD's races about lists of notes and their locks.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use proc_reactor::flags::*;
use proc_reactor::{QueueOptions, Turned};

use crate::algorithm::{ALL_FAULTS, Fault, Found};
use crate::bench::{
    ALL, Done, NOW, ROOT, add, at_once, change, exits, read, read_until, row, scripted_queue,
};
use crate::interleave::search;
use crate::known::{RACE, REPORT};
use crate::ours::Mutant;
use crate::{bug2016, ours};

/// "Kqueue races causing crashes" on freebsd-current in June 2016; the repair is D17727. The lock of a list of notes was let go by way
/// of the note, from which the exit had taken the pointer to the list meanwhile.
#[test]
fn unlock_skipped_since_the_exit_cleared_the_pointer() {
    let (before, _) = bug2016::search(REPORT, Fault::ReturnsWithLock);
    let searched = ours::search(RACE, Mutant::Ours);
    for (fault, (found, trace)) in ALL_FAULTS.into_iter().zip(&searched) {
        assert!(matches!(found, Found::No { .. }), "{fault:?} in ours: {trace:?}");
    }
    // The report's program: one makes short-lived processes that fork and exec, one reads. With a lock left behind both would stand.
    let (queue, script) = scripted_queue();
    add(&queue, ROOT, ALL, 0);
    const CHILDREN: u32 = 20_000;
    let maker = thread::spawn(move || {
        for pid in 1_000..1_000 + CHILDREN {
            script.fork(ROOT, pid).exec(pid).exit(pid, (pid as i32 % 100) << 8);
        }
        script.exit(ROOT, 0);
    });
    let mut ended = 0;
    let events = read_until(&queue, |event| {
        ended += u32::from(exits(event));
        ended == CHILDREN + 1
    });
    maker.join().unwrap();
    for event in events.iter().filter(|event| exits(event) && event.ident != u64::from(ROOT)) {
        assert_eq!(event.data, (event.ident as i64 % 100) << 8, "{event:?}");
    }
    assert!(read(&queue).is_empty());
    assert_eq!(queue.stats().notes, 0);
    row(
        "unlock skipped after exit (D17727)",
        before,
        "the model, and 20,000 children that exec and end while they are read",
    );
}

/// `knote()` walked the list of notes with the next one in hand (`SLIST_FOREACH` without `_SAFE`, later with it) and let the list's lock go in
/// between, when the next one could be freed.
#[test]
fn next_note_freed_during_the_walk() {
    // What the walker has in hand; whether the second note is freed; where both are.
    #[derive(Clone, PartialEq, Eq, Hash, Default)]
    struct State {
        walker: u8,
        next: bool,
        deleter: u8,
        locked: bool,
        freed: bool,
        used_freed: bool,
    }
    fn walker(s: &mut State) -> bool {
        match s.walker {
            0 | 2 if s.locked => return false,
            0 => (s.locked, s.next) = (true, !s.freed),
            // Tells the first note, which may not be done with the lock held.
            1 => s.locked = false,
            2 => s.locked = true,
            3 => (s.used_freed, s.locked) = (s.next && s.freed, false),
            _ => return false,
        }
        s.walker += 1;
        true
    }
    fn deleter(s: &mut State) -> bool {
        match s.deleter {
            0 if s.locked => return false,
            0 => s.freed = true,
            _ => return false,
        }
        s.deleter += 1;
        true
    }
    let before = search(State::default(), &[walker, deleter], |s, _| s.used_freed);
    // The notes of eight queues on one process, which ends while they are deleted and read: each is deleted or told, and not both.
    const ROUNDS: u32 = 500;
    let (first, script) = scripted_queue();
    let reactor = first.reactor();
    let mut sums = [0, 0];
    for round in 0..ROUNDS {
        let pid = 1_000 + round;
        script.fork(ROOT, pid);
        let queues: Vec<_> = (0..8).map(|_| reactor.queue(QueueOptions::default()).unwrap()).collect();
        queues.iter().for_each(|queue| add(queue, pid, NOTE_EXIT, 0));
        let delete =
            || queues.iter().map(|queue| change(queue, pid, EV_DELETE, 0, 0) == 0).collect::<Vec<_>>();
        let (deleted, mut told) = at_once(delete, || {
            script.exit(pid, 0x700);
            while reactor.turn() == Turned::More {}
            let mut told: Vec<_> = queues.iter().rev().map(|queue| read(queue).len()).collect();
            told.reverse();
            told
        });
        for (k, queue) in queues.iter().enumerate() {
            told[k] += read(queue).len();
            assert_eq!(told[k] + usize::from(deleted[k]), 1, "round {round}, queue {k}");
            assert_eq!(queue.stats().notes, 0);
            sums[usize::from(deleted[k])] += 1;
        }
    }
    let ours = format!("500 ends, each with 8 notes: {} told, {} deleted before", sums[0], sums[1]);
    row("next note freed in the walk", before, &ours);
}

/// D18316, one half: following a fork, `knote_fork()` said that it was done with a note before it had the list's lock again, and then
/// went on from that note.
#[test]
fn fork_leaves_flux_before_it_holds_the_list() {
    #[derive(Clone, PartialEq, Eq, Hash, Default)]
    struct State {
        forker: u8,
        deleter: u8,
        locked: bool,
        flux: bool,
        freed: bool,
        used_freed: bool,
    }
    fn forker(s: &mut State) -> bool {
        match s.forker {
            0 | 3 if s.locked => return false,
            0 => s.locked = true,
            1 if s.freed => (s.locked, s.forker) = (false, 4),
            // Registers the child, which may not be done with the list locked.
            1 => (s.flux, s.locked) = (true, false),
            2 => s.flux = false,
            3 => s.locked = true,
            4 => (s.used_freed, s.locked) = (s.freed, false),
            _ => return false,
        }
        s.forker += 1;
        true
    }
    fn deleter(s: &mut State) -> bool {
        if s.deleter > 0 || s.locked || s.flux {
            return false;
        }
        (s.freed, s.deleter) = (true, 1);
        true
    }
    let before = search(State::default(), &[forker, deleter], |s, _| s.used_freed);
    // Forks that are tracked, while the parent's note is deleted and made again: a child that is told of is told of to the end.
    let (queue, script) = scripted_queue();
    add(&queue, ROOT, NOTE_TRACK | NOTE_EXIT, 0);
    const CHILDREN: u32 = 10_000;
    let done = AtomicBool::new(false);
    let mut events = thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                change(&queue, ROOT, EV_DELETE, 0, 0);
                add(&queue, ROOT, NOTE_TRACK | NOTE_EXIT, 0);
            }
        });
        let reader = scope.spawn(|| {
            let mut all = Vec::new();
            while !done.load(Ordering::Relaxed) {
                all.extend(read(&queue));
            }
            all
        });
        let going = Done(&done);
        for pid in 1_000..1_000 + CHILDREN {
            script.fork(ROOT, pid).exit(pid, 0);
            queue.reactor().turn();
        }
        drop(going);
        reader.join().unwrap()
    });
    // The note is there now; so there is one at least.
    script.fork(ROOT, 500).exit(500, 0);
    while let more @ [_, ..] = &read(&queue)[..] {
        events.extend_from_slice(more);
    }
    let told = |note| {
        let mut pids: Vec<_> = events.iter().filter(|e| e.fflags & note != 0).map(|e| e.ident).collect();
        pids.sort_unstable();
        pids
    };
    let (children, ended) = (told(NOTE_CHILD), told(NOTE_EXIT));
    assert_eq!(children, ended, "each that is told of is told of to the end, and once");
    let twice = children.windows(2).find(|pair| pair[0] == pair[1]);
    assert!(twice.is_none() && !children.is_empty(), "{twice:?} of {} of {CHILDREN}", children.len());
    assert_eq!(queue.stats().notes, 1, "the root's");
    let ours =
        format!("10,000 forks of a note that comes and goes: {} tracked, to their end", children.len());
    row("fork leaves flux too soon (D18316)", before, &ours);
}

/// D18316, the other half: a registration looked whether the queue was closing and put its note in when it had been closed.
#[test]
fn registration_while_the_queue_is_closing() {
    #[derive(Clone, PartialEq, Eq, Hash, Default)]
    struct State {
        adder: u8,
        closer: u8,
        closing: bool,
        notes: u8,
    }
    fn adder(s: &mut State) -> bool {
        match s.adder {
            0 if s.closing => s.adder = 1,
            0 => {}
            1 => s.notes += 1,
            _ => return false,
        }
        s.adder += 1;
        true
    }
    fn closer(s: &mut State) -> bool {
        match s.closer {
            0 => s.closing = true,
            1 => s.notes = 0,
            _ => return false,
        }
        s.closer += 1;
        true
    }
    let left = |s: &State, stands: bool| stands && s.closing && s.notes > 0;
    let before = search(State::default(), &[adder, closer], left);
    let (first, script) = scripted_queue();
    let reactor = first.reactor();
    let (mut accepted, mut refused) = (0, 0);
    for round in 0..500 {
        let queue = reactor.queue(QueueOptions::default()).unwrap();
        let pid = 1_000 + round;
        script.fork(ROOT, pid);
        let add = || change(&queue, pid, EV_ADD, NOTE_EXIT, 0);
        let (result, ()) = at_once(add, || {
            (0..round % 50 * 20).for_each(|_| std::hint::spin_loop());
            queue.close();
        });
        match result {
            0 => accepted += 1,
            errno => {
                assert_eq!(errno, libc::EBADF);
                refused += 1;
            }
        }
        assert_eq!(queue.stats().notes, 0, "nothing stays in a queue that is closed");
        script.exit(pid, 0);
        reactor.turn();
    }
    assert_eq!(reactor.stats().queues, 1);
    let ours = format!("500 closings: {accepted} additions before, {refused} refused, no note left");
    row("registration in a closing queue (D18316)", before, &ours);
}

/// D53762, PR 291005: the note's flags were changed at a fork without the lock under which all others change them.
#[test]
fn flags_lost_at_a_fork() {
    #[derive(Clone, PartialEq, Eq, Hash, Default)]
    struct State {
        forker: u8,
        read: u32,
        other: u8,
        other_read: u32,
        flags: u32,
    }
    fn forker(s: &mut State) -> bool {
        match s.forker {
            0 => s.read = s.flags,
            1 => s.flags = s.read | NOTE_FORK,
            _ => return false,
        }
        s.forker += 1;
        true
    }
    fn other(s: &mut State) -> bool {
        match s.other {
            0 => s.other_read = s.flags,
            1 => s.flags = s.other_read | NOTE_EXEC,
            _ => return false,
        }
        s.other += 1;
        true
    }
    let lost = |s: &State, stands: bool| stands && s.flags != NOTE_FORK | NOTE_EXEC;
    let before = search(State::default(), &[forker, other], lost);
    // Each process forks, execs and ends once, while two drive and two read, and one changes udata all the time.
    const PROCESSES: u32 = 5_000;
    let (queue, script) = scripted_queue();
    let done = AtomicBool::new(false);
    let mut events = thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut all = Vec::new();
                    while !done.load(Ordering::Relaxed) {
                        all.extend(read(&queue));
                    }
                    all
                })
            })
            .collect();
        let going = Done(&done);
        for pid in 1_000..1_000 + PROCESSES {
            script.fork(ROOT, pid);
            add(&queue, pid, NOTE_FORK | NOTE_EXEC | NOTE_EXIT, 1);
            script.fork(pid, 100_000).exec(pid);
            change(&queue, pid, EV_ENABLE, NOTE_FORK | NOTE_EXEC | NOTE_EXIT, 2);
            script.exit(pid, 0).exit(100_000, 0);
        }
        queue.kevent(&[], &mut [], NOW).unwrap();
        while queue.reactor().turn() == Turned::More {}
        drop(going);
        readers.into_iter().flat_map(|reader| reader.join().unwrap()).collect::<Vec<_>>()
    });
    while let more @ [_, ..] = &read(&queue)[..] {
        events.extend_from_slice(more);
    }
    let mut seen = vec![0; PROCESSES as usize];
    for event in &events {
        seen[event.ident as usize - 1_000] |= event.fflags;
    }
    let all = NOTE_FORK | NOTE_EXEC | NOTE_EXIT;
    assert_eq!(seen.iter().position(|flags| *flags != all), None, "{events:?}");
    row("flags lost at a fork (D53762, PR 291005)", before, "5,000 processes, two readers: all flags told");
}
