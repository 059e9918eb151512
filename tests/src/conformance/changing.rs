//! Changing notes: what a change replaces, errors, receipts, deletion, disabling (C7, C9 to C12, C16).

use proc_reactor::flags::*;
use proc_reactor::{Interest, Kevent, QueueError};

use super::case::{Case, Gate, case};
use super::world::*;

pub(crate) const CASES: &[Case] = &[
    case(
        "C7",
        "adding_again_replaces",
        "EV_ADD on a note that is there makes no second one: what is asked for and udata are replaced, and \
         what was collected stays.",
        adding_again_replaces,
    ),
    case(
        "C7",
        "adding_again_does_not_enable",
        "EV_ADD does not enable a note that is there; EV_ENABLE does.",
        adding_again_does_not_enable,
    ),
    case(
        "C7",
        "adding_again_keeps_how_it_delivers",
        "EV_ONESHOT, EV_DISPATCH and EV_RECEIPT are taken when a note is made and not afterwards.",
        adding_again_keeps_how_it_delivers,
    ),
    case(
        "C7",
        "an_unread_end_survives_adding",
        "EV_ADD on a process that has ended, whose end is unread, changes udata and keeps the end.",
        an_unread_end_survives_adding,
    ),
    case(
        "C7",
        "a_fork_survives_asking_for_nothing",
        "What was collected is told at the end even if nothing is asked for any more.",
        a_fork_survives_asking_for_nothing,
    ),
    case(
        "C7",
        "every_change_replaces",
        "EV_ENABLE, EV_DISABLE and no flag at all replace what is asked for as well: with fflags 0 \
         everything later is lost, the end too.",
        every_change_replaces,
    ),
    case(
        "C7",
        "the_typed_layer_restates",
        "`Registration::disable` and `enable` restate what is asked for, so that nothing is lost by them.",
        the_typed_layer_restates,
    )
    .gated(&[Gate::Kernel("the typed layer is this library's")])
    .differs("Elsewhere the program has to."),
    case("C9", "unknown_notes", "Without a note every change but EV_ADD is ENOENT.", unknown_notes),
    case(
        "C9",
        "enable_and_disable",
        "EV_ENABLE with EV_DISABLE is EINVAL before anything else is looked at.",
        enable_and_disable,
    ),
    case(
        "C9",
        "add_and_delete",
        "EV_ADD with EV_DELETE makes a note where there is none, and deletes the one that is there.",
        add_and_delete,
    ),
    case(
        "C9",
        "delete_goes_before_the_rest",
        "EV_DELETE deletes, whether EV_ENABLE or EV_DISABLE is there or not.",
        delete_goes_before_the_rest,
    ),
    case(
        "C9",
        "an_event_given_back",
        "An event with EV_DELETE added to its flags is a good deletion, also one that tells of a child.",
        an_event_given_back,
    ),
    case(
        "C9",
        "unknown_filters",
        "A filter other than EVFILT_PROC and EVFILT_USER is EINVAL.",
        unknown_filters,
    )
    .differs("F has thirteen filters."),
    case(
        "C9",
        "filter_0_is_passed_over",
        "A change with filter 0 is passed over, also with EV_RECEIPT.",
        filter_0_is_passed_over,
    ),
    case("C9", "unknown_flags", "Unknown flags are EINVAL.", unknown_flags)
        .differs("F keeps 0x200, 0x400 and 0x800 and gives them back in events."),
    case(
        "C9",
        "system_flags_are_taken_off",
        "What only the system sets (EV_EOF, EV_ERROR, 0xf000 in all) is taken off a change.",
        system_flags_are_taken_off,
    ),
    case(
        "C10",
        "receipts",
        "EV_RECEIPT has each good change answered by an entry with EV_ERROR and data 0, ident and udata as \
         given, fflags 0 if a note was made.",
        receipts,
    ),
    case(
        "C10",
        "entries_hold_events_back",
        "Where there is an entry no event is taken; it comes by the next call.",
        entries_hold_events_back,
    ),
    case(
        "C10",
        "too_little_room_for_receipts",
        "More receipts than there is room for is EINVAL, and nothing is changed.",
        too_little_room_for_receipts,
    )
    .differs(
        "F makes the change whose receipt finds no room, leaves out the rest and returns 0: nobody can \
         tell what was done.",
    ),
    case(
        "C10",
        "failures_fill_entries",
        "A change that fails fills an entry with its errno where there is room, and those after it are \
         done.",
        failures_fill_entries,
    ),
    case(
        "C10",
        "a_failure_without_room",
        "Without room for it the call fails, says which change it was, and those after it are not done.",
        a_failure_without_room,
    )
    .differs("F does not say which."),
    case(
        "C11",
        "deleting_withdraws",
        "EV_DELETE takes away what was not read, and a new note does not bring it back.",
        deleting_withdraws,
    ),
    case(
        "C11",
        "disabling_withdraws",
        "EV_DISABLE takes back what was not read, also by the call that disables.",
        disabling_withdraws,
    )
    .differs(
        "On F poll(2) of the queue can stay readable until the next scan; `QueueStats::ready` does not \
         count it.",
    ),
    case(
        "C12",
        "disabling_keeps_the_end",
        "EV_ENABLE brings back what was collected: the end whether it came before or after EV_DISABLE, \
         whether the zombie was reaped or not, scanned for or not.",
        disabling_keeps_the_end,
    ),
    case(
        "C12",
        "disabling_collects",
        "While a note is disabled it collects, and tells it merged.",
        disabling_collects,
    ),
    case(
        "C12",
        "enabled_at_the_end",
        "A note that is enabled is told after those that were ready before.",
        enabled_at_the_end,
    )
    .differs("F lets it keep its place if nobody has looked meanwhile."),
    case("C16", "immediate_delivery_is_refused", "EV_FORCEONESHOT is EINVAL.", immediate_delivery_is_refused)
        .differs(
            "F delivers what was collected at once, be it nothing, and deletes the note; on a new note it \
         ignores the flag. Nobody has asked for it.",
        ),
];

