//! Whom no queue told of. Two threads of a process that fork at once may each pass over the other's notes (C29); who was missed is to be
//! found among the living, or else in the machine's own count of births: as long as that goes up by as much as is told, nobody was
//! missed. Where it goes up by more, and a process that may have had several threads has forked, the process table is looked at; and what
//! that does not explain is said.
//!
//! Bounds: the table is read at most once in [`PACE`], and once more where somebody who may have had several threads ends, for its tree may
//! end with it. Threads are counted when the count went up, which is after the fork: a second thread that has ended
//! in between is not seen.

use std::io;

use rustc_hash::{FxHashMap, FxHashSet};

use super::follow::{Follower, SETTLED};
use super::lives::{Heard, Member};
use super::system::{Entry, System};
use crate::event::{Change, Stamped};
use crate::source::Loss;

/// Nanoseconds between two readings of the process table.
const PACE: u64 = 20_000_000;
/// Who adopts orphans, if nobody else has asked for them.
const INIT: u32 = 1;
/// So many ended processes are kept in mind before the table is asked which of them are zombies.
const REMEMBERED: usize = 4096;
/// How often it is read again because somebody was found.
const PASSES: usize = 8;

/// The births of the machine held against those that were told.
#[derive(Debug, Default)]
pub(super) struct Census {
    /// How many were told.
    births: u64,
    /// What the machine had counted beyond them when it was last settled, and when that was.
    beyond: Option<i64>,
    since: u64,
    /// How much of that was taken for births of others when it was last settled. Where a birth is told that may have been counted by then, it
    /// is looked into once more.
    taken: i64,
    /// What was queued up to then has been read.
    read_to: u64,
    looked: u64,
    /// Who has forked since.
    forkers: FxHashSet<u32>,
    /// Of them, who may have had several threads.
    pub(super) several: FxHashSet<u32>,
    /// One of them has ended.
    urgent: bool,
    /// Somebody was found whose children may not be known.
    pub(super) due: bool,
}

impl Census {
    pub(super) fn born(&mut self, parent: Option<u32>) {
        self.births += 1;
        self.forkers.extend(parent);
        if self.read_to < self.since + SETTLED {
            let taken = std::mem::take(&mut self.taken);
            self.beyond = self.beyond.map(|beyond| beyond - taken);
        }
    }

    /// A round is over that began at that time.
    pub(super) fn read(&mut self, begun: u64) {
        self.read_to = begun;
    }

    pub(super) fn ended(&mut self, pid: u32) {
        // It cannot be asked any more how many threads it had, and who has its pid next is somebody else.
        if self.forkers.remove(&pid) {
            self.several.insert(pid);
        }
        self.urgent |= self.several.contains(&pid);
    }

    /// `foreign` births were of others for certain.
    fn settle(&mut self, beyond: Option<i64>, foreign: i64, time: u64) {
        let more = beyond.zip(self.beyond).map_or(0, |(now, before)| now - before);
        let before = if self.read_to < self.since + SETTLED { self.taken } else { 0 };
        self.taken = before + (more - foreign).max(0);
        (self.beyond, self.since) = (beyond, time);
        self.forkers.clear();
        self.several.clear();
        (self.urgent, self.due) = (false, false);
    }
}

impl<S: System> Follower<S> {
    pub(super) fn begin_census(&mut self) {
        let beyond = self.beyond();
        self.census.settle(beyond, 0, self.opened);
    }

    /// Births by the machine's count that were not told, from whoever.
    fn beyond(&mut self) -> Option<i64> {
        let forks = self.system.forks()?;
        Some(forks as i64 - self.census.births as i64)
    }

    /// After a round: whether somebody may have been missed, and who.
    pub(super) fn check(&mut self, out: &mut Vec<Stamped>) -> io::Result<()> {
        if !self.kernel.tracks
            || (!self.census.due
                && (!self.kernel.walk_may_skip
                    || self.census.forkers.is_empty() && self.census.several.is_empty()))
        {
            return Ok(());
        }
        let now = self.system.now();
        let beyond = self.beyond();
        if !self.census.due {
            if beyond.is_some() && beyond <= self.census.beyond {
                // Lower: a birth had been counted and was told after.
                self.census.settle(beyond, 0, now);
                return Ok(());
            }
            self.count_threads()?;
            if self.census.several.is_empty() {
                self.census.settle(beyond, 0, now);
                return Ok(());
            }
            let next = self.census.looked + PACE;
            if now < next && !self.census.urgent {
                return self.wake(next - now);
            }
        }
        self.census.looked = now;
        let Looked { foreign, young } = self.look(out)?;
        if young && !self.census.urgent {
            self.census.due = true;
            return self.wake(SETTLED);
        }
        let (beyond, time) = (self.beyond(), self.system.now());
        let unexplained = match (beyond, self.census.beyond) {
            (Some(now), Some(before)) => now - before > foreign,
            _ => true,
        };
        if unexplained && !self.census.several.is_empty() {
            self.doubts.add(0);
        }
        self.census.settle(beyond, foreign, time);
        self.forget_the_reaped()
    }

