//! What one witness has told of one pid.

use std::collections::VecDeque;

use super::report::Told;
use crate::process::threads::Threads;

/// The facts that one witness told of a pid, threads folded: a process has ended when its last thread has.
#[derive(Debug, Default)]
pub(super) struct Account {
    pub(super) told: Told,
    /// So many of them the other witness need not know of.
    doubtful: Told,
    /// Those that have not ended, oldest first: a pid's next owner may be told of before the last one's end.
    lives: VecDeque<Life>,
}

#[derive(Debug)]
struct Life {
    born: u64,
    /// An exit that is older is a late one of a thread that the exec ended.
    last_exec: u64,
    threads: Threads,
    /// Not of a tree that both witnesses see: it has the pid and does not count.
    foreign: bool,
}

impl Account {
    /// A process that lives already, with these threads.
    pub(super) fn assume(&mut self, threads: Threads) {
        self.lives.push_back(Life { born: 0, last_exec: 0, threads, foreign: false });
    }

    pub(super) fn birth(&mut self, time: u64, doubtful: bool) {
        self.told.births += 1;
        self.doubtful.births += u32::from(doubtful);
        self.begin(time, false);
    }

    /// The pid was given to a process that is not compared.
    pub(super) fn foreign_birth(&mut self, time: u64) {
        self.begin(time, true);
    }

    fn begin(&mut self, born: u64, foreign: bool) {
        self.lives.push_back(Life { born, last_exec: 0, threads: Threads::Leader, foreign });
    }

    pub(super) fn thread(&mut self, pid: u32, thread: u32) {
        if let Some(life) = self.lives.back_mut() {
            life.threads.insert(pid, thread);
        }
    }

    pub(super) fn exec(&mut self, time: u64, doubtful: bool) {
        if let Some(life) = self.lives.back_mut() {
            life.threads = Threads::Leader;
            life.last_exec = time;
            if life.foreign {
                return;
            }
        }
        self.told.execs += 1;
        self.doubtful.execs += u32::from(doubtful);
    }

    /// A thread ended: of the oldest life that can have had it.
    pub(super) fn exit(&mut self, pid: u32, thread: u32, time: u64, doubtful: bool) {
        let Some(index) = self.lives.iter().position(|life| life.threads.contains(pid, thread)) else {
            // Of somebody who has ended already, or was never born: a leader's is one end too many. Any other thread's may
            // be told after that of the exec that ended it, and after its process's end.
            if self.lives.is_empty() && thread == pid {
                self.count_end(doubtful);
            }
            return;
        };
        let life = &mut self.lives[index];
        if time >= life.last_exec && time >= life.born && life.threads.remove(pid, thread) {
            self.end_of(index, doubtful);
        }
    }

    /// A whole process ended: the oldest.
    pub(super) fn end(&mut self, time: u64, doubtful: bool) {
        match self.lives.front() {
            None => self.count_end(doubtful),
            Some(oldest) if time >= oldest.born => self.end_of(0, doubtful),
            Some(_) => {}
        }
    }

    fn end_of(&mut self, index: usize, doubtful: bool) {
        let life = self.lives.remove(index).expect("it was found there");
        if !life.foreign {
            self.count_end(doubtful);
        }
    }

    fn count_end(&mut self, doubtful: bool) {
        self.told.ends += 1;
        self.doubtful.ends += u32::from(doubtful);
    }

    /// No process that counts has this pid now, by this witness's word.
    pub(super) fn is_over(&self) -> bool {
        self.lives.iter().all(|life| life.foreign)
    }

    /// Whether anybody has the pid, by this witness's word.
    pub(super) fn is_vacant(&self) -> bool {
        self.lives.is_empty()
    }

    /// Whoever forks under this pid now is not compared.
    pub(super) fn is_foreign(&self) -> bool {
        self.lives.back().is_some_and(|life| life.foreign)
    }

    /// More ends than there were processes: nothing that may still be told can set that right.
    pub(super) fn has_ends_too_many(&self, assumed: u32) -> bool {
        self.told.ends - self.doubtful.ends > self.told.births + assumed
    }

    /// Whether both can be right, with what either need not know of.
    pub(super) fn agrees(&self, other: &Self) -> bool {
        self.agrees_on(other, |told| told.births)
            && self.agrees_on(other, |told| told.execs)
            && self.agrees_on(other, |told| told.ends)
    }

    pub(super) fn agrees_on(&self, other: &Self, field: impl Fn(&Told) -> u32) -> bool {
        let least = |account: &Self| field(&account.told) - field(&account.doubtful);
        least(self) <= field(&other.told) && least(other) <= field(&self.told)
    }
}
