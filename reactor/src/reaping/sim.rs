//! [`SimReaper`]: a kernel in memory with FreeBSD's reaper, for tests.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::error::ReapingError;
use super::guard::Reaping;
use super::kernel::{Changes, Kernel, Listed, Looked, Struck};

/// A kernel in memory with the reaper of FreeBSD (kern_procctl.c, kern_fork.c, kern_exit.c), for tests of what is to be done with a
/// [`Subtree`](super::Subtree) where there is no such kernel. Its processes do what they are told.
///
/// Cheap to clone; all clones are the same kernel.
#[derive(Clone, Debug, Default)]
pub struct SimReaper(Arc<Mutex<Machine>>);

/// What happens between two calls of a test: it is told which comes.
type Meanwhile = Box<dyn FnMut(&SimReaper, &'static str) + Send>;

#[derive(Default)]
struct Machine {
    /// By pid.
    processes: BTreeMap<u32, Process>,
    /// No two things happen at once.
    clock: u64,
    is_reaper: bool,
    /// DragonFly: only the count of the living.
    has_no_list: bool,
    /// The list does not tell zombies, and a kill counts them.
    is_old: bool,
    /// The pid of a subtree may be another's while there is somebody in it.
    is_careless: bool,
    /// A fork that is under way is not reached by a kill: these come after the next.
    being_born: Vec<(u32, u32)>,
    told: Option<UnixStream>,
    meanwhile: Option<Meanwhile>,
}

#[derive(Clone, Debug)]
struct Process {
    parent: u32,
    reaper: u32,
    subtree: u32,
    start: u64,
    ended: bool,
    is_reaper: bool,
    /// Not for this user to signal.
    is_denied: bool,
    /// When it was put into its reaper's list, which begins with the last.
    entered: u64,
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine").field("processes", &self.processes).finish_non_exhaustive()
    }
}

impl SimReaper {
    /// This program's pid there.
    pub const HERE: u32 = 2;
    /// Init's: the reaper of whoever has no other.
    pub const INIT: u32 = 1;

    /// A machine with this program and nobody else.
    pub fn new() -> Self {
        Self::default()
    }

    /// This program becomes a reaper on it.
    ///
    /// # Errors
    /// As [`Reaping::acquire`].
    pub fn acquire(&self) -> Result<Reaping, ReapingError> {
        Reaping::over(Arc::new(self.clone()))
    }

    /// `parent` ([`HERE`](Self::HERE): this program) starts a process with this pid.
    ///
    /// # Panics
    /// The pid is not free; there is no such parent.
    pub fn fork(&self, parent: u32, pid: u32) {
        let mut machine = self.machine();
        assert!(machine.is_free(pid), "{pid} is somebody's");
        machine.fork(parent, pid);
    }

    /// It ends, and is a zombie until it is waited for; its children get another parent.
    ///
    /// # Panics
    /// There is nobody who lives with this pid.
    pub fn end(&self, pid: u32) {
        self.machine().end(pid);
    }

    /// Its parent waits for it.
    ///
    /// # Panics
    /// It has not ended.
    pub fn wait(&self, pid: u32) {
        let ended = self.machine().processes.remove(&pid).is_some_and(|process| process.ended);
        assert!(ended, "{pid} is no zombie");
    }

    /// Whether this pid is that of a process that lives.
    pub fn lives(&self, pid: u32) -> bool {
        self.machine().processes.get(&pid).is_some_and(|process| !process.ended)
    }

    /// Whether the pid is free to be given to somebody.
    pub fn is_free(&self, pid: u32) -> bool {
        self.machine().is_free(pid)
    }

    /// It is not for this user to signal.
    pub fn deny(&self, pid: u32) {
        self.machine().of(pid).is_denied = true;
    }

    /// The process becomes a reaper itself.
    pub fn acquire_by(&self, pid: u32) {
        self.machine().of(pid).is_reaper = true;
    }

    /// A process that is being made while the next kill comes, and is there after it.
    pub fn fork_during_kill(&self, parent: u32, pid: u32) {
        self.machine().being_born.push((parent, pid));
    }

