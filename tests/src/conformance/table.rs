//! All cases, and the rules without any.

use super::case::Case;
use super::{changing, events, identity, limits, races, registration, tracking, user, waiting};

const TABLE: &[&[Case]] = &[
    registration::CASES,
    changing::CASES,
    identity::CASES,
    limits::CASES,
    events::CASES,
    tracking::CASES,
    waiting::CASES,
    races::CASES,
    user::CASES,
];

/// The number of the last rule.
pub const RULES: u32 = 41;
/// Rules without a case, and why.
pub const WITHOUT: &[(&str, &str)] =
    &[("C38", "it is about debuggers, and no source that there is sees an exit before its tracer does")];

/// All of them, in the order of the table.
pub fn cases() -> impl Iterator<Item = &'static Case> {
    TABLE.iter().copied().flatten()
}
