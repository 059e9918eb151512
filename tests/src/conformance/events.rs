//! What is told of one process: how it is delivered, ends, execs, forks (C13 to C15, C18 to C20, C23, C24).

use std::time::{Duration, Instant};

use proc_reactor::Kevent;
use proc_reactor::flags::*;

use super::case::{Case, case};
use super::os;
use super::stage::How;
use super::world::*;

pub(crate) const CASES: &[Case] = &[
    case(
        "C13",
        "merged_until_read",
        "What happens before a read is one event, its notes OR-ed; after the read they are forgotten.",
        merged_until_read,
    ),
    case("C14", "oneshot", "EV_ONESHOT: the note is gone when its first event has been read.", oneshot),
    case(
        "C14",
        "oneshot_with_nothing_to_tell",
        "A note with EV_ONESHOT that never had anything to tell goes without a word.",
        oneshot_with_nothing_to_tell,
    ),
    case(
        "C14",
        "children_inherit_oneshot",
        "Children that are tracked inherit EV_ONESHOT: their first event is their last, and after the \
         parent's its later children are not tracked.",
        children_inherit_oneshot,
    ),
    case(
        "C15",
        "dispatch",
        "EV_DISPATCH: a delivery disables the note, which goes on collecting; EV_ENABLE tells it.",
        dispatch,
    ),
    case(
        "C15",
        "dispatch_and_the_end",
        "The end deletes a note with EV_DISPATCH as it does any other.",
        dispatch_and_the_end,
    ),
    case(
        "C15",
        "disabled_notes_track",
        "A note that a delivery has disabled goes on tracking.",
        disabled_notes_track,
    ),
    case(
        "C18",
        "exit_codes",
        "NOTE_EXIT comes with EV_EOF, EV_ONESHOT and EV_CLEAR, and data is the wait status: of a code its \
         low eight bits, times 256.",
        exit_codes,
    )
    .differs("D sets EV_NODATA too; X gives the status only with NOTE_EXITSTATUS."),
    case("C18", "signals", "Of a signal it is the number, and 0x80 more if a core was dumped.", signals),
    case(
        "C18",
        "delivery_flags_stay",
        "The note's own EV_DISPATCH and EV_RECEIPT stay on its last event.",
        delivery_flags_stay,
    ),
    case("C18", "stopping_is_not_ending", "To be stopped and to go on is no event.", stopping_is_not_ending),
    case(
        "C18",
        "the_last_thread_ends_it",
        "A process ends when its last thread does, and only then, with the status that wait(2) tells.",
        the_last_thread_ends_it,
    ),
    case(
        "C19",
        "nothing_asked_nothing_told",
        "An end that was not asked for tells nothing, wakes nobody, and takes the note away.",
        nothing_asked_nothing_told,
    )
    .differs("N, O and D: an event with EV_EOF and no notes."),
    case(
        "C19",
        "a_fork_is_told_at_the_end",
        "A fork or an exec that is unread then is told with EV_EOF, and data is 0.",
        a_fork_is_told_at_the_end,
    ),
    case(
        "C20",
        "the_end_is_last",
        "NOTE_EXIT is the last event of a process, and always comes where it was asked for.",
        the_end_is_last,
    )
    .differs(
        "F 12.3 loses the end, and the note with it, if it meets a scan of an unread NOTE_FORK or \
         NOTE_EXEC.",
    ),
    case(
        "C20",
        "no_eof_before_the_end",
        "The event that tells of a child never has EV_EOF, ended or not: EV_EOF is the end.",
        no_eof_before_the_end,
    )
    .differs(
        "F sets EV_EOF on the unread NOTE_CHILD of a child that has ended, and NOTE_EXIT still follows; on \
         X with NOTE_REAP it comes at the reaping.",
    ),
    case("C23", "exec", "NOTE_EXEC comes once an exec is complete, one for several that are unread.", exec),
    case("C23", "an_exec_that_fails", "An exec that fails is no event.", an_exec_that_fails),
    case(
        "C23",
        "an_exec_by_a_thread",
        "An exec by another thread than the first is one like any other, under the same pid.",
        an_exec_by_a_thread,
    ),
    case(
        "C24",
        "forks_merge",
        "NOTE_FORK is no count: forks before a read are one event; read each time they are one each.",
        forks_merge,
    ),
    case(
        "C24",
        "every_way_to_fork",
        "fork, vfork, posix_spawn and a fork by another thread count alike.",
        every_way_to_fork,
    ),
    case("C24", "threads_are_no_forks", "Making threads is no event.", threads_are_no_forks),
    case("C24", "a_fork_that_fails", "A fork that fails is no event.", a_fork_that_fails),
];

