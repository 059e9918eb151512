//! [`ChildFd`]: a child of this program, to be waited on beside whoever reaps it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use crate::status::Usage;
use crate::sys::Pidfd;

/// A descriptor of a child of this program (pidfd_open(2); a kqueue with one note where that is the system's), which polls readable once the child has ended, and tells what it has used
/// while nobody has reaped it.
///
/// It never reaps. Needs no [`Reactor`](crate::Reactor).
#[derive(Debug)]
pub struct ChildFd(Pidfd);

impl ChildFd {
    /// Of the child that has this pid. Until it has been reaped the pid is nobody else's, whether it has ended or not: call it before.
    ///
    /// # Errors
    /// `EMFILE`, `ENFILE`: no descriptors are left. `Unsupported`, `ENOSYS`: this system has none of processes. `ESRCH`: nobody has this pid.
    pub fn open(pid: u32) -> io::Result<Self> {
        Pidfd::open(pid).map(Self)
    }

    /// What it has used, with those of its children that it has waited for, if it has ended and has not been reaped. It remains to be (K10):
    /// waitid(2) with WNOWAIT, Linux 5.4; wait6(2) on FreeBSD, NetBSD and DragonFly; proc_pid_rusage of macOS. `None` while it lives; also,
    /// but on Linux, while it has been told to have ended and cannot be waited for yet, as a debugger holds it.
    ///
    /// # Errors
    /// `ECHILD`: it has been reaped, or never was a child of this program. `Unsupported`: OpenBSD tells nobody but who reaps it.
    pub fn usage(&self) -> io::Result<Option<Usage>> {
        self.0.usage()
    }

    /// The same without a descriptor, of the child that has this pid: some systems have none for one that has ended. Until it has been
    /// reaped the pid is nobody else's: call it before.
    ///
    /// # Errors
    /// Those of [`usage`](Self::usage), and on Linux those of [`open`](Self::open).
    pub fn usage_of(pid: u32) -> io::Result<Option<Usage>> {
        Pidfd::used_by(pid)
    }
}

impl AsFd for ChildFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for ChildFd {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}
