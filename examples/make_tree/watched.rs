//! `--watch`: the tree's top is a child of this process, which tracks it by a queue, and compares what it was told with the truth.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::time::Duration;

use clap::ValueEnum;
use proc_reactor::flags::{EV_ADD, NOTE_EXEC, NOTE_EXIT, NOTE_TRACK};
use proc_reactor::{Kevent, OpenOptions};

use crate::account::{Account, Heap};
use crate::kqueue::Kqueue;
use crate::os::{self, Fork};
use crate::{Options, deadline};

/// By whose queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Watch {
    /// proc-reactor's
    Ours,
    /// The kernel's own, where there is one
    Native,
}

/// How long nothing must come, when the top has ended, before it is believed that nothing more will.
const QUIET: Duration = Duration::from_millis(500);

/// Who this process is now.
pub(crate) enum Side {
    /// The top, to go on when it is read from.
    Top(OwnedFd),
    Watcher(Watcher),
}

/// What watches the top.
pub(crate) struct Watcher {
    top: u32,
    lead: OwnedFd,
}

/// Forks the top.
pub(crate) fn fork() -> io::Result<Side> {
    let (reader, lead) = os::pipe()?;
    Ok(match os::fork() {
        Fork::Child => Side::Top(reader),
        Fork::Parent(top) => Side::Watcher(Watcher { top, lead }),
    })
}

/// Waits until it is tracked. The end of the file comes where it cannot be.
pub(crate) fn wait_for_lead(reader: OwnedFd) -> io::Result<()> {
    File::from(reader)
        .read_exact(&mut [0])
        .map_err(|_| io::Error::other("nobody tracks the tree; it is not made"))
}

impl Watcher {
    /// Whether all that was done was told.
    pub(crate) fn run(self, watch: Watch, options: &Options) -> Result<bool, Box<dyn std::error::Error>> {
        deadline::start(Duration::from_secs(options.time_limit), || "see the truth file".to_owned())?;
        deadline::step("opening the queue");
        let (queue, all_statuses) = match watch {
            Watch::Native => {
                let queue = Kqueue::native().map_err(|error| format!("the kernel's own kqueue: {error}"))?;
                (queue, true)
            }
            Watch::Ours => {
                let mut source = OpenOptions::default();
                source.source = options.source;
                let (queue, promises) = Kqueue::ours(&source)?;
                (queue, promises.statuses)
            }
        };
        deadline::step("tracking the top");
        let track = Kevent::process(self.top, EV_ADD, NOTE_TRACK | NOTE_EXIT | NOTE_EXEC);
        queue.kevent(&[track], &mut [], None)?;
        File::from(self.lead).write_all(&[1])?;
        deadline::step("the tree, until the top ends");
        let seen = follow(&queue, self.top)?;
        deadline::step("reaping the top");
        let reaped = os::wait(Some(self.top)) == Some(self.top);
        deadline::step("comparing");
        let truth = std::fs::read_to_string(&options.truth)?;
        let mut account = Account::of(&seen, self.top);
        let (expected, births, ends) = expected(&truth, self.top)?;
        account.merge_execs(&expected);
        let (born, execs, ended) = (account.born, account.execs, account.ended);
        let (errors, inner) = (account.track_errors, account.grandchildren.len());
        let left = queue.notes();
        let verdict = account.compare(expected, all_statuses);
        println!(
            "totals: born {births} ended {ends} NOTE_CHILD {born} (of {inner} pids not by the top) NOTE_EXEC {execs} \
             NOTE_EXIT {ended} NOTE_TRACKERR {errors} unknown statuses {} missing {} twice {} wrong {}; top reaped: {reaped}; \
             notes left: {left:?}",
            verdict.unknown, verdict.missing, verdict.twice, verdict.wrong,
        );
        Ok(verdict.is_good() && reaped && left.unwrap_or(0) == 0)
    }
}

/// All events, until the top has ended, whose end comes last but for those of who is still being told of.
fn follow(queue: &Kqueue, top: u32) -> io::Result<Vec<Kevent>> {
    let mut seen = Vec::new();
    let mut events = [Kevent::default(); 64];
    let mut ended = false;
    loop {
        let count = queue.kevent(&[], &mut events, Some(QUIET))?;
        seen.extend_from_slice(&events[..count]);
        ended |= events[..count]
            .iter()
            .any(|event| event.ident == u64::from(top) && event.fflags & NOTE_EXIT != 0);
        // A lost end of the top would be waited for in vain.
        ended |= count == 0 && os::has_ended(top);
        if ended && count == 0 {
            return Ok(seen);
        }
    }
}

/// What the truth says of all but the top; and how many births and ends that are.
fn expected(truth: &str, top: u32) -> Result<(HashMap<u32, Heap>, usize, usize), String> {
    let mut heaps: HashMap<u32, Heap> = HashMap::new();
    let (mut births, mut ends) = (0, 0);
    for line in truth.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| words.get(at).and_then(|word| word.parse::<u32>().ok());
        let (Some(kind), Some(pid)) = (words.first(), number(1)) else {
            return Err(format!("truth: {line}"));
        };
        if pid == top {
            continue;
        }
        let heap = heaps.entry(pid).or_default();
        match (*kind, words.get(2), number(3)) {
            ("birth", ..) => {
                heap.births += 1;
                births += 1;
            }
            ("exec", ..) => heap.execs += 1,
            ("end", Some(&"code"), Some(code)) => {
                heap.statuses.push(i64::from(code) << 8);
                ends += 1;
            }
            ("end", Some(&"signal"), Some(signal)) => {
                heap.statuses.push(signal.into());
                ends += 1;
            }
            _ => return Err(format!("truth: {line}")),
        }
    }
    Ok((heaps, births, ends))
}

impl Account {
    /// Execs that nobody has read in between are one event: some are as good as all.
    fn merge_execs(&mut self, expected: &HashMap<u32, Heap>) {
        for (pid, heap) in &mut self.heaps {
            let most = expected.get(pid).map_or(0, |heap| heap.execs);
            if (1..most).contains(&heap.execs) {
                heap.execs = most;
            }
        }
    }
}