fn merged_until_read(world: &mut World) {
    let pid = world.spawn();
    world.add(pid, XF);
    world.fork(pid);
    world.tells(&[event(pid, EV_CLEAR, NOTE_FORK, 0)]);
    for _ in 0..3 {
        world.fork(pid);
    }
    world.exec(pid);
    world.tells(&[event(pid, EV_CLEAR, NOTE_FORK | NOTE_EXEC, 0)]);
    world.quiet();
    world.fork(pid);
    world.exec(pid);
    world.exit(pid, 5);
    world.tells(&[event(pid, LAST, XF, code(5))]);
}

fn oneshot(world: &mut World) {
    let pid = world.spawn();
    world.good(Kevent::process(pid, EV_ADD | EV_ONESHOT, XF));
    world.fork(pid);
    world.tells(&[event(pid, EV_CLEAR | EV_ONESHOT, NOTE_FORK, 0)]);
    world.queue.has_notes(0);
    world.bad(Kevent::process(pid, EV_DELETE, 0), libc::ENOENT);
    world.fork(pid);
    world.exit(pid, 0);
    world.quiet();
}

fn oneshot_with_nothing_to_tell(world: &mut World) {
    let pid = world.spawn();
    world.good(Kevent::process(pid, EV_ADD | EV_ONESHOT, NOTE_FORK));
    world.exit(pid, 0);
    world.quiet();
    world.queue.has_notes(0);
}

fn children_inherit_oneshot(world: &mut World) {
    let parent = world.spawn();
    world.good(Kevent::process(parent, EV_ADD | EV_ONESHOT, ALL));
    let child = world.fork(parent);
    world.exec(child);
    world.tells(&[
        event(child, TELLS, NOTE_CHILD, parent.into()),
        event(parent, EV_CLEAR | EV_ONESHOT, NOTE_FORK, 0),
        event(child, EV_CLEAR | EV_ONESHOT, NOTE_EXEC, 0),
    ]);
    world.exit(child, 0);
    world.fork(parent);
    world.quiet();
    world.queue.has_notes(0);
}

fn dispatch(world: &mut World) {
    let pid = world.spawn();
    world.good(Kevent::process(pid, EV_ADD | EV_DISPATCH, XF));
    world.fork(pid);
    world.tells(&[event(pid, EV_CLEAR | EV_DISPATCH, NOTE_FORK, 0)]);
    world.fork(pid);
    world.exec(pid);
    world.quiet();
    world.add(pid, XF);
    world.quiet();
    world.good(Kevent::process(pid, EV_ENABLE, XF));
    world.tells(&[event(pid, EV_CLEAR | EV_DISPATCH, NOTE_FORK | NOTE_EXEC, 0)]);
    world.good(Kevent::process(pid, EV_DELETE, 0));
}

fn dispatch_and_the_end(world: &mut World) {
    for disabled in [false, true] {
        let pid = world.spawn();
        world.good(Kevent::process(pid, EV_ADD | EV_DISPATCH, XF));
        if disabled {
            world.fork(pid);
            world.tells(&[event(pid, EV_CLEAR | EV_DISPATCH, NOTE_FORK, 0)]);
        }
        world.exit(pid, 4);
        if disabled {
            world.quiet();
            world.good(Kevent::process(pid, EV_ENABLE, XF));
        }
        world.tells(&[event(pid, LAST | EV_DISPATCH, NOTE_EXIT, code(4))]);
        world.bad(Kevent::process(pid, EV_ENABLE, XF), libc::ENOENT);
        world.bad(Kevent::process(pid, EV_DELETE, XF), libc::ENOENT);
    }
}

