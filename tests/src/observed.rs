//! What a source came to in a situation, as `situation` prints it: whether it could be opened, and how what it told of a tree
//! compares with the tree's own account.

use serde::{Deserialize, Serialize};

use crate::compare::{End, Ends, Life, compare_with};
use crate::seen::Seen;

/// One run in one situation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Observed {
    /// No tree was watched.
    Refused {
        /// What each source that was tried said.
        tried: Vec<Refusal>,
    },
    /// A tree was watched to its end.
    Watched(Watched),
}

/// Why one source could not be opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// What was seen.
    pub reason: String,
    /// What to do about it.
    pub advice: Option<String>,
}

/// How an account of a tree compares with the truth.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watched {
    /// The source's name.
    pub source: String,
    /// It promises that nobody is missed in silence.
    pub exact_tree: bool,
    /// It promises everybody's status.
    pub statuses: bool,
    /// It promises that losses are counted.
    pub counts_losses: bool,
    /// Records that were told as lost.
    pub lost: u64,
    /// Processes that it said it sees nothing more of but their ends.
    pub unseen: u64,
    /// Broken promises of the stream as such.
    pub broken: Vec<String>,
    /// Where it differs from the truth, but for statuses that it does not know.
    pub differences: Option<String>,
    /// What it tells that is not true, whatever it may have missed.
    pub untrue: Vec<String>,
    /// The status of the program that was started is known.
    pub own_status: bool,
    /// Known statuses of the tree.
    pub known: usize,
    /// Processes whose ends were told.
    pub told: usize,
}

impl Watched {
    /// Holds what was seen against the truth. The rest is for the caller to fill in.
    pub fn compare(truth: &[Life], seen: &Seen) -> Self {
        let lives = seen.lives();
        let known = lives.iter().filter(|life| life.end != End::Unknown).count();
        let differences = compare_with(truth, &lives, Ends::OrUnknown);
        let untrue = lives.iter().filter(|life| !truth.iter().any(|truth| is_part_of(life, truth)));
        Self {
            source: String::new(),
            exact_tree: false,
            statuses: false,
            counts_losses: false,
            lost: seen.lost(),
            unseen: seen.unseen(),
            broken: seen.broken().to_vec(),
            differences: (!differences.is_empty()).then(|| differences.to_string()),
            untrue: untrue.map(|life| format!("{life:?}")).collect(),
            own_status: lives.first().is_some_and(|life| matches!(life.end, End::Code(_) | End::Signal(_))),
            known,
            told: lives.len(),
        }
    }
}

/// Whether what was seen is true of this life, if perhaps not all of it.
fn is_part_of(seen: &Life, truth: &Life) -> bool {
    let is_top = truth.parent.is_none();
    seen.pid == truth.pid
        && (seen.end == truth.end || seen.end == End::Unknown)
        && (is_top || seen.parent.is_none() || seen.parent == truth.parent)
        && (is_top || seen.execs.len() <= truth.execs.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life(pid: u32, parent: u32, end: End) -> Life {
        Life { end, ..Life::born(pid, Some(parent)) }
    }

    #[test]
    fn a_part_of_the_truth_is_true() {
        let truth = life(2, 1, End::Code(1));
        assert!(is_part_of(&truth, &truth));
        assert!(is_part_of(&life(2, 1, End::Unknown), &truth));
        assert!(is_part_of(&Life { parent: None, ..truth.clone() }, &truth));
        assert!(!is_part_of(&life(2, 1, End::Code(2)), &truth));
        assert!(!is_part_of(&life(2, 3, End::Code(1)), &truth));
        assert!(!is_part_of(&life(2, 1, End::Alive), &truth));
        assert!(!is_part_of(&Life { execs: vec![None], ..truth.clone() }, &truth));
    }
}
