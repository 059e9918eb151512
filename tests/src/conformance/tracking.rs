//! Children that are followed (C25 to C28, C30 to C32).

use proc_reactor::flags::*;
use proc_reactor::{Kevent, QueueOptions, Reactor, SourceName, open};

use super::case::{Case, Gate, case};
use super::kqueue::Kqueue;
use super::real::until;
use super::stage::How;
use super::world::*;

pub(crate) const CASES: &[Case] = &[
    case(
        "C25",
        "a_child_is_told_of",
        "NOTE_TRACK: a child is told of by an event of its own, with NOTE_CHILD and nothing else, data its \
         parent's pid, and gets a note that asks for what its parent's does, with its udata.",
        a_child_is_told_of,
    )
    .differs(
        "O and D have one note for both, so that NOTE_CHILD may merge with NOTE_EXEC and NOTE_EXIT, and \
         data is the status then; X: ENOTSUP.",
    ),
    case(
        "C25",
        "children_are_enabled",
        "A child's notes are enabled even if its parent's is not.",
        children_are_enabled,
    ),
    case(
        "C25",
        "children_inherit_how_to_deliver",
        "They inherit EV_DISPATCH and EV_RECEIPT.",
        children_inherit_how_to_deliver,
    ),
    case(
        "C25",
        "two_notes_on_a_child",
        "A change by the child's pid means the note on it before the one that tells of it.",
        two_notes_on_a_child,
    ),
    case(
        "C25",
        "as_the_parent_asks_at_the_fork",
        "What the parent's note asks for at the fork is what the child gets; changes afterwards are for \
         later children.",
        as_the_parent_asks_at_the_fork,
    ),
    case(
        "C25",
        "deleting_the_parents_note",
        "When the parent's note is deleted, children that are tracked stay so, and later ones are not.",
        deleting_the_parents_note,
    ),
    case(
        "C25",
        "exactly_once",
        "Each child is told of exactly once, also in an unread chain of generations.",
        exactly_once,
    )
    .differs(
        "On F an unread NOTE_CHILD is itself a note that tracks: in an unread chain the n-th generation is \
         reported 2^(n-1) times.",
    ),
    case(
        "C25",
        "a_child_that_is_watched_already",
        "A child that the queue comes to watch twice over, by EV_ADD and by tracking, has one note.",
        a_child_that_is_watched_already,
    ),
    case(
        "C26",
        "grandchildren",
        "Tracking goes on to all descendants, also after the first process has ended.",
        grandchildren,
    ),
    case(
        "C27",
        "tracking_without_forks",
        "NOTE_TRACK without NOTE_FORK tells of children and not of forks; alone, of children only.",
        tracking_without_forks,
    ),
    case(
        "C28",
        "a_child_before_its_parents_fork",
        "NOTE_CHILD comes before the parent's NOTE_FORK, unless the parent's note was ready before.",
        a_child_before_its_parents_fork,
    ),
    case(
        "C28",
        "in_order_of_what_was_first",
        "Notes are told in the order in which they first had something to tell; what merges into one keeps \
         its early place.",
        in_order_of_what_was_first,
    ),
    case(
        "C28",
        "a_child_before_all_else_of_it",
        "NOTE_CHILD is the first event of a process that was tracked, and NOTE_EXIT the last; parents are \
         told of before their children.",
        a_child_before_all_else_of_it,
    )
    .differs("Between other events of different processes no order is promised, here or elsewhere."),
    case(
        "C30",
        "no_room_for_a_child",
        "Where a queue has no room for a child's two notes, neither is made, and NOTE_TRACKERR comes on \
         the parent's note, merged with its NOTE_FORK if that was asked for.",
        no_room_for_a_child,
    )
    .gated(&[Gate::Kernel("`QueueOptions` are this library's")])
    .differs(
        "F may have told of the child before it fails to make the second note; N makes both or none. On F \
         NOTE_TRACKERR can sit on an unread NOTE_CHILD.",
    ),
    case("C30", "room_again", "When there is room again, later children are tracked.", room_again)
        .gated(&[Gate::Kernel("`QueueOptions` are this library's")]),
    case(
        "C30",
        "losses_are_told",
        "When the source has lost records, NOTE_TRACKERR comes on every note that asked for more than the \
         end, and what lives is tracked again.",
        losses_are_told,
    )
    .differs("No kernel loses records between itself and its kqueue; sources like Linux' connector can.")
    .gated(&[Gate::Real("losses of a real source have a case of their own")]),
    case(
        "C30",
        "a_flood_is_told",
        "A flood that a starved source cannot hold is told by NOTE_TRACKERR, the end of the flooding \
         process all the same, with its status or -1.",
        a_flood_is_told,
    )
    .gated(&[
        Gate::Kernel("a kernel loses nothing on the way to its own queue"),
        Gate::Scripted("a script says what it loses"),
    ]),
    case("C31", "tracking_oneself", "A program can track itself.", tracking_oneself),
    case("C32", "udata", "udata comes back with all its 64 bits, from children too.", udata),
];

