//! How processes ended. The records tell no status, so pidfds are opened at birth, as many as the budget allows; short-lived
//! processes may be gone by then.
//!
//! What a pidfd stands for must be sure (K2, K9). Opened between the records of birth and end, it is the process's, for the
//! id was nobody else's meanwhile. Opened after the end, the id may have been used again; but if what it stands for has the
//! same parent, whose children are all told of, and no second birth of this id was written by the time that it had ended, it is
//! the same process. By the time that it was opened would not do: the kernel gives out an id before it writes the birth, but lets
//! nobody run before. Of this program's own children all are told of only that the same thread makes: it has to be among that thread's.
//!
//! An end is told when the process can be waited for, and holds back nobody else's. Where ends come thick and fast (see
//! [`pace`](super::pace)) those of others' children are told when the next records are read, by when the parent has mostly reaped
//! them, and the kernel tells the status of the reaped by one call. Who is not reaped within a millisecond is looked up in /proc, which
//! costs ten times that. The same goes for an end that may be none: by then a real one shows.

use std::os::fd::AsFd;

use super::super::pidfd::{Ended, Pidfd};
use super::super::{procfs, syscall};
use super::member::{Member, Witness};
use super::source::{Perf, START_SLACK};
use crate::event::{Change, Stamped};
use crate::source::Living;

/// How often a list is read that may lack some of those that should be in it.
const LOOKS: usize = 3;

/// How many pidfds are given up at once.
const SHED: usize = 8;

/// Nanoseconds that who has ended has to be reaped before it is looked for in /proc.
pub(super) const REAPING: u64 = 1_000_000;

/// Nanoseconds between two looks at those who are followed by nothing, and between two that read /proc for it.
const BLIND_PAUSE: u64 = 10_000_000;
const CLOSE_LOOK: u64 = 1_000_000_000;

/// What can be said of an end now.
enum Verdict {
    /// Its status, or that there is none to be had.
    Told(Option<i32>),
    /// Not yet: the kernel is at it, and the pidfd will tell.
    Await,
    /// Not before everything is read that was written until what its pidfd stands for had ended.
    ReadOn,
}

/// When what a late pidfd stands for is seen to have ended.
fn see_late_end(member: &mut Member, ended: u64) {
    if !member.is_witness_late(ended) {
        return;
    }
    let parent = member.parent;
    if let Some(witness) = member.witness.as_mut().filter(|witness| witness.seen_ended.is_none()) {
        witness.ask_for_parent(parent);
        let over = !matches!(witness.pidfd.is_ended(), Ok(Ended::No));
        witness.seen_ended = over.then(syscall::monotonic);
    }
}

/// The status of one whose end was left for later, if it has been reaped.
fn see_reaped(member: &mut Member) {
    let asked = |witness: &&mut Witness| member.left && witness.reaped_with.is_none();
    if let Some(witness) = member.witness.as_mut().filter(asked) {
        witness.reaped_with = witness.pidfd.exit_status();
        if witness.reaped_with.is_some() {
            witness.seen_ended.get_or_insert_with(syscall::monotonic);
        }
    }
}

impl Perf {
    pub(super) fn open_witness(&mut self, process: u32, member: &mut Member) {
        if self.pidfds >= self.budget || member.witness.is_some() || member.gone {
            return;
        }
        let pidfd = match Pidfd::open(process) {
            Ok(pidfd) => pidfd,
            Err(error) => {
                member.gone = error.raw_os_error() == Some(libc::ESRCH);
                return;
            }
        };
        let opened = syscall::monotonic();
        self.put_witness(member, pidfd, opened);
    }

    pub(super) fn put_witness(&mut self, member: &mut Member, pidfd: Pidfd, opened: u64) {
        if self.pidfds >= self.budget || member.witness.is_some() {
            return;
        }
        member.witness = Some(Witness::new(pidfd, opened));
        self.pidfds += 1;
    }

    pub(super) fn take_witness(&mut self, member: &mut Member) {
        let Some(witness) = member.witness.take() else { return };
        self.pidfds -= 1;
        if witness.awaited {
            // A child that was forked meanwhile may have a copy, which would keep it there.
            self.epoll.remove(witness.pidfd.as_fd());
            self.awaited -= 1;
        }
    }

