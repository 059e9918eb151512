//! [`Events`]: the stream of one tree.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::stream::{FusedStream, Stream};
use proc_reactor::{Event, ProcId, Reader, Readiness};

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
    inner: Arc<Inner>,
}

impl Events {
    pub(crate) fn new(inner: Arc<Inner>, reader: Reader) -> Self {
        Self { reader, buffer: VecDeque::new(), ended: false, inner }
    }

    /// The process that this is the tree of.
    pub fn id(&self) -> ProcId {
        self.reader.id()
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
        if self.buffer.is_empty() && !self.ended && self.fill() == Readiness::Pending {
            self.inner.drivers.ensure(&self.inner.reactor);
            self.reader.register(cx.waker());
            // What came before the registration wakes nobody.
            self.fill();
        }
        match self.buffer.pop_front() {
            Some(event) => Poll::Ready(Some(event)),
            None if self.ended => Poll::Ready(None),
            None => Poll::Pending,
        }
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
