//! A reader: takes an event, or waits until there is one.

use super::state::{At, EXIT, Key, Lock, State, Thread};
use super::{Mutant, Scenario};
use crate::algorithm::Fault;

impl Scenario {
    pub(super) fn read(&self, s: &mut State, reader: u8) -> bool {
        let (me, at) = (Thread::Read(reader), reader as usize);
        let now = s.readers[at].at;
        let next = match now {
            At::TakeQueue if s.take(Lock::Queue, me) => At::Scan,
            At::Scan => self.scan(s, reader),
            At::TakeQueueAgain(key, copied) if s.take(Lock::Queue, me) => At::Settle(key, copied),
            At::Settle(key, copied) => self.settle(s, reader, key, copied),
            At::Release => {
                s.release(Lock::Queue);
                At::WakeHeir
            }
            At::WakeHeir => {
                if let Some(heir) = s.readers[at].heir.take() {
                    s.wake(heir);
                }
                match (s.readers[at].unlink, s.readers[at].got) {
                    (Some(_), _) => At::TakeTable,
                    (None, true) if s.readers[at].seated => At::TakeQueueToLeave,
                    (None, true) => At::Return,
                    (None, false) if self.mutant == Mutant::ArmsLate => At::TakeQueueToWait,
                    (None, false) => At::Arm,
                }
            }
            At::TakeTable if s.take(Lock::Table, me) => At::Unlink,
            At::Unlink => {
                if let Some((who, serial)) = s.readers[at].unlink.take() {
                    s.unlink(who, serial);
                    let there = s.table.iter().any(|entry| entry.who == who);
                    if there || self.mutant != Mutant::UnlocksByProcess {
                        s.release(Lock::Table);
                    }
                }
                if s.readers[at].seated { At::TakeQueueToLeave } else { At::Return }
            }
            At::Arm => {
                s.readers[at].armed = true;
                s.readers[at].seated = true;
                if self.mutant == Mutant::LooksUnlocked { At::Peek } else { At::TakeQueueToWait }
            }
            At::Peek => {
                if s.telling() || s.closed {
                    At::TakeQueue
                } else {
                    At::TakeQueueToWait
                }
            }
            At::TakeQueueToWait if s.take(Lock::Queue, me) => At::Stand,
            At::Stand => {
                let looks = self.mutant != Mutant::LooksUnlocked;
                let news = looks && (s.telling() || s.closed);
                if !news && !s.waiters.contains(&reader) {
                    s.waiters.push(reader);
                }
                s.release(Lock::Queue);
                s.readers[at].seated = true;
                match (news, self.mutant) {
                    (true, _) => At::TakeQueue,
                    _ if s.expires(me) => At::TakeQueueToLeave,
                    (false, Mutant::ArmsLate) => At::ArmLate,
                    (false, _) => At::Sleep,
                }
            }
            At::ArmLate => {
                s.readers[at].armed = true;
                At::Sleep
            }
            At::Sleep if s.readers[at].token || s.expires(me) => {
                s.readers[at].token = false;
                At::TakeQueue
            }
            At::TakeQueueToLeave if s.take(Lock::Queue, me) => At::Leave,
            At::Leave => {
                s.waiters.retain(|waiter| *waiter != reader);
                let heir = if s.telling() && self.mutant != Mutant::NoHeir { s.next_waiter() } else { None };
                s.release(Lock::Queue);
                let gone = &mut s.readers[at];
                (gone.armed, gone.token, gone.seated) = (false, false, false);
                if let Some(heir) = heir {
                    s.wake(heir);
                }
                At::Return
            }
            At::Return => {
                if s.owner.contains(&Some(me)) {
                    s.add(Fault::ReturnsWithLock);
                }
                s.readers[at].got = false;
                if s.closed || s.expires(me) { At::Done } else { At::TakeQueue }
            }
            _ => return false,
        };
        s.readers[at].at = next;
        true
    }

    /// Under the queue's lock: takes the first note that has something to tell, and copies it to the program.
    fn scan(&self, s: &mut State, reader: u8) -> At {
        if s.closed {
            s.release(Lock::Queue);
            return At::Return;
        }
        let ready = s.slots.iter().position(|note| note.as_ref().is_some_and(|note| note.tells()));
        let Some(slot) = ready else { return At::Release };
        let note = s.slots[slot].expect("it has just been looked at");
        let key = Key { slot: slot as u8, serial: note.serial };
        match self.mutant {
            Mutant::AsksAgain => {
                // Off the list while it is read.
                s.slots[slot].as_mut().expect("likewise").off = true;
                s.release(Lock::Queue);
                At::TakeQueueAgain(key, note.collected)
            }
            Mutant::TwoHolds => {
                self.tell(s, reader, key, note.collected);
                s.release(Lock::Queue);
                At::TakeQueueAgain(key, note.collected)
            }
            _ => {
                self.tell(s, reader, key, note.collected);
                self.put_back(s, reader, key, note.collected);
                At::Release
            }
        }
    }

    /// Mutants: the second hold.
    fn settle(&self, s: &mut State, reader: u8, key: Key, copied: u8) -> At {
        let Some(note) = s.find(key).copied() else {
            if self.mutant == Mutant::AsksAgain {
                // It does not expect it to be gone.
                s.crash(Fault::FreedNote);
            }
            return At::Release;
        };
        if self.mutant == Mutant::AsksAgain {
            if note.ended && copied & EXIT == 0 {
                // The filter has no process to ask: there is nothing, and the note stays off the list.
                return At::Release;
            }
            s.slots[key.slot as usize].as_mut().expect("it has just been found").off = false;
            self.tell(s, reader, key, copied);
        }
        self.put_back(s, reader, key, copied);
        At::Release
    }

    /// Copies to the program what was collected of a note.
    fn tell(&self, s: &mut State, reader: u8, key: Key, told: u8) {
        if s.owner[Lock::Table as usize] == Some(Thread::Read(reader)) {
            // Its own hold of the queue's is meant to be there; any other has been left over.
            s.add(Fault::CopiesWithLock);
        }
        if told & EXIT != 0 {
            if s.told & 1 << key.serial != 0 {
                s.add(Fault::ToldTwice);
            }
            s.told |= 1 << key.serial;
            s.owed[key.serial as usize] = None;
        }
        s.readers[reader as usize].got = true;
    }

    /// Forgets what was told of a note, or takes it away if that was the last.
    fn put_back(&self, s: &mut State, reader: u8, key: Key, told: u8) {
        let note = s.slots[key.slot as usize].as_mut().expect("its serial was compared");
        let (who, lives) = (note.on.expect("only who is attached tells"), !note.ended);
        let last = told & EXIT != 0 || note.oneshot;
        note.collected = 0;
        if last {
            s.remove(key.slot);
            if lives {
                s.readers[reader as usize].unlink = Some((who, key.serial));
            }
        }
        if s.telling() && self.mutant != Mutant::NoHeir {
            s.readers[reader as usize].heir = s.next_waiter();
        }
    }
}
