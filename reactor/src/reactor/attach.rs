//! Attaching to a process that runs already.
//!
//! The table knows everybody who lives, so this is a walk of the table between two changes: who is there is
//! `Found`, and every change after is told to the new tree as to any other. Nothing falls between, and nothing
//! is told twice.
//!
//! Who is named by more than a pid is compared when the source follows him already: a descriptor is bound to the birth that the table
//! has, and what identifies the descriptor's process is read (K2).

use rustc_hash::{FxHashMap, FxHashSet};

use crate::error::AttachError;
use crate::persist::PersistentId;
use crate::process::metadata::Metadata;
use crate::process::track::{RootKey, TrackSet};
use crate::reactor::handle::Shared;
use crate::reactor::reconcile::PopulateError;
use crate::reactor::state::{SharedMetadata, State, parents_first};
use crate::reactor::turn::Turn;
use crate::source::Reading;
use crate::sync::Arc;
use crate::{Member, Missing, ProcId};

/// Who is to be attached to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Whom {
    /// Whoever has this pid.
    Pid(u32),
    /// This one, and nobody else who has its pid by now.
    Known(PersistentId),
}

impl Whom {
    pub(crate) fn pid(&self) -> u32 {
        match self {
            Self::Pid(pid) => *pid,
            Self::Known(id) => id.pid(),
        }
    }
}

impl Turn {
    /// Makes a tree of the first who is there and all that descends from it now, and of the others who are and all that descends from them.
    /// The caller subscribes before the baton is given back.
    pub(crate) fn attach(
        &mut self,
        shared: &Shared,
        whom: &[Whom],
        metadata: bool,
        log_limit: usize,
    ) -> Result<RootKey, AttachError> {
        let pid = whom.first().map_or(0, Whom::pid);
        let (mut followed, mut refused) = (Vec::new(), AttachError::NoSuchProcess { pid });
        for whom in whom {
            match self.follow(shared, whom.pid()) {
                Ok(()) => followed.push(*whom),
                Err(error @ (AttachError::NoSuchProcess { .. } | AttachError::Denied { .. })) => {
                    refused = error
                }
                Err(error) => return Err(error),
            }
        }
        if followed.is_empty() {
            return Err(refused);
        }
        self.adopt(shared);
        // What they run is read first, and counts only if nothing happened to them until the table was walked.
        let mut read = FxHashMap::default();
        if metadata {
            followed.iter().for_each(|whom| read.extend(self.read_ahead(shared, whom.pid())));
        }
        let before = self.generation(shared, &read);
        self.catch_up(shared);
        let known: Vec<ProcId> =
            followed.into_iter().filter_map(|whom| self.recognize(shared, whom)).collect();
        shared.failure()?;
        let time = self.source.now();
        let mut state = shared.state.lock();
        // Who has ended since he was recognized is not taken for his pid's next owner.
        let mut roots = known.into_iter().filter(|id| state.table.find(*id).is_some()).peekable();
        let Some(&first) = roots.peek() else { return Err(AttachError::NoSuchProcess { pid }) };
        let roots: Vec<ProcId> = roots.collect();
        let key = state.roots.add(metadata, log_limit);
        if let Some(tree) = state.roots.get_mut(key) {
            tree.id = Some(first);
            tree.doubts.attached = true;
        }
        for root in roots {
            follow_tree(&mut state, key, root, time, |state, id| {
                let slot = state.table.find(id)?;
                let unchanged = before.get(&id) == Some(&state.table.get(slot).last_exec);
                read.get(&id).filter(|_| unchanged).cloned()
            });
        }
        state.roots.news(&mut self.wakes);
        Ok(key)
    }

    /// Has the source tell of whoever has this pid, and of who descends from it.
    fn follow(&mut self, shared: &Shared, pid: u32) -> Result<(), AttachError> {
        self.catch_up(shared);
        let pids = self.source.attach_tree(pid).map_err(|error| match error.raw_os_error() {
            Some(libc::ESRCH) => AttachError::NoSuchProcess { pid },
            _ => AttachError::Denied { pid, error },
        })?;
        if !shared.whole_machine() {
            self.enter(shared, &pids).map_err(|error| match error {
                PopulateError::Census(error) => AttachError::Census(error),
                PopulateError::Source(error) => AttachError::Source(error),
            })?;
        }
        Ok(())
    }

    /// The birth that is meant, if it lives.
    fn recognize(&mut self, shared: &Shared, whom: Whom) -> Option<ProcId> {
        let pid = whom.pid();
        let newest = || {
            let state = shared.state.lock();
            state.table.newest(pid).map(|slot| state.table.get(slot).id)
        };
        let id = newest()?;
        match whom {
            Whom::Pid(_) => Some(id),
            Whom::Known(wanted) => {
                let descriptor = self.attest(shared, &[id]).pop()?.ok()?;
                (descriptor.persistent_id().ok()? == Some(wanted)).then_some(id)
            }
        }
    }

