//! Following processes with two queues: a round reads both until they are empty, asks about what they disagree on, and tells the
//! rest.
//!
//! The fuller queue is read before the other and after it, so that what the other told of an end was in the fuller one's hands when that
//! was last read. If it has told nothing then, its note has lost the end, and with it an exec (seed/reproduced.md).

use std::io;

use rustc_hash::{FxHashMap, FxHashSet};

use super::census::Census;
use super::kernels::Kernel;
use super::lives::{Heard, Life, Lives, Member};
use super::order::Order;
use super::system::{Entry, Note, Queue, System};
use crate::event::{Change, Stamped};

/// Events of one call.
const ROOM: usize = 512;
/// A fork sets a child's notes one after the other, and both are there after so many nanoseconds, if they will be: what was told by one
/// queue only is looked into then, and not before.
pub(super) const SETTLED: u64 = 2_000_000;
/// Notes of one pid that are taken away before it is followed anew.
const LEFTOVERS: usize = 8;

/// Follows processes on a kernel that is not believed.
#[derive(Debug)]
pub(crate) struct Follower<S> {
    pub(super) system: S,
    pub(super) kernel: Kernel,
    pub(super) members: FxHashMap<u32, Member>,
    pub(super) me: u32,
    /// When it began.
    pub(super) opened: u64,
    round: Vec<(Queue, Note)>,
    /// Where in it the fuller queue was read again.
    again: usize,
    notes: Vec<Note>,
    /// Who was told of by one queue only, and since when.
    alone: FxHashMap<u32, u64>,
    /// Who ended in the last round before one of the queues could tell of them.
    late: Vec<u32>,
    /// Whose end was told last under a pid, and when: a zombie of it is no news.
    pub(super) ended: FxHashMap<u32, u64>,
    /// Pids that may have a note on the fuller queue which tells of nothing any more.
    stale: FxHashSet<u32>,
    /// Whose notes were taken away in the round before this.
    probed: FxHashSet<u32>,
    /// Ended before they could be followed on a queue, and are yet to be told by the other; and when they were told of.
    gone: FxHashMap<u32, u64>,
    /// When the alarm rings that was asked for in this round.
    alarm: Option<u64>,
    pub(super) census: Census,
    pub(super) doubts: Doubts,
}

/// What is to be told as a loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Doubts {
    /// Something may be missing.
    pub(super) some: bool,
    /// So many changes are, at least.
    pub(super) count: u64,
    /// Notes may be missing (NOTE_TRACKERR).
    pub(super) notes: bool,
}

impl Doubts {
    pub(super) fn add(&mut self, count: u64) {
        self.some = true;
        self.count += count;
    }
}

impl<S: System> Follower<S> {
    /// Follows this program, so that whom it starts is followed from birth, by whichever thread.
    ///
    /// # Errors
    /// The system does not let it.
    pub(crate) fn new(system: S, kernel: Kernel, me: u32) -> io::Result<Self> {
        let opened = system.now();
        let mut follower = Self {
            system,
            kernel,
            members: FxHashMap::default(),
            me,
            opened,
            round: Vec::new(),
            again: 0,
            notes: Vec::new(),
            alone: FxHashMap::default(),
            late: Vec::new(),
            ended: FxHashMap::default(),
            stale: FxHashSet::default(),
            probed: FxHashSet::default(),
            gone: FxHashMap::default(),
            alarm: None,
            census: Census::default(),
            doubts: Doubts::default(),
        };
        for queue in follower.queues() {
            follower.system.add(queue, me)?;
        }
        let on = follower.on(Heard::Follows);
        follower.members.insert(me, Member { parent: 0, on, ..Member::default() });
        follower.begin_census();
        Ok(follower)
    }

    /// Those that are in use: the other one is of use only where the kernel tracks.
    pub(super) fn queues(&self) -> impl Iterator<Item = Queue> + use<S> {
        let count = if self.kernel.tracks { 2 } else { 1 };
        Queue::BOTH.into_iter().take(count)
    }

    /// `heard` on the queues that are in use.
    pub(super) fn on(&self, heard: Heard) -> [Heard; 2] {
        [heard, if self.kernel.tracks { heard } else { Heard::Ended }]
    }

    pub(super) fn lives(&self, pid: u32) -> bool {
        self.members.get(&pid).is_some_and(|member| member.ended.is_none())
    }

