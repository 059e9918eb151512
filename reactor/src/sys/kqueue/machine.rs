//! A kernel in memory, with every fault that was seen on real ones, to try the rest of this directory on.
//!
//! Notes are found by pid, the youngest first; a child's are made by the notes of its parent that track, the one that tells of the
//! birth before the one that tells of the rest; an unread one of the former kind tracks too (C25). What is to go wrong is said by who
//! has a process fork or end.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard};

use super::kernels::Kernel;
use super::lives::NOTE_EXITSTATUS;
use super::system::{Entry, Note, Queue, System};
use crate::flags::{NOTE_CHILD, NOTE_EXEC, NOTE_EXIT, NOTE_FORK, NOTE_TRACK, NOTE_TRACKERR};
use crate::source::Reading;
use crate::{Metadata, Missing};

/// What happens between two calls of a reader.
pub(super) type Step = Box<dyn FnOnce(&mut Core) + Send>;

#[derive(Clone, Debug)]
pub(super) struct Machine {
    kernel: Arc<Mutex<Core>>,
    fd: Arc<UnixStream>,
}

/// The kernel and its processes.
pub(super) struct Core {
    profile: Kernel,
    pub(super) time: u64,
    pub(super) processes: BTreeMap<u32, Entry>,
    notes: [Vec<Knote>; 2],
    /// In the order of activation.
    active: [VecDeque<u64>; 2],
    serial: u64,
    forks: Option<u64>,
    /// Before each call, one.
    pub(super) meanwhile: VecDeque<Step>,
    pub(super) alarm: Option<u64>,
    /// How often the whole table was read.
    pub(super) censuses: usize,
    /// What EV_ADD is to fail with.
    pub(super) refuse: [Option<i32>; 2],
    /// Who has asked for orphans.
    pub(super) adopter: Option<u32>,
    /// Who is left out of the whole table, as who may not be looked at is on some systems.
    pub(super) unlisted: Option<u32>,
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kernel")
            .field("processes", &self.processes)
            .field("notes", &self.notes)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Knote {
    serial: u64,
    pid: u32,
    asked: u32,
    collected: u32,
    data: i64,
    eof: bool,
    oneshot: bool,
    /// On the list of a living process.
    attached: bool,
}

/// What goes wrong in a fork.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Missed {
    /// By the notes of a queue, which are busy with another fork.
    pub(super) on: [bool; 2],
    /// For want of memory: said by NOTE_TRACKERR, with or without the NOTE_CHILD.
    pub(super) memory: Option<bool>,
}

impl Machine {
    pub(super) fn new(profile: Kernel) -> Self {
        let kernel = Core {
            profile,
            time: 1_000_000_000,
            processes: BTreeMap::new(),
            notes: Default::default(),
            active: Default::default(),
            serial: 0,
            forks: profile.walk_may_skip.then_some(1000),
            meanwhile: VecDeque::new(),
            alarm: None,
            censuses: 0,
            refuse: [None; 2],
            adopter: None,
            unlisted: None,
        };
        let (fd, _) = UnixStream::pair().expect("descriptors");
        Self { kernel: Arc::new(Mutex::new(kernel)), fd: Arc::new(fd) }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Core> {
        self.kernel.lock().expect("nobody panics with it")
    }

    fn call(&self) -> MutexGuard<'_, Core> {
        let mut kernel = self.lock();
        kernel.time += 1_000;
        if let Some(step) = kernel.meanwhile.pop_front() {
            step(&mut kernel);
        }
        kernel
    }
}

impl Core {
    /// Somebody who was there before.
    pub(super) fn put(&mut self, pid: u32, parent: u32) {
        let start = self.time;
        let entry = Entry { pid, parent, start, threads: 1, ending: false, status: None, executed: false };
        assert!(self.processes.insert(pid, entry).is_none());
    }

    pub(super) fn fork(&mut self, parent: u32, child: u32) {
        self.fork_badly(parent, child, Missed::default());
    }

