//! What events tell of each pid, and whether that is what was done.
//!
//! What one thread has read before another is not known afterwards, so what was seen of a pid is compared as a heap: so many births,
//! execs and forks, and these statuses. All of a heap must be there, and nothing else.

use std::collections::{BTreeSet, HashMap};

use proc_reactor::Kevent;
use proc_reactor::flags::{NOTE_CHILD, NOTE_EXEC, NOTE_EXIT, NOTE_FORK, NOTE_TRACKERR};

/// In place of a status that is not known.
const UNKNOWN: i64 = -1;
/// How many differences are printed.
const PRINTED: usize = 20;

/// All that is to be known of one pid, whosever it was in turn.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Heap {
    pub(crate) births: usize,
    pub(crate) execs: usize,
    pub(crate) forks: usize,
    pub(crate) statuses: Vec<i64>,
}

/// What was told.
#[derive(Debug, Default)]
pub(crate) struct Account {
    pub(crate) heaps: HashMap<u32, Heap>,
    /// Births of who is not the root's own child, by pid.
    pub(crate) grandchildren: HashMap<u32, usize>,
    pub(crate) born: usize,
    pub(crate) execs: usize,
    pub(crate) ended: usize,
    pub(crate) track_errors: usize,
}

/// How it compares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) missing: usize,
    /// Told more often than it happened.
    pub(crate) twice: usize,
    pub(crate) wrong: usize,
    /// Statuses that are not known, of a source that does not promise them.
    pub(crate) unknown: usize,
}

impl Verdict {
    pub(crate) fn is_good(&self) -> bool {
        self.missing + self.twice + self.wrong == 0
    }
}

impl Account {
    /// Of all but `root` itself.
    pub(crate) fn of(seen: &[Kevent], root: u32) -> Self {
        let mut account = Self::default();
        for event in seen {
            let told = |note| usize::from(event.fflags & note != 0);
            let pid = u32::try_from(event.ident).unwrap_or(0);
            account.track_errors += told(NOTE_TRACKERR);
            if pid == root {
                continue;
            }
            let heap = account.heaps.entry(pid).or_default();
            heap.births += told(NOTE_CHILD);
            heap.execs += told(NOTE_EXEC);
            heap.forks += told(NOTE_FORK);
            if told(NOTE_EXIT) > 0 {
                heap.statuses.push(event.data);
            }
            if told(NOTE_CHILD) > 0 && event.data != i64::from(root) {
                *account.grandchildren.entry(pid).or_default() += 1;
            }
            account.born += told(NOTE_CHILD);
            account.execs += told(NOTE_EXEC);
            account.ended += told(NOTE_EXIT);
        }
        account
    }

    pub(crate) fn compare(mut self, mut expected: HashMap<u32, Heap>, all_statuses: bool) -> Verdict {
        let mut verdict = Verdict::default();
        for heap in self.heaps.values_mut().chain(expected.values_mut()) {
            heap.statuses.sort_unstable();
        }
        let pids: BTreeSet<_> = self.heaps.keys().chain(expected.keys()).copied().collect();
        let none = Heap::default();
        for pid in pids {
            let (seen, expected) =
                (self.heaps.get(&pid).unwrap_or(&none), expected.get(&pid).unwrap_or(&none));
            let unknown = seen.statuses.iter().filter(|status| **status == UNKNOWN).count();
            if !all_statuses && unknown > 0 {
                verdict.unknown += unknown;
                if seen.may_be(expected, unknown) {
                    continue;
                }
            } else if seen == expected {
                continue;
            }
            if verdict.missing + verdict.twice + verdict.wrong < PRINTED {
                eprintln!("{pid}: {seen:?}, not {expected:?}");
            }
            let mut differs = false;
            for (seen, expected) in seen.counts().into_iter().zip(expected.counts()) {
                verdict.missing += expected.saturating_sub(seen);
                verdict.twice += seen.saturating_sub(expected);
                differs |= seen != expected;
            }
            verdict.wrong += usize::from(!differs);
        }
        verdict
    }
}

impl Heap {
    fn counts(&self) -> [usize; 4] {
        [self.births, self.execs, self.forks, self.statuses.len()]
    }

    /// Those statuses that are known are among the right ones, each once, and there are as many in all.
    fn may_be(&self, expected: &Self, unknown: usize) -> bool {
        let mut rest = expected.statuses.clone();
        let known = self.statuses.iter().filter(|status| **status != UNKNOWN);
        let right = known.filter(|status| {
            let place = rest.iter().position(|right| right == *status);
            place.map(|place| rest.swap_remove(place)).is_some()
        });
        right.count() + unknown == self.statuses.len() && self.counts() == expected.counts()
    }
}
