//! The tracked trees: a log each, and who reads it.

use slab::Slab;

use crate::log::{CursorKey, Log};
use crate::process::track::RootKey;
use crate::reactor::tree_handle::Doubts;
use crate::reactor::waker::WakeSlot;
use crate::sync::Arc;
use crate::{Event, ProcId};

/// One tracked tree.
#[derive(Debug)]
pub(crate) struct Root {
    generation: u64,
    /// The process it is the tree of; none while it is being spawned.
    pub(crate) id: Option<ProcId>,
    pub(crate) metadata: bool,
    pub(crate) log: Log,
    /// Living processes of the tree.
    pub(crate) living: usize,
    /// Births by the spawning thread while the spawn was going on.
    pub(crate) spawned: Vec<ProcId>,
    /// Since the last loss.
    pub(crate) found: u64,
    pub(crate) exited: u64,
    readers: Vec<(CursorKey, Arc<WakeSlot>)>,
    /// Who keeps it followed without reading.
    handles: usize,
    /// What may be missing from it.
    pub(crate) doubts: Doubts,
    dirty: bool,
}

/// Where a new reader begins.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Start {
    Beginning,
    /// Where another one is.
    Place(CursorKey),
    Now,
}

/// All tracked trees, and the wake slots of those with news.
#[derive(Debug)]
pub(crate) struct Roots {
    slots: Slab<Root>,
    generations: u64,
    dirty: Vec<RootKey>,
    with_metadata: usize,
}

impl Roots {
    pub(crate) fn new() -> Self {
        Self { slots: Slab::new(), generations: 0, dirty: Vec::new(), with_metadata: 0 }
    }

    pub(crate) fn add(&mut self, metadata: bool, log_limit: usize) -> RootKey {
        self.generations += 1;
        let generation = self.generations;
        let index = self.slots.insert(Root {
            generation,
            id: None,
            metadata,
            log: Log::new(log_limit),
            living: 0,
            spawned: Vec::new(),
            found: 0,
            exited: 0,
            readers: Vec::new(),
            handles: 0,
            doubts: Doubts::default(),
            dirty: false,
        });
        self.with_metadata += usize::from(metadata);
        RootKey { index, generation }
    }

    pub(crate) fn get(&self, key: RootKey) -> Option<&Root> {
        self.slots.get(key.index).filter(|root| root.generation == key.generation)
    }

    pub(crate) fn get_mut(&mut self, key: RootKey) -> Option<&mut Root> {
        self.slots.get_mut(key.index).filter(|root| root.generation == key.generation)
    }

    pub(crate) fn keys(&self) -> Vec<RootKey> {
        self.slots.iter().map(|(index, root)| RootKey { index, generation: root.generation }).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether any tree wants metadata.
    pub(crate) fn want_metadata(&self) -> bool {
        self.with_metadata > 0
    }

    /// Stops tracking. What still carries the key finds nothing by it. The caller drops the root where no lock is
    /// held: a reader's waker may hang on it.
    pub(crate) fn remove(&mut self, key: RootKey) -> Option<Root> {
        self.get(key)?;
        let root = self.slots.remove(key.index);
        self.with_metadata -= usize::from(root.metadata);
        Some(root)
    }

    pub(crate) fn subscribe(&mut self, key: RootKey, start: Start) -> Option<(CursorKey, Arc<WakeSlot>)> {
        let root = self.get_mut(key)?;
        let cursor = match start {
            Start::Beginning => root.log.subscribe(),
            Start::Place(other) => root.log.subscribe_like(other),
            Start::Now => root.log.subscribe_at_end(),
        };
        let wake = Arc::new(WakeSlot::new());
        root.readers.push((cursor, Arc::clone(&wake)));
        Some((cursor, wake))
    }

    /// Takes a reader off; the tree goes with its last one. What is returned is dropped where no lock is held.
    pub(crate) fn unsubscribe(
        &mut self,
        key: RootKey,
        cursor: CursorKey,
    ) -> (Option<Arc<WakeSlot>>, Option<Root>) {
        let Some(root) = self.get_mut(key) else { return (None, None) };
        let place = root.readers.iter().position(|(reader, _)| *reader == cursor);
        let wake = place.map(|place| root.readers.swap_remove(place).1);
        root.log.unsubscribe(cursor);
        let last = root.log.readers() == 0 && root.handles == 0;
        (wake, if last { self.remove(key) } else { None })
    }

    /// Somebody keeps it followed, from its place in the list of readers or not.
    pub(crate) fn hold(&mut self, key: RootKey) -> bool {
        self.get_mut(key).map(|root| root.handles += 1).is_some()
    }

    /// The tree goes with the last who reads or keeps it. What is returned is dropped where no lock is held.
    pub(crate) fn let_go(&mut self, key: RootKey) -> Option<Root> {
        let root = self.get_mut(key)?;
        root.handles -= 1;
        let last = root.log.readers() == 0 && root.handles == 0;
        if last { self.remove(key) } else { None }
    }

    /// Appends to a tree's log.
    pub(crate) fn push(&mut self, key: RootKey, event: Event) {
        if let Some(root) = self.get_mut(key) {
            root.doubts.note(&event.kind);
            root.log.push(event);
            // A tree that is being spawned has neither, and is going to be read.
            if root.handles > 0 && root.log.readers() == 0 {
                root.log.trim();
            }
            self.touch(key);
        }
    }

    /// Ends a tree's stream if nobody of it lives, and it is known whose it is.
    pub(crate) fn close_if_empty(&mut self, key: RootKey) {
        if let Some(root) = self.get_mut(key) {
            if root.living == 0 && root.id.is_some() && !root.log.is_closed() {
                root.log.close();
                self.touch(key);
            }
        }
    }

    /// This tree's readers have news.
    pub(crate) fn touch(&mut self, key: RootKey) {
        if let Some(root) = self.get_mut(key) {
            if !std::mem::replace(&mut root.dirty, true) {
                self.dirty.push(key);
            }
        }
    }

    /// The readers of all trees that have had news since the last call.
    pub(crate) fn news(&mut self, wakes: &mut Vec<Arc<WakeSlot>>) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for key in dirty.drain(..) {
            if let Some(root) = self.get_mut(key) {
                root.dirty = false;
                wakes.extend(root.readers.iter().map(|(_, wake)| Arc::clone(wake)));
            }
        }
        self.dirty = dirty;
    }
}
