//! The account that a stream of events gives of its process tree, for [`compare`](crate::compare).
//!
//! A stream promises more than what its events add up to: nothing is told of a process before its
//! birth or after its exit, nobody is born or ends twice, parents come before their children.
//! [`Seen`] holds each event against this as it comes, and [`Seen::broken`] says what was wrong.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use proc_watch::{Command, Event, EventKind, Events, ExitStatus, Metadata, ProcId, Time, Watcher};

use crate::compare::{End, Life};

/// No stream takes longer than this to end. Longer than any tree of `make_tree` may live.
const TIME_LIMIT: Duration = Duration::from_secs(330);
/// How often a tree is watched anew because records were lost.
pub const ATTEMPTS: u32 = 6;
const PAUSE: Duration = Duration::from_millis(300);

/// A process tree as its stream has told it.
#[derive(Debug)]
pub struct Seen {
    root: ProcId,
    origin: Origin,
    losses_allowed: bool,
    lost: u64,
    blindness_allowed: bool,
    unseen: u64,
    /// By first event.
    processes: Vec<Process>,
    by_id: HashMap<ProcId, usize>,
    /// Parents who had not been told of when their children were found.
    awaited: HashSet<ProcId>,
    events: usize,
    broken: Vec<String>,
}

/// How the stream came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Spawned,
    /// Those who were there are being told.
    Attaching,
    /// The first event that is not of somebody who was there has come.
    Attached,
}

/// A process of the tree.
#[derive(Clone, Debug)]
pub struct Process {
    /// Who it is.
    pub id: ProcId,
    /// Who made it.
    pub parent: Option<ProcId>,
    /// What it ran when it was found. None if its birth was told.
    pub found: Option<Arc<Metadata>>,
    /// Its life since then.
    pub life: Life,
    /// When it was born or last ran a program. What its threads then do at the same time is stamped before it is
    /// put in order, so that only this much is sure: nothing else of it is older.
    since: Option<Time>,
}

impl Seen {
    /// Nothing of the tree of `root` yet, which has been spawned.
    pub fn spawned(root: ProcId) -> Self {
        Self {
            root,
            origin: Origin::Spawned,
            losses_allowed: false,
            lost: 0,
            blindness_allowed: false,
            unseen: 0,
            processes: Vec::new(),
            by_id: HashMap::new(),
            awaited: HashSet::new(),
            events: 0,
            broken: Vec::new(),
        }
    }

    /// Nothing of the tree of `root` yet, which has been attached to.
    pub fn attached(root: ProcId) -> Self {
        Self { origin: Origin::Attaching, ..Self::spawned(root) }
    }

    /// Losses that are told are no fault then, and neither is anybody found after one.
    pub fn losses_allowed(self) -> Self {
        Self { losses_allowed: true, ..self }
    }

    /// That a process may not be looked into is no fault then.
    pub fn blindness_allowed(self) -> Self {
        Self { blindness_allowed: true, ..self }
    }

    /// Spawns a command, reads its stream to the end, and waits for it. If the machine was so busy that the kernel lost
    /// records, which the stream has to say, then once more with another command.
    ///
    /// # Panics
    ///
    /// It cannot be run, the stream does not end in time, or it breaks a promise, or records are lost each time.
    pub async fn of(watcher: &Watcher, mut command: impl FnMut() -> Command) -> (Self, ExitStatus) {
        for attempt in 1..=ATTEMPTS {
            let mut command = command();
            command.kill_on_drop(true);
            let (mut child, mut events) = watcher.spawn(command).unwrap_or_else(|error| panic!("{error}"));
            let seen = Self::spawned(child.id()).losses_allowed().read(&mut events).await;
            let status = child.wait().await.expect("nobody else reaps it");
            assert!(seen.broken.is_empty(), "{status}, {} lost, broken: {:#?}", seen.lost, seen.broken);
            if seen.lost == 0 {
                return (seen, status.into());
            }
            println!("LOST {} records of a busy machine", seen.lost);
            // It may have less to do soon.
            tokio::time::sleep(attempt * PAUSE).await;
        }
        panic!("records were lost each time");
    }

