//! What is watched: processes that are made and end as fast as one program can.

use std::fmt;
use std::io::{self, Read, Write};
use std::str::FromStr;

use crate::sys;

/// The program that the heavier workload runs.
const PROGRAM: &std::ffi::CStr = c"/bin/true";
/// Done before the measuring begins: first times are slower.
pub const WARM_UP: u64 = 50;

/// Kinds of workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// fork, `_exit` in the child, waitpid.
    Fork,
    /// `posix_spawn` of /bin/true, waitpid.
    Spawn,
}

impl Workload {
    /// Births, execs and exits that one iteration comes to.
    pub fn changes(self) -> u64 {
        match self {
            Self::Fork => 2,
            Self::Spawn => 3,
        }
    }

    /// In words.
    pub fn title(self) -> &'static str {
        match self {
            Self::Fork => "fork + _exit + waitpid",
            Self::Spawn => "posix_spawn of /bin/true + waitpid",
        }
    }

    fn once(self) -> io::Result<()> {
        match self {
            Self::Fork => sys::fork_and_reap(),
            Self::Spawn => sys::spawn_and_reap(PROGRAM),
        }
    }

    /// The workload's process: says `ready`, waits for a byte, works, says `done`, the wall time and its own and its
    /// children's processor time, and stays until another byte or the end of input, so that nothing is mixed up with
    /// its end.
    ///
    /// # Errors
    /// No processes are to be had.
    pub fn run(self, iterations: u64) -> io::Result<()> {
        for _ in 0..WARM_UP {
            self.once()?;
        }
        say("ready")?;
        if !go()? {
            return Ok(());
        }
        let (cpu, wall) = (sys::own_cpu(), sys::monotonic());
        for _ in 0..iterations {
            self.once()?;
        }
        let (wall, cpu) = (sys::monotonic() - wall, sys::own_cpu() - cpu);
        say(&format!("done {wall} {cpu}"))?;
        go().map(drop)
    }
}

/// A line to whoever measures.
///
/// # Errors
/// Nobody reads.
pub fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// Says to whoever measures why nothing will come of it; errors have several lines.
///
/// # Errors
/// Nobody reads.
pub fn say_failed(error: &dyn std::error::Error) -> io::Result<()> {
    let text = error.to_string();
    say(&format!("failed {}", text.lines().map(str::trim).collect::<Vec<_>>().join(" ")))
}

/// Waits for a byte; false at the end of input.
///
/// # Errors
/// The input cannot be read.
pub fn go() -> io::Result<bool> {
    Ok(io::stdin().lock().read(&mut [0])? == 1)
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fork => "fork",
            Self::Spawn => "spawn",
        })
    }
}

impl FromStr for Workload {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = [Self::Fork, Self::Spawn].into_iter().find(|workload| workload.to_string() == text);
        found.ok_or_else(|| format!("no workload {text:?}; there are: fork, spawn"))
    }
}
