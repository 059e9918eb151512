//! The audit: holds what two witnesses tell of each pid against each other.
//!
//! Nothing orders the words of one witness among those of the other. So what is compared is how often each told of a
//! birth, an exec and an end under each pid, when both say that nobody has the pid any more. One that lags is waited for; what
//! cannot come right any more, and what has not after [`GRACE`], is a disagreement.
//!
//! Stamps are looked at in two places only: to know that a record is about an earlier owner of the pid, and that something was
//! told around the time of a loss or of an attach, where either may have missed it without fault.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use rustc_hash::{FxHashMap, FxHashSet};

use super::account::Account;
use super::report::{Disagreement, WitnessReport};
use crate::event::{Change, Stamped};
use crate::process::threads::Threads;

/// How long one witness may have told of something and the other not: a record of an end was seen several milliseconds
/// late, and a machine that is flooded makes seconds of them.
pub(super) const GRACE: u64 = 10_000_000_000;
/// What happened so soon after a loss, or an attach, may still have been under way in the kernel when it ended: one witness can
/// have missed it and the other told of it later.
pub(super) const UNDER_WAY: u64 = 1_000_000_000;
/// Of pids that are done with, so many of the latest are remembered: a word too many about one of them is found.
const RECENT: usize = 1024;
/// Disagreements that are kept.
const KEPT: usize = 1000;

/// Whose word it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Witness {
    First,
    Second,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Compared.
    Audited,
    /// Not compared: kept until it ends, since its children are.
    Exempt,
    /// Both told the same and said that it is over: any further word is one too many.
    Settled,
    /// It is over, and nothing said of it matters.
    Forgotten,
}

/// The two accounts of one pid.
#[derive(Debug)]
struct Entry {
    first: Account,
    second: Account,
    /// Who made it, by whoever said so last.
    parent: u32,
    /// When somebody first told of it: what is older is about an earlier owner of the pid.
    begun: u64,
    /// Processes of the pid that lived before anything was told of them.
    assumed: u32,
    /// It was being attached to: what is older may be known to one of the two only.
    doubtful_until: u64,
    state: State,
    /// The second does not see what it starts.
    unseen: bool,
    /// When it is a disagreement that one has told what the other has not.
    due: Option<u64>,
    /// It stands in the list of those who are due.
    queued: bool,
}

impl Entry {
    fn new(begun: u64) -> Self {
        Self {
            first: Account::default(),
            second: Account::default(),
            parent: 0,
            begun,
            assumed: 0,
            doubtful_until: 0,
            state: State::Audited,
            unseen: false,
            due: None,
            queued: false,
        }
    }

    fn account(&mut self, witness: Witness) -> &mut Account {
        match witness {
            Witness::First => &mut self.first,
            Witness::Second => &mut self.second,
        }
    }

    fn is_past(&self) -> bool {
        matches!(self.state, State::Settled | State::Forgotten)
    }

    /// Whether one of the two has said that it is over.
    fn is_said_to_be_over(&self) -> bool {
        [&self.first, &self.second].into_iter().any(|account| account.is_over() && account.told.ends > 0)
    }

    /// Whether something is known to one that the other has yet to tell.
    fn is_uneven(&self) -> bool {
        let Self { first, second, .. } = self;
        !first.agrees(second) || first.is_over() != second.is_over()
    }

    /// Both have said that it is over, and one of more ends than there can be.
    fn has_ends_too_many(&self) -> bool {
        let too_many = |one: &Account, other: &Account| {
            one.has_ends_too_many(self.assumed) && other.told.ends >= one.told.ends
        };
        too_many(&self.first, &self.second) || too_many(&self.second, &self.first)
    }
}

