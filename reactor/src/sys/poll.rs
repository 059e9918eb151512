//! poll(2), which all systems have that this crate is for.
#![expect(unsafe_code, reason = "a system call")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

/// Waits until one of the descriptors is readable, up to `left`, rounded up to milliseconds. True if one is.
///
/// # Errors
/// `Interrupted` by a signal; else what the system says.
pub(crate) fn poll(fds: [BorrowedFd<'_>; 2], left: Option<Duration>) -> io::Result<bool> {
    let mut polled = fds.map(|fd| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 });
    // A second more or less does not matter where it is that many: who asked looks at the clock again.
    let millis =
        left.map_or(-1, |left| i32::try_from(left.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX));
    // SAFETY: as many entries as the array has, and it lives as long as the call.
    let result = unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, millis) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result > 0) }
}
