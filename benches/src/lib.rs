//! What the measuring programs share.
//!
//! - `overhead`: what watching costs in processor time, against watching less and against other programs.
//! - `unwatched`: what a watcher costs those whom it does not watch.
//! - `latency`: how long after a child's end its parent knows.
//! - `queue`: what a queue costs by itself, against a channel.
//! - `idle`: how often a watcher wakes while there is nothing to see.
//! - `locks`: what lock guards a note, by six small variants of notes and queues; nothing is watched.
//!
//! The first three start itself again for the parts that have to be processes of their own, with a role as the first
//! argument ([`options::role`]).

pub mod account;
pub mod bare;
pub mod bare_perf;
pub mod machine;
pub mod options;
pub mod part;
pub mod sockets;
pub mod spread;
pub mod stamp;
pub mod sys;
pub mod table;
pub mod workload;
