//! Between a source and its reactor: counts how often the birth of a pid's next owner was told before the end of the one before.

use std::collections::HashMap;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex};
use std::task::Waker;

use proc_reactor::source::{Drained, Living, Reading, Spawner};
use proc_reactor::{Capabilities, Change, Loss, Source, SourceError, Stamped, WitnessReport};

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

/// The source itself, but for the counting.
#[derive(Debug)]
pub(crate) struct Tap {
    source: Box<dyn Source>,
    tally: Arc<Mutex<Tally>>,
}

impl Tap {
    pub(crate) fn new(source: Box<dyn Source>) -> (Self, Arc<Mutex<Tally>>) {
        let tally = Arc::new(Mutex::new(Tally::default()));
        (Self { source, tally: Arc::clone(&tally) }, tally)
    }

    fn count(&self, new: &[Stamped]) {
        let mut tally = self.tally.lock().expect("nobody panics with it");
        new.iter().for_each(|stamped| tally.see(&stamped.change));
    }
}

impl Source for Tap {
    fn name(&self) -> &'static str {
        self.source.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.source.capabilities()
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.source.fd()
    }

    fn drain(&mut self, out: &mut Vec<Stamped>, limit: usize) -> Result<Drained, SourceError> {
        let before = out.len();
        let drained = self.source.drain(out, limit);
        self.count(&out[before..]);
        drained
    }

    fn settle(&mut self, out: &mut Vec<Stamped>) -> Result<Loss, SourceError> {
        let before = out.len();
        let loss = self.source.settle(out);
        self.count(&out[before..]);
        loss
    }

    fn pids(&mut self) -> io::Result<Vec<u32>> {
        self.source.pids()
    }

    fn look(&mut self, pid: u32) -> io::Result<Option<Living>> {
        self.source.look(pid)
    }

    fn attach(&mut self, pid: u32) -> io::Result<()> {
        self.source.attach(pid)
    }

    fn attach_tree(&mut self, pid: u32) -> io::Result<Vec<u32>> {
        self.source.attach_tree(pid)
    }

    fn found(&mut self, living: &Living) {
        self.source.found(living);
    }

    fn spawner(&self) -> Option<Arc<Spawner>> {
        self.source.spawner()
    }

    fn recall(&self) -> Option<Waker> {
        self.source.recall()
    }

    fn is_gone(&mut self, pid: u32) -> bool {
        self.source.is_gone(pid)
    }

    fn pidfd(&mut self, pid: u32) -> io::Result<OwnedFd> {
        self.source.pidfd(pid)
    }

    fn witnesses(&mut self) -> Option<WitnessReport> {
        self.source.witnesses()
    }

    fn inspect(&mut self, pid: u32) -> Reading {
        self.source.inspect(pid)
    }

    fn now(&self) -> u64 {
        self.source.now()
    }
}
