//! [`Witnesses`]: two sources as one.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use super::audit::{Audit, GRACE, Witness};
use super::report::WitnessReport;
use crate::error::SourceError;
use crate::event::Stamped;
use crate::process::threads::Threads;
use crate::source::{Capabilities, Drained, Living, Loss, Reading, Source, Spawner};
use crate::sys;

/// Records of the second that are taken at once, and how often at one drain: who is flooded is drained again.
const BATCH: usize = 1024;
const ROUNDS: usize = 16;

/// Two sources that tell of the same processes. All that is told is what the first tells. What the second tells is held
/// against it, and where they differ it is reported ([`WitnessReport`]).
///
/// Compared are the processes that the second sees: those started on its [spawner's](Source::spawner) thread, those that are
/// attached to, and who descends from either.
#[derive(Debug)]
pub struct Witnesses<A, B> {
    first: A,
    /// `None` when it has broken.
    second: Option<B>,
    /// Kept also when the second has broken: children go on being started on its thread.
    spawner: Option<Arc<Spawner>>,
    joined: OwnedFd,
    audit: Audit,
    told: Vec<Stamped>,
    silent: Option<String>,
    /// When to look next whether those that are not compared are still there.
    sweep: u64,
}

impl<A: Source, B: Source> Witnesses<A, B> {
    /// `joined` polls readable when one of the two does, and is not kept readable by a descriptor that is closed.
    pub fn new(first: A, second: B, joined: OwnedFd) -> Self {
        let spawner = second.spawner();
        let thread = spawner.as_ref().map(|spawner| spawner.run(sys::thread_id));
        let audit = Audit::new(std::process::id(), thread, [first.name(), second.name()]);
        let (second, told) = (Some(second), Vec::new());
        Self { first, second, spawner, joined, audit, told, silent: None, sweep: 0 }
    }

    /// Takes in all that the second has queued; true if that was all.
    ///
    /// It is called after the first was drained, and applied before what came of that. For a kernel tells both of a birth before
    /// the newborn can do anything, so that the second's word of it is there by the time the first tells what it did.
    fn hear_second(&mut self, now: u64) -> bool {
        let mut all = false;
        for _ in 0..ROUNDS {
            let Some(second) = &mut self.second else { return true };
            let drained = second.drain(&mut self.told, BATCH).and_then(|drained| match drained {
                Drained::Overrun => second.settle(&mut self.told).map(Some),
                Drained::More => Ok(None),
                Drained::All => {
                    all = true;
                    Ok(None)
                }
            });
            if let Ok(Some(loss)) = &drained {
                tracing::warn!(source = second.name(), count = loss.count, "the second witness lost records");
                self.audit.report.lost_by_second += loss.count;
                self.audit.lost(now);
            }
            self.audit.apply(Witness::Second, &self.told, now);
            self.told.clear();
            match drained {
                Ok(_) => {}
                Err(error) => {
                    tracing::error!(%error, "the second witness failed; nothing is compared any more");
                    self.silent = Some(error.to_string());
                    self.second = None;
                    self.audit.lost(now);
                    return true;
                }
            }
            if all {
                break;
            }
        }
        all
    }

    fn hear_first(&mut self, told: &[Stamped], now: u64) {
        if self.second.is_some() {
            self.audit.apply(Witness::First, told, now);
        }
    }

    /// Has the second follow a process too. That it may not is no reason for the first not to.
    fn attach_second(&mut self, pid: u32, attach: impl FnOnce(&mut B) -> io::Result<Vec<u32>>) {
        let Some(second) = &mut self.second else { return };
        match attach(second) {
            Ok(followed) => self.attached(if followed.is_empty() { vec![pid] } else { followed }),
            // It has ended: the first will find out by itself.
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
            Err(error) => {
                tracing::warn!(pid, %error, "the second witness cannot follow this process: it is not compared");
                self.audit.report.exempt += 1;
            }
        }
    }

    /// What has not come by now will not.
    fn quiet(&mut self, now: u64) {
        self.audit.quiet(now);
        if now >= self.sweep {
            self.sweep = now + GRACE;
            for pid in self.audit.exempt_pids() {
                if self.first.is_gone(pid) {
                    self.audit.forget(pid);
                }
            }
        }
    }