    /// Reads a stream to its end.
    ///
    /// # Panics
    ///
    /// It does not end in time.
    pub async fn read(mut self, events: &mut Events) -> Self {
        let reading = async {
            while let Some(event) = events.next().await {
                self.take(&event);
            }
        };
        let in_time = tokio::time::timeout(TIME_LIMIT, reading).await;
        assert!(in_time.is_ok(), "no end of the stream; so far: {self:#?}");
        self.end();
        self
    }

    /// Takes in the next event.
    pub fn take(&mut self, event: &Event) {
        self.tell(event.id, event.parent, event.time, &event.kind);
    }

    /// The stream has ended: so has everybody.
    pub fn end(&mut self) {
        let alive: Vec<_> = self.processes.iter().filter(|process| process.life.end == End::Alive).collect();
        if let Some(first) = alive.first() {
            self.broken.push(format!("the stream ended before {} processes, as {}", alive.len(), first.id));
        }
        if self.processes.is_empty() {
            self.broken.push("the stream ended before it began".into());
        }
    }

    fn tell(&mut self, id: ProcId, parent: Option<ProcId>, time: Time, kind: &EventKind) {
        self.events += 1;
        match kind {
            EventKind::Found { .. } => {}
            _ if self.origin == Origin::Attaching => self.origin = Origin::Attached,
            _ => {}
        }
        match kind {
            EventKind::Fork { child } => {
                if *child == self.root && self.processes.is_empty() && self.origin == Origin::Spawned {
                    // Its parent is not of the tree.
                } else {
                    self.living(id, None, time, &format!("made {child}"));
                }
                self.enter(*child, Some(id), time, None);
            }
            EventKind::Found { metadata } => {
                let expected = self.lost > 0 || self.origin == Origin::Attaching;
                if !expected {
                    self.broken.push(format!("event {}: {id} was found", self.events));
                }
                // A parent that is dead is not of the tree; one that is comes first.
                self.awaited.extend(parent.filter(|parent| !self.by_id.contains_key(parent)));
                self.enter(id, parent, time, Some(Arc::clone(metadata)));
            }
            EventKind::Exec { metadata } => {
                if let Some(process) = self.living(id, parent, time, "ran a program") {
                    process.since = Some(time);
                    process.life.execs.push(metadata.argv.clone().ok());
                }
            }
            EventKind::Exit { status } => {
                if let Some(process) = self.living(id, parent, time, "ended") {
                    process.life.end = end(*status);
                }
            }
            EventKind::Lost { count, .. } if self.losses_allowed => self.lost += count,
            EventKind::Resync { .. } if self.lost > 0 => {}
            EventKind::Unseen if self.blindness_allowed => {
                self.unseen += 1;
                self.living(id, parent, time, "was lost sight of");
            }
            // Readers here are never slow, so that a gap is a fault in any case.
            other => self.broken.push(format!("event {}: {other:?}", self.events)),
        }
    }

    /// Somebody's first event.
    fn enter(&mut self, id: ProcId, parent: Option<ProcId>, time: Time, found: Option<Arc<Metadata>>) {
        let life = Life::born(id.pid(), parent.map(ProcId::pid));
        // Whoever was there is told of with the time at which it was found, and may have done something just before.
        let since = found.is_none().then_some(time);
        let process = Process { id, parent, found, life, since };
        if self.awaited.remove(&id) && self.lost == 0 {
            self.broken.push(format!("event {}: {id} told after its child", self.events));
        }
        if self.by_id.insert(id, self.processes.len()).is_some() {
            self.broken.push(format!("event {}: {id} was born twice", self.events));
        }
        self.processes.push(process);
    }

