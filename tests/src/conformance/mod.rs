//! The conformance table: each rule of kqueue's EVFILT_PROC, as this project keeps it, shown by cases that run over a script, over
//! real processes and a source of events, and, as far as they are about what any kqueue does, over a kernel's own queue.
//!
//! They are used by a test harness (`tests/tests/conformance`) and by a program that needs none (`tests/src/bin/conformance.rs`).
//! Processes that do as they are told are played by whatever program [`set_program`] names.

mod attempt;
#[path = "../../../examples/make_tree/births.rs"]
mod births;
mod case;
mod changing;
#[path = "../../../examples/watch/console.rs"]
mod console;
mod events;
pub mod fault;
mod identity;
mod kqueue;
mod limits;
mod make;
#[cfg(any(
    target_os = "freebsd",
    target_os = "netbsd",
    target_os = "openbsd",
    target_os = "dragonfly",
    target_os = "macos"
))]
mod native;
mod options;
mod os;
#[cfg(target_os = "freebsd")]
mod pids;
mod program;
mod puppet;
#[cfg(any(
    target_os = "freebsd",
    target_os = "netbsd",
    target_os = "openbsd",
    target_os = "dragonfly",
    target_os = "macos"
))]
#[path = "../../../examples/watch/native.rs"]
mod queue;
mod races;
mod real;
mod registration;
mod scripted;
mod stage;
mod step;
mod table;
mod tap;
mod tracking;
mod user;
mod waiting;
mod watchdog;
mod world;

pub use attempt::{Outcome, Setting};
pub use case::{Case, Place};
pub use kqueue::{Kernel, Kernels};
pub use make::make_and_reap;
#[cfg(any(
    target_os = "freebsd",
    target_os = "netbsd",
    target_os = "openbsd",
    target_os = "dragonfly",
    target_os = "macos"
))]
pub use native::native;
pub use program::run;
pub use puppet::{play, set_program};
pub use table::{RULES, WITHOUT, cases};
pub use world::{FOREVER, LAST, event};
