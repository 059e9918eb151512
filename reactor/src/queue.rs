//! [`Queue`]: a kqueue in user space, for processes and user events.

use std::io;
use std::sync::Arc as StdArc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::error::{ChangeError, QueueError};
use crate::flags::{EV_ERROR, EV_RECEIPT, EVFILT_USER};
use crate::kevent::Kevent;
use crate::knote::list::NoteKey;
use crate::knote::table::Taken;
use crate::reactor::handle::{Reactor, Shared};
use crate::reactor::waker::WakeSlot;
use crate::register::{Added, Request};
use crate::scan::{Inbox, Scanned};
use crate::sync::{Arc, Mutex, MutexGuard};
use crate::wait::{self, Bell, Drive};

/// How long a call that is about to say "nothing" waits for the record of an end that the program may have seen by wait(2). The
/// record is on its way by then; on an overloaded machine it was seen to take milliseconds.
const RECORD_LATE: Duration = Duration::from_secs(1);
const RECORD_LOOK: Duration = Duration::from_micros(50);

/// What a queue may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueOptions {
    /// Notes in all. A registration past it fails with ENOMEM, a tracked fork with NOTE_TRACKERR (C17, C30). No limit by
    /// default.
    pub max_notes: usize,
    /// Notes whose process has ended, and notes that tell of a child, that wait to be read. While there are so many, children are
    /// not tracked, and NOTE_TRACKERR says so (C30). 262,144 by default, which take about 25 MB.
    pub max_unread: usize,
}

impl Default for QueueOptions {
    fn default() -> Self {
        Self { max_notes: usize::MAX, max_unread: 1 << 18 }
    }
}

/// What a queue holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueStats {
    /// Registrations, of dead processes too as long as their end has not been read.
    pub notes: usize,
    /// Those that have something to say now.
    pub ready: usize,
    /// Those that wait for nothing but to be read.
    pub unread: usize,
}

/// What the handles of a queue, the process table and those who wait share.
#[derive(Debug)]
pub(crate) struct QueueShared {
    inbox: Mutex<Inbox>,
    /// Among the reactor's queues.
    place: u32,
}

impl QueueShared {
    pub(crate) fn new(place: u32, options: QueueOptions) -> Self {
        Self { inbox: Mutex::new(Inbox::new(options)), place }
    }

    pub(crate) fn place(&self) -> u32 {
        self.place
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock()
    }

    /// The same, of one that has not been closed.
    pub(crate) fn open(&self) -> Result<MutexGuard<'_, Inbox>, ChangeError> {
        let inbox = self.inbox.lock();
        if inbox.closed { Err(ChangeError::Closed) } else { Ok(inbox) }
    }
}

/// A kqueue in user space: processes are registered with it and their forks, execs and exits read from it, by kevent(2)'s rules
/// (`docs/differences.md` has them all, and where a kernel differs).
///
/// Cheap to clone; all clones are the same queue, from any thread, and any number of threads may wait in it at once: each event
/// goes to one of them (C33). It is closed by [`close`](Queue::close), or when the last clone is dropped.
///
/// ```no_run
/// use proc_reactor::{Kevent, QueueOptions, Reactor, flags::*, open};
///
/// let reactor = Reactor::new(open(&Default::default())?)?;
/// let queue = reactor.queue(QueueOptions::default())?;
/// let mut child = std::process::Command::new("make").spawn()?;
/// let follow = NOTE_EXIT | NOTE_EXEC | NOTE_FORK | NOTE_TRACK;
/// queue.kevent(&[Kevent::process(child.id(), EV_ADD, follow)], &mut [], None)?;
/// let mut events = [Kevent::default(); 32];
/// loop {
///     let count = queue.kevent(&[], &mut events, None)?;
///     for event in &events[..count] {
///         println!("{event:?}");
///     }
///     if events[..count].iter().any(|event| event.ident == u64::from(child.id()) && event.fflags & NOTE_EXIT != 0) {
///         break;
///     }
/// }
/// child.wait()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Queue {
    owner: Arc<Owner>,
}

/// Closes the queue when the last handle goes.
#[derive(Debug)]
struct Owner {
    shared: Arc<Shared>,
    queue: Arc<QueueShared>,
    bell: StdArc<Bell>,
    maker: u32,
}

