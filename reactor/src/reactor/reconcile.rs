//! Making the table what is really there: once when the reactor starts, and after every loss (K8).
//!
//! The turn holds the baton, so nothing is drained or applied but here. In steps:
//!
//! 1. What came after the loss is collected, and the loss counted.
//! 2. It is applied with suspicion of all who are older than the loss: threads of theirs may have been born
//!    unseen, so that their last known thread's end need not be theirs; and a pid of theirs that is born again
//!    means that their end was lost.
//! 3. The process list is read, and meanwhile what is queued is collected.
//! 4. Who is in the table and not in the list has ended. Who is in the list and not in the table is put in, with
//!    its parent; if that is followed, so is it. Threads are what the list says.
//! 5. What was collected in step 3 is applied as usual: it changes the list's state into that of now, and what of it
//!    the list had already taken in changes nothing.

use std::io;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::error::SourceError;
use crate::event::{Change, EventKind, Stamped};
use crate::process::metadata::{Metadata, Missing};
use crate::process::table::{Origin, Process, same_start};
use crate::process::threads::Threads;
use crate::process::track::TrackSet;
use crate::reactor::handle::Shared;
use crate::reactor::state::{SharedMetadata, State, parents_first};
use crate::reactor::turn::{Turn, replaced};
use crate::source::{Drained, Living, Loss};
use crate::sync::Arc;
use crate::{ExitStatus, Member, ProcId};

/// Looks between two drains while the process list is read, so that the source's buffer does not overrun.
const LOOKS: usize = 64;
/// How often a reading of the list is begun anew because records were lost meanwhile.
const ATTEMPTS: usize = 4;

/// The list, each with the time before it was looked at: what is stamped earlier has been taken in.
type List = FxHashMap<u32, Listed>;

#[derive(Debug)]
struct Listed {
    looked: u64,
    living: Living,
}