    /// Tells of those whose last thread has ended what can be told. True if there is more to read before it can be.
    pub(super) fn look_into_ends(&mut self, out: &mut Vec<Stamped>) -> bool {
        let mut read_on = false;
        let now = if self.ending.is_empty() { 0 } else { syscall::monotonic() };
        for pid in std::mem::take(&mut self.ending) {
            let Some(mut member) = self.members.remove(&pid) else { continue };
            let Some(ended) = member.ended else {
                self.members.insert(pid, member);
                continue;
            };
            // A child of ours stays until we wait for it.
            self.open_witness(pid, &mut member);
            if member.parent == self.me {
                self.look_for_the_maker(pid, &mut member, ended);
            }
            see_reaped(&mut member);
            if !member.is_reaped() && self.is_for_later(&member, ended, now) {
                member.left = true;
                self.later.push(pid);
                self.members.insert(pid, member);
                continue;
            }
            see_late_end(&mut member, ended);
            let verdict = self.verdict(pid, &member, ended);
            let doubted = member.end_doubted && !member.is_reaped();
            if doubted && self.lives_on(pid, &member, ended) {
                (member.ended, member.end_recorded, member.end_doubted) = (None, false, false);
                self.members.insert(pid, member);
                self.lose_sight(pid, ended, out);
                continue;
            }
            match verdict {
                Verdict::Told(status) => {
                    out.push(Stamped { time: ended, change: Change::End { process: pid, status } });
                    self.drop_member(member);
                    continue;
                }
                Verdict::Await => {
                    if !self.await_end(pid, &mut member) {
                        out.push(Stamped { time: ended, change: Change::End { process: pid, status: None } });
                        self.drop_member(member);
                        continue;
                    }
                }
                Verdict::ReadOn => {
                    read_on = true;
                    self.ending.push(pid);
                }
            }
            self.members.insert(pid, member);
        }
        read_on
    }

    /// Whether the end of this one is best told later, by when it has been reaped: where ends come fast, and the reaper is somebody
    /// else, and its status is to be had from what was its own.
    pub(super) fn is_for_later(&self, member: &Member, ended: u64, now: u64) -> bool {
        // Of own children more is to be had, and sooner; so is of orphans that are ours to reap.
        let others = member.parent != self.me && !self.reaps_orphans;
        let witness = |witness: &Witness| !member.is_witness_late(ended) || witness.same_parent == Some(true);
        others
            && now < ended + REAPING
            && self.pace.is_fast(now)
            && member.witness.as_ref().is_some_and(witness)
            && Pidfd::outlives_reaping()
    }

    /// Those whose ends were left for later are due.
    pub(super) fn take_up_the_later(&mut self) {
        self.ending.append(&mut self.later);
    }

    /// Whether what a late pidfd stands for was made by the thread that made the process, by the kernel's list of that one's
    /// children. It is in it until it is reaped.
    fn look_for_the_maker(&self, pid: u32, member: &mut Member, ended: u64) {
        let late = |witness: &Witness| member.may_be_late(witness.opened, ended) && !witness.same_maker;
        if member.witness.as_ref().is_some_and(late) {
            let listed = self.is_child_of_maker(pid, member);
            if let Some(witness) = &mut member.witness {
                witness.same_maker =
                    listed && !matches!(witness.pidfd.is_ended(), Ok(Ended::Reaped) | Err(_));
            }
        }
    }

    fn verdict(&self, pid: u32, member: &Member, ended: u64) -> Verdict {
        let Some(witness) = &member.witness else { return Verdict::Told(None) };
        if member.may_be_late(witness.opened, ended) {
            if witness.same_parent != Some(true) || (member.parent == self.me && !witness.same_maker) {
                return Verdict::Told(None);
            }
            match witness.seen_ended {
                None => return Verdict::Await,
                Some(seen) if seen >= self.read_to => return Verdict::ReadOn,
                Some(_) => {}
            }
        }
        if witness.reaped_with.is_some() {
            return Verdict::Told(witness.reaped_with);
        }
        let pidfd = &witness.pidfd;
        match pidfd.is_ended() {
            Ok(Ended::No) => Verdict::Await,
            Ok(Ended::Zombie) => {
                let own = if member.parent == self.me { pidfd.peek().ok().flatten() } else { None };
                let status = own.or_else(|| procfs::zombie_status(pid));
                // An orphan that came to us: nobody else will reap it, unless the program waits for just anybody.
                if self.reaps_orphans && member.parent != self.me {
                    if let Ok(Some(status)) = pidfd.reap() {
                        return Verdict::Told(Some(status));
                    }
                }
                // What was read by its id was its own if it has not been reaped meanwhile.
                match pidfd.is_ended() {
                    Ok(Ended::Reaped) => Verdict::Told(pidfd.status_of_reaped()),
                    _ => Verdict::Told(status),
                }
            }
            Ok(Ended::Reaped) => Verdict::Told(pidfd.status_of_reaped()),
            Err(_) => Verdict::Told(None),
        }
    }

    /// Has the epoll tell of its end; false if that cannot be.
    pub(super) fn await_end(&mut self, pid: u32, member: &mut Member) -> bool {
        let parent = member.parent;
        let Some(witness) = &mut member.witness else { return false };
        if !witness.awaited {
            // Whoever has been reaped by the time that it is told of has none any more.
            witness.ask_for_parent(parent);
            witness.awaited = self.epoll.add(witness.pidfd.as_fd(), u64::from(pid)).is_ok();
            self.awaited += usize::from(witness.awaited);
        }
        witness.awaited
    }

