//! A place in memory that a child shares with its parent, to write the time in before it ends.
//!
//! A store to memory costs the child nothing that a watcher's time could be blamed for; a pipe would also wake
//! whoever reads it.
#![expect(unsafe_code, reason = "shared memory")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::sys;

const SIZE: usize = 4096;

/// A time, 0 until it is stamped.
#[derive(Debug)]
pub struct Stamp {
    place: &'static AtomicU64,
}

impl Stamp {
    /// A new one, and the descriptor by which a child gets at it.
    ///
    /// # Errors
    /// No memory or descriptors are to be had.
    pub fn create() -> io::Result<(Self, OwnedFd)> {
        // SAFETY: takes a string that ends with a zero, gives a descriptor or -1.
        let fd = unsafe { libc::memfd_create(c"stamp".as_ptr(), libc::MFD_CLOEXEC) };
        if fd == -1 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new and nobody else's.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        std::fs::File::from(fd.try_clone()?).set_len(SIZE as u64)?;
        Ok((Self::of(std::os::fd::AsFd::as_fd(&fd))?, fd))
    }

    /// The one behind a descriptor of [`create`](Self::create)'s. It stays mapped until the program ends.
    ///
    /// # Errors
    /// It is none.
    pub fn of(fd: BorrowedFd<'_>) -> io::Result<Self> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at a place of the kernel's choice; nothing else is there.
        let place =
            unsafe { libc::mmap(std::ptr::null_mut(), SIZE, access, libc::MAP_SHARED, fd.as_raw_fd(), 0) };
        if place == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the mapping is a page long, aligned as one, and never unmapped; all access to it is atomic.
        Ok(Self { place: unsafe { AtomicU64::from_ptr(place.cast()) } })
    }

    /// Takes the stamp off; and so that the first stamping is no page fault, touches the place.
    pub fn clear(&self) {
        self.place.store(0, Ordering::Release);
    }

    /// Writes the time.
    pub fn stamp(&self) {
        self.place.store(sys::monotonic(), Ordering::Release);
    }

    /// What was written.
    pub fn read(&self) -> Option<u64> {
        Some(self.place.load(Ordering::Acquire)).filter(|time| *time > 0)
    }
}
