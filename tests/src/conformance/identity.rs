//! A pid that is used again (C8, C39).

use proc_reactor::flags::*;
use proc_reactor::{Interest, Kevent, NoticeKind, ProcId, QueueOptions};

use super::case::{Case, Gate, case};
use super::stage::How;
use super::world::*;

pub(crate) const CASES: &[Case] = &[
    case(
        "C8",
        "an_unread_end_and_a_new_process",
        "EV_ADD of a process whose pid had another owner, whose end has not been read, makes a note of its \
         own: the old end is told with the old udata, and the new process is watched from the EV_ADD on.",
        an_unread_end_and_a_new_process,
    )
    .differs(
        "F finds the old note, changes it and leaves the new process unwatched without a word; if the old \
         note had not asked for the end, it vanishes too. This is the main difference there is: here a note \
         is on a birth and not on a pid.",
    ),
    case(
        "C8",
        "a_disabled_end_and_a_new_process",
        "So it does if the old note is disabled; changes then mean the note of the youngest process until \
         that one is gone, and the old one afterwards.",
        a_disabled_end_and_a_new_process,
    )
    .differs("F: the change enables the old note, and the new process is not watched."),
    case(
        "C8",
        "a_silent_end_and_a_new_process",
        "So it does if the old note had nothing to tell.",
        a_silent_end_and_a_new_process,
    )
    .differs("F: EV_ADD succeeds, and the note vanishes with the next scan."),
    case(
        "C8",
        "delete_then_add",
        "EV_DELETE and then EV_ADD, the safe order on F, is safe here: the old end is withdrawn, and the \
         new process is watched.",
        delete_then_add,
    ),
    case(
        "C8",
        "two_ends_of_one_pid",
        "Ends of several owners of a pid, all unread, are told in the order of their births.",
        two_ends_of_one_pid,
    )
    .differs("F has one note for both, and tells the first end only."),
    case(
        "C8",
        "another_queue_is_not_concerned",
        "What one queue has not read is nothing to another.",
        another_queue_is_not_concerned,
    ),
    case(
        "C39",
        "tracked_births_of_one_pid",
        "Children that have the same pid one after the other are each told of, with their own ends, in \
         order.",
        tracked_births_of_one_pid,
    ),
    case(
        "C39",
        "used_again_at_once",
        "So are those whose pid is used again at once, when the kernel may tell the new birth before the \
         old end.",
        used_again_at_once,
    )
    .gated(&[Gate::Scripted("it is about the order in which a kernel queues its records")]),
    case(
        "C39",
        "notices_name_births",
        "The typed layer names processes by pid and birth, so that the owners of a pid are told apart.",
        notices_name_births,
    )
    .gated(&[Gate::Kernel("notices are this library's")])
    .differs("Elsewhere they are told apart by the order of events alone."),
];

/// A child of a living parent's that has ended and is no more, with code 3; and then another by its pid. None where that may not be.
fn reborn(
    world: &mut World,
    before_the_end: impl FnOnce(&mut World, u32),
    after: impl FnOnce(&mut World, u32),
) -> Option<u32> {
    let parent = world.spawn();
    let pid = world.fork(parent);
    before_the_end(world, pid);
    world.exit(pid, 3);
    after(world, pid);
    world.reap(pid);
    world.fork_as(parent, pid).then_some(pid)
}

fn add_2(pid: u32) -> Kevent {
    Kevent::process(pid, EV_ADD, XF).with_udata(2)
}

fn an_unread_end_and_a_new_process(world: &mut World) {
    let before = |world: &mut World, pid| world.good(Kevent::process(pid, EV_ADD, XF).with_udata(1));
    let Some(pid) = reborn(world, before, |_, _| ()) else { return };
    world.good(add_2(pid));
    world.queue.has_notes(2);
    world.tells(&[event(pid, LAST, NOTE_EXIT, code(3)).with_udata(1)]);
    world.fork(pid);
    world.exec(pid);
    world.tells(&[event(pid, EV_CLEAR, NOTE_FORK | NOTE_EXEC, 0).with_udata(2)]);
    world.exit(pid, 5);
    world.tells(&[event(pid, LAST, NOTE_EXIT, code(5)).with_udata(2)]);
}

fn a_disabled_end_and_a_new_process(world: &mut World) {
    let before =
        |world: &mut World, pid| world.good(Kevent::process(pid, EV_ADD | EV_DISABLE, XF).with_udata(1));
    let Some(pid) = reborn(world, before, |_, _| ()) else { return };
    world.good(add_2(pid));
    world.quiet();
    world.exit(pid, 5);
    world.tells(&[event(pid, LAST, NOTE_EXIT, code(5)).with_udata(2)]);
    world.good(Kevent::process(pid, EV_ENABLE, XF).with_udata(1));
    world.tells(&[event(pid, LAST, NOTE_EXIT, code(3)).with_udata(1)]);
}