    /// Its id is in use again, so that it must have been reaped: what is known by now is all.
    pub(super) fn end_now(&mut self, process: u32, time: u64, out: &mut Vec<Stamped>) {
        let Some(member) = self.members.remove(&process) else { return };
        let ended = member.ended.unwrap_or(time);
        let sure = |witness: &&Witness| !member.may_be_late(witness.opened, ended);
        let status = member.witness.as_ref().filter(sure).and_then(|witness| witness.pidfd.exit_status());
        out.push(Stamped { time: ended, change: Change::End { process, status } });
        self.drop_member(member);
    }

    /// Gives up pidfds of some who live, whose statuses will then be unknown, and the room for them.
    pub(super) fn shed_witnesses(&mut self) -> bool {
        let spare = |member: &Member| {
            member.ended.is_none() && member.witness.as_ref().is_some_and(|witness| !witness.awaited)
        };
        let spare = self.members.iter().filter(|(_, member)| spare(member)).map(|(pid, _)| *pid);
        let shed: Vec<u32> = spare.take(SHED).collect();
        for pid in &shed {
            let Some(mut member) = self.members.remove(pid) else { continue };
            self.take_witness(&mut member);
            self.members.insert(*pid, member);
        }
        self.budget = self.pidfds;
        tracing::debug!(
            count = shed.len(),
            left = self.pidfds,
            "pidfds were given up for want of descriptors"
        );
        !shed.is_empty()
    }

    fn drop_member(&mut self, mut member: Member) {
        // The kernel has let go of the events by now; it had not when their records were read.
        self.some_ended |= !self.parted.is_empty();
        self.take_witness(&mut member);
    }

    /// Whether a process whose last thread's end was told lives on all the same. The kernel says so of one that it will not let us
    /// see into any more: one that runs a program that is setuid, or that may not be read.
    pub(super) fn lives_on(&self, process: u32, member: &Member, time: u64) -> bool {
        let Some(exiting) = procfs::exiting(process) else { return false };
        if exiting.is_exiting || exiting.start > time {
            return false;
        }
        // What was read was its own, if its pidfd was opened before its end and it has not been reaped since.
        let early = member.witness.as_ref().is_some_and(|witness| witness.opened < time);
        let alike = early || self.is_made_alike(process, member, exiting.parent);
        let alive = |witness: &Witness| matches!(witness.pidfd.is_ended(), Ok(Ended::No));
        alike && member.witness.as_ref().is_none_or(alive)
    }

    /// Whether who has the id of a process now can have been made by who made the process.
    fn is_made_alike(&self, process: u32, member: &Member, parent: u32) -> bool {
        if member.parent == self.me && member.maker != 0 {
            return self.is_child_of_maker(process, member);
        }
        let orphaned = || self.members.get(&member.parent).is_none_or(|parent| parent.ended.is_some());
        parent == member.parent || orphaned()
    }

    fn is_child_of_maker(&self, process: u32, member: &Member) -> bool {
        let list = || procfs::children_of_thread(self.me, member.maker);
        (0..LOOKS).any(|_| list().is_ok_and(|children| children.contains(&process)))
    }

    /// The kernel does not let us see any more what `process` does. It is followed anew where that is permitted; else its
    /// pidfd tells its end.
    pub(super) fn lose_sight(&mut self, process: u32, time: u64, out: &mut Vec<Stamped>) {
        out.push(Stamped { time, change: Change::Unseen { process } });
        let Some(mut member) = self.members.remove(&process) else { return };
        member.threads = crate::process::threads::Threads::Leader;
        // The process list has just shown it alive; no record will tell its end.
        member.seen = time;
        self.open_witness(process, &mut member);
        if !self.await_end(process, &mut member) {
            self.blind.insert(process);
        }
        self.members.insert(process, member);
        if let Err(error) = self.follow_threads(process) {
            tracing::debug!(process, %error, "it cannot be followed any more");
        }
    }

    /// The ends of those who are followed by nothing, not even a pidfd.
    pub(super) fn look_at_the_blind(&mut self) {
        if self.blind.is_empty() {
            return;
        }
        let now = syscall::monotonic();
        if now < self.looked_at_the_blind + BLIND_PAUSE {
            return;
        }
        // Whether somebody has the id is cheap to ask; whether it is a zombie, or another process, is not.
        let closely = now / CLOSE_LOOK != self.looked_at_the_blind / CLOSE_LOOK;
        self.looked_at_the_blind = now;
        let Self { blind, members, ending, .. } = self;
        blind.retain(|&pid| {
            let Some(member) = members.get_mut(&pid) else { return false };
            let same = |living: Living| {
                !living.is_zombie() && living.start <= member.born.saturating_add(START_SLACK)
            };
            let alive = member.ended.is_none()
                && syscall::exists(pid)
                && (!closely || procfs::look(pid).ok().flatten().is_some_and(same));
            if !alive && member.ended.is_none() {
                member.ended = Some(now);
                ending.push(pid);
            }
            alive
        });
    }
}