fn disabled_notes_track(world: &mut World) {
    let parent = world.spawn();
    world.good(Kevent::process(parent, EV_ADD | EV_DISPATCH, ALL));
    world.exec(parent);
    world.tells(&[event(parent, EV_CLEAR | EV_DISPATCH, NOTE_EXEC, 0)]);
    let child = world.fork(parent);
    world.exit(child, 1);
    world.tells(&[
        event(child, TELLS | EV_DISPATCH, NOTE_CHILD, parent.into()),
        event(child, LAST | EV_DISPATCH, NOTE_EXIT, code(1)),
    ]);
    world.good(Kevent::process(parent, EV_ENABLE, ALL));
    world.tells(&[event(parent, EV_CLEAR | EV_DISPATCH, NOTE_FORK, 0)]);
    world.good(Kevent::process(parent, EV_DELETE, 0));
}

fn exit_codes(world: &mut World) {
    for status in [0, 1, 0x7f, 0xff, 0x1234] {
        let pid = world.spawn();
        world.add(pid, NOTE_EXIT);
        world.exit(pid, status);
        world.tells(&[event(pid, LAST, NOTE_EXIT, i64::from(status & 0xff) << 8)]);
        assert_eq!(world.reap(pid), i64::from(status & 0xff) << 8);
    }
}

fn signals(world: &mut World) {
    let deadly = [
        libc::SIGTERM,
        libc::SIGKILL,
        libc::SIGUSR1,
        libc::SIGQUIT,
        libc::SIGSEGV,
        libc::SIGABRT,
        os::LAST_SIGNAL,
    ];
    for dumps in [false, true] {
        for signal in deadly {
            let pid = world.spawn();
            if dumps {
                world.stage().dump_core(pid);
            }
            world.add(pid, NOTE_EXIT);
            world.kill(pid, signal);
            let status = world.reap(pid);
            assert_eq!(status & !0x80, i64::from(signal));
            world.tells(&[event(pid, LAST, NOTE_EXIT, status)]);
        }
    }
    // Where no core can be dumped here, a script has one.
    if !world.is_real() {
        let pid = world.spawn();
        world.add(pid, NOTE_EXIT);
        world.kill(pid, 0x8b);
        world.tells(&[event(pid, LAST, NOTE_EXIT, 0x8b)]);
    }
}

fn delivery_flags_stay(world: &mut World) {
    for own in [EV_DISPATCH, EV_RECEIPT, EV_DISPATCH | EV_RECEIPT] {
        let pid = world.spawn();
        let add = Kevent::process(pid, EV_ADD | own, NOTE_EXIT);
        world.queue.kevent(&[add], &mut [Kevent::default()], NOW).unwrap();
        world.exit(pid, 1);
        world.tells(&[event(pid, LAST | own, NOTE_EXIT, code(1))]);
    }
}

fn stopping_is_not_ending(world: &mut World) {
    let pid = world.spawn();
    world.add(pid, ALL);
    world.stage().stop_and_continue(pid);
    world.quiet();
}

fn the_last_thread_ends_it(world: &mut World) {
    let pid = world.spawn();
    world.add(pid, XF);
    world.stage().leader_leaves(pid);
    world.quiet();
    // It can be watched still.
    world.good(Kevent::process(pid, EV_DELETE, 0));
    world.add(pid, XF);
    world.quiet();
    world.exit(pid, 3);
    world.tells(&[event(pid, LAST, NOTE_EXIT, code(3))]);
    assert_eq!(world.reap(pid), code(3));
}

fn nothing_asked_nothing_told(world: &mut World) {
    const WAIT: Duration = Duration::from_millis(100);
    for fflags in [0, NOTE_FORK, NOTE_FORK | NOTE_EXEC | NOTE_TRACK] {
        let pid = world.stage().quick(0);
        world.add(pid, fflags);
        let begun = Instant::now();
        world.stage().let_go(pid);
        let mut events = [Kevent::default(); 4];
        assert_eq!(world.queue.kevent(&[], &mut events, Some(WAIT)).unwrap(), 0);
        assert!(begun.elapsed() >= WAIT, "woken for nothing");
        world.reap(pid);
        world.quiet();
        world.queue.has_notes(0);
    }
}

