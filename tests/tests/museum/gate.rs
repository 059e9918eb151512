//! A source that can be held up in the midst of a turn, where no lock is held and a process is out of the table with the keys of its notes.

use std::io;
use std::sync::mpsc::{Receiver, Sender};

use proc_reactor::Source;
use proc_reactor::source::Living;
use tests::around::Meddle;

use crate::bench::LONG;

/// Says so when `pid` is looked up, and goes on when it is told to. Registering asks whether it is gone, and is not held up.
#[derive(Debug)]
pub(crate) struct Gate {
    pub(crate) pid: u32,
    pub(crate) entered: Sender<()>,
    pub(crate) go: Receiver<()>,
}

impl Meddle for Gate {
    fn look(&mut self, source: &mut dyn Source, pid: u32) -> io::Result<Option<Living>> {
        if pid == self.pid {
            let _ = self.entered.send(());
            // Where the test has failed there is nobody to say so.
            let _ = self.go.recv_timeout(LONG);
        }
        source.look(pid)
    }
}