impl Turn {
    /// Fills the table of a reactor that has just begun.
    pub(crate) fn populate(&mut self, shared: &Shared) -> Result<(), PopulateError> {
        if !shared.whole_machine() {
            return Ok(());
        }
        let mut meanwhile = Vec::new();
        let list = match self.list(shared, &mut meanwhile) {
            // A machine on fire, or a tiny buffer: the first turn tries again.
            Err(PopulateError::Census(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                self.repair_due = true;
                return Ok(());
            }
            list => list?.0,
        };
        self.merge(shared, &list, 0, &meanwhile);
        Ok(())
    }

    /// After an overrun, with everything applied that came before it.
    pub(crate) fn repair(&mut self, shared: &Shared) -> Result<(), SourceError> {
        let begun = self.source.now();
        let mut since = Vec::new();
        let loss = self.source.settle(&mut since)?;
        self.drained = begun;
        tracing::warn!(
            source = self.source.name(),
            count = loss.count,
            exact = loss.exact,
            "records were lost"
        );
        self.announce_loss(shared, begun, loss);
        let before = shared.state.lock().table.births();
        self.apply_suspiciously(shared, &since, before);

        self.reread(shared)
    }

    /// Steps 3 to 5, once more if the list could not be read the last time.
    pub(crate) fn reread(&mut self, shared: &Shared) -> Result<(), SourceError> {
        self.repair_due = false;
        let mut meanwhile = Vec::new();
        match self.list(shared, &mut meanwhile) {
            Ok((list, known)) => self.merge(shared, &list, known, &meanwhile),
            Err(PopulateError::Source(error)) => return Err(error),
            Err(PopulateError::Census(error)) => {
                tracing::error!(%error, "the process list could not be read after a loss; to be tried again");
                self.repair_due = true;
                let apply = |state: &mut State, stamped: &Stamped| state.apply(stamped, None);
                self.apply_and_resolve(shared, meanwhile.iter(), apply);
                return Ok(());
            }
        }
        let time = self.source.now();
        let mut state = shared.state.lock();
        for key in state.roots.keys() {
            if let Some(root) = state.roots.get_mut(key) {
                let (found, exited) = (root.found, root.exited);
                state.announce(key, time, EventKind::Resync { found, exited });
                state.roots.close_if_empty(key);
            }
        }
        state.news(&mut self.wakes);
        Ok(())
    }

    fn announce_loss(&self, shared: &Shared, time: u64, loss: Loss) {
        let mut state = shared.state.lock();
        for key in state.roots.keys() {
            if let Some(root) = state.roots.get_mut(key) {
                (root.found, root.exited) = (0, 0);
            }
            state.announce(key, time, EventKind::Lost { count: loss.count, exact: loss.exact });
        }
        state.notes_of_loss();
    }

    /// Step 2. Processes with a birth number up to `before` are older than the loss.
    ///
    /// There may be further losses anywhere in `since`. So a pid that is born twice without an end between has lost one, or is told
    /// out of order: the first has ended, nobody knows how, and of the ends that follow none is surely the second's.
    fn apply_suspiciously(&mut self, shared: &Shared, since: &[Stamped], before: u64) {
        let mut doubtful = FxHashSet::default();
        for (index, stamped) in since.iter().enumerate() {
            let old = |state: &State, pid: u32| {
                let slot = state.table.newest(pid)?;
                (state.table.get(slot).id.birth() <= before).then_some(slot)
            };
            match stamped.change {
                Change::Fork { parent, child, .. } => {
                    let mut state = shared.state.lock();
                    let parent = state.table.newest(parent).map(|slot| state.table.get(slot).id);
                    let other = |slot: &usize| !state.table.get(*slot).awaits_birth(parent, stamped.time);
                    if let Some(slot) = state.table.newest(child).filter(other) {
                        let process = state.table.remove(slot);
                        state.exit(process, ExitStatus::Unknown, stamped.time);
                        doubtful.insert(child);
                    }
                }
                Change::Exit { process, .. } => {
                    let doubtful = doubtful.contains(&process);
                    let id = {
                        let state = shared.state.lock();
                        let slot = if doubtful { state.table.newest(process) } else { old(&state, process) };
                        slot.map(|slot| state.table.get(slot).id)
                    };
                    if let Some(id) = id {
                        let rest = if doubtful { &[] } else { &since[index..] };
                        self.maybe_ended(shared, id, rest, stamped.time);
                        continue;
                    }
                    // Younger than the loss. A further one may have had the births of its threads.
                    if self.lives_on(shared, process) {
                        continue;
                    }
                }
                // Told of the whole process, so that no thread born unseen can belie it; who is older than a loss has no younger
                // namesake whose it could be, but where a birth was doubtful.
                Change::End { process, .. } if doubtful.contains(&process) => {
                    let id = {
                        let state = shared.state.lock();
                        state.table.newest(process).map(|slot| state.table.get(slot).id)
                    };
                    if let Some(id) = id {
                        self.maybe_ended(shared, id, &[], stamped.time);
                    }
                    continue;
                }
                Change::End { .. } | Change::Unseen { .. } | Change::Thread { .. } | Change::Exec { .. } => {}
            }
            self.apply_and_resolve(shared, std::iter::once(stamped), |state, stamped| {
                state.apply(stamped, None)
            });
        }
    }

    /// Applies what was collected, and where threads ended at odds asks the system before anything is told that came after.
    fn apply_and_resolve<'a>(
        &mut self,
        shared: &Shared,
        changes: impl Iterator<Item = &'a Stamped>,
        apply: impl Fn(&mut State, &Stamped),
    ) {
        let mut state = shared.state.lock();
        for stamped in changes {
            apply(&mut state, stamped);
            if !state.contested.is_empty() {
                let contested = std::mem::take(&mut state.contested);
                drop(state);
                self.resolve(shared, contested);
                state = shared.state.lock();
            }
        }
        state.news(&mut self.wakes);
    }

    /// Some thread of `id` has ended, and it may have others that nobody saw. `rest` begins with that exit, or is
    /// empty if it need not be one of its own.
    fn maybe_ended(&mut self, shared: &Shared, id: ProcId, rest: &[Stamped], time: u64) {
        let now = self.source.look(id.pid()).ok().flatten();
        let mut state = shared.state.lock();
        let Some(slot) = state.table.find(id) else { return };
        let now = now.filter(|now| same_start(state.table.get(slot), now.start));
        match now {
            Some(now) if !now.is_zombie() => {
                state.table.get_mut(slot).threads = Threads::read(id.pid(), &now.threads);
            }
            zombie => {
                let last = last_status(state.table.get(slot), rest);
                drop(state);
                let status = zombie.and_then(|zombie| zombie.status).or(last);
                let status = status.map_or(ExitStatus::Unknown, ExitStatus::from_wait_status);
                end(shared, id, status, time);
            }
        }
    }