fn a_child_is_told_of(world: &mut World) {
    let parent = world.spawn();
    world.good(Kevent::process(parent, EV_ADD, ALL).with_udata(7));
    let child = world.fork(parent);
    world.tells(&all_with(
        7,
        [event(child, TELLS, NOTE_CHILD, parent.into()), event(parent, EV_CLEAR, NOTE_FORK, 0)],
    ));
    world.exec(child);
    world.tells(&[event(child, EV_CLEAR, NOTE_EXEC, 0).with_udata(7)]);
    world.exit(child, 2);
    world.tells(&[event(child, LAST, NOTE_EXIT, code(2)).with_udata(7)]);
    // The same when it has begun anew before anybody looks, and where it ended at once.
    let child = world.fork_exec(parent);
    world.tells(&all_with(
        7,
        [
            event(child, TELLS, NOTE_CHILD, parent.into()),
            event(parent, EV_CLEAR, NOTE_FORK, 0),
            event(child, EV_CLEAR, NOTE_EXEC, 0),
        ],
    ));
    let child = world.once(parent, How::Vfork, 3);
    world.tells(&all_with(
        7,
        [
            event(child, TELLS, NOTE_CHILD, parent.into()),
            event(parent, EV_CLEAR, NOTE_FORK, 0),
            event(child, LAST, NOTE_EXIT, code(3)),
        ],
    ));
}

fn children_are_enabled(world: &mut World) {
    let parent = world.spawn();
    world.good(Kevent::process(parent, EV_ADD | EV_DISABLE, ALL));
    let child = world.once(parent, How::Fork, 1);
    world.tells(&[event(child, TELLS, NOTE_CHILD, parent.into()), event(child, LAST, NOTE_EXIT, code(1))]);
    world.good(Kevent::process(parent, EV_ENABLE, ALL));
    world.tells(&[event(parent, EV_CLEAR, NOTE_FORK, 0)]);
}

fn children_inherit_how_to_deliver(world: &mut World) {
    let own = EV_DISPATCH | EV_RECEIPT;
    let parent = world.spawn();
    let add = Kevent::process(parent, EV_ADD | own, ALL);
    world.queue.kevent(&[add], &mut [Kevent::default()], NOW).unwrap();
    let child = world.fork(parent);
    world.exec(child);
    world.tells(&[
        event(child, TELLS | own, NOTE_CHILD, parent.into()),
        event(parent, EV_CLEAR | own, NOTE_FORK, 0),
        event(child, EV_CLEAR | own, NOTE_EXEC, 0),
    ]);
    world.exec(child);
    world.quiet();
    world.good(Kevent::process(child, EV_ENABLE, ALL));
    world.good(Kevent::process(parent, EV_ENABLE, ALL));
    world.tells(&[event(child, EV_CLEAR | own, NOTE_EXEC, 0)]);
    world.good(Kevent::process(child, EV_DELETE, 0));
}

fn two_notes_on_a_child(world: &mut World) {
    let parent = world.spawn();
    world.good(Kevent::process(parent, EV_ADD, NOTE_TRACK | NOTE_EXIT).with_udata(1));
    let child = world.fork(parent);
    world.good(Kevent::process(child, EV_ADD, NOTE_EXIT).with_udata(2));
    world.exit(child, 1);
    world.tells(&[
        event(child, TELLS, NOTE_CHILD, parent.into()).with_udata(1),
        event(child, LAST, NOTE_EXIT, code(1)).with_udata(2),
    ]);
    let child = world.fork(parent);
    world.queue.has_notes(3);
    world.good(Kevent::process(child, EV_DELETE, 0));
    world.queue.has_notes(2);
    world.tells(&[event(child, TELLS, NOTE_CHILD, parent.into()).with_udata(1)]);
    let child = world.fork(parent);
    world.good(Kevent::process(child, EV_DELETE, 0));
    world.good(Kevent::process(child, EV_DELETE, 0));
    world.bad(Kevent::process(child, EV_DELETE, 0), libc::ENOENT);
    world.exit(child, 0);
    world.quiet();
}

