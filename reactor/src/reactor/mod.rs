//! The turn and what it works on.
//!
//! A turn drains the source and applies what it got, under one baton, whoever drives it (K4). Locks are taken in
//! the order turn (the baton, which owns the source), state (table, trees and logs), wake slot. Under the state
//! lock there is no system call, no waker, no tracing and nothing of the caller's.

pub(crate) mod attach;
pub(crate) mod attest;
#[cfg(test)]
mod attest_tests;
pub(crate) mod baton;
mod disown;
pub(crate) mod guard;
pub(crate) mod handle;
pub(crate) mod reconcile;
pub(crate) mod registration;
pub(crate) mod roots;
pub(crate) mod state;
pub(crate) mod tree_handle;
pub(crate) mod turn;
pub(crate) mod waker;
