//! A scripted source: the changes are what a test says they are.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

pub use super::Living;
use super::{Capabilities, Drained, Loss, Reading, Source};
use crate::error::SourceError;
use crate::event::{Change, Stamped};
use crate::process::metadata::{Metadata, Missing};
use crate::sync::{Arc, Mutex};

/// The script's end: says what happens and what the process list shows.
///
/// Cheap to clone; all clones speak to the same source.
#[derive(Clone, Debug)]
pub struct Script {
    shared: Arc<Mutex<Shared>>,
}

/// The reactor's end, to be given to [`Reactor::new`](crate::Reactor::new).
#[derive(Debug)]
pub struct SimSource {
    shared: Arc<Mutex<Shared>>,
    readable: UnixStream,
}

#[derive(Debug)]
struct Shared {
    queue: VecDeque<Entry>,
    /// What comes after the drop of records that a drain has come to.
    overrun: bool,
    time: u64,
    living: BTreeMap<u32, Living>,
    programs: BTreeMap<u32, Reading>,
    failure: Option<&'static str>,
    bell: UnixStream,
    /// The descriptor is readable already.
    rung: bool,
}

#[derive(Debug)]
enum Entry {
    Change(Stamped),
    Lost(u64),
}

/// A source and the script that it follows.
///
/// # Errors
/// No descriptors are left for the pair of sockets that make it pollable.
pub fn scripted() -> io::Result<(SimSource, Script)> {
    let (readable, bell) = UnixStream::pair()?;
    readable.set_nonblocking(true)?;
    bell.set_nonblocking(true)?;
    let shared = Arc::new(Mutex::new(Shared {
        queue: VecDeque::new(),
        overrun: false,
        time: 0,
        living: BTreeMap::new(),
        programs: BTreeMap::new(),
        failure: None,
        bell,
        rung: false,
    }));
    Ok((SimSource { shared: Arc::clone(&shared), readable }, Script { shared }))
}

impl Shared {
    fn ring(&mut self) {
        if !std::mem::replace(&mut self.rung, true) {
            // A full socket is readable, which is all that is wanted of it.
            let _ = self.bell.write(&[1]);
        }
    }
}

impl Script {
    fn push(&self, entry: impl FnOnce(&mut Shared) -> Entry) -> &Self {
        let mut shared = self.shared.lock();
        shared.time += 1_000;
        let entry = entry(&mut shared);
        shared.queue.push_back(entry);
        shared.ring();
        self
    }

    /// Queues a change, stamped 1 us after the one before. The process list stays as it is.
    pub fn change(&self, change: Change) -> &Self {
        self.push(|shared| Entry::Change(Stamped { time: shared.time, change }))
    }

    /// Queues a change with a stamp of its own, in nanoseconds.
    pub fn change_at(&self, time: u64, change: Change) -> &Self {
        self.push(|_| Entry::Change(Stamped { time, change }))
    }

    /// Process `parent` forks `child`; the process list has it.
    pub fn fork(&self, parent: u32, child: u32) -> &Self {
        let start = self.shared.lock().time;
        self.list(Living { pid: child, parent, start, threads: vec![child], status: None });
        self.change(Change::Fork { parent, thread: parent, child })
    }

    /// Process `process` runs a new program.
    pub fn exec(&self, process: u32) -> &Self {
        self.change(Change::Exec { process })
    }

    /// The only thread of `process` ends; the process list has it no more.
    pub fn exit(&self, process: u32, wait_status: i32) -> &Self {
        self.unlist(process);
        self.change(Change::Exit { process, thread: process, status: Some(wait_status), parent: 0 })
    }

    /// The records from here to the next one are lost, `count` of them.
    pub fn lose(&self, count: u64) -> &Self {
        self.push(|_| Entry::Lost(count))
    }

    /// Puts a process into the process list, or changes what stands there.
    pub fn list(&self, living: Living) -> &Self {
        self.shared.lock().living.insert(living.pid, living);
        self
    }

    /// Takes a process out of the process list.
    pub fn unlist(&self, pid: u32) -> &Self {
        self.shared.lock().living.remove(&pid);
        self
    }

    /// What reading `pid`'s metadata will give from now on.
    pub fn program(&self, pid: u32, metadata: Metadata) -> &Self {
        self.shared.lock().programs.insert(pid, Reading { metadata, settled: true });
        self
    }

    /// The same, in the midst of an exec that is not queued yet.
    pub fn unsettled_program(&self, pid: u32, metadata: Metadata) -> &Self {
        self.shared.lock().programs.insert(pid, Reading { metadata, settled: false });
        self
    }

    /// Lets time pass, in nanoseconds.
    pub fn wait(&self, time: u64) -> &Self {
        self.shared.lock().time += time;
        self
    }

    /// The source breaks, once what is queued has been drained.
    pub fn fail(&self, reason: &'static str) -> &Self {
        let mut shared = self.shared.lock();
        shared.failure = Some(reason);
        shared.ring();
        self
    }
}

impl SimSource {
    fn next(shared: &mut Shared) -> Option<Entry> {
        shared.queue.pop_front()
    }
}

impl Source for SimSource {
    fn name(&self) -> &'static str {
        "sim"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::all()
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.readable.as_fd()
    }

    fn drain(&mut self, out: &mut Vec<Stamped>, limit: usize) -> Result<Drained, SourceError> {
        let mut shared = self.shared.lock();
        if shared.overrun {
            return Ok(Drained::Overrun);
        }
        if std::mem::take(&mut shared.rung) {
            let _ = self.readable.read(&mut [0; 8]);
        }
        for _ in 0..limit {
            match Self::next(&mut shared) {
                Some(Entry::Change(stamped)) => out.push(stamped),
                Some(Entry::Lost(count)) => {
                    shared.queue.push_front(Entry::Lost(count));
                    shared.overrun = true;
                    return Ok(Drained::Overrun);
                }
                None => {
                    return match shared.failure {
                        Some(reason) => Err(SourceError::Refused {
                            source_name: "sim",
                            reason: reason.to_owned(),
                            advice: "the script said so",
                        }),
                        None => Ok(Drained::All),
                    };
                }
            }
        }
        shared.ring();
        Ok(Drained::More)
    }

    fn settle(&mut self, out: &mut Vec<Stamped>) -> Result<Loss, SourceError> {
        let mut shared = self.shared.lock();
        let mut loss = Loss { count: 0, exact: true };
        while let Some(entry) = Self::next(&mut shared) {
            match entry {
                Entry::Change(stamped) => out.push(stamped),
                Entry::Lost(count) => loss.count += count,
            }
        }
        shared.overrun = false;
        Ok(loss)
    }

    fn pids(&mut self) -> io::Result<Vec<u32>> {
        Ok(self.shared.lock().living.keys().copied().collect())
    }

    fn look(&mut self, pid: u32) -> io::Result<Option<Living>> {
        Ok(self.shared.lock().living.get(&pid).cloned())
    }

    fn inspect(&mut self, pid: u32) -> Reading {
        let unknown = || Reading { metadata: Metadata::missing(Missing::Unsupported), settled: true };
        self.shared.lock().programs.get(&pid).cloned().unwrap_or_else(unknown)
    }

    fn now(&self) -> u64 {
        self.shared.lock().time
    }
}
