//! [`Reader`]: a place in the log of one tree, and the waker of whoever reads there.

use std::collections::VecDeque;
use std::task::Waker;

use crate::ProcId;
use crate::event::{Event, EventKind, Member, Time};
use crate::log::{CursorKey, Read};
use crate::process::track::RootKey;
use crate::reactor::handle::{Reactor, Shared};
use crate::reactor::roots::Start;
use crate::reactor::tree_handle::TreeHandle;
use crate::reactor::waker::WakeSlot;
use crate::sync::Arc;

/// Reads the events of one tree. A clone reads the same events from the same place on.
///
/// Events that its tree's other readers have not read are kept for them, up to the limit in bytes. The tree is
/// followed as long as it has a reader.
#[derive(Debug)]
pub struct Reader {
    shared: Arc<Shared>,
    key: RootKey,
    cursor: CursorKey,
    wake: Arc<WakeSlot>,
    id: ProcId,
}

/// What [`Reader::read`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Events were appended.
    Ready,
    /// There are none now.
    Pending,
    /// There are none, and none will come: all processes of the tree have ended, or the source has failed.
    End,
}

impl Reader {
    pub(crate) fn of(shared: &Arc<Shared>, key: RootKey) -> Option<Self> {
        let mut state = shared.state.lock();
        let id = state.roots.get(key)?.id?;
        let (cursor, wake) = state.roots.subscribe(key, Start::Beginning)?;
        Some(Self { shared: Arc::clone(shared), key, cursor, wake, id })
    }

    /// Of what comes from now on, with who lives at this point.
    pub(crate) fn from_now(shared: &Arc<Shared>, key: RootKey) -> Option<(Self, Vec<Member>)> {
        let mut state = shared.state.lock();
        let id = state.roots.get(key)?.id?;
        let (cursor, wake) = state.roots.subscribe(key, Start::Now)?;
        let living = state.living(key);
        Some((Self { shared: Arc::clone(shared), key, cursor, wake, id }, living))
    }

    /// The process that it is the tree of.
    pub fn id(&self) -> ProcId {
        self.id
    }

    /// Keeps the tree followed, also when this reader is gone.
    pub fn handle(&self) -> TreeHandle {
        TreeHandle::of(&self.shared, self.key, self.id).expect("a tree stays while it has a reader")
    }

    /// The reactor that feeds it.
    pub fn reactor(&self) -> Reactor {
        Reactor { shared: Arc::clone(&self.shared) }
    }

    /// Appends up to `most` events. Does not drive the reactor.
    pub fn read(&mut self, out: &mut VecDeque<Event>, most: usize) -> Readiness {
        let mut state = self.shared.state.lock();
        let Some(root) = state.roots.get_mut(self.key) else { return Readiness::End };
        match root.log.read(self.cursor, out, most) {
            Read::Events => Readiness::Ready,
            Read::Empty => Readiness::Pending,
            Read::End => Readiness::End,
            Read::Gap { count, lost } => {
                let living: Vec<Member> = state.living(self.key);
                let wall_offset = state.wall_offset;
                drop(state);
                let time = Time::new(crate::sys::monotonic(), wall_offset);
                let kind = EventKind::Gap { count, lost, living: living.into() };
                out.push_back(Event { id: self.id, parent: None, time, kind });
                Readiness::Ready
            }
        }
    }

    /// From now on the next news wake `waker`, once. Register first and [`read`](Reader::read) then: news that came
    /// before the registration wake nobody.
    pub fn register(&self, waker: &Waker) {
        self.wake.register(waker);
    }

    /// Forgets the waker: for a reader that is about to take a [`turn`](Reactor::turn) itself and to look after it.
    pub fn deregister(&self) {
        self.wake.deregister();
    }
}

impl Clone for Reader {
    fn clone(&self) -> Self {
        let subscribed = self.shared.state.lock().roots.subscribe(self.key, Start::Place(self.cursor));
        let (cursor, wake) = subscribed.expect("a tree stays while it has a reader");
        Self { shared: Arc::clone(&self.shared), key: self.key, cursor, wake, id: self.id }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // Bound before the guard goes and dropped after it: wakers hang on them.
        let _gone = self.shared.state.lock().roots.unsubscribe(self.key, self.cursor);
    }
}
