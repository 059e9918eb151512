//! What a supervisor tells, for programs: as docs/json.md has it. The types keep their own shape, and each has one here that is its form; so that a field
//! which is renamed or turned around does not change what others read.

mod event;
mod process;
mod report;
mod status;

/// Raised when a key changes its meaning or goes; not when one is added.
const VERSION: u32 = 1;
