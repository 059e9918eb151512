//! The process table: every process of the machine that is known to live, by pid and birth.
//!
//! It holds untracked processes too. Not for their own sake: whether an exit that is queued now belongs to the
//! process that has the pid now can only be told by whoever has counted births and exits of that pid all
//! along (K7). The kernel may queue the birth of a pid's next owner before the exit of the last one; the k-th exit
//! is that of the k-th birth, but where the record says that it is that of a later one: see [`Table::exit`].

use slab::Slab;

use crate::ProcId;
use crate::knote::list::NoteList;
use crate::process::ends::Ends;
use crate::process::pids::Pids;
use crate::process::threads::Threads;
use crate::process::track::TrackSet;
use crate::sync::Arc;

/// Where a process came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Its birth was told, at this time.
    Born,
    /// A reading of the process list found it; its birth may still be on its way to us.
    Found,
}

/// A process that is known to live.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) id: ProcId,
    /// Who made it, alive or not.
    pub(crate) parent: Option<ProcId>,
    /// Whom the system gave it to when its parent ended, as of the last attach that asked.
    pub(crate) adopted: Option<ProcId>,
    pub(crate) origin: Origin,
    /// Monotonic nanoseconds: of the birth if it was told, else of the start as the system gives it (to 10 ms).
    pub(crate) start: u64,
    /// When it last ran a new program: an exit that is older is a late one of a thread that the exec ended.
    pub(crate) last_exec: u64,
    pub(crate) threads: Threads,
    pub(crate) track: Option<Arc<TrackSet>>,
    /// Its parent's tracking notes have been told of it.
    pub(crate) handed_down: bool,
    /// The notes on it.
    pub(crate) notes: NoteList,
    statuses: Statuses,
    /// When an exit was that was taken for that of the birth before and may have been this one's, and what it said; `None`: there were
    /// several.
    ceded: Option<(u64, Option<i32>)>,
    /// The next birth of the same pid, if it was told before the exit of this one.
    next: Option<usize>,
}

impl Process {
    /// Whether a birth of this pid, told with this parent and time, is its own: the list had it before the record came.
    pub(crate) fn awaits_birth(&self, parent: Option<ProcId>, time: u64) -> bool {
        let close = time.abs_diff(self.start) <= START_SLACK;
        let late = parent.is_some() && self.parent == parent && time.saturating_sub(self.start) <= LATE_BIRTH;
        self.origin == Origin::Found && (close || late)
    }
}

/// What the exits of single threads say about how the process ended. Nearly always they all carry one status.
/// Where they differ, the process's own is that of the group exit: see [`Ending::Contested`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Statuses {
    last: Option<i32>,
    differ: bool,
    nonzero: Option<i32>,
    several_nonzero: bool,
}

/// How a process ended, as far as the records tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// All threads that ended carried this wait status, or the source tells none.
    Agreed(Option<i32>),
    /// Threads ended with different statuses, and the records arrive in an order of their own. The system should be
    /// asked while the zombie is there. `likely` is the only status other than 0, if there is just one: threads that
    /// end alone do so by `pthread_exit`, with 0, so that any other is that of the whole process. If there are several,
    /// some thread left by the bare system call, and the last is the process's if the records came in the order of
    /// the exits.
    Contested { likely: Option<i32> },
}

/// A process that has just been taken out of the table.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) process: Process,
    pub(crate) ending: Ending,
}

/// What a told birth turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Birth {
    /// A new process.
    New(usize),
    /// One that a reading of the process list had found already.
    Known(usize),
}

/// How far the system's start time of a process (10 ms ticks) and the time of its birth record may lie apart.
const START_SLACK: u64 = 20_000_000;
/// How late the birth of a found process may be told by its own parent, who can be preempted between making it, when the
/// list shows it, and sending the record. In that time no pid comes round again but by force.
const LATE_BIRTH: u64 = 1_000_000_000;

/// All processes known to live.
#[derive(Debug)]
pub(crate) struct Table {
    slots: Slab<Process>,
    /// The oldest living birth of each pid; later ones hang behind it.
    by_pid: Pids,
    births: u64,
    pub(crate) ends: Ends,
}

