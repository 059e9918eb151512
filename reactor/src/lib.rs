//! A reactor for process lifecycles: every fork, exec and exit of whole process trees, in order, with everybody's
//! exit status, losses counted and repaired.
//!
//! ```text
//!  kernel ──► source ────► turn ─────────► process table ──┬─► log per tree ──► Reader
//!  cn_proc    sys/linux    drain + apply   birth numbers,  │   cursor per
//!             ordered      under one       parents,        │   reader
//!                          baton           threads,        │
//!                                          track sets,     └─► knotes ──► ready ──► Queue::kevent
//!                                          keys of notes       by key     list      (merged, as kqueue)
//! ```
//!
//! A [`Source`] turns what a kernel says into ordered [`Change`]s. A turn drains it and applies what came to the
//! process table, which knows every living process by pid and birth ([`ProcId`]). What concerns a tracked tree goes
//! into that tree's log, and its [`Reader`]s are woken. What concerns a process that is registered with a [`Queue`] is
//! collected by its note there, as kqueue(2) does, and one of the threads that wait is woken.
//!
//! A turn is taken by whoever calls [`Reactor::turn`], usually a task that was told by its runtime that the reactor's
//! descriptor is readable, and by [`Queue::kevent`]. A [`Guard`] thread takes it when nobody else does, so that a stalled
//! program loses nothing.
//!
//! Most programs want the crate `proc-watch`, which is this for tokio. By itself:
//!
//! ```no_run
//! use std::collections::VecDeque;
//! use std::process::Command;
//! use proc_reactor::{Readiness, Reactor, TreeOptions, open};
//!
//! let reactor = Reactor::new(open(&Default::default())?)?;
//! let spawning = reactor.begin_spawn(TreeOptions::default())?;
//! let mut child = Command::new("make").spawn()?;
//! let mut reader = spawning.claim(child.id());
//! let mut events = VecDeque::new();
//! loop {
//!     match reader.read(&mut events, 64) {
//!         Readiness::Ready => events.drain(..).for_each(|event| println!("{:?}", event.kind)),
//!         Readiness::Pending => { reactor.turn(); } // or poll its descriptor first
//!         Readiness::End => break,
//!     }
//! }
//! child.wait()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod account;
mod activate;
mod child;
mod error;
mod event;
pub mod flags;
#[cfg(all(fuzzing, target_os = "linux"))]
#[doc(hidden)]
pub mod fuzz;
mod ident;
mod interest;
mod kevent;
mod knote;
mod log;
#[cfg(all(test, proc_reactor_loom))]
mod loom_tests;
mod persist;
mod process;
mod queue;
mod reactor;
mod reaping;
mod register;
mod scan;
#[cfg(all(test, proc_reactor_shuttle))]
mod shuttle_tests;
pub mod source;
mod status;
mod sync;
mod sys;
mod wait;

pub use account::{Account, Accounts, AccountsError, OomKill};
pub use child::ChildFd;
pub use error::{AttachError, ChangeError, QueueError, SignalError, SourceError};
pub use event::{Change, Event, EventKind, Member, Stamped, Time};
pub use ident::{ParseProcIdError, ProcId};
pub use interest::{Interest, Notice, NoticeKind, Registration};
pub use kevent::Kevent;
pub use persist::{ParsePersistentIdError, PersistentId};
pub use process::metadata::{Field, Metadata, Missing};
pub use queue::{Queue, QueueOptions, QueueStats, QueueWaiter};
pub use reactor::attest::ProcFd;
pub use reactor::guard::Guard;
pub use reactor::handle::{Reactor, Spawning, Stats, TreeOptions, Turned};
pub use reactor::registration::{Reader, Readiness};
pub use reactor::tree_handle::{Doubts, TreeHandle};
#[cfg(any(test, feature = "sim"))]
pub use reaping::SimReaper;
pub use reaping::{Reaping, ReapingError, Standing, Subtree};
pub use source::{Capabilities, Disagreement, Loss, Source, Told, WitnessReport};
pub use status::{ExitStatus, Usage, signal_name};
pub use sys::{OpenError, OpenOptions, Probe, SourceName, Usable, open, probe, probe_all};