    /// There are as many at most as there are pids, and fewer where the table is read anyway.
    fn forget_the_reaped(&mut self) -> io::Result<()> {
        if self.ended.len() > REMEMBERED {
            let there: FxHashSet<u32> = self.system.entries()?.iter().map(|entry| entry.pid).collect();
            self.ended.retain(|pid, _| there.contains(pid));
        }
        Ok(())
    }

    /// Who of those that have forked has several threads, or is not there to be asked.
    fn count_threads(&mut self) -> io::Result<()> {
        for pid in std::mem::take(&mut self.census.forkers) {
            if self.system.entry(pid)?.is_none_or(|entry| entry.threads != 1) {
                self.census.several.insert(pid);
            }
        }
        Ok(())
    }

    /// Reads the process table and follows whom nobody told of.
    fn look(&mut self, out: &mut Vec<Stamped>) -> io::Result<Looked> {
        let mut looked = Looked::default();
        for _ in 0..PASSES {
            let entries = self.system.entries()?;
            // Who is in the table had been told of by now, or has been missed; or is being born.
            let begun = out.len();
            self.round(out)?;
            let now = self.system.now();
            let mut found = self.missed(&entries);
            let missed: FxHashSet<u32> = found.iter().map(|entry| entry.pid).collect();
            looked.young = found.iter().any(|entry| entry.start + SETTLED > now);
            found.retain(|entry| entry.start + SETTLED <= now);
            let since = self.census.since;
            // Who has been given to init may have had one for a parent that is followed.
            let foreign = |entry: &&Entry| {
                entry.start > since
                    && entry.parent != INIT
                    && !self.members.contains_key(&entry.pid)
                    && !self.was_told(entry)
                    && !missed.contains(&entry.pid)
            };
            looked.foreign = entries.iter().filter(foreign).count() as i64;
            if found.is_empty() {
                break;
            }
            if self.system.adopts_orphans() && found.iter().any(|entry| entry.parent == self.me) {
                // Of whom it was born is not to be seen: perhaps of somebody who has ended since.
                self.doubts.add(0);
            }
            for entry in found {
                self.adopt(entry, begun, out)?;
            }
        }
        Ok(looked)
    }

    /// Who is below somebody that is followed, and is not; parents first.
    fn missed(&self, entries: &[Entry]) -> Vec<Entry> {
        let mut children: FxHashMap<u32, Vec<Entry>> = FxHashMap::default();
        for entry in entries {
            children.entry(entry.parent).or_default().push(*entry);
        }
        let mut missed: Vec<Entry> = Vec::new();
        for parent in self.members.keys() {
            let candidates = children.get(parent).into_iter().flatten().filter(|entry| self.is_missed(entry));
            missed.extend(candidates);
        }
        let mut next = 0;
        while next < missed.len() {
            let below = children.get(&missed[next].pid).into_iter().flatten();
            missed.extend(below.filter(|entry| self.is_missed(entry)).copied());
            next += 1;
        }
        missed
    }

    fn is_missed(&self, entry: &Entry) -> bool {
        // This program's own children of before are nobody's business.
        let before = entry.parent == self.me && entry.start < self.opened;
        let known = self.members.get(&entry.pid);
        !before
            && !self.was_told(entry)
            && entry.pid != entry.parent
            && known.is_none_or(|member| member.ended.is_some())
    }

    /// Whether it is the zombie of somebody whose end has been told.
    fn was_told(&self, entry: &Entry) -> bool {
        self.ended.get(&entry.pid).is_some_and(|ended| entry.start <= *ended)
    }