    pub(super) fn fork_badly(&mut self, parent: u32, child: u32, missed: Missed) {
        self.time += 1_000;
        self.put(child, parent);
        self.forks = self.forks.map(|forks| forks + 1);
        for queue in Queue::BOTH {
            if missed.on[queue as usize] {
                continue;
            }
            let trackers: Vec<(u64, u32, bool)> = self.notes[queue as usize]
                .iter()
                .filter(|note| note.pid == parent && note.attached && note.asked & NOTE_TRACK != 0)
                .map(|note| (note.serial, note.asked, note.collected & NOTE_CHILD != 0))
                .collect();
            for (serial, asked, is_child) in trackers {
                // One that tells of a birth asks for nothing but that.
                let asked = if is_child && !self.profile.one_note { NOTE_TRACK } else { asked };
                if let Some(told) = missed.memory {
                    if told {
                        self.note_of_birth(queue, child, parent);
                    }
                    self.collect(queue, serial, NOTE_TRACKERR);
                    continue;
                }
                if self.profile.one_note {
                    let serial = self.insert(queue, child, asked, true);
                    self.note(queue, serial).data = i64::from(parent);
                    self.collect(queue, serial, NOTE_CHILD);
                } else {
                    self.note_of_birth(queue, child, parent);
                    self.insert(queue, child, asked, true);
                }
            }
            self.collect_asked(queue, parent, NOTE_FORK);
        }
    }

    fn note_of_birth(&mut self, queue: Queue, child: u32, parent: u32) {
        let serial = self.insert(queue, child, NOTE_TRACK, true);
        let note = self.note(queue, serial);
        (note.data, note.oneshot) = (i64::from(parent), true);
        self.collect(queue, serial, NOTE_CHILD);
    }

    pub(super) fn exec(&mut self, pid: u32) {
        self.time += 1_000;
        self.processes.get_mut(&pid).expect("it lives").executed = true;
        Queue::BOTH.into_iter().for_each(|queue| self.collect_asked(queue, pid, NOTE_EXEC));
    }

    /// With `race`, a note that is being read for an exec loses it and the end.
    pub(super) fn exit(&mut self, pid: u32, status: i32, race: bool) {
        self.time += 1_000;
        let entry = self.processes.get_mut(&pid).expect("it lives");
        (entry.threads, entry.status) = (0, Some(status));
        let orphans = self.processes.values_mut().filter(|entry| entry.parent == pid);
        let adopter = self.adopter.unwrap_or(1);
        orphans.for_each(|orphan| orphan.parent = adopter);
        // Seen on FreeBSD only, where a note that tells of a birth is another one.
        let one_note = self.profile.one_note;
        for queue in Queue::BOTH {
            for serial in self.serials(queue, pid) {
                let note = self.note(queue, serial);
                note.attached = false;
                let is_birth = note.oneshot;
                if race && !one_note && note.collected != 0 && !is_birth {
                    self.active[queue as usize].retain(|other| *other != serial);
                    continue;
                }
                let exit = note.asked & NOTE_EXIT;
                note.eof = true;
                if is_birth {
                    continue;
                }
                note.oneshot = true;
                if exit != 0 {
                    note.data = i64::from(status);
                }
                if exit == 0 && note.collected == 0 {
                    self.notes[queue as usize].retain(|note| note.serial != serial);
                } else {
                    let extra = if self.profile.asks_status { NOTE_EXITSTATUS } else { 0 };
                    self.collect(queue, serial, exit | extra);
                }
            }
        }
    }

    pub(super) fn reap(&mut self, pid: u32) {
        let entry = self.processes.remove(&pid).expect("it is there");
        assert!(entry.is_zombie());
    }

    fn insert(&mut self, queue: Queue, pid: u32, asked: u32, attached: bool) -> u64 {
        self.serial += 1;
        let serial = self.serial;
        let note = Knote { serial, pid, asked, collected: 0, data: 0, eof: false, oneshot: false, attached };
        self.notes[queue as usize].push(note);
        serial
    }

    fn note(&mut self, queue: Queue, serial: u64) -> &mut Knote {
        self.notes[queue as usize].iter_mut().find(|note| note.serial == serial).expect("it is there")
    }

    fn serials(&self, queue: Queue, pid: u32) -> Vec<u64> {
        let of_pid = self.notes[queue as usize].iter().filter(|note| note.pid == pid && note.attached);
        of_pid.map(|note| note.serial).collect()
    }

    fn collect_asked(&mut self, queue: Queue, pid: u32, what: u32) {
        for serial in self.serials(queue, pid) {
            if self.note(queue, serial).asked & what != 0 {
                self.collect(queue, serial, what);
            }
        }
    }

