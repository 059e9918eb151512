//! Changes of what is registered: `EV_ADD`, `EV_DELETE`, and the closing of the queue.

use super::state::{Add, Both, EXIT, Key, Life, Lock, Looked, State, Step, Thread, Who, pid};
use super::{Mutant, Scenario};
use crate::algorithm::Fault;

impl Scenario {
    fn meant(&self) -> Who {
        self.scene.registers.expect("only who registers somebody gets here")
    }

    pub(super) fn register(&self, s: &mut State) -> bool {
        let me = Thread::Register;
        let meant = self.meant();
        let unborn = s.life[meant as usize] == Life::Unborn;
        if unborn && matches!(s.adder.add, Add::Pump | Add::TakeBaton) {
            return false;
        }
        let holds_baton = !matches!(self.mutant, Mutant::NoBaton | Mutant::BindsBlind);
        let add = s.adder.add;
        let next = match add {
            Add::Pump => {
                if self.drive(s, 1, me) {
                    return true;
                }
                // Where another is at it, what was drained is applied when that one gives the baton back.
                let done = s.drivers[1].step == Step::Idle && s.records.is_empty();
                if !done || s.owner[Lock::Baton as usize].is_some() {
                    return false;
                }
                Add::TakeBaton
            }
            Add::TakeBaton if !holds_baton || s.take(Lock::Baton, me) => Add::TakeTable,
            Add::TakeTable if s.take(Lock::Table, me) => Add::TakeQueue,
            Add::TakeQueue if s.take(Lock::Queue, me) => Add::Begin,
            Add::Begin => self.begin(s),
            Add::Attach => Add::TakeTableToBind,
            Add::TakeTableToBind if s.take(Lock::Table, me) => Add::TakeQueueToBind,
            Add::TakeQueueToBind if s.take(Lock::Queue, me) => Add::Bind,
            Add::Bind => self.bind(s),
            Add::Look => {
                s.adder.looked = match s.life[meant as usize] {
                    Life::Alive => Looked::Living,
                    Life::Zombie => Looked::Zombie,
                    Life::Unborn | Life::Gone => Looked::Nothing,
                };
                Add::TakeTableToBind
            }
            Add::GiveBack => {
                if holds_baton {
                    s.release(Lock::Baton);
                }
                if let Some(reader) = s.adder.news.take() {
                    s.wake(reader);
                }
                Add::Done
            }
            _ => return false,
        };
        s.adder.add = next;
        true
    }

    /// Under both locks.
    fn begin(&self, s: &mut State) -> Add {
        s.release(Lock::Queue);
        s.release(Lock::Table);
        if s.closed {
            return Add::GiveBack;
        }
        let meant = self.meant();
        let living = s.newest(pid(meant)).map(|entry| s.table[entry].who);
        let there = s.slots.iter().flatten().find(|note| {
            note.pid == pid(meant)
                && match (self.mutant, living) {
                    (Mutant::ByPid, _) => true,
                    (_, Some(who)) => note.on.is_none() || note.on == Some(who),
                    (Mutant::ForgetsBirths, None) => note.on.is_none() || note.ended,
                    (_, None) => note.on.is_none() || note.ended && note.on == s.last_end,
                }
        });
        if let Some(note) = there {
            // It is modified, and the caller takes it for that of whom it meant.
            if note.on.is_some_and(|who| who != meant) {
                s.add(Fault::WrongBirth);
                s.believed = Some(meant);
            }
            return Add::GiveBack;
        }
        s.adder.began = living;
        s.adder.key = s.insert(pid(meant), None, 0, false);
        Add::Attach
    }

    /// Under both locks.
    fn bind(&self, s: &mut State) -> Add {
        s.release(Lock::Queue);
        s.release(Lock::Table);
        let key = s.adder.key;
        if s.closed || s.find(key).is_none() {
            return Add::GiveBack;
        }
        if let (Mutant::BindsBlind, Some(who)) = (self.mutant, s.adder.began) {
            return self.bind_to(s, key, who);
        }
        match (s.newest(pid(self.meant())), s.adder.looked) {
            (Some(entry), _) => self.bind_to(s, key, s.table[entry].who),
            (None, Looked::Not) => Add::Look,
            (None, Looked::Living) => {
                s.born(self.meant());
                self.bind_to(s, key, self.meant())
            }
            (None, Looked::Zombie) => {
                self.bind_to(s, key, self.meant());
                let note = s.slots[key.slot as usize].as_mut().expect("it was found");
                (note.collected, note.ended) = (EXIT, true);
                s.ended(self.meant());
                s.adder.news = s.next_waiter();
                Add::GiveBack
            }
            (None, Looked::Nothing) => {
                s.remove(key.slot);
                Add::GiveBack
            }
        }
    }

    fn bind_to(&self, s: &mut State, key: Key, who: Who) -> Add {
        if who != self.meant() {
            s.add(Fault::WrongBirth);
        }
        s.slots[key.slot as usize].as_mut().expect("it was found").on = Some(who);
        s.owed[key.serial as usize] = Some(who);
        if let Some(entry) = s.table.iter_mut().find(|entry| entry.who == who) {
            entry.keys.push(key);
        }
        Add::GiveBack
    }

    /// `EV_DELETE` of the first process's pid: of the youngest that has a note.
    pub(super) fn delete(&self, s: &mut State) -> bool {
        let me = Thread::Delete;
        let step = s.delete;
        let next = match step {
            Both::TakeTable if s.take(Lock::Table, me) => Both::TakeQueue,
            Both::TakeQueue if s.take(Lock::Queue, me) => Both::Do,
            Both::Do => {
                let named =
                    (0..s.slots.len()).filter(|slot| s.slots[*slot].is_some_and(|note| note.pid == 1));
                let youngest =
                    named.max_by_key(|slot| s.slots[*slot].map(|note| note.on.unwrap_or(Who::MAX)));
                if let Some(slot) = youngest {
                    let note = s.slots[slot].expect("it was filtered for");
                    s.remove(slot as u8);
                    if let Some(who) = note.on {
                        s.unlink(who, note.serial);
                    }
                }
                s.release(Lock::Queue);
                s.release(Lock::Table);
                Both::Done
            }
            _ => return false,
        };
        s.delete = next;
        true
    }

    pub(super) fn close(&self, s: &mut State) -> bool {
        let me = Thread::Close;
        let step = s.close;
        let next = match step {
            Both::TakeTable if s.take(Lock::Table, me) => Both::TakeQueue,
            Both::TakeQueue if s.take(Lock::Queue, me) => Both::Do,
            Both::Do => {
                (s.closed, s.listed) = (true, false);
                for slot in 0..s.slots.len() {
                    s.remove(slot as u8);
                }
                s.to_wake = std::mem::take(&mut s.waiters);
                s.release(Lock::Queue);
                s.release(Lock::Table);
                Both::Done
            }
            Both::Done if !s.to_wake.is_empty() => {
                let reader = s.to_wake.remove(0);
                s.wake(reader);
                Both::Done
            }
            _ => return false,
        };
        s.close = next;
        true
    }
}