    /// Whether this program is a reaper.
    pub fn is_reaper(&self) -> bool {
        self.machine().is_reaper
    }

    /// Has no list and no kill, and counts who lives: as DragonFly.
    pub fn without_list(self) -> Self {
        self.machine().has_no_list = true;
        self
    }

    /// The list does not tell who is a zombie, and a kill counts them: as FreeBSD 12.
    pub fn old(self) -> Self {
        self.machine().is_old = true;
        self
    }

    /// The pid of a subtree may be another's while there is somebody in it, as older manuals warn.
    pub fn careless(self) -> Self {
        self.machine().is_careless = true;
        self
    }

    /// Whether the pid is that of a process, ended or not.
    pub fn is_there(&self, pid: u32) -> bool {
        self.machine().processes.contains_key(&pid)
    }

    /// Has this done before each call.
    #[cfg(test)]
    pub(super) fn meanwhile(&self, meanwhile: Option<Meanwhile>) {
        self.machine().meanwhile = meanwhile;
    }

    fn machine(&self) -> MutexGuard<'_, Machine> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets happen what happens, and then nothing for one call.
    fn call(&self, name: &'static str) -> MutexGuard<'_, Machine> {
        let meanwhile = self.machine().meanwhile.take();
        if let Some(mut meanwhile) = meanwhile {
            meanwhile(self, name);
            self.machine().meanwhile.get_or_insert(meanwhile);
        }
        self.machine()
    }
}

impl Machine {
    fn of(&mut self, pid: u32) -> &mut Process {
        self.processes.get_mut(&pid).unwrap_or_else(|| panic!("there is no {pid}"))
    }

    /// A pid is kept as long as it names a subtree (PROC_ID_REAP).
    fn is_free(&self, pid: u32) -> bool {
        pid > Self::LAST_KEPT
            && !self
                .processes
                .iter()
                .any(|(other, process)| *other == pid || process.subtree == pid && !self.is_careless)
    }

    const LAST_KEPT: u32 = SimReaper::HERE;

    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    fn fork(&mut self, parent: u32, pid: u32) {
        let start = self.tick();
        let (reaper, subtree) = if parent == SimReaper::HERE {
            if self.is_reaper { (SimReaper::HERE, pid) } else { (SimReaper::INIT, 0) }
        } else {
            let process = self.of(parent);
            assert!(!process.ended, "{parent} has ended");
            if process.is_reaper { (parent, pid) } else { (process.reaper, process.subtree) }
        };
        let (ended, is_reaper, is_denied) = (false, false, false);
        let process = Process { parent, reaper, subtree, start, ended, is_reaper, is_denied, entered: start };
        self.processes.insert(pid, process);
    }

    fn end(&mut self, pid: u32) {
        let entered = self.tick();
        let process = self.of(pid);
        assert!(!process.ended, "{pid} has ended");
        process.ended = true;
        let (reaper, subtree, was_reaper) = (process.reaper, process.subtree, process.is_reaper);
        process.is_reaper = false;
        for process in self.processes.values_mut() {
            if was_reaper && process.reaper == pid {
                (process.reaper, process.subtree, process.entered) = (reaper, subtree, entered);
            }
            if process.parent == pid {
                process.parent = process.reaper;
            }
        }
        // Init waits for whoever comes to it.
        self.processes.retain(|_, process| !(process.ended && process.parent == SimReaper::INIT));
        if let Some(told) = &mut self.told {
            // Full: it is readable.
            let _ = told.write(&[0]);
        }
    }

    fn under(&self, reaper: u32) -> Vec<(u32, &Process)> {
        let mut list: Vec<_> = self.processes.iter().map(|(pid, process)| (*pid, process)).collect();
        list.retain(|(_, process)| process.reaper == reaper);
        list.sort_by_key(|(_, process)| std::cmp::Reverse(process.entered));
        list
    }

