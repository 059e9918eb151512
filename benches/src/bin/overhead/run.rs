//! One workload under one watcher.

use std::io;

use benches::account::{Group, Reading};
use benches::part::{self, LONG_PATIENCE, PATIENCE, Part};
use benches::workload::Workload;
use benches::{machine, sockets};

use crate::watchers::{SELF, Start, Watcher};

/// What is run.
#[derive(Debug)]
pub(crate) struct Bench<'a> {
    pub(crate) workload: Workload,
    pub(crate) iterations: u64,
    pub(crate) group: Option<&'a Group>,
}

/// What came of it. Times in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    /// Processor time by the control group.
    pub(crate) group: Option<u64>,
    /// Processor time by resource usage and process clock.
    pub(crate) clocks: u64,
    /// The watcher's part of it.
    pub(crate) watcher: u64,
    pub(crate) wall: u64,
    /// Changes that the watcher says it saw since it began to watch.
    pub(crate) seen: Option<u64>,
    /// What it says it missed.
    pub(crate) missed: Option<u64>,
    /// Records that did not fit into its socket.
    pub(crate) dropped: Option<u64>,
    /// Processes and threads that others made meanwhile.
    pub(crate) foreign: u64,
}

impl Run {
    /// The better account there is.
    pub(crate) fn cpu(&self) -> u64 {
        self.group.unwrap_or(self.clocks)
    }
}

impl Bench<'_> {
    pub(crate) fn run(&self, watcher: &Watcher) -> io::Result<Run> {
        let workload =
            [part::command("workload")?, vec![self.workload.to_string(), self.iterations.to_string()]]
                .concat();
        let (mut workload, beside) = match watcher.start {
            Start::Nobody => (self.start(&workload)?, None),
            Start::Around(around) => (self.start(&[command(around)?, workload].concat())?, None),
            Start::Beside(beside) => {
                let mut beside = self.start(&command(beside)?)?;
                beside.listens()?;
                (self.start(&workload)?, Some(beside))
            }
        };
        let watching = match (watcher.start, &beside) {
            (Start::Nobody, _) => None,
            (_, Some(beside)) => Some(beside.id()),
            (_, None) => Some(workload.id()),
        };
        workload.line("ready", PATIENCE)?;
        let before = Reading::when_quiet(self.group, watching)?;
        let dropped = watching.and_then(sockets::dropped);
        let births = machine::births();
        workload.go()?;
        let [wall, cpu] = workload.line("done", LONG_PATIENCE)?[..] else {
            return Err(io::Error::other("the workload did not say how long it took"));
        };
        let after = Reading::when_quiet(self.group, watching)?;
        let births = machine::births() - births;
        let dropped = dropped.and_then(|dropped| Some(sockets::dropped(watching?)? - dropped));
        workload.go()?;
        let said = match beside {
            Some(mut beside) => {
                workload.end()?;
                beside.terminate()?;
                beside.end()?
            }
            None => workload.end()?,
        };
        Ok(Run {
            group: after.group.zip(before.group).map(|(after, before)| after - before),
            clocks: cpu + (after.watcher - before.watcher),
            watcher: after.watcher - before.watcher,
            wall,
            seen: said.map(|[seen, _]| seen),
            missed: said.map(|[_, missed]| missed),
            dropped,
            foreign: births.saturating_sub(self.iterations),
        })
    }

    /// What the watcher is to see, if it sees the warming up too.
    pub(crate) fn expected(&self) -> u64 {
        self.workload.changes() * (self.iterations + benches::workload::WARM_UP)
    }

    fn start(&self, command: &[String]) -> io::Result<Part> {
        match self.group {
            Some(group) => group.within(|| Part::start(command))?,
            None => Part::start(command),
        }
    }
}

/// The words of a command, where `self` and a role stand for this program in it.
fn command(words: &[&str]) -> io::Result<Vec<String>> {
    match words {
        [SELF, role, rest @ ..] => {
            Ok([part::command(role)?, rest.iter().map(|word| (*word).to_owned()).collect()].concat())
        }
        words => Ok(words.iter().map(|word| (*word).to_owned()).collect()),
    }
}
