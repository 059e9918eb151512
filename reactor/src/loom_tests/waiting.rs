//! Who waits: nobody sleeps while there is something for it, and as long as anybody waits somebody looks at the source. A search
//! ends in a deadlock, which loom reports, where that does not hold.

use std::sync::atomic::Ordering::Relaxed;
use std::task::Waker;

use loom::thread;

use super::notes::beside;
use super::rig::{P, Rig, STATUS, count, exit};
use super::turn::bell;
use crate::error::QueueError;
use crate::flags::*;
use crate::kevent::Kevent;
use crate::process::table::Origin;
use crate::process::threads::Threads;
use crate::queue::{QueueOptions, QueueShared};
use crate::reactor::waker::WakeSlot;
use crate::register::Request;
use crate::sync::Arc;
use crate::wait::{self, Drive};

/// With a note on P.
fn watched() -> Arc<Rig> {
    Rig::with(|rig| {
        rig.add_at_large(Kevent::process(P, EV_ADD, NOTE_EXIT)).unwrap();
    })
}

fn is_end_of(events: &[Kevent], pid: u32) {
    assert_eq!((events.len(), count(events, pid, NOTE_EXIT)), (1, 1), "{events:?}");
    assert_eq!(events[0].data, i64::from(STATUS));
}

/// A task that found nothing is woken by what comes, or finds it.
pub(super) fn wake_x_poll() {
    let rig = watched();
    let turn = beside(&rig, |rig| rig.apply(&[exit(P, 5)]));
    let slot = Arc::new(WakeSlot::new());
    let (bell, waker) = bell();
    let mut events = Vec::new();
    let poll = |events: &mut Vec<Kevent>| {
        wait::poll(&rig.queue, &slot, &waker, || {
            events.extend(rig.try_scan(9)?);
            Ok(events.len())
        })
    };
    let ready = poll(&mut events).is_ready();
    turn.join().unwrap();
    assert!(ready || bell.0.load(Relaxed), "news that neither were seen nor woke");
    assert!(ready || poll(&mut events).is_ready());
    is_end_of(&events, P);
    rig.queue.leave(&slot);
    rig.is_empty();
}

/// The record comes while one goes to sleep over the source.
pub(super) fn waiter_x_activation() {
    let rig = watched();
    let kernel = beside(&rig, |rig| rig.kernel.exit(P, 5, false));
    is_end_of(&rig.wait().unwrap(), P);
    kernel.join().unwrap();
    rig.is_empty();
}

/// Somebody else takes the turn that brings it, so that the source is not readable any more.
pub(super) fn waiter_x_turn() {
    brought(|rig| {
        rig.kernel.exit(P, 5, false);
        rig.turn();
    });
}

pub(super) fn waiter_x_pump() {
    brought(|rig| {
        rig.kernel.exit(P, 5, false);
        rig.pump();
    });
}

fn brought(by: fn(&Rig)) {
    let rig = watched();
    let other = beside(&rig, by);
    is_end_of(&rig.wait().unwrap(), P);
    other.join().unwrap();
    rig.is_empty();
}

/// What the source knows nothing of.
pub(super) fn waiter_x_trigger() {
    let rig = Rig::with(|rig| rig.change(Kevent::user(1, EV_ADD | EV_CLEAR, 0)).unwrap());
    let other = beside(&rig, |rig| rig.change(Kevent::user(1, 0, NOTE_TRIGGER)).unwrap());
    assert_eq!(rig.wait().unwrap().len(), 1);
    other.join().unwrap();
}

pub(super) fn waiter_x_close() {
    let rig = watched();
    let other = beside(&rig, |rig| rig.queue.close(&rig.state));
    assert!(matches!(rig.wait(), Err(QueueError::Closed)));
    other.join().unwrap();
    rig.is_empty();
}

/// The process of another queue.
pub(super) const OTHER: u32 = 20;

/// Two queues over one source, a note in each.
pub(super) fn two_queues() -> (Arc<Rig>, Arc<QueueShared>) {
    let rig = watched();
    let other = {
        let mut state = rig.state.lock();
        state.table.insert(OTHER, None, Origin::Born, 1, Threads::Leader);
        state.queues.open(QueueOptions::default())
    };
    rig.kernel.list(OTHER);
    let request = Request::new(&Kevent::process(OTHER, EV_ADD, NOTE_EXIT)).unwrap();
    request.add(&rig.state, &other, &mut *rig.baton.take()).unwrap();
    (rig, other)
}

