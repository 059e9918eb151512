//! [`Kernel`]: what is asked of a kernel with a reaper.

use std::fmt;
use std::io;
use std::os::fd::AsFd;

/// Somebody whose reaper this program is, as the kernel lists him: the living, and the ended until they are reaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(
    not(any(test, feature = "sim", target_os = "freebsd")),
    allow(dead_code, reason = "there is no list here")
)]
pub(crate) struct Listed {
    pub(crate) pid: u32,
    /// The child of the reaper that it descends from, or is.
    pub(crate) subtree: u32,
    /// It is a child of the reaper, by birth or adopted.
    pub(crate) child: bool,
    /// It is a zombie. False also where the kernel does not say so here (FreeBSD 12).
    pub(crate) ended: bool,
}

impl Listed {
    /// Nobody of this program has started it: an orphan, which nobody but its reaper can wait for.
    pub(super) fn is_adopted(self) -> bool {
        self.child && self.pid != self.subtree
    }
}

/// A process as the process table has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    not(any(
        test,
        feature = "sim",
        proc_reactor_loom,
        proc_reactor_shuttle,
        target_os = "freebsd",
        target_os = "dragonfly"
    )),
    allow(dead_code, reason = "there is no reaper here")
)]
pub(crate) struct Looked {
    pub(crate) parent: u32,
    /// By the monotonic clock, in nanoseconds: with the pid it names the process.
    pub(crate) start: u64,
    pub(crate) ended: bool,
}

/// What a kill of a subtree came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    not(any(test, feature = "sim", target_os = "freebsd")),
    allow(dead_code, reason = "there is no such kill here")
)]
pub(crate) struct Struck {
    /// How many got the signal; on FreeBSD 12 zombies are counted.
    pub(crate) reached: u32,
    /// The first who may not be signalled by this user.
    pub(crate) denied: Option<u32>,
}

/// Polls readable when a child has ended, or come.
pub(crate) trait Changes: AsFd + Send + fmt::Debug {
    /// Takes what makes it readable.
    fn take(&mut self) -> io::Result<()>;
}

/// A kernel, as far as this program is a reaper.
pub(crate) trait Kernel: Send + Sync + fmt::Debug {
    /// # Errors
    /// `AlreadyExists`: this program is one.
    fn acquire(&self) -> io::Result<()>;

    fn release(&self) -> io::Result<()>;

    /// How many would be listed, at one instant. Where there is no list, zombies may not be in it.
    fn count(&self) -> io::Result<usize>;

    /// Up to `room` of those whose reaper this program is, and only them: who is another's below this one is not in it, and that one is. The last to
    /// have come are the first. The kernel makes room before it looks: of those who have come between the two as many of the others, the oldest, are left out.
    ///
    /// # Errors
    /// `Unsupported`: there is no list.
    fn list(&self, room: usize) -> io::Result<Vec<Listed>>;

    /// Looks one process up; `None` if there is none to be seen.
    fn look(&self, pid: u32) -> io::Result<Option<Looked>>;

    /// SIGKILL for everybody of a subtree, with those who are under a reaper in it. Who is being born may be left out.
    fn kill(&self, subtree: u32) -> io::Result<Struck>;

    /// Waits for this child if it has ended. False if it has not, or is none.
    fn reap(&self, pid: u32) -> io::Result<bool>;

    fn changes(&self) -> io::Result<Box<dyn Changes>>;

    /// Nanoseconds of the monotonic clock.
    fn now(&self) -> u64;
}

/// How often a list is asked for anew that has grown meanwhile.
const ATTEMPTS: usize = 16;

/// The list, whatever its length, as far as one reading goes.
pub(super) fn read(kernel: &dyn Kernel) -> io::Result<Vec<Listed>> {
    let mut room = kernel.count()? + 16;
    for _ in 0..ATTEMPTS {
        let list = kernel.list(room)?;
        if list.len() < room {
            return Ok(list);
        }
        room *= 2;
    }
    Err(io::ErrorKind::WouldBlock.into())
}

/// Reaps the orphans that have ended. How many.
pub(super) fn collect(kernel: &dyn Kernel) -> io::Result<usize> {
    let mut reaped = 0;
    for orphan in read(kernel)?.into_iter().filter(|listed| listed.is_adopted()) {
        reaped += usize::from(kernel.reap(orphan.pid)?);
    }
    Ok(reaped)
}
