//! [`LeakGuard`]: what a test has left behind.

use std::collections::HashSet;
use std::fmt;
use std::time::{Duration, Instant};

use proc_reactor::ProcId;

use crate::error::AttachError;
use crate::stream::Events;
use crate::tree::{Process, Tree};
use crate::watcher::{Watcher, WatcherError};

/// Fails a test that leaves processes behind.
///
/// It watches this program: whoever is started by it from now on, by any thread, and everybody who descends from those, whether it has called
/// `setsid` or lost its parent since. When it is [checked](Self::check) or dropped, nobody of them may live.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let guard = proc_watch::LeakGuard::new()?;
/// std::process::Command::new("make").arg("test").status()?;
/// guard.check(); // panics, and names who was left
/// # Ok(()) }
/// ```
///
/// Needs no runtime and works in any, in plain tests and in `#[tokio::test]`, with or without root. Tests that run in one program at the same time
/// see each other's children: run them one by one, or each in a process of its own (cargo-nextest does), or
/// [allow](Self::allow) what the others start.
#[must_use = "dropped at once, it sees nothing"]
pub struct LeakGuard {
    events: Events,
    tree: Tree,
    /// Who was there before.
    before: HashSet<ProcId>,
    allowed: Vec<Allowed>,
    grace: Duration,
    lossy: bool,
    checked: bool,
}

type Allowed = Box<dyn Fn(&Process) -> bool + Send>;

/// Why a test cannot be guarded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LeakGuardError {
    /// No source works here.
    #[error(transparent)]
    Watcher(#[from] WatcherError),
    /// This program itself cannot be followed.
    #[error(transparent)]
    Attach(#[from] AttachError),
}

/// Who was left.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Leaked {
    /// Who it is.
    pub id: ProcId,
    /// Its parent.
    pub parent: Option<ProcId>,
    /// What it runs, as far as is known.
    pub program: String,
    /// How long it has lived.
    pub age: Duration,
}

/// Everybody who was left, for people.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Leaks {
    /// They, parents first.
    pub processes: Vec<Leaked>,
    /// Records that were lost meanwhile: there may be more than these.
    pub lost: u64,
}

/// Who is on the way out when it is looked needs a moment.
const GRACE: Duration = Duration::from_millis(200);
const LOOK_AGAIN: Duration = Duration::from_millis(2);

impl LeakGuard {
    /// Watches from now on, by a watcher of its own over the best source.
    ///
    /// # Errors
    /// No source works here.
    pub fn new() -> Result<Self, LeakGuardError> {
        Self::over(&Watcher::new()?)
    }

    /// Watches from now on.
    ///
    /// # Errors
    /// This program cannot be followed by it.
    pub fn over(watcher: &Watcher) -> Result<Self, LeakGuardError> {
        let events = watcher.attach(std::process::id())?;
        let tree = Tree::new(events.id());
        let (before, allowed) = (HashSet::new(), Vec::new());
        let mut guard = Self { events, tree, before, allowed, grace: GRACE, lossy: false, checked: false };
        guard.take_in();
        guard.before = guard.tree.living().map(|process| process.id).collect();
        Ok(guard)
    }

    /// How long those who are left may take to end by themselves: 200 ms by default.
    pub fn grace(mut self, time: Duration) -> Self {
        self.grace = time;
        self
    }

    /// Those of whom `allowed` says so may be left.
    pub fn allow(mut self, allowed: impl Fn(&Process) -> bool + Send + 'static) -> Self {
        self.allowed.push(Box::new(allowed));
        self
    }

    /// Whether it is no failure that nobody is left who is known of, though records of the source were lost: it is by default, as there may be others.
    pub fn allow_losses(mut self, allow: bool) -> Self {
        self.lossy = allow;
        self
    }

    /// Who is left now. Blocks for as long as somebody is, up to the grace time.
    pub fn leaked(&mut self) -> Leaks {
        let until = crate::stop::engine::after(Instant::now(), self.grace);
        loop {
            self.take_in();
            let leaks = self.leaks();
            if leaks.processes.is_empty() || Instant::now() >= until {
                return leaks;
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// Fails if somebody is left. Blocks like [`leaked`](Self::leaked).
    ///
    /// # Panics
    /// Somebody is left; the message names everybody with pid, program, parent and age. Or somebody may be: records were lost, or the source has
    /// failed.
    pub fn check(mut self) {
        self.judge();
    }

    fn judge(&mut self) {
        self.checked = true;
        let leaks = self.leaked();
        assert!(leaks.processes.is_empty(), "{leaks}");
        // Who sees nothing must not say that there is nothing.
        if let Some(error) = self.events.handle().source_error() {
            panic!("whether processes were left behind nobody can say: {error}");
        }
        assert!(leaks.lost == 0 || self.lossy, "{leaks}");
    }

    fn take_in(&mut self) {
        // That also takes in what is queued.
        let _ = self.events.handle().living();
        while let Some(event) = self.events.try_next() {
            self.tree.apply(&event);
        }
    }

    fn leaks(&self) -> Leaks {
        let handle = self.events.handle();
        let left = |process: &&Process| {
            !self.before.contains(&process.id) && !self.allowed.iter().any(|allowed| allowed(process))
        };
        let leaked = |process: &Process| Leaked {
            id: process.id,
            parent: process.parent,
            program: process.metadata.as_ref().map_or_else(String::new, |metadata| metadata.to_string()),
            age: handle.age(process.id).unwrap_or_default(),
        };
        let processes = self.tree.living().filter(left).map(leaked).collect();
        Leaks { processes, lost: self.tree.lost() }
    }
}

impl Drop for LeakGuard {
    /// [`check`](Self::check)s, unless the test has failed already.
    fn drop(&mut self) {
        if !self.checked && !std::thread::panicking() {
            self.judge();
        }
    }
}

impl fmt::Debug for LeakGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeakGuard").field("before", &self.before.len()).finish_non_exhaustive()
    }
}

impl fmt::Display for Leaks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} processes were left behind:", self.processes.len())?;
        for leaked in &self.processes {
            write!(f, "\n  {} {}, {:.1} s old", leaked.id, leaked.program, leaked.age.as_secs_f64())?;
            leaked.parent.map_or(Ok(()), |parent| write!(f, ", started by {parent}"))?;
        }
        if self.lost > 0 {
            write!(f, "\n  there may be more: {} records of the source were lost", self.lost)?;
        }
        Ok(())
    }
}
