//! FreeBSD's reaper (procctl(2), PROC_REAP_*).
#![expect(unsafe_code, reason = "system calls")]

use std::ffi::c_void;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::ptr;
use std::sync::Arc;

use super::calls::{Queue, blank, change};
use super::table;
use super::thread::monotonic;
use crate::flags::{EV_ADD, EV_CLEAR};
use crate::reaping::procctl::{Kill, PidInfo, Pids, Status, listed, struck};
use crate::reaping::{Changes, Kernel, Listed, Looked, Struck};

/// # Errors
/// None.
pub(crate) fn reaper() -> io::Result<Arc<dyn Kernel>> {
    Ok(Arc::new(Native))
}

#[derive(Debug)]
struct Native;

/// Of this program. Where it is no reaper, what is asked is answered for whoever is its.
///
/// # Safety
/// `data` is what the command takes, or null where it takes none, and what it points to is there for as long as the call.
unsafe fn call(command: i32, data: *mut c_void) -> io::Result<()> {
    loop {
        // SAFETY: the caller's promise.
        let result = unsafe { libc::procctl(libc::P_PID, std::process::id().into(), command, data) };
        if result == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

fn status() -> io::Result<Status> {
    let mut status = Status::default();
    // SAFETY: takes a status to be written.
    unsafe { call(libc::PROC_REAP_STATUS, (&raw mut status).cast()) }?;
    Ok(status)
}

impl Kernel for Native {
    fn acquire(&self) -> io::Result<()> {
        // SAFETY: takes nothing.
        match unsafe { call(libc::PROC_REAP_ACQUIRE, ptr::null_mut()) } {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                Err(io::ErrorKind::AlreadyExists.into())
            }
            result => result,
        }
    }

    fn release(&self) -> io::Result<()> {
        // SAFETY: takes nothing.
        unsafe { call(libc::PROC_REAP_RELEASE, ptr::null_mut()) }
    }

    fn count(&self) -> io::Result<usize> {
        Ok(status()?.descendants as usize)
    }

    fn list(&self, room: usize) -> io::Result<Vec<Listed>> {
        let mut room = vec![PidInfo::default(); room];
        let mut pids = Pids::over(&mut room);
        // SAFETY: takes a list with its room, which is of the length that it says.
        unsafe { call(libc::PROC_REAP_GETPIDS, (&raw mut pids).cast()) }?;
        Ok(listed(&room))
    }

    fn look(&self, pid: u32) -> io::Result<Option<Looked>> {
        Ok(table::entry(pid)?.map(|entry| Looked {
            parent: entry.parent,
            start: entry.start,
            ended: entry.threads == 0,
        }))
    }

    fn kill(&self, subtree: u32) -> io::Result<Struck> {
        let subtree = i32::try_from(subtree).map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut kill = Kill::of(subtree, libc::SIGKILL);
        // SAFETY: takes a kill, and writes to it.
        let result = unsafe { call(libc::PROC_REAP_KILL, (&raw mut kill).cast()) };
        struck(result, &kill)
    }

    fn reap(&self, pid: u32) -> io::Result<bool> {
        let Some(pid) = libc::pid_t::try_from(pid).ok().filter(|pid| *pid > 0) else { return Ok(false) };
        // SAFETY: takes integers, and for the status nothing.
        let reaped = unsafe { libc::waitpid(pid, ptr::null_mut(), libc::WNOHANG) };
        // Somebody who waits for whatever child there is may have been faster (ECHILD).
        Ok(reaped == pid)
    }

    fn changes(&self) -> io::Result<Box<dyn Changes>> {
        let queue = Queue::new()?;
        // It is told of each SIGCHLD, and takes it from nobody: who handles it handles it still.
        queue.change(change(libc::SIGCHLD as usize, libc::EVFILT_SIGNAL as i32, EV_ADD | EV_CLEAR, 0, 0))?;
        Ok(Box::new(Signals(queue)))
    }

    fn now(&self) -> u64 {
        monotonic()
    }
}

/// SIGCHLD, which comes for the end of a child and for an orphan that had ended when it came (EVFILT_SIGNAL).
#[derive(Debug)]
struct Signals(Queue);

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Changes for Signals {
    fn take(&mut self) -> io::Result<()> {
        while self.0.take(&mut [blank(); 2])? > 0 {}
        Ok(())
    }
}
