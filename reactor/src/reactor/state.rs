//! What a turn works on, under one lock: the process table and the tracked trees; and what a change does to them.

use rustc_hash::{FxHashMap, FxHashSet};

use crate::activate::Queues;
use crate::event::{Change, Event, EventKind, Member, Stamped, Time};
use crate::knote::state::Input;
use crate::process::metadata::{Metadata, Missing};
use crate::process::table::{Birth, Ended, Ending, Origin, Process, Table};
use crate::process::threads::Threads;
use crate::process::track::{RootKey, TrackSet};
use crate::reactor::roots::Roots;
use crate::reactor::waker::WakeSlot;
use crate::sync::Arc;
use crate::{ExitStatus, ProcId};

/// Metadata that goes into events: shared between logs, and not a matter of any interleaving.
pub(crate) type SharedMetadata = std::sync::Arc<Metadata>;

/// Stands for the root of a tree that is still being spawned, in what is told about the stream itself.
pub(crate) const UNNAMED: ProcId = ProcId::new(0, 0);

/// The process table and the tracked trees.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) table: Table,
    pub(crate) roots: Roots,
    pub(crate) queues: Queues,
    /// Threads of ours that are spawning a child just now, and the tree that is to be the child's. Births
    /// by them are kept in it, to be claimed when the spawn has said the pid.
    spawners: FxHashMap<u32, RootKey>,
    me: u32,
    /// From the monotonic to the wall clock, in nanoseconds.
    pub(crate) wall_offset: i64,
    pub(crate) contested: Vec<Contested>,
    off: SharedMetadata,
    late: SharedMetadata,
}

/// A process that ended with its threads' statuses at odds; the system is asked before its end is told.
#[derive(Debug)]
pub(crate) struct Contested {
    pub(crate) process: Process,
    pub(crate) likely: Option<i32>,
    pub(crate) time: u64,
}

impl State {
    /// `me` is the pid of this program, whose spawns are watched.
    pub(crate) fn new(me: u32) -> Self {
        Self {
            table: Table::new(),
            roots: Roots::new(),
            queues: Queues::new(),
            spawners: FxHashMap::default(),
            me,
            wall_offset: 0,
            contested: Vec::new(),
            off: SharedMetadata::new(Metadata::missing(Missing::Off)),
            late: SharedMetadata::new(Metadata::missing(Missing::Late)),
        }
    }

    /// Applies one change. `metadata` belongs to an exec that was inspected.
    pub(crate) fn apply(&mut self, stamped: &Stamped, metadata: Option<SharedMetadata>) {
        let time = stamped.time;
        match stamped.change {
            Change::Fork { parent, thread, child } => self.fork(parent, thread, child, time),
            Change::Thread { process, thread } => self.table.thread(process, thread),
            Change::Exec { process } => self.exec(process, time, metadata),
            Change::Exit { process, thread, status, parent } => {
                if let Some(ended) = self.table.exit(process, thread, parent, time, status) {
                    self.ended(ended, time);
                }
            }
            Change::End { process, status } => {
                if let Some(ended) = self.table.end(process, time, status) {
                    self.ended(ended, time);
                }
            }
            Change::Unseen { process } => self.unseen(process, time),
        }
    }

    fn fork(&mut self, parent: u32, thread: u32, child: u32, time: u64) {
        let spawner = if parent == self.me { self.spawners.get(&thread).copied() } else { None };
        let parent_slot = match self.table.newest(parent) {
            None if spawner.is_some() => {
                Some(self.table.insert(parent, None, Origin::Found, 0, Threads::Leader))
            }
            known => known,
        };
        let mut track = parent_slot.and_then(|slot| self.table.get(slot).track.clone());
        let parent_id = parent_slot.map(|slot| self.table.get(slot).id);
        if let Some(root) = spawner {
            let live = |root: &RootKey| self.roots.get(*root).is_some();
            track = Some(track.map_or_else(|| TrackSet::of(root), |track| track.with(root, live)));
        }
        let (slot, known) = match self.table.birth(child, parent_id, time) {
            Birth::New(slot) => (slot, false),
            Birth::Known(slot) => (slot, true),
        };
        let child = self.table.get(slot).id;
        if let Some(parent) = parent_slot {
            self.notes_of_fork(parent, slot);
        }
        // The process list had it already; those who follow it have been told.
        if known && self.table.get(slot).track.is_some() {
            return;
        }
        if let Some(root) = spawner.and_then(|root| self.roots.get_mut(root)) {
            root.spawned.push(child);
        }
        let Some(track) = track else { return };
        let id = parent_id.expect("only a known process can be followed or be us");
        let grandparent = parent_slot.and_then(|slot| self.table.get(slot).parent);
        self.follow(slot, &track);
        self.emit(&track, id, grandparent, time, || EventKind::Fork { child });
    }

