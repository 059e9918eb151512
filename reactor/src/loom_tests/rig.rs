//! What the scenarios stand on: a queue, a process table with processes 1 (ours) and 10, and a kernel that is a list of
//! records, a list of processes and a bell.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc as StdArc;
use std::task::{Wake, Waker};
use std::time::Duration;

use loom::sync::{Condvar, Mutex as LoomMutex};

use super::turn::{apply, at};
use crate::error::{ChangeError, QueueError, SourceError};
use crate::event::{Change, Stamped};
use crate::flags::*;
use crate::kevent::Kevent;
use crate::process::table::Origin;
use crate::process::threads::Threads;
use crate::queue::{QueueOptions, QueueShared};
use crate::reactor::baton::Baton;
use crate::reactor::state::State;
use crate::register::{Added, Request};
use crate::source::{Capabilities, Drained, Living, Loss, Reading, Source};
use crate::sync::{Arc, Mutex};
use crate::wait::{self, Drive, Lead};

/// The process that all is about.
pub(super) const P: u32 = 10;
/// A child of it.
pub(super) const CHILD: u32 = 11;
/// How a process ends.
pub(super) const STATUS: i32 = 0x700;

/// What a system has queued, its list of processes, and whether a leader is to look up.
#[derive(Debug, Default)]
struct World {
    queued: VecDeque<Stamped>,
    living: BTreeMap<u32, Living>,
    rung: bool,
}

#[derive(Debug)]
pub(super) struct Kernel {
    world: LoomMutex<World>,
    changed: Condvar,
}

impl Kernel {
    fn with<T>(&self, work: impl FnOnce(&mut World) -> T) -> T {
        let result = work(&mut self.world.lock().unwrap());
        self.changed.notify_all();
        result
    }

    /// A process ends, and has been reaped unless it is a `zombie`. The end is queued when the list shows it.
    pub(super) fn exit(&self, pid: u32, time: u64, zombie: bool) {
        self.with(|world| {
            world.living.remove(&pid);
            if zombie {
                let living = Living { pid, parent: 1, start: 1, threads: Vec::new(), status: Some(STATUS) };
                world.living.insert(pid, living);
            }
            world.queued.push_back(exit(pid, time));
        });
    }

    /// A process is born.
    pub(super) fn fork(&self, parent: u32, child: u32, time: u64) {
        self.with(|world| {
            let living = Living { pid: child, parent, start: time, threads: vec![child], status: None };
            world.living.insert(child, living);
            world.queued.push_back(fork(parent, child, time));
        });
    }
}

pub(super) fn exit(pid: u32, time: u64) -> Stamped {
    at(time, Change::Exit { process: pid, thread: pid, status: Some(STATUS), parent: 0 })
}

pub(super) fn fork(parent: u32, child: u32, time: u64) -> Stamped {
    at(time, Change::Fork { parent, thread: parent, child })
}

pub(super) fn exec(process: u32, time: u64) -> Stamped {
    at(time, Change::Exec { process })
}

/// What of a [`Source`] a registration asks for.
#[derive(Debug)]
pub(super) struct List(Arc<Kernel>);

impl Source for List {
    fn name(&self) -> &'static str {
        "list"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::all()
    }

    fn fd(&self) -> BorrowedFd<'_> {
        unreachable!("a registration does not wait")
    }

    fn drain(&mut self, out: &mut Vec<Stamped>, _limit: usize) -> Result<Drained, SourceError> {
        self.0.with(|world| out.extend(world.queued.drain(..)));
        Ok(Drained::All)
    }

    fn settle(&mut self, _out: &mut Vec<Stamped>) -> Result<Loss, SourceError> {
        unreachable!("nothing is lost here")
    }

    fn pids(&mut self) -> io::Result<Vec<u32>> {
        unreachable!("nothing is lost here")
    }

    fn look(&mut self, pid: u32) -> io::Result<Option<Living>> {
        Ok(self.0.with(|world| world.living.get(&pid).cloned()))
    }

    /// Most searches have an empty list, and a record is never late.
    fn is_gone(&mut self, _pid: u32) -> bool {
        false
    }

    fn inspect(&mut self, _pid: u32) -> Reading {
        unreachable!("nobody reads metadata here")
    }

    fn now(&self) -> u64 {
        0
    }
}

/// Everything together. What a reactor does with its source is done here in as many steps.
#[derive(Debug)]
pub(super) struct Rig {
    pub(super) kernel: Arc<Kernel>,
    pub(super) baton: Baton<List>,
    pub(super) state: Mutex<State>,
    pub(super) queue: Arc<QueueShared>,
    pub(super) lead: Lead,
}

impl Rig {
    pub(super) fn new() -> Arc<Self> {
        Self::with(|_| {})
    }

    /// With what `prepare` does before there is anybody else.
    pub(super) fn with(prepare: impl FnOnce(&Self)) -> Arc<Self> {
        let mut state = State::new(1);
        for pid in [1, P] {
            state.table.insert(pid, None, Origin::Born, 1, Threads::Leader);
        }
        let queue = state.queues.open(QueueOptions::default());
        let kernel = Arc::new(Kernel { world: LoomMutex::default(), changed: Condvar::new() });
        let rig = Self {
            baton: Baton::new(List(Arc::clone(&kernel))),
            kernel,
            state: Mutex::new(state),
            queue,
            lead: Lead::default(),
        };
        prepare(&rig);
        Arc::new(rig)
    }

    /// Changes come, and are applied as a turn does it.
    pub(super) fn apply(&self, changes: &[Stamped]) {
        apply(&self.state, changes);
    }