fn adding_again_replaces(world: &mut World) {
    let pid = world.spawn();
    world.good(Kevent::process(pid, EV_ADD, XF).with_udata(1));
    world.fork(pid);
    world.good(Kevent::process(pid, EV_ADD, NOTE_EXIT).with_udata(2));
    world.queue.has_notes(1);
    world.tells(&[event(pid, EV_CLEAR, NOTE_FORK, 0).with_udata(2)]);
    world.fork(pid);
    world.quiet();
}

fn adding_again_does_not_enable(world: &mut World) {
    let pid = world.spawn();
    world.good(Kevent::process(pid, EV_ADD | EV_DISABLE, XF));
    world.fork(pid);
    world.add(pid, XF);
    world.quiet();
    world.good(Kevent::process(pid, EV_ADD | EV_ENABLE, XF));
    world.tells(&[event(pid, EV_CLEAR, NOTE_FORK, 0)]);
    world.good(Kevent::process(pid, EV_ADD | EV_DISABLE, XF));
    world.exec(pid);
    world.quiet();
    world.good(Kevent::process(pid, EV_ENABLE, XF));
    world.tells(&[event(pid, EV_CLEAR, NOTE_EXEC, 0)]);
}

fn adding_again_keeps_how_it_delivers(world: &mut World) {
    let pid = world.spawn();
    world.add(pid, XF);
    world.good(Kevent::process(pid, EV_ADD | EV_ONESHOT | EV_DISPATCH, XF));
    for _ in 0..2 {
        world.fork(pid);
        world.tells(&[event(pid, EV_CLEAR, NOTE_FORK, 0)]);
    }
    world.queue.has_notes(1);
}

