//! One stopping: signals to whoever lives, until nobody does.
//!
//! It is driven by what the tree's reader tells: whoever is born while a rung is for everybody gets that rung's signal too, so that a
//! tree that goes on forking is chased until there is none left to fork. It waits for nothing itself; whoever drives it comes
//! again when there is news or when [`Stopping::step`] says so.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use proc_reactor::{
    Event, EventKind, ExitStatus, ProcFd, ProcId, Reader, Readiness, SignalError, Standing, Subtree, Time,
    TreeHandle,
};
use tokio::sync::{oneshot, watch};

use crate::reserve::Reserve;
use crate::stop::Wishes;
use crate::stop::plan::{Rung, StopPlan, Whom};
use crate::stop::progress::Progress;
use crate::stop::report::{Emptiness, Refused, StopReport, Stopped};
use crate::stop::survivor::Survivor;

/// Events taken from the log at once.
const BATCH: usize = 256;
/// Processes that are attested at once: as many descriptors are open meanwhile.
const CHUNK: usize = 128;
/// When to try again who could not be signalled just now.
const AGAIN: Duration = Duration::from_millis(2);
const SIGKILL: i32 = 9;
/// The most often that progress is told.
const OFTEN: Duration = Duration::from_millis(10);
/// Survivors that are looked up for a progress report.
const NAMED: usize = 32;

/// A stopping that is going on.
#[derive(Debug)]
pub(crate) struct Stopping {
    handle: TreeHandle,
    reader: Reader,
    plan: StopPlan,
    begun: Instant,
    /// How many rungs have been climbed, and when the last was.
    climbed: usize,
    since: Instant,
    /// When the leader was known to have ended.
    leader_ended: Option<Instant>,
    processes: Vec<Stopped>,
    place: HashMap<ProcId, usize>,
    living: usize,
    /// Who is to get the signal of this rung and has not yet.
    due: VecDeque<ProcId>,
    /// Who has got it, and when, by the clock of events.
    sent: HashMap<ProcId, Duration>,
    /// Descriptors that were attested, kept for further rungs, as many as are permitted.
    kept: HashMap<ProcId, ProcFd>,
    keep: usize,
    reserve: Arc<Reserve>,
    /// The source has failed: there is no more news, and nobody else can be told from who has his pid.
    failed: bool,
    /// All who lived when it began were in the plan's cgroup, so that whoever is born to them is.
    all_in_cgroup: bool,
    reported: Option<Instant>,
    progress: Option<watch::Sender<Progress>>,
    /// Whether somebody wants to know who is left.
    wishes: Arc<Wishes>,
    done: Option<oneshot::Sender<StopReport>>,
}

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Come again when there is news, and no later than then.
    Wait(Instant),
    /// It is over, and has been reported.
    Over,
}

/// A time that may be so long that no clock reaches it.
pub(crate) fn after(from: Instant, time: Duration) -> Instant {
    const AN_AGE: Duration = Duration::from_secs(30 * 365 * 24 * 3600);
    from.checked_add(time).unwrap_or_else(|| from + AN_AGE)
}

impl Stopping {
    /// `keep`: how many descriptors it may keep open.
    pub(crate) fn new(
        handle: TreeHandle,
        plan: StopPlan,
        begun: Instant,
        keep: usize,
        reserve: Arc<Reserve>,
    ) -> Self {
        let (reader, living) = handle.reader();
        let mut stopping = Self {
            handle,
            reader,
            plan,
            begun,
            climbed: 0,
            since: begun,
            leader_ended: None,
            processes: Vec::new(),
            place: HashMap::new(),
            living: 0,
            due: VecDeque::new(),
            sent: HashMap::new(),
            kept: HashMap::new(),
            keep,
            reserve,
            failed: false,
            all_in_cgroup: false,
            reported: None,
            progress: None,
            wishes: Arc::default(),
            done: None,
        };
        if let Some(cgroup) = &stopping.plan.cgroup {
            let inside: HashSet<u32> = cgroup.pids().unwrap_or_default().into_iter().collect();
            stopping.all_in_cgroup = living.iter().all(|member| inside.contains(&member.id.pid()));
        }
        // Of another tree it says nothing of this one.
        stopping.plan.subtree = stopping.plan.subtree.filter(|subtree| subtree.id() == stopping.handle.id());
        for member in living {
            stopping.enter(member.id, member.parent, false);
        }
        // One that had ended before leaves nobody behind just now.
        stopping.note_leader(begun.checked_sub(stopping.plan.follow).unwrap_or(begun));
        stopping
    }

