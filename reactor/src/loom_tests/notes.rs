//! What happens to notes: registered, deleted, disabled, activated, scanned and closed, at once.

use loom::thread;

use super::rig::{CHILD, P, Rig, STATUS, count, exec, exit, fork, in_order};
use crate::error::{ChangeError, QueueError};
use crate::flags::*;
use crate::kevent::Kevent;
use crate::sync::Arc;
use crate::wait::Drive;

fn note(fflags: u32) -> Kevent {
    Kevent::process(P, EV_ADD, fflags)
}

/// A rig with a note on P.
pub(super) fn watched(fflags: u32) -> Arc<Rig> {
    Rig::with(|rig| {
        rig.add_at_large(note(fflags)).unwrap();
    })
}

/// Does `work` in another thread.
pub(super) fn beside<T: 'static>(rig: &Arc<Rig>, work: fn(&Rig) -> T) -> thread::JoinHandle<T> {
    let rig = Arc::clone(rig);
    thread::spawn(move || work(&rig))
}

/// Who is registered while it ends has its end told, once, if the system shows it in any way; a drain may be anywhere.
pub(super) fn register_x_exit() {
    registered(|rig| {
        rig.kernel.exit(P, 5, true);
        rig.pump();
    });
}

/// The same by one who leaves the turn to others where they are at one.
pub(super) fn register_x_turn() {
    registered(|rig| {
        rig.kernel.exit(P, 5, true);
        rig.turn();
    });
}

fn registered(end: fn(&Rig)) {
    let rig = Rig::new();
    let end = beside(&rig, end);
    let added = rig.add(note(NOTE_EXIT));
    end.join().unwrap();
    assert!(added.unwrap().made, "there was a process or its zombie all the time");
    let events = rig.rest();
    in_order(&events);
    assert_eq!(count(&events, P, NOTE_EXIT), 1);
    rig.all_gone();
}

/// The same where the zombie is gone at once: then there is no such process, or its end is told.
pub(super) fn register_x_reaped() {
    let rig = Rig::new();
    let end = beside(&rig, |rig| {
        rig.kernel.exit(P, 5, false);
        rig.pump();
    });
    let added = rig.add(note(NOTE_EXIT));
    end.join().unwrap();
    let events = rig.rest();
    in_order(&events);
    match added {
        Ok(added) => assert!(added.made && count(&events, P, NOTE_EXIT) == 1, "{events:?}"),
        Err(error) => {
            assert!(matches!(error, ChangeError::NoSuchProcess { .. }), "{error}");
            assert_eq!(events, []);
        }
    }
    rig.all_gone();
}

/// The race of 2016, with its loss: something is being scanned when the process ends.
pub(super) fn scan_x_exit() {
    let rig = watched(NOTE_FORK | NOTE_EXIT);
    rig.apply(&[fork(P, CHILD, 3)]);
    let end = beside(&rig, |rig| rig.apply(&[exit(P, 5)]));
    let mut events = rig.scan();
    end.join().unwrap();
    events.extend(rig.rest());
    in_order(&events);
    assert_eq!((count(&events, P, NOTE_FORK), count(&events, P, NOTE_EXIT)), (1, 1), "{events:?}");
}

/// And two who scan: each event is one's (C33).
pub(super) fn scan_x_scan_x_exit() {
    let rig = watched(NOTE_FORK | NOTE_EXIT);
    rig.apply(&[fork(P, CHILD, 3)]);
    let end = beside(&rig, |rig| rig.apply(&[exit(P, 5)]));
    let other = beside(&rig, Rig::scan);
    let mut events = rig.scan();
    events.extend(other.join().unwrap());
    end.join().unwrap();
    events.extend(rig.rest());
    assert_eq!((count(&events, P, NOTE_FORK), count(&events, P, NOTE_EXIT)), (1, 1), "{events:?}");
}

/// What is deleted tells nothing any more, whether it had ended before or not (C11).
pub(super) fn delete_x_exit() {
    let rig = watched(NOTE_EXIT);
    let end = beside(&rig, |rig| rig.apply(&[exit(P, 5)]));
    rig.delete(P).expect("nobody has read its end");
    assert_eq!(rig.scan(), []);
    end.join().unwrap();
    assert_eq!(rig.rest(), []);
    rig.all_gone();
}

