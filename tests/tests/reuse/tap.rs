//! Between a source and its reactor: counts how often the birth of a pid's next owner was told before the end of the one before.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use proc_reactor::source::Drained;
use proc_reactor::{Change, Loss, Source, SourceError, Stamped};
use tests::around::{Around, Meddle};

/// What went by.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Owners whose end has not gone by, of each pid whose birth has.
    owners: HashMap<u32, u32>,
    births: HashMap<u32, u64>,
    overlaps: HashMap<u32, u64>,
}

impl Tally {
    fn see(&mut self, change: &Change) {
        match *change {
            Change::Fork { child, .. } => {
                let owners = self.owners.entry(child).or_default();
                *owners += 1;
                *self.births.entry(child).or_default() += 1;
                *self.overlaps.entry(child).or_default() += u64::from(*owners > 1);
            }
            Change::Exit { process, thread, .. } if process == thread => self.end(process),
            Change::End { process, .. } => self.end(process),
            _ => {}
        }
    }

    fn end(&mut self, pid: u32) {
        if let Some(owners) = self.owners.get_mut(&pid) {
            *owners = owners.saturating_sub(1);
        }
    }

    /// Births of these pids, and those of them that were told before the last owner's end.
    pub(crate) fn of(&self, pids: &[u32]) -> (u64, u64) {
        let sum = |counts: &HashMap<u32, u64>| pids.iter().filter_map(|pid| counts.get(pid)).sum();
        (sum(&self.births), sum(&self.overlaps))
    }
}

/// Counts what goes by.
#[derive(Debug)]
pub(crate) struct Tap(Arc<Mutex<Tally>>);

impl Tap {
    pub(crate) fn around(source: Box<dyn Source>) -> (Around<Self>, Arc<Mutex<Tally>>) {
        let tally = Arc::new(Mutex::new(Tally::default()));
        (Around::new(source, Self(Arc::clone(&tally))), tally)
    }

    fn count(&self, new: &[Stamped]) {
        let mut tally = self.0.lock().expect("nobody panics with it");
        new.iter().for_each(|stamped| tally.see(&stamped.change));
    }
}

impl Meddle for Tap {
    fn drain(
        &mut self,
        source: &mut dyn Source,
        out: &mut Vec<Stamped>,
        limit: usize,
    ) -> Result<Drained, SourceError> {
        let before = out.len();
        let drained = source.drain(out, limit);
        self.count(&out[before..]);
        drained
    }

    fn settle(&mut self, source: &mut dyn Source, out: &mut Vec<Stamped>) -> Result<Loss, SourceError> {
        let before = out.len();
        let loss = source.settle(out);
        self.count(&out[before..]);
        loss
    }
}