    /// Whom to tell, and where it is said that somebody listens.
    pub(crate) fn report_to(
        &mut self,
        progress: watch::Sender<Progress>,
        wishes: Arc<Wishes>,
        done: oneshot::Sender<StopReport>,
    ) {
        (self.progress, self.wishes, self.done) = (Some(progress), wishes, Some(done));
    }

    pub(crate) fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Takes in the news, and does what is to be done now.
    pub(crate) fn step(&mut self) -> Step {
        self.take_in();
        if self.is_over() {
            return self.over();
        }
        let mut climbed = false;
        let again = loop {
            if self.is_rung_over() {
                let Some(&rung) = self.plan.rungs.get(self.climbed) else { return self.over() };
                self.climb(rung);
                climbed = true;
            }
            let again = self.deliver();
            // What was signalled may have forked before, and may be gone by now.
            self.take_in();
            if self.is_over() {
                return self.over();
            }
            // A rung may be given no time at all.
            if !self.is_rung_over() {
                break again;
            }
        };
        let now = Instant::now();
        let next_report = self.report_progress(now, climbed);
        let mut until = self.rung_ends().min(next_report);
        // Of some things nobody brings news.
        if again || !self.due.is_empty() || self.is_blind() {
            until = until.min(now + AGAIN);
        }
        Step::Wait(until)
    }

    /// Whether nobody tells of those who are left: the source has failed, or they are in the cgroup and not known of.
    fn is_blind(&self) -> bool {
        self.failed || self.living == 0
    }

    /// Whether nobody is left, or nobody that anything can be done about.
    fn is_over(&mut self) -> bool {
        if self.failed {
            let over = |process: &ProcFd| process.has_ended().unwrap_or(false);
            let ended: Vec<_> =
                self.kept.iter().filter(|(_, process)| over(process)).map(|(id, _)| *id).collect();
            ended.into_iter().for_each(|id| self.leave(id, ExitStatus::Unknown));
        }
        let nobody = if self.failed { self.kept.is_empty() } else { self.living == 0 };
        nobody
            && self.is_cgroup_empty() != Some(false)
            && !matches!(self.subtree(), Some(Standing::Living { .. }))
    }

    /// What the kernel says of who is in the tree's subtree, if it has one.
    fn subtree(&self) -> Option<Standing> {
        let subtree = self.plan.subtree.as_ref()?;
        let standing = subtree.look(|pid| self.vouch(pid));
        standing.inspect_err(|error| self.tell_unasked(subtree, error)).ok()
    }

    fn tell_unasked(&self, subtree: &Subtree, error: &std::io::Error) {
        tracing::debug!(child = %subtree.id(), %error, "the reaper's list cannot be asked");
    }

    /// Whether the process with this pid is one that is known here, and lives.
    fn vouch(&self, pid: u32) -> bool {
        let lives = |process: &ProcFd| !process.has_ended().unwrap_or(true);
        let known = |process: &&Stopped| process.status.is_none() && process.id.pid() == pid;
        self.processes.iter().rev().filter(known).any(|process| match self.kept.get(&process.id) {
            Some(kept) => lives(kept),
            None if self.failed => false,
            None => {
                let attested = self.handle.reactor().pidfds(&[process.id]);
                let attested = attested.ok().and_then(|mut one| one.pop());
                attested.and_then(Result::ok).is_some_and(|process| lives(&process))
            }
        })
    }

    /// What the kernel says of who is in the tree's cgroup, if it has one.
    fn is_cgroup_empty(&self) -> Option<bool> {
        self.plan.cgroup.as_ref()?.is_empty().ok()
    }

    fn rung(&self) -> Option<Rung> {
        self.climbed.checked_sub(1).map(|last| self.plan.rungs[last])
    }

