//! Order out of several kernel queues, without a clock and without a lag (K12).
//!
//! Two passes over all queues, back to back. Whatever caused a record of the first pass was queued before that
//! record was read, so it is in the first pass or in the second. Whatever caused a record of the second that is
//! stamped no later than the newest of the first was queued before that stamp was taken, hence before the second
//! pass began. So everything up to the newest stamp of the first pass may be released, sorted, and the rest
//! waits to be part of the next first pass.

/// Releases records of several queues in causal order. `T` with the key by which they sort.
#[derive(Debug)]
pub(crate) struct DoubleSnapshot<T> {
    held: Vec<(u64, T)>,
}

impl<T> DoubleSnapshot<T> {
    pub(crate) fn new() -> Self {
        Self { held: Vec::new() }
    }

    /// Begins the first pass: what the last round held back belongs to it.
    pub(crate) fn first(&mut self) -> &mut Vec<(u64, T)> {
        &mut self.held
    }

    /// Ends the round: `second` is what the second pass read. Appends what may be released, sorted by stamp, and
    /// says whether something was held back, which calls for another round.
    pub(crate) fn release(&mut self, second: &mut Vec<(u64, T)>, out: &mut Vec<T>) -> bool {
        let horizon = self.held.iter().map(|(time, _)| *time).max();
        self.held.append(second);
        // Stable: records of one queue with one stamp keep their order.
        self.held.sort_by_key(|(time, _)| *time);
        let released = match horizon {
            Some(horizon) => self.held.partition_point(|(time, _)| *time <= horizon),
            None => 0,
        };
        out.extend(self.held.drain(..released).map(|(_, record)| record));
        !self.held.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn k12_releases_up_to_the_newest_of_the_first_pass() {
        let mut order = DoubleSnapshot::new();
        order.first().extend([(5, 'e'), (3, 'c')]);
        let mut out = Vec::new();
        assert!(order.release(&mut vec![(4, 'd'), (9, 'i'), (1, 'a')], &mut out));
        assert_eq!(out, ['a', 'c', 'd', 'e']);
        out.clear();
        assert!(!order.release(&mut vec![(7, 'g')], &mut out));
        assert_eq!(out, ['g', 'i']);
    }

    #[test]
    fn what_only_the_second_pass_saw_waits_for_the_next() {
        let mut order = DoubleSnapshot::new();
        let mut out = Vec::new();
        assert!(order.release(&mut vec![(2, 'b')], &mut out));
        assert!(out.is_empty());
        assert!(!order.release(&mut vec![], &mut out));
        assert_eq!(out, ['b']);
    }
}