fn as_the_parent_asks_at_the_fork(world: &mut World) {
    let parent = world.spawn();
    let asks = |fflags, udata| Kevent::process(parent, EV_ADD, fflags | NOTE_TRACK).with_udata(udata);
    world.good(asks(NOTE_EXEC, 1));
    let first = world.fork(parent);
    world.good(asks(NOTE_EXIT, 2));
    let second = world.fork(parent);
    for child in [first, second] {
        world.exec(child);
        world.exit(child, 1);
    }
    world.tells(&[
        event(first, TELLS, NOTE_CHILD, parent.into()).with_udata(1),
        event(second, TELLS, NOTE_CHILD, parent.into()).with_udata(2),
        event(first, LAST, NOTE_EXEC, 0).with_udata(1),
        event(second, LAST, NOTE_EXIT, code(1)).with_udata(2),
    ]);
}

fn deleting_the_parents_note(world: &mut World) {
    let parent = world.spawn();
    world.add(parent, ALL);
    let child = world.fork(parent);
    world.good(Kevent::process(parent, EV_DELETE, 0));
    world.fork(parent);
    world.exit(child, 1);
    world.tells(&[event(child, TELLS, NOTE_CHILD, parent.into()), event(child, LAST, NOTE_EXIT, code(1))]);
    world.queue.has_notes(0);
}

fn exactly_once(world: &mut World) {
    let mut chain = vec![world.spawn()];
    world.add(chain[0], NOTE_TRACK | NOTE_EXIT);
    for generation in 0..12 {
        chain.push(world.fork(chain[generation]));
    }
    for &pid in chain.iter().rev() {
        world.exit(pid, 0);
    }
    let events = read(&world.queue);
    assert_eq!(tally(&events), [12, 13, 0], "{events:?}");
    for pair in chain.windows(2) {
        let told = event(pair[1], TELLS, NOTE_CHILD, pair[0].into());
        assert_eq!(events.iter().filter(|event| **event == told).count(), 1);
    }
}

fn a_child_that_is_watched_already(world: &mut World) {
    let parent = world.spawn();
    let child = world.fork(parent);
    world.good(Kevent::process(child, EV_ADD, NOTE_EXIT).with_udata(1));
    world.good(Kevent::process(parent, EV_ADD, NOTE_TRACK | NOTE_EXIT).with_udata(2));
    let grandchild = world.fork(child);
    world.exit(child, 1);
    world.exit(grandchild, 2);
    // Its own registration does not track.
    world.tells(&[event(child, LAST, NOTE_EXIT, code(1)).with_udata(1)]);
    let second = world.fork(parent);
    world.good(Kevent::process(second, EV_ADD, NOTE_EXIT).with_udata(3));
    world.queue.has_notes(3);
    world.exit(second, 4);
    world.tells(&[
        event(second, TELLS, NOTE_CHILD, parent.into()).with_udata(2),
        event(second, LAST, NOTE_EXIT, code(4)).with_udata(3),
    ]);
}

fn grandchildren(world: &mut World) {
    let first = world.spawn();
    world.add(first, NOTE_TRACK | NOTE_EXIT);
    let second = world.fork(first);
    let third = world.fork(second);
    world.exit(first, 1);
    let fourth = world.fork(third);
    world.exit(second, 2);
    world.exit(fourth, 4);
    world.exit(third, 3);
    world.tells(&[
        event(second, TELLS, NOTE_CHILD, first.into()),
        event(third, TELLS, NOTE_CHILD, second.into()),
        event(first, LAST, NOTE_EXIT, code(1)),
        event(fourth, TELLS, NOTE_CHILD, third.into()),
        event(second, LAST, NOTE_EXIT, code(2)),
        event(fourth, LAST, NOTE_EXIT, code(4)),
        event(third, LAST, NOTE_EXIT, code(3)),
    ]);
}

fn tracking_without_forks(world: &mut World) {
    for fflags in [NOTE_TRACK, NOTE_TRACK | NOTE_EXIT] {
        let parent = world.spawn();
        world.add(parent, fflags);
        let child = world.fork(parent);
        let grandchild = world.once(child, How::Fork, 1);
        let mut expected = vec![
            event(child, TELLS, NOTE_CHILD, parent.into()),
            event(grandchild, TELLS, NOTE_CHILD, child.into()),
        ];
        if fflags & NOTE_EXIT != 0 {
            expected.push(event(grandchild, LAST, NOTE_EXIT, code(1)));
        }
        world.tells(&expected);
        world.good(Kevent::process(parent, EV_DELETE, 0));
        world.good(Kevent::process(child, EV_DELETE, 0));
        world.queue.has_notes(0);
    }
}

