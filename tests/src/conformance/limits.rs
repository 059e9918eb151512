//! Limits (C17).

use std::process::Command;

use proc_reactor::flags::*;
use proc_reactor::source::sim::scripted;
use proc_reactor::{ChangeError, Interest, Kevent, QueueError, QueueOptions, Reactor};

use super::case::{Case, Gate, case};
use super::os;
use super::puppet;
use super::world::*;

pub(crate) const CASES: &[Case] = &[
    case(
        "C17",
        "no_room_for_a_note",
        "A registration beyond `QueueOptions::max_notes` is ENOMEM, of a process or of a user event; what \
         is there can still be changed.",
        no_room_for_a_note,
    )
    .gated(&[Gate::Kernel("`QueueOptions` are this library's")])
    .differs("F has no limit but memory."),
    case(
        "C17",
        "no_descriptors",
        "The first queue of a reactor needs descriptors; without any it fails with EMFILE.",
        no_descriptors,
    )
    .gated(&[Gate::Real("the descriptors of a queue are the same on every source")]),
    case(
        "C17",
        "many_queues",
        "Queues beyond the first need none, and are limited by memory only.",
        many_queues,
    )
    .differs("F has RLIMIT_KQUEUES, which binds root too: ENOMEM."),
];

fn no_room_for_a_note(world: &mut World) {
    let mut options = QueueOptions::default();
    options.max_notes = 2;
    let queue = world.another_queue(options);
    let pids = [world.spawn(), world.spawn()];
    change(&queue, Kevent::process(pids[0], EV_ADD, NOTE_EXIT)).unwrap();
    change(&queue, Kevent::user(1, EV_ADD, 0)).unwrap();
    assert_eq!(change(&queue, Kevent::process(pids[1], EV_ADD, NOTE_EXIT)), Err(libc::ENOMEM));
    assert_eq!(change(&queue, Kevent::user(2, EV_ADD, 0)), Err(libc::ENOMEM));
    let error = change_error(queue.ours().register(pids[1], Interest::EXIT, 0).unwrap_err());
    assert!(matches!(error, ChangeError::NoMemory), "{error}");
    change(&queue, Kevent::process(pids[0], EV_ADD, NOTE_EXIT | NOTE_FORK)).unwrap();
    change(&queue, Kevent::user(1, EV_DELETE, 0)).unwrap();
    change(&queue, Kevent::process(pids[1], EV_ADD, NOTE_EXIT)).unwrap();
    queue.has_notes(2);
}

fn no_descriptors(_world: &mut World) {
    // It is the whole process that has none.
    let output = Command::new(puppet::program()).arg(puppet::WITHOUT_DESCRIPTORS).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && output.stdout == b"ok\n", "{text}");
}

/// The case `no_descriptors`, in a process of its own.
pub(crate) fn without_descriptors() {
    let (source, _script) = scripted().unwrap();
    let reactor = Reactor::new(Box::new(source)).unwrap();
    os::no_more_descriptors();
    let error = reactor.queue(QueueOptions::default()).unwrap_err();
    assert!(matches!(error, QueueError::Descriptors(_)), "{error}");
    assert_eq!(error.errno(), libc::EMFILE);
    assert_eq!(reactor.stats().queues, 0);
    println!("ok");
}

fn many_queues(world: &mut World) {
    let pid = world.spawn();
    let queues: Vec<_> = (0..500).map(|_| world.another_queue(QueueOptions::default())).collect();
    // Other tests of this program open some too.
    assert!(os::open_descriptors().count() < 400, "a queue has no descriptor of its own");
    for queue in &queues {
        change(queue, Kevent::process(pid, EV_ADD, NOTE_EXIT)).unwrap();
    }
    world.exit(pid, 1);
    assert!(queues.iter().all(|queue| read(queue) == [event(pid, LAST, NOTE_EXIT, code(1))]));
}
