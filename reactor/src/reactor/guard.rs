//! The guard: drives the reactor when nobody else does.
//!
//! A program's runtime may be stalled by its own tasks, or there may be none. The kernel's buffer is finite, so
//! somebody has to empty it. The guard sleeps until the source is readable, waits a moment, and looks whether
//! anybody took a turn meanwhile. While the machine does nothing, it does nothing.

use std::io;
use std::sync::Arc as StdArc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use mio::event::Source;
use mio::{Events, Interest, Poll, Token, Waker};

use crate::reactor::handle::{Reactor, Turned};

const SOURCE: Token = Token(0);
const WAKER: Token = Token(1);

/// A thread that takes a turn when something has been readable and untouched for a moment. Dropping it ends the
/// thread.
#[derive(Debug)]
pub struct Guard {
    waker: Waker,
    eager: StdArc<AtomicBool>,
    /// Dropped to end the thread.
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Guard {
    /// How long something may be readable and untouched before the guard takes it.
    pub const MOMENT: Duration = Duration::from_millis(10);

    /// Starts the thread.
    ///
    /// # Errors
    /// No thread or no descriptors are to be had.
    pub fn start(reactor: &Reactor) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut reactor = reactor.clone();
        reactor.register(poll.registry(), SOURCE, Interest::READABLE)?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        let eager = StdArc::new(AtomicBool::new(false));
        let (stop, stopped) = mpsc::channel();
        let drives_at_once = StdArc::clone(&eager);
        let thread = std::thread::Builder::new()
            .name("proc-guard".to_owned())
            .spawn(move || watch(poll, &reactor, &drives_at_once, &stopped))?;
        Ok(Self { waker, eager, stop: Some(stop), thread: Some(thread) })
    }

    /// Whether the guard drives at once, for readers whose tasks run in no runtime that could.
    pub fn set_eager(&self, eager: bool) {
        if self.eager.swap(eager, Ordering::AcqRel) != eager {
            self.kick();
        }
    }

    fn kick(&self) {
        if let Err(error) = self.waker.wake() {
            tracing::error!(%error, "the guard thread could not be woken");
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.stop.take());
        self.kick();
        if let Some(thread) = self.thread.take() {
            // The guard may be dropped by a task that the guard itself woke or dropped.
            if thread.thread().id() != std::thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}

fn watch(mut poll: Poll, reactor: &Reactor, eager: &AtomicBool, stopped: &mpsc::Receiver<()>) {
    let mut events = Events::with_capacity(2);
    loop {
        if let Err(error) = poll.poll(&mut events, None) {
            if error.kind() != io::ErrorKind::Interrupted {
                tracing::error!(%error, "the guard thread cannot poll; a stalled runtime may lose events");
                return;
            }
        }
        // Where the source told us only, those who drive are told now.
        if let (false, Some(recall)) = (eager.load(Ordering::Acquire), &reactor.shared.recall) {
            recall.wake_by_ref();
        }
        // After the poll: a turn that began before need not have seen what is there now.
        let before = reactor.shared.turns();
        let moment = if eager.load(Ordering::Acquire) { Duration::ZERO } else { Guard::MOMENT };
        match stopped.recv_timeout(moment) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
        }
        let untouched = reactor.shared.turns() == before || reactor.shared.unfinished();
        if eager.load(Ordering::Acquire) || untouched {
            while reactor.turn() == Turned::More {}
        }
    }
}
