//! What is shared between threads, with three faces: `std` for programs, `loom` for the model checker
//! (`--cfg proc_reactor_loom`), `shuttle` for random schedules (`--cfg proc_reactor_shuttle`). Nothing else in the crate names
//! any of them.

#[cfg_attr(proc_reactor_loom, path = "loom.rs")]
#[cfg_attr(all(proc_reactor_shuttle, not(proc_reactor_loom)), path = "shuttle.rs")]
#[cfg_attr(not(any(proc_reactor_loom, proc_reactor_shuttle)), path = "std.rs")]
mod face;

pub(crate) use face::*;