fn an_unread_end_survives_adding(world: &mut World) {
    for reaped in [false, true] {
        let pid = world.spawn();
        world.add(pid, NOTE_EXIT);
        world.exit(pid, 6);
        if reaped {
            world.reap(pid);
        }
        world.good(Kevent::process(pid, EV_ADD, NOTE_FORK).with_udata(5));
        world.tells(&[event(pid, LAST, NOTE_EXIT, code(6)).with_udata(5)]);
    }
}

fn a_fork_survives_asking_for_nothing(world: &mut World) {
    let pid = world.spawn();
    world.add(pid, XF);
    world.fork(pid);
    world.add(pid, 0);
    world.exit(pid, 3);
    world.tells(&[event(pid, LAST, NOTE_FORK, 0)]);
}

fn every_change_replaces(world: &mut World) {
    for flags in [0, EV_ENABLE, EV_DISABLE] {
        let pid = world.spawn();
        world.good(Kevent::process(pid, EV_ADD, XF).with_udata(1));
        world.good(Kevent::process(pid, flags, NOTE_FORK).with_udata(2));
        world.exec(pid);
        world.fork(pid);
        world.good(Kevent::process(pid, EV_ENABLE, NOTE_FORK).with_udata(3));
        world.tells(&[event(pid, EV_CLEAR, NOTE_FORK, 0).with_udata(3)]);
        world.good(Kevent::process(pid, flags, 0));
        world.exit(pid, 0);
        world.quiet();
        world.queue.has_notes(0);
    }
}

fn the_typed_layer_restates(world: &mut World) {
    let pid = world.spawn();
    let registration = world.queue.ours().register(pid, Interest::EXIT | Interest::FORK, 9).unwrap();
    registration.disable().unwrap();
    world.fork(pid);
    world.exit(pid, 1);
    world.quiet();
    registration.enable().unwrap();
    world.tells(&[event(pid, LAST, NOTE_EXIT | NOTE_FORK, code(1)).with_udata(9)]);
}

fn unknown_notes(world: &mut World) {
    let pid = world.spawn();
    let all = [0, EV_DELETE, EV_ENABLE, EV_DISABLE, EV_ONESHOT, EV_CLEAR, EV_RECEIPT, EV_DISPATCH];
    for flags in all.into_iter().chain([EV_DELETE | EV_ENABLE, EV_EOF, EV_SYSFLAGS]) {
        // There is no room for a receipt, which would be refused before.
        if flags & EV_RECEIPT == 0 {
            world.bad(Kevent::process(pid, flags, NOTE_EXIT), libc::ENOENT);
            world.bad(Kevent::user(7, flags, 0), libc::ENOENT);
        }
    }
    let mut entry = [Kevent::default()];
    let change = Kevent::process(pid, EV_RECEIPT, NOTE_EXIT);
    assert_eq!(world.queue.kevent(&[change], &mut entry, NOW).unwrap(), 1);
    assert_eq!(entry[0], event(pid, EV_ERROR, 0, libc::ENOENT.into()));
    world.add(pid, NOTE_EXIT);
    world.good(Kevent::process(pid, EV_DELETE, 0));
    world.bad(Kevent::process(pid, EV_DELETE, 0), libc::ENOENT);
}

fn enable_and_disable(world: &mut World) {
    let pid = world.spawn();
    let both = EV_ENABLE | EV_DISABLE;
    for flags in [0, EV_ADD, EV_DELETE] {
        world.bad(Kevent::process(pid, both | flags, NOTE_EXIT), libc::EINVAL);
        world.bad(Kevent::process(i32::MAX as u32, both | flags, NOTE_CHILD), libc::EINVAL);
        world.bad(Kevent::user(1, both | flags, 0), libc::EINVAL);
    }
    world.bad(Kevent { filter: -99, ..Kevent::process(pid, both, 0) }, libc::EINVAL);
    world.add(pid, NOTE_FORK);
    world.bad(Kevent::process(pid, both | EV_DELETE, NOTE_EXIT), libc::EINVAL);
    world.fork(pid);
    world.tells(&[event(pid, EV_CLEAR, NOTE_FORK, 0)]);
}

