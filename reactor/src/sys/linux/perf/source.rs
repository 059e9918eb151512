//! Perf events as a source: forks, execs and ends of the trees that are watched, and of nothing else.
//!
//! A thread of the source's own, the spawner, is followed by inherited events, so that all it starts is covered from birth;
//! running trees are attached to (see [`cover`](super::cover)). All events write into one ring a processor, and the rings
//! are read in causal order by the double snapshot (K12).
//!
//! The records tell of threads and say no status. The source folds threads: a process has ended when the last of its
//! threads has. Its end is then told as soon as its status is known (see [`ending`](super::ending)), and holds back nobody else's.
//!
//! Loss: a full ring keeps what is in it and takes no more. A record that tells of it is written only in front of the next one
//! that finds room, so the events' own counters are read whenever a ring was found full (Linux 6.0).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::task::Waker;

use rustc_hash::{FxHashMap, FxHashSet};

use super::super::epoll::Epoll;
use super::super::pidfd::Pidfd;
use super::super::{procfs, syscall};
use super::bell::Bell;
use super::cover::Watch;
use super::ending::REAPING;
use super::event::Event;
use super::member::{Birth, Member};
use super::pace::{Pace, Timer};
use super::record::{Record, What};
use super::rings::{OpenError, Rings};
use crate::error::{SourceError, census_advice};
use crate::event::{Change, Stamped};
use crate::process::threads::Threads;
use crate::source::{Capabilities, Drained, Living, Loss, Reading, Source, Spawner};
use crate::sys::OpenOptions;

pub(super) const NAME: &str = "perf";
/// With the page in front of it, half of what the kernel allows every user for each processor (`kernel.perf_event_mlock_kb`), so that
/// there is room for two watchers of one user who may lock no memory else.
const PAGES: usize = 64;
/// How often it is settled that nothing more was lost, where records come all the time.
const ATTEMPTS: usize = 5;
/// Nobody makes two processes of one id within so many nanoseconds.
const TOO_SOON: u64 = 5_000;
/// How far the system's account of a start (in ticks of 10 ms) and a record of the birth may lie apart.
pub(super) const START_SLACK: u64 = 20_000_000;

/// Tokens of the epoll; all others are pids.
const RINGS: u64 = u64::MAX;
const BELL: u64 = u64::MAX - 1;
const TIMER: u64 = u64::MAX - 2;

/// An open source of perf events.
#[derive(Debug)]
pub(in super::super) struct Perf {
    pub(super) rings: Rings,
    pages: usize,
    /// On the spawner thread.
    inherited: Vec<Event>,
    /// Threads that are followed by events of their own.
    pub(super) watches: FxHashMap<u32, Watch>,
    /// The same for threads that have ended.
    pub(super) parted: Vec<Watch>,
    pub(super) members: FxHashMap<u32, Member>,
    /// Whose end is to be looked into, once all is read.
    pub(super) ending: Vec<u32>,
    /// Whose end is known, and to be told by the next drain or when the timer says so.
    pub(super) later: Vec<u32>,
    pub(super) pace: Pace,
    timer: Timer,
    /// Who lives on unseen and without a pidfd.
    pub(super) blind: FxHashSet<u32>,
    pub(super) looked_at_the_blind: u64,
    pub(super) epoll: Epoll,
    bell: Arc<Bell>,
    spawner: Arc<Spawner>,
    records: Vec<Record>,
    tokens: Vec<u64>,
    /// Made while nobody was draining.
    pub(super) ready: Vec<Stamped>,
    /// All records written up to then have been read.
    pub(super) read_to: u64,
    /// When a pidfd of an own child was opened last. What was written until then is read at once: if the child had ended by
    /// then, it is to be found among its maker's children before anybody can wait for it.
    read_on_to: u64,
    pub(super) overrun: bool,
    /// As far as records tell that do so.
    told_lost: u64,
    /// What the counters of events that are closed came to.
    pub(super) closed_lost: u64,
    /// What the counters came to when it was last told.
    accounted: u64,
    /// How many pidfds may be open at once, and are.
    pub(super) budget: usize,
    pub(super) pidfds: usize,
    /// How many of them the epoll has.
    pub(super) awaited: usize,
    /// A process or a thread with events of its own has ended.
    pub(super) some_ended: bool,
    pub(super) me: u32,
    /// Orphans come to this program, to be reaped here.
    pub(super) reaps_orphans: bool,
}