fn a_silent_end_and_a_new_process(world: &mut World) {
    let before = |world: &mut World, pid| world.good(Kevent::process(pid, EV_ADD, NOTE_FORK).with_udata(1));
    let Some(pid) = reborn(world, before, |_, _| ()) else { return };
    world.good(add_2(pid));
    world.quiet();
    world.exit(pid, 5);
    world.tells(&[event(pid, LAST, NOTE_EXIT, code(5)).with_udata(2)]);
}

fn delete_then_add(world: &mut World) {
    let before = |world: &mut World, pid| world.good(Kevent::process(pid, EV_ADD, XF).with_udata(1));
    let Some(pid) = reborn(world, before, |_, _| ()) else { return };
    let changes = [Kevent::process(pid, EV_DELETE, 0), add_2(pid)];
    assert_eq!(world.queue.kevent(&changes, &mut [], NOW).unwrap(), 0);
    world.queue.has_notes(1);
    world.exit(pid, 5);
    world.tells(&[event(pid, LAST, NOTE_EXIT, code(5)).with_udata(2)]);
}

fn two_ends_of_one_pid(world: &mut World) {
    let before = |world: &mut World, pid| world.good(Kevent::process(pid, EV_ADD, XF).with_udata(1));
    let Some(pid) = reborn(world, before, |_, _| ()) else { return };
    world.good(add_2(pid));
    world.exit(pid, 5);
    world.tells(&[
        event(pid, LAST, NOTE_EXIT, code(3)).with_udata(1),
        event(pid, LAST, NOTE_EXIT, code(5)).with_udata(2),
    ]);
}

fn another_queue_is_not_concerned(world: &mut World) {
    let before = |world: &mut World, pid| world.good(Kevent::process(pid, EV_ADD, XF).with_udata(1));
    let Some(pid) = reborn(world, before, |_, _| ()) else { return };
    let other = world.another_queue(QueueOptions::default());
    change(&other, add_2(pid)).unwrap();
    world.exit(pid, 5);
    assert_eq!(read(&other), [event(pid, LAST, NOTE_EXIT, code(5)).with_udata(2)]);
    world.tells(&[event(pid, LAST, NOTE_EXIT, code(3)).with_udata(1)]);
}

fn tracked_births_of_one_pid(world: &mut World) {
    let parent = world.spawn();
    world.add(parent, NOTE_TRACK | NOTE_EXIT);
    let pid = world.fork(parent);
    world.exit(pid, 1);
    world.reap(pid);
    for status in 2..=3 {
        if !world.fork_as(parent, pid) {
            return;
        }
        world.exit(pid, status);
        world.reap(pid);
    }
    let told = event(pid, TELLS, NOTE_CHILD, parent.into());
    let end = |status: u8| event(pid, LAST, NOTE_EXIT, code(status));
    world.tells(&[told, end(1), told, end(2), told, end(3)]);
}

fn used_again_at_once(world: &mut World) {
    const ROUNDS: u8 = 100;
    let parent = world.spawn();
    world.add(parent, NOTE_TRACK | NOTE_EXIT);
    let pid = world.stage().fork(parent);
    for status in 0..ROUNDS {
        if status > 0 {
            if let Err(why) = world.stage().fork_as(parent, pid) {
                return world.skip(why);
            }
        }
        world.stage().exit(pid, status.into());
        world.stage().reap(pid);
    }
    let mut events = world.gather("all births of a pid", |events| tally(events)[1] >= ROUNDS.into());
    events.extend(read(&world.queue));
    let told = event(pid, TELLS, NOTE_CHILD, parent.into());
    let expected: Vec<Kevent> =
        (0..ROUNDS).flat_map(|status| [told, event(pid, LAST, NOTE_EXIT, code(status))]).collect();
    assert_eq!(events.len(), expected.len(), "{events:?}");
    for (index, (told, expected)) in events.iter().zip(&expected).enumerate() {
        assert!(world.may_tell(told, expected), "{index}: {told:?} instead of {expected:?}, of {events:?}");
    }
}

fn notices_name_births(world: &mut World) {
    let parent = world.spawn();
    let registration = world.queue.ours().register(parent, Interest::TRACK | Interest::EXIT, 1).unwrap();
    assert_eq!(registration.id().pid(), parent);
    let pid = world.once(parent, How::Fork, 1);
    world.reap(pid);
    if !world.fork_as(parent, pid) {
        return;
    }
    world.exit(pid, 2);
    let mut notices = Vec::new();
    world.queue.ours().wait(&mut notices, 64, NOW).unwrap();
    let ids: Vec<(ProcId, bool)> = notices
        .iter()
        .map(|notice| match notice.kind {
            NoticeKind::Child { id, .. } => (id, true),
            NoticeKind::Process { id, .. } => (id, false),
            other => panic!("{other:?}"),
        })
        .collect();
    let &[(first, true), (also_first, false), (second, true), (also_second, false)] = &ids[..] else {
        panic!("{notices:?}")
    };
    assert_eq!((first, second), (also_first, also_second));
    assert!(first.pid() == pid && second.pid() == pid && first.birth() < second.birth(), "{notices:?}");
}