    /// Somebody who has been born and lives, and did this. The parent is only told for some events.
    fn living(&mut self, id: ProcId, parent: Option<ProcId>, time: Time, deed: &str) -> Option<&mut Process> {
        let at = self.events;
        let Some(process) = self.by_id.get(&id).map(|&process| &mut self.processes[process]) else {
            self.broken.push(format!("event {at}: {id} {deed} before its birth"));
            return None;
        };
        if process.life.end != End::Alive {
            self.broken.push(format!("event {at}: {id} {deed} after its end"));
            return None;
        }
        if parent.is_some() && parent != process.parent {
            let (was, is) = (process.parent, parent);
            self.broken.push(format!("event {at}: {id} is a child of {was:?}, and now of {is:?}"));
        }
        if let Some(since) = process.since.filter(|since| time.monotonic() < since.monotonic()) {
            let early = since.monotonic() - time.monotonic();
            self.broken.push(format!("event {at}: {id} {deed} {early:?} before its birth or exec"));
        }
        Some(process)
    }

    /// Which promises of a stream were broken, in the order of the events.
    pub fn broken(&self) -> &[String] {
        &self.broken
    }

    /// Records that the stream said were lost.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Processes that the stream said it sees nothing more of but their ends.
    pub fn unseen(&self) -> u64 {
        self.unseen
    }

    /// Everybody, by first event.
    pub fn processes(&self) -> &[Process] {
        &self.processes
    }

    /// The lives of all, by first event.
    pub fn lives(&self) -> Vec<Life> {
        self.processes.iter().map(|process| process.life.clone()).collect()
    }

    /// The child of the root that had this pid, and all its descendants, by first event.
    pub fn lives_below_root(&self, pid: u32) -> Vec<Life> {
        let is_top = |process: &&Process| process.id.pid() == pid && process.parent == Some(self.root);
        let Some(top) = self.processes.iter().find(is_top) else { return Vec::new() };
        let mut family = HashSet::from([top.id]);
        let mut lives = Vec::new();
        for process in &self.processes {
            if process.id == top.id || process.parent.is_some_and(|parent| family.contains(&parent)) {
                family.insert(process.id);
                lives.push(process.life.clone());
            }
        }
        lives
    }
}

