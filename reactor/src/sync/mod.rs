//! What is shared between threads, with two faces: `std` for programs, `loom` for the model checker
//! (`--cfg proc_reactor_loom`). Nothing else in the crate names either.

#[cfg_attr(proc_reactor_loom, path = "loom.rs")]
#[cfg_attr(not(proc_reactor_loom), path = "std.rs")]
mod face;

pub(crate) use face::*;