    fn collect(&mut self, queue: Queue, serial: u64, what: u32) {
        self.note(queue, serial).collected |= what;
        if !self.active[queue as usize].contains(&serial) {
            self.active[queue as usize].push_back(serial);
        }
    }

    /// Notes that nobody will ever read.
    pub(super) fn leaked(&self) -> usize {
        let idle = |queue: Queue| {
            let notes = self.notes[queue as usize].iter();
            notes.filter(|note| !note.attached && !self.active[queue as usize].contains(&note.serial)).count()
        };
        Queue::BOTH.into_iter().map(idle).sum()
    }
}

impl System for Machine {
    fn read(&mut self, queue: Queue, out: &mut Vec<Note>, room: usize) -> io::Result<usize> {
        let mut kernel = self.call();
        let mut read = 0;
        while read < room {
            let Some(serial) = kernel.active[queue as usize].pop_front() else { break };
            let note = kernel.note(queue, serial);
            out.push(Note { pid: note.pid, fflags: note.collected, eof: note.eof, data: note.data });
            (note.collected, note.data) = (0, 0);
            if note.oneshot {
                kernel.notes[queue as usize].retain(|note| note.serial != serial);
            }
            read += 1;
        }
        Ok(read)
    }

    fn rest(&mut self) -> io::Result<bool> {
        Ok(self.call().active.iter().any(|active| !active.is_empty()))
    }

    fn add(&mut self, queue: Queue, pid: u32) -> io::Result<()> {
        let mut kernel = self.call();
        if let Some(errno) = kernel.refuse[queue as usize] {
            return Err(io::Error::from_raw_os_error(errno));
        }
        if kernel.notes[queue as usize].iter().any(|note| note.pid == pid) {
            return Ok(());
        }
        let entry = kernel.processes.get(&pid).copied();
        let entry = entry.ok_or_else(|| io::Error::from_raw_os_error(libc::ESRCH))?;
        let mut asked = NOTE_EXIT;
        asked |= if kernel.profile.tracks { NOTE_TRACK } else { NOTE_FORK };
        asked |= if queue == Queue::Full { NOTE_EXEC } else { 0 };
        let serial = kernel.insert(queue, pid, asked, !entry.is_zombie());
        if entry.is_zombie() {
            let note = kernel.note(queue, serial);
            (note.eof, note.oneshot, note.data) = (true, true, i64::from(entry.status.unwrap_or(0)));
            kernel.collect(queue, serial, NOTE_EXIT);
        }
        Ok(())
    }

    fn delete(&mut self, queue: Queue, pid: u32) -> io::Result<bool> {
        let mut kernel = self.call();
        let Some(at) = kernel.notes[queue as usize].iter().rposition(|note| note.pid == pid) else {
            return Ok(false);
        };
        let serial = kernel.notes[queue as usize].remove(at).serial;
        kernel.active[queue as usize].retain(|other| *other != serial);
        Ok(true)
    }

    fn entry(&mut self, pid: u32) -> io::Result<Option<Entry>> {
        Ok(self.call().processes.get(&pid).copied())
    }

    fn entries(&mut self) -> io::Result<Vec<Entry>> {
        let mut kernel = self.call();
        kernel.censuses += 1;
        let unlisted = kernel.unlisted;
        Ok(kernel.processes.values().copied().filter(|entry| Some(entry.pid) != unlisted).collect())
    }

    fn children(&mut self, pid: u32) -> io::Result<Vec<u32>> {
        let kernel = self.call();
        Ok(kernel.processes.values().filter(|entry| entry.parent == pid).map(|entry| entry.pid).collect())
    }

    fn forks(&mut self) -> Option<u64> {
        self.call().forks
    }

    fn adopts_orphans(&self) -> bool {
        self.lock().adopter.is_some()
    }

    fn alarm(&mut self, after: u64) -> io::Result<()> {
        let mut kernel = self.lock();
        kernel.alarm = Some(kernel.time + after);
        Ok(())
    }

    fn witness(&mut self, _pid: u32) -> io::Result<OwnedFd> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn inspect(&mut self, _pid: u32) -> Reading {
        Reading { metadata: Metadata::missing(Missing::Unsupported), settled: true }
    }

    fn now(&self) -> u64 {
        self.lock().time
    }
}

impl AsFd for Machine {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
