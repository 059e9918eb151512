//! [`Events`]: the stream of one tree.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::stream::{FusedStream, Stream};
use proc_reactor::{Event, ProcId, Reader, Readiness};

use crate::driver::Place;
use crate::handle::TreeHandle;
use crate::stop::{Stop, StopPlan};
use crate::watcher::Inner;

/// Events taken from the log at once.
const BATCH: usize = 64;

/// The events of a process and all its descendants, in causal order: of each process its birth first (a parent's
/// [`Fork`](crate::EventKind::Fork), or [`Found`](crate::EventKind::Found)) and its exit last. It ends when all of them
/// have ended and have been read.
///
/// A clone goes on from the same place on its own. Dropping the last one ends the watching, and touches no process.
#[derive(Clone, Debug)]
pub struct Events {
    // Before `inner`: the reader belongs to its reactor.
    reader: Reader,
    buffer: VecDeque<Event>,
    ended: bool,
    place: Place,
    inner: Counted,
}

impl Events {
    pub(crate) fn new(inner: Arc<Inner>, reader: Reader) -> Self {
        Self { reader, buffer: VecDeque::new(), ended: false, place: None, inner: Counted::new(inner) }
    }

    /// The process that this is the tree of.
    pub fn id(&self) -> ProcId {
        self.reader.id()
    }

    /// The tree, to be stopped or waited for; good also when this is gone.
    pub fn handle(&self) -> TreeHandle {
        TreeHandle::new(self.reader.handle(), Arc::clone(&self.inner.0))
    }

    /// Stops everybody in the tree: [`TreeHandle::stop`].
    pub fn stop(&self, plan: StopPlan) -> Stop {
        self.handle().stop(plan)
    }

    /// The next event; `None` when nobody of the tree lives any more.
    ///
    /// # Cancel safety
    ///
    /// Cancel-safe: an event is taken only by a call that returns it.
    pub async fn next(&mut self) -> Option<Event> {
        poll_fn(|cx| self.poll_event(cx)).await
    }

    /// The next event if it has been taken in already; does not wait, and drives nothing.
    pub fn try_next(&mut self) -> Option<Event> {
        if self.buffer.is_empty() {
            self.fill();
        }
        self.buffer.pop_front()
    }

    fn fill(&mut self) -> Readiness {
        let readiness = self.reader.read(&mut self.buffer, BATCH);
        self.ended |= readiness == Readiness::End;
        readiness
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        loop {
            if self.buffer.is_empty() && !self.ended && self.fill() == Readiness::Pending {
                self.reader.register(cx.waker());
                // What came before the registration wakes nobody.
                if self.fill() == Readiness::Pending {
                    let Inner { reactor, drivers, .. } = &*self.inner;
                    match drivers.poll(reactor, &self.reader, &mut self.place, cx) {
                        Poll::Ready(()) => continue,
                        Poll::Pending => return Poll::Pending,
                    }
                }
            }
            return Poll::Ready(self.buffer.pop_front());
        }
    }
}

/// The watcher, which counts its streams.
#[derive(Debug)]
pub(crate) struct Counted(Arc<Inner>);

impl Counted {
    pub(crate) fn new(inner: Arc<Inner>) -> Self {
        inner.drivers.add_stream();
        Self(inner)
    }

    /// For who waits for news and takes no turns itself.
    pub(crate) fn see_to_turns(&self) {
        self.0.drivers.see_to_turns(&self.0.reactor);
    }
}

impl Clone for Counted {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.0))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.drivers.remove_stream();
    }
}

impl Deref for Counted {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl Stream for Events {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.poll_event(cx)
    }
}

impl FusedStream for Events {
    fn is_terminated(&self) -> bool {
        self.ended && self.buffer.is_empty()
    }
}
