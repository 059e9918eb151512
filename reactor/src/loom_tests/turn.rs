//! Turns under the baton, and streams: the tree's log and its readers against the turn.

use std::collections::VecDeque;
use std::sync::Arc as StdArc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Wake, Waker};

use loom::thread;

use crate::event::{Change, Event, EventKind, Stamped, Time};
use crate::log::Read;
use crate::process::table::Origin;
use crate::process::threads::Threads;
use crate::process::track::RootKey;
use crate::reactor::attach::follow_tree;
use crate::reactor::baton::Baton;
use crate::reactor::roots::Start;
use crate::reactor::state::State;
use crate::reactor::waker::WakeSlot;
use crate::sync::{Arc, AtomicBool, AtomicU64, Mutex, Ordering};
use crate::{ExitStatus, ProcId};

/// A source that several threads feed and the baton's holder drains.
#[derive(Debug)]
pub(super) struct Feed {
    sent: AtomicU64,
    taken: AtomicU64,
}

impl Feed {
    pub(super) fn drain(&self) {
        self.taken.store(self.sent.load(Ordering::SeqCst), Ordering::SeqCst);
    }
}

pub(super) type Request = fn(&Baton<()>, &Feed);

pub(super) fn request(baton: &Baton<()>, feed: &Feed) {
    baton.request(|()| feed.drain());
}

/// However many ask at once, a turn begins after each asking: nothing that was sent before is left behind.
pub(super) fn turns(threads: u64, request: Request) {
    let baton = Arc::new(Baton::new(()));
    let feed = Arc::new(Feed { sent: AtomicU64::new(0), taken: AtomicU64::new(0) });
    let ask = move |baton: &Baton<()>, feed: &Feed| {
        feed.sent.fetch_add(1, Ordering::SeqCst);
        request(baton, feed);
    };
    let others: Vec<_> = (1..threads)
        .map(|_| {
            let (baton, feed) = (Arc::clone(&baton), Arc::clone(&feed));
            thread::spawn(move || ask(&baton, &feed))
        })
        .collect();
    ask(&baton, &feed);
    others.into_iter().for_each(|other| other.join().unwrap());
    assert_eq!(feed.taken.load(Ordering::SeqCst), threads, "an asking was missed");
}

pub(super) fn turn_x_turn() {
    turns(2, request);
}

pub(super) fn turn_x_turn_x_turn() {
    turns(3, request);
}

/// As long as one holds the baton for work of its own, what others ask for is done when it gives it back.
pub(super) fn turn_x_take() {
    let baton = Arc::new(Baton::new(()));
    let feed = Arc::new(Feed { sent: AtomicU64::new(0), taken: AtomicU64::new(0) });
    let other = {
        let (baton, feed) = (Arc::clone(&baton), Arc::clone(&feed));
        thread::spawn(move || {
            feed.sent.fetch_add(1, Ordering::SeqCst);
            baton.request(|()| feed.drain());
        })
    };
    let guard = baton.take();
    baton.give_back(guard, |()| feed.drain());
    other.join().unwrap();
    assert_eq!(feed.taken.load(Ordering::SeqCst), 1);
}

pub(super) struct Bell(pub(super) std::sync::atomic::AtomicBool);

impl Wake for Bell {
    fn wake(self: StdArc<Self>) {
        self.0.store(true, Relaxed);
    }
}

pub(super) fn bell() -> (StdArc<Bell>, Waker) {
    let bell = StdArc::new(Bell(std::sync::atomic::AtomicBool::new(false)));
    (StdArc::clone(&bell), Waker::from(bell))
}

/// Who registers and then looks either sees the news or is woken.
pub(super) fn wake_x_poll() {
    let slot = Arc::new(WakeSlot::new());
    let news = Arc::new(AtomicBool::new(false));
    let turn = {
        let (slot, news) = (Arc::clone(&slot), Arc::clone(&news));
        thread::spawn(move || {
            news.store(true, Ordering::Release);
            slot.wake();
        })
    };
    let (bell, waker) = bell();
    slot.register(&waker);
    let seen = news.load(Ordering::Acquire);
    turn.join().unwrap();
    assert!(seen || bell.0.load(Relaxed), "news that neither were seen nor woke");
}

const ROOT: u32 = 10;

/// A state with process 1 of ours, and process 10 and its tree.
fn with_tree() -> (State, RootKey, ProcId) {
    let mut state = State::new(1);
    state.table.insert(1, None, Origin::Found, 0, Threads::Leader);
    let slot = state.table.insert(ROOT, None, Origin::Born, 1, Threads::Leader);
    let id = state.table.get(slot).id;
    let key = state.roots.add(false, usize::MAX);
    state.roots.get_mut(key).unwrap().id = Some(id);
    follow_tree(&mut state, key, id, 1, |_, _| None);
    (state, key, id)
}

pub(super) fn at(time: u64, change: Change) -> Stamped {
    Stamped { time, change }
}

fn exit_of(pid: u32, time: u64) -> Stamped {
    at(time, Change::Exit { process: pid, thread: pid, status: Some(0), parent: 0 })
}

/// Applies, and wakes without the lock, as a turn does.
pub(super) fn apply(state: &Mutex<State>, changes: &[Stamped]) {
    let mut wakes = Vec::new();
    let mut state = state.lock();
    changes.iter().for_each(|change| state.apply(change, None));
    state.news(&mut wakes);
    drop(state);
    wakes.iter().for_each(|slot| slot.wake());
}