    /// Tells the parent's notes that it forked. Where they track, the child gets notes of its own, before (C28).
    fn notes_of_fork(&mut self, parent: usize, child: usize) {
        if self.table.get(parent).notes.is_empty() {
            return;
        }
        self.hand_down(parent, child);
        let Self { table, queues, .. } = self;
        queues.activate(&mut table.get_mut(parent).notes, Input::Fork);
    }

    /// A process was found below another: where that one's notes track, they get it as a child, though it was not seen to be born.
    pub(crate) fn notes_of_found(&mut self, child: usize) {
        let parent = self.table.get(child).parent.and_then(|parent| self.table.find(parent));
        if let Some(parent) = parent {
            self.hand_down(parent, child);
        }
    }

    fn hand_down(&mut self, parent: usize, child: usize) {
        let Self { table, queues, me, .. } = self;
        let process = table.get_mut(child);
        if std::mem::replace(&mut process.handed_down, true) {
            return;
        }
        let (id, process) = (process.id, table.get_mut(parent));
        let own = process.id.pid() == *me;
        let keys = queues.track(&mut process.notes, process.id, id, own);
        keys.into_iter().for_each(|key| table.get_mut(child).notes.push(key));
    }

    /// A note is gone: the process's list forgets it.
    pub(crate) fn unlink(&mut self, id: ProcId, serial: u64) {
        if let Some(slot) = self.table.find(id) {
            self.table.get_mut(slot).notes.remove(serial);
        }
    }

    /// The source lost records.
    pub(crate) fn notes_of_loss(&mut self) {
        let Self { table, queues, .. } = self;
        table.ends.forget();
        table.iter_mut().for_each(|(_, process)| queues.lost(&mut process.notes));
    }

    /// Whether a pid is this program's.
    pub(crate) fn is_me(&self, pid: u32) -> bool {
        pid == self.me
    }

    /// Whether this program may reap it.
    pub(crate) fn is_own_child(&self, slot: usize) -> bool {
        self.table.get(slot).parent.is_some_and(|parent| parent.pid() == self.me)
    }

    /// Who has had news since the last call: to be woken when no lock is held.
    pub(crate) fn news(&mut self, wakes: &mut Vec<Arc<WakeSlot>>) {
        self.roots.news(wakes);
        self.queues.news(wakes);
    }

    fn exec(&mut self, process: u32, time: u64, metadata: Option<SharedMetadata>) {
        let Some(slot) = self.table.exec(process, time) else { return };
        let Self { table, queues, .. } = self;
        queues.activate(&mut table.get_mut(slot).notes, Input::Exec);
        let process = self.table.get(slot);
        let Some(track) = process.track.clone() else { return };
        let (id, parent) = (process.id, process.parent);
        let metadata = metadata.unwrap_or_else(|| SharedMetadata::clone(&self.late));
        self.tell(&track, id, parent, time, |metadata| EventKind::Exec { metadata }, &metadata);
    }

    fn unseen(&mut self, process: u32, time: u64) {
        let Some(slot) = self.table.newest(process) else { return };
        let process = self.table.get(slot);
        let Some(track) = process.track.clone() else { return };
        let (id, parent) = (process.id, process.parent);
        self.emit(&track, id, parent, time, || EventKind::Unseen);
    }

    /// The process is out of the table; its end is told, at once or when its status has been looked up.
    pub(crate) fn ended(&mut self, ended: Ended, time: u64) {
        if ended.process.track.is_none() && ended.process.notes.is_empty() {
            return;
        }
        match ended.ending {
            Ending::Agreed(status) => {
                let status = status.map_or(ExitStatus::Unknown, ExitStatus::from_wait_status);
                self.exit(ended.process, status, time);
            }
            Ending::Contested { likely } => {
                self.contested.push(Contested { process: ended.process, likely, time });
            }
        }
    }