fn add_and_delete(world: &mut World) {
    let pid = world.spawn();
    let both = Kevent::process(pid, EV_ADD | EV_DELETE, NOTE_EXIT);
    world.good(both);
    world.queue.has_notes(1);
    world.good(both);
    world.queue.has_notes(0);
    world.bad(Kevent::process(i32::MAX as u32, EV_ADD | EV_DELETE, NOTE_EXIT), libc::ESRCH);
    let both = Kevent::user(3, EV_ADD | EV_DELETE, 0);
    world.good(both);
    world.queue.has_notes(1);
    world.good(both);
    world.queue.has_notes(0);
}

fn delete_goes_before_the_rest(world: &mut World) {
    let pid = world.spawn();
    for flags in [EV_ENABLE, EV_DISABLE, EV_ONESHOT] {
        world.add(pid, NOTE_EXIT);
        world.good(Kevent::process(pid, EV_DELETE | flags, NOTE_EXIT));
        world.queue.has_notes(0);
        // A kernel does not say how many notes it has.
        world.bad(Kevent::process(pid, EV_DELETE, NOTE_EXIT), libc::ENOENT);
    }
}

fn an_event_given_back(world: &mut World) {
    let parent = world.spawn();
    world.add(parent, ALL);
    let child = world.fork(parent);
    let events = read(&world.queue);
    assert_eq!(tally(&events), [1, 0, 0]);
    for told in events {
        world.good(Kevent { flags: told.flags | EV_DELETE, ..told });
    }
    world.queue.has_notes(0);
    world.exit(child, 0);
    world.exit(parent, 0);
    world.quiet();
}

fn unknown_filters(world: &mut World) {
    let pid = world.spawn();
    for filter in [-1, -2, -14, -15, -100, 1, 5, i16::MAX, i16::MIN] {
        world.bad(Kevent { filter, ..Kevent::process(pid, EV_ADD, NOTE_EXIT) }, libc::EINVAL);
    }
}

fn filter_0_is_passed_over(world: &mut World) {
    let pid = world.spawn();
    for flags in [0, EV_ADD, EV_RECEIPT, EV_ENABLE | EV_DISABLE] {
        let mut events = [Kevent::default(); 2];
        let change = Kevent { filter: 0, ..Kevent::process(pid, flags, u32::MAX) };
        assert_eq!(world.queue.kevent(&[change], &mut events, NOW).unwrap(), 0);
    }
    world.queue.has_notes(0);
}

fn unknown_flags(world: &mut World) {
    let pid = world.spawn();
    for flags in [0x200, 0x400, 0x800] {
        world.bad(Kevent::process(pid, EV_ADD | flags, NOTE_EXIT), libc::EINVAL);
        world.bad(Kevent::user(1, EV_ADD | flags, 0), libc::EINVAL);
    }
}

fn system_flags_are_taken_off(world: &mut World) {
    let pid = world.spawn();
    world.good(Kevent::process(pid, EV_ADD | EV_SYSFLAGS, XF));
    world.fork(pid);
    world.tells(&[event(pid, EV_CLEAR, NOTE_FORK, 0)]);
}

fn receipts(world: &mut World) {
    let pid = world.spawn();
    let mut events = [Kevent::default(); 4];
    let add = Kevent::process(pid, EV_ADD | EV_RECEIPT, XF).with_udata(6);
    let again = Kevent::process(pid, EV_ADD | EV_RECEIPT, NOTE_FORK).with_udata(7);
    let dead = Kevent::process(i32::MAX as u32, EV_ADD | EV_RECEIPT, XF).with_udata(8);
    assert_eq!(world.queue.kevent(&[add, again, dead], &mut events, NOW).unwrap(), 3);
    assert_eq!(events[0], event(pid, EV_ERROR, 0, 0).with_udata(6));
    assert_eq!(events[1], event(pid, EV_ERROR, NOTE_FORK, 0).with_udata(7));
    assert_eq!(events[2], event(i32::MAX as u32, EV_ERROR, 0, libc::ESRCH.into()).with_udata(8));
    world.fork(pid);
    world.tells(&[event(pid, EV_CLEAR | EV_RECEIPT, NOTE_FORK, 0).with_udata(7)]);
}

