//! The reaper of procctl(2), FreeBSD and DragonFly: this program as the one to whom the orphans of its descendants come, with the kernel's own
//! list of who they are.
//!
//! ```text
//!  Reaping ──► PROC_REAP_ACQUIRE .. RELEASE    collector: a thread that reaps orphans, and no child of the program's own
//!     │
//!     └─ subtree(child) ─► Subtree   look: who of it lives (PROC_REAP_GETPIDS, twice, and PROC_REAP_STATUS between)
//!                                    kill: PROC_REAP_KILL of it, once it is certain whose it is
//! ```
//!
//! A descendant has the pid of the child by which it descends from the reaper, its subtree, from birth to the day it is reaped, whatever it
//! calls and whoever dies. That pid is given to nobody else while the subtree has somebody, and may be after: so who was in it is remembered, by
//! pid and start, and without one of those in it (or one that the caller vouches for) nobody is killed.

mod collector;
mod error;
mod guard;
mod kernel;
#[cfg(any(test, target_os = "freebsd"))]
pub(crate) mod procctl;
#[cfg(test)]
mod random_tests;
#[cfg(any(test, feature = "sim"))]
mod sim;
mod subtree;
#[cfg(test)]
mod tests;

pub use error::ReapingError;
pub use guard::Reaping;
#[cfg(any(
    target_os = "freebsd",
    target_os = "netbsd",
    target_os = "openbsd",
    target_os = "dragonfly",
    target_os = "macos"
))]
pub(crate) use guard::adopts_orphans;
pub(crate) use kernel::Kernel;
#[cfg(any(target_os = "freebsd", target_os = "dragonfly"))]
pub(crate) use kernel::{Changes, Listed, Looked, Struck};
#[cfg(any(test, feature = "sim"))]
pub use sim::SimReaper;
pub use subtree::{Standing, Subtree};
