//! A scripted source that can be held up in the midst of a turn, where no lock is held and a process is out of the table with the keys of
//! its notes.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::mpsc::{Receiver, Sender};

use crate::bench::LONG;
use proc_reactor::source::sim::SimSource;
use proc_reactor::source::{Drained, Living, Reading};
use proc_reactor::{Capabilities, Loss, Source, SourceError, Stamped};

/// Says so when `pid` is looked up, and goes on when it is told to.
#[derive(Debug)]
pub(crate) struct Gate {
    pub(crate) inner: SimSource,
    pub(crate) pid: u32,
    pub(crate) entered: Sender<()>,
    pub(crate) go: Receiver<()>,
}

impl Source for Gate {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.inner.fd()
    }

    fn drain(&mut self, out: &mut Vec<Stamped>, limit: usize) -> Result<Drained, SourceError> {
        self.inner.drain(out, limit)
    }

    fn settle(&mut self, out: &mut Vec<Stamped>) -> Result<Loss, SourceError> {
        self.inner.settle(out)
    }

    fn pids(&mut self) -> io::Result<Vec<u32>> {
        self.inner.pids()
    }

    fn look(&mut self, pid: u32) -> io::Result<Option<Living>> {
        if pid == self.pid {
            let _ = self.entered.send(());
            // Where the test has failed there is nobody to say so.
            let _ = self.go.recv_timeout(LONG);
        }
        self.inner.look(pid)
    }

    /// Registering asks for this, and is not held up.
    fn is_gone(&mut self, pid: u32) -> bool {
        self.inner.is_gone(pid)
    }

    fn inspect(&mut self, pid: u32) -> Reading {
        self.inner.inspect(pid)
    }

    fn now(&self) -> u64 {
        self.inner.now()
    }
}