    /// Those of a subtree, with those whose reapers are in it.
    fn struck(&self, subtree: u32) -> Vec<u32> {
        let of_it = self.under(SimReaper::HERE).into_iter().filter(|(_, process)| process.subtree == subtree);
        let mut struck: Vec<u32> = of_it.map(|(pid, _)| pid).collect();
        let mut next = 0;
        while let Some(&pid) = struck.get(next) {
            struck.extend(self.under(pid).iter().map(|(pid, _)| *pid));
            next += 1;
        }
        struck
    }
}

impl Kernel for SimReaper {
    fn acquire(&self) -> io::Result<()> {
        let was_reaper = std::mem::replace(&mut self.call("acquire").is_reaper, true);
        if was_reaper { Err(io::ErrorKind::AlreadyExists.into()) } else { Ok(()) }
    }

    fn release(&self) -> io::Result<()> {
        let mut machine = self.call("release");
        machine.is_reaper = false;
        for process in machine.processes.values_mut().filter(|process| process.reaper == Self::HERE) {
            (process.reaper, process.subtree) = (Self::INIT, 0);
        }
        Ok(())
    }

    fn count(&self) -> io::Result<usize> {
        let machine = self.call("count");
        let zombies_too = !machine.has_no_list;
        Ok(machine.under(Self::HERE).iter().filter(|(_, process)| zombies_too || !process.ended).count())
    }

    fn list(&self, room: usize) -> io::Result<Vec<Listed>> {
        let room = {
            let machine = self.call("list");
            if machine.has_no_list {
                return Err(io::ErrorKind::Unsupported.into());
            }
            room.min(machine.under(Self::HERE).len())
        };
        let machine = self.call("the list, with its room");
        let listed = |(pid, process): &(u32, &Process)| Listed {
            pid: *pid,
            subtree: process.subtree,
            child: process.parent == Self::HERE,
            ended: process.ended && !machine.is_old,
        };
        Ok(machine.under(Self::HERE).iter().take(room).map(listed).collect())
    }

    fn look(&self, pid: u32) -> io::Result<Option<Looked>> {
        let machine = self.call("look");
        let looked = machine.processes.get(&pid).map(|process| Looked {
            // The subtree is asked for by the pid that the program has in truth.
            parent: if process.parent == Self::HERE { std::process::id() } else { process.parent },
            start: process.start,
            ended: process.ended,
        });
        Ok(looked)
    }

    fn kill(&self, subtree: u32) -> io::Result<Struck> {
        let mut machine = self.call("kill");
        if machine.has_no_list {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let mut struck = Struck::default();
        let whom = machine.struck(subtree);
        for (parent, pid) in std::mem::take(&mut machine.being_born) {
            machine.fork(parent, pid);
        }
        for pid in whom {
            let process = machine.of(pid).clone();
            if process.is_denied && !process.ended {
                struck.denied.get_or_insert(pid);
            } else if !process.ended {
                machine.end(pid);
                struck.reached += 1;
            } else {
                struck.reached += u32::from(machine.is_old);
            }
        }
        Ok(struck)
    }

    fn reap(&self, pid: u32) -> io::Result<bool> {
        let mut machine = self.call("reap");
        let can = |process: &Process| process.ended && process.parent == Self::HERE;
        let reaped = machine.processes.get(&pid).is_some_and(can);
        if reaped {
            machine.processes.remove(&pid);
        }
        Ok(reaped)
    }

    fn changes(&self) -> io::Result<Box<dyn Changes>> {
        let (hear, tell) = UnixStream::pair()?;
        hear.set_nonblocking(true)?;
        tell.set_nonblocking(true)?;
        self.machine().told = Some(tell);
        Ok(Box::new(Told(hear)))
    }

    fn now(&self) -> u64 {
        self.call("now").tick()
    }
}

#[derive(Debug)]
struct Told(UnixStream);

impl AsFd for Told {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Changes for Told {
    fn take(&mut self) -> io::Result<()> {
        let mut room = [0; 64];
        loop {
            match self.0.read(&mut room) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}
