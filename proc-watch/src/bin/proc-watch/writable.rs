//! Waiting until a descriptor takes more, for those that somebody else has made non-blocking.
#![expect(unsafe_code, reason = "poll(2)")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Returns when a write would do something: take bytes, or say why it will not.
pub(crate) fn wait(fd: BorrowedFd<'_>) -> io::Result<()> {
    let mut asked = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
    // SAFETY: poll(2) reads and writes one pollfd, which lives here, and the descriptor is open while it is borrowed.
    let found = unsafe { libc::poll(&raw mut asked, 1, -1) };
    if found < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