    /// Reads all that is queued and tells it. True if there was anything.
    pub(super) fn round(&mut self, out: &mut Vec<Stamped>) -> io::Result<bool> {
        let time = self.system.now();
        // Whoever waits for one asks anew.
        self.alarm = None;
        let mut gone = self.look_for_the_gone()?;
        self.round.clear();
        self.read(Queue::Full)?;
        if self.kernel.tracks {
            self.read(Queue::Ends)?;
            self.again = self.round.len();
            self.read(Queue::Full)?;
        } else {
            let forked = self.round.iter().filter(|(_, note)| note.is_fork()).map(|(_, note)| note.pid);
            self.look_for_children(forked.collect(), out)?;
        }
        let mut all = Lives::new(&self.kernel, &self.members, &self.round, self.again);
        let suspects: Vec<u32> =
            all.lives.iter().filter(|life| life.is_suspect()).map(|life| life.pid).collect();
        if !suspects.is_empty() {
            // The end may be on its way from the one queue's note to the other's, under the process's lock. Who looks it up waits for that.
            for &pid in &suspects {
                self.system.entry(pid)?;
            }
            self.read(Queue::Full)?;
            all = Lives::new(&self.kernel, &self.members, &self.round, self.again);
        }
        for &pid in &all.doubtful {
            self.doubts.add(0);
            self.stale.insert(pid);
        }
        self.see_who_is_born_again(&all.lives)?;
        self.see_who_is_born_to_nobody(&all);
        self.see_trouble();
        self.name_parents(&mut all)?;
        self.probe(&mut all)?;
        let round = std::mem::take(&mut self.round);
        let mut order = Order::new(&all, time);
        order.tell(&all, &round, out);
        let unsaid = order.unsaid;
        if unsaid > 0 {
            self.doubts.add(unsaid);
        }
        self.round = round;
        self.take(&all.lives, time);
        // The pid is the next one's.
        gone.retain(|(pid, _)| !all.has_births(*pid));
        self.tell_the_gone(gone, time, out)?;
        self.join_the_alone(time, out)?;
        Ok(!self.round.is_empty())
    }

    /// Has the next round begin so many nanoseconds from now at the latest. The system knows of one alarm only.
    pub(super) fn wake(&mut self, after: u64) -> io::Result<()> {
        let at = self.system.now() + after;
        if self.alarm.is_some_and(|alarm| alarm <= at) {
            return Ok(());
        }
        self.alarm = Some(at);
        self.system.alarm(after)
    }

    /// Reads a queue until it is empty: an end may stand before a birth that preceded it, for it has the place of an exec.
    fn read(&mut self, queue: Queue) -> io::Result<()> {
        loop {
            let read = self.system.read(queue, &mut self.notes, ROOM)?;
            self.round.extend(self.notes.drain(..).map(|note| (queue, note)));
            if read < ROOM {
                return Ok(());
            }
        }
    }

    /// Whose birth is told again, in another round, who is not there any more or has a successor.
    fn see_who_is_born_again(&mut self, lives: &[Life]) -> io::Result<()> {
        for life in lives.iter().filter(|life| life.again) {
            let seen = self.members.get(&life.pid).map_or(0, |member| member.seen);
            if self.system.entry(life.pid)?.is_none_or(|entry| entry.start > seen) {
                self.doubts.add(0);
                self.stale.insert(life.pid);
            }
        }
        Ok(())
    }

    /// Who has a parent that is not followed: it was missed, and its pid is one that had a note.
    fn see_who_is_born_to_nobody(&mut self, all: &Lives) {
        let parents = all.lives.iter().filter(|life| !life.known).filter_map(|life| life.parent);
        let nobody = |parent: &u32| !self.lives(*parent) && !all.has_births(*parent);
        if parents.into_iter().any(|parent| nobody(&parent)) {
            self.doubts.add(0);
        }
    }

    /// A child could not be tracked (C30).
    fn see_trouble(&mut self) {
        let told = self.round.iter().filter(|(_, note)| note.is_trouble()).count() as u64;
        if told > 0 {
            self.doubts.add(told);
            self.doubts.notes = true;
        }
    }

    /// Where births merged with ends on both queues (C25), the table may still say whose child it was.
    fn name_parents(&mut self, all: &mut Lives) -> io::Result<()> {
        for life in all.lives.iter_mut().filter(|life| !life.known && life.parent.is_none()) {
            let entry = self.system.entry(life.pid)?.filter(|entry| entry.is_zombie());
            // Who adopts orphans is not followed.
            let parent = entry.map(|entry| entry.parent).filter(|parent| self.members.contains_key(parent));
            match parent {
                Some(parent) => life.parent = Some(parent),
                // Nobody can be told of it: its birth and its end.
                None => self.doubts.add(2),
            }
        }
        Ok(())
    }