    /// Tells the end of a process that is out of the table.
    pub(crate) fn exit(&mut self, mut process: Process, status: ExitStatus, time: u64) {
        self.remember(&process);
        self.queues
            .activate(&mut process.notes, Input::Exit(i64::from(status.to_wait_status().unwrap_or(-1))));
        let Some(track) = &process.track else { return };
        self.emit(track, process.id, process.parent, time, || EventKind::Exit { status });
        for &key in track.roots() {
            if let Some(root) = self.roots.get_mut(key) {
                root.living -= 1;
                root.exited += 1;
            }
            self.roots.close_if_empty(key);
        }
    }

    fn remember(&mut self, process: &Process) {
        let Self { table, queues, .. } = self;
        if process.notes.is_empty() || table.newest(process.id.pid()).is_some() {
            return;
        }
        table.ends.put(process.id);
        if table.ends.is_full() {
            table.ends.retain(|pid| queues.is_unread(pid));
        }
    }

    /// Follows a process whose first event is about to be told.
    pub(crate) fn follow(&mut self, slot: usize, track: &Arc<TrackSet>) {
        self.table.get_mut(slot).track = Some(Arc::clone(track));
        for &key in track.roots() {
            if let Some(root) = self.roots.get_mut(key) {
                root.living += 1;
            }
        }
    }

    /// Tells of a process that was there when looked for, to `track`, which follows it from now on.
    pub(crate) fn found(&mut self, slot: usize, track: &Arc<TrackSet>, time: u64, metadata: &SharedMetadata) {
        let process = self.table.get(slot);
        let (id, parent) = (process.id, process.parent);
        self.tell(track, id, parent, time, |metadata| EventKind::Found { metadata }, metadata);
        for &key in track.roots() {
            if let Some(root) = self.roots.get_mut(key) {
                root.found += 1;
            }
        }
    }

    /// To every tree of `track`, with the metadata if it wants them.
    fn tell(
        &mut self,
        track: &TrackSet,
        id: ProcId,
        parent: Option<ProcId>,
        time: u64,
        kind: impl Fn(SharedMetadata) -> EventKind,
        metadata: &SharedMetadata,
    ) {
        for &key in track.roots() {
            let Some(root) = self.roots.get(key) else { continue };
            let metadata = if root.metadata { metadata } else { &self.off };
            let kind = kind(SharedMetadata::clone(metadata));
            self.roots.push(key, Event { id, parent, time: Time::new(time, self.wall_offset), kind });
        }
    }

    fn emit(
        &mut self,
        track: &TrackSet,
        id: ProcId,
        parent: Option<ProcId>,
        time: u64,
        kind: impl Fn() -> EventKind,
    ) {
        for &key in track.roots() {
            self.roots.push(key, Event { id, parent, time: Time::new(time, self.wall_offset), kind: kind() });
        }
    }

    /// To one tree, about the stream itself. One that is still being spawned gets its name when it is claimed.
    pub(crate) fn announce(&mut self, key: RootKey, time: u64, kind: EventKind) {
        let Some(root) = self.roots.get(key) else { return };
        let id = root.id.unwrap_or(UNNAMED);
        self.roots.push(key, Event { id, parent: None, time: Time::new(time, self.wall_offset), kind });
    }

    /// Births by thread `thread` of this program go to a new tree from now on.
    pub(crate) fn begin_spawn(&mut self, thread: u32, metadata: bool, log_limit: usize) -> RootKey {
        let key = self.roots.add(metadata, log_limit);
        let before = self.spawners.insert(thread, key);
        debug_assert!(before.is_none(), "a thread spawns one child at a time");
        key
    }

    pub(crate) fn end_spawn(&mut self, thread: u32) {
        self.spawners.remove(&thread);
    }

    /// The spawn said that its child is `pid`: the tree is that child's. None if its birth has been lost.
    /// With `alone`, births by other threads may have been taken for its own, and are none.
    pub(crate) fn claim(&mut self, key: RootKey, pid: u32, alone: bool) -> Option<ProcId> {
        let root = self.roots.get_mut(key)?;
        let id = root.spawned.iter().copied().rfind(|id| id.pid() == pid)?;
        if alone {
            self.disown_others(key, id);
        }
        self.name(key, id);
        Some(id)
    }