/// Each waits in a queue of its own, and whoever leads brings what the other waits for, or leaves it the lead.
pub(super) fn lead_x_lead() {
    let (rig, queue) = two_queues();
    rig.kernel.exit(P, 5, false);
    let other = {
        let rig = Arc::clone(&rig);
        thread::spawn(move || {
            is_end_of(&rig.wait_at(&queue).unwrap(), OTHER);
            assert_eq!(queue.lock().notes.len(), 0);
        })
    };
    is_end_of(&rig.wait().unwrap(), P);
    rig.kernel.exit(OTHER, 6, false);
    other.join().unwrap();
    rig.is_empty();
    rig.all_gone();
}

/// And the ends come at any time.
pub(super) fn lead_x_lead_x_exit() {
    let (rig, queue) = two_queues();
    let other = {
        let rig = Arc::clone(&rig);
        thread::spawn(move || is_end_of(&rig.wait_at(&queue).unwrap(), OTHER))
    };
    let kernel = beside(&rig, |rig| {
        rig.kernel.exit(P, 5, false);
        rig.kernel.exit(OTHER, 6, false);
    });
    is_end_of(&rig.wait().unwrap(), P);
    other.join().unwrap();
    kernel.join().unwrap();
    rig.is_empty();
    rig.all_gone();
}

/// Two wait in one queue, and two user events come at once: who takes one sees to it that the other is taken.
pub(super) fn waiter_x_waiter_x_activation() {
    let rig = Rig::with(|rig| {
        for ident in [1, 2] {
            rig.change(Kevent::user(ident, EV_ADD | EV_ONESHOT, 0)).unwrap();
        }
    });
    let other = beside(&rig, |rig| rig.wait().unwrap());
    let trigger = beside(&rig, |rig| {
        for ident in [1, 2] {
            rig.change(Kevent::user(ident, 0, NOTE_TRIGGER)).unwrap();
        }
    });
    let mut events = rig.wait().unwrap();
    events.extend(other.join().unwrap());
    trigger.join().unwrap();
    assert_eq!(events.len(), 2);
    assert_ne!(events[0].ident, events[1].ident, "one event is one waiter's");
    rig.is_empty();
}

/// How a task asks: like [`wait::poll`].
pub(super) type Ask = fn(&Rig, &Arc<WakeSlot>, &Waker) -> Vec<Kevent>;

pub(super) fn ask(rig: &Rig, slot: &Arc<WakeSlot>, waker: &Waker) -> Vec<Kevent> {
    let mut events = Vec::new();
    let _ = wait::poll(&rig.queue, slot, waker, || {
        events.extend(rig.try_scan(1)?);
        Ok(events.len())
    });
    events
}

pub(super) fn task_x_waiter() {
    task_beside_waiter(ask);
}

/// A task that got something is busy with it, and what comes then is for the thread that waits.
pub(super) fn task_beside_waiter(ask: Ask) {
    let rig = Rig::with(|rig| {
        for ident in [1, 2] {
            rig.change(Kevent::user(ident, EV_ADD | EV_ONESHOT, 0)).unwrap();
        }
    });
    let slot = Arc::new(WakeSlot::new());
    let (bell, waker) = bell();
    let waiter = beside(&rig, |rig| rig.wait().unwrap());
    assert_eq!(ask(&rig, &slot, &waker), []);
    rig.change(Kevent::user(1, 0, NOTE_TRIGGER)).unwrap();
    let mut events = ask(&rig, &slot, &waker);
    rig.change(Kevent::user(2, 0, NOTE_TRIGGER)).unwrap();
    events.extend(waiter.join().unwrap());
    if events.len() == 1 {
        assert!(bell.0.load(Relaxed), "the task was not woken");
        events.extend(ask(&rig, &slot, &waker));
    }
    rig.queue.leave(&slot);
    assert_eq!(events.len(), 2);
    rig.is_empty();
}