fn a_fork_is_told_at_the_end(world: &mut World) {
    for note in [NOTE_FORK, NOTE_EXEC, NOTE_FORK | NOTE_EXEC] {
        let pid = world.spawn();
        world.add(pid, note);
        world.exec(pid);
        world.fork(pid);
        world.exit(pid, 3);
        world.tells(&[event(pid, LAST, note, 0)]);
        world.queue.has_notes(0);
    }
    let pid = world.spawn();
    world.add(pid, NOTE_FORK);
    world.fork(pid);
    world.tells(&[event(pid, EV_CLEAR, NOTE_FORK, 0)]);
    world.exit(pid, 3);
    world.quiet();
}

fn the_end_is_last(world: &mut World) {
    let parent = world.spawn();
    world.add(parent, ALL);
    let ways = [How::Fork, How::Vfork, How::Exec, How::ByThread];
    let children: Vec<u32> = ways.map(|how| world.once(parent, how, 1)).into();
    let events = read(&world.queue);
    for child in children {
        let of_child: Vec<&Kevent> = events.iter().filter(|event| event.ident == u64::from(child)).collect();
        let last = of_child.last().expect("it is told of");
        assert_eq!((last.flags, last.fflags & NOTE_EXIT, last.data), (LAST, NOTE_EXIT, code(1)));
        assert_eq!(
            tally(
                &events.iter().filter(|event| event.ident == u64::from(child)).copied().collect::<Vec<_>>()
            )[1],
            1
        );
        world.reap(child);
    }
    world.exit(parent, 0);
    world.reap(parent);
    world.tells(&[event(parent, LAST, NOTE_EXIT, 0)]);
    world.quiet();
}

fn no_eof_before_the_end(world: &mut World) {
    let parent = world.spawn();
    world.add(parent, NOTE_TRACK | NOTE_EXIT);
    for reaped in [false, true] {
        let child = world.once(parent, How::Fork, 1);
        if reaped {
            world.reap(child);
        }
        world
            .tells(&[event(child, TELLS, NOTE_CHILD, parent.into()), event(child, LAST, NOTE_EXIT, code(1))]);
    }
}

fn exec(world: &mut World) {
    let pid = world.spawn();
    world.add(pid, XF);
    for _ in 0..2 {
        world.exec(pid);
        world.tells(&[event(pid, EV_CLEAR, NOTE_EXEC, 0)]);
    }
    world.exec(pid);
    world.exec(pid);
    world.tells(&[event(pid, EV_CLEAR, NOTE_EXEC, 0)]);
}

fn an_exec_that_fails(world: &mut World) {
    let pid = world.spawn();
    world.add(pid, ALL);
    world.stage().exec_fails(pid);
    world.quiet();
}

fn an_exec_by_a_thread(world: &mut World) {
    let pid = world.spawn();
    world.add(pid, XF);
    world.stage().exec_by_thread(pid);
    world.tells(&[event(pid, EV_CLEAR, NOTE_EXEC, 0)]);
    world.fork(pid);
    world.tells(&[event(pid, EV_CLEAR, NOTE_FORK, 0)]);
    world.exit(pid, 6);
    world.tells(&[event(pid, LAST, NOTE_EXIT, code(6))]);
}

fn forks_merge(world: &mut World) {
    let pid = world.spawn();
    world.add(pid, NOTE_FORK);
    world.stage().many(pid, 5, How::Fork, 0);
    world.tells(&[event(pid, EV_CLEAR, NOTE_FORK, 0)]);
    for _ in 0..20 {
        world.stage().many(pid, 1, How::Fork, 0);
        world.tells(&[event(pid, EV_CLEAR, NOTE_FORK, 0)]);
    }
}

fn every_way_to_fork(world: &mut World) {
    let pid = world.spawn();
    world.add(pid, XF);
    for how in [How::Fork, How::Vfork, How::Exec, How::ByThread, How::Raw] {
        world.stage().many(pid, 1, how, 0);
        world.tells(&[event(pid, EV_CLEAR, NOTE_FORK, 0)]);
    }
}

fn threads_are_no_forks(world: &mut World) {
    let pid = world.spawn();
    world.add(pid, ALL);
    world.stage().threads(pid, 20);
    world.stage().thread(pid);
    world.quiet();
    world.exit(pid, 0);
    world.tells(&[event(pid, LAST, NOTE_EXIT, 0)]);
}

fn a_fork_that_fails(world: &mut World) {
    let pid = world.spawn();
    world.add(pid, ALL);
    world.stage().fork_fails(pid);
    world.quiet();
}