    /// When the next rung is to be climbed.
    fn rung_ends(&self) -> Instant {
        let Some(rung) = self.rung() else { return self.begun };
        let wished = self.wishes.patient_until().filter(|_| rung.signal != SIGKILL);
        let end = after(self.since, rung.grace).max(wished.unwrap_or(self.since));
        match self.leader_ended {
            Some(ended) if rung.whom == Whom::Leader => end.min(after(ended, self.plan.follow)),
            _ => end,
        }
    }

    fn is_rung_over(&self) -> bool {
        Instant::now() >= self.rung_ends()
    }

    fn climb(&mut self, rung: Rung) {
        self.climbed += 1;
        self.since = Instant::now();
        self.sent.clear();
        tracing::debug!(root = %self.handle.id(), living = self.living, %rung, "stopping");
        let root = self.handle.id();
        let meant =
            |process: &&Stopped| process.status.is_none() && (rung.whom == Whom::Tree || process.id == root);
        self.due = self.processes.iter().filter(meant).map(|process| process.id).collect();
    }

    fn take_in(&mut self) {
        let mut events = VecDeque::new();
        while self.reader.read(&mut events, BATCH) == Readiness::Ready {
            for event in events.drain(..) {
                self.failed |= matches!(event.kind, EventKind::Failed { .. });
                self.apply(&event);
            }
        }
    }

    fn apply(&mut self, event: &Event) {
        match &event.kind {
            EventKind::Fork { child } => self.born(*child, Some(event.id), Some(event.time)),
            EventKind::Found { .. } => self.born(event.id, event.parent, None),
            EventKind::Exit { status } => self.leave(event.id, *status),
            EventKind::Gap { living, .. } => {
                let present: HashSet<ProcId> = living.iter().map(|member| member.id).collect();
                living.iter().for_each(|member| self.born(member.id, member.parent, None));
                let lives = |process: &&Stopped| process.status.is_none();
                let gone = self.processes.iter().filter(lives).map(|process| process.id);
                let gone: Vec<_> = gone.filter(|id| !present.contains(id)).collect();
                gone.into_iter().for_each(|id| self.leave(id, ExitStatus::Unknown));
            }
            _ => {}
        }
    }

    /// Somebody is born: `time`, if that was seen.
    fn born(&mut self, id: ProcId, parent: Option<ProcId>, time: Option<Time>) {
        let new = self.enter(id, parent, true);
        let Some(rung) = self.rung().filter(|rung| new && rung.whom == Whom::Tree) else { return };
        // Whom somebody starts who has had the signal already, he starts because of it: to clean up, say. SIGKILL leaves no such time.
        let told = parent.and_then(|parent| self.sent.get(&parent).copied());
        match (told, time) {
            (Some(told), Some(time)) if rung.signal != SIGKILL && time.monotonic() >= told => {
                self.sent.insert(id, told);
            }
            _ => self.due.push_back(id),
        }
    }

    fn enter(&mut self, id: ProcId, parent: Option<ProcId>, born_since: bool) -> bool {
        if self.place.contains_key(&id) {
            return false;
        }
        self.place.insert(id, self.processes.len());
        let (status, ended_after, rung, refused) = (None, None, None, None);
        self.processes.push(Stopped { id, parent, born_since, status, ended_after, rung, refused });
        self.living += 1;
        true
    }

    fn leave(&mut self, id: ProcId, status: ExitStatus) {
        let now = Instant::now();
        self.kept.remove(&id);
        if let Some(&place) = self.place.get(&id) {
            let process = &mut self.processes[place];
            if process.status.is_none() {
                process.status = Some(status);
                process.ended_after = Some(now - self.begun);
                self.living -= 1;
            }
        }
        self.note_leader(now);
    }

    fn note_leader(&mut self, now: Instant) {
        let leader = self.place.get(&self.handle.id()).map(|place| &self.processes[*place]);
        if self.leader_ended.is_none() && leader.is_none_or(|leader| leader.status.is_some()) {
            self.leader_ended = Some(now);
        }
    }