fn entries_hold_events_back(world: &mut World) {
    let pid = world.spawn();
    world.add(pid, XF);
    world.fork(pid);
    let mut events = [Kevent::default(); 4];
    let receipt = Kevent::process(pid, EV_ENABLE | EV_RECEIPT, XF);
    assert_eq!(world.queue.kevent(&[receipt], &mut events, NOW).unwrap(), 1);
    assert_eq!(events[0].flags, EV_ERROR);
    let plain = Kevent::process(pid, EV_ENABLE, XF);
    assert_eq!(world.queue.kevent(&[plain], &mut events, NOW).unwrap(), 1);
    // The note was not made with EV_RECEIPT, and so its events have none.
    assert_eq!(events[0], event(pid, EV_CLEAR, NOTE_FORK, 0));
}

fn too_little_room_for_receipts(world: &mut World) {
    let pid = world.spawn();
    let add = |ident| Kevent::user(ident, EV_ADD | EV_RECEIPT, 0);
    let changes = [add(1), Kevent::process(pid, EV_ADD, NOTE_EXIT), add(2), add(3)];
    for room in 0..3 {
        let mut events = vec![Kevent::default(); room];
        let error = world.queue.kevent(&changes, &mut events, NOW).unwrap_err();
        assert!(
            error.is(|error| matches!(error, QueueError::EventListTooSmall { needed: 3, .. })),
            "{error}"
        );
        assert_eq!(error.errno(), libc::EINVAL);
        world.queue.has_notes(0);
        assert_eq!(events, vec![Kevent::default(); room]);
    }
    assert_eq!(world.queue.kevent(&changes, &mut [Kevent::default(); 3], NOW).unwrap(), 3);
    world.queue.has_notes(4);
    (1..=3).for_each(|ident| world.good(Kevent::user(ident, EV_DELETE, 0)));
}

fn failures_fill_entries(world: &mut World) {
    let pid = world.spawn();
    let dead = Kevent::process(i32::MAX as u32, EV_ADD, NOTE_EXIT).with_udata(1);
    let good = Kevent::process(pid, EV_ADD, NOTE_EXIT);
    let mut events = [Kevent::default()];
    assert_eq!(world.queue.kevent(&[dead, good], &mut events, NOW).unwrap(), 1);
    assert_eq!(events[0], event(i32::MAX as u32, EV_ERROR, 0, libc::ESRCH.into()).with_udata(1));
    world.queue.has_notes(1);
}

fn a_failure_without_room(world: &mut World) {
    let pid = world.spawn();
    let dead = Kevent::process(i32::MAX as u32, EV_ADD, NOTE_EXIT);
    let user = |ident, flags| Kevent::user(ident, EV_ADD | flags, 0);
    let fails = |changes: &[Kevent], room: usize, at: usize| {
        let error = world.queue.kevent(changes, &mut vec![Kevent::default(); room], NOW).unwrap_err();
        assert!(
            error.is(|error| matches!(error, QueueError::Change { index, .. } if *index == at)),
            "{error}"
        );
        assert_eq!(error.errno(), libc::ESRCH);
    };
    fails(&[user(1, 0), dead, user(2, 0)], 0, 1);
    world.queue.has_notes(1);
    fails(&[dead, dead, user(2, 0)], 1, 1);
    world.queue.has_notes(1);
    // The room of a receipt that is still to come is its own.
    fails(&[dead, user(2, EV_RECEIPT)], 1, 0);
    world.queue.has_notes(1);
    world.good(Kevent::user(1, EV_DELETE, 0));
    world.bad(Kevent::process(pid, EV_DELETE, 0), libc::ENOENT);
}

