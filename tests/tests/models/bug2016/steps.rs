//! One step of each thread.

use super::Scenario;
use super::state::{Delete, EXIT, Exit, Reap, Scan, State, Thread};
use crate::algorithm::{Fault, Memory, Way};

impl Scenario {
    pub(super) fn step(&self, state: &State, thread: Thread) -> Option<State> {
        if state.crashed {
            return None;
        }
        let mut state = state.clone();
        let moved = match thread {
            Thread::Scan => self.scan(&mut state),
            Thread::Exit => self.exit(&mut state),
            Thread::Reap => self.reap(&mut state),
            Thread::Delete => self.delete(&mut state),
        };
        moved.then_some(state)
    }

    fn use_note(state: &mut State) {
        if state.note_freed {
            state.add(Fault::FreedNote);
        }
    }

    /// Uses the list by a pointer to it.
    fn use_list(state: &mut State) -> bool {
        if state.list_freed {
            state.add(Fault::FreedList);
            state.crashed = true;
        } else if !state.list_works {
            state.add(Fault::NullLock);
            state.crashed = true;
        }
        !state.crashed
    }

    fn scan(&self, s: &mut State) -> bool {
        let mine = Some(Thread::Scan);
        match s.scan {
            Scan::Look => {
                if s.queue_lock.is_some() {
                    return false;
                }
                if !s.linked {
                    // Waits for more; with what it should not have, if it has it.
                    if s.process_lock == mine && s.reap == Reap::Wait {
                        s.add(Fault::Hang);
                    }
                    s.scan = Scan::Asleep;
                    return true;
                }
                if s.in_flux {
                    return false;
                }
                s.linked = false;
                s.in_flux = true;
                if s.last {
                    s.queued = false;
                    s.told |= s.collected;
                    s.scan = Scan::Drop;
                } else {
                    s.scanned = true;
                    s.scan = Scan::TestList;
                }
            }
            Scan::Asleep => {
                if !s.linked {
                    return false;
                }
                s.scan = Scan::Look;
            }
            Scan::TestList => {
                Self::use_note(s);
                s.remembers = s.pointer;
                s.scan = if s.pointer { Scan::FollowPointer } else { Scan::AskFilter };
            }
            Scan::FollowPointer => {
                if self.algorithm.lock == Way::Reread && !s.pointer {
                    s.add(Fault::NullList);
                    s.crashed = true;
                }
                s.scan = Scan::CallLock;
            }
            Scan::CallLock => {
                if Self::use_list(s) {
                    s.scan = Scan::TakeLock;
                }
            }
            Scan::TakeLock => {
                if s.process_lock.is_some() {
                    return false;
                }
                s.process_lock = mine;
                s.scan = Scan::AskFilter;
            }
            Scan::AskFilter => {
                Self::use_note(s);
                let got = s.collected != 0 && (s.process || !self.algorithm.filter_needs_process);
                s.scan = Scan::Settle { got };
            }
            Scan::Settle { got } => {
                if s.queue_lock.is_some() {
                    return false;
                }
                Self::use_note(s);
                s.queue_lock = mine;
                let last = got && s.last;
                if got {
                    s.told |= s.collected;
                    s.collected = 0;
                }
                s.queued = false;
                s.linked = false;
                s.scanned = false;
                // Who has read the last event keeps the note, to take it away.
                s.in_flux = last;
                s.scan = Scan::Unlock { got, last };
            }
            Scan::Unlock { got, last } => {
                let locked = match self.algorithm.unlock {
                    Way::Reread => s.pointer,
                    Way::Remembered => s.remembers,
                };
                if locked && Self::use_list(s) && s.process_lock == mine {
                    s.process_lock = None;
                    self.free_list_if_unused(s);
                }
                s.queue_lock = None;
                s.scan = match (got, last) {
                    (true, true) => Scan::Drop,
                    (true, false) => Scan::CopyOut,
                    (false, _) => Scan::Look,
                };
            }
            Scan::CopyOut => {
                if s.process_lock == mine {
                    s.add(Fault::CopiesWithLock);
                }
                s.scan = Scan::Return;
            }
            Scan::Return => {
                if s.process_lock == mine {
                    s.add(Fault::ReturnsWithLock);
                }
                s.scan = Scan::Look;
            }
            Scan::Drop => {
                if !self.take_away(s) {
                    return false;
                }
                s.scan = Scan::CopyOut;
            }
        }
        true
    }

