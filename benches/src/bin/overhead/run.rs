//! One workload under one watcher.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread::sleep;
use std::time::{Duration, Instant};

use benches::account::{Group, Reading};
use benches::workload::Workload;
use benches::{machine, sockets, sys};

use crate::parts;
use crate::watchers::{SELF, Start, Watcher};

/// Something is wrong if a start or an end takes longer.
const PATIENCE: Duration = Duration::from_secs(10);
/// The same for the measured part, which strace makes long.
const LONG_PATIENCE: Duration = Duration::from_secs(300);

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
            [parts::command("workload")?, vec![self.workload.to_string(), self.iterations.to_string()]]
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
            (_, Some(beside)) => Some(beside.child.id()),
            (_, None) => Some(workload.child.id()),
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
        [SELF, role] => parts::command(role),
        words => Ok(words.iter().map(|word| (*word).to_owned()).collect()),
    }
}

/// A process of ours, and the lines it writes. It is ended if anything goes wrong.
#[derive(Debug)]
struct Part {
    child: Child,
    lines: Receiver<String>,
    name: String,
}

impl Part {
    fn start(command: &[String]) -> io::Result<Self> {
        let name = command.join(" ");
        let mut child = Command::new(&command[0])
            .args(&command[1..])
            .stdin(Stdio::piped())
            // forkstat writes for people: that goes where it costs the least.
            .stdout(if name.starts_with("forkstat") { Stdio::null() } else { Stdio::piped() })
            .spawn()
            .map_err(|error| io::Error::other(format!("{}: {error}", command[0])))?;
        let (send, lines) = mpsc::channel();
        if let Some(out) = child.stdout.take() {
            std::thread::spawn(move || {
                BufReader::new(out).lines().map_while(Result::ok).try_for_each(|line| send.send(line))
            });
        }
        Ok(Self { child, lines, name })
    }

    fn failed(&self, what: &str) -> io::Error {
        io::Error::other(format!("{what}: {}", self.name))
    }

    /// Waits for a line that begins with a word; gives its numbers.
    fn line(&mut self, word: &str, patience: Duration) -> io::Result<Vec<u64>> {
        let deadline = Instant::now() + patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self
                .lines
                .recv_timeout(left)
                .map_err(|_| self.failed(&format!("it did not say {word:?}")))?;
            let mut words = line.split(' ');
            if words.next() == Some(word) {
                return Ok(words.filter_map(|number| number.parse().ok()).collect());
            }
        }
    }

    /// Lets the workload go on.
    fn go(&mut self) -> io::Result<()> {
        self.child.stdin.as_mut().expect("its input is a pipe").write_all(b".")
    }

    /// Waits until it has a socket that listens.
    fn listens(&mut self) -> io::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            sleep(Duration::from_millis(10));
            if let Some(status) = self.child.try_wait()? {
                return Err(self.failed(&format!("it ended with {status}")));
            }
            if sockets::dropped(self.child.id()).is_some() {
                // Bound; what it does from there on until it waits takes no longer than this.
                sleep(Duration::from_millis(50));
                return Ok(());
            }
        }
        Err(self.failed("it does not listen"))
    }

    /// Asks it to end, more than once: the first may come between its looking and its waiting.
    fn terminate(&mut self) -> io::Result<()> {
        for _ in 0..50 {
            if self.child.try_wait()?.is_some() {
                return Ok(());
            }
            sys::terminate(self.child.id())?;
            sleep(Duration::from_millis(20));
        }
        Err(self.failed("it does not end"))
    }

    /// Waits for its end, and gives what it said it saw and missed.
    fn end(mut self) -> io::Result<Option<[u64; 2]>> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if self.child.try_wait()?.is_some() {
                let said = self.line("saw", Duration::from_millis(500)).unwrap_or_default();
                return Ok(said.try_into().ok());
            }
            sleep(Duration::from_millis(5));
        }
        Err(self.failed("it did not end"))
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // Both do nothing to one that has been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
