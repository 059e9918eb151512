//! One descriptor that polls readable when any of several does: epoll(7) and eventfd(2).
#![expect(unsafe_code, reason = "system calls")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// An epoll, usually nested in another.
#[derive(Debug)]
pub(super) struct Epoll {
    fd: OwnedFd,
}

impl Epoll {
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: takes a flag, gives a descriptor or -1.
        let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: the descriptor is new and nobody else's.
        Ok(Self { fd: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    /// Adds a descriptor, which is told of as `token` when it is readable or hung up. It leaves when it is closed.
    pub(super) fn add(&self, fd: BorrowedFd<'_>, token: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: token };
        // SAFETY: both descriptors are open, the event is only read.
        let added = unsafe {
            libc::epoll_ctl(self.fd.as_raw_fd(), libc::EPOLL_CTL_ADD, fd.as_raw_fd(), &raw mut event)
        };
        check(added).map(drop)
    }

    /// Takes a descriptor out again.
    pub(super) fn remove(&self, fd: BorrowedFd<'_>) {
        let none = std::ptr::null_mut();
        // SAFETY: both descriptors are open; no event is read.
        unsafe { libc::epoll_ctl(self.fd.as_raw_fd(), libc::EPOLL_CTL_DEL, fd.as_raw_fd(), none) };
    }

    /// Appends the tokens of some who are ready now; true if there may be more.
    pub(super) fn ready(&self, out: &mut Vec<u64>) -> io::Result<bool> {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 64];
        // SAFETY: as many entries as the array has; with no time to wait.
        let count = unsafe {
            libc::epoll_wait(self.fd.as_raw_fd(), events.as_mut_ptr(), events.len() as libc::c_int, 0)
        };
        let count = check(count)? as usize;
        out.extend(events[..count].iter().map(|event| event.u64));
        Ok(count == events.len())
    }
}

impl AsFd for Epoll {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<Epoll> for OwnedFd {
    fn from(epoll: Epoll) -> Self {
        epoll.fd
    }
}

/// Readable from a ring on, until it is hushed.
#[derive(Debug)]
pub(super) struct EventFd {
    fd: OwnedFd,
}

impl EventFd {
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: takes integers, gives a descriptor or -1.
        let fd = check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
        // SAFETY: the descriptor is new and nobody else's.
        Ok(Self { fd: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    pub(super) fn ring(&self) {
        let one = 1_u64;
        // SAFETY: reads eight bytes. It fails only where it rings already.
        unsafe { libc::write(self.fd.as_raw_fd(), (&raw const one).cast(), 8) };
    }

    pub(super) fn hush(&self) {
        let mut count = 0_u64;
        // SAFETY: writes eight bytes. It fails only where it does not ring.
        unsafe { libc::read(self.fd.as_raw_fd(), (&raw mut count).cast(), 8) };
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
