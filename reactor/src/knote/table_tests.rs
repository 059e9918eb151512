//! What the notes of a queue count, counted anew after each of many random steps.

use super::*;
use crate::flags::*;

/// What can be done to the notes of a queue; the numbers choose among those that are there.
#[derive(Clone, Copy, Debug)]
enum Step {
    Add { pid: u32, delivery: u16, asked: u32, enabled: bool, own: bool },
    User { ident: u64, delivery: u16 },
    Input(usize, Input),
    Trigger(u64),
    Track(usize, u32),
    Remove(usize),
    Disown(u32),
    Take,
}

fn steps() -> impl proptest::strategy::Strategy<Value = Vec<Step>> {
    use proptest::prelude::*;
    let asked =
        prop::sample::select(vec![0, NOTE_EXIT, NOTE_FORK, NOTE_EXIT | NOTE_FORK | NOTE_TRACK, NOTE_TRACK]);
    let delivery = prop::sample::select(vec![0, EV_ONESHOT, EV_DISPATCH, EV_CLEAR, EV_CLEAR | EV_DISPATCH]);
    let enable = prop::sample::select(vec![None, Some(true), Some(false)]);
    let input = prop_oneof![
        Just(Input::Attached),
        Just(Input::AttachedTooLate(5)),
        Just(Input::Fork),
        Just(Input::Exec),
        Just(Input::TrackError),
        Just(Input::Exit(0x100)),
        (asked.clone(), enable).prop_map(|(asked, enable)| Input::Modify { asked, enable }),
        Just(Input::Delete),
    ];
    let step = prop_oneof![
        2 => (1..4_u32, delivery.clone(), asked, any::<bool>(), any::<bool>())
            .prop_map(|(pid, delivery, asked, enabled, own)| Step::Add { pid, delivery, asked, enabled, own }),
        1 => (0..2_u64, delivery).prop_map(|(ident, delivery)| Step::User { ident, delivery }),
        6 => (any::<prop::sample::Index>(), input).prop_map(|(index, input)| Step::Input(index.index(1 << 20), input)),
        2 => (0..2_u64).prop_map(Step::Trigger),
        2 => (any::<usize>(), 1..4_u32).prop_map(|(index, pid)| Step::Track(index, pid)),
        1 => any::<usize>().prop_map(Step::Remove),
        1 => (1..4_u32).prop_map(Step::Disown),
        3 => Just(Step::Take),
    ];
    prop::collection::vec(step, 0..80)
}

/// All that is counted, counted anew.
fn recount(notes: &Notes) {
    let (mut telling, mut unread, mut ready, mut on_pids, mut owned) = (0, 0, 0, 0, 0);
    for (slot, note) in &notes.slots {
        let slot = slot as u32;
        let (is_ready, tells) = match &note.body {
            Body::User { user, ident } => {
                assert_eq!(notes.user(*ident), Some(slot));
                (user.is_ready(), user.is_ready())
            }
            Body::Process { pid, role, own, unread: counted, state, .. } => {
                assert_ne!(state.life, Life::Gone);
                let waits = *role == Role::Child || state.life == Life::Ended;
                assert_eq!(*counted, waits, "{note:?}");
                assert_eq!(*own, notes.own.contains(&slot), "{note:?}");
                assert!(!*own || state.life != Life::Ended, "{note:?}");
                unread += usize::from(waits);
                owned += usize::from(*own);
                on_pids += 1;
                assert_eq!(notes.on_pid(*pid).filter(|other| *other == slot).count(), 1);
                (state.is_ready(), state.is_ready() && !state.is_silent())
            }
        };
        assert_eq!(note.links.listed, is_ready, "{note:?}");
        ready += usize::from(is_ready);
        telling += usize::from(tells);
    }
    assert_eq!((notes.telling, notes.unread, notes.ready()), (telling, unread, ready));
    assert_eq!(notes.own.len(), owned);
    assert_eq!(notes.by_pid.keys().map(|pid| notes.on_pid(*pid).count()).sum::<usize>(), on_pids);
    assert_eq!(notes.by_ident.len() + on_pids, notes.slots.len());
}

proptest::proptest! {
    #[test]
    fn what_is_counted_is_there(steps in steps()) {
        let (mut notes, mut births) = (Notes::new(), 0);
        let process = |notes: &Notes, index: usize| {
            let all: Vec<u32> = notes.slots.iter().filter(|(_, note)| matches!(note.body, Body::Process { .. }))
                .map(|(slot, _)| slot as u32).collect();
            (!all.is_empty()).then(|| all[index % all.len()])
        };
        for step in steps {
            births += 2;
            match step {
                Step::Add { pid, delivery, asked, enabled, own } => {
                    let state = State::new(delivery, asked, enabled);
                    let slot = notes.insert(ProcId::new(pid, ATTACHING), births, 0, state);
                    notes.bind(slot, births, own);
                }
                Step::User { ident, delivery } if notes.user(ident).is_none() => {
                    notes.insert_user(ident, 0, User::new(delivery, 0, 0, true));
                }
                Step::User { .. } => {}
                Step::Input(index, input) => {
                    if let Some(slot) = process(&notes, index) {
                        notes.step(slot, input);
                    }
                }
                Step::Trigger(ident) => {
                    if let Some(slot) = notes.user(ident) {
                        notes.modify_user(slot, &Kevent::user(ident, 0, NOTE_TRIGGER), None);
                    }
                }
                Step::Track(index, pid) => {
                    if let Some(slot) = process(&notes, index).filter(|slot| notes.state(*slot).tracks()) {
                        let (parent, child) = (notes.id(slot), ProcId::new(pid, births));
                        notes.inherit(slot, parent, child, pid == 1, [births, births + 1]);
                    }
                }
                Step::Remove(index) => {
                    if let Some(slot) = process(&notes, index) {
                        notes.remove(slot);
                    }
                }
                Step::Disown(pid) => notes.disown(&[pid]),
                Step::Take => {
                    let before = notes.telling();
                    match notes.take() {
                        Some(Some(taken)) => assert!(before > 0 && taken.kevent.filter != 0),
                        Some(None) => assert_eq!(notes.telling(), before),
                        None => assert_eq!((before, notes.ready()), (0, 0)),
                    }
                }
            }
            recount(&notes);
        }
    }
}
