//! Following processes that run already, without stopping them.
//!
//! An event on a thread is inherited by what the thread makes from then on; so every thread and every child that is there needs
//! one of its own; the children of each are looked up when it is followed. One fork of each thread can have been under way when its event was
//! opened: its record comes, and the child has not inherited. So the first fork of each is suspect, and its child is
//! followed by events of its own, and what it may have made by then; if it had inherited, everything of it is written twice and told
//! once (see [`Twins`](super::record::Twins)).
//!
//! What this misses: a child of a suspect that was born and had ended before the suspect was followed.

use std::io;

use rustc_hash::FxHashSet;

use super::super::pidfd::{Ended, Pidfd};
use super::super::{procfs, syscall};
use super::event::Event;
use super::member::{Birth, Member, Witness};
use super::source::Perf;
use crate::event::{Change, Stamped};
use crate::process::threads::Threads;
use crate::source::Living;

/// A thread that is followed by events of its own.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) process: u32,
    pub(super) events: Vec<Event>,
    /// It has not forked since.
    pub(super) first_fork: bool,
}

/// How often the threads of a process are listed anew while there are always new ones.
const PASSES: usize = 100;
/// How often a tree is walked that grows all the time.
const WALKS: usize = 3;

impl Perf {
    /// Follows `pid` and what it makes from now on.
    pub(super) fn cover(&mut self, pid: u32) -> io::Result<()> {
        if let Some(member) = self.members.get(&pid) {
            let reaped = |witness: &Witness| matches!(witness.pidfd.is_ended(), Ok(Ended::Reaped));
            if member.ended.is_none() || !member.witness.as_ref().is_some_and(reaped) {
                // It lives, or its end is still to be told.
                return Ok(());
            }
            // So is this one's, before anything of the next owner of its id.
            let mut ready = std::mem::take(&mut self.ready);
            self.end_now(pid, self.read_to, &mut ready);
            self.ready = ready;
        }
        let nobody = || io::Error::from_raw_os_error(libc::ESRCH);
        // While this is open and the process has not been reaped, the id is its own.
        let pidfd = Pidfd::open(pid).map_err(|error| match error.raw_os_error() {
            // The id of a thread.
            Some(libc::ENOENT | libc::EINVAL) => nobody(),
            _ => error,
        })?;
        let opened = syscall::monotonic();
        self.follow_threads(pid)?;
        let living = procfs::look(pid)?;
        if pidfd.is_ended()? == Ended::Reaped {
            return Err(nobody());
        }
        // Of a zombie there is nothing to follow, and what there is to know is in the process list.
        let Some(living) = living.filter(|living| !living.is_zombie()) else { return Ok(()) };
        // Opened before its events, and so before any end that they tell.
        self.enter(&living, Some((pidfd, opened)));
        // A thread that was being made when its maker was followed may leave without a record.
        self.await_found(pid);
        Ok(())
    }

    /// Follows all threads of a process, until there is none that is not.
    pub(super) fn follow_threads(&mut self, pid: u32) -> io::Result<()> {
        for _ in 0..PASSES {
            let mut new = false;
            for thread in procfs::threads(pid)? {
                if self.watches.get(&thread).is_some_and(|watch| watch.process == pid) {
                    continue;
                }
                match self.rings.follow(thread) {
                    Ok(events) => {
                        let watch = Watch { process: pid, events, first_fork: true };
                        // Whoever had the id before may have left descendants.
                        self.parted.extend(self.watches.insert(thread, watch));
                        new = true;
                    }
                    Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
                    Err(error) => return Err(error),
                }
            }
            if !new {
                break;
            }
        }
        Ok(())
    }

    /// Puts a process in that was found alive; what was written of it since its events were opened is yet to be read. With a pidfd
    /// that is known to be its own, and when that was opened; else one is opened, and held against what was found.
    fn enter(&mut self, living: &Living, own: Option<(Pidfd, u64)>) {
        let threads = Threads::read(living.pid, &living.threads);
        let mut member = Member::found(living.parent, living.start, syscall::monotonic(), threads);
        match own {
            Some((pidfd, opened)) => self.put_witness(&mut member, pidfd, opened),
            None => {
                self.open_witness(living.pid, &mut member);
                let same = |now: Living| now.start == living.start;
                if !procfs::look(living.pid).ok().flatten().is_some_and(same) {
                    self.take_witness(&mut member);
                }
            }
        }
        self.members.insert(living.pid, member);
    }

