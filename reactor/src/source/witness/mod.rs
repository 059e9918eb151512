//! Two sources that check one another: [`Witnesses`].
//!
//! `account` is what one of them has told of one pid, `audit` holds the two accounts against each other, `both` is the
//! source that a reactor sees, `report` what came of it.

mod account;
mod audit;
#[cfg(test)]
mod audit_tests;
mod both;
#[cfg(all(test, not(any(proc_reactor_loom, proc_reactor_shuttle))))]
mod both_tests;
#[cfg(test)]
mod random_tests;
mod report;

pub use both::Witnesses;
pub use report::{Disagreement, Told, WitnessReport};