impl Perf {
    /// Opens it and makes sure that it works: the rings get to hold what the spawner does.
    pub(in super::super) fn open(options: &OpenOptions) -> Result<Self, SourceError> {
        let cpus: Vec<u32> = (0..syscall::processors()).collect();
        let (wanted, fewer) =
            (options.ring_pages.unwrap_or(PAGES).next_power_of_two(), options.ring_pages.is_none());
        check_proc()?;
        let begin = move || -> Result<(Rings, usize, Vec<Event>), SourceError> {
            let (rings, pages) = Rings::open(&cpus, wanted, fewer).map_err(not_open)?;
            let inherited = rings.follow(0).map_err(|error| not_open(OpenError::Event(error)))?;
            syscall::rename_to_own_name().map_err(failed("prctl", ""))?;
            Ok((rings, pages, inherited))
        };
        let (spawner, begun) = Spawner::start(begin)
            .map_err(failed("making the spawning thread", "raise the limit of processes"))?;
        let (mut rings, pages, inherited) = begun?;
        if rings.iter().all(|ring| ring.head() == 0) {
            return Err(SourceError::Refused {
                source_name: NAME,
                reason: "perf events can be opened, and tell nothing".to_owned(),
                advice: "use another source",
            });
        }
        rings.read(&mut Vec::new());
        let out_of_files = failed("epoll", "raise the limit of open files (ulimit -n)");
        let epoll = Epoll::new().map_err(&out_of_files)?;
        let bell = Bell::new().map_err(&out_of_files)?;
        for ring in rings.iter() {
            epoll.add(ring.as_fd(), RINGS).map_err(&out_of_files)?;
        }
        epoll.add(bell.as_fd(), BELL).map_err(&out_of_files)?;
        let timer = Timer::new().map_err(&out_of_files)?;
        epoll.add(timer.as_fd(), TIMER).map_err(&out_of_files)?;
        if options.subreaper {
            syscall::adopt_orphans().map_err(failed("prctl(PR_SET_CHILD_SUBREAPER)", ""))?;
        }
        let budget = options.pidfds.unwrap_or_else(|| syscall::open_files_limit() / 4);
        tracing::debug!(pages, budget, "perf events are open");
        Ok(Self {
            rings,
            pages,
            inherited,
            watches: FxHashMap::default(),
            parted: Vec::new(),
            members: FxHashMap::default(),
            ending: Vec::new(),
            later: Vec::new(),
            pace: Pace::default(),
            timer,
            blind: FxHashSet::default(),
            looked_at_the_blind: 0,
            epoll,
            bell: Arc::new(bell),
            spawner: Arc::new(spawner),
            records: Vec::new(),
            tokens: Vec::new(),
            ready: Vec::new(),
            read_to: 0,
            read_on_to: 0,
            overrun: false,
            told_lost: 0,
            closed_lost: 0,
            accounted: 0,
            budget,
            pidfds: 0,
            awaited: 0,
            some_ended: false,
            me: std::process::id(),
            reaps_orphans: options.subreaper,
        })
    }

    /// Reads everything that is written, and takes it in. True if records were lost.
    pub(super) fn read(&mut self, out: &mut Vec<Stamped>, limit: usize) -> Result<bool, SourceError> {
        let begin = out.len();
        let mut lost = false;
        loop {
            let now = syscall::monotonic();
            let mut records = std::mem::take(&mut self.records);
            let read = self.rings.read(&mut records);
            self.told_lost += read.lost;
            if read.overrun {
                let (total, _) = self.lost()?;
                lost |= total != self.accounted;
            }
            for record in records.drain(..) {
                self.take(&record, lost || self.overrun, out);
            }
            self.records = records;
            if !read.held {
                self.read_to = now;
            }
            let read_on = read.held || self.look_into_ends(out) || self.read_to <= self.read_on_to;
            if !read_on || out.len() - begin >= limit {
                return Ok(lost);
            }
        }
    }