    /// Tells of somebody whose birth nobody told of, and follows it. Its parent may have ended since it was looked at, which was told from
    /// `begun` on.
    fn adopt(&mut self, entry: Entry, begun: usize, out: &mut Vec<Stamped>) -> io::Result<()> {
        let (time, pid, parent) = (self.system.now(), entry.pid, entry.parent);
        let fork = |time| Stamped { time, change: Change::Fork { parent, thread: parent, child: pid } };
        let is_end =
            |stamped: &Stamped| matches!(stamped.change, Change::End { process, .. } if process == parent);
        match out[begun..].iter().position(is_end) {
            Some(at) => out.insert(begun + at, fork(out[begun + at].time)),
            None => out.push(fork(time)),
        }
        self.census.born(None);
        if entry.is_zombie() {
            if entry.executed {
                out.push(Stamped { time, change: Change::Exec { process: pid } });
            }
            self.synthesize_end(pid, entry.status, time, out);
            return Ok(());
        }
        let on = self.follow_on_all(pid, time)?;
        self.members.insert(pid, Member { parent, on, seen: time, ..Member::default() });
        self.tell_missed_exec(Some(entry), pid, time, out)?;
        if self.queues().all(|queue| on[queue as usize] == Heard::No) {
            // By none, though it is there.
            out.push(Stamped { time, change: Change::Unseen { process: pid } });
        } else if !on.contains(&Heard::Follows) {
            let status = self.system.entry(pid)?.and_then(|entry| entry.status);
            self.synthesize_end(pid, status, time, out);
        }
        Ok(())
    }

    fn follow_on_all(&mut self, pid: u32, there: u64) -> io::Result<[Heard; 2]> {
        self.forget_ended(pid)?;
        let mut on = self.on(Heard::No);
        for queue in self.queues() {
            on[queue as usize] = self.follow(queue, pid, there)?;
        }
        Ok(on)
    }

    /// A note that has yet to tell of the pid's last owner would be taken for that of this one (C8).
    fn forget_ended(&mut self, pid: u32) -> io::Result<()> {
        if self.members.get(&pid).is_some_and(|member| member.ended.is_some()) {
            self.members.remove(&pid);
            for queue in self.queues() {
                self.system.delete(queue, pid)?;
            }
        }
        Ok(())
    }

    /// Without NOTE_TRACK: who has forked is asked for its children, and each of them for theirs. A child that has lost its parent by then is
    /// not found.
    pub(super) fn look_for_children(&mut self, forked: Vec<u32>, out: &mut Vec<Stamped>) -> io::Result<()> {
        let mut parents = forked;
        while let Some(parent) = parents.pop() {
            for child in self.system.children(parent)? {
                let Some(entry) = self.system.entry(child)?.filter(|entry| entry.parent == parent) else {
                    continue;
                };
                if self.is_missed(&entry) {
                    self.adopt(entry, out.len(), out)?;
                    parents.push(child);
                }
            }
        }
        Ok(())
    }

    /// Follows a process that runs already. A zombie needs no following.
    pub(super) fn attach(&mut self, pid: u32) -> io::Result<()> {
        if self.lives(pid) {
            return Ok(());
        }
        let gone = || io::Error::from_raw_os_error(libc::ESRCH);
        let entry = self.system.entry(pid)?.ok_or_else(gone)?;
        if entry.is_zombie() {
            return Ok(());
        }
        self.forget_ended(pid)?;
        let mut on = self.on(Heard::No);
        for queue in self.queues() {
            // Not by `follow`: who asked is told why not.
            match self.system.add(queue, pid) {
                Ok(()) => on[queue as usize] = Heard::Follows,
                Err(error) => {
                    for queue in self.queues() {
                        self.system.delete(queue, pid)?;
                    }
                    let zombie = self.system.entry(pid)?.is_some_and(Entry::is_zombie);
                    return if zombie { Ok(()) } else { Err(error) };
                }
            }
        }
        let seen = self.system.now();
        self.members.insert(pid, Member { parent: entry.parent, on, seen, ..Member::default() });
        Ok(())
    }