fn end(status: ExitStatus) -> End {
    match status {
        ExitStatus::Code(code) => End::Code(code.into()),
        ExitStatus::Signal { signal, .. } => End::Signal(signal.into()),
        _ => End::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proc_watch::Missing;

    fn id(pid: u32) -> ProcId {
        ProcId::new(pid, u64::from(pid) + 100)
    }

    fn fork(child: u32) -> EventKind {
        EventKind::Fork { child: id(child) }
    }

    fn exec() -> EventKind {
        EventKind::Exec { metadata: Arc::new(Metadata::missing(Missing::Off)) }
    }

    fn found() -> EventKind {
        EventKind::Found { metadata: Arc::new(Metadata::missing(Missing::Off)) }
    }

    fn exit() -> EventKind {
        EventKind::Exit { status: ExitStatus::Code(7) }
    }

    /// How many promises these events break, which are a nanosecond apart.
    fn broken(mut seen: Seen, events: &[(u32, EventKind)]) -> usize {
        for (time, (pid, kind)) in events.iter().enumerate() {
            let parent = (*pid == 3).then(|| id(2));
            seen.tell(id(*pid), parent, Time::new(time as u64, 0), kind);
        }
        seen.end();
        seen.broken().len()
    }

    fn spawned(events: &[(u32, EventKind)]) -> usize {
        broken(Seen::spawned(id(2)), events)
    }

    fn attached(events: &[(u32, EventKind)]) -> usize {
        broken(Seen::attached(id(2)), events)
    }

    #[test]
    fn a_good_stream() {
        let events =
            [(1, fork(2)), (2, exec()), (2, fork(3)), (3, exec()), (3, exec()), (2, exit()), (3, exit())];
        assert_eq!(spawned(&events), 0);
        let events =
            [(2, found()), (3, found()), (3, exec()), (2, fork(4)), (4, exit()), (3, exit()), (2, exit())];
        assert_eq!(attached(&events), 0);
    }

    #[test]
    fn each_promise() {
        let good = [(1, fork(2)), (2, fork(3)), (3, exit()), (2, exit())];
        assert_eq!(spawned(&good), 0);
        let with = |place: usize, event: (u32, EventKind)| {
            let mut events = good.to_vec();
            events.insert(place, event);
            spawned(&events)
        };
        assert_eq!(with(1, (3, exec())), 1, "before its birth");
        assert_eq!(with(3, (3, exec())), 1, "after its end");
        assert_eq!(with(3, (3, exit())), 1, "ended twice");
        // The second birth hides the first, which then never ends.
        assert_eq!(with(2, (2, fork(3))), 2, "born twice");
        assert_eq!(with(1, (9, fork(4))), 2, "made by nobody, and never ended");
        assert_eq!(with(2, (3, found())), 3, "found, twice, and never ended");
        assert_eq!(with(2, (2, EventKind::Lost { count: 1, exact: true })), 1);
        assert_eq!(with(2, (2, EventKind::Resync { found: 0, exited: 0 })), 1);
        assert_eq!(with(2, (2, EventKind::Gap { count: 1, lost: None, living: Arc::new([]) })), 1);
        assert_eq!(spawned(&good[..3]), 1, "the root lives");
        assert_eq!(spawned(&[]), 1);
        assert_eq!(
            attached(&[(2, found()), (2, fork(4)), (3, found()), (4, exit()), (3, exit()), (2, exit())]),
            1
        );
        assert_eq!(attached(&[(3, found()), (2, found()), (3, exit()), (2, exit())]), 1);
    }

    #[test]
    fn parents_and_times_stay() {
        let mut seen = Seen::spawned(id(2));
        seen.tell(id(1), None, Time::new(5, 0), &fork(2));
        seen.tell(id(2), Some(id(1)), Time::new(5, 0), &exec());
        assert!(seen.broken().is_empty());
        seen.tell(id(2), Some(id(9)), Time::new(6, 0), &exec());
        assert_eq!(seen.broken().len(), 1, "another parent");
        seen.tell(id(2), Some(id(1)), Time::new(5, 0), &exec());
        assert_eq!(seen.broken().len(), 2, "back in time");
    }

    #[test]
    fn losses_may_be_allowed() {
        let events = [
            (1, fork(2)),
            (2, EventKind::Lost { count: 1, exact: true }),
            (3, found()),
            (2, EventKind::Resync { found: 1, exited: 0 }),
            (3, exit()),
            (2, exit()),
        ];
        assert_eq!(broken(Seen::spawned(id(2)).losses_allowed(), &events), 0);
        let early = [(2, EventKind::Lost { count: 1, exact: true }), (1, fork(2)), (2, exit())];
        assert_eq!(broken(Seen::spawned(id(2)).losses_allowed(), &early), 0, "before the first birth");
        assert_eq!(spawned(&events), 3);
    }

    #[test]
    fn blindness_may_be_allowed() {
        let events = [(1, fork(2)), (2, EventKind::Unseen), (2, exit())];
        assert_eq!(spawned(&events), 1);
        assert_eq!(broken(Seen::spawned(id(2)).blindness_allowed(), &events), 0);
        let events = [(1, fork(2)), (2, exit()), (2, EventKind::Unseen)];
        assert_eq!(broken(Seen::spawned(id(2)).blindness_allowed(), &events), 1, "after its end");
    }

    #[test]
    fn lives_of_a_part() {
        let mut seen = Seen::spawned(id(2));
        for (pid, kind) in
            [(1, fork(2)), (2, fork(3)), (2, fork(4)), (3, fork(5)), (4, fork(6)), (5, fork(7))]
        {
            seen.tell(id(pid), None, Time::new(0, 0), &kind);
        }
        let pids = |lives: Vec<Life>| lives.iter().map(|life| life.pid).collect::<Vec<_>>();
        assert_eq!(pids(seen.lives()), [2, 3, 4, 5, 6, 7]);
        assert_eq!(pids(seen.lives_below_root(3)), [3, 5, 7]);
        assert_eq!(pids(seen.lives_below_root(5)), []);
    }
}