    /// When each of those last ran a program, to be compared once more after what is queued has been applied.
    fn generation(
        &self,
        shared: &Shared,
        read: &FxHashMap<ProcId, SharedMetadata>,
    ) -> FxHashMap<ProcId, u64> {
        let state = shared.state.lock();
        let last_exec = |id: &ProcId| Some((*id, state.table.get(state.table.find(*id)?).last_exec));
        read.keys().filter_map(last_exec).collect()
    }

    fn read_ahead(&mut self, shared: &Shared, pid: u32) -> FxHashMap<ProcId, SharedMetadata> {
        let members = {
            let state = shared.state.lock();
            match state.table.newest(pid) {
                Some(slot) => descendants(&state, state.table.get(slot).id),
                None => Vec::new(),
            }
        };
        let mut readings: Vec<_> =
            members.iter().map(|member| (member.id, self.source.inspect(member.id.pid()))).collect();
        self.await_beginnings(readings.iter_mut().map(|(id, reading)| (id.pid(), reading)));
        let counts = |reading: Reading| {
            if reading.settled { reading.metadata } else { Metadata::missing(Missing::Unsettled) }
        };
        readings.into_iter().map(|(id, reading)| (id, SharedMetadata::new(counts(reading)))).collect()
    }

    /// Who lost its parent was given another, which only the system knows.
    fn adopt(&mut self, shared: &Shared) {
        let orphans: Vec<ProcId> = {
            let state = shared.state.lock();
            let orphaned =
                |parent: Option<ProcId>| parent.is_some_and(|parent| state.table.find(parent).is_none());
            let orphans = state.table.iter().filter(|(_, process)| orphaned(process.parent));
            orphans.map(|(_, process)| process.id).collect()
        };
        let look = |id: ProcId| (id, self.source.look(id.pid()).ok().flatten().map(|living| living.parent));
        let looked: Vec<_> = orphans.into_iter().map(look).collect();
        self.catch_up(shared);
        let mut state = shared.state.lock();
        for (id, parent) in looked {
            let parent = parent.and_then(|pid| state.table.newest(pid)).map(|slot| state.table.get(slot).id);
            if let Some(slot) = state.table.find(id) {
                state.table.get_mut(slot).adopted = parent;
            }
        }
    }
}

/// Tells tree `key` of `root` and all who descend from it, and lets it follow them.
pub(crate) fn follow_tree(
    state: &mut State,
    key: RootKey,
    root: ProcId,
    time: u64,
    metadata: impl Fn(&State, ProcId) -> Option<SharedMetadata>,
) {
    let only = TrackSet::of(key);
    let unread = SharedMetadata::new(Metadata::missing(Missing::Superseded));
    // Who shared a set before shares one afterwards.
    let mut sets: FxHashMap<*const TrackSet, Arc<TrackSet>> = FxHashMap::default();
    for member in descendants(state, root) {
        let told = metadata(state, member.id).unwrap_or_else(|| SharedMetadata::clone(&unread));
        let Some(slot) = state.table.find(member.id) else { continue };
        let track = match state.table.get(slot).track.clone() {
            Some(track) if track.contains(key) => continue,
            Some(track) => {
                let live = |root: &RootKey| state.roots.get(*root).is_some();
                Arc::clone(sets.entry(Arc::as_ptr(&track)).or_insert_with(|| track.with(key, live)))
            }
            None => Arc::clone(&only),
        };
        state.table.get_mut(slot).track = Some(track);
        if let Some(tree) = state.roots.get_mut(key) {
            tree.living += 1;
        }
        state.found(slot, &only, time, &told);
    }
}

/// `root` and all who descend from it by living parents, parents first.
fn descendants(state: &State, root: ProcId) -> Vec<Member> {
    let mut children: FxHashMap<ProcId, Vec<Member>> = FxHashMap::default();
    let mut tree = Vec::new();
    for (_, process) in state.table.iter() {
        let member = Member { id: process.id, parent: process.parent };
        if process.id == root {
            tree.push(member);
            continue;
        }
        for parent in process
            .parent
            .into_iter()
            .chain(process.adopted.filter(|adopted| Some(*adopted) != process.parent))
        {
            children.entry(parent).or_default().push(member);
        }
    }
    let mut seen: FxHashSet<ProcId> = [root].into_iter().collect();
    let mut next = 0;
    while next < tree.len() {
        let id = tree[next].id;
        next += 1;
        for child in children.remove(&id).unwrap_or_default() {
            if seen.insert(child.id) {
                tree.push(child);
            }
        }
    }
    parents_first(tree)
}