    /// Takes the note off its list, under the list's lock, and gives it back. False if the lock is taken.
    fn take_away(&self, s: &mut State) -> bool {
        if s.on_list {
            if s.process_lock.is_some() {
                return false;
            }
            if !Self::use_list(s) {
                return true;
            }
            s.on_list = false;
            s.pointer = false;
            self.free_list_if_unused(s);
        }
        s.in_flux = false;
        s.note_freed = true;
        true
    }

    /// Where the list goes with its last note.
    fn free_list_if_unused(&self, s: &mut State) {
        if self.algorithm.memory == Memory::Counted && s.process_gone && !s.on_list {
            s.list_freed = true;
        }
    }

    fn exit(&self, s: &mut State) -> bool {
        match s.exit {
            Exit::TakeLock => {
                if s.process_lock.is_some() {
                    return false;
                }
                s.process_lock = Some(Thread::Exit);
                s.exit = if s.on_list { Exit::TakeQueue } else { Exit::Detach };
            }
            Exit::TakeQueue => {
                if s.queue_lock.is_some() {
                    return false;
                }
                s.queue_lock = Some(Thread::Exit);
                s.exit = Exit::Mark;
            }
            Exit::Mark => {
                Self::use_note(s);
                let passes = s.in_flux && (!s.scanned || self.algorithm.exit_skips_scanned);
                if !passes {
                    s.collected |= EXIT;
                    s.last = true;
                    s.process = false;
                    if self.algorithm.exit_clears_pointer {
                        s.pointer = false;
                        s.on_list = false;
                    }
                    if !s.queued {
                        s.queued = true;
                        s.linked = true;
                    }
                }
                s.exit = Exit::ReleaseQueue;
            }
            Exit::ReleaseQueue => {
                s.queue_lock = None;
                s.exit = Exit::Detach;
            }
            Exit::Detach => {
                s.process_gone = true;
                s.exit = Exit::Unlock;
            }
            Exit::Unlock => {
                s.process_lock = None;
                self.free_list_if_unused(s);
                if self.algorithm.memory == Memory::FreedAtExit {
                    s.list_freed = true;
                }
                s.exit = Exit::Done;
            }
            Exit::Done => return false,
        }
        true
    }

    fn reap(&self, s: &mut State) -> bool {
        match s.reap {
            Reap::Come => {
                if s.exit != Exit::Done {
                    return false;
                }
                match s.process_lock {
                    None => {
                        s.process_lock = Some(Thread::Reap);
                        s.reap = Reap::Unlock;
                    }
                    Some(owner) => {
                        if owner == Thread::Scan && s.scan == Scan::Asleep {
                            s.add(Fault::SleepsWithLock);
                        }
                        s.reap = Reap::Wait;
                    }
                }
            }
            Reap::Wait => {
                if s.process_lock.is_some() {
                    return false;
                }
                s.process_lock = Some(Thread::Reap);
                s.reap = Reap::Unlock;
            }
            Reap::Unlock => {
                s.process_lock = None;
                s.reap = Reap::Destroy;
            }
            Reap::Destroy => {
                match self.algorithm.memory {
                    Memory::ClearedAtReap => s.list_works = false,
                    Memory::FreedAtReap => s.list_freed = true,
                    Memory::TypeStable | Memory::Counted | Memory::FreedAtExit => {}
                }
                s.reap = Reap::Done;
            }
            Reap::Done => return false,
        }
        true
    }

    fn delete(&self, s: &mut State) -> bool {
        match s.delete {
            Delete::TakeQueue => {
                if s.queue_lock.is_some() {
                    return false;
                }
                if s.note_freed {
                    s.delete = Delete::Done;
                    return true;
                }
                if s.in_flux && self.algorithm.delete_waits {
                    return false;
                }
                s.linked = false;
                s.queued = false;
                s.in_flux = true;
                s.deleted = true;
                s.delete = Delete::Drop;
            }
            Delete::Drop => {
                if !self.take_away(s) {
                    return false;
                }
                s.delete = Delete::Done;
            }
            Delete::Done => return false,
        }
        true
    }

    pub(super) fn is_lost(&self, state: &State) -> bool {
        // A deletion that is yet to come changes nothing about it.
        let stands = [Thread::Scan, Thread::Exit, Thread::Reap]
            .into_iter()
            .all(|thread| self.step(state, thread).is_none());
        let exited = state.exit == Exit::Done && !state.crashed;
        stands && exited && !state.deleted && state.told & EXIT == 0
    }

    pub(super) fn threads(&self) -> [Thread; 4] {
        [Thread::Scan, Thread::Exit, Thread::Reap, Thread::Delete]
    }
}