fn deleting_withdraws(world: &mut World) {
    let pid = world.spawn();
    world.add(pid, XF);
    world.fork(pid);
    world.good(Kevent::process(pid, EV_DELETE, 0));
    world.quiet();
    world.add(pid, XF);
    world.quiet();
    world.exit(pid, 0);
    world.good(Kevent::process(pid, EV_DELETE, 0));
    world.quiet();
    world.queue.has_notes(0);
    // But a zombie answers anew (C4).
    world.add(pid, XF);
    world.tells(&[event(pid, LAST, NOTE_EXIT, 0)]);
}

fn disabling_withdraws(world: &mut World) {
    let pid = world.spawn();
    world.add(pid, XF);
    world.fork(pid);
    world.queue.has_ready(1);
    let mut events = [Kevent::default(); 4];
    let disable = Kevent::process(pid, EV_DISABLE, XF);
    assert_eq!(world.queue.kevent(&[disable], &mut events, NOW).unwrap(), 0);
    world.queue.has_ready(0);
    world.exit(pid, 2);
    world.quiet();
    world.good(Kevent::process(pid, EV_ENABLE, XF));
    world.tells(&[event(pid, LAST, NOTE_FORK | NOTE_EXIT, code(2))]);
}

fn disabling_keeps_the_end(world: &mut World) {
    for case in 0..8_u8 {
        let (before, reaped, scanned) = (case & 1 != 0, case & 2 != 0, case & 4 != 0);
        let pid = world.spawn();
        world.add(pid, XF);
        if before {
            world.exit(pid, case.into());
        }
        world.good(Kevent::process(pid, EV_DISABLE, XF));
        if !before {
            world.exit(pid, case.into());
        }
        if scanned {
            world.quiet();
        }
        if reaped {
            world.reap(pid);
        }
        world.good(Kevent::process(pid, EV_ENABLE, XF));
        world.tells(&[event(pid, LAST, NOTE_EXIT, code(case))]);
        world.bad(Kevent::process(pid, EV_ENABLE, XF), libc::ENOENT);
    }
}

fn disabling_collects(world: &mut World) {
    let pid = world.spawn();
    world.good(Kevent::process(pid, EV_ADD | EV_DISABLE, XF));
    world.fork(pid);
    world.quiet();
    world.exec(pid);
    world.quiet();
    world.good(Kevent::process(pid, EV_ENABLE, XF));
    world.tells(&[event(pid, EV_CLEAR, NOTE_FORK | NOTE_EXEC, 0)]);
}

fn enabled_at_the_end(world: &mut World) {
    let pids = [world.spawn(), world.spawn()];
    for pid in pids {
        world.add(pid, XF);
        world.fork(pid);
    }
    world.good(Kevent::process(pids[0], EV_DISABLE, XF));
    world.good(Kevent::process(pids[0], EV_ENABLE, XF));
    world.tells(&[event(pids[1], EV_CLEAR, NOTE_FORK, 0), event(pids[0], EV_CLEAR, NOTE_FORK, 0)]);
}

fn immediate_delivery_is_refused(world: &mut World) {
    let pid = world.spawn();
    for flags in [EV_ADD, EV_ADD | EV_ENABLE, EV_DELETE, 0] {
        world.bad(Kevent::process(pid, flags | EV_FORCEONESHOT, XF), libc::EINVAL);
        world.bad(Kevent::user(1, flags | EV_FORCEONESHOT, 0), libc::EINVAL);
    }
    world.add(pid, XF);
    world.fork(pid);
    world.bad(Kevent::process(pid, EV_FORCEONESHOT, XF), libc::EINVAL);
    world.tells(&[event(pid, EV_CLEAR, NOTE_FORK, 0)]);
}
