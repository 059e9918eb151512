//! Which trees follow a process: a [`TrackSet`] of [`RootKey`]s, shared by all who inherited it.

use crate::sync::Arc;

/// Names a tracked tree. A key whose tree is gone finds nothing (K1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RootKey {
    pub(crate) index: usize,
    pub(crate) generation: u64,
}

/// The trees that follow a process. Immutable and shared: a fork hands on the parent's by a reference count, and
/// only attaching to a tree that is followed already makes a new one.
#[derive(Debug)]
pub(crate) struct TrackSet {
    roots: Box<[RootKey]>,
}

impl TrackSet {
    pub(crate) fn of(root: RootKey) -> Arc<Self> {
        Arc::new(Self { roots: Box::new([root]) })
    }

    /// The trees of this set that are `live`, and one more.
    pub(crate) fn with(&self, root: RootKey, live: impl Fn(&RootKey) -> bool) -> Arc<Self> {
        debug_assert!(!self.contains(root));
        Arc::new(Self { roots: self.roots.iter().copied().filter(live).chain([root]).collect() })
    }

    pub(crate) fn contains(&self, root: RootKey) -> bool {
        self.roots.contains(&root)
    }

    pub(crate) fn roots(&self) -> &[RootKey] {
        &self.roots
    }
}

impl From<Box<[RootKey]>> for TrackSet {
    fn from(roots: Box<[RootKey]>) -> Self {
        Self { roots }
    }
}