    /// Follows `pid` and all that descends from it. Those it follows now or has followed before, parents first.
    pub(super) fn cover_tree(&mut self, pid: u32) -> io::Result<Vec<u32>> {
        self.cover(pid)?;
        let mut tree = vec![pid];
        let mut seen: FxHashSet<u32> = tree.iter().copied().collect();
        // Whoever is followed has its children looked up after that, and those it has later inherit. What a second walk finds are those who
        // were given to another parent meanwhile.
        for _ in 0..WALKS {
            let before = tree.len();
            // Who has inherited is not to be followed again.
            self.read_ahead();
            let mut next = 0;
            while next < tree.len() {
                for child in procfs::children(tree[next])? {
                    if seen.contains(&child) {
                        continue;
                    }
                    match self.cover(child) {
                        Ok(()) => {
                            seen.insert(child);
                            tree.push(child);
                        }
                        // It has ended, or is not for us to look into.
                        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
                        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                            seen.insert(child);
                            tree.push(child);
                            self.enter_blind(child);
                        }
                        Err(error) => return Err(error),
                    }
                }
                next += 1;
            }
            if tree.len() == before {
                break;
            }
        }
        Ok(tree)
    }

    /// Takes in what is written, to be handed out by the next drain.
    fn read_ahead(&mut self) {
        let mut ready = std::mem::take(&mut self.ready);
        match self.read(&mut ready, usize::MAX) {
            Ok(lost) => self.overrun |= lost,
            // The next drain says it again.
            Err(error) => tracing::debug!(%error, "the rings could not be read"),
        }
        ready.append(&mut self.ready);
        self.ready = ready;
    }

    /// Puts a process in that may not be followed: its end is told, and that no more is.
    fn enter_blind(&mut self, pid: u32) {
        let Ok(Some(living)) = procfs::look(pid) else { return };
        if living.is_zombie() {
            return;
        }
        self.enter(&living, None);
        self.await_found(pid);
        self.ready.push(Stamped { time: self.read_to, change: Change::Unseen { process: pid } });
    }

    /// Thread `by` made `process`, or of that `thread`. If it is its first since it is followed, what it made may not have
    /// inherited.
    pub(super) fn first_fork(
        &mut self,
        by: u32,
        process: u32,
        thread: u32,
        time: u64,
        out: &mut Vec<Stamped>,
    ) {
        let Some(watch) = self.watches.get_mut(&by).filter(|watch| watch.first_fork) else { return };
        watch.first_fork = false;
        if let Err(error) = self.follow_threads(process) {
            tracing::debug!(process, thread, %error, "the child of a first fork could not be followed");
            // It may have inherited, and it may not.
            out.push(Stamped { time, change: Change::Unseen { process } });
        }
        // It may have ended before, with no record then.
        self.await_found(process);
        // What it has made by now was made unseen, if it did not inherit, and what that has made.
        let mut parents = vec![process];
        while let Some(parent) = parents.pop() {
            for child in procfs::children(parent).unwrap_or_default() {
                if self.members.contains_key(&child) || self.cover(child).is_err() {
                    continue;
                }
                let Some(member) = self.members.get_mut(&child) else { continue };
                member.birth = Birth::Presumed;
                // It was made later; when, nobody tells.
                out.push(Stamped { time, change: Change::Fork { parent, thread: parent, child } });
                parents.push(child);
            }
        }
    }

    /// After a loss the process list showed this one below another that is followed. It has inherited, unless it is the child
    /// of a first fork, whose record was lost.
    pub(super) fn adopt(&mut self, living: &Living) {
        if self.members.contains_key(&living.pid) {
            return;
        }
        let suspect = self.watches.values().any(|watch| watch.process == living.parent && watch.first_fork);
        if suspect {
            if let Err(error) = self.follow_threads(living.pid) {
                tracing::debug!(process = living.pid, %error, "it was found, and could not be followed");
                self.ready
                    .push(Stamped { time: self.read_to, change: Change::Unseen { process: living.pid } });
            }
        }
        self.enter(living, None);
        self.await_found(living.pid);
    }

    /// Has its pidfd tell of its end, whatever the records do.
    pub(super) fn await_found(&mut self, pid: u32) {
        let Some(mut member) = self.members.remove(&pid) else { return };
        if !self.await_end(pid, &mut member) {
            self.blind.insert(pid);
        }
        self.members.insert(pid, member);
    }

    /// A thread has ended, whose events stay open as long as somebody who inherited them lives.
    pub(super) fn part(&mut self, thread: u32) {
        self.parted.extend(self.watches.remove(&thread));
        self.some_ended |= !self.parted.is_empty();
    }

    /// A process runs a new program: of its threads one is left, which has the id of the leader from now on.
    pub(super) fn lead(&mut self, process: u32) {
        let other = |(&thread, watch): (&u32, &Watch)| {
            (watch.process == process && thread != process).then_some(thread)
        };
        let others: Vec<u32> = self.watches.iter().filter_map(other).collect();
        for thread in others {
            // The ends of all others were told before.
            if let Some(watch) = self.watches.remove(&thread) {
                self.parted.extend(self.watches.insert(process, watch));
            }
        }
    }

    /// Closes the events that nobody has any more.
    pub(super) fn close_what_has_ended(&mut self) {
        if !std::mem::take(&mut self.some_ended) {
            return;
        }
        let Self { parted, closed_lost, .. } = self;
        parted.retain(|watch| {
            let over = watch.events.iter().all(Event::is_over);
            if over {
                *closed_lost +=
                    watch.events.iter().filter_map(|event| event.lost().ok().flatten()).sum::<u64>();
            }
            !over
        });
    }
}