fn a_child_before_its_parents_fork(world: &mut World) {
    let parent = world.spawn();
    world.add(parent, ALL);
    let first = world.fork(parent);
    let second = world.fork(parent);
    world.tells(&[
        event(first, TELLS, NOTE_CHILD, parent.into()),
        event(parent, EV_CLEAR, NOTE_FORK, 0),
        event(second, TELLS, NOTE_CHILD, parent.into()),
    ]);
    world.exec(parent);
    let third = world.fork(parent);
    world.tells(&[
        event(parent, EV_CLEAR, NOTE_EXEC | NOTE_FORK, 0),
        event(third, TELLS, NOTE_CHILD, parent.into()),
    ]);
}

fn in_order_of_what_was_first(world: &mut World) {
    let parent = world.spawn();
    world.add(parent, NOTE_TRACK | NOTE_EXIT | NOTE_FORK);
    let child = world.fork(parent);
    world.exit(child, 1);
    world.exit(parent, 3);
    world.tells(&[
        event(child, TELLS, NOTE_CHILD, parent.into()),
        event(parent, LAST, NOTE_FORK | NOTE_EXIT, code(3)),
        event(child, LAST, NOTE_EXIT, code(1)),
    ]);
}

fn a_child_before_all_else_of_it(world: &mut World) {
    let parent = world.spawn();
    world.add(parent, ALL);
    for how in [How::Fork, How::Vfork, How::Exec, How::Raw] {
        world.stage().storm(parent, 3, 10, how);
    }
    let mut chain = parent;
    for _ in 0..5 {
        chain = world.fork_exec(chain);
    }
    world.exit(parent, 0);
    let mut events = world.gather("all ends but those of the chain", |events| tally(events)[1] == 121);
    events.extend(read(&world.queue));
    let mut told = vec![u64::from(parent)];
    let mut ended = Vec::new();
    for event in &events {
        if event.fflags & NOTE_CHILD != 0 {
            assert!(
                told.contains(&(event.data as u64)),
                "{event:?} before its parent was told of: {events:?}"
            );
            assert!(!told.contains(&event.ident), "{event:?} after another of it: {events:?}");
            told.push(event.ident);
        }
        assert!(told.contains(&event.ident), "{event:?} before it was told of: {events:?}");
        assert!(!ended.contains(&event.ident), "{event:?} after its end: {events:?}");
        if event.flags & EV_EOF != 0 {
            ended.push(event.ident);
        }
    }
    assert_eq!(told.len(), 126);
}

fn small(world: &World, max_notes: usize) -> Kqueue {
    let mut options = QueueOptions::default();
    options.max_notes = max_notes;
    world.another_queue(options)
}

fn no_room_for_a_child(world: &mut World) {
    for (fflags, told) in
        [(NOTE_TRACK | NOTE_EXIT, NOTE_TRACKERR), (NOTE_TRACK | NOTE_FORK, NOTE_TRACKERR | NOTE_FORK)]
    {
        let parent = world.spawn();
        // Room for one of a child's two notes.
        let queue = small(world, 2);
        change(&queue, Kevent::process(parent, EV_ADD, fflags)).unwrap();
        world.once(parent, How::Fork, 0);
        queue.has_notes(1);
        assert_eq!(read(&queue), [event(parent, EV_CLEAR, told, 0)]);
    }
}

fn room_again(world: &mut World) {
    let parent = world.spawn();
    let queue = small(world, 3);
    change(&queue, Kevent::process(parent, EV_ADD, NOTE_TRACK | NOTE_EXIT)).unwrap();
    let first = world.fork(parent);
    let second = world.fork(parent);
    world.exit(first, 1);
    world.exit(second, 2);
    assert_eq!(
        read(&queue),
        [
            event(first, TELLS, NOTE_CHILD, parent.into()),
            event(parent, EV_CLEAR, NOTE_TRACKERR, 0),
            event(first, LAST, NOTE_EXIT, code(1)),
        ]
    );
    let third = world.fork(parent);
    assert_eq!(read(&queue), [event(third, TELLS, NOTE_CHILD, parent.into())]);
}

fn losses_are_told(world: &mut World) {
    let (one, other) = (world.spawn(), world.spawn());
    world.add(one, ALL);
    world.add(other, NOTE_EXIT);
    let script = world.script.clone().unwrap();
    script.lose(5);
    let child = world.fork(one);
    world.tells(&[
        event(one, EV_CLEAR, NOTE_FORK | NOTE_TRACKERR, 0),
        event(child, TELLS, NOTE_CHILD, one.into()),
    ]);
    world.exit(child, 1);
    world.exit(other, 2);
    world.tells(&[event(child, LAST, NOTE_EXIT, code(1)), event(other, LAST, NOTE_EXIT, code(2))]);
}