    /// Some thread of a process has ended, and the list shows that it has others: these are its threads then.
    fn lives_on(&mut self, shared: &Shared, pid: u32) -> bool {
        if shared.state.lock().table.newest(pid).is_none() {
            return false;
        }
        let Some(now) = self.source.look(pid).ok().flatten().filter(|now| !now.is_zombie()) else {
            return false;
        };
        let mut state = shared.state.lock();
        let Some(slot) = state.table.newest(pid) else { return false };
        let process = state.table.get_mut(slot);
        let lives = same_start(process, now.start);
        if lives {
            process.threads = Threads::read(pid, &now.threads);
        }
        lives
    }

    /// Step 3: the list, and what was queued while it was read. If records are lost meanwhile it begins anew.
    /// Returns with it the last birth before it was read: who was born up to there and is not in it has ended.
    fn list(&mut self, shared: &Shared, meanwhile: &mut Vec<Stamped>) -> Result<(List, u64), PopulateError> {
        for attempt in 0.. {
            let mut list = List::default();
            let known = shared.state.lock().table.births();
            // And whom we follow: the list may hide processes of others.
            let mut pids = self.source.pids()?;
            pids.extend(shared.state.lock().followed());
            for (count, pid) in pids.into_iter().enumerate() {
                let looked = self.source.now();
                if let Some(living) = self.source.look(pid)? {
                    list.insert(pid, Listed { looked, living });
                }
                if count % LOOKS == LOOKS - 1 {
                    self.collect(meanwhile)?;
                }
            }
            self.collect(meanwhile)?;
            if !self.overrun {
                return Ok((list, known));
            }
            self.overrun = false;
            let begun = self.source.now();
            let more = self.source.settle(meanwhile)?;
            // At once: the list may not be had in the end, and what was lost is said in any case (K8).
            self.announce_loss(shared, begun, more);
            // All of it is older than the list that is read next.
            let before = shared.state.lock().table.births();
            let since = std::mem::take(meanwhile);
            self.apply_suspiciously(shared, &since, before);
            if attempt == ATTEMPTS {
                let error = io::Error::new(
                    io::ErrorKind::WouldBlock,
                    "records are lost faster than the list is read",
                );
                return Err(error.into());
            }
        }
        unreachable!("the loop returns at its last attempt")
    }

    /// Puts those of `pids` into the table who are there, and who are followed by now: for a source that is told of those only
    /// whom it is to follow. What was queued meanwhile is applied.
    pub(crate) fn enter(&mut self, shared: &Shared, pids: &[u32]) -> Result<(), PopulateError> {
        let mut list = List::default();
        for &pid in pids {
            let looked = self.source.now();
            if let Some(living) = self.source.look(pid)? {
                list.insert(pid, Listed { looked, living });
            }
        }
        let mut meanwhile = Vec::new();
        self.collect(&mut meanwhile)?;
        self.merge(shared, &list, 0, &meanwhile);
        Ok(())
    }

    fn collect(&mut self, out: &mut Vec<Stamped>) -> Result<(), SourceError> {
        while !self.overrun {
            match self.source.drain(out, usize::MAX)? {
                Drained::All => break,
                Drained::More => {}
                Drained::Overrun => self.overrun = true,
            }
        }
        Ok(())
    }