    /// Takes in one record. With `doubtful`, threads may have been born unseen.
    pub(super) fn take(&mut self, record: &Record, doubtful: bool, out: &mut Vec<Stamped>) {
        let time = record.time;
        match record.what {
            What::Fork { process, thread, parent, by } => {
                if process == parent {
                    if let Some(member) = self.members.get_mut(&process) {
                        member.threads.insert(process, thread);
                        member.just_executed = false;
                    }
                } else {
                    if let Some(member) = self.members.get_mut(&parent) {
                        member.just_executed = false;
                    }
                    self.birth(process, parent, by, time, out);
                }
                self.first_fork(by, process, thread, time, out);
            }
            What::Exec { process } => {
                self.lead(process);
                if let Some(member) = self.members.get_mut(&process) {
                    member.threads = Threads::Leader;
                    member.just_executed = true;
                }
                out.push(Stamped { time, change: Change::Exec { process } });
            }
            What::Exit { process, thread } => self.exit(process, thread, time, doubtful),
            What::Lost { .. } | What::Other => {}
        }
    }

    fn birth(&mut self, process: u32, parent: u32, by: u32, time: u64, out: &mut Vec<Stamped>) {
        let change = Change::Fork { parent, thread: by, child: process };
        if let Some(member) = self.members.get_mut(&process) {
            if member.awaits_birth(parent, time) {
                let presumed = std::mem::replace(&mut member.birth, Birth::Told) == Birth::Presumed;
                (member.born, member.parent) = (time, parent);
                if !presumed {
                    out.push(Stamped { time, change });
                }
                return;
            }
            if member.ended.is_none() && time.saturating_sub(member.born) < TOO_SOON {
                return;
            }
            // Its id is in use again, so it is reaped.
            self.end_now(process, time, out);
        }
        let mut member = Member::born(parent, by, time);
        self.open_witness(process, &mut member);
        if let Some(witness) = member.witness.as_ref().filter(|_| parent == self.me) {
            self.read_on_to = witness.opened;
        }
        self.members.insert(process, member);
        out.push(Stamped { time, change });
    }

    fn exit(&mut self, process: u32, thread: u32, time: u64, doubtful: bool) {
        self.part(thread);
        let Some(member) = self.members.get_mut(&process) else { return };
        let executed = std::mem::take(&mut member.just_executed);
        if !member.threads.remove(process, thread) {
            return;
        }
        self.pace.tick(time);
        if member.ended.is_some() {
            // Its pidfd was faster, or that of the next who has its id.
            if !std::mem::replace(&mut member.end_recorded, true) {
                member.ended = Some(time);
            }
            return;
        }
        if doubtful {
            // Others of its threads may have been born unseen.
            if let Some(mut living) =
                procfs::look(process).ok().flatten().filter(|living| living.start <= time)
            {
                living.threads.retain(|other| *other != thread);
                if !living.threads.is_empty() {
                    member.threads = Threads::read(process, &living.threads);
                    return;
                }
            }
        }
        (member.ended, member.end_recorded, member.end_doubted) = (Some(time), true, executed);
        if member.is_witness_late(time) {
            // It may have none any more in a moment.
            let parent = member.parent;
            member.witness.iter_mut().for_each(|witness| witness.ask_for_parent(parent));
        }
        let left = self.members.get(&process).is_some_and(|member| self.is_for_later(member, time, time));
        if let Some(member) = self.members.get_mut(&process) {
            member.left = left;
        }
        if left { &mut self.later } else { &mut self.ending }.push(process);
    }

    /// The counters of all events, and whether the kernel has any.
    fn lost(&self) -> Result<(u64, bool), SourceError> {
        let mut total = self.closed_lost;
        let mut counted = true;
        let watched = self.watches.values().chain(&self.parted).flat_map(|watch| &watch.events);
        for event in self.inherited.iter().chain(watched) {
            match event.lost().map_err(failed("reading a counter of lost records", ""))? {
                Some(lost) => total += lost,
                None => counted = false,
            }
        }
        Ok(if counted { (total, true) } else { (total.max(self.told_lost), false) })
    }

