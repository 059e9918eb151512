//! Counting what was lost, by the sequence number that each processor gives its messages.

use rustc_hash::FxHashMap;

/// The messages of each processor between two points where nothing was missing.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    cpus: FxHashMap<u32, Account>,
    /// Everything that was received.
    #[cfg(test)]
    pub(super) all: Vec<(u32, u32)>,
}

/// Accounts without a hole are begun anew now and then, long before the numbers wrap.
const REBASE: u64 = 1 << 24;

/// Sequence numbers wrap at 2^32: all are taken relative to `base`.
#[derive(Clone, Copy, Debug)]
struct Account {
    /// The first that has not been accounted for.
    base: u32,
    /// How many were received since.
    received: u64,
    /// How far behind `base` the highest received is, plus one.
    span: u64,
}

impl Ledger {
    /// Everything of `cpu` up to and with `sequence` is accounted for.
    pub(super) fn begin_after(&mut self, cpu: u32, sequence: u32) {
        self.cpus.insert(cpu, Account { base: sequence.wrapping_add(1), received: 0, span: 0 });
    }

    /// A message was received. The first of a processor sets its base. True if it is not the one that comes next,
    /// which in a queue of all messages means that some are lost.
    pub(super) fn received(&mut self, cpu: u32, sequence: u32) -> bool {
        #[cfg(test)]
        self.all.push((cpu, sequence));
        let account = self.cpus.entry(cpu).or_insert(Account { base: sequence, received: 0, span: 0 });
        let behind = sequence.wrapping_sub(account.base);
        if behind > u32::MAX / 2 {
            // Older than the base: accounted for.
            return false;
        }
        let gap = u64::from(behind) != account.span;
        account.received += 1;
        account.span = account.span.max(u64::from(behind) + 1);
        if account.span > REBASE && account.span == account.received {
            account.settle();
        }
        gap
    }

    /// The highest number received from a processor; `None` if none since the last settlement.
    pub(super) fn highest(&self, cpu: u32) -> Option<u32> {
        let account = self.cpus.get(&cpu)?;
        let last = account.span.checked_sub(1)?;
        Some(account.base.wrapping_add(last as u32))
    }

    /// Settles all accounts up to the highest number received: what is missing is lost. To be called when everything
    /// that was sent before those has been read.
    pub(super) fn settle(&mut self) -> u64 {
        self.cpus.values_mut().map(Account::settle).sum()
    }

    /// The next number of each processor that has not been accounted for, when all are settled.
    #[cfg(test)]
    pub(super) fn next(&self) -> Vec<(u32, u32)> {
        self.cpus.iter().map(|(cpu, account)| (*cpu, account.base)).collect()
    }

    /// The processors that have an account.
    pub(super) fn cpus(&self) -> impl Iterator<Item = u32> {
        self.cpus.keys().copied()
    }
}

impl Account {
    fn settle(&mut self) -> u64 {
        let lost = self.span.saturating_sub(self.received);
        self.base = self.base.wrapping_add(self.span as u32);
        self.received = 0;
        self.span = 0;
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_is_missing_before_the_highest() {
        let mut ledger = Ledger::default();
        for sequence in [10, 11, 14, 13] {
            ledger.received(0, sequence);
        }
        ledger.received(1, 500);
        assert_eq!(ledger.settle(), 1);
        ledger.received(0, 20);
        ledger.received(1, 501);
        assert_eq!(ledger.settle(), 5, "15 to 19");
        assert_eq!(ledger.settle(), 0);
    }

    #[test]
    fn wraps() {
        let mut ledger = Ledger::default();
        ledger.received(0, u32::MAX - 1);
        assert_eq!(ledger.settle(), 0);
        ledger.received(0, 1);
        assert_eq!(ledger.settle(), 2, "the last number and 0");
        ledger.received(0, 2);
        assert_eq!(ledger.settle(), 0);
    }
}
