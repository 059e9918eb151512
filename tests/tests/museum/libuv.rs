//! libuv's, whose kqueue backend waits for children by EVFILT_PROC where it can.

use proc_reactor::flags::*;
use proc_reactor::source::Living;
use proc_reactor::{Change, Kevent, Queue};

use crate::bench::{
    NOW, ROOT, add, at_once, change, child, exits, kernel_queue, read, read_until, row, scripted_queue,
    until_zombie,
};
use crate::interleave::search;

/// libuv PR #3441: a signal that is pending already is not made pending again, so that one SIGCHLD stands for many children.
#[test]
fn sigchld_lost() {
    #[derive(Clone, PartialEq, Eq, Hash, Default)]
    struct State {
        ended: u8,
        pending: bool,
        reaped: u8,
    }
    fn children(s: &mut State) -> bool {
        if s.ended == 2 {
            return false;
        }
        (s.ended, s.pending) = (s.ended + 1, true);
        true
    }
    // Waits for one child a signal.
    fn handler(s: &mut State) -> bool {
        let signalled = std::mem::take(&mut s.pending);
        s.reaped += u8::from(signalled);
        signalled
    }
    let before = search(State::default(), &[children, handler], |s, stands| stands && s.reaped < 2);
    let run = |queue: &Queue, count: usize, end: &mut dyn FnMut()| {
        end();
        let mut told = 0;
        read_until(queue, |event| {
            told += usize::from(exits(event));
            told == count
        });
        assert!(read(queue).is_empty());
    };
    let (queue, script) = scripted_queue();
    for pid in 1_000..2_000 {
        script.fork(ROOT, pid);
        add(&queue, pid, NOTE_EXIT, 0);
    }
    run(&queue, 1_000, &mut || {
        for pid in 1_000..2_000 {
            script.exit(pid, 0);
        }
    });
    let mut ran = "1,000 scripted ends at once";
    if let Some(queue) = kernel_queue() {
        let mut children: Vec<_> = (0..60).map(child).collect();
        children.iter().for_each(|child| add(&queue, child.id(), NOTE_EXIT, 0));
        run(&queue, 60, &mut || children.iter_mut().for_each(|child| drop(child.stdin.take())));
        for child in &mut children {
            child.wait().unwrap();
        }
        ran = "1,000 scripted and 60 real ends at once";
    }
    row("SIGCHLD lost (libuv #3441)", before, ran);
}

/// libuv PR #3451: the child was a zombie when it was registered. The kernel said ESRCH, and nobody was told of its end.
#[test]
fn ended_before_it_was_registered() {
    #[derive(Clone, PartialEq, Eq, Hash, Default)]
    struct State {
        zombie: bool,
        /// 1: registered; 2: refused, which was taken for an error like others.
        added: u8,
        told: bool,
    }
    fn process(s: &mut State) -> bool {
        let ends = !std::mem::replace(&mut s.zombie, true);
        s.told |= ends && s.added == 1;
        ends
    }
    fn adder(s: &mut State) -> bool {
        let first = s.added == 0;
        if first {
            s.added = if s.zombie { 2 } else { 1 };
        }
        first
    }
    let before = search(State::default(), &[process, adder], |s, stands| stands && !s.told);
    // At every distance from the end: before, in its midst, after; and each time once.
    let (queue, script) = scripted_queue();
    for round in 0..3_000_u32 {
        let pid = 1_000 + round;
        script.fork(ROOT, pid);
        let end = || {
            // In the order of the kernel: a zombie first, then the record.
            script.list(Living { pid, parent: ROOT, start: 1, threads: vec![], status: Some(0x900) });
            script.change(Change::Exit { process: pid, thread: pid, status: Some(0x900), parent: ROOT });
        };
        at_once(end, || {
            (0..round % 50 * 20).for_each(|_| std::hint::spin_loop());
            add(&queue, pid, NOTE_EXIT, 0);
        });
        let told = read(&queue);
        assert_eq!(told.iter().map(|event| event.data).collect::<Vec<_>>(), [0x900], "round {round}");
        script.unlist(pid);
    }
    let mut ran = "3,000 scripted ends beside their registration";
    if let Some(queue) = kernel_queue() {
        for code in 0..40 {
            let mut child = child(code);
            drop(child.stdin.take());
            if code % 2 == 0 {
                until_zombie(&child);
            }
            add(&queue, child.id(), NOTE_EXIT, 0);
            let told = read_until(&queue, exits);
            assert_eq!((told.len(), told[0].data), (1, i64::from(code) << 8));
            child.wait().unwrap();
        }
        ran = "3,000 scripted ends beside their registration, 40 real ones, half of them zombies";
    }
    row("ESRCH at registration (libuv #3451)", before, ran);
}

