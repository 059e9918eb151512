//! [`Listener`]: signals as they come, and from whom, by signalfd(2).
#![expect(unsafe_code, reason = "signalfd(2), and registering a descriptor with tokio")]

use std::fs::File;
use std::io::{self, Read};
use std::mem::offset_of;
use std::os::fd::{FromRawFd, OwnedFd};

use libc::{c_int, signalfd_siginfo, sigset_t};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A signal that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) signal: c_int,
    /// The kernel sent it by itself, for a terminal; else some process did.
    pub(crate) from_kernel: bool,
}

/// Takes in signals that are held back from all threads.
#[derive(Debug)]
pub(crate) struct Listener {
    fd: AsyncFd<File>,
}

impl Listener {
    pub(crate) fn new(signals: &sigset_t) -> io::Result<Self> {
        // SAFETY: signalfd(2) reads a set, which is there, and makes a new descriptor.
        let fd = unsafe { libc::signalfd(-1, signals, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new, and nobody else's.
        let fd = File::from(unsafe { OwnedFd::from_raw_fd(fd) });
        // SAFETY: the AsyncFd owns the file, which has the same open descriptor for as long as it lives.
        let fd = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?;
        Ok(Self { fd })
    }

    /// The next signal. Cancel-safe.
    pub(crate) async fn next(&self) -> io::Result<Received> {
        let mut info = [0; size_of::<signalfd_siginfo>()];
        loop {
            let mut ready = self.fd.readable().await?;
            match ready.try_io(|fd| fd.get_ref().read_exact(&mut info)) {
                Ok(Ok(())) => return Ok(Received::parse(&info)),
                Ok(Err(error)) => return Err(error),
                Err(_would_block) => {}
            }
        }
    }
}

impl Received {
    fn parse(info: &[u8; size_of::<signalfd_siginfo>()]) -> Self {
        let word = |offset: usize| {
            let bytes = info[offset..offset + size_of::<c_int>()].try_into();
            c_int::from_ne_bytes(bytes.expect("as many bytes as were taken"))
        };
        let code = word(offset_of!(signalfd_siginfo, ssi_code));
        Self { signal: word(offset_of!(signalfd_siginfo, ssi_signo)), from_kernel: code == libc::SI_KERNEL }
    }
}