    /// Steps 4 and 5. Processes with a birth number up to `known` are held against the list.
    fn merge(&mut self, shared: &Shared, list: &List, known: u64, meanwhile: &[Stamped]) {
        let time = self.source.now();
        let wall_offset = shared.wall_offset(time);
        let (mut found, mut followed) = (Vec::new(), Vec::new());
        {
            let mut state = shared.state.lock();
            state.wall_offset = wall_offset;
            let state = &mut *state;
            let old: Vec<_> = state
                .table
                .iter()
                .filter(|(_, process)| process.id.birth() <= known)
                .map(|(slot, _)| slot)
                .collect();
            for slot in old {
                let process = state.table.get_mut(slot);
                let pid = process.id.pid();
                let listed = list.get(&pid).map(|listed| &listed.living);
                let listed = listed.filter(|listed| same_start(process, listed.start));
                match listed {
                    Some(listed) if !listed.is_zombie() => {
                        process.threads = Threads::read(pid, &listed.threads)
                    }
                    zombie => {
                        let last = || last_status(process, meanwhile);
                        let status = zombie.and_then(|zombie| zombie.status).or_else(last);
                        let process = state.table.remove(slot);
                        let status = status.map_or(ExitStatus::Unknown, ExitStatus::from_wait_status);
                        state.exit(process, status, time);
                    }
                }
            }
            let mut added: Vec<_> =
                list.values().map(|listed| &listed.living).filter(|living| !living.is_zombie()).collect();
            added.retain(|living| state.table.newest(living.pid).is_none());
            if known > 0 && !shared.whole_machine() {
                added = below_the_followed(state, added);
                followed.extend(added.iter().map(|&living| living.clone()));
            }
            // By start, so that a parent is mostly put in before its child; links are made when all are in.
            added.sort_by_key(|living| (living.start, living.pid));
            for living in &added {
                let threads = Threads::read(living.pid, &living.threads);
                state.table.insert(living.pid, None, Origin::Found, living.start, threads);
            }
            for living in &added {
                let parent = state.table.newest(living.parent).map(|slot| state.table.get(slot).id);
                let slot = state.table.newest(living.pid).expect("it has just been put in");
                state.table.get_mut(slot).parent = parent;
            }
            // Births after the loss whose parent had been born unseen: those applied before the list was read, as it
            // shows them, and further down those that are still to be applied.
            let orphaned = state.table.iter().filter(|(_, process)| process.parent.is_none());
            let orphans: Vec<_> = orphaned.map(|(slot, _)| slot).collect();
            for &slot in &orphans {
                let listed = list.get(&state.table.get(slot).id.pid());
                let parent = listed.and_then(|listed| state.table.newest(listed.living.parent));
                state.table.get_mut(slot).parent = parent.map(|parent| state.table.get(parent).id);
            }
            let added = added.iter().filter_map(|living| state.table.newest(living.pid));
            let members: FxHashSet<_> = added.chain(orphans).collect();
            let members = members.into_iter().map(|slot| {
                let process = state.table.get(slot);
                Member { id: process.id, parent: process.parent }
            });
            for member in parents_first(members.collect()) {
                if let Some(slot) = state.table.find(member.id) {
                    state.notes_of_found(slot);
                }
            }
            for stamped in meanwhile {
                let Change::Fork { parent, child, .. } = stamped.change else { continue };
                let Some(slot) = state.table.newest(child) else { continue };
                let parent = state.table.newest(parent).map(|slot| state.table.get(slot).id);
                let process = state.table.get_mut(slot);
                process.parent = process.parent.or(parent);
            }
            if known > 0 {
                found = inherit(state);
            }
        }
        followed.iter().for_each(|living| self.source.found(living));
        let mut found: Vec<_> =
            found.into_iter().map(|(id, track)| (id, track, self.source.inspect(id.pid()))).collect();
        self.await_beginnings(found.iter_mut().map(|(id, _, reading)| (id.pid(), reading)));
        // What was read counts only if nothing that makes it doubtful was queued before the reading was over.
        let mut after = Vec::new();
        if !found.is_empty() && !self.overrun {
            self.collect_quietly(&mut after);
        }
        {
            let mut state = shared.state.lock();
            for (id, track, reading) in found {
                let replaced = || replaced(id.pid(), meanwhile).or_else(|| replaced(id.pid(), &after));
                let reason = match reading.settled {
                    _ if self.overrun => Some(Missing::Late),
                    false => Some(Missing::Unsettled),
                    true => replaced(),
                };
                let metadata = reason.map_or(reading.metadata, Metadata::missing);
                if let Some(slot) = state.table.find(id) {
                    state.found(slot, &track, time, &SharedMetadata::new(metadata));
                }
            }
        }
        let apply = |state: &mut State, stamped: &Stamped| apply_to_list(state, list, stamped);
        self.apply_and_resolve(shared, meanwhile.iter().chain(&after), apply);
    }

    fn collect_quietly(&mut self, out: &mut Vec<Stamped>) {
        if let Err(error) = self.collect(out) {
            // The next drain says it again, and ends all streams.
            tracing::debug!(%error, "the source failed while the process list was read");
        }
    }
}

