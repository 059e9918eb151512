//! The threads of one process. A process has ended when the last of them has, which need not be the leader.

use rustc_hash::FxHashSet;

/// The living threads of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Threads {
    /// The leader alone, as after birth and after every exec. Nearly all processes never leave this state, so it
    /// costs no allocation.
    Leader,
    /// These threads, not empty unless the process has ended; the leader may be missing.
    Set(FxHashSet<u32>),
}

impl Threads {
    /// From a reading of the system's list.
    pub(crate) fn read(leader: u32, threads: &[u32]) -> Self {
        if threads == [leader] { Self::Leader } else { Self::Set(threads.iter().copied().collect()) }
    }

    pub(crate) fn contains(&self, leader: u32, thread: u32) -> bool {
        match self {
            Self::Leader => thread == leader,
            Self::Set(set) => set.contains(&thread),
        }
    }

    pub(crate) fn insert(&mut self, leader: u32, thread: u32) {
        match self {
            Self::Leader if thread == leader => {}
            Self::Leader => *self = Self::Set([leader, thread].into_iter().collect()),
            Self::Set(set) => {
                set.insert(thread);
            }
        }
    }

    /// Takes `thread` out; true if it was the last. One that is not in the set changes nothing.
    pub(crate) fn remove(&mut self, leader: u32, thread: u32) -> bool {
        match self {
            Self::Leader if thread == leader => {
                *self = Self::Set(FxHashSet::default());
                true
            }
            Self::Leader => false,
            Self::Set(set) => {
                let was_there = set.remove(&thread);
                if set.len() == 1 && set.contains(&leader) {
                    *self = Self::Leader;
                    return false;
                }
                was_there && set.is_empty()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_leader_may_leave_first() {
        let mut threads = Threads::Leader;
        threads.insert(10, 11);
        assert!(!threads.remove(10, 10));
        assert!(!threads.contains(10, 10));
        assert!(!threads.remove(10, 99));
        assert!(threads.remove(10, 11));
    }

    #[test]
    fn back_to_the_leader_alone() {
        let mut threads = Threads::Leader;
        threads.insert(10, 11);
        threads.insert(10, 12);
        assert!(!threads.remove(10, 12));
        assert!(!threads.remove(10, 11));
        assert_eq!(threads, Threads::Leader);
        assert!(!threads.remove(10, 11), "an exit told twice is told once");
        assert!(threads.remove(10, 10));
        assert!(!threads.remove(10, 10));
    }
}