fn a_flood_is_told(world: &mut World) {
    if !matches!(world.source(), Some(SourceName::CnProc | SourceName::Perf | SourceName::Both)) {
        return world.skip("this source has no buffer whose size could be chosen");
    }
    let mut options = real_options(world.source().expect("it is gated elsewhere"));
    options.receive_buffer = Some(4096);
    options.shards = Some(1);
    options.ring_pages = Some(1);
    // Others' records may leave no room for the answer that opening waits for.
    let source = until(|| "so small a source is opened".to_owned(), || open(&options).ok());
    let starved = Kqueue::Ours(Reactor::new(source).unwrap().queue(QueueOptions::default()).unwrap());
    let pid = world.spawn();
    change(&starved, Kevent::process(pid, EV_ADD, NOTE_TRACK | NOTE_EXIT)).unwrap();
    world.stage().many(pid, 2_000, How::Vfork, 0);
    let last = world.fork(pid);
    let trackerr = |events: &[Kevent]| {
        events.iter().any(|event| event.ident == u64::from(pid) && event.fflags & NOTE_TRACKERR != 0)
    };
    let mut events = gather(&starved, "NOTE_TRACKERR", &mut |events| trackerr(events));
    // Who lived through it is found, and followed.
    let told = |events: &[Kevent]| {
        events.iter().any(|event| event.ident == u64::from(last) && event.fflags == NOTE_CHILD)
    };
    if !told(&events) {
        events.extend(gather(&starved, "the child that lives", &mut |events| told(events)));
    }
    world.exit(last, 1);
    world.exit(pid, 2);
    let ended = |events: &[Kevent]| {
        [last, pid].iter().all(|pid| {
            events.iter().any(|event| event.ident == u64::from(*pid) && event.fflags & NOTE_EXIT != 0)
        })
    };
    let ends = gather(&starved, "both ends", &mut |events| ended(events));
    let data: Vec<i64> = ends
        .iter()
        .filter(|event| event.ident == u64::from(pid) && event.fflags & NOTE_EXIT != 0)
        .map(|event| event.data)
        .collect();
    assert!(data == [code(2)] || data == [-1], "{ends:?}");
    // The record of a child's end may come long after its parent reaped it.
    let empty = || {
        read(&starved);
        (starved.ours().stats().notes == 0).then_some(())
    };
    until(|| format!("C40: nothing is left: {:?}", starved.ours().stats()), empty);
}

fn tracking_oneself(world: &mut World) {
    let me = std::process::id();
    let queue = world.another_queue(QueueOptions::default());
    change(&queue, Kevent::process(me, EV_ADD, NOTE_TRACK | NOTE_EXIT)).unwrap();
    let mut children = Vec::new();
    for status in 0..100 {
        let pid = world.stage().quick(status);
        world.stage().let_go(pid);
        assert_eq!(world.reap(pid), code(status));
        children.push((pid, status));
    }
    let end = |events: &[Kevent], pid: u32| {
        events.iter().find(|event| event.ident == u64::from(pid) && event.fflags & NOTE_EXIT != 0).copied()
    };
    // Other tests of this program have children too.
    let events = gather(&queue, "all children", &mut |events| {
        children.iter().all(|(pid, _)| end(events, *pid).is_some())
    });
    for (pid, status) in children {
        assert!(events.contains(&event(pid, TELLS, NOTE_CHILD, me.into())), "{pid}: {events:?}");
        let told = end(&events, pid).expect("it was waited for");
        assert!(world.may_tell(&told, &event(pid, LAST, NOTE_EXIT, code(status))), "{status}: {told:?}");
    }
}

fn udata(world: &mut World) {
    let given = 0xfedc_ba98_7654_3210;
    let parent = world.spawn();
    world.good(Kevent::process(parent, EV_ADD, ALL).with_udata(given));
    let child = world.fork(parent);
    let grandchild = world.once(child, How::Fork, 1);
    world.exit(child, 2);
    let events = read(&world.queue);
    assert!(events.iter().all(|event| event.udata == given), "{events:?}");
    assert_eq!(tally(&events), [2, 2, 0]);
    assert!(events.contains(&event(grandchild, LAST, NOTE_EXIT, code(1)).with_udata(given)));
}