    /// Sends what is due. True if some could not be sent that is to be tried again.
    fn deliver(&mut self) -> bool {
        let Some(rung) = self.rung() else { return false };
        if !self.due.is_empty() || self.is_blind() {
            self.kill_cgroup(rung);
            self.kill_subtree(rung);
        }
        let mut again = VecDeque::new();
        let mut chunk = CHUNK;
        while !self.due.is_empty() {
            let ids: Vec<ProcId> = self.due.drain(..self.due.len().min(chunk)).collect();
            let ids = ids
                .into_iter()
                .filter(|id| self.place.get(id).is_some_and(|at| self.processes[*at].status.is_none()));
            let (kept, new): (Vec<_>, Vec<_>) = ids.partition(|id| self.kept.contains_key(id));
            for id in kept {
                self.sent.insert(id, self.handle.now());
                let result = self.kept[&id].signal(rung.signal).map(|()| self.resume(&self.kept[&id], rung));
                self.note(id, result, &mut again);
            }
            if self.failed {
                new.into_iter().for_each(|id| self.refuse(id, Refused::SourceFailed));
                continue;
            }
            if new.is_empty() {
                continue;
            }
            let Ok(attested) = self.handle.reactor().pidfds(&new) else {
                // The reader says so as well, and those whose descriptors are kept are signalled all the same.
                self.failed = true;
                self.due.extend(new);
                continue;
            };
            let mut short = false;
            for (id, process) in new.into_iter().zip(attested) {
                let now = self.handle.now();
                let result = process.and_then(|process| {
                    process.signal(rung.signal)?;
                    self.sent.insert(id, now);
                    self.resume(&process, rung);
                    if self.kept.len() < self.keep && self.climbed < self.plan.rungs.len() {
                        self.kept.insert(id, process);
                    }
                    Ok(())
                });
                short |= matches!(result, Err(SignalError::Descriptors(_)));
                self.note(id, result, &mut again);
            }
            if short {
                // With fewer at once, and none of those that are only kept for later.
                self.kept.clear();
                self.keep = 0;
                if chunk == 1 && !self.reserve.spend() {
                    again.append(&mut self.due);
                    break;
                }
                chunk = (chunk / 8).max(1);
                self.due.append(&mut again);
            }
        }
        self.reserve.fill();
        self.due = again;
        !self.due.is_empty()
    }

    /// Everybody in the tree's cgroup is killed, known or not, at the rung for it and for as long as somebody is born there.
    fn kill_cgroup(&self, rung: Rung) {
        let Some(cgroup) =
            self.plan.cgroup.as_ref().filter(|_| (rung.whom, rung.signal) == (Whom::Tree, SIGKILL))
        else {
            return;
        };
        if let Err(error) = cgroup.kill() {
            tracing::debug!(root = %self.handle.id(), %error, "killed one by one");
        }
    }

    /// Everybody in the tree's subtree is killed, as those of a cgroup are; again as long as the kernel finds somebody.
    fn kill_subtree(&self, rung: Rung) {
        let Some(subtree) =
            self.plan.subtree.as_ref().filter(|_| (rung.whom, rung.signal) == (Whom::Tree, SIGKILL))
        else {
            return;
        };
        match subtree.kill(|pid| self.vouch(pid)) {
            // There is a kill of one by one.
            Err(error) if error.kind() == std::io::ErrorKind::Unsupported => {}
            Err(error) => self.tell_unasked(subtree, &error),
            Ok(_) => {}
        }
    }

    fn resume(&self, process: &ProcFd, rung: Rung) {
        const SIGCONT: i32 = if cfg!(target_os = "linux") { 18 } else { 19 };
        const SIGSTOP: i32 = if cfg!(target_os = "linux") { 19 } else { 17 };
        if self.plan.resume && ![0, SIGKILL, SIGCONT, SIGSTOP].contains(&rung.signal) {
            // Who may be sent one may be sent the other, but for what changed in between.
            let _ = process.signal(SIGCONT);
        }
    }

