//! FreeBSD's races about what events say and whose they are.

use std::thread;

use proc_reactor::Kevent;
use proc_reactor::flags::*;

use crate::bench::{LONG, ROOT, add, child, exits, kernel_queue, read, read_until, row, scripted_queue};
use crate::interleave::search;

/// r295012 and PR 180385: the child's note told of its birth with the parent's pid in `data`, and of its end with the status in
/// `data`; unread, both were one event.
#[test]
fn child_and_exit_in_one_event() {
    const PARENT: i64 = 7;
    #[derive(Clone, PartialEq, Eq, Hash, Default)]
    struct State {
        child: u8,
        flags: u32,
        data: i64,
        told: Vec<(u32, i64)>,
    }
    fn child(s: &mut State) -> bool {
        match s.child {
            0 => (s.flags, s.data) = (NOTE_CHILD, PARENT),
            1 => (s.flags, s.data) = (s.flags | NOTE_EXIT, 0x300),
            _ => return false,
        }
        s.child += 1;
        true
    }
    fn reader(s: &mut State) -> bool {
        if s.flags == 0 {
            return false;
        }
        s.told.push((s.flags, s.data));
        s.flags = 0;
        true
    }
    let wrong = |s: &State, _| s.told.iter().any(|(flags, data)| flags & NOTE_CHILD != 0 && *data != PARENT);
    let before = search(State::default(), &[child, reader], wrong);
    let (queue, script) = scripted_queue();
    add(&queue, ROOT, NOTE_TRACK | NOTE_EXIT, 0);
    const CHILDREN: u32 = 20_000;
    let maker = thread::spawn(move || {
        for pid in 1_000..1_000 + CHILDREN {
            script.fork(ROOT, pid).exit(pid, 0x300);
        }
    });
    let mut ended = 0;
    let events = read_until(&queue, |event| {
        ended += u32::from(exits(event));
        ended == CHILDREN
    });
    maker.join().unwrap();
    let births = events.iter().filter(|event| event.fflags == NOTE_CHILD && event.data == i64::from(ROOT));
    let ends = events.iter().filter(|event| event.fflags == NOTE_EXIT && event.data == 0x300);
    assert_eq!((births.count(), ends.count(), events.len()), (20_000, 20_000, 40_000));
    row("CHILD and EXIT in one event (r295012, PR 180385)", before, "20,000 children, two events each");
}

/// PR 275286: the list of notes was emptied when the process was reaped, with the events that nobody had read.
#[test]
fn events_survive_the_reaping() {
    #[derive(Clone, PartialEq, Eq, Hash, Default)]
    struct State {
        process: u8,
        unread: bool,
        told: bool,
    }
    fn process(s: &mut State) -> bool {
        match s.process {
            0 => s.unread = true,
            // Reaped: the list goes.
            1 => s.unread = false,
            _ => return false,
        }
        s.process += 1;
        true
    }
    fn reader(s: &mut State) -> bool {
        let reads = std::mem::take(&mut s.unread);
        s.told |= reads;
        reads
    }
    let before = search(State::default(), &[process, reader], |s, stands| stands && !s.told);
    let (queue, script) = scripted_queue();
    script.fork(ROOT, 200);
    add(&queue, 200, NOTE_EXIT, 0);
    // Ended, reaped, and somebody else has the pid.
    script.exit(200, 0x500).fork(ROOT, 200);
    assert_eq!(read(&queue).iter().map(|event| event.data).collect::<Vec<_>>(), [0x500]);
    let mut ran = "scripted";
    if let Some(queue) = kernel_queue() {
        let children: Vec<_> = (1..=50).map(|code| (code, child(code))).collect();
        for (_, child) in &children {
            add(&queue, child.id(), NOTE_EXIT, u64::from(child.id()));
        }
        let codes: Vec<_> = children
            .into_iter()
            .map(|(code, mut child)| {
                drop(child.stdin.take());
                assert_eq!(child.wait().unwrap().code(), Some(i32::from(code)));
                (u64::from(child.id()), i64::from(code) << 8)
            })
            .collect();
        let mut told = Vec::new();
        while let some @ [_, ..] = &read(&queue)[..] {
            told.extend(some.iter().map(|event| (event.udata, event.data)));
        }
        told.sort_unstable();
        let mut expected = codes;
        expected.sort_unstable();
        assert_eq!(told, expected);
        ran = "scripted, and 50 real children, waited for before they are read";
    }
    row("events lost at reap (PR 275286)", before, ran);
}

/// Seen on FreeBSD 12.3: registering a pid that is used again changes the note on its last owner whose end has not been read. The
/// new process is watched by nobody.
#[test]
fn note_of_the_old_process_for_the_new_one() {
    #[derive(Clone, PartialEq, Eq, Hash, Default)]
    struct State {
        world: u8,
        adder: u8,
        /// The note by pid: whose it is, and whether it has an end to tell.
        note: Option<(u8, bool)>,
        told: Vec<u8>,
    }
    fn world(s: &mut State) -> bool {
        match s.world {
            // The first ends; the second is born; it ends, when it has been registered.
            0 => s.note = Some((1, true)),
            1 => {}
            2 if s.adder == 0 => return false,
            2 => s.note = s.note.map(|(whose, ended)| (whose, ended || whose == 2)),
            _ => return false,
        }
        s.world += 1;
        true
    }
    fn adder(s: &mut State) -> bool {
        if s.world < 2 || s.adder > 0 {
            return false;
        }
        // By the key, which is the pid: the one that is there is changed.
        s.note.get_or_insert((2, false));
        s.adder = 1;
        true
    }
    fn reader(s: &mut State) -> bool {
        match s.note {
            Some((whose, true)) => {
                s.told.push(whose);
                s.note = None;
                true
            }
            _ => false,
        }
    }
    let start = State { note: Some((1, false)), ..State::default() };
    let before = search(start, &[world, adder, reader], |s, stands| stands && !s.told.contains(&2));
    // One pid, owner after owner, each registered under a number of its own while a reader comes or does not.
    const BIRTHS: u64 = 4_000;
    let (queue, script) = scripted_queue();
    let mut told = thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut told = Vec::new();
            while told.len() < BIRTHS as usize {
                let mut events = [Kevent::default(); 4];
                let count = queue.kevent(&[], &mut events, Some(LONG)).unwrap();
                assert!(count > 0, "an end is missing: {} told", told.len());
                told.extend(events[..count].iter().map(|event| (event.udata, event.data)));
            }
            told
        });
        for birth in 0..BIRTHS {
            script.fork(ROOT, 200);
            add(&queue, 200, NOTE_EXIT, birth);
            script.exit(200, (birth as i32 % 256) << 8);
        }
        reader.join().unwrap()
    });
    told.sort_unstable();
    assert_eq!(told, (0..BIRTHS).map(|birth| (birth, (birth as i64 % 256) << 8)).collect::<Vec<_>>());
    row(
        "old process's note for the new one (seen on 12.3)",
        before,
        "one pid with 4,000 owners, all registered",
    );
}
