//! A queue of ours, or the kernel's own.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use proc_reactor::{Capabilities, Kevent, OpenOptions, Queue, QueueOptions, Reactor, open};

#[cfg(any(
    target_os = "freebsd",
    target_os = "netbsd",
    target_os = "openbsd",
    target_os = "dragonfly",
    target_os = "macos"
))]
#[path = "native.rs"]
mod native;
#[cfg(not(any(
    target_os = "freebsd",
    target_os = "netbsd",
    target_os = "openbsd",
    target_os = "dragonfly",
    target_os = "macos"
)))]
mod native {
    //! A system without.

    use std::time::Duration;

    use proc_reactor::Kevent;

    /// There is none.
    pub(crate) enum Native {}

    impl Native {
        pub(crate) fn new() -> Result<Self, i32> {
            Err(libc::ENOSYS)
        }

        pub(crate) fn kevent(
            &self,
            _: &[Kevent],
            _: &mut [Kevent],
            _: Option<Duration>,
        ) -> Result<usize, i32> {
            match *self {}
        }
    }
}

/// Its clones are one queue.
#[derive(Clone)]
pub(crate) enum Kqueue {
    Ours(Queue),
    Kernel(Arc<native::Native>),
}

impl Kqueue {
    /// Over a source. And what that promises.
    pub(crate) fn ours(options: &OpenOptions) -> Result<(Self, Capabilities), Box<dyn std::error::Error>> {
        let reactor = Reactor::new(open(options)?)?;
        let promises = reactor.capabilities();
        Ok((Self::Ours(reactor.queue(QueueOptions::default())?), promises))
    }

    pub(crate) fn native() -> io::Result<Self> {
        native::Native::new()
            .map(|native| Self::Kernel(Arc::new(native)))
            .map_err(io::Error::from_raw_os_error)
    }

    pub(crate) fn kevent(
        &self,
        changes: &[Kevent],
        events: &mut [Kevent],
        timeout: Option<Duration>,
    ) -> io::Result<usize> {
        match self {
            Self::Ours(queue) => queue.kevent(changes, events, timeout).map_err(io::Error::other),
            Self::Kernel(native) => {
                native.kevent(changes, events, timeout).map_err(io::Error::from_raw_os_error)
            }
        }
    }

    /// How many notes there are; a kernel does not tell.
    pub(crate) fn notes(&self) -> Option<usize> {
        match self {
            Self::Ours(queue) => Some(queue.stats().notes),
            Self::Kernel(_) => None,
        }
    }
}
