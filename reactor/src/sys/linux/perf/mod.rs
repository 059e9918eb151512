//! Perf events: see [`source`].

mod bell;
mod cover;
mod ending;
mod event;
#[cfg(test)]
mod later_tests;
mod member;
mod pace;
pub(crate) mod record;
mod ring;
mod rings;
mod source;
#[cfg(test)]
mod tests;

pub(super) use source::Perf;