/// Those of `listed` who descend from somebody in the table, other than from this program, which need not be followed itself.
fn below_the_followed<'a>(state: &State, mut listed: Vec<&'a Living>) -> Vec<&'a Living> {
    let covers = |(_, process): &(usize, &Process)| process.track.is_some() || !state.is_me(process.id.pid());
    let mut above: FxHashSet<u32> =
        state.table.iter().filter(covers).map(|(_, process)| process.id.pid()).collect();
    let mut below = Vec::new();
    loop {
        let before = below.len();
        listed.retain(|living| {
            let descends = above.contains(&living.parent);
            if descends {
                below.push(*living);
            }
            !descends
        });
        if below.len() == before {
            return below;
        }
        above.extend(below[before..].iter().map(|living| living.pid));
    }
}

/// Applies what was queued while the list was read. What of it the list shows already must change nothing: a thread whose
/// end was told before its process was looked at is none of those that were seen, also where an exec gave its id to
/// another; and a birth that was told before is that of the process that was seen.
fn apply_to_list(state: &mut State, list: &List, stamped: &Stamped) {
    let seen =
        |pid: u32| list.get(&pid).filter(|listed| stamped.time < listed.looked && !listed.living.is_zombie());
    match stamped.change {
        Change::Exit { process, .. } | Change::Thread { process, .. } if seen(process).is_some() => return,
        Change::Exec { process } => {
            if let Some(listed) = seen(process) {
                state.apply(stamped, None);
                if let Some(slot) = state.table.newest(process) {
                    state.table.get_mut(slot).threads = Threads::read(process, &listed.living.threads);
                }
                return;
            }
        }
        Change::Fork { child, .. } if seen(child).is_some() => {
            if let Some(slot) = state.table.newest(child) {
                let process = state.table.get_mut(slot);
                if process.origin == Origin::Found {
                    process.start = stamped.time;
                }
            }
        }
        _ => {}
    }
    state.apply(stamped, None);
}

/// Hands down track sets to those who were put in below a process that is followed; parents first.
fn inherit(state: &mut State) -> Vec<(ProcId, Arc<TrackSet>)> {
    let mut inherited = Vec::new();
    loop {
        let mut heirs = Vec::new();
        for (slot, process) in state.table.iter() {
            if process.track.is_some() {
                continue;
            }
            let parent = process.parent.and_then(|parent| state.table.find(parent));
            if let Some(track) = parent.and_then(|parent| state.table.get(parent).track.clone()) {
                heirs.push((slot, process.id, track));
            }
        }
        if heirs.is_empty() {
            return inherited;
        }
        for (slot, id, track) in heirs {
            state.follow(slot, &track);
            inherited.push((id, track));
        }
    }
}

fn end(shared: &Shared, id: ProcId, status: ExitStatus, time: u64) {
    let mut state = shared.state.lock();
    if let Some(slot) = state.table.find(id) {
        let process = state.table.remove(slot);
        state.exit(process, status, time);
    }
}

/// The status that the exits of a process in `changes` carry, up to the next birth of its pid: if all its known threads
/// have ended there, and in one way. The end of one says nothing of the others: it may have left alone, or been killed for
/// another's exec, whose record may have come first.
fn last_status(process: &Process, changes: &[Stamped]) -> Option<i32> {
    let pid = process.id.pid();
    let mut threads = process.threads.clone();
    let (mut last, mut executed, mut ended) = (None, process.last_exec, false);
    for stamped in changes {
        match stamped.change {
            Change::Fork { child, .. } if child == pid => break,
            Change::Thread { process, thread } if process == pid => threads.insert(pid, thread),
            Change::Exec { process } if process == pid => {
                (threads, last, executed, ended) = (Threads::Leader, None, stamped.time, false);
            }
            Change::Exit { process, thread, status, .. } if process == pid && stamped.time >= executed => {
                ended |= threads.remove(pid, thread);
                match last {
                    Some(last) if Some(last) != status => return None,
                    _ => last = status,
                }
            }
            _ => {}
        }
    }
    last.filter(|_| ended)
}

/// Why the process list is not to be had.
#[derive(Debug)]
pub(crate) enum PopulateError {
    Census(io::Error),
    Source(SourceError),
}

impl From<io::Error> for PopulateError {
    fn from(error: io::Error) -> Self {
        Self::Census(error)
    }
}

impl From<SourceError> for PopulateError {
    fn from(error: SourceError) -> Self {
        Self::Source(error)
    }
}