impl Reactor {
    /// A new queue over this reactor's source.
    ///
    /// # Errors
    /// The source has failed, there are no descriptors, or this is a fork of the process that made the reactor.
    pub fn queue(&self, options: QueueOptions) -> Result<Queue, QueueError> {
        let shared = Arc::clone(&self.shared);
        // In a fork it would take the records from under whoever made it (C34).
        if std::process::id() != shared.maker {
            return Err(QueueError::Forked { maker: shared.maker });
        }
        shared.source_error().map_or(Ok(()), |error| Err(QueueError::Source(error)))?;
        let bell = shared.bell().map_err(QueueError::Descriptors)?;
        let queue = shared.state.lock().queues.open(options);
        Ok(Queue { owner: Arc::new(Owner { shared, queue, bell, maker: std::process::id() }) })
    }
}

impl Queue {
    /// Applies `changes` in order, then takes what is ready into `events`, waiting for it up to `timeout`: for ever by `None`, not at
    /// all by zero (C37). Returns how many entries of `events` were filled. As kevent(2):
    ///
    /// * A change that fails, or has EV_RECEIPT, fills an entry with EV_ERROR and its errno or 0, and then nothing is waited for and
    ///   no event taken (C10).
    /// * With no room in `events` nothing is waited for.
    /// * An exit of a child that the caller has seen by wait(2) before is returned, also with a zero timeout (C41); where other events
    ///   are ready, perhaps by a later call. Of a process that was given to the program when its parent ended this is not promised.
    ///   A call that would return nothing asks for each such child whether it is gone, and waits for the record if one is: that is all
    ///   that a zero timeout waits for.
    /// * NOTE_EXIT may come before the zombie can be reaped: wait for it, do not poll once (C21).
    ///
    /// Unlike kevent(2) it is not ended by a signal (C36). To end it from elsewhere, trigger a user event or
    /// [`close`](Queue::close) the queue.
    ///
    /// # Errors
    /// See [`QueueError`]; [`errno`](QueueError::errno) has kqueue's number for it. Nothing that was ready is lost by an error.
    pub fn kevent(
        &self,
        changes: &[Kevent],
        events: &mut [Kevent],
        timeout: Option<Duration>,
    ) -> Result<usize, QueueError> {
        self.usable()?;
        let entries = self.apply(changes, events)?;
        if entries > 0 || events.is_empty() {
            return Ok(entries);
        }
        let mut count = 0;
        self.take(events.len(), timeout, |taken| {
            events[count] = taken.kevent;
            count += 1;
        })
    }

    /// Ends the queue for all its handles. What is registered and what has not been read is dropped; whoever waits is woken with
    /// [`QueueError::Closed`] (C35).
    pub fn close(&self) {
        if self.owner.check().is_ok() {
            self.owner.close();
        }
    }

    /// What it holds. 0 notes when all processes are gone and all events have been read (C40); 0 of everything in a fork, which has no
    /// queue (C34).
    pub fn stats(&self) -> QueueStats {
        if self.owner.check().is_err() {
            return QueueStats { notes: 0, ready: 0, unread: 0 };
        }
        let inbox = self.owner.queue.lock();
        let notes = &inbox.notes;
        QueueStats { notes: notes.len(), ready: notes.telling(), unread: notes.unread() }
    }

    /// The reactor that feeds it.
    pub fn reactor(&self) -> Reactor {
        Reactor { shared: Arc::clone(&self.owner.shared) }
    }

    /// For tasks: waits without a thread.
    pub fn waiter(&self) -> QueueWaiter {
        QueueWaiter { queue: self.clone(), slot: Arc::new(WakeSlot::new()) }
    }

    fn apply(&self, changes: &[Kevent], events: &mut [Kevent]) -> Result<usize, QueueError> {
        let asks = |change: &&Kevent| change.filter != 0 && change.flags & EV_RECEIPT != 0;
        let mut receipts = changes.iter().filter(asks).count();
        if receipts > events.len() {
            return Err(QueueError::EventListTooSmall { needed: receipts, room: events.len() });
        }
        let mut entries = 0;
        let mut pumped = false;
        for (index, change) in changes.iter().enumerate() {
            if change.filter == 0 {
                continue;
            }
            let receipt = asks(&change);
            receipts -= usize::from(receipt);
            let (errno, fflags) = match self.change(change, &mut pumped) {
                Ok(_) if !receipt => continue,
                Ok(made) => (0, if made { 0 } else { change.fflags }),
                Err(ChangeError::Closed) => return Err(QueueError::Closed),
                // The room of receipts that are still to come is theirs.
                Err(error) if !receipt && entries + receipts >= events.len() => {
                    return Err(QueueError::Change { index, change: *change, error });
                }
                Err(error) => (error.errno(), 0),
            };
            events[entries] = Kevent { flags: EV_ERROR, fflags, data: i64::from(errno), ..*change };
            entries += 1;
        }
        Ok(entries)
    }