    /// The tree is that of `id`.
    pub(crate) fn name(&mut self, key: RootKey, id: ProcId) {
        if let Some(root) = self.roots.get_mut(key) {
            root.spawned = Vec::new();
            root.id = Some(id);
            root.log.rename(UNNAMED, id);
        }
        self.roots.close_if_empty(key);
    }

    /// Whether some tree that wants metadata follows `slot`.
    fn wants_metadata(&self, slot: usize) -> bool {
        let track = self.table.get(slot).track.as_ref();
        track.is_some_and(|track| {
            track.roots().iter().any(|&key| self.roots.get(key).is_some_and(|root| root.metadata))
        })
    }

    /// The execs in `batch`, by index, whose metadata somebody wants, though nothing of the batch has been
    /// applied yet.
    pub(crate) fn execs_to_inspect(&self, batch: &[Stamped]) -> Vec<(usize, u32)> {
        if !self.roots.want_metadata() {
            return Vec::new();
        }
        let mut born = FxHashSet::default();
        let mut execs = Vec::new();
        let wanted = |born: &FxHashSet<u32>, pid| {
            born.contains(&pid) || self.table.newest(pid).is_some_and(|slot| self.wants_metadata(slot))
        };
        for (index, stamped) in batch.iter().enumerate() {
            match stamped.change {
                Change::Fork { parent, thread, child } => {
                    let spawned = parent == self.me && self.spawners.contains_key(&thread);
                    if spawned || wanted(&born, parent) {
                        born.insert(child);
                    }
                }
                Change::Exec { process } if wanted(&born, process) => execs.push((index, process)),
                _ => {}
            }
        }
        execs
    }

    /// The living processes of a tree, parents first.
    pub(crate) fn living(&self, key: RootKey) -> Vec<Member> {
        let followed = |process: &&Process| process.track.as_ref().is_some_and(|track| track.contains(key));
        let members = self.table.iter().map(|(_, process)| process).filter(followed);
        parents_first(members.map(|process| Member { id: process.id, parent: process.parent }).collect())
    }

    /// The pids of those whom a tree follows, or has followed, and of those with notes.
    pub(crate) fn followed(&self) -> Vec<u32> {
        let followed = |process: &Process| process.track.is_some() || !process.notes.is_empty();
        let followed = self.table.iter().filter(|(_, process)| followed(process));
        followed.map(|(_, process)| process.id.pid()).collect()
    }

    /// Processes in the table that a live tree follows.
    pub(crate) fn tracked(&self) -> usize {
        let live = |key: &RootKey| self.roots.get(*key).is_some();
        let followed =
            |process: &Process| process.track.as_ref().is_some_and(|track| track.roots().iter().any(live));
        self.table.iter().filter(|(_, process)| followed(process)).count()
    }
}

/// Sorts so that nobody comes before its parent.
pub(crate) fn parents_first(mut members: Vec<Member>) -> Vec<Member> {
    members.sort_by_key(|member| member.id.birth());
    let present: FxHashSet<ProcId> = members.iter().map(|member| member.id).collect();
    let mut children: FxHashMap<ProcId, Vec<Member>> = FxHashMap::default();
    let mut sorted = Vec::with_capacity(members.len());
    for member in members {
        match member.parent.filter(|parent| present.contains(parent)) {
            Some(parent) => children.entry(parent).or_default().push(member),
            None => sorted.push(member),
        }
    }
    let mut next = 0;
    while next < sorted.len() {
        let id = sorted[next].id;
        sorted.extend(children.remove(&id).unwrap_or_default());
        next += 1;
    }
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_before_its_parent() {
        let id = |birth| ProcId::new(100 - birth as u32, birth);
        let member = |birth, parent: Option<u64>| Member { id: id(birth), parent: parent.map(id) };
        let sorted = parents_first(vec![
            member(1, Some(3)),
            member(2, Some(1)),
            member(3, Some(9)),
            member(4, Some(3)),
        ]);
        let births: Vec<_> = sorted.iter().map(|member| member.id.birth()).collect();
        assert_eq!(births, [3, 1, 4, 2]);
    }
}
