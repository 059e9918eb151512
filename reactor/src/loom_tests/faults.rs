//! That the searches find what they are for: each fault here is one that the engine could have, made of its own parts in a wrong
//! order. Beside each stands the right order in the same scenario, in which nothing is found.

use std::process::Command;
use std::task::Waker;

use loom::thread;

use super::explore::model;
use super::notes::{beside, watched};
use super::rig::{CHILD, P, Rig, count, exec, exit, fork};
use super::turn::{Request, request, turns};
use super::waiting::{OTHER, ask, task_beside_waiter, two_queues};
use crate::flags::*;
use crate::kevent::Kevent;
use crate::knote::list::NoteKey;
use crate::knote::state::{Input, State as NoteState};
use crate::queue::QueueShared;
use crate::reactor::waker::WakeSlot;
use crate::sync::{Arc, park, thread_waker};
use crate::wait::Drive;

/// Says in a process of its own which of a test's searches it is to make.
const SEARCH: &str = "PROC_REACTOR_LOOM_SEARCH";

/// Makes the searches, each in a process of its own: a deadlock that loom finds unwinds through guards that cannot be
/// dropped any more, which takes the process with it. The first is to find nothing, all others a fault.
fn tells_apart(test: &str, searches: &[fn()]) {
    if let Ok(search) = std::env::var(SEARCH) {
        return model(Some(2)).check(searches[search.parse::<usize>().unwrap()]);
    }
    let (_crate, test) = test.split_once("::").unwrap();
    for search in 0..searches.len() {
        let mut run = Command::new(std::env::current_exe().unwrap());
        run.args([test, "--exact", "--nocapture"]).env(SEARCH, search.to_string()).env("RUST_BACKTRACE", "0");
        let out = run.output().unwrap();
        let said = String::from_utf8_lossy(&out.stderr);
        if search == 0 {
            let ran = String::from_utf8_lossy(&out.stdout).contains("1 passed");
            assert!(out.status.success() && ran, "a fault in what is right: {said}");
        } else {
            assert!(!out.status.success(), "planted fault {search} was not found");
            let found =
                said.lines().find(|line| line.starts_with("deadlock") || line.starts_with("assertion"));
            let found =
                found.or_else(|| said.lines().skip_while(|line| !line.contains("panicked at")).nth(1));
            println!("loom: {test} {search}: {}", found.expect("a search says what it found"));
        }
    }
}