    fn drain(&self, list: &mut List) {
        let mut batch = Vec::new();
        list.drain(&mut batch, usize::MAX).unwrap();
        if !batch.is_empty() {
            self.apply(&batch);
        }
    }

    /// A turn, or it is left to whoever is at one.
    pub(super) fn turn(&self) {
        self.baton.request(|list| self.drain(list));
    }

    /// Works with the baton, as the reactor does.
    fn with_turn<T>(&self, work: impl FnOnce(&mut List) -> T) -> T {
        let mut list = self.baton.take();
        let result = work(&mut list);
        self.baton.give_back(list, |list| self.drain(list));
        result
    }

    /// An `EV_ADD` as a program does it.
    pub(super) fn add(&self, change: Kevent) -> Result<Added, ChangeError> {
        self.pump();
        self.with_turn(|list| self.add_with(change, list))
    }

    /// Its steps alone.
    fn add_with(&self, change: Kevent, list: &mut List) -> Result<Added, ChangeError> {
        let (added, news) = Request::new(&change)?.add(&self.state, &self.queue, list)?;
        news.iter().for_each(|waiter| waiter.wake());
        Ok(added)
    }

    /// The same without the baton: changes are applied between its steps. More than a reactor allows, and no less right.
    pub(super) fn add_at_large(&self, change: Kevent) -> Result<Added, ChangeError> {
        self.add_with(change, &mut List(Arc::clone(&self.kernel)))
    }

    /// A change without `EV_ADD`.
    pub(super) fn change(&self, change: Kevent) -> Result<(), ChangeError> {
        let request = Request::new(&change)?;
        let news = if change.filter == EVFILT_USER {
            request.user(&self.queue)?.0
        } else {
            request.process(&self.state, &self.queue, None)?
        };
        news.iter().for_each(|waiter| waiter.wake());
        Ok(())
    }

    pub(super) fn delete(&self, pid: u32) -> Result<(), ChangeError> {
        self.change(Kevent::process(pid, EV_DELETE, 0))
    }

    pub(super) fn scan(&self) -> Vec<Kevent> {
        self.try_scan(usize::MAX).unwrap()
    }

    pub(super) fn try_scan(&self, most: usize) -> Result<Vec<Kevent>, QueueError> {
        scan(&self.state, &self.queue, most)
    }

    /// Waits for one event as a thread does.
    pub(super) fn wait(&self) -> Result<Vec<Kevent>, QueueError> {
        self.wait_at(&self.queue)
    }

    pub(super) fn wait_at(&self, queue: &QueueShared) -> Result<Vec<Kevent>, QueueError> {
        let mut events = Vec::new();
        wait::wait(&self.lead, queue, self, None, || {
            events = scan(&self.state, queue, 1)?;
            Ok(events.len())
        })?;
        Ok(events)
    }

    /// Reads what is left, when everybody else has gone. In the end there is nothing: no note, and none on any process.
    pub(super) fn rest(&self) -> Vec<Kevent> {
        let events = self.scan();
        self.is_empty();
        events
    }

    /// K11, and that nothing is left on a list that finds nothing.
    pub(super) fn is_empty(&self) {
        assert_eq!(self.queue.lock().notes.len(), 0, "notes are left");
        let state = self.state.lock();
        for (_, process) in state.table.iter() {
            assert!(process.notes.is_empty(), "keys are left on {}", process.id);
        }
    }

    /// Everybody is gone but us.
    pub(super) fn all_gone(&self) {
        assert_eq!(self.state.lock().table.len(), 1, "processes are left");
    }
}

fn scan(state: &Mutex<State>, queue: &QueueShared, most: usize) -> Result<Vec<Kevent>, QueueError> {
    let mut events = Vec::new();
    queue.scan(state, most, |taken| events.push(taken.kevent))?;
    Ok(events)
}

struct Bell(Arc<Kernel>);

impl Wake for Bell {
    fn wake(self: StdArc<Self>) {
        self.0.with(|world| world.rung = true);
    }
}

impl Drive for Rig {
    fn bell(&self) -> Waker {
        Waker::from(StdArc::new(Bell(Arc::clone(&self.kernel))))
    }

    fn look(&self, _left: Option<Duration>) -> io::Result<()> {
        let mut world = self.kernel.world.lock().unwrap();
        while world.queued.is_empty() && !world.rung {
            world = self.kernel.changed.wait(world).unwrap();
        }
        world.rung = false;
        Ok(())
    }

    fn pump(&self) {
        self.with_turn(|list| self.drain(list));
    }
}

/// K6: of each process NOTE_CHILD is the first and NOTE_EXIT the last, each once at most and each with what belongs to it.
pub(super) fn in_order(events: &[Kevent]) {
    for (index, event) in events.iter().enumerate() {
        if event.fflags & NOTE_CHILD != 0 {
            let before = events[..index].iter().any(|other| other.ident == event.ident);
            assert!(!before, "NOTE_CHILD is not the first: {events:?}");
            assert_eq!((event.fflags, event.data), (NOTE_CHILD, i64::from(P)), "{events:?}");
        }
        if event.fflags & NOTE_EXIT != 0 {
            let after = events[index + 1..].iter().any(|other| other.ident == event.ident);
            assert!(!after, "NOTE_EXIT is not the last: {events:?}");
            assert_eq!(event.data, i64::from(STATUS), "{events:?}");
        }
    }
}

/// How many events of `pid` have this flag.
pub(super) fn count(events: &[Kevent], pid: u32, fflag: u32) -> usize {
    events.iter().filter(|event| event.ident == u64::from(pid) && event.fflags & fflag != 0).count()
}
