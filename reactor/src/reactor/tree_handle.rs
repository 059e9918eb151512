//! [`TreeHandle`]: keeps a tree followed, for those who do not read what happens in it.

use std::time::Duration;

use crate::event::{EventKind, Member};
use crate::process::track::RootKey;
use crate::reactor::handle::{Reactor, Shared};
use crate::reactor::registration::Reader;
use crate::source::Loss;
use crate::sync::Arc;
use crate::{ProcId, SourceError};

/// A followed tree, without a place in its log: it keeps no events. The tree is followed as long as it has a handle or a
/// [`Reader`].
#[derive(Debug)]
pub struct TreeHandle {
    shared: Arc<Shared>,
    key: RootKey,
    id: ProcId,
}

/// What may be missing from a tree as it is told, in spite of all repairs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Doubts {
    /// Records were lost while it was followed: who was born then by somebody who was born and ended then is not in it.
    pub lost: Option<Loss>,
    /// It was attached to: who had lost its parent before is not in it; with sources that are no
    /// [whole machine's](crate::Capabilities::whole_machine) nor is who was being made just then and ended at once.
    pub attached: bool,
    /// The birth of its leader was not seen, by a loss or as another thread made it: what it did before it was claimed is not known.
    pub birth_unseen: bool,
    /// So many of its processes went out of sight ([`EventKind::Unseen`]): what they start is not in it.
    pub unseen: u64,
    /// The source does not see every birth ([`Capabilities::exact_tree`](crate::Capabilities::exact_tree)).
    pub inexact: bool,
    /// The source failed while somebody lived.
    pub failed: bool,
}

impl Doubts {
    pub(crate) fn note(&mut self, kind: &EventKind) {
        match kind {
            &EventKind::Lost { count, exact } => {
                let before = self.lost.unwrap_or(Loss { count: 0, exact: true });
                self.lost = Some(Loss { count: before.count + count, exact: before.exact && exact });
            }
            EventKind::Unseen => self.unseen += 1,
            _ => {}
        }
    }

    /// Whether nothing is missing.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

impl TreeHandle {
    pub(crate) fn of(shared: &Arc<Shared>, key: RootKey, id: ProcId) -> Option<Self> {
        shared.state.lock().roots.hold(key).then(|| Self { shared: Arc::clone(shared), key, id })
    }

    /// Now, by the clock of events ([`Time::monotonic`](crate::Time::monotonic)) of sources of this system.
    pub fn now(&self) -> std::time::Duration {
        std::time::Duration::from_nanos(crate::sys::monotonic())
    }

    /// The process that it is the tree of.
    pub fn id(&self) -> ProcId {
        self.id
    }

    /// The reactor that feeds it.
    pub fn reactor(&self) -> Reactor {
        Reactor { shared: Arc::clone(&self.shared) }
    }

    /// Who lives in it, as far as has been taken in, parents first.
    pub fn living(&self) -> Vec<Member> {
        self.shared.state.lock().living(self.key)
    }

    /// How many live in it, as far as has been taken in.
    pub fn len_living(&self) -> usize {
        self.shared.state.lock().roots.get(self.key).map_or(0, |root| root.living)
    }

    /// How long ago a process that lives was born, or started by the system's account (which has ticks of 10 ms).
    pub fn age(&self, id: ProcId) -> Option<Duration> {
        let started = {
            let state = self.shared.state.lock();
            state.table.get(state.table.find(id)?).start
        };
        Some(Duration::from_nanos(crate::sys::monotonic().saturating_sub(started)))
    }

    /// What may be missing from it.
    pub fn doubts(&self) -> Doubts {
        let inexact = !self.shared.exact_tree();
        let told = self.shared.state.lock().roots.get(self.key).map(|root| root.doubts.clone());
        Doubts { inexact, ..told.unwrap_or_default() }
    }

    /// What broke the source, if anything did.
    pub fn source_error(&self) -> Option<std::sync::Arc<SourceError>> {
        self.shared.source_error()
    }

    /// A reader of what happens from now on, with who lives at this point, parents first.
    pub fn reader(&self) -> (Reader, Vec<Member>) {
        Reader::from_now(&self.shared, self.key).expect("a tree stays while it has a handle")
    }
}

impl Clone for TreeHandle {
    fn clone(&self) -> Self {
        Self::of(&self.shared, self.key, self.id).expect("a tree stays while it has a handle")
    }
}

impl Drop for TreeHandle {
    fn drop(&mut self) {
        // Bound before the guard goes and dropped after it: wakers hang on it.
        let _gone = self.shared.state.lock().roots.let_go(self.key);
    }
}