    /// `pids` are followed by the second from now on.
    fn attached(&mut self, pids: Vec<u32>) {
        let mut processes = Vec::new();
        for pid in pids {
            let living = self.first.look(pid).ok().flatten().filter(|living| !living.is_zombie());
            processes.push((pid, living.map(|living| Threads::read(pid, &living.threads))));
        }
        let now = self.first.now();
        self.audit.attached(processes, now);
    }
}

impl<A: Source, B: Source> Source for Witnesses<A, B> {
    fn name(&self) -> &'static str {
        "both"
    }

    fn capabilities(&self) -> Capabilities {
        self.first.capabilities()
    }

    fn details(&self) -> Vec<(&'static str, String)> {
        let mut details = self.first.details();
        details.extend(self.second.iter().flat_map(Source::details));
        details
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.joined.as_fd()
    }

    fn drain(&mut self, out: &mut Vec<Stamped>, limit: usize) -> Result<Drained, SourceError> {
        let begin = out.len();
        let drained = self.first.drain(out, limit)?;
        let now = self.first.now();
        let all = self.hear_second(now);
        self.hear_first(&out[begin..], now);
        match drained {
            Drained::All if !all => Ok(Drained::More),
            Drained::All => {
                self.quiet(now);
                Ok(Drained::All)
            }
            drained => Ok(drained),
        }
    }

    fn settle(&mut self, out: &mut Vec<Stamped>) -> Result<Loss, SourceError> {
        let begin = out.len();
        let loss = self.first.settle(out)?;
        // Before anything is heard that may be missing in what the other tells.
        let now = self.first.now();
        self.audit.lost(now);
        self.hear_second(now);
        self.hear_first(&out[begin..], now);
        Ok(loss)
    }

    fn pids(&mut self) -> io::Result<Vec<u32>> {
        self.first.pids()
    }

    fn look(&mut self, pid: u32) -> io::Result<Option<Living>> {
        self.first.look(pid)
    }

    fn attach(&mut self, pid: u32) -> io::Result<()> {
        self.first.attach(pid)?;
        self.attach_second(pid, |second| second.attach(pid).map(|()| Vec::new()));
        Ok(())
    }

    fn attach_tree(&mut self, pid: u32) -> io::Result<Vec<u32>> {
        let followed = self.first.attach_tree(pid)?;
        self.attach_second(pid, |second| second.attach_tree(pid));
        Ok(followed)
    }

    fn found(&mut self, living: &Living) {
        self.first.found(living);
        if let Some(second) = &mut self.second {
            second.found(living);
        }
    }

    fn spawner(&self) -> Option<Arc<Spawner>> {
        self.spawner.clone()
    }

    fn recall(&self) -> Option<std::task::Waker> {
        // The first's descriptor is to tell everybody who polls it.
        self.second.as_ref().and_then(Source::recall)
    }

    fn start(&mut self, pid: u32) -> io::Result<Option<u64>> {
        self.first.start(pid)
    }

    fn shed(&mut self) -> bool {
        self.first.shed() || self.second.as_mut().is_some_and(Source::shed)
    }

    fn tells_ends_early(&self) -> bool {
        self.first.tells_ends_early()
    }

    fn is_gone(&mut self, pid: u32) -> bool {
        self.first.is_gone(pid)
    }

    fn pidfd(&mut self, pid: u32) -> io::Result<OwnedFd> {
        self.first.pidfd(pid)
    }

    fn inspect(&mut self, pid: u32) -> Reading {
        self.first.inspect(pid)
    }

    fn now(&self) -> u64 {
        self.first.now()
    }

    fn witnesses(&mut self) -> Option<WitnessReport> {
        Some(WitnessReport { silent: self.silent.clone(), ..self.audit.report() })
    }
}

#[cfg(all(test, not(any(proc_reactor_loom, proc_reactor_shuttle))))]
impl<A, B> Witnesses<A, B> {
    /// Processes that are kept in the audit.
    pub(super) fn kept(&self) -> usize {
        self.audit.kept()
    }
}
