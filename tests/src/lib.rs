//! What the tests share: oracles.
//!
//! `make_tree` makes process trees and writes down what happens in them ([`truth`]). [`strace`]
//! gives a second account, by ptrace, which knows nothing of the first. An account by one of this
//! workspace's crates ([`seen`]) has to be the same ([`compare`]). `reuser` makes children that share a few pids, each with an end
//! that tells its birth ([`reuse`]). [`around`] lets a test meddle with a source. [`observed`] is what one source comes to in one situation.
//! [`conformance`] has the cases of the rules of kqueue.

pub mod around;
pub mod compare;
pub mod conformance;
pub mod ends;
pub mod observed;
pub mod reuse;
pub mod seen;
pub mod sources;
#[cfg(target_os = "linux")]
pub mod strace;
pub mod truth;