    /// Where the fuller queue follows somebody who has ended by the other's word, and said nothing: its note has lost an exec with the
    /// end if it is still there, and nothing if it is not (it had told the end of the pid's last owner by it).
    fn probe(&mut self, all: &mut Lives) -> io::Result<()> {
        let before = std::mem::take(&mut self.probed);
        for index in 0..all.lives.len() {
            let life = &all.lives[index];
            let pid = life.pid;
            if before.contains(&pid) && !life.known {
                // The note that was taken away then may have been this one's, and what it had to tell is lost.
                self.doubts.add(0);
                self.stale.insert(pid);
                if let Err(error) = self.system.add(Queue::Full, pid) {
                    tracing::debug!(%error, pid, "its note was taken away, and it gets no other");
                }
            }
            if life.exit.is_some() && !life.over && life.on[Queue::Full as usize] == Heard::No {
                // Nobody would have told of an exec. A zombie still shows that it had one.
                match self.system.entry(pid)?.filter(|entry| entry.is_zombie() && all.later(index).is_empty())
                {
                    Some(entry) => all.lives[index].execs += u32::from(entry.executed),
                    None => self.doubts.add(0),
                }
                continue;
            }
            if !life.is_suspect() {
                continue;
            }
            // Of two notes of one pid the younger is taken away first.
            let later_lives =
                all.later(index).iter().any(|later| later.on[Queue::Full as usize] == Heard::Follows);
            let reused = self.system.entry(pid)?.is_some_and(|entry| !entry.is_zombie() && !entry.ending);
            if later_lives || (reused && all.later(index).is_empty()) {
                self.doubts.add(0);
                self.stale.insert(pid);
            } else {
                if self.system.delete(Queue::Full, pid)? {
                    // While its zombie is there the pid is nobody else's, and nobody else's note was taken away.
                    if !self.system.entry(pid)?.is_some_and(Entry::is_zombie) {
                        self.probed.insert(pid);
                    }
                    if self.doubts.notes {
                        // NOTE_TRACKERR makes a note active like an exec does.
                        self.doubts.add(0);
                    } else {
                        all.lives[index].execs += 1;
                    }
                }
            }
            all.lives[index].on[Queue::Full as usize] = Heard::Ended;
        }
        Ok(())
    }

    /// What is known of the members after a round.
    fn take(&mut self, lives: &[Life], time: u64) {
        let late = std::mem::take(&mut self.late);
        // All of them had ended by then.
        let now = self.system.now();
        lives.iter().filter(|life| !life.known).for_each(|life| self.census.born(life.parent));
        for life in lives {
            let pid = life.pid;
            if life.exit.is_some() && !life.over {
                self.census.ended(pid);
                self.ended.insert(pid, now);
                self.gone.remove(&pid);
            }
            let over = life.over || life.exit.is_some();
            // Who was born after a queue was read is told of by it in the next round.
            let late = !life.over && life.on == [Heard::Ended, Heard::No];
            if late {
                self.late.push(pid);
            }
            if over && !late && !life.on.contains(&Heard::Follows) {
                self.members.remove(&pid);
                self.alone.remove(&pid);
                continue;
            }
            let ended = over.then_some(time);
            let parent = life.parent.unwrap_or(0);
            let before = self.members.get(&pid).filter(|_| life.known);
            let seen = before.map_or(now, |before| before.seen);
            let ended = before.and_then(|before| before.ended).or(ended);
            self.members.insert(pid, Member { parent, on: life.on, seen, ended, late });
            let since = self.alone.remove(&pid).filter(|_| life.known).unwrap_or(now);
            if !over && life.on.contains(&Heard::No) {
                self.alone.insert(pid, since);
            }
        }
        self.census.read(time);
        for pid in late.into_iter().filter(|pid| !self.late.contains(pid)) {
            if self.members.get(&pid).is_some_and(|member| member.late) {
                self.members.remove(&pid);
            }
        }
    }

