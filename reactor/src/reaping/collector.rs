//! The thread that reaps orphans: they come to the reaper, and nobody else waits for them.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};

use super::kernel::{Changes, Kernel, collect};

const CHANGES: Token = Token(0);
const STOP: Token = Token(1);

/// The thread, from outside. Dropped, it is over when this returns.
#[derive(Debug)]
pub(super) struct Collector {
    stop: Arc<AtomicBool>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
}

impl Collector {
    pub(super) fn start(kernel: Arc<dyn Kernel>) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), STOP)?;
        let changes = kernel.changes()?;
        let fd = changes.as_fd().as_raw_fd();
        poll.registry().register(&mut SourceFd(&fd), CHANGES, Interest::READABLE)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("proc-orphans".to_owned())
            .spawn(move || run(poll, changes, &*kernel, &stopped))?;
        Ok(Self { stop, waker, thread: Some(thread) })
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        match self.waker.wake() {
            // Its panic has been printed.
            Ok(()) => drop(self.thread.take().map(JoinHandle::join)),
            Err(error) => tracing::error!(%error, "the thread that reaps orphans could not be woken"),
        }
    }
}

fn run(mut poll: Poll, mut changes: Box<dyn Changes>, kernel: &dyn Kernel, stop: &AtomicBool) {
    let mut events = Events::with_capacity(2);
    while !stop.load(Ordering::Acquire) {
        // What has ended before this looks makes it readable no more.
        let collected = changes.take().and_then(|()| collect(kernel));
        match collected {
            Ok(0) => {}
            Ok(reaped) => tracing::trace!(reaped, "orphans reaped"),
            Err(error) => tracing::warn!(%error, "orphans cannot be reaped just now"),
        }
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                tracing::error!(%error, "orphans are no longer reaped");
                return;
            }
            _ => {}
        }
    }
}
