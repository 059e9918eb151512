//! What stands for a pidfd where there is none: a queue of its own with one note, on the end of one process.
//!
//! The note is the process's and not the pid's: once that process has ended the descriptor polls readable, whoever has the pid then. It
//! asks for nothing else, so it loses nothing. A signal goes by kill(2), right after a look that the process has not ended. Between the two
//! calls it can end, be reaped, and its pid be given out anew: the window is that of a few microseconds in which all pids come round once,
//! or someone asks for this one by force. Own children that are waited for by who signals them have no such window.
#![expect(unsafe_code, reason = "a system call")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use super::calls::{Queue, change};
use super::usage;
use crate::flags::{EV_ADD, NOTE_EXIT};
use crate::status::Usage;

/// A descriptor that knows whether one process has ended. It holds back neither its end nor its pid.
#[derive(Debug)]
pub(crate) struct Pidfd {
    fd: OwnedFd,
    pid: u32,
}

impl Pidfd {
    /// Of the process that has this pid now.
    ///
    /// # Errors
    /// As for [`watch`](Self::watch).
    pub(crate) fn open(pid: u32) -> io::Result<Self> {
        Self::of(Self::watch(pid)?, pid)
    }

    /// A queue that is readable once the process that has this pid now has ended.
    ///
    /// # Errors
    /// `ESRCH`: there is none, or a zombie where the system does not watch those (C4). Else as for kqueue(2).
    pub(super) fn watch(pid: u32) -> io::Result<OwnedFd> {
        let queue = Queue::new()?;
        queue.change(change(pid as usize, libc::EVFILT_PROC as i32, EV_ADD, NOTE_EXIT, 0))?;
        Ok(queue.into())
    }

    /// A descriptor that the source has given for this pid.
    ///
    /// # Errors
    /// None.
    pub(crate) fn of(fd: OwnedFd, pid: u32) -> io::Result<Self> {
        Ok(Self { fd, pid })
    }

    /// Whether it has not ended.
    ///
    /// # Errors
    /// What poll(2) says; never about the process.
    pub(crate) fn lives(&self) -> io::Result<bool> {
        let mut polled = libc::pollfd { fd: self.fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        loop {
            // SAFETY: one entry, which lives as long as the call.
            let result = unsafe { libc::poll(&raw mut polled, 1, 0) };
            if result >= 0 {
                return Ok(result == 0);
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
    }

    /// What this child has used, if it has ended and nobody has reaped it.
    ///
    /// # Errors
    /// `ECHILD`: it has been reaped, or is no child of this program. `Unsupported`: no call of this system peeks at it.
    pub(crate) fn usage(&self) -> io::Result<Option<Usage>> {
        if self.lives()? { Ok(None) } else { Self::used_by(self.pid) }
    }

    /// The same without a descriptor, of which some of these systems make none for a zombie (C4).
    ///
    /// # Errors
    /// As for [`usage`](Self::usage).
    pub(crate) fn used_by(pid: u32) -> io::Result<Option<Usage>> {
        usage::of_ended(pid)
    }

    /// # Errors
    /// `ESRCH`: it has ended, as a zombie too. `EPERM`, `EINVAL`: as for kill(2).
    pub(crate) fn send_signal(&self, signal: i32) -> io::Result<()> {
        let gone = || io::Error::from_raw_os_error(libc::ESRCH);
        // 0 and negative ones name groups.
        let pid = libc::pid_t::try_from(self.pid).ok().filter(|pid| *pid > 0).ok_or_else(gone)?;
        if !self.lives()? {
            return Err(gone());
        }
        // SAFETY: takes integers.
        if unsafe { libc::kill(pid, signal) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

impl From<Pidfd> for OwnedFd {
    fn from(pidfd: Pidfd) -> Self {
        pidfd.fd
    }
}

impl AsFd for Pidfd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