/// Either the scan takes it or the deletion does, and either clears the living process's list.
pub(super) fn delete_x_scan() {
    let rig = Rig::with(|rig| {
        rig.add_at_large(Kevent::process(P, EV_ADD | EV_ONESHOT, NOTE_EXEC | NOTE_EXIT)).unwrap();
        rig.apply(&[exec(P, 3)]);
    });
    let other = beside(&rig, |rig| rig.delete(P));
    let events = rig.scan();
    match other.join().unwrap() {
        Ok(()) => assert_eq!(events, []),
        Err(error) => {
            assert!(matches!(error, ChangeError::NoSuchNote), "{error}");
            assert_eq!((events.len(), count(&events, P, NOTE_EXEC)), (1, 1));
        }
    }
    assert_eq!(rig.rest(), []);
    rig.apply(&[exit(P, 5)]);
    assert_eq!(rig.rest(), []);
    rig.all_gone();
}

/// And the process ends meanwhile.
pub(super) fn delete_x_scan_x_exit() {
    let rig = watched(NOTE_EXEC | NOTE_EXIT);
    rig.apply(&[exec(P, 3)]);
    let end = beside(&rig, |rig| rig.apply(&[exit(P, 5)]));
    let other = beside(&rig, |rig| rig.delete(P));
    let mut events = rig.scan();
    let deleted = other.join().unwrap().is_ok();
    end.join().unwrap();
    events.extend(rig.rest());
    in_order(&events);
    assert_ne!(deleted, count(&events, P, NOTE_EXIT) == 1, "deleted, or told to the end: {events:?}");
    rig.all_gone();
}

/// The pid comes round again, and is registered again: the old end is told once and the new one not to the old note
/// (K7, C8).
pub(super) fn reregister_x_exit() {
    reregistered(|rig| {
        rig.kernel.exit_and_fork();
        rig.pump();
    });
}

pub(super) fn reregister_x_turn() {
    reregistered(|rig| {
        rig.kernel.exit_and_fork();
        rig.turn();
    });
}

fn reregistered(again: fn(&Rig)) {
    let rig = watched(NOTE_EXIT);
    let again = beside(&rig, again);
    let added = rig.add(note(NOTE_EXIT).with_udata(2)).unwrap();
    again.join().unwrap();
    let (_, id) = added.note.unwrap();
    rig.apply(&[exit(P, 9)]);
    let events = rig.rest();
    assert!(events.iter().all(|event| event.fflags == NOTE_EXIT && event.data == i64::from(STATUS)));
    let told: Vec<u64> = events.iter().map(|event| event.udata).collect();
    if added.made {
        assert_eq!(told, [0, 2], "two births, two notes");
        assert_eq!(id.birth(), 3, "the note is on the new one");
    } else {
        assert_eq!(told, [2], "one note, on the old one, modified");
        assert_eq!(id.birth(), 2);
    }
    rig.all_gone();
}

/// The child is told of from its birth to its end or not at all, whatever becomes of its parent's note.
pub(super) fn track_x_delete_parent() {
    let rig = watched(NOTE_TRACK | NOTE_FORK | NOTE_EXIT);
    let birth = beside(&rig, |rig| rig.apply(&[fork(P, CHILD, 3)]));
    rig.delete(P).unwrap();
    birth.join().unwrap();
    rig.apply(&[exit(CHILD, 5), exit(P, 6)]);
    let events = rig.rest();
    in_order(&events);
    let child = (count(&events, CHILD, NOTE_CHILD), count(&events, CHILD, NOTE_EXIT));
    assert!(matches!(child, (0, 0) | (1, 1)), "{events:?}");
    assert_eq!(count(&events, P, u32::MAX), 0, "{events:?}");
    rig.all_gone();
}

