//! [`Watcher::exit_of`]: how a process ended, whosever it is.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use proc_reactor::{
    ChangeError, ExitStatus, Interest, Kevent, ProcId, QueueError, QueueOptions, QueueWaiter, Registration,
};

use crate::stream::Counted;
use crate::watcher::Watcher;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exited {
    /// Who it was; `None` if nobody had the pid any more when it was asked for.
    pub id: Option<ProcId>,
    /// How it ended; `Unknown` where nobody can say (K9).
    pub status: ExitStatus,
}

/// Why it cannot be said when a process ends.
#[derive(Debug, thiserror::Error)]
#[error("the end of process {pid} cannot be waited for: {error}")]
pub struct ExitOfError {
    /// The process that was asked for.
    pub pid: u32,
    /// What is wrong.
    #[source]
    pub error: QueueError,
}

/// Waits for the end of a process: see [`Watcher::exit_of`].
///
/// # Cancel safety
///
/// Cancel-safe: the end is kept until it is told by this. Dropped, it ends the watching.
#[derive(Debug)]
#[must_use = "await it"]
pub struct ExitOf {
    pid: u32,
    begun: Result<Waiting, Option<QueueError>>,
}

#[derive(Debug)]
struct Waiting {
    waiter: QueueWaiter,
    registration: Registration,
    inner: Counted,
}

impl Watcher {
    /// Waits until the process that has this pid now has ended, and says how: any process that may be looked at, a child of this program
    /// or not, a descendant or not. It is not reaped (K10).
    ///
    /// It is the process that has the pid when this is called, not when it is awaited, and nobody who has it later (K7). If nobody has
    /// it, that is the answer: without an [`id`](Exited::id), and with an unknown status. A zombie's end is told at once, with its
    /// status where the system tells that (kqueue's rules C4 and C22).
    ///
    /// Awaited in a runtime, it drives the watcher from there; else the watcher's guard thread does.
    ///
    /// # Errors
    /// When it is awaited: the process may not be followed (with the source `perf`, another user's), or the source has failed.
    pub fn exit_of(&self, pid: u32) -> ExitOf {
        let begin = || {
            let queue = self.reactor().queue(QueueOptions::default())?;
            let registration = queue.register(pid, Interest::EXIT, 0)?;
            Ok(Waiting { waiter: queue.waiter(), registration, inner: self.count() })
        };
        ExitOf { pid, begun: begin().map_err(Some) }
    }
}

impl Future for ExitOf {
    type Output = Result<Exited, ExitOfError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let pid = self.pid;
        let failed = |error| Poll::Ready(Err(ExitOfError { pid, error }));
        let waiting = match &mut self.begun {
            Ok(waiting) => waiting,
            Err(error) => match error.take() {
                Some(QueueError::Change { error: ChangeError::NoSuchProcess { .. }, .. }) => {
                    return Poll::Ready(Ok(Exited { id: None, status: ExitStatus::Unknown }));
                }
                error => return failed(error.unwrap_or(QueueError::Closed)),
            },
        };
        let mut events = [Kevent::default(); 1];
        match waiting.waiter.poll_kevent(cx, &mut events) {
            Poll::Pending => {
                waiting.inner.see_to_turns();
                Poll::Pending
            }
            Poll::Ready(Err(error)) => failed(error),
            Poll::Ready(Ok(_)) => {
                let id = waiting.registration.id();
                let status = i32::try_from(events[0].data).ok().filter(|status| *status >= 0);
                let status = status.map_or(ExitStatus::Unknown, ExitStatus::from_wait_status);
                // It has no more to tell.
                self.begun = Err(None);
                Poll::Ready(Ok(Exited { id: Some(id), status }))
            }
        }
    }
}
