//! The turn: drains the source and applies what came. Also what a registration does first.

use super::state::{EXIT, Lock, Record, State, Step, Thread, pid};
use super::{Mutant, Scenario};
use crate::algorithm::Fault;

impl Scenario {
    /// One step of whoever drives. False if it cannot, or has nothing to do.
    pub(super) fn drive(&self, s: &mut State, driver: usize, me: Thread) -> bool {
        match s.drivers[driver].step {
            Step::Idle => {
                if s.records.is_empty() || !s.take(Lock::Baton, me) {
                    return false;
                }
                s.drivers[driver].step = Step::Drain;
            }
            Step::Drain => {
                s.drivers[driver].batch = std::mem::take(&mut s.records);
                s.drivers[driver].step = Step::TakeTable;
            }
            Step::TakeTable => {
                if !s.take(Lock::Table, me) {
                    return false;
                }
                s.drivers[driver].step = Step::Apply;
            }
            Step::Apply => self.apply(s, driver),
            Step::AskStatus => s.drivers[driver].step = Step::TakeTableAgain,
            Step::TakeTableAgain => {
                if !s.take(Lock::Table, me) {
                    return false;
                }
                s.drivers[driver].step = Step::TakeQueue;
            }
            Step::LookUp => {
                if !s.listed {
                    s.crash(Fault::NullList);
                }
                s.drivers[driver].step = Step::TakeQueue;
            }
            Step::TakeQueue => {
                if self.mutant == Mutant::MarksUnlocked {
                    if s.closed && s.readers.iter().all(|reader| reader.at == super::At::Done) {
                        // Nobody has a handle any more, nor has the list of queues.
                        s.crash(Fault::FreedList);
                        return true;
                    }
                } else if !s.listed {
                    // The keys find nothing.
                    s.drivers[driver].keys.clear();
                    s.drivers[driver].step = Step::Apply;
                    return true;
                }
                if !s.take(Lock::Queue, me) {
                    return false;
                }
                s.drivers[driver].step = Step::Mark;
            }
            Step::Mark => {
                self.mark(s, driver);
                s.release(Lock::Queue);
                s.drivers[driver].step = match (s.drivers[driver].keys.is_empty(), self.mutant) {
                    (false, Mutant::MarksUnlocked) => Step::LookUp,
                    (false, _) => Step::TakeQueue,
                    (true, Mutant::MarksUnlocked) => Step::TakeTable,
                    (true, _) => Step::Apply,
                };
            }
            Step::Unlock => {
                s.release(Lock::Table);
                s.drivers[driver].step = Step::GiveBack;
            }
            Step::GiveBack => {
                s.release(Lock::Baton);
                s.drivers[driver].step = Step::Wake;
            }
            Step::Wake => {
                if s.drivers[driver].woken.is_empty() {
                    s.drivers[driver].step = Step::Idle;
                } else {
                    let reader = s.drivers[driver].woken.remove(0);
                    s.wake(reader);
                }
            }
        }
        true
    }

    fn apply(&self, s: &mut State, driver: usize) {
        if s.drivers[driver].batch.is_empty() {
            s.drivers[driver].step = Step::Unlock;
            return;
        }
        match s.drivers[driver].batch.remove(0) {
            Record::Fork(who) => {
                if s.table.iter().all(|entry| entry.who != who) {
                    s.born(who);
                }
            }
            Record::Exit(who) => {
                // The k-th exit of a pid is that of its k-th birth.
                let entry = if self.mutant == Mutant::ExitOfYoungest {
                    s.newest(pid(who))
                } else {
                    s.table.iter().position(|entry| pid(entry.who) == pid(who))
                };
                let Some(entry) = entry else { return };
                let entry = s.table.remove(entry);
                if !entry.keys.is_empty() {
                    s.ended(entry.who);
                }
                let driver = &mut s.drivers[driver];
                (driver.keys, driver.who) = (entry.keys, who);
                if driver.keys.is_empty() {
                    return;
                }
                driver.step = match self.mutant {
                    Mutant::MarksUnlocked => Step::LookUp,
                    _ if self.scene.contested => Step::AskStatus,
                    _ => Step::TakeQueue,
                };
                if matches!(driver.step, Step::LookUp | Step::AskStatus) {
                    s.release(Lock::Table);
                }
            }
        }
    }

    /// Tells one note of the exit, under the queue's lock.
    fn mark(&self, s: &mut State, driver: usize) {
        let who = s.drivers[driver].who;
        let key = s.drivers[driver].keys.remove(0);
        if s.closed && self.mutant == Mutant::MarksUnlocked {
            return s.crash(Fault::NullLock);
        }
        let slot = key.slot as usize;
        if s.find(key).is_none() {
            if self.mutant != Mutant::SerialUnchecked {
                return;
            }
            if s.slots[slot].is_none() {
                return s.crash(Fault::FreedNote);
            }
        }
        if self.mutant == Mutant::ExitRemoves {
            s.slots[slot] = None;
            return;
        }
        let Some(note) = &mut s.slots[slot] else { return };
        if note.on != Some(who) {
            s.add(Fault::WrongBirth);
            return;
        }
        if note.ended {
            return;
        }
        let told_already = note.tells();
        note.collected |= EXIT;
        note.ended = true;
        if note.tells() && !told_already {
            let woken = s.next_waiter();
            s.drivers[driver].woken.extend(woken);
        }
    }
}