    /// One change. True if it made a note.
    fn change(&self, change: &Kevent, pumped: &mut bool) -> Result<bool, ChangeError> {
        let Owner { shared, queue, .. } = &*self.owner;
        let request = Request::new(change)?;
        let (news, made) = if change.filter == EVFILT_USER {
            request.user(queue)?
        } else if request.adds_process() {
            if !std::mem::replace(pumped, true) {
                shared.pump();
            }
            return Ok(self.add(&request)?.made);
        } else {
            (request.process(&shared.state, queue, None)?, false)
        };
        news.iter().for_each(|waiter| waiter.wake());
        Ok(made)
    }

    /// One change of the typed layer.
    pub(crate) fn one<T>(
        &self,
        change: &Kevent,
        work: impl FnOnce(&Request) -> Result<T, ChangeError>,
    ) -> Result<T, QueueError> {
        self.usable()?;
        Request::new(change).and_then(|request| work(&request)).map_err(|error| match error {
            ChangeError::Closed => QueueError::Closed,
            error => QueueError::Change { index: 0, change: *change, error },
        })
    }

    /// A handle takes a note, from whichever had it. Nothing to be taken if it is gone already.
    fn hold(&self, key: NoteKey) -> u32 {
        let mut inbox = self.owner.queue.lock();
        inbox.notes.find(key.slot, key.serial).map_or(0, |slot| inbox.notes.hold(slot))
    }

    /// A change without `EV_ADD` of the note that a handle took at `hold`.
    pub(crate) fn modify(&self, request: &Request, key: NoteKey, hold: u32) -> Result<(), ChangeError> {
        let Owner { shared, queue, .. } = &*self.owner;
        let news = request.process(&shared.state, queue, Some((key, hold)))?;
        news.iter().for_each(|waiter| waiter.wake());
        Ok(())
    }

    /// Before anything that is wrong with a call is told, and also where a call has nothing to do.
    pub(crate) fn usable(&self) -> Result<(), QueueError> {
        self.owner.check()?;
        if self.owner.queue.lock().closed { Err(QueueError::Closed) } else { Ok(()) }
    }

    /// An `EV_ADD` of a process, with everything applied that came before.
    pub(crate) fn add(&self, request: &Request) -> Result<Added, ChangeError> {
        self.add_and(request, |_| ()).map(|(added, ())| added)
    }

    /// The same for a handle, which takes the note before another can add it.
    pub(crate) fn add_held(&self, request: &Request) -> Result<(Added, u32), ChangeError> {
        self.add_and(request, |added| added.note.map_or(0, |(key, _)| self.hold(key)))
    }

    fn add_and<T>(
        &self,
        request: &Request,
        then: impl FnOnce(&Added) -> T,
    ) -> Result<(Added, T), ChangeError> {
        let Owner { shared, queue, .. } = &*self.owner;
        request.pid()?;
        // What the table knows is of the time before.
        shared.source_error().map_or(Ok(()), |error| Err(ChangeError::Source(error)))?;
        let (added, then, news) = shared.with_turn(|turn| {
            let (added, news) = request.add(&shared.state, queue, &mut *turn.source)?;
            let then = then(&added);
            Ok::<_, ChangeError>((added, then, news))
        })?;
        news.iter().for_each(|waiter| waiter.wake());
        Ok((added, then))
    }

    /// Takes what is ready, and waits for it. Nobody else's business but the thread's own.
    pub(crate) fn take(
        &self,
        most: usize,
        timeout: Option<Duration>,
        mut tell: impl FnMut(Taken),
    ) -> Result<usize, QueueError> {
        let Owner { shared, queue, bell, .. } = &*self.owner;
        let deadline = timeout.map(|timeout| Instant::now().checked_add(timeout));
        // So late that it will not be.
        let deadline = deadline.flatten();
        let enough = queue.lock().notes.telling() >= most;
        if enough {
            // The source is drained all the same: a user event may stay ready for ever, and the kernel's buffer is finite. Not
            // waiting for others who are at it.
            shared.turn();
        } else {
            shared.pump();
        }
        let mut count = self.owner.scan(most, &mut tell)?;
        let at_once = timeout == Some(Duration::ZERO);
        if count == 0 && !at_once {
            let driver = Driver { shared, bell };
            count = wait::wait(&shared.lead, queue, &driver, deadline, || self.owner.scan(most, &mut tell))?;
        }
        if count == 0 && self.await_records() {
            count = self.owner.scan(most, &mut tell)?;
        }
        Ok(count)
    }

