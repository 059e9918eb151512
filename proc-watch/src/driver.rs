//! Who drives: one task in each runtime where streams are awaited; or where nothing has to be read of processes before
//! they are gone, a stream that is the watcher's only one, while it is awaited. The guard thread takes care of the rest.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};

use proc_reactor::{Guard, Reactor, Reader, Turned};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime::{Handle, Id};
use tokio::task::AbortHandle;

/// The places from which one reactor is driven, and the guard for when it is from none of them.
#[derive(Debug)]
pub(crate) struct Drivers {
    /// None where a runtime has its I/O disabled. A seat is kept by the streams that were polled there, and by its
    /// task.
    seats: Mutex<HashMap<Id, Option<Weak<Seat>>>>,
    /// The watcher's streams.
    streams: AtomicUsize,
    /// Whether it matters how soon a turn is taken, awaited or not.
    prompt: bool,
    guard: Guard,
}

/// Where a stream was polled last.
pub(crate) type Place = Option<(Id, Arc<Seat>)>;

/// The reactor's descriptor in one runtime, and the task that waits for it if there is one.
#[derive(Debug)]
pub(crate) struct Seat {
    fd: AsyncFd<OwnedFd>,
    task: Mutex<Option<AbortHandle>>,
}

impl Drivers {
    pub(crate) fn new(reactor: &Reactor, prompt: bool) -> io::Result<Self> {
        let guard = Guard::start(reactor)?;
        Ok(Self { seats: Mutex::default(), streams: AtomicUsize::new(0), prompt, guard })
    }

    /// Sees to it that turns are taken as soon as they are needed, from the runtime where a stream has just been made.
    pub(crate) fn begin(&self, reactor: &Reactor) {
        if let (true, Ok(runtime)) = (self.prompt, Handle::try_current()) {
            if let Some(seat) = self.seat(reactor, runtime.id()) {
                seat.leave_to_a_task(reactor, &runtime);
            }
        }
    }

    /// Sees to it that turns are taken for one that waits here for news.
    pub(crate) fn see_to_turns(&self, reactor: &Reactor) {
        let runtime = Handle::try_current().ok();
        let seat = runtime.as_ref().and_then(|runtime| self.seat(reactor, runtime.id()));
        match runtime.zip(seat) {
            Some((runtime, seat)) => seat.leave_to_a_task(reactor, &runtime),
            None => self.guard.set_eager(true),
        }
    }

    /// There is a stream more.
    pub(crate) fn add_stream(&self) {
        self.streams.fetch_add(1, Ordering::AcqRel);
    }

    /// There is a stream less. Whoever is left goes on as it is until it is polled again.
    pub(crate) fn remove_stream(&self) {
        if self.streams.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.end_tasks();
        }
    }

    fn end_tasks(&self) {
        let seats: Vec<_> = lock(&self.seats).values().flatten().filter_map(Weak::upgrade).collect();
        seats.iter().for_each(|seat| seat.take_back());
    }

    /// Drives the reactor from where this is called, by a stream that has found nothing, or sees to it that a task does.
    /// Ready if it is to look again. The stream is registered with its reader, whose news wake it in any case.
    pub(crate) fn poll(
        &self,
        reactor: &Reactor,
        reader: &Reader,
        place: &mut Place,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let Ok(runtime) = Handle::try_current() else {
            self.guard.set_eager(true);
            return Poll::Pending;
        };
        if place.as_ref().is_none_or(|(id, _)| *id != runtime.id()) {
            *place = self.seat(reactor, runtime.id()).map(|seat| (runtime.id(), seat));
        }
        let Some((_, seat)) = place else {
            self.guard.set_eager(true);
            return Poll::Pending;
        };
        self.guard.set_eager(false);
        // A task that awaits a stream may be long about what came of it, and others must not wait for that.
        if !self.is_alone() {
            seat.leave_to_a_task(reactor, &runtime);
            return Poll::Pending;
        }
        match seat.fd.poll_read_ready(cx) {
            Poll::Pending => {
                if self.is_alone() {
                    seat.take_back();
                }
                Poll::Pending
            }
            Poll::Ready(Ok(mut ready)) => {
                // What this turn has for the stream is found without being woken for it.
                reader.deregister();
                if reactor.turn() == Turned::More {
                    // Others of this runtime come first.
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                ready.clear_ready();
                Poll::Ready(())
            }
            Poll::Ready(Err(error)) => {
                tracing::debug!(%error, "the runtime is shutting down");
                *place = None;
                self.guard.set_eager(true);
                Poll::Pending
            }
        }
    }

    /// Whether a stream may drive by itself.
    fn is_alone(&self) -> bool {
        !self.prompt && self.streams.load(Ordering::Acquire) == 1
    }

    fn seat(&self, reactor: &Reactor, runtime: Id) -> Option<Arc<Seat>> {
        let mut seats = lock(&self.seats);
        match seats.get(&runtime) {
            Some(None) => return None,
            Some(Some(seat)) => {
                if let Some(seat) = seat.upgrade() {
                    return Some(seat);
                }
            }
            None => seats.retain(|_, seat| seat.as_ref().is_none_or(|seat| seat.strong_count() > 0)),
        }
        // A runtime with I/O disabled panics here, and there is no way to ask it before.
        let reason = match catch_unwind(AssertUnwindSafe(|| readable(reactor))) {
            Ok(Ok(fd)) => {
                let seat = Arc::new(Seat { fd, task: Mutex::default() });
                seats.insert(runtime, Some(Arc::downgrade(&seat)));
                drop(seats);
                // To register a descriptor is to poll it, and one of perf says only once that it is readable: what came before
                // may have been said to the registration, which tells nobody.
                while reactor.turn() == Turned::More {}
                return Some(seat);
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => {
                seats.insert(runtime, None);
                "its I/O is not enabled".to_owned()
            }
        };
        drop(seats);
        tracing::warn!(reason, "this runtime cannot drive the reactor; the guard thread does");
        None
    }
}

impl Seat {
    fn leave_to_a_task(self: &Arc<Self>, reactor: &Reactor, runtime: &Handle) {
        let mut task = lock(&self.task);
        if task.as_ref().is_none_or(AbortHandle::is_finished) {
            *task = Some(runtime.spawn(drive(reactor.clone(), Arc::clone(self))).abort_handle());
        }
    }

    fn take_back(&self) {
        if let Some(task) = lock(&self.task).take() {
            task.abort();
        }
    }
}

/// Takes turns until it is aborted or the runtime shuts down.
async fn drive(reactor: Reactor, seat: Arc<Seat>) {
    loop {
        match seat.fd.readable().await {
            Err(error) => {
                tracing::debug!(%error, "the runtime is shutting down");
                return;
            }
            Ok(mut ready) => {
                while reactor.turn() == Turned::More {
                    tokio::task::yield_now().await;
                }
                ready.clear_ready();
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A descriptor duplicated, to wait in this runtime until it polls readable: one and the same can be registered once with each only.
#[expect(unsafe_code, reason = "tokio cannot know that a descriptor stays open while it is registered")]
pub(crate) fn readable(fd: impl AsFd) -> io::Result<AsyncFd<OwnedFd>> {
    // To register outside of a runtime is a panic.
    tokio::runtime::Handle::try_current().map_err(io::Error::other)?;
    let fd = fd.as_fd().try_clone_to_owned()?;
    // SAFETY: an OwnedFd gives the same open descriptor for as long as it lives, and the AsyncFd owns it.
    let registered = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
    registered.map_err(io::Error::from)
}