/// A reader that finds nothing and registers is woken by the exit, or finds it; and then comes the end.
pub(super) fn exit_x_read() {
    let (mut state, key, id) = with_tree();
    let (cursor, wake) = state.roots.subscribe(key, Start::Beginning).unwrap();
    let state = Arc::new(Mutex::new(state));
    let turn = {
        let state = Arc::clone(&state);
        thread::spawn(move || apply(&state, &[exit_of(ROOT, 5)]))
    };
    let mut out: VecDeque<Event> = VecDeque::new();
    let read = |out: &mut VecDeque<Event>| state.lock().roots.get_mut(key).unwrap().log.read(cursor, out, 9);
    let (bell, waker) = bell();
    read(&mut out);
    wake.register(&waker);
    let mut ended = false;
    while read(&mut out) == Read::Events {}
    ended |= matches!(out.back(), Some(Event { kind: EventKind::Exit { .. }, .. }));
    turn.join().unwrap();
    assert!(ended || bell.0.load(Relaxed));
    while read(&mut out) == Read::Events {}
    assert_eq!(read(&mut out), Read::End);
    assert_eq!(out.len(), 2, "found and ended, once each");
    assert_eq!(out[1].id, id);
    assert!(matches!(out[1].kind, EventKind::Exit { status: ExitStatus::Code(0) }));
}

/// A tree that loses its last reader while changes arrive leaves nothing behind, and its key finds nothing.
pub(super) fn fork_x_unsubscribe() {
    let (mut state, key, _) = with_tree();
    let (cursor, wake) = state.roots.subscribe(key, Start::Beginning).unwrap();
    let state = Arc::new(Mutex::new(state));
    let turn = {
        let state = Arc::clone(&state);
        thread::spawn(move || {
            let fork = Change::Fork { parent: ROOT, thread: ROOT, child: 11 };
            apply(&state, &[at(5, fork)]);
            apply(&state, &[exit_of(11, 6), exit_of(ROOT, 7)]);
        })
    };
    drop(wake);
    let gone = state.lock().roots.unsubscribe(key, cursor);
    assert!(gone.1.is_some(), "the last reader takes the tree with it");
    drop(gone);
    turn.join().unwrap();
    let state = state.lock();
    assert_eq!((state.roots.len(), state.tracked(), state.table.len()), (0, 0, 1));
}

/// A child that is born, and dies, while its spawn has not said its pid yet is the spawner's all the same.
pub(super) fn claim_x_turn() {
    let mut state = State::new(1);
    state.table.insert(1, None, Origin::Found, 0, Threads::Leader);
    let key = state.begin_spawn(77, false, usize::MAX);
    let state = Arc::new(Mutex::new(state));
    let baton = Arc::new(Baton::new(VecDeque::from([
        at(5, Change::Fork { parent: 1, thread: 77, child: 11 }),
        at(5, Change::Fork { parent: 1, thread: 78, child: 12 }),
        exit_of(11, 6),
    ])));
    let work = |queue: &mut VecDeque<Stamped>, state: &Mutex<State>| {
        while let Some(change) = queue.pop_front() {
            apply(state, &[change]);
        }
    };
    let driver = {
        let (state, baton) = (Arc::clone(&state), Arc::clone(&baton));
        thread::spawn(move || {
            baton.request(|queue| work(queue, &state));
        })
    };
    let mut turn = baton.take();
    work(&mut turn, &state);
    let id = {
        let mut state = state.lock();
        state.end_spawn(77);
        state.claim(key, 11, false).expect("its birth was drained before")
    };
    baton.give_back(turn, |queue| work(queue, &state));
    driver.join().unwrap();
    let mut state = state.lock();
    let (cursor, _wake) = state.roots.subscribe(key, Start::Beginning).unwrap();
    let mut out = VecDeque::new();
    assert_eq!(state.roots.get_mut(key).unwrap().log.read(cursor, &mut out, 9), Read::Events);
    assert_eq!(state.roots.get_mut(key).unwrap().log.read(cursor, &mut out, 9), Read::End);
    let about: Vec<_> = out
        .iter()
        .map(|event| (event.id.pid(), matches!(event.kind, EventKind::Fork { child } if child == id)))
        .collect();
    assert_eq!(about, [(1, true), (11, false)]);
    assert_eq!(out[0].time, Time::new(5, 0));
}

/// Whoever is attached to while it ends is either not there, or found and then ended; never found for ever.
pub(super) fn attach_x_exit() {
    let (state, _, id) = with_tree();
    let state = Arc::new(Mutex::new(state));
    let turn = {
        let state = Arc::clone(&state);
        thread::spawn(move || apply(&state, &[exit_of(ROOT, 5)]))
    };
    let attached = {
        let mut state = state.lock();
        state.table.newest(ROOT).map(|_| {
            let key = state.roots.add(false, usize::MAX);
            state.roots.get_mut(key).unwrap().id = Some(id);
            follow_tree(&mut state, key, id, 2, |_, _| None);
            key
        })
    };
    turn.join().unwrap();
    if let Some(key) = attached {
        let mut state = state.lock();
        let (cursor, _wake) = state.roots.subscribe(key, Start::Beginning).unwrap();
        let mut out = VecDeque::new();
        assert_eq!(state.roots.get_mut(key).unwrap().log.read(cursor, &mut out, 9), Read::Events);
        assert!(matches!(out[0].kind, EventKind::Found { .. }));
        assert!(matches!(out[1].kind, EventKind::Exit { .. }));
        assert_eq!(state.roots.get_mut(key).unwrap().log.read(cursor, &mut out, 9), Read::End);
    }
}
