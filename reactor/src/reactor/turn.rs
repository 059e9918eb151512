//! The turn: drain, inspect, apply, repair, wake.

use std::time::Duration;

use rustc_hash::FxHashMap;

use crate::error::SourceError;
use crate::event::{Change, Event, Stamped, Time};
use crate::process::metadata::{Metadata, Missing};
use crate::reactor::handle::Shared;
use crate::reactor::state::{Contested, SharedMetadata, UNNAMED};
use crate::reactor::waker::WakeSlot;
use crate::source::{Drained, Reading, Source};
use crate::sync::Arc;
use crate::{EventKind, ExitStatus};

/// Records taken from the source at once: the state lock is held for one batch.
const BATCH: usize = 1024;
/// How long a turn waits for programs to begin that are to be read: these, and what lies between by doubling.
pub(crate) const FIRST_PAUSE: Duration = Duration::from_micros(50);
pub(crate) const LAST_PAUSE: Duration = Duration::from_micros(1_600);
/// Batches of one turn, so that a task that drives comes back to its runtime.
const ROUNDS: usize = 16;

/// What the holder of the baton has: the source, and what was drained and not applied.
#[derive(Debug)]
pub(crate) struct Turn {
    pub(crate) source: Box<dyn Source>,
    pub(crate) batch: Vec<Stamped>,
    /// Drained while looking whether what was read of a process still held, to be applied next.
    ahead: Vec<Stamped>,
    /// The source lost records after what is in `batch` and `ahead`.
    pub(crate) overrun: bool,
    pub(crate) failed: bool,
    /// Everything that was queued up to then has been drained, or is known to be lost.
    pub(crate) drained: u64,
    /// The process list could not be read after a loss, and is still to be.
    pub(crate) repair_due: bool,
    /// Who has news: to be woken when the baton has been given back. Wakers are not ours and may do anything.
    pub(crate) wakes: Vec<Arc<WakeSlot>>,
}

impl Turn {
    pub(crate) fn new(source: Box<dyn Source>) -> Self {
        Self {
            source,
            batch: Vec::new(),
            ahead: Vec::new(),
            overrun: false,
            failed: false,
            drained: 0,
            repair_due: false,
            wakes: Vec::new(),
        }
    }

    /// One turn. True if there is more to do than a turn takes.
    pub(crate) fn run(&mut self, shared: &Shared) -> bool {
        if self.failed {
            return false;
        }
        match self.rounds(shared) {
            Ok(more) => more,
            Err(error) => {
                self.fail(shared, error);
                false
            }
        }
    }

    /// Turns until there is nothing left, for those who need the table as of now.
    pub(crate) fn settle(&mut self, shared: &Shared) {
        while self.run(shared) {}
    }

    /// Turns until everything is taken in that was queued when this began, and not for ever where more comes all the time.
    pub(crate) fn catch_up(&mut self, shared: &Shared) {
        let begun = self.source.now();
        // What was drained ahead and not applied is nowhere to be seen from outside: its descriptor does not show it.
        while shared.run(self) && (self.drained < begun || !self.batch.is_empty()) {}
    }

