//! Who was the last to end under a pid, of those whose notes were told. A note that is still to tell of an end is the pid's own only
//! as long as nobody else has been born under it (C8): a later owner may have ended too by the time that somebody asks.

use rustc_hash::FxHashMap;

use crate::ProcId;

/// So many are kept without a look at whether their notes have been read.
const KEPT: usize = 1024;

#[derive(Debug)]
pub(crate) struct Ends {
    births: FxHashMap<u32, u64>,
    /// How many there may be before those are dropped that nobody is to read of any more.
    limit: usize,
}

impl Ends {
    pub(crate) fn new() -> Self {
        Self { births: FxHashMap::default(), limit: KEPT }
    }

    /// A process ended that has notes, and nobody else lives under its pid.
    pub(crate) fn put(&mut self, id: ProcId) {
        self.births.insert(id.pid(), id.birth());
    }

    /// Somebody was born under this pid.
    pub(crate) fn born(&mut self, pid: u32) {
        if !self.births.is_empty() {
            self.births.remove(&pid);
        }
    }

    /// Whether nobody was born under its pid since it ended.
    pub(crate) fn is_last(&self, id: ProcId) -> bool {
        self.births.get(&id.pid()) == Some(&id.birth())
    }

    /// Births may have gone untold.
    pub(crate) fn forget(&mut self) {
        *self = Self::new();
    }

    pub(crate) fn is_full(&self) -> bool {
        self.births.len() > self.limit
    }

    /// Keeps those that somebody is still to read of. As many again may come before it is done again.
    pub(crate) fn retain(&mut self, unread: impl Fn(u32) -> bool) {
        self.births.retain(|pid, _| unread(*pid));
        self.births.shrink_to(2 * self.births.len());
        self.limit = (2 * self.births.len()).max(KEPT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stays_small() {
        let mut ends = Ends::new();
        for pid in 0..100_000 {
            ends.put(ProcId::new(pid, u64::from(pid)));
            if ends.is_full() {
                ends.retain(|other| pid - other < 10);
            }
            assert!(ends.births.len() <= KEPT + 1);
        }
        assert!(ends.is_last(ProcId::new(99_999, 99_999)));
        ends.born(99_999);
        assert!(!ends.is_last(ProcId::new(99_999, 99_999)));
    }
}
