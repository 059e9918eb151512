//! Two accounts of the same process tree, side by side.

use std::collections::{HashMap, VecDeque};
use std::ffi::OsString;
use std::fmt;

/// One process, from its birth to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Life {
    /// Another life may have had it before, and another one may get it later.
    pub pid: u32,
    /// The process that forked this one, dead or alive. None for the top, and if it isn't known.
    pub parent: Option<u32>,
    /// The arguments of each successful exec. None if they aren't known.
    pub execs: Vec<Option<Vec<OsString>>>,
    /// How it ended.
    pub end: End,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It exited with this.
    Code(i32),
    /// This signal killed it.
    Signal(i32),
    /// It has ended, no one knows how.
    Unknown,
    /// Its end isn't in the account.
    Alive,
}

impl Life {
    /// A process that has just been born.
    pub fn born(pid: u32, parent: Option<u32>) -> Self {
        Self { pid, parent, execs: Vec::new(), end: End::Alive }
    }
}

/// What two accounts of the same tree disagree about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Differences {
    /// Lives that nobody saw.
    pub missing: Vec<String>,
    /// Lives that never were.
    pub extra: Vec<String>,
    /// Lives that were seen, but not as they were.
    pub wrong: Vec<String>,
    /// Execs whose arguments were seen.
    pub argv_known: usize,
    /// Execs that there were.
    pub argv_total: usize,
    /// Lives that ended in a way that nobody could tell, where that is no difference.
    pub ends_unknown: usize,
}

/// Whether an account has to know how everybody ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// It has to.
    Known,
    /// It may not know: a wrong end is a difference, an unknown one is not.
    OrUnknown,
}

impl Ends {
    /// What a stream of this watcher has to know.
    pub fn of(watcher: &proc_watch::Watcher) -> Self {
        if watcher.capabilities().statuses { Self::Known } else { Self::OrUnknown }
    }
}

impl Differences {
    /// Whether there are none. Arguments that weren't seen don't count: reading them is a race.
    pub fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.extra.is_empty() && self.wrong.is_empty()
    }
}

/// A summary, and the first few differences of each kind.
impl fmt::Display for Differences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 10;
        writeln!(f, "argv known of {} in {} execs", self.argv_known, self.argv_total)?;
        let kinds = [("missing", &self.missing), ("extra", &self.extra), ("wrong", &self.wrong)];
        for (kind, differences) in kinds {
            writeln!(f, "{} {kind}", differences.len())?;
            for difference in differences.iter().take(SHOWN) {
                writeln!(f, "    {difference}")?;
            }
        }
        Ok(())
    }
}

/// Compares an account with the truth, each in order of birth: a pid's first life in the one is
/// matched to its first in the other, and so on.
///
/// A life whose parent the truth does not know is the top's. It began outside of the tree, so
/// that neither its parent nor its execs are compared.
pub fn compare(truth: &[Life], seen: &[Life]) -> Differences {
    compare_with(truth, seen, Ends::Known)
}

/// The same, where the second account may not know all ends.
pub fn compare_with(truth: &[Life], seen: &[Life], ends: Ends) -> Differences {
    let mut differences = Differences::default();
    let mut unmatched: HashMap<u32, VecDeque<&Life>> = HashMap::new();
    for life in seen {
        unmatched.entry(life.pid).or_default().push_back(life);
    }
    for life in truth {
        if life.parent.is_some() {
            differences.argv_total += life.execs.len();
        }
        match unmatched.get_mut(&life.pid).and_then(VecDeque::pop_front) {
            Some(seen) => compare_lives(life, seen, ends, &mut differences),
            None => differences.missing.push(format!("{life:?}")),
        }
    }
    let mut extra: Vec<&Life> = unmatched.into_values().flatten().collect();
    extra.sort_by_key(|life| life.pid);
    differences.extra = extra.into_iter().map(|life| format!("{life:?}")).collect();
    differences
}

