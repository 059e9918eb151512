//! [`Tally`]: what the events of a tree add up to, for the summary. Bounded by the living, not by how long it runs.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use proc_watch::{Event, EventKind, ExitStatus, Metadata, ProcId, Process, SourceError, Tree};

/// Failures that are kept of the first, and as many of the last.
pub(crate) const FAILURES: usize = 10;
/// Of the longest-lived, so many are kept.
const LONGEST: usize = 3;
/// Ended processes that may be kept beyond the number of the living before they are forgotten all at once.
const KEPT: usize = 1024;

/// One process's life, or what there has been of it.
#[derive(Clone, Debug)]
pub(crate) struct Life {
    pub(crate) id: ProcId,
    pub(crate) metadata: Option<Arc<Metadata>>,
    pub(crate) lasted: Duration,
    /// How it ended; `None` if it lives.
    pub(crate) status: Option<ExitStatus>,
}

/// Counts, and what is worth telling of single processes.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) tree: Tree,
    pub(crate) processes: u64,
    pub(crate) execs: u64,
    pub(crate) execs_with_argv: u64,
    pub(crate) exits: u64,
    pub(crate) unknown: u64,
    pub(crate) failed: u64,
    first_failures: Vec<Life>,
    last_failures: VecDeque<Life>,
    longest: Vec<Life>,
    /// Records that the kernel lost, in so many losses, and whether the number is exact.
    pub(crate) lost: u64,
    pub(crate) losses: u64,
    pub(crate) lost_exactly: bool,
    /// Events that were not read in time, in so many gaps.
    pub(crate) missed: u64,
    pub(crate) gaps: u64,
    /// Processes of which nothing more is seen but their ends.
    pub(crate) unseen: u64,
    /// Why the stream broke off.
    pub(crate) failure: Option<Arc<SourceError>>,
    /// How the process that it is the tree of ended, if that was seen.
    pub(crate) leader: Option<Life>,
    /// Whether nothing more will be told of that process.
    pub(crate) leader_is_gone: bool,
    start: Option<Duration>,
    now: Duration,
    forgettable: usize,
}

impl Tally {
    pub(crate) fn new(root: ProcId) -> Self {
        Self {
            tree: Tree::new(root),
            processes: 0,
            execs: 0,
            execs_with_argv: 0,
            exits: 0,
            unknown: 0,
            failed: 0,
            first_failures: Vec::new(),
            last_failures: VecDeque::new(),
            longest: Vec::new(),
            lost: 0,
            losses: 0,
            lost_exactly: true,
            missed: 0,
            gaps: 0,
            unseen: 0,
            failure: None,
            leader: None,
            leader_is_gone: false,
            start: None,
            now: Duration::ZERO,
            forgettable: 0,
        }
    }

    /// Takes in the next event of the stream.
    pub(crate) fn apply(&mut self, event: &Event) {
        let time = event.time.monotonic();
        self.start.get_or_insert(time);
        self.now = self.now.max(time);
        self.processes += self.first_events(event);
        let alive: Vec<ProcId> = match &event.kind {
            EventKind::Gap { .. } => self.tree.living().map(|process| process.id).collect(),
            _ => Vec::new(),
        };
        self.tree.apply(event);
        match &event.kind {
            EventKind::Exec { metadata } => {
                self.execs += 1;
                self.execs_with_argv += u64::from(metadata.argv.is_ok());
            }
            EventKind::Exit { .. } => self.ended(event.id),
            EventKind::Gap { count, lost, living } => {
                self.leader_is_gone |= living.iter().all(|member| member.id != self.tree.root());
                self.gaps += 1;
                self.missed += count;
                if let Some(lost) = lost {
                    self.loss(lost.count, lost.exact);
                }
                alive.into_iter().for_each(|id| self.ended(id));
            }
            EventKind::Lost { count, exact } => self.loss(*count, *exact),
            EventKind::Unseen => self.unseen += 1,
            EventKind::Failed { error } => self.failure = Some(Arc::clone(error)),
            _ => {}
        }
    }

    fn loss(&mut self, count: u64, exact: bool) {
        self.losses += 1;
        self.lost += count;
        self.lost_exactly &= exact;
    }

