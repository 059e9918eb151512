//! A source with something done around it, between it and its reactor: counted, held up, refused.
//!
//! All that is not changed on purpose has to be the source's own. A wrapper that leaves out a method whose default is another than the
//! source's makes another source of it without a word, which is why there is one, and why the compiler is asked whether it has them all.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::task::Waker;

use proc_reactor::source::{Drained, Living, Reading, Spawner};
use proc_reactor::{Capabilities, Loss, Source, SourceError, Stamped, WitnessReport};

/// What is done around a source: of each call, by default nothing but to pass it on.
pub trait Meddle: std::fmt::Debug + Send {
    /// Around [`Source::drain`].
    ///
    /// # Errors
    /// The source's.
    fn drain(
        &mut self,
        source: &mut dyn Source,
        out: &mut Vec<Stamped>,
        limit: usize,
    ) -> Result<Drained, SourceError> {
        source.drain(out, limit)
    }

    /// Around [`Source::settle`].
    ///
    /// # Errors
    /// The source's.
    fn settle(&mut self, source: &mut dyn Source, out: &mut Vec<Stamped>) -> Result<Loss, SourceError> {
        source.settle(out)
    }

    /// Around [`Source::look`].
    ///
    /// # Errors
    /// The source's.
    fn look(&mut self, source: &mut dyn Source, pid: u32) -> io::Result<Option<Living>> {
        source.look(pid)
    }

    /// Around [`Source::attach`].
    ///
    /// # Errors
    /// The source's.
    fn attach(&mut self, source: &mut dyn Source, pid: u32) -> io::Result<()> {
        source.attach(pid)
    }

    /// Around [`Source::attach_tree`].
    ///
    /// # Errors
    /// The source's.
    fn attach_tree(&mut self, source: &mut dyn Source, pid: u32) -> io::Result<Vec<u32>> {
        source.attach_tree(pid)
    }

    /// Around [`Source::pidfd`].
    ///
    /// # Errors
    /// The source's.
    fn pidfd(&mut self, source: &mut dyn Source, pid: u32) -> io::Result<OwnedFd> {
        source.pidfd(pid)
    }
}

/// The source, and what is done around it.
#[derive(Debug)]
pub struct Around<M> {
    source: Box<dyn Source>,
    meddle: M,
}

impl<M: Meddle> Around<M> {
    /// Puts one around the other.
    pub fn new(source: Box<dyn Source>, meddle: M) -> Self {
        Self { source, meddle }
    }
}

#[deny(clippy::missing_trait_methods)]
impl<M: Meddle> Source for Around<M> {
    fn name(&self) -> &'static str {
        self.source.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.source.capabilities()
    }

    fn details(&self) -> Vec<(&'static str, String)> {
        self.source.details()
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.source.fd()
    }

    fn drain(&mut self, out: &mut Vec<Stamped>, limit: usize) -> Result<Drained, SourceError> {
        self.meddle.drain(&mut *self.source, out, limit)
    }

    fn settle(&mut self, out: &mut Vec<Stamped>) -> Result<Loss, SourceError> {
        self.meddle.settle(&mut *self.source, out)
    }

    fn pids(&mut self) -> io::Result<Vec<u32>> {
        self.source.pids()
    }

    fn look(&mut self, pid: u32) -> io::Result<Option<Living>> {
        self.meddle.look(&mut *self.source, pid)
    }

    fn attach(&mut self, pid: u32) -> io::Result<()> {
        self.meddle.attach(&mut *self.source, pid)
    }

    fn attach_tree(&mut self, pid: u32) -> io::Result<Vec<u32>> {
        self.meddle.attach_tree(&mut *self.source, pid)
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

    fn start(&mut self, pid: u32) -> io::Result<Option<u64>> {
        self.source.start(pid)
    }

    fn tells_threads(&self) -> bool {
        self.source.tells_threads()
    }

    fn tells_ends_early(&self) -> bool {
        self.source.tells_ends_early()
    }

    fn shed(&mut self) -> bool {
        self.source.shed()
    }

    fn is_gone(&mut self, pid: u32) -> bool {
        self.source.is_gone(pid)
    }

    fn pidfd(&mut self, pid: u32) -> io::Result<OwnedFd> {
        self.meddle.pidfd(&mut *self.source, pid)
    }

    fn inspect(&mut self, pid: u32) -> Reading {
        self.source.inspect(pid)
    }

    fn now(&self) -> u64 {
        self.source.now()
    }

    fn witnesses(&mut self) -> Option<WitnessReport> {
        self.source.witnesses()
    }
}
