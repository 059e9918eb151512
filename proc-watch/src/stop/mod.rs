//! Stopping a tree, with proof that it is gone.
//!
//! ```text
//!  Child::stop ─┐                      ┌───────────── reaper thread of the watcher ────────────┐
//!  TreeHandle ──┼─► Stopping ─────────►│ takes turns, and steps: news ► rung over? ► signals   │──► StopReport
//!  Child drop ──┘   (engine)           │ until nobody lives, or the plan's time is over        │
//!                                      └───────────────────────────────────────────────────────┘
//! ```
//!
//! The thread, and not the caller's task, does the work: a stalled runtime, or one that shuts down, holds up nothing, and a dropped
//! future stops nothing.

pub(crate) mod engine;
pub(crate) mod plan;
pub(crate) mod progress;
pub(crate) mod report;
pub(crate) mod survivor;

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};

pub use plan::{Rung, StopPlan, Whom};
pub use progress::Progress;
pub use report::{Emptiness, Refused, StopReport, Stopped};
pub use survivor::{Signals, State, Survivor};

/// A stopping that goes on by itself, on a thread of the watcher's: await it for its [`StopReport`].
///
/// It needs no runtime to go on, and is not ended by dropping this.
///
/// # Cancel safety
///
/// Cancel-safe: dropped, or awaited by reference and given up, it goes on to the end of its plan; what is lost is the report. A new
/// [`stop`](crate::TreeHandle::stop) tells again who is left.
#[derive(Debug)]
#[must_use = "the stopping goes on by itself; await it to know when nobody is left"]
pub struct Stop {
    report: Result<oneshot::Receiver<StopReport>, Option<StopError>>,
    progress: Option<watch::Receiver<Progress>>,
    wishes: Arc<Wishes>,
}

/// What whoever holds a [`Stop`] wants of the stopping.
#[derive(Debug, Default)]
pub(crate) struct Wishes {
    /// To be told how far it has come.
    pub(crate) listened: AtomicBool,
    /// Not before this is anybody killed.
    patient_until: Mutex<Option<Instant>>,
}

impl Wishes {
    pub(crate) fn patient_until(&self) -> Option<Instant> {
        *self.patient_until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn extend(&self, until: Instant) {
        let mut patient_until = self.patient_until.lock().unwrap_or_else(PoisonError::into_inner);
        *patient_until = Some(patient_until.map_or(until, |before| before.max(until)));
    }
}

/// Why a tree could not be stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StopError {
    /// The thread that stops could not be started. Nobody was signalled.
    #[error(
        "the thread that stops could not be started: {0}; raise the limits of processes and open files (ulimit -u, -n)"
    )]
    Thread(#[source] io::Error),
    /// The thread that stops is gone: a bug, which it has printed.
    #[error("the thread that stops has panicked; please report this")]
    Panicked,
}

impl Stop {
    pub(crate) fn new(
        report: oneshot::Receiver<StopReport>,
        progress: watch::Receiver<Progress>,
        wishes: Arc<Wishes>,
    ) -> Self {
        Self { report: Ok(report), progress: Some(progress), wishes }
    }

    pub(crate) fn failed(error: io::Error) -> Self {
        Self { report: Err(Some(StopError::Thread(error))), progress: None, wishes: Arc::default() }
    }

    /// The rung that it is at lasts for at least this time from now, unless it is one of SIGKILL: for who says that he needs longer to end
    /// well.
    pub fn extend(&self, time: Duration) {
        self.wishes.extend(engine::after(Instant::now(), time));
    }

    pub(crate) fn wishes(&self) -> Arc<Wishes> {
        Arc::clone(&self.wishes)
    }

    /// How far it has come, whenever a rung is climbed, and [now and then](StopPlan::progress_every) in between, with who is still there and
    /// why; `None` once it is over. Some news may be skipped by a slow caller: the latest is told. Who is there is looked up from the first
    /// call on; what was told before names nobody.
    ///
    /// # Cancel safety
    ///
    /// Cancel-safe: a progress is told by a call that returns it.
    pub async fn progress(&mut self) -> Option<Progress> {
        self.wishes.listened.store(true, Ordering::Relaxed);
        let progress = self.progress.as_mut()?;
        match progress.changed().await {
            Ok(()) => Some(progress.borrow_and_update().clone()),
            Err(_) => {
                self.progress = None;
                None
            }
        }
    }
}

impl Future for Stop {
    type Output = Result<StopReport, StopError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.report {
            Ok(report) => Pin::new(report).poll(cx).map(|told| told.map_err(|_| StopError::Panicked)),
            Err(error) => Poll::Ready(Err(error.take().unwrap_or(StopError::Panicked))),
        }
    }
}