/// What was told and has not been settled.
#[derive(Debug)]
pub(super) struct Audit {
    /// This program, which is not compared.
    me: u32,
    /// Its thread whose children both witnesses see.
    spawner: Option<u32>,
    /// It was attached to itself: children of all its threads are seen. Those up to then may be known to one of the two only.
    attached_to_me: Option<u64>,
    entries: FxHashMap<u32, Entry>,
    due: BinaryHeap<Reverse<(u64, u32)>>,
    recent: VecDeque<u32>,
    /// There was a loss: births up to then are not compared.
    exempt_until: u64,
    pub(super) report: WitnessReport,
    names: [&'static str; 2],
}

impl Audit {
    pub(super) fn new(me: u32, spawner: Option<u32>, names: [&'static str; 2]) -> Self {
        Self {
            me,
            spawner,
            attached_to_me: None,
            entries: FxHashMap::default(),
            due: BinaryHeap::new(),
            recent: VecDeque::new(),
            exempt_until: 0,
            report: WitnessReport::default(),
            names,
        }
    }

    /// Takes in what a witness told, each in its own order.
    pub(super) fn apply(&mut self, witness: Witness, told: &[Stamped], now: u64) {
        for &Stamped { time, ref change } in told {
            match *change {
                Change::Fork { parent, thread, child } => {
                    self.fork(witness, parent, thread, child, time, now);
                }
                Change::Unseen { process } => self.unseen(process, time, now),
                Change::Thread { process, thread } => {
                    if let Some(entry) = self.entries.get_mut(&process) {
                        entry.account(witness).thread(process, thread);
                    }
                }
                Change::Exec { process } => {
                    self.tell(witness, process, time, now, |account, doubtful| account.exec(time, doubtful));
                }
                Change::Exit { process, thread, .. } => {
                    self.tell(witness, process, time, now, |account, doubtful| {
                        account.exit(process, thread, time, doubtful);
                    });
                }
                Change::End { process, .. } => {
                    self.tell(witness, process, time, now, |account, doubtful| account.end(time, doubtful));
                }
            }
        }
    }

    fn fork(&mut self, witness: Witness, parent: u32, thread: u32, child: u32, time: u64, now: u64) {
        if child == self.me {
            return;
        }
        // The second is told of nobody else.
        let covered = witness == Witness::Second || self.covers(parent, thread, time);
        let made_by = self.entries.get(&parent).filter(|parent| !parent.is_past());
        let unseen = witness == Witness::First && made_by.is_some_and(|parent| parent.unseen);
        let doubtful_until = match made_by {
            // The children of the spawner's thread have always been seen.
            None if parent == self.me && self.spawner != Some(thread) => self.attached_to_me,
            made_by => made_by.map(|parent| parent.doubtful_until),
        };
        let doubtful_until = doubtful_until.filter(|until| time <= *until).unwrap_or(0);
        let before = self.entries.get(&child);
        if before.is_none_or(Entry::is_past) {
            if !covered {
                // Whatever is said of the pid from now on is about somebody else.
                self.entries.remove(&child);
                return;
            }
            // If its last owner is one with whom both are done, nothing older is still to be said.
            let done = |last: &Entry| last.state == State::Settled && last.first.is_vacant();
            let begun = if before.is_some_and(done) { 0 } else { time };
            self.entries.insert(child, Entry::new(begun));
        }
        let entry = self.entries.get_mut(&child).expect("it was there or has been put in");
        if !covered {
            entry.first.foreign_birth(time);
            return;
        }
        entry.begun = entry.begun.min(time);
        entry.parent = parent;
        entry.unseen |= unseen;
        entry.doubtful_until = entry.doubtful_until.max(doubtful_until);
        let doubtful = time <= entry.doubtful_until;
        entry.account(witness).birth(time, doubtful);
        if time <= self.exempt_until || unseen {
            self.exempt(child);
        }
        self.review(child, Some(witness), now);
    }

    /// Whether the second witness sees the children that this thread makes.
    fn covers(&self, parent: u32, thread: u32, time: u64) -> bool {
        if parent == self.me {
            return self.spawner == Some(thread) || self.attached_to_me.is_some();
        }
        self.entries.get(&parent).is_some_and(|entry| {
            let earlier_owner = entry.first.is_vacant() && time < entry.begun;
            !entry.is_past() && !entry.first.is_foreign() && !earlier_owner
        })
    }

    /// Something was told of one process.
    fn tell(
        &mut self,
        witness: Witness,
        pid: u32,
        time: u64,
        now: u64,
        fact: impl FnOnce(&mut Account, bool),
    ) {
        if pid == self.me {
            return;
        }
        let Some(entry) = self.entries.get_mut(&pid) else {
            // The second is told of none but those that are to be compared, so this is of one whose birth it missed and the
            // first is yet to tell. Once there was a loss it may as well be of one that is done with.
            if witness == Witness::Second && self.exempt_until == 0 {
                let mut entry = Entry::new(time);
                fact(&mut entry.second, false);
                if entry.second.told.total() > 0 {
                    self.entries.insert(pid, entry);
                    self.review(pid, Some(witness), now);
                }
            }
            return;
        };
        let (begun, doubtful) = (entry.begun, time <= entry.doubtful_until);
        let account = entry.account(witness);
        if account.is_vacant() && time < begun {
            return;
        }
        let before = account.told;
        fact(account, doubtful);
        if account.told != before {
            self.review(pid, Some(witness), now);
        }
    }

    /// The second sees nothing more of a process, nor of what it starts.
    fn unseen(&mut self, process: u32, time: u64, now: u64) {
        let mut blind = FxHashSet::default();
        self.entries.entry(process).or_insert_with(|| Entry::new(time));
        let mut next = vec![process];
        // The first may have told already of what it started.
        while let Some(pid) = next.pop() {
            if !blind.insert(pid) {
                continue;
            }
            self.exempt(pid);
            self.entries.get_mut(&pid).expect("it is there").unseen = true;
            self.review(pid, None, now);
            let unheard = |entry: &Entry| {
                entry.parent == pid && entry.second.told.total() == 0 && entry.state == State::Audited
            };
            let children = self.entries.iter().filter(|(_, entry)| unheard(entry));
            next.extend(children.map(|(child, _)| *child));
        }
    }

    /// These run already, with these threads, and both witnesses tell of them from about now on. Of those who have ended since they
    /// were found there are none: what either will tell of them is not compared.
    pub(super) fn attached(&mut self, processes: impl IntoIterator<Item = (u32, Option<Threads>)>, now: u64) {
        for (pid, threads) in processes {
            if pid == self.me {
                self.attached_to_me.get_or_insert(now + UNDER_WAY);
                continue;
            }
            if self.entries.get(&pid).is_some_and(|entry| !entry.is_past()) {
                continue;
            }
            let mut entry = Entry::new(0);
            entry.assumed = 1;
            entry.doubtful_until = now + UNDER_WAY;
            entry.first.assume(threads.clone().unwrap_or(Threads::Leader));
            entry.second.assume(threads.clone().unwrap_or(Threads::Leader));
            self.entries.insert(pid, entry);
            if threads.is_none() {
                self.exempt(pid);
            }
        }
    }

    /// One of the two has lost records up to now: who is known is not compared, nor who was born by then.
    pub(super) fn lost(&mut self, now: u64) {
        self.exempt_until = now + UNDER_WAY;
        self.recent.clear();
        self.entries.retain(|_, entry| !entry.is_past());
        let known: Vec<u32> = self.entries.keys().copied().collect();
        for pid in known {
            self.exempt(pid);
            self.review(pid, None, now);
        }
    }

    fn exempt(&mut self, pid: u32) {
        if let Some(entry) = self.entries.get_mut(&pid) {
            if entry.state == State::Audited {
                entry.state = State::Exempt;
                self.report.exempt += 1;
            }
        }
    }

    /// An account of a pid has changed, by the word of `teller` if it was a word.
    fn review(&mut self, pid: u32, teller: Option<Witness>, now: u64) {
        let Some(entry) = self.entries.get_mut(&pid) else { return };
        let Entry { first, second, state, .. } = &*entry;
        let both_over = first.is_over() && second.is_over();
        match state {
            State::Forgotten => {}
            State::Settled => {
                self.record(pid, now);
                self.close(pid, State::Forgotten);
            }
            State::Exempt if both_over && first.told.ends > 0 && second.told.ends > 0 => {
                self.close(pid, State::Forgotten);
            }
            State::Exempt if entry.is_said_to_be_over() => self.await_other(pid, teller, now),
            State::Audited if both_over => {
                // As many processes by both accounts: all has been said of them. Else the pid may have had one more of
                // which one is yet to tell.
                let (one, other) = (first.told, second.told);
                let same_lives = one.ends > 0 && (one.births, one.ends) == (other.births, other.ends);
                if same_lives && first.agrees(second) {
                    self.report.agreed += u64::from(one.births + one.execs.min(other.execs) + one.ends);
                    self.report.processes += u64::from(one.ends);
                    self.close(pid, State::Settled);
                } else if same_lives || (entry.has_ends_too_many() && !first.agrees(second)) {
                    self.record(pid, now);
                    self.close(pid, State::Forgotten);
                } else {
                    self.await_other(pid, teller, now);
                }
            }
            State::Audited if entry.is_said_to_be_over() || !first.agrees_on(second, |told| told.births) => {
                self.await_other(pid, teller, now);
            }
            State::Audited | State::Exempt => entry.due = None,
        }
    }

    /// One witness has told what the other has not. Whoever lags and catches up gets the time anew.
    fn await_other(&mut self, pid: u32, teller: Option<Witness>, now: u64) {
        let Some(entry) = self.entries.get_mut(&pid) else { return };
        let (first, second) = (entry.first.told.total(), entry.second.told.total());
        let catching_up = match teller {
            Some(Witness::First) => first <= second,
            Some(Witness::Second) => second <= first,
            None => false,
        };
        let due = entry.due.filter(|_| !catching_up).unwrap_or(now + GRACE);
        entry.due = Some(due);
        if !std::mem::replace(&mut entry.queued, true) {
            self.due.push(Reverse((due, pid)));
        }
    }

    /// Nothing more is queued of either witness: who is due will not come.
    pub(super) fn quiet(&mut self, now: u64) {
        while self.due.peek().is_some_and(|Reverse((due, _))| *due <= now) {
            let Some(Reverse((_, pid))) = self.due.pop() else { return };
            let Some(entry) = self.entries.get_mut(&pid) else { continue };
            entry.queued = false;
            let Some(due) = entry.due else { continue };
            if due > now {
                entry.queued = true;
                self.due.push(Reverse((due, pid)));
                continue;
            }
            entry.due = None;
            match entry.state {
                State::Settled | State::Forgotten => continue,
                State::Exempt => {}
                // What is missing need not have been seen.
                State::Audited if entry.first.agrees(&entry.second) => self.exempt(pid),
                State::Audited => {
                    entry.state = State::Exempt;
                    self.record(pid, now);
                }
            }
            if self.entries.get(&pid).is_some_and(Entry::is_said_to_be_over) {
                self.close(pid, State::Forgotten);
            }
        }
    }

    fn record(&mut self, pid: u32, time: u64) {
        let Some(entry) = self.entries.get(&pid) else { return };
        let (first, second) = (entry.first.told, entry.second.told);
        let disagreement = Disagreement { pid, names: self.names, first, second, time };
        tracing::warn!(parent = entry.parent, "two witnesses disagree: {disagreement}");
        if self.report.disagreements.len() < KEPT {
            self.report.disagreements.push(disagreement);
        } else {
            self.report.further += 1;
        }
    }

    /// The pid is done with, and remembered for a while.
    fn close(&mut self, pid: u32, state: State) {
        if let Some(entry) = self.entries.get_mut(&pid) {
            entry.state = state;
            entry.due = None;
        }
        self.recent.push_back(pid);
        if self.recent.len() > RECENT {
            if let Some(oldest) = self.recent.pop_front() {
                if self.entries.get(&oldest).is_some_and(Entry::is_past) {
                    self.entries.remove(&oldest);
                }
            }
        }
    }

    /// Who is not compared, and has not ended by either's word.
    pub(super) fn exempt_pids(&self) -> Vec<u32> {
        let exempt = self.entries.iter().filter(|(_, entry)| entry.state == State::Exempt);
        exempt.map(|(pid, _)| *pid).collect()
    }

    /// The process is gone; its end fell to a loss, or will be told to no purpose.
    pub(super) fn forget(&mut self, pid: u32) {
        self.close(pid, State::Forgotten);
    }

    /// The report as of now.
    pub(super) fn report(&self) -> WitnessReport {
        let open = |entry: &&Entry| entry.state == State::Audited && entry.is_uneven();
        WitnessReport { open: self.entries.values().filter(open).count(), ..self.report.clone() }
    }

    /// Whose word is kept.
    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        self.entries.values().filter(|entry| !entry.is_past()).count()
    }

    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.entries.len()
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.due.len()
    }
}
