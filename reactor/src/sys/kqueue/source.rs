//! The native EVFILT_PROC as a [`Source`].

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;

use super::follow::Follower;
use super::system::{Entry, System};
use crate::error::SourceError;
use crate::event::Stamped;
use crate::source::{Capabilities, Drained, Living, Loss, Reading, Source, Spawner};

pub(crate) const NAME: &str = "kqueue";

/// How often a drain reads on because more has come.
const ROUNDS: usize = 4;

/// An open source over two queues.
#[derive(Debug)]
pub(crate) struct Kqueue<S> {
    follower: Follower<S>,
    /// What is told by the next drain.
    ready: Vec<Stamped>,
    spawner: Arc<Spawner>,
}

impl<S: System> Kqueue<S> {
    /// # Errors
    /// No thread is to be had.
    pub(crate) fn new(follower: Follower<S>) -> io::Result<Self> {
        let (spawner, ()) = Spawner::start(|| ())?;
        Ok(Self { follower, ready: Vec::new(), spawner: Arc::new(spawner) })
    }
}

impl<S: System> Source for Kqueue<S> {
    fn name(&self) -> &'static str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            exact_tree: self.follower.kernel.tracks,
            statuses: true,
            counts_losses: false,
            attach: true,
            whole_machine: false,
        }
    }

    fn details(&self) -> Vec<(&'static str, String)> {
        let kernel = &self.follower.kernel;
        let queues = self.follower.queues().count().to_string();
        let children = if kernel.tracks { "tracked" } else { "best effort: looked for after a fork" };
        vec![("kernel", kernel.name.to_owned()), ("queues", queues), ("children", children.to_owned())]
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.follower.system.as_fd()
    }

    fn drain(&mut self, out: &mut Vec<Stamped>, _limit: usize) -> Result<Drained, SourceError> {
        out.append(&mut self.ready);
        for _ in 0..ROUNDS {
            if self.follower.doubts.some {
                return Ok(Drained::Overrun);
            }
            self.follower.round(out).map_err(failed("kevent"))?;
            self.follower.check(out).map_err(failed("reading the process table"))?;
            if !self.follower.doubts.some && !self.follower.system.rest().map_err(failed("kevent"))? {
                return Ok(Drained::All);
            }
        }
        Ok(if self.follower.doubts.some { Drained::Overrun } else { Drained::More })
    }

    fn settle(&mut self, out: &mut Vec<Stamped>) -> Result<Loss, SourceError> {
        self.follower.settle(out).map_err(failed("settling a loss"))
    }

    fn pids(&mut self) -> io::Result<Vec<u32>> {
        Ok(self.follower.system.entries()?.into_iter().map(|entry| entry.pid).collect())
    }

    fn look(&mut self, pid: u32) -> io::Result<Option<Living>> {
        Ok(self.follower.system.entry(pid)?.map(Living::from))
    }

    fn attach(&mut self, pid: u32) -> io::Result<()> {
        self.follower.attach(pid)
    }

    fn attach_tree(&mut self, pid: u32) -> io::Result<Vec<u32>> {
        self.follower.attach_tree(pid)
    }

    fn found(&mut self, living: &Living) {
        self.follower.found(living.pid, &mut self.ready);
        // Told by the next turn, which is soon where it is readable.
        let _ = self.follower.system.alarm(1);
    }

    fn spawner(&self) -> Option<Arc<Spawner>> {
        Some(Arc::clone(&self.spawner))
    }

    fn tells_threads(&self) -> bool {
        false
    }

    /// A note tells of an end before the process is a zombie (C21).
    fn tells_ends_early(&self) -> bool {
        true
    }

    fn is_gone(&mut self, pid: u32) -> bool {
        matches!(self.follower.system.entry(pid), Ok(None))
    }

    fn start(&mut self, pid: u32) -> io::Result<Option<u64>> {
        Ok(self.follower.system.entry(pid)?.map(|entry: Entry| entry.start))
    }

    fn pidfd(&mut self, pid: u32) -> io::Result<OwnedFd> {
        self.follower.system.witness(pid)
    }

    fn inspect(&mut self, pid: u32) -> Reading {
        self.follower.system.inspect(pid)
    }

    fn now(&self) -> u64 {
        self.follower.system.now()
    }
}

pub(crate) fn failed(call: &'static str) -> impl Fn(io::Error) -> SourceError {
    move |error| {
        let advice = match error.raw_os_error() {
            Some(libc::EMFILE | libc::ENFILE) => "raise the limit of open files (ulimit -n)",
            Some(libc::ENOMEM) => "free memory, or raise the limit of kqueues",
            _ => "please report this",
        };
        SourceError::Call { source_name: NAME, call, error, advice }
    }
}
