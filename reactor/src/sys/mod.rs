//! What is particular to a system: its sources, and the few calls that the rest needs.

#[cfg(any(test, target_os = "openbsd", target_os = "macos"))]
mod argv;
#[cfg(any(
    test,
    target_os = "freebsd",
    target_os = "netbsd",
    target_os = "openbsd",
    target_os = "dragonfly",
    target_os = "macos"
))]
mod kqueue;
mod open;
mod poll;
mod probe;
#[cfg(not(any(target_os = "freebsd", target_os = "dragonfly")))]
mod reaperless;
#[cfg_attr(target_os = "linux", path = "linux/mod.rs")]
#[cfg_attr(
    any(
        target_os = "freebsd",
        target_os = "netbsd",
        target_os = "openbsd",
        target_os = "dragonfly",
        target_os = "macos"
    ),
    path = "bsd/mod.rs"
)]
#[cfg_attr(
    not(any(
        target_os = "linux",
        target_os = "freebsd",
        target_os = "netbsd",
        target_os = "openbsd",
        target_os = "dragonfly",
        target_os = "macos"
    )),
    path = "shell.rs"
)]
mod system;

#[cfg(any(test, target_os = "dragonfly"))]
mod vmmeter;

pub use open::{OpenError, OpenOptions, SourceName, open};
pub(crate) use poll::poll;
pub use probe::{Probe, Usable, probe, probe_all};
#[cfg(not(any(target_os = "freebsd", target_os = "dragonfly")))]
pub(crate) use reaperless::reaper;
#[cfg(target_os = "linux")]
pub(crate) use system::ledgers;
#[cfg(all(fuzzing, target_os = "linux"))]
pub(crate) use system::properties;
#[cfg(any(target_os = "freebsd", target_os = "dragonfly"))]
pub(crate) use system::reaper;
pub(crate) use system::{Pidfd, boot, has_run, like_this_thread, mark, monotonic, thread_id};
