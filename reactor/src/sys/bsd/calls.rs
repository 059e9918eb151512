//! kqueue(2) and kevent(2).
#![expect(unsafe_code, reason = "system calls")]

use std::io;
use std::mem::zeroed;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

/// A queue of the kernel's.
#[derive(Debug)]
pub(super) struct Queue(OwnedFd);

impl Queue {
    /// # Errors
    /// `EMFILE`, `ENFILE`; `ENOMEM` also where RLIMIT_KQUEUES is reached (C17).
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: takes nothing; gives a descriptor or -1.
        let fd = unsafe { libc::kqueue() };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new and nobody else's.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        // A fork does not inherit it (C34), an exec does.
        // SAFETY: takes integers; the descriptor is open.
        if unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self(fd))
    }

    /// One change. Without room for events none is taken (C10), nothing is waited for, and an error is the change's own.
    pub(super) fn change(&self, change: libc::kevent) -> io::Result<()> {
        // SAFETY: one change is read, which lives as long as the call; no event is written.
        let result = unsafe {
            libc::kevent(self.0.as_raw_fd(), &raw const change, 1, ptr::null_mut(), 0, ptr::null())
        };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Takes what is ready, as many as there is room for; how many there were.
    pub(super) fn take(&self, room: &mut [libc::kevent]) -> io::Result<usize> {
        let at_once = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        loop {
            // SAFETY: no change is read, and at most as many events are written as there is room for.
            let result = unsafe {
                libc::kevent(
                    self.0.as_raw_fd(),
                    ptr::null(),
                    0,
                    room.as_mut_ptr(),
                    room.len() as _,
                    &raw const at_once,
                )
            };
            match usize::try_from(result) {
                Ok(count) => return Ok(count),
                Err(_) => {
                    let error = io::Error::last_os_error();
                    if error.kind() != io::ErrorKind::Interrupted {
                        return Err(error);
                    }
                }
            }
        }
    }
}

impl AsFd for Queue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<Queue> for OwnedFd {
    fn from(queue: Queue) -> Self {
        queue.0
    }
}

/// A change of a filter that has the same numbers everywhere, and other types for them.
pub(super) fn change(ident: usize, filter: i32, flags: u16, fflags: u32, data: i64) -> libc::kevent {
    let mut change = blank();
    change.ident = ident as _;
    change.filter = filter as _;
    change.flags = flags as _;
    change.fflags = fflags as _;
    change.data = data as _;
    change
}

/// What an event is written over.
pub(super) fn blank() -> libc::kevent {
    // SAFETY: integers and a pointer, all of which may be zero.
    unsafe { zeroed() }
}