    /// Who was told of by one queue only is followed by the other from now on.
    fn join_the_alone(&mut self, time: u64, out: &mut Vec<Stamped>) -> io::Result<()> {
        let due = self.alone.iter().filter(|(_, since)| time >= **since + SETTLED);
        let due: Vec<(u32, u64)> = due.map(|(pid, since)| (*pid, *since)).collect();
        for (pid, since) in due {
            self.alone.remove(&pid);
            let Some(member) = self.members.get(&pid).filter(|member| member.ended.is_none()) else {
                continue;
            };
            let Some(queue) = Queue::BOTH.into_iter().find(|queue| member.on[*queue as usize] == Heard::No)
            else {
                continue;
            };
            let before = self.system.entry(pid)?.filter(|entry| entry.start <= since);
            let heard = if before.is_some() { self.follow(queue, pid, since)? } else { Heard::Ended };
            if queue == Queue::Full && heard != Heard::Follows {
                // The other one will say how it ends, and whether it ran a program is asked then.
                continue;
            }
            if let Some(member) = self.members.get_mut(&pid) {
                member.on[queue as usize] = heard;
            }
            if heard == Heard::Ended {
                self.gone.insert(pid, since);
            } else if queue == Queue::Full {
                self.tell_missed_exec(before, pid, time, out)?;
            }
        }
        if !self.alone.is_empty() || !self.gone.is_empty() {
            self.wake(SETTLED)?;
        }
        Ok(())
    }

    /// Sets a note on who was there at some time, and clears away first what may be left of another process. What `Ended` means is
    /// that there is nobody to set it on.
    pub(super) fn follow(&mut self, queue: Queue, pid: u32, there: u64) -> io::Result<Heard> {
        if queue == Queue::Full && self.stale.remove(&pid) {
            for _ in 0..LEFTOVERS {
                if !self.system.delete(queue, pid)? {
                    break;
                }
            }
        }
        match self.system.add(queue, pid) {
            Ok(()) => {
                // Else the pid had another owner by then.
                let same = self.system.entry(pid)?.is_none_or(|entry| entry.start <= there);
                if !same {
                    self.system.delete(queue, pid)?;
                }
                Ok(if same { Heard::Follows } else { Heard::Ended })
            }
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(Heard::Ended),
            Err(error) => {
                // No memory, mostly: one queue has to do, and what it misses is missing.
                tracing::debug!(%error, pid, "not followed by one of the queues");
                self.doubts.add(0);
                Ok(Heard::No)
            }
        }
    }

    /// The exec of somebody whom the fuller queue did not follow yet: who has run a program since its birth has done it unseen.
    pub(super) fn tell_missed_exec(
        &mut self,
        before: Option<Entry>,
        pid: u32,
        time: u64,
        out: &mut Vec<Stamped>,
    ) -> io::Result<()> {
        let executed = before.is_some_and(|entry| entry.executed);
        if executed {
            out.push(Stamped { time, change: Change::Exec { process: pid } });
        } else if self.system.entry(pid)?.is_some_and(|entry| entry.executed) {
            // While its note was set: it may be told, and may not.
            self.doubts.add(0);
        }
        Ok(())
    }

    /// Of those who could not be followed by both queues any more, who has ended: what the one that follows them has of it can be read.
    fn look_for_the_gone(&mut self) -> io::Result<Vec<(u32, Option<i32>)>> {
        let mut gone = Vec::new();
        for (pid, since) in std::mem::take(&mut self.gone) {
            match self.system.entry(pid)?.filter(|entry| entry.start <= since) {
                // Ending, which takes as long as closing its files does.
                Some(entry) if !entry.is_zombie() => drop(self.gone.insert(pid, since)),
                entry => gone.push((pid, entry.and_then(|entry| entry.status))),
            }
        }
        Ok(gone)
    }

    /// Nothing was to be read of their ends.
    fn tell_the_gone(
        &mut self,
        gone: Vec<(u32, Option<i32>)>,
        time: u64,
        out: &mut Vec<Stamped>,
    ) -> io::Result<()> {
        for (pid, status) in gone {
            if !self.lives(pid) {
                continue;
            }
            if self.kernel.tracks && self.system.delete(Queue::Full, pid)? {
                out.push(Stamped { time, change: Change::Exec { process: pid } });
            }
            self.synthesize_end(pid, status, time, out);
        }
        Ok(())
    }

    /// An end that no note tells of.
    pub(super) fn synthesize_end(
        &mut self,
        pid: u32,
        status: Option<i32>,
        time: u64,
        out: &mut Vec<Stamped>,
    ) {
        self.members.remove(&pid);
        self.alone.remove(&pid);
        self.census.ended(pid);
        self.ended.insert(pid, self.system.now());
        out.push(Stamped { time, change: Change::End { process: pid, status } });
    }
}
