//! Watch a process and all its descendants from tokio: every fork, exec and exit, in order, with every exit status.
//!
//! ```no_run
//! use proc_watch::{Command, Watcher};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let watcher = Watcher::new()?;
//! let (mut child, mut events) = watcher.spawn(Command::new("make").arg("-j8"))?;
//! while let Some(event) = events.next().await {
//!     println!("{event}");
//! }
//! let status = child.wait().await?;
//! # Ok(()) }
//! ```
//!
//! The stream begins with the child's birth and ends when nobody of its tree lives any more, whoever that is by
//! then: a process that called `setsid` or forked twice is in it like any other. What the kernel lost is in it
//! too, with its number ([`EventKind::Lost`]), and then what was found out about it.
//!
//! # Stopping
//!
//! [`Child::stop`] and [`TreeHandle::stop`] stop a whole tree by a [`StopPlan`], go after whoever is born meanwhile, and tell in a [`StopReport`]
//! whether anybody can be left. [`Child::kill_tree_on_drop`] does it with the handle. For less there are [`Watcher::exit_of`],
//! [`TreeHandle::empty`], [`Child::capture`], [`pipe_holders`], and [`LeakGuard`] for tests.
//!
//! # Which runtimes
//!
//! Streams work in any tokio runtime with I/O enabled (`enable_io` or `enable_all`), `current_thread` or
//! `multi_thread`, several at once in one program, and can be moved between them: the runtime that polls a stream drives
//! the reactor, by one task of its own in each; without metadata a stream that is the watcher's only one does it itself.
//! When a runtime shuts down, its task ends, and the next stream that is polled in another is driven from there. A
//! stream that is polled outside of tokio, or in a runtime without I/O, is driven by the [`Watcher`]'s guard thread, which
//! also keeps the kernel's buffer from overflowing while a runtime is stalled. [`Watcher::spawn`] needs a runtime, as
//! [`tokio::process`] does.

mod capture;
mod cgroup;
mod command;
mod driver;
mod error;
mod exit_of;
mod handle;
mod leak;
mod pipe;
mod reaper;
mod reserve;
#[cfg(feature = "serde")]
mod serial;
mod stop;
mod stream;
pub mod supervisor;
mod tree;
mod watcher;

pub use capture::{Captured, Output};
pub use cgroup::{Cgroup, CgroupError, Guardian};
pub use command::{Child, Spawn};
pub use error::{AttachError, SpawnError};
pub use exit_of::{ExitOf, ExitOfError, Exited};
pub use handle::TreeHandle;
pub use leak::{LeakGuard, LeakGuardError, Leaked, Leaks};
pub use pipe::{PipeError, PipeHolder, PipeHolders, pipe_holders};
pub use proc_reactor::{
    Account, Accounts, AccountsError, Capabilities, Disagreement, Doubts, Event, EventKind, ExitStatus,
    Field, Loss, Member, Metadata, Missing, OomKill, OpenError, OpenOptions, ParsePersistentIdError,
    ParseProcIdError, PersistentId, Probe, ProcId, Reaping, ReapingError, SignalError, SourceError,
    SourceName, Standing, Stats, Subtree, Time, Told, Usable, Usage, WitnessReport, probe, probe_all,
    signal_name,
};
#[cfg(feature = "sim")]
pub use proc_reactor::{SimReaper, source::sim};
pub use stop::{
    Emptiness, Progress, Refused, Rung, Signals, State, Stop, StopError, StopPlan, StopReport, Stopped,
    Survivor, Whom,
};
pub use stream::Events;
pub use tokio::process::Command;
pub use tree::{Process, Tree};
pub use watcher::{Builder, Watcher, WatcherError};