/// A test for each scenario: with the right order, and with each of the wrong ones.
macro_rules! faults {
    ($($(#[$doc:meta])* $test:ident: $scenario:path, $($order:expr),+;)*) => {
        $(
            $(#[$doc])*
            #[test]
            fn $test() {
                tells_apart(concat!(module_path!(), "::", stringify!($test)), &[$(|| $scenario($order)),+]);
            }
        )*
    };
}

faults! {
    /// The first version of the baton, which left its note by a store: one note overwrote the other, and with it what the
    /// other was left for. And one that does not look back after it let go.
    loom_finds_the_faults_of_other_batons: turns_of_two,
        request,
        |baton, feed| baton.request_noted_by_a_store(|()| feed.drain()),
        |baton, feed| baton.request_without_looking_back(|()| feed.drain());
    /// The fault of 2016 and of its fix: what was read in one hold of the lock is cleared in another, with what came
    /// between.
    loom_finds_a_scan_in_two_holds: scan::scenario, scan::in_one_hold, scan::in_two_holds;
    /// A note is put on the list of a process that was looked up in another hold of the lock.
    loom_finds_a_binding_in_two_holds: binding::scenario, binding::in_one_hold, binding::in_two_holds;
    /// The lists of which a closing queue is to be taken are looked up before it is closed.
    loom_finds_a_closing_in_two_holds: closing::scenario, closing::in_one_hold, closing::in_two_holds;
    /// A pid is registered without what was queued before having been applied (K7, C8).
    loom_finds_a_registration_that_does_not_drain: draining::scenario, draining::drained, draining::as_it_is;
    /// A waiter is on the list before its waker is where it is looked for, or looks only before it is on the list.
    loom_finds_a_waiter_that_looks_too_early: waiter::scenario,
        waiter::registered_first, waiter::registered_last, waiter::not_looking_again;
    /// A task that got something and still is among those who wait: it is woken for what another should have.
    loom_finds_a_task_that_stays_on_the_list: task_beside_waiter, ask, task_that_stays;
    /// News that wake before they are there.
    loom_finds_an_activation_that_wakes_too_early: activation::scenario,
        activation::in_one_hold, activation::wakes_first;
    /// A leader that leaves with what it came for, and tells nobody that nobody leads now.
    loom_finds_a_lead_that_is_not_handed_over: lead::scenario, lead::handed_over, lead::dropped;
}

fn turns_of_two(request: Request) {
    turns(2, request);
}

fn task_that_stays(rig: &Rig, slot: &Arc<WakeSlot>, waker: &Waker) -> Vec<Kevent> {
    loop {
        let events = rig.try_scan(1).unwrap();
        if !events.is_empty() {
            return events;
        }
        slot.register(waker);
        if rig.queue.lock().waits(slot) {
            return events;
        }
    }
}

type Work = fn(&Rig);

mod scan {
    use super::*;

    pub(super) fn in_two_holds(rig: &Rig) -> usize {
        let told = {
            let inbox = rig.queue.lock();
            inbox.notes.named(P).map_or(0, |slot| inbox.notes.state(slot).collected)
        };
        let _ = rig.scan();
        usize::from(told & NOTE_EXIT != 0)
    }

    pub(super) fn in_one_hold(rig: &Rig) -> usize {
        count(&rig.scan(), P, NOTE_EXIT)
    }

    pub(super) fn scenario(scan: fn(&Rig) -> usize) {
        let rig = watched(NOTE_EXEC | NOTE_EXIT);
        rig.apply(&[exec(P, 3)]);
        let end = beside(&rig, |rig| rig.apply(&[exit(P, 5)]));
        let seen = scan(&rig);
        end.join().unwrap();
        assert_eq!(seen + count(&rig.rest(), P, NOTE_EXIT), 1, "its end was told once");
    }
}

mod binding {
    use super::*;

    pub(super) fn in_two_holds(rig: &Rig) {
        let (serial, process) = {
            let mut state = rig.state.lock();
            (state.queues.serial(), state.table.newest(P))
        };
        let Some(process) = process else { return };
        let mut state = rig.state.lock();
        let id = state.table.get(process).id;
        let mut inbox = rig.queue.lock();
        let slot = inbox.notes.insert(id, serial, 0, NoteState::new(0, NOTE_EXIT, true));
        inbox.notes.step(slot, Input::Attached);
        let key = NoteKey { queue: rig.queue.place(), slot, serial };
        state.table.get_mut(process).notes.push(key);
    }

    pub(super) fn in_one_hold(rig: &Rig) {
        drop(rig.add_at_large(Kevent::process(P, EV_ADD, NOTE_EXIT)));
    }

    pub(super) fn scenario(add: Work) {
        let rig = Rig::new();
        let end = beside(&rig, |rig| {
            rig.kernel.exit(P, 5, false);
            rig.apply(&[exit(P, 5)]);
        });
        add(&rig);
        end.join().unwrap();
        rig.rest();
    }
}

mod closing {
    use super::*;

    pub(super) fn in_two_holds(rig: &Rig) {
        let linked = rig.queue.lock().notes.linked();
        let mut state = rig.state.lock();
        let place = state.queues.remove(rig.queue.place());
        let closed = rig.queue.lock().close();
        linked.iter().for_each(|(id, serial)| state.unlink(*id, *serial));
        drop(state);
        drop((place, closed));
    }

    pub(super) fn in_one_hold(rig: &Rig) {
        rig.queue.close(&rig.state);
    }

    pub(super) fn scenario(close: Work) {
        let rig = watched(NOTE_TRACK | NOTE_EXIT);
        let turn = beside(&rig, |rig| rig.apply(&[fork(P, CHILD, 3)]));
        close(&rig);
        turn.join().unwrap();
        rig.is_empty();
    }
}

mod draining {
    use super::*;

    type Add = fn(&Rig, Kevent) -> Option<u64>;

    pub(super) fn as_it_is(rig: &Rig, change: Kevent) -> Option<u64> {
        rig.add_at_large(change).unwrap().note.map(|(_, id)| id.birth())
    }

    pub(super) fn drained(rig: &Rig, change: Kevent) -> Option<u64> {
        rig.add(change).unwrap().note.map(|(_, id)| id.birth())
    }

    pub(super) fn scenario(add: Add) {
        let rig = Rig::new();
        let other = beside(&rig, Rig::turn);
        rig.kernel.exit_and_fork();
        let birth = add(&rig, Kevent::process(P, EV_ADD, NOTE_EXIT));
        other.join().unwrap();
        assert_eq!(birth, Some(3), "whoever has the pid now");
    }
}

mod waiter {
    use super::*;

    fn waits(rig: &Rig, settle: impl Fn(&Arc<WakeSlot>) -> bool) {
        let slot = Arc::new(WakeSlot::new());
        while rig.scan().is_empty() {
            if settle(&slot) {
                park(None);
            }
        }
        rig.queue.leave(&slot);
    }

    pub(super) fn registered_first(rig: &Rig) {
        waits(rig, |slot| {
            slot.register(&thread_waker());
            rig.queue.lock().waits(slot)
        });
    }

    pub(super) fn registered_last(rig: &Rig) {
        waits(rig, |slot| {
            let nothing = rig.queue.lock().waits(slot);
            slot.register(&thread_waker());
            nothing
        });
    }

    pub(super) fn not_looking_again(rig: &Rig) {
        waits(rig, |slot| {
            slot.register(&thread_waker());
            rig.queue.lock().waits_unseen(slot);
            true
        });
    }

    pub(super) fn scenario(wait: Work) {
        let rig = Rig::with(|rig| rig.change(Kevent::user(1, EV_ADD | EV_CLEAR, 0)).unwrap());
        let other = beside(&rig, |rig| rig.change(Kevent::user(1, 0, NOTE_TRIGGER)).unwrap());
        wait(&rig);
        other.join().unwrap();
    }
}

mod activation {
    use super::*;

    pub(super) fn wakes_first(rig: &Rig) {
        let waiter = rig.queue.lock().next_waiter();
        waiter.iter().for_each(|waiter| waiter.wake());
        let mut inbox = rig.queue.lock();
        let slot = inbox.notes.user(1).unwrap();
        inbox.notes.modify_user(slot, &Kevent::user(1, 0, NOTE_TRIGGER), None);
    }

    pub(super) fn in_one_hold(rig: &Rig) {
        rig.change(Kevent::user(1, 0, NOTE_TRIGGER)).unwrap();
    }

    pub(super) fn scenario(trigger: Work) {
        let rig = Rig::with(|rig| rig.change(Kevent::user(1, EV_ADD | EV_CLEAR, 0)).unwrap());
        let other = beside(&rig, trigger);
        assert_eq!(rig.wait().unwrap().len(), 1);
        other.join().unwrap();
    }
}

mod lead {
    use super::*;

    type Wait = fn(&Rig, &QueueShared);

    pub(super) fn dropped(rig: &Rig, queue: &QueueShared) {
        let slot = Arc::new(WakeSlot::new());
        let mut leads = false;
        loop {
            if !leads {
                slot.register(&thread_waker());
                leads = rig.lead.sit(&slot);
            }
            if leads {
                slot.register(&rig.bell());
            }
            if queue.lock().waits(&slot) {
                if leads {
                    rig.look(None).unwrap();
                    rig.pump();
                } else {
                    park(None);
                }
            }
            if queue.scan(&rig.state, 1, |_| {}).unwrap().count > 0 {
                break;
            }
        }
        queue.leave(&slot);
        drop(rig.lead.leave(&slot, leads));
    }

    pub(super) fn handed_over(rig: &Rig, queue: &QueueShared) {
        rig.wait_at(queue).unwrap();
    }

    pub(super) fn scenario(wait: Wait) {
        let (rig, queue) = two_queues();
        rig.kernel.exit(P, 5, false);
        let other = {
            let rig = Arc::clone(&rig);
            thread::spawn(move || wait(&rig, &queue))
        };
        wait(&rig, &rig.queue);
        rig.kernel.exit(OTHER, 6, false);
        other.join().unwrap();
    }
}