fn compare_lives(truth: &Life, seen: &Life, ends: Ends, differences: &mut Differences) {
    let pid = truth.pid;
    if ends == Ends::OrUnknown && seen.end == End::Unknown && truth.end != End::Alive {
        differences.ends_unknown += 1;
    } else if truth.end != seen.end {
        differences.wrong.push(format!("{pid} ended with {:?}, seen {:?}", truth.end, seen.end));
    }
    if truth.parent.is_none() {
        return;
    }
    if truth.parent != seen.parent {
        differences.wrong.push(format!("{pid} is a child of {:?}, seen {:?}", truth.parent, seen.parent));
    }
    if truth.execs.len() != seen.execs.len() {
        let (were, saw) = (truth.execs.len(), seen.execs.len());
        differences.wrong.push(format!("{pid} exec'd {were} times, seen {saw}"));
    }
    for (number, (was, saw)) in truth.execs.iter().zip(&seen.execs).enumerate() {
        if saw.is_some() {
            differences.argv_known += 1;
            if was.is_some() && was != saw {
                differences.wrong.push(format!("{pid}'s exec {number} was {was:?}, seen {saw:?}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argv(args: &[&str]) -> Option<Vec<OsString>> {
        Some(args.iter().map(OsString::from).collect())
    }

    fn life(pid: u32, parent: u32, execs: &[Option<Vec<OsString>>], end: End) -> Life {
        Life { pid, parent: Some(parent), execs: execs.to_vec(), end }
    }

    #[test]
    fn the_same_account_does_not_differ() {
        let lives = [
            Life { end: End::Code(0), ..Life::born(1, None) },
            life(2, 1, &[argv(&["a"]), argv(&["b", ""])], End::Signal(9)),
        ];
        let differences = compare(&lives, &lives);
        assert!(differences.is_empty(), "{differences}");
        assert_eq!((differences.argv_known, differences.argv_total), (2, 2));
    }

    #[test]
    fn unseen_arguments_are_counted_and_wrong_ones_reported() {
        let truth = [life(2, 1, &[argv(&["a"]), argv(&["b"])], End::Code(0))];
        let seen = [life(2, 1, &[None, argv(&["b"])], End::Code(0))];
        let differences = compare(&truth, &seen);
        assert!(differences.is_empty(), "{differences}");
        assert_eq!((differences.argv_known, differences.argv_total), (1, 2));

        let seen = [life(2, 1, &[argv(&["b"]), argv(&["b"])], End::Code(0))];
        assert_eq!(compare(&truth, &seen).wrong.len(), 1);
    }

    #[test]
    fn lives_of_one_pid_are_matched_in_turn() {
        let truth =
            [life(2, 1, &[], End::Code(1)), life(3, 1, &[], End::Code(0)), life(2, 3, &[], End::Code(2))];
        let seen = [truth[0].clone(), truth[2].clone(), truth[1].clone()];
        assert!(compare(&truth, &seen).is_empty());

        let swapped = [truth[2].clone(), truth[0].clone(), truth[1].clone()];
        // Two ends and two parents.
        assert_eq!(compare(&truth, &swapped).wrong.len(), 4);
        assert_eq!(compare(&truth, &truth[1..]).missing.len(), 1);
        assert_eq!(compare(&truth[..2], &truth).extra.len(), 1);
    }

    #[test]
    fn every_field_counts() {
        let truth = [life(2, 1, &[argv(&["a"])], End::Code(1))];
        let others = [
            life(2, 3, &[argv(&["a"])], End::Code(1)),
            life(2, 1, &[], End::Code(1)),
            life(2, 1, &[argv(&["a"]), None], End::Code(1)),
            life(2, 1, &[argv(&["a"])], End::Signal(1)),
            life(2, 1, &[argv(&["a"])], End::Unknown),
            life(2, 1, &[argv(&["a"])], End::Alive),
            Life { parent: None, ..truth[0].clone() },
        ];
        for seen in others {
            assert_eq!(compare(&truth, std::slice::from_ref(&seen)).wrong.len(), 1, "{seen:?}");
        }
    }

    #[test]
    fn an_unknown_end_may_be_no_difference_and_a_wrong_one_is() {
        let truth = [life(2, 1, &[], End::Code(1))];
        let unknown = compare_with(&truth, &[life(2, 1, &[], End::Unknown)], Ends::OrUnknown);
        assert!(unknown.is_empty());
        assert_eq!(unknown.ends_unknown, 1);
        for wrong in [End::Code(0), End::Signal(1), End::Alive] {
            assert!(!compare_with(&truth, &[life(2, 1, &[], wrong)], Ends::OrUnknown).is_empty());
        }
    }

    #[test]
    fn of_the_top_only_the_end_counts() {
        let truth = [Life { end: End::Code(0), ..Life::born(1, None) }];
        let seen = [life(1, 77, &[argv(&["make_tree"])], End::Code(0))];
        let differences = compare(&truth, &seen);
        assert!(differences.is_empty(), "{differences}");
        assert_eq!(differences.argv_total, 0);
        assert!(!compare(&truth, &[Life::born(1, None)]).is_empty());
    }
}