/// A child that is born and ends while somebody reads: first, last, once each.
pub(super) fn fork_x_exit_of_child() {
    let rig = watched(NOTE_TRACK | NOTE_FORK | NOTE_EXIT);
    let life = beside(&rig, |rig| {
        rig.apply(&[fork(P, CHILD, 3)]);
        rig.apply(&[exit(CHILD, 5)]);
    });
    let mut events = rig.try_scan(1).unwrap();
    events.extend(rig.try_scan(1).unwrap());
    life.join().unwrap();
    rig.apply(&[exit(P, 6)]);
    events.extend(rig.rest());
    in_order(&events);
    assert_eq!((count(&events, CHILD, NOTE_CHILD), count(&events, CHILD, NOTE_EXIT)), (1, 1), "{events:?}");
    assert_eq!((count(&events, P, NOTE_FORK), count(&events, P, NOTE_EXIT)), (1, 1), "{events:?}");
    rig.all_gone();
}

/// Nothing is left of a queue that is closed: not by a fork that was about to put something there (C35).
pub(super) fn close_x_activate() {
    let rig = watched(NOTE_TRACK | NOTE_FORK | NOTE_EXIT);
    let turn = beside(&rig, |rig| {
        rig.apply(&[fork(P, CHILD, 3)]);
        rig.apply(&[exit(P, 5)]);
    });
    rig.queue.close(&rig.state);
    assert!(matches!(rig.try_scan(9), Err(QueueError::Closed)));
    turn.join().unwrap();
    rig.apply(&[fork(CHILD, 12, 6)]);
    assert_eq!(rig.state.lock().queues.len(), 0);
    rig.is_empty();
}

/// A registration that meets the closing is refused, or goes with the rest.
pub(super) fn close_x_register() {
    let rig = Rig::new();
    let other = beside(&rig, |rig| rig.queue.close(&rig.state));
    let added = rig.add_at_large(note(NOTE_EXIT));
    other.join().unwrap();
    assert!(matches!(added, Ok(_) | Err(ChangeError::Closed)), "{added:?}");
    rig.is_empty();
}

/// What is collected while a note is disabled, or is about to be, comes back when it is enabled (C12).
pub(super) fn disable_x_activate_x_enable() {
    let rig = watched(NOTE_EXEC | NOTE_EXIT);
    let turn = beside(&rig, |rig| rig.apply(&[exec(P, 3)]));
    let enabler =
        beside(&rig, |rig| rig.change(Kevent::process(P, EV_ENABLE, NOTE_EXEC | NOTE_EXIT)).unwrap());
    rig.change(Kevent::process(P, EV_DISABLE, NOTE_EXEC | NOTE_EXIT)).unwrap();
    let mut events = rig.scan();
    turn.join().unwrap();
    enabler.join().unwrap();
    rig.change(Kevent::process(P, EV_ENABLE, NOTE_EXEC | NOTE_EXIT)).unwrap();
    events.extend(rig.scan());
    assert_eq!((events.len(), count(&events, P, NOTE_EXEC)), (1, 1), "{events:?}");
    rig.apply(&[exit(P, 5)]);
    assert_eq!(count(&rig.rest(), P, NOTE_EXIT), 1);
}

/// What is deleted while it is being attached is on nobody's list afterwards; it was accepted all the same (K6).
pub(super) fn attaching_x_delete() {
    let rig = Rig::new();
    let other = beside(&rig, |rig| rig.delete(P));
    let added = rig.add_at_large(note(NOTE_EXIT)).unwrap();
    let deleted = other.join().unwrap();
    assert!(added.made);
    assert!(matches!(deleted, Ok(()) | Err(ChangeError::NoSuchNote)));
    if deleted.is_ok() {
        rig.is_empty();
    } else {
        assert!(added.note.is_some());
    }
    rig.apply(&[exit(P, 5)]);
    assert_eq!(count(&rig.rest(), P, NOTE_EXIT), usize::from(deleted.is_err()));
    rig.all_gone();
}

/// Who ends between the steps of its registration: its end is told once, by the record or by the zombie (C4).
pub(super) fn attaching_x_exit() {
    let rig = Rig::new();
    let end = beside(&rig, |rig| {
        rig.kernel.exit(P, 5, true);
        rig.apply(&[exit(P, 5)]);
    });
    let added = rig.add_at_large(note(NOTE_EXIT)).unwrap();
    end.join().unwrap();
    assert!(added.made && added.note.is_some());
    let events = rig.rest();
    in_order(&events);
    assert_eq!(count(&events, P, NOTE_EXIT), 1);
    rig.all_gone();
}
