//! DragonFly's reaper (procctl(2)): it has no list of whose it is, and no kill.
#![expect(unsafe_code, reason = "system calls")]

use std::ffi::{c_int, c_long, c_void};
use std::io;
use std::ptr;
use std::sync::Arc;

use super::table;
use super::thread::monotonic;
use crate::reaping::{Changes, Kernel, Listed, Looked, Struck};

/// `struct reaper_status` (sys/procctl.h), which libc has not.
#[derive(Debug, Default)]
#[repr(C)]
struct Status {
    flags: u32,
    /// How many have this program as their reaper, ending ones with them and zombies not, and how many reapers are below it; itself not counted.
    refs: u32,
    reserved: [c_long; 15],
    /// A child, or -1.
    pid_head: libc::pid_t,
    reserved_too: [c_int; 15],
}

const _: () = assert!(size_of::<Status>() == 192);

/// # Errors
/// None.
pub(crate) fn reaper() -> io::Result<Arc<dyn Kernel>> {
    Ok(Arc::new(Native))
}

#[derive(Debug)]
struct Native;

/// # Safety
/// `data` is null or a [`Status`], which is there for as long as the call.
unsafe fn call(command: c_int, data: *mut c_void) -> io::Result<()> {
    // SAFETY: the caller's promise.
    let result = unsafe { libc::procctl(libc::P_PID, std::process::id().into(), command, data) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

impl Kernel for Native {
    fn acquire(&self) -> io::Result<()> {
        // SAFETY: takes nothing.
        match unsafe { call(libc::PROC_REAP_ACQUIRE, ptr::null_mut()) } {
            Err(error) if error.raw_os_error() == Some(libc::EALREADY) => {
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
        /// `REAPER_STAT_OWNED`.
        const OWNED: u32 = 0x1;
        let mut status = Status::default();
        // SAFETY: takes a status to be written.
        unsafe { call(libc::PROC_REAP_STATUS, (&raw mut status).cast()) }?;
        // Of who is no reaper nothing is told, which is not that there is nobody.
        if status.flags & OWNED == 0 {
            return Err(io::ErrorKind::NotConnected.into());
        }
        Ok(status.refs as usize)
    }

    fn list(&self, _room: usize) -> io::Result<Vec<Listed>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn look(&self, pid: u32) -> io::Result<Option<Looked>> {
        Ok(table::entry(pid)?.map(|entry| Looked {
            parent: entry.parent,
            start: entry.start,
            ended: entry.threads == 0,
        }))
    }

    fn kill(&self, _subtree: u32) -> io::Result<Struck> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn reap(&self, _pid: u32) -> io::Result<bool> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn changes(&self) -> io::Result<Box<dyn Changes>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn now(&self) -> u64 {
        monotonic()
    }
}
