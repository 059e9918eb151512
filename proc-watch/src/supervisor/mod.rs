//! Services that are kept up, with their whole trees.
//!
//! ```no_run
//! use std::time::Duration;
//! use proc_watch::Watcher;
//! use proc_watch::supervisor::{Ready, Service, Supervisor};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let watcher = Watcher::new()?;
//! let supervisor = Supervisor::builder()
//!     .service(Service::new("database", "postgres").ready(Ready::Connect(([127, 0, 0, 1], 5432).into())))
//!     .service(Service::new("web", "web-server").needs("database").ready(Ready::Notify))
//!     .start(&watcher)?;
//! supervisor.wait_ready().await?;
//! // ...
//! supervisor.shutdown(Duration::from_secs(20)).await;
//! # Ok(()) }
//! ```
//!
//! A service is a tree of processes, and not only the process that was started: it is down when nobody of the tree is left, whoever called `setsid` or
//! forked twice, and not before is it started again. So nothing is started twice, and nobody is left behind.
//!
//! ```text
//!  handles ── commands ──►┌────────┐ inputs ┌──────┐
//!  lives ────── news ────►│ actor  │───────►│ core │   decides: no clock, no processes, no tasks
//!  clocks ───────────────►│        │◄───────│      │
//!                         └───┬────┘ effects└──────┘
//!            spawn, stop, ask │ ► one task a life: its tree, its child, its socket
//!                             ▼
//!                    states, events
//! ```
//!
//! With the feature `toml`, services come from a file: `Builder::from_toml`. With `serde`, what is told of them is `Serialize`, in the form of `docs/json.md`.

mod actor;
mod check;
#[cfg(feature = "toml")]
mod config;
mod core;
#[cfg(test)]
mod core_tests;
mod death;
mod event;
mod handle;
mod life;
mod marker;
mod memory;
#[cfg(feature = "metrics")]
mod meter;
#[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "nobody can be heard there"))]
mod notice;
mod output;
mod policy;
mod record;
mod spec;

pub use self::core::{State, Verdict};
pub use actor::ReloadError;
#[cfg(feature = "toml")]
pub use config::{ConfigError, Fault, FaultKind};
pub use death::{Guard, OnDeath};
pub use event::{ServiceEvent, ServiceEventKind, Snapshot, Status};
pub use handle::{Builder, NotReady, ServiceEvents, ServiceHandle, StartError, Supervisor};
#[cfg(feature = "metrics")]
pub use meter::describe_metrics;
pub use policy::{AutoShutdown, Backoff, Intensity, Restart, Strategy};
pub use record::StateError;
pub use spec::{Health, Line, Main, Output, Ready, Service, SpecError};