    /// How many processes it is the first event of.
    fn first_events(&self, event: &Event) -> u64 {
        let is_new = |id: ProcId| u64::from(self.tree.get(id).is_none());
        match &event.kind {
            EventKind::Fork { child } => is_new(*child),
            EventKind::Found { .. } => is_new(event.id),
            EventKind::Exit { .. } if event.id == self.tree.root() => is_new(event.id),
            EventKind::Gap { living, .. } => living.iter().map(|member| is_new(member.id)).sum(),
            _ => 0,
        }
    }

    /// Counts a process that has ended; one that lives is left alone.
    fn ended(&mut self, id: ProcId) {
        let Some(process) = self.tree.get(id).filter(|process| !process.is_alive()) else { return };
        let life = self.life(process);
        self.exits += 1;
        self.forgettable += 1;
        if life.status == Some(ExitStatus::Unknown) {
            self.unknown += 1;
        }
        if process.failed() {
            self.failed += 1;
            self.keep_failure(life.clone());
        }
        if id == self.tree.root() {
            self.leader = Some(life.clone());
            self.leader_is_gone = true;
        }
        keep_longest(&mut self.longest, life);
    }

    fn life(&self, process: &Process) -> Life {
        let until = process.until.map_or(self.now, |time| time.monotonic());
        Life {
            id: process.id,
            metadata: process.metadata.clone(),
            lasted: until.saturating_sub(process.since.monotonic()),
            status: process.status,
        }
    }

    fn keep_failure(&mut self, life: Life) {
        if self.first_failures.len() < FAILURES {
            self.first_failures.push(life);
            return;
        }
        if self.last_failures.len() == FAILURES {
            self.last_failures.pop_front();
        }
        self.last_failures.push_back(life);
    }

    /// Lets go of who has ended, now and then. Not before its last event has been written, which tells its depth.
    pub(crate) fn forget_ended(&mut self) {
        if self.forgettable > KEPT + self.tree.len_living() {
            self.tree.forget_ended();
            self.forgettable = 0;
        }
    }

    /// Since the first event.
    pub(crate) fn elapsed(&self, time: Duration) -> Duration {
        time.saturating_sub(self.start.unwrap_or(time))
    }

    /// From the first event to the last.
    pub(crate) fn lasted(&self) -> Duration {
        self.elapsed(self.now)
    }

    /// When the last event was.
    pub(crate) fn last(&self) -> Duration {
        self.now
    }

    /// Those who live, parents first.
    pub(crate) fn living(&self) -> impl Iterator<Item = Life> {
        self.tree.living().map(|process| self.life(process))
    }

    /// Those who have lived longest, the living included.
    pub(crate) fn longest(&self) -> Vec<Life> {
        let mut longest = self.longest.clone();
        self.living().for_each(|life| keep_longest(&mut longest, life));
        longest
    }

    /// The first failures and the last, in order; between them are as many as are not here.
    pub(crate) fn failures(&self) -> (&[Life], impl Iterator<Item = &Life>) {
        (&self.first_failures, self.last_failures.iter())
    }
}

/// Puts it in by length, and the shortest out.
fn keep_longest(longest: &mut Vec<Life>, life: Life) {
    let place = longest.partition_point(|other| other.lasted >= life.lasted);
    longest.insert(place, life);
    longest.truncate(LONGEST);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life(pid: u32, lasted: u64) -> Life {
        let lasted = Duration::from_secs(lasted);
        Life {
            id: ProcId::new(pid, u64::from(pid)),
            metadata: None,
            lasted,
            status: Some(ExitStatus::Code(1)),
        }
    }

    #[test]
    fn the_longest_come_first_and_ties_in_order() {
        let mut longest = Vec::new();
        for (pid, lasted) in [(1, 5), (2, 7), (3, 5), (4, 1), (5, 9)] {
            keep_longest(&mut longest, life(pid, lasted));
        }
        let pids: Vec<_> = longest.iter().map(|life| life.id.pid()).collect();
        assert_eq!(pids, [5, 2, 1]);
    }

    #[test]
    fn of_many_failures_the_first_and_the_last_are_kept() {
        let mut tally = Tally::new(ProcId::new(1, 1));
        for pid in 1..=35 {
            tally.keep_failure(life(pid, 0));
        }
        let (first, last) = tally.failures();
        assert_eq!(first.iter().map(|life| life.id.pid()).collect::<Vec<_>>(), (1..=10).collect::<Vec<_>>());
        assert_eq!(last.map(|life| life.id.pid()).collect::<Vec<_>>(), (26..=35).collect::<Vec<_>>());
    }
}