    /// The same for all below it now. Who is born to somebody before that one is followed is found in the next pass.
    pub(super) fn attach_tree(&mut self, root: u32) -> io::Result<Vec<u32>> {
        self.attach(root)?;
        let mut tree = vec![root];
        for _ in 0..PASSES {
            let mut children: FxHashMap<u32, Vec<Entry>> = FxHashMap::default();
            for entry in self.system.entries()? {
                children.entry(entry.parent).or_default().push(entry);
            }
            let before = tree.len();
            let mut next = 0;
            while next < tree.len() {
                for entry in children.remove(&tree[next]).unwrap_or_default() {
                    if entry.pid == entry.parent || tree.contains(&entry.pid) {
                        continue;
                    }
                    match self.attach(entry.pid) {
                        Ok(()) => tree.push(entry.pid),
                        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
                        Err(error) => return Err(error),
                    }
                }
                next += 1;
            }
            if tree.len() == before {
                return Ok(tree);
            }
        }
        // They are born faster than they are followed: who was missed is looked for.
        self.census.due = true;
        Ok(tree)
    }

    /// The reactor has found it below somebody who is followed, and has it in its table: if it ends before it is followed, nobody else
    /// tells.
    pub(super) fn found(&mut self, pid: u32, out: &mut Vec<Stamped>) {
        if let Err(error) = self.attach(pid) {
            tracing::debug!(%error, pid, "found, and not followed");
        }
        let entry = self.system.entry(pid).ok().flatten();
        if !self.lives(pid) && entry.is_none_or(Entry::is_zombie) {
            let (time, status) = (self.system.now(), entry.and_then(|entry| entry.status));
            out.push(Stamped { time, change: Change::End { process: pid, status } });
        }
        // What it has started is looked for in the next turn.
        self.census.due = true;
    }

    /// After something was lost: everything up to now, with whom only the table knows of.
    pub(super) fn settle(&mut self, out: &mut Vec<Stamped>) -> io::Result<Loss> {
        if std::mem::take(&mut self.doubts.notes) {
            self.set_all_anew()?;
        }
        if self.kernel.tracks {
            self.look(out)?;
        }
        self.drop_the_dead(out)?;
        let doubts = std::mem::take(&mut self.doubts);
        Ok(Loss { count: doubts.count, exact: false })
    }

    /// A birth may have been told of somebody who has no note. Where there is one, nothing is changed by it (C7).
    fn set_all_anew(&mut self) -> io::Result<()> {
        let living = self.members.iter().filter(|(_, member)| member.ended.is_none());
        let living: Vec<u32> = living.map(|(pid, _)| *pid).collect();
        let now = self.system.now();
        for pid in living {
            let on = self.follow_on_all(pid, now)?;
            let Some(member) = self.members.get_mut(&pid) else { continue };
            for (heard, now) in member.on.iter_mut().zip(on) {
                if *heard == Heard::No {
                    *heard = now;
                }
            }
        }
        Ok(())
    }

    /// Who is followed, and is not there: its end was lost. Who is only not in the list (some systems leave out whom one may not look at)
    /// is asked for by itself.
    fn drop_the_dead(&mut self, out: &mut Vec<Stamped>) -> io::Result<()> {
        let members: Vec<u32> = self.members.keys().copied().filter(|pid| *pid != self.me).collect();
        let entries: FxHashMap<u32, Entry> =
            self.system.entries()?.into_iter().map(|entry| (entry.pid, entry)).collect();
        let dead = |pid: &u32| entries.get(pid).is_none_or(|entry| entry.is_zombie());
        let dead: Vec<u32> = members.into_iter().filter(dead).collect();
        let begun = out.len();
        self.round(out)?;
        let time = self.system.now();
        // A pid that was born again meanwhile is another's.
        let reborn: FxHashSet<u32> = out[begun..]
            .iter()
            .filter_map(|stamped| match stamped.change {
                Change::Fork { child, .. } => Some(child),
                _ => None,
            })
            .collect();
        for pid in dead.into_iter().filter(|pid| !reborn.contains(pid)) {
            if let Some(seen) =
                self.members.get(&pid).filter(|member| member.ended.is_none()).map(|it| it.seen)
            {
                let is_it = |entry: &Entry| entry.start <= seen;
                let entry = self.system.entry(pid)?.filter(is_it);
                if entry.is_some_and(|entry| !entry.is_zombie()) {
                    continue;
                }
                let entry = entry.or(entries.get(&pid).copied().filter(is_it));
                let status = entry.and_then(|entry| entry.status);
                self.synthesize_end(pid, status, time, out);
            } else {
                self.members.remove(&pid);
            }
        }
        Ok(())
    }
}

/// What reading the table came to.
#[derive(Clone, Copy, Debug, Default)]
struct Looked {
    /// Who was born since the last settling, and is nobody's that is followed.
    foreign: i64,
    /// Somebody was born so lately that it may still be told of.
    young: bool,
}