/// libuv PR #3521: the event of the end came before the child could be waited for. Who asked once, without waiting, never asked again.
#[test]
fn told_before_it_can_be_waited_for() {
    #[derive(Clone, PartialEq, Eq, Hash, Default)]
    struct State {
        process: u8,
        asked: bool,
        reaped: bool,
    }
    fn process(s: &mut State) -> bool {
        // Posts the event; then becomes a zombie.
        let moves = s.process < 2;
        s.process += u8::from(moves);
        moves
    }
    fn parent(s: &mut State) -> bool {
        if s.process == 0 || s.asked {
            return false;
        }
        (s.asked, s.reaped) = (true, s.process == 2);
        true
    }
    let before = search(State::default(), &[process, parent], |s, stands| stands && !s.reaped);
    // C21: the event may come before. So what it says must do without waiting, and a wait that waits must end, with the same.
    let (queue, script) = scripted_queue();
    script.fork(ROOT, 200);
    add(&queue, 200, NOTE_EXIT, 0);
    script.exit(200, 0x400).list(Living {
        pid: 200,
        parent: ROOT,
        start: 1,
        threads: vec![200],
        status: None,
    });
    assert_eq!(read(&queue).iter().map(|event| event.data).collect::<Vec<_>>(), [0x400]);
    let mut ran = "scripted";
    if let Some(queue) = kernel_queue() {
        for round in 0..150_u8 {
            let mut child = child(round);
            add(&queue, child.id(), NOTE_EXIT, 0);
            drop(child.stdin.take());
            let told = read_until(&queue, exits);
            assert_eq!(told[0].data, i64::from(round) << 8);
            assert_eq!(child.wait().unwrap().code(), Some(i32::from(round)));
            assert!(read(&queue).is_empty());
        }
        ran = "scripted, and 150 real ends: the event has the status, and a wait the same";
    }
    row("told before waitable (libuv #3521)", before, ran);
}

/// libuv PR #3629: closing a descriptor withdrew, of the events that had been fetched and not been handled, all with its number; also
/// that of a process whose pid was the same number.
#[test]
fn pid_equal_to_a_descriptor() {
    #[derive(Clone, PartialEq, Eq, Hash)]
    struct State {
        /// Fetched and not handled: number and whether it is of a process.
        fetched: Vec<(u8, bool)>,
        closed: bool,
        told: bool,
    }
    fn handler(s: &mut State) -> bool {
        if s.fetched.is_empty() {
            return false;
        }
        s.told |= s.fetched.remove(0).1;
        true
    }
    fn closer(s: &mut State) -> bool {
        let closes = !std::mem::replace(&mut s.closed, true);
        if closes {
            s.fetched.retain(|(number, _)| *number != 7);
        }
        closes
    }
    let start = State { fetched: vec![(7, false), (7, true)], closed: false, told: false };
    let before = search(start, &[handler, closer], |s, stands| stands && !s.told);
    // Here what can share a process's number is a user event.
    let (queue, script) = scripted_queue();
    for pid in 1_000..3_000 {
        script.fork(ROOT, pid);
        add(&queue, pid, NOTE_EXIT, 1);
        let user = |flags, fflags| {
            let change = Kevent::user(u64::from(pid), flags, fflags).with_udata(2);
            queue.kevent(&[change], &mut [], NOW).map(drop)
        };
        user(EV_ADD, 0).unwrap();
        let end = || {
            script.exit(pid, 0);
        };
        at_once(end, || {
            user(0, NOTE_TRIGGER).unwrap();
            if pid % 2 == 0 {
                user(EV_DELETE, 0).unwrap();
            } else {
                change(&queue, pid, EV_DELETE, 0, 0);
            }
        });
        let told: Vec<_> = read(&queue).iter().map(|event| (event.filter, event.udata)).collect();
        let expected = if pid % 2 == 0 { (EVFILT_PROC, 1) } else { (EVFILT_USER, 2) };
        assert_eq!(told, [expected], "pid {pid}");
        if pid % 2 == 1 {
            user(EV_DELETE, 0).unwrap();
        }
    }
    assert_eq!(queue.stats().notes, 0);
    row(
        "pid equal to a descriptor (libuv #3629)",
        before,
        "2,000 pids and user events of one number, one deleted",
    );
}
