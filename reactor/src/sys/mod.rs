//! What is particular to a system: its sources, and the few calls that the rest needs.

mod open;
mod poll;
mod probe;
#[cfg_attr(target_os = "linux", path = "linux/mod.rs")]
#[cfg_attr(not(target_os = "linux"), path = "shell.rs")]
mod system;

pub use open::{OpenError, OpenOptions, SourceName, open};
pub(crate) use poll::poll;
pub use probe::{Probe, Usable, probe, probe_all};
#[cfg(target_os = "linux")]
pub(crate) use system::ledgers;
#[cfg(all(fuzzing, target_os = "linux"))]
pub(crate) use system::properties;
pub(crate) use system::{Pidfd, has_run, like_this_thread, monotonic, thread_id};
