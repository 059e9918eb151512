//! [`Survivor`]: who is still there, and why the signals did nothing.

use std::ffi::OsString;
use std::fmt;
use std::time::Duration;

use proc_reactor::{ProcFd, ProcId, SignalError, signal_name};

use crate::pipe::words;

/// A process that still lives, and what the system says of it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Survivor {
    /// Who it is.
    pub id: ProcId,
    /// How long it has lived; `None` if that is not known.
    pub age: Option<Duration>,
    /// Its argument vector as of now; empty where it could not be read.
    pub argv: Vec<OsString>,
    /// What it is at, where that could be read.
    pub state: Option<State>,
    /// The signals that it ignores, so that they do nothing.
    pub ignores: Signals,
    /// The signals that it has blocked, so that they wait.
    pub blocks: Signals,
}

/// What a process is at: the letter of `/proc/PID/stat` (proc_pid_stat(5)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// It runs, or waits for a processor (R).
    Running,
    /// It sleeps, and a signal would wake it (S, I).
    Sleeping,
    /// It waits in the kernel for a device or a file system, and no signal reaches it before that is over (D).
    Uninterruptible,
    /// It is stopped by a signal, and takes no other but SIGKILL until SIGCONT (T).
    Stopped,
    /// A debugger holds it (t).
    Traced,
    /// It is over, and its end is about to be told (Z, X).
    Ending,
}

/// A set of signals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signals(u64);

impl Signals {
    /// Whether a signal is in it.
    pub fn contains(self, signal: i32) -> bool {
        (1..=64).contains(&signal) && self.0 >> (signal - 1) & 1 == 1
    }

    /// Their numbers.
    pub fn iter(self) -> impl Iterator<Item = i32> {
        (1..=64).filter(move |signal| self.contains(*signal))
    }

    /// Whether there is none in it.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Signals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |signal: i32| {
            let name = u8::try_from(signal).ok().and_then(signal_name);
            name.map_or_else(|| signal.to_string(), str::to_owned)
        };
        f.write_str(&self.iter().map(name).collect::<Vec<_>>().join(" "))
    }
}

impl Survivor {
    /// As far as it can be read of this process and no other: the descriptor is its own, and it must have lived until all was read.
    pub(crate) fn look(process: Result<&ProcFd, &SignalError>, id: ProcId, age: Option<Duration>) -> Self {
        let nothing = || {
            let (ignores, blocks) = (Signals::default(), Signals::default());
            Self { id, age, argv: Vec::new(), state: None, ignores, blocks }
        };
        let process = match process {
            Ok(process) => process,
            Err(SignalError::Gone { .. }) => return Self { state: Some(State::Ending), ..nothing() },
            Err(_) => return nothing(),
        };
        let (status, argv) = (read(id, "status"), read(id, "cmdline"));
        if process.has_ended().unwrap_or(true) {
            return Self { state: Some(State::Ending), ..nothing() };
        }
        let line = |key: &str| {
            let text = std::str::from_utf8(&status).unwrap_or_default();
            text.lines().find_map(|line| line.strip_prefix(key)).map(str::trim)
        };
        let set = |key| Signals(line(key).and_then(|mask| u64::from_str_radix(mask, 16).ok()).unwrap_or(0));
        let state = line("State:").and_then(|state| Some(state_of(state.chars().next()?)));
        Self { id, age, argv: words(argv), state, ignores: set("SigIgn:"), blocks: set("SigBlk:") }
    }
}

fn read(id: ProcId, file: &str) -> Vec<u8> {
    std::fs::read(format!("/proc/{}/{file}", id.pid())).unwrap_or_default()
}

fn state_of(letter: char) -> State {
    match letter {
        'R' => State::Running,
        'D' => State::Uninterruptible,
        'T' => State::Stopped,
        't' => State::Traced,
        'Z' | 'X' => State::Ending,
        _ => State::Sleeping,
    }
}

impl fmt::Display for Survivor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.id)?;
        if !self.argv.is_empty() {
            let argv: Vec<_> = self.argv.iter().map(|word| word.to_string_lossy()).collect();
            write!(f, " {:?}", argv.join(" "))?;
        }
        if let Some(age) = self.age {
            write!(f, ", {:.1} s old", age.as_secs_f64())?;
        }
        match self.state {
            Some(State::Uninterruptible) => f.write_str(", waits in the kernel")?,
            Some(State::Stopped) => f.write_str(", is stopped")?,
            Some(State::Traced) => f.write_str(", is held by a debugger")?,
            Some(State::Ending) => f.write_str(", is ending")?,
            Some(State::Running) => f.write_str(", runs")?,
            Some(State::Sleeping) | None => {}
        }
        if !self.ignores.is_empty() {
            write!(f, ", ignores {}", self.ignores)?;
        }
        if !self.blocks.is_empty() {
            write!(f, ", blocks {}", self.blocks)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_of_signals() {
        let set = Signals(0x4003);
        assert!(set.contains(1) && set.contains(2) && set.contains(15) && !set.contains(9));
        assert!(!set.contains(0) && !set.contains(65) && !set.contains(-1));
        assert_eq!(set.iter().collect::<Vec<_>>(), [1, 2, 15]);
        assert_eq!(set.to_string(), "SIGHUP SIGINT SIGTERM");
    }
}