    fn rounds(&mut self, shared: &Shared) -> Result<bool, SourceError> {
        if self.repair_due {
            self.reread(shared)?;
        }
        for _ in 0..ROUNDS {
            let mut all = false;
            if !self.overrun {
                match self.source.drain(&mut self.batch, BATCH)? {
                    Drained::All => all = true,
                    Drained::More => {}
                    Drained::Overrun => self.overrun = true,
                }
            }
            if let Some(last) = self.batch.last() {
                self.drained = last.time;
                let mut metadata = self.inspect(shared)?;
                self.apply(shared, &mut metadata);
            }
            std::mem::swap(&mut self.batch, &mut self.ahead);
            if self.batch.is_empty() {
                if self.overrun {
                    self.overrun = false;
                    self.repair(shared)?;
                } else if all {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Reads what the programs are that were just started. What was read of a process counts only if it was settled,
    /// and no later exec of it and no new owner of its pid was queued before the reading was over (K9).
    fn inspect(&mut self, shared: &Shared) -> Result<FxHashMap<usize, SharedMetadata>, SourceError> {
        let execs = shared.state.lock().execs_to_inspect(&self.batch);
        let mut read = Vec::new();
        let mut found = FxHashMap::default();
        for (index, pid) in execs {
            match overtaken(pid, &self.batch[index + 1..]) {
                Some(reason) => drop(found.insert(index, SharedMetadata::new(Metadata::missing(reason)))),
                None => read.push((index, pid, self.source.inspect(pid))),
            }
        }
        if read.is_empty() {
            return Ok(found);
        }
        self.await_beginnings(read.iter_mut().map(|(_, pid, reading)| (*pid, reading)));
        // A loss now means that an exec may have gone unseen.
        while !self.overrun {
            match self.source.drain(&mut self.ahead, BATCH)? {
                Drained::All => break,
                Drained::More => {}
                Drained::Overrun => self.overrun = true,
            }
        }
        for (index, pid, reading) in read {
            let reason = match replaced(pid, &self.ahead) {
                _ if self.overrun => Some(Missing::Late),
                None if !reading.settled => Some(Missing::Unsettled),
                replaced => replaced,
            };
            let metadata = reason.map_or(reading.metadata, Metadata::missing);
            found.insert(index, SharedMetadata::new(metadata));
        }
        Ok(found)
    }

    /// Reads those again who were not settled. Who is about to begin may be waiting for the processor that we are on, and
    /// where there is much to do it takes longer.
    pub(crate) fn await_beginnings<'a>(&mut self, readings: impl Iterator<Item = (u32, &'a mut Reading)>) {
        let mut unsettled: Vec<_> = readings.filter(|(_, reading)| !reading.settled).collect();
        let mut pause = FIRST_PAUSE;
        while !unsettled.is_empty() && pause <= LAST_PAUSE {
            std::thread::sleep(pause);
            pause *= 2;
            for (pid, reading) in &mut unsettled {
                **reading = self.source.inspect(*pid);
            }
            unsettled.retain(|(_, reading)| !reading.settled);
        }
    }

    /// Applies the batch and wakes who has news.
    fn apply(&mut self, shared: &Shared, metadata: &mut FxHashMap<usize, SharedMetadata>) {
        let wall_offset = shared.wall_offset(self.source.now());
        let batch = std::mem::take(&mut self.batch);
        let mut state = shared.state.lock();
        state.wall_offset = wall_offset;
        for (index, stamped) in batch.iter().enumerate() {
            let metadata = if metadata.is_empty() { None } else { metadata.remove(&index) };
            state.apply(stamped, metadata);
            if !state.contested.is_empty() {
                // Asking the system is no work for under the lock, and what follows is told after.
                let contested = std::mem::take(&mut state.contested);
                drop(state);
                self.resolve(shared, contested);
                state = shared.state.lock();
            }
        }
        state.news(&mut self.wakes);
        drop(state);
        self.batch = batch;
        self.batch.clear();
    }

    /// Asks the system how processes ended whose threads ended differently, and tells their ends.
    pub(crate) fn resolve(&mut self, shared: &Shared, contested: Vec<Contested>) {
        let resolved: Vec<_> = contested
            .into_iter()
            .map(|contested| {
                let zombie = self.source.look(contested.process.id.pid()).ok().flatten().filter(|living| {
                    living.is_zombie() && crate::process::table::same_start(&contested.process, living.start)
                });
                let status = zombie.and_then(|zombie| zombie.status).or(contested.likely);
                (contested, status.map_or(ExitStatus::Unknown, ExitStatus::from_wait_status))
            })
            .collect();
        let mut state = shared.state.lock();
        for (contested, status) in resolved {
            state.exit(contested.process, status, contested.time);
        }
    }

    /// The source is broken: all streams say so and end.
    fn fail(&mut self, shared: &Shared, error: SourceError) {
        // What was drained before is told before.
        self.apply(shared, &mut FxHashMap::default());
        std::mem::swap(&mut self.batch, &mut self.ahead);
        self.apply(shared, &mut FxHashMap::default());
        tracing::error!(source = self.source.name(), %error, "the source failed; all streams end");
        self.failed = true;
        let time = self.source.now();
        let error = std::sync::Arc::new(error);
        let mut state = shared.state.lock();
        let wall_offset = state.wall_offset;
        for key in state.roots.keys() {
            if let Some(root) = state.roots.get_mut(key) {
                let id = root.id.unwrap_or(UNNAMED);
                let kind = EventKind::Failed { error: std::sync::Arc::clone(&error) };
                root.doubts.failed = !root.log.is_closed();
                root.log.fail(Event { id, parent: None, time: Time::new(time, wall_offset), kind });
            }
            state.roots.touch(key);
        }
        state.queues.failed();
        state.news(&mut self.wakes);
        // Before anybody is woken by it.
        drop(state);
        shared.failure.lock().get_or_insert(error);
    }
}

/// Wakes; no lock is held, and no baton.
pub(crate) fn wake(wakes: Vec<Arc<WakeSlot>>) {
    for slot in wakes {
        slot.wake();
    }
}

/// Whether, after an exec of `pid`, `later` has something that makes reading what it runs useless.
fn overtaken(pid: u32, later: &[Stamped]) -> Option<Missing> {
    let ended = |stamped: &Stamped| match stamped.change {
        Change::Exit { process, thread, .. } => process == pid && thread == pid,
        Change::End { process, .. } => process == pid,
        _ => false,
    };
    replaced(pid, later).or_else(|| later.iter().any(ended).then_some(Missing::Gone))
}

/// Whether `later` has something that makes a reading of `pid` before it doubtful. Its end does not: who was still there
/// to be read was what it was.
pub(crate) fn replaced(pid: u32, later: &[Stamped]) -> Option<Missing> {
    later.iter().find_map(|stamped| match stamped.change {
        Change::Exec { process } if process == pid => Some(Missing::Superseded),
        Change::Fork { child, .. } if child == pid => Some(Missing::Gone),
        _ => None,
    })
}