    /// After a loss: what every process is now, by the process list (K8).
    pub(super) fn check_members(&mut self) {
        let now = syscall::monotonic();
        let mut alive = Vec::new();
        for (&pid, member) in &mut self.members {
            if member.ended.is_some() {
                continue;
            }
            let same = |living: &Living| living.start <= member.born.saturating_add(START_SLACK);
            match procfs::look(pid).ok().flatten().filter(same) {
                Some(living) if !living.is_zombie() => {
                    member.threads = Threads::read(pid, &living.threads);
                    alive.push(pid);
                }
                _ => {
                    member.ended = Some(now);
                    self.ending.push(pid);
                }
            }
        }
        // The record of its end may be among those that were lost.
        alive.into_iter().for_each(|pid| self.await_found(pid));
        // So may those of threads.
        let lives = |watch: &Watch, thread| {
            self.members.get(&watch.process).is_some_and(|member| {
                member.ended.is_none() && member.threads.contains(watch.process, thread)
            })
        };
        let ended: Vec<u32> = self
            .watches
            .iter()
            .filter(|(thread, watch)| !lives(watch, **thread))
            .map(|(thread, _)| *thread)
            .collect();
        ended.into_iter().for_each(|thread| self.part(thread));
    }

    /// The end of the awaited, by their pidfds.
    fn collect_awaited(&mut self) -> io::Result<()> {
        loop {
            self.tokens.clear();
            let more = self.epoll.ready(&mut self.tokens)?;
            let now = syscall::monotonic();
            for &token in &self.tokens {
                if matches!(token, RINGS | BELL | TIMER) {
                    continue;
                }
                let pid = token as u32;
                let Some(member) = self.members.get_mut(&pid) else { continue };
                if let Some(witness) = member.witness.as_mut().filter(|witness| witness.awaited) {
                    self.epoll.remove(witness.pidfd.as_fd());
                    witness.awaited = false;
                    self.awaited -= 1;
                    member.ended.get_or_insert(now);
                    self.ending.push(pid);
                }
            }
            if !more {
                return Ok(());
            }
        }
    }
}

impl Source for Perf {
    fn name(&self) -> &'static str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            exact_tree: true,
            statuses: false,
            counts_losses: true,
            attach: true,
            whole_machine: false,
        }
    }

    fn details(&self) -> Vec<(&'static str, String)> {
        vec![
            ("rings", self.rings.iter().count().to_string()),
            ("pages_each", self.pages.to_string()),
            ("pidfds_at_most", self.budget.to_string()),
        ]
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    fn drain(&mut self, out: &mut Vec<Stamped>, limit: usize) -> Result<Drained, SourceError> {
        let begin = out.len();
        out.append(&mut self.ready);
        if self.overrun {
            return Ok(Drained::Overrun);
        }
        self.bell.hush();
        if self.awaited > 0 {
            self.collect_awaited().map_err(failed("epoll_wait", ""))?;
        }
        self.look_at_the_blind();
        self.take_up_the_later();
        // Before it is read: this takes from the rings that they poll readable.
        self.close_what_has_ended();
        let limit = limit.saturating_sub(out.len() - begin);
        let lost = self.read(out, limit)?;
        self.timer.keep(|| {
            let ends = self.later.iter().filter_map(|pid| self.members.get(pid)?.ended);
            ends.min().map(|ended| ended + REAPING)
        });
        if lost {
            self.overrun = true;
            return Ok(Drained::Overrun);
        }
        Ok(if out.len() - begin >= limit.max(1) { Drained::More } else { Drained::All })
    }

    fn settle(&mut self, out: &mut Vec<Stamped>) -> Result<Loss, SourceError> {
        let (mut total, mut exact) = self.lost()?;
        let mut quiet = false;
        for _ in 0..ATTEMPTS {
            self.read(out, usize::MAX)?;
            let (now, counted) = self.lost()?;
            quiet = now == total;
            (total, exact) = (now, counted);
            if quiet {
                break;
            }
        }
        let count = total - self.accounted;
        self.accounted = total;
        self.overrun = !quiet;
        self.check_members();
        // What is read further belongs after the loss as well.
        while self.look_into_ends(out) {
            self.read(out, usize::MAX)?;
        }
        Ok(Loss { count, exact: exact && quiet })
    }

    fn pids(&mut self) -> io::Result<Vec<u32>> {
        procfs::pids()
    }

    fn look(&mut self, pid: u32) -> io::Result<Option<Living>> {
        procfs::look(pid)
    }

    fn attach(&mut self, pid: u32) -> io::Result<()> {
        self.cover(pid)
    }

    fn attach_tree(&mut self, pid: u32) -> io::Result<Vec<u32>> {
        self.cover_tree(pid)
    }

    fn found(&mut self, living: &Living) {
        self.adopt(living);
    }

    fn spawner(&self) -> Option<Arc<Spawner>> {
        Some(Arc::clone(&self.spawner))
    }

    fn recall(&self) -> Option<Waker> {
        Some(Waker::from(Arc::clone(&self.bell)))
    }

    fn start(&mut self, pid: u32) -> io::Result<Option<u64>> {
        procfs::start(pid)
    }

    fn shed(&mut self) -> bool {
        self.shed_witnesses()
    }

    fn tells_ends_early(&self) -> bool {
        true
    }

    fn is_gone(&mut self, pid: u32) -> bool {
        !syscall::exists(pid)
    }

    fn pidfd(&mut self, pid: u32) -> io::Result<OwnedFd> {
        Pidfd::open(pid).map(OwnedFd::from)
    }

    fn inspect(&mut self, pid: u32) -> Reading {
        procfs::inspect(pid)
    }

    fn now(&self) -> u64 {
        syscall::monotonic()
    }
}

