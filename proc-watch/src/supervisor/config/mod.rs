//! Services from TOML.
//!
//! ```text
//!  text ──► toml: entries with spans ──► document ──► service ──► ready, output, stop, policy ──► scalar
//!                                            │            each reads its Item, and tells Faults where it cannot
//!                                            └─► do they make sense together? ──► Builder, or all faults in the order of the text
//! ```
//!
//! The entries are walked by hand and not by serde, which ends at the first error and knows the places of values only where every field asks for them.

mod depth;
mod document;
mod fault;
mod file;
mod item;
#[cfg(test)]
mod malformed;
mod near;
mod output;
mod policy;
#[cfg(test)]
mod random;
mod ready;
mod scalar;
mod sense;
mod service;
mod stop;
mod syntax;
#[cfg(test)]
mod whole;

pub use fault::{ConfigError, Fault, FaultKind};