impl Table {
    pub(crate) fn new() -> Self {
        Self { slots: Slab::new(), by_pid: Pids::default(), births: 0, ends: Ends::new() }
    }

    /// A birth number for a process that is not in the table.
    pub(crate) fn number(&mut self, pid: u32) -> ProcId {
        self.births += 1;
        ProcId::new(pid, self.births)
    }

    pub(crate) fn get(&self, slot: usize) -> &Process {
        &self.slots[slot]
    }

    pub(crate) fn get_mut(&mut self, slot: usize) -> &mut Process {
        &mut self.slots[slot]
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, &Process)> {
        self.slots.iter()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (usize, &mut Process)> {
        self.slots.iter_mut()
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The highest birth number given so far.
    pub(crate) fn births(&self) -> u64 {
        self.births
    }

    /// The youngest living birth of a pid: whoever forks or execs under it.
    pub(crate) fn newest(&self, pid: u32) -> Option<usize> {
        let mut slot = self.by_pid.get(pid)?;
        while let Some(next) = self.slots[slot].next {
            slot = next;
        }
        Some(slot)
    }

    pub(crate) fn find(&self, id: ProcId) -> Option<usize> {
        let mut slot = self.by_pid.get(id.pid())?;
        while self.slots[slot].id != id {
            slot = self.slots[slot].next?;
        }
        Some(slot)
    }

    /// Puts a process in behind all others of its pid.
    pub(crate) fn insert(
        &mut self,
        pid: u32,
        parent: Option<ProcId>,
        origin: Origin,
        start: u64,
        threads: Threads,
    ) -> usize {
        let id = self.number(pid);
        let process = Process {
            id,
            parent,
            adopted: None,
            origin,
            start,
            last_exec: 0,
            threads,
            track: None,
            handed_down: false,
            notes: NoteList::default(),
            statuses: Statuses::default(),
            ceded: None,
            next: None,
        };
        self.ends.born(pid);
        let tail = self.newest(pid);
        let slot = self.slots.insert(process);
        match tail {
            Some(tail) => self.slots[tail].next = Some(slot),
            None => self.by_pid.insert(pid, slot),
        }
        slot
    }

    /// A birth was told.
    pub(crate) fn birth(&mut self, pid: u32, parent: Option<ProcId>, time: u64) -> Birth {
        if let Some(slot) = self.newest(pid) {
            let process = &mut self.slots[slot];
            if process.awaits_birth(parent, time) {
                process.origin = Origin::Born;
                process.start = time;
                process.parent = process.parent.or(parent);
                return Birth::Known(slot);
            }
        }
        Birth::New(self.insert(pid, parent, Origin::Born, time, Threads::Leader))
    }

    pub(crate) fn thread(&mut self, process: u32, thread: u32) {
        if let Some(slot) = self.newest(process) {
            self.slots[slot].threads.insert(process, thread);
        }
    }

    /// An exec was told: all threads but the leader are gone, and whoever ran it is the leader now.
    pub(crate) fn exec(&mut self, process: u32, time: u64) -> Option<usize> {
        let slot = self.newest(process)?;
        let process = &mut self.slots[slot];
        process.threads = Threads::Leader;
        process.last_exec = time;
        // It lives, so that an exit before was not its own.
        process.ceded = process.ceded.filter(|(exit, _)| *exit > time);
        process.statuses = Statuses::default();
        Some(slot)
    }

    /// The end of a thread was told. It belongs to the oldest birth that can have had that thread.
    ///
    /// A source names the `parent` of a process that had not been reaped at `time`, else 0. Whoever has the pid next was born after the
    /// reaping: an end with a parent that is later than the next birth is the next one's, though the last one's is still to
    /// come. Without a parent it may be that of either: the older has ended, and nobody says how (K9).
    pub(crate) fn exit(
        &mut self,
        pid: u32,
        thread: u32,
        parent: u32,
        time: u64,
        status: Option<i32>,
    ) -> Option<Ended> {
        let mut slot = self.by_pid.get(pid)?;
        loop {
            let process = &self.slots[slot];
            let next = process.next.map(|next| &self.slots[next]);
            let reaped = next.is_some_and(|next| next.origin == Origin::Born && next.start <= time);
            let process = &mut self.slots[slot];
            if process.threads.contains(pid, thread) && !(reaped && parent != 0) {
                // Older than the birth: an exit of somebody before. Older than the exec: the record of a thread
                // that the exec ended, overtaken by that of the exec. Neither is an end of this process.
                let too_old =
                    time < process.last_exec || (process.origin == Origin::Born && time < process.start);
                if too_old {
                    // The birth before has ended by an exit already, and has only one: that was this one's.
                    let (_, ceded) = process.ceded.filter(|_| time < process.start)?;
                    let process = self.remove(slot);
                    return Some(Ended { process, ending: Ending::Agreed(ceded) });
                }
                process.statuses.add(status);
                if !process.threads.remove(pid, thread) {
                    return None;
                }
                let ending = process.statuses.ending();
                let process = self.remove(slot);
                // One that names a parent is its own in any case.
                let mut unclear = parent == 0 && process.ceded.is_some_and(|(_, ceded)| ceded != status);
                if let Some(next) = process.next.map(|next| &mut self.slots[next]) {
                    let may_be_the_next_ones =
                        parent == 0 && next.origin == Origin::Born && next.start.max(next.last_exec) < time;
                    unclear |= may_be_the_next_ones;
                    // Of three or more there is no telling any more which of their ends was whose.
                    let of_two = status.filter(|_| process.ceded.is_none());
                    next.ceded = may_be_the_next_ones.then_some((time, of_two));
                }
                return Some(Ended { process, ending: if unclear { Ending::Agreed(None) } else { ending } });
            }
            slot = process.next?;
        }
    }

    /// The end of a whole process was told. It belongs to the oldest birth that is older than it.
    pub(crate) fn end(&mut self, pid: u32, time: u64, status: Option<i32>) -> Option<Ended> {
        let slot = self.by_pid.get(pid)?;
        let process = &self.slots[slot];
        if process.origin == Origin::Born && time < process.start {
            return None;
        }
        let process = self.remove(slot);
        Some(Ended { process, ending: Ending::Agreed(status) })
    }

    /// Takes a process out.
    pub(crate) fn remove(&mut self, slot: usize) -> Process {
        let process = self.slots.remove(slot);
        let pid = process.id.pid();
        let head = self.by_pid.get(pid).expect("a process is found by its pid");
        if head == slot {
            match process.next {
                Some(next) => self.by_pid.insert(pid, next),
                None => self.by_pid.remove(pid),
            }
        } else {
            let mut before = head;
            while self.slots[before].next != Some(slot) {
                before = self.slots[before].next.expect("a process hangs behind the head of its pid");
            }
            self.slots[before].next = process.next;
        }
        process
    }
}

impl Statuses {
    fn add(&mut self, status: Option<i32>) {
        self.differ |= self.last.is_some() && status != self.last;
        self.last = status;
        if let Some(status) = status.filter(|status| *status != 0) {
            self.several_nonzero |= self.nonzero.is_some_and(|nonzero| nonzero != status);
            self.nonzero = Some(status);
        }
    }

    fn ending(self) -> Ending {
        if !self.differ {
            return Ending::Agreed(self.last);
        }
        let last = self.last.filter(|status| *status != 0);
        Ending::Contested { likely: if self.several_nonzero { last } else { self.nonzero } }
    }
}

/// Whether a process that started at `start` by the system's account can be the one in the table.
pub(crate) fn same_start(process: &Process, start: u64) -> bool {
    start <= process.start.saturating_add(START_SLACK)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn born(table: &mut Table, pid: u32, time: u64) -> ProcId {
        match table.birth(pid, None, time) {
            Birth::New(slot) => table.get(slot).id,
            Birth::Known(_) => panic!("known"),
        }
    }

    #[test]
    fn k7_the_kth_exit_is_that_of_the_kth_birth() {
        let mut table = Table::new();
        let old = born(&mut table, 7, 100);
        let new = born(&mut table, 7, 200);
        assert_ne!(old, new);
        let slot = table.exec(7, 210).unwrap();
        assert_eq!(table.get(slot).id, new, "an exec is that of the youngest");
        let first = table.exit(7, 7, 0, 205, Some(1 << 8)).unwrap();
        assert_eq!((first.process.id, first.ending), (old, Ending::Agreed(Some(1 << 8))));
        let second = table.exit(7, 7, 0, 300, Some(2 << 8)).unwrap();
        assert_eq!((second.process.id, second.ending), (new, Ending::Agreed(Some(2 << 8))));
        assert_eq!(table.len(), 0);
        assert!(table.exit(7, 7, 0, 400, Some(0)).is_none());
    }

    /// Seen once in 480,000 births by a parent that keeps no zombies.
    #[test]
    fn k7_an_exit_overtaken_by_that_of_the_next_birth_leaves_nobody_behind() {
        let mut table = Table::new();
        let old = born(&mut table, 7, 100);
        let new = born(&mut table, 7, 200);
        let first = table.exit(7, 7, 0, 300, Some(2 << 8)).unwrap();
        assert_eq!((first.process.id, first.ending), (old, Ending::Agreed(None)), "there is no telling yet");
        let second = table.exit(7, 7, 0, 150, Some(1 << 8)).unwrap();
        assert_eq!((second.process.id, second.ending), (new, Ending::Agreed(Some(2 << 8))));
        assert_eq!(table.len(), 0);
        let third = born(&mut table, 7, 400);
        assert!(table.exit(7, 7, 0, 350, Some(3 << 8)).is_none());
        assert_eq!(table.exit(7, 7, 0, 450, Some(4 << 8)).unwrap().process.id, third);
    }

    /// Both later than the second's birth: seen once as "exit 4, and it was exit 3".
    #[test]
    fn k9_of_two_ends_that_may_be_either_ones_no_status_is_told() {
        let mut table = Table::new();
        for (second, told) in [(2 << 8, None), (1 << 8, Some(1 << 8))] {
            let [old, new] = [100, 200].map(|time| born(&mut table, 7, time));
            let first = table.exit(7, 7, 0, 300, Some(1 << 8)).unwrap();
            assert_eq!((first.process.id, first.ending), (old, Ending::Agreed(None)));
            let second = table.exit(7, 7, 0, 310, Some(second)).unwrap();
            assert_eq!((second.process.id, second.ending), (new, Ending::Agreed(told)));
        }
        // Queued late, but older than the second's birth: the first's.
        let [old, new] = [100, 200].map(|time| born(&mut table, 7, time));
        let first = table.exit(7, 7, 0, 190, Some(1 << 8)).unwrap();
        assert_eq!((first.process.id, first.ending), (old, Ending::Agreed(Some(1 << 8))));
        let second = table.exit(7, 7, 0, 310, Some(2 << 8)).unwrap();
        assert_eq!((second.process.id, second.ending), (new, Ending::Agreed(Some(2 << 8))));
        // It ran a program after the first of them, which then was not its own.
        let [old, new] = [100, 200].map(|time| born(&mut table, 7, time));
        assert_eq!(table.exit(7, 7, 0, 300, Some(1 << 8)).unwrap().process.id, old);
        table.exec(7, 305).unwrap();
        let second = table.exit(7, 7, 0, 310, Some(2 << 8)).unwrap();
        assert_eq!((second.process.id, second.ending), (new, Ending::Agreed(Some(2 << 8))));
        // Of three, the last is told only by who was there alone.
        let [one, two, three] = [100, 200, 300].map(|time| born(&mut table, 7, time));
        for (id, time) in [(one, 400), (two, 410), (three, 420)] {
            let ended = table.exit(7, 7, 0, time, Some(1 << 8)).unwrap();
            assert_eq!((ended.process.id, ended.ending), (id, Ending::Agreed(None)));
        }
        assert_eq!(table.len(), 0);
    }

    /// Seen once in 100,000 forced re-uses by a parent that waits, on a busy machine: the record of the first's end comes after the
    /// whole life of the second.
    #[test]
    fn k7_an_exit_that_names_a_parent_is_that_of_who_was_not_reaped_then() {
        let mut table = Table::new();
        let [old, new, newest] = [100, 200, 300].map(|time| born(&mut table, 7, time));
        let second = table.exit(7, 7, 1, 250, Some(2 << 8)).unwrap();
        assert_eq!((second.process.id, second.ending), (new, Ending::Agreed(Some(2 << 8))));
        let first = table.exit(7, 7, 0, 320, Some(1 << 8)).unwrap();
        assert_eq!((first.process.id, first.ending), (old, Ending::Agreed(None)), "or the newest's");
        let third = table.exit(7, 7, 1, 350, Some(9)).unwrap();
        assert_eq!((third.process.id, third.ending), (newest, Ending::Agreed(Some(9))));
        // Queued late, and written in time.
        let [old, new] = [400, 500].map(|time| born(&mut table, 7, time));
        assert_eq!(table.exit(7, 7, 1, 450, Some(9)).unwrap().process.id, old);
        assert_eq!(table.exit(7, 7, 1, 550, Some(9)).unwrap().process.id, new);
    }

    #[test]
    fn k7_an_exit_older_than_the_birth_is_somebody_elses() {
        let mut table = Table::new();
        let id = born(&mut table, 7, 200);
        assert!(table.exit(7, 7, 0, 150, Some(0)).is_none());
        assert_eq!(table.exit(7, 7, 0, 250, Some(9)).unwrap().process.id, id);
    }

    #[test]
    fn leader_exit_is_not_process_exit() {
        let mut table = Table::new();
        born(&mut table, 7, 100);
        table.thread(7, 8);
        assert!(table.exit(7, 7, 0, 110, Some(0)).is_none());
        let ended = table.exit(7, 8, 0, 120, Some(5 << 8)).unwrap();
        assert_eq!(ended.ending, Ending::Contested { likely: Some(5 << 8) });
    }

    #[test]
    fn the_exit_of_a_thread_that_left_before_may_come_last() {
        let mut table = Table::new();
        born(&mut table, 7, 100);
        table.thread(7, 8);
        assert!(table.exit(7, 8, 0, 110, Some(5 << 8)).is_none());
        let ended = table.exit(7, 7, 0, 111, Some(0)).unwrap();
        assert_eq!(ended.ending, Ending::Contested { likely: Some(5 << 8) });
        born(&mut table, 9, 100);
        table.thread(9, 10);
        table.thread(9, 11);
        assert!(table.exit(9, 10, 0, 110, Some(5 << 8)).is_none());
        assert!(table.exit(9, 11, 0, 110, Some(6 << 8)).is_none());
        assert_eq!(table.exit(9, 9, 0, 111, Some(0)).unwrap().ending, Ending::Contested { likely: None });
    }

    #[test]
    fn exec_by_another_thread_before_and_after_the_exits_of_the_others() {
        let mut table = Table::new();
        born(&mut table, 7, 100);
        table.thread(7, 8);
        table.thread(7, 9);
        assert!(table.exit(7, 7, 0, 110, Some(9)).is_none(), "the old leader");
        assert!(table.exit(7, 9, 0, 111, Some(9)).is_none());
        table.exec(7, 120).unwrap();
        assert!(table.exit(7, 7, 0, 119, Some(9)).is_none(), "the old leader, overtaken by the exec");
        assert!(table.exit(7, 8, 0, 130, Some(9)).is_none(), "a thread that the exec ended");
        assert_eq!(table.exit(7, 7, 0, 140, Some(0)).unwrap().ending, Ending::Agreed(Some(0)));
    }

    #[test]
    fn a_birth_told_after_it_was_found() {
        let mut table = Table::new();
        let found = table.insert(8, None, Origin::Found, 50_000_000, Threads::Leader);
        assert_eq!(table.birth(8, None, 55_000_000), Birth::Known(found));
        assert!(matches!(table.birth(8, None, 56_000_000), Birth::New(_)), "told twice is born twice");
        table.insert(9, None, Origin::Found, 50_000_000, Threads::Leader);
        assert!(matches!(table.birth(9, None, 500_000_000), Birth::New(_)));
    }

    #[test]
    fn removing_from_the_middle_keeps_the_chain() {
        let mut table = Table::new();
        let ids: Vec<_> = (0..3).map(|k| born(&mut table, 7, 100 * (k + 1))).collect();
        let middle = table.find(ids[1]).unwrap();
        assert_eq!(table.remove(middle).id, ids[1]);
        assert_eq!(table.exit(7, 7, 0, 1_000, None).unwrap().process.id, ids[0]);
        assert_eq!(table.exit(7, 7, 0, 1_000, None).unwrap().process.id, ids[2]);
    }
}