fn failed(call: &'static str, advice: &'static str) -> impl Fn(io::Error) -> SourceError {
    let advice = if advice.is_empty() { "please report this" } else { advice };
    move |error| SourceError::Call { source_name: NAME, call, error, advice }
}

/// Why perf events could not be opened.
fn not_open(error: OpenError) -> SourceError {
    match error {
        OpenError::Event(error) => {
            let advice = advice(error.raw_os_error(), procfs::is_filtered());
            SourceError::Call { source_name: NAME, call: "perf_event_open", error, advice }
        }
        OpenError::Memory(error) => {
            let advice = match error.raw_os_error() {
                Some(libc::EPERM) => {
                    "no more memory may be locked for rings by all programs of this user: raise the limit (ulimit -l) or \
                     kernel.perf_event_mlock_kb, or ask for fewer pages"
                }
                _ => "please report this",
            };
            SourceError::Call { source_name: NAME, call: "mapping a ring", error, advice }
        }
    }
}

/// What to do about an error of perf_event_open(2). The kernel itself says EACCES to who may not, and container engines' filters of
/// system calls EPERM.
fn advice(errno: Option<i32>, filtered: bool) -> &'static str {
    match (errno, filtered) {
        (Some(libc::EPERM), true) => {
            "a seccomp filter denies it, as containers have one: allow perf_event_open in the container's seccomp \
             profile, or give the container CAP_PERFMON"
        }
        (Some(libc::EACCES | libc::EPERM), _) => {
            "set kernel.perf_event_paranoid to 2 or lower, or give the program CAP_PERFMON"
        }
        (Some(libc::EMFILE | libc::ENFILE), _) => "raise the limit of open files (ulimit -n)",
        (Some(libc::ENOSYS), true) => {
            "a seccomp filter hides it, or the kernel lacks CONFIG_PERF_EVENTS: allow perf_event_open in the \
             container's seccomp profile"
        }
        (Some(libc::ENOENT | libc::ENOSYS | libc::EOPNOTSUPP), _) => "the kernel needs CONFIG_PERF_EVENTS",
        _ => "please report this",
    }
}

/// Processes are looked up in /proc by the ids that the records have, which are those of this program's namespace.
fn check_proc() -> Result<(), SourceError> {
    match procfs::is_of_this_namespace() {
        Ok(true) => Ok(()),
        Ok(false) => Err(SourceError::Refused {
            source_name: NAME,
            reason: "/proc is that of another pid namespace".to_owned(),
            advice: "mount one of this namespace (mount -t proc proc /proc, unshare --mount-proc)",
        }),
        Err(error) => {
            let advice = census_advice(&error);
            Err(failed("reading /proc/self", advice)(error))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_advice_is_for_whoever_denies() {
        let says = |errno, filtered, word: &str| {
            assert!(advice(Some(errno), filtered).contains(word), "{errno}, {filtered}")
        };
        says(libc::EPERM, true, "seccomp profile");
        says(libc::EPERM, false, "CAP_PERFMON");
        says(libc::EACCES, true, "perf_event_paranoid");
        says(libc::EACCES, false, "perf_event_paranoid");
        says(libc::EMFILE, false, "open files");
        says(libc::ENOSYS, true, "seccomp profile");
        says(libc::ENOSYS, false, "CONFIG_PERF_EVENTS");
        let full = not_open(OpenError::Memory(io::Error::from_raw_os_error(libc::EPERM))).to_string();
        assert!(full.contains("ulimit -l") && !full.contains("seccomp"), "{full}");
    }
}
