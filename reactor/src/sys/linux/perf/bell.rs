//! Makes the source's descriptor readable until the next drain.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::task::Wake;

use super::super::epoll::EventFd;
use crate::sync::Mutex;

#[derive(Debug)]
pub(super) struct Bell {
    fd: EventFd,
    /// Whether the descriptor is readable: it changes with it, under one lock. Else who rings and who hushes at the same time leave a
    /// bell that rings for ever, or one that cannot be rung.
    rings: Mutex<bool>,
}

impl Bell {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { fd: EventFd::new()?, rings: Mutex::new(false) })
    }

    /// Called before a drain, which answers all that rang till then.
    pub(super) fn hush(&self) {
        let mut rings = self.rings.lock();
        if std::mem::take(&mut *rings) {
            self.fd.hush();
        }
    }

    #[cfg(test)]
    pub(super) fn rings(&self) -> bool {
        *self.rings.lock()
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut rings = self.rings.lock();
        if !std::mem::replace(&mut *rings, true) {
            self.fd.ring();
        }
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