    /// Nothing is there to be told. If a child of this program's is gone whose end has not been told, its record is on its way
    /// (C41). True if one came.
    fn await_records(&self) -> bool {
        let Owner { shared, queue, .. } = &*self.owner;
        let own = queue.lock().notes.own_children();
        if own.is_empty() {
            return false;
        }
        let gone: Vec<u32> =
            shared.with_turn(|turn| own.into_iter().filter(|pid| turn.source.is_gone(*pid)).collect());
        let begun = Instant::now();
        let mut awaited = gone.clone();
        while !awaited.is_empty() && begun.elapsed() < RECORD_LATE {
            shared.pump();
            let own = queue.lock().notes.own_children();
            awaited.retain(|pid| own.contains(pid));
            if !awaited.is_empty() {
                std::thread::sleep(RECORD_LOOK);
            }
        }
        if !awaited.is_empty() {
            tracing::warn!(pids = ?awaited, "gone from the process list, and no record of their end came");
            // Not by every call anew.
            queue.lock().notes.disown(&awaited);
        }
        !gone.is_empty()
    }
}

impl Owner {
    /// Every call begins with it, before any lock: in a fork whoever held one may be missing (C34).
    fn check(&self) -> Result<(), QueueError> {
        if std::process::id() == self.maker { Ok(()) } else { Err(QueueError::Forked { maker: self.maker }) }
    }

    fn scan(&self, most: usize, tell: impl FnMut(Taken)) -> Result<usize, QueueError> {
        let Scanned { count, failed } = self.queue.scan(&self.shared.state, most, tell)?;
        let error = if count == 0 && failed { self.shared.source_error() } else { None };
        error.map_or(Ok(count), |error| Err(QueueError::Source(error)))
    }

    fn close(&self) {
        self.queue.close(&self.shared.state);
    }
}

/// The reactor, for whoever leads those that wait.
struct Driver<'a> {
    shared: &'a Shared,
    bell: &'a StdArc<Bell>,
}

impl Drive for Driver<'_> {
    fn bell(&self) -> Waker {
        Waker::from(StdArc::clone(self.bell))
    }

    fn look(&self, left: Option<Duration>) -> io::Result<()> {
        self.bell.poll(self.shared.source_fd(), left)
    }

    fn pump(&self) {
        self.shared.pump();
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        // A fork has a copy of the memory, and none of the threads that may have held the locks.
        if self.check().is_ok() {
            self.close();
        }
    }
}

/// Reads a queue from a task. It does not drive the reactor: somebody calls [`Reactor::turn`] when its descriptor polls readable, or
/// a [`Guard`](crate::Guard) does. Dropping it passes on to others what it was woken for. One that was pending and is kept without being
/// polled is in the way of others: it may be the one that is woken.
#[derive(Debug)]
pub struct QueueWaiter {
    queue: Queue,
    slot: Arc<WakeSlot>,
}

impl QueueWaiter {
    /// Takes what is ready into `events`, or sees to it that the task is woken when there is something. Ready with 0 if `events` has
    /// no room. Cancel safe: what is not returned stays.
    ///
    /// # Errors
    /// As for [`Queue::kevent`].
    pub fn poll_kevent(
        &mut self,
        cx: &mut Context<'_>,
        events: &mut [Kevent],
    ) -> Poll<Result<usize, QueueError>> {
        let owner = &self.queue.owner;
        self.queue.usable()?;
        if events.is_empty() {
            return Poll::Ready(Ok(0));
        }
        wait::poll(&owner.queue, &self.slot, cx.waker(), || {
            let mut count = 0;
            owner.scan(events.len(), |taken| {
                events[count] = taken.kevent;
                count += 1;
            })
        })
    }
}

impl Drop for QueueWaiter {
    fn drop(&mut self) {
        if self.queue.owner.check().is_ok() {
            self.queue.owner.queue.leave(&self.slot);
        }
    }
}
