//! Interleavings of the real code, by loom: `RUSTFLAGS="--cfg proc_reactor_loom" cargo test -p proc-reactor --release --lib
//! loom_`. `LOOM_MAX_PREEMPTIONS=2` bounds it for CI; without, the search of two threads is exhaustive but where
//! the baton's note is in it, and that of three is where it ends in a minute: the table in [`explore`] says which.
//!
//! What is searched is the crate's own: the state and its changes, the queues, the steps of a registration, a scan, a closing, the
//! baton, and the loop of those who wait. What a kernel and descriptors would be is in [`rig`].

mod explore;
mod faults;
mod notes;
mod rig;
mod turn;
mod waiting;