    fn note(&mut self, id: ProcId, result: Result<(), SignalError>, again: &mut VecDeque<ProcId>) {
        let rung = self.climbed - 1;
        let Some(process) = self.place.get(&id).map(|place| &mut self.processes[*place]) else { return };
        let refused = match result {
            Ok(()) => {
                (process.rung, process.refused) = (Some(rung), None);
                return;
            }
            // Its end is told, or about to be.
            Err(SignalError::Gone { .. }) => return,
            Err(SignalError::Unsettled { .. }) => Refused::Unsettled,
            Err(SignalError::Descriptors(_)) => Refused::Descriptors,
            Err(SignalError::Denied { .. }) => Refused::Denied,
            Err(_) => Refused::Unsupported,
        };
        process.refused = Some(refused);
        if matches!(refused, Refused::Unsettled | Refused::Descriptors) {
            again.push_back(id);
        }
    }

    fn refuse(&mut self, id: ProcId, why: Refused) {
        if let Some(&place) = self.place.get(&id) {
            self.processes[place].refused = Some(why);
        }
    }

    /// Tells how far it has come, if it is time to. When it is next.
    fn report_progress(&mut self, now: Instant, climbed: bool) -> Instant {
        let never = now + Duration::from_secs(3600);
        let Some(progress) = self.progress.as_ref().filter(|progress| !progress.is_closed()) else {
            return never;
        };
        let every = self.plan.every.max(OFTEN);
        let due = self.reported.map_or(now, |last| after(last, every));
        if !climbed && now < due {
            return due;
        }
        let (rung, living) = (self.rung(), self.living);
        let listened = self.wishes.listened.load(Ordering::Relaxed);
        let survivors = if listened { self.survivors(NAMED) } else { Vec::new() };
        let elapsed = now - self.begun;
        progress.send_replace(Progress { rungs: self.climbed, rung, elapsed, living, survivors });
        self.reported = Some(now);
        after(now, every)
    }

    fn survivors(&self, most: usize) -> Vec<Survivor> {
        let lives = |process: &&Stopped| process.status.is_none();
        let ids: Vec<_> = self.processes.iter().filter(lives).map(|process| process.id).take(most).collect();
        let reactor = self.handle.reactor();
        let look = |id: ProcId| {
            // One by one, so that few descriptors do.
            let process = reactor.pidfds(&[id]).map_err(SignalError::Source);
            let process =
                process.and_then(|mut processes| processes.pop().expect("one result for one process"));
            Survivor::look(process.as_ref(), id, self.handle.age(id))
        };
        ids.into_iter().map(look).collect()
    }

    fn emptiness(&self) -> Emptiness {
        let source = self.handle.source_error();
        if source.is_none() && self.living > 0 {
            return Emptiness::No { living: self.living };
        }
        let (cgroup, subtree) = (self.is_cgroup_empty(), self.subtree());
        match (source, cgroup, subtree) {
            (None, Some(false), _) => Emptiness::No { living: 1 },
            (None, _, Some(Standing::Living { count })) => Emptiness::No { living: count },
            // What began in it is in it: only who was there before may be elsewhere.
            (_, Some(true), _) if self.all_in_cgroup && !self.handle.doubts().attached => Emptiness::Proven,
            // Who descends from its child is in it, wherever he was when the tree was first watched.
            (_, _, Some(Standing::Empty)) => Emptiness::Proven,
            (Some(error), ..) if self.living > 0 => Emptiness::Unknown(error),
            _ => Emptiness::of(&self.handle),
        }
    }

    fn over(&mut self) -> Step {
        let empty = self.emptiness();
        if empty.is_empty() {
            let ids: Vec<_> = self.processes.iter().map(|process| process.id).collect();
            ids.into_iter().for_each(|id| self.leave(id, ExitStatus::Unknown));
        }
        if self.failed {
            let left = self.processes.iter_mut().filter(|process| process.status.is_none());
            for process in left {
                process.refused.get_or_insert(Refused::SourceFailed);
            }
        }
        let report = StopReport {
            root: self.handle.id(),
            survivors: if self.living > 0 { self.survivors(usize::MAX) } else { Vec::new() },
            processes: std::mem::take(&mut self.processes),
            empty,
            rungs: self.climbed,
            elapsed: self.begun.elapsed(),
        };
        tracing::debug!(root = %report.root, empty = %report.empty, elapsed = ?report.elapsed, "stopped");
        // Nobody need be waiting for it.
        drop(self.progress.take());
        if let Some(done) = self.done.take() {
            let _ = done.send(report);
        }
        Step::Over
    }
}
