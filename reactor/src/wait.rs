//! Waiting in a queue: one thread of all that wait at the queues of a reactor leads, which is to say that it polls the source and
//! takes the turns; the others follow and are woken by what a turn brings them.
//!
//! Who leads and leaves wakes the follower that has waited longest, who then leads. So whoever waits does so behind somebody
//! who looks at the source, or is that one.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::task::{Poll, Wake, Waker};
use std::time::{Duration, Instant};

use crate::error::QueueError;
use crate::queue::QueueShared;
use crate::reactor::waker::WakeSlot;
use crate::sync::{self, Arc, Mutex};

/// Who leads, and who follows.
#[derive(Debug, Default)]
pub(crate) struct Lead {
    inner: Mutex<Order>,
}

#[derive(Debug, Default)]
struct Order {
    led: bool,
    followers: VecDeque<Arc<WakeSlot>>,
}

impl Lead {
    /// Takes the lead if nobody has it, or follows. True if it leads.
    pub(crate) fn sit(&self, waiter: &Arc<WakeSlot>) -> bool {
        let mut order = self.inner.lock();
        let place = order.followers.iter().position(|other| Arc::ptr_eq(other, waiter));
        if order.led {
            if place.is_none() {
                order.followers.push_back(Arc::clone(waiter));
            }
            return false;
        }
        order.led = true;
        if let Some(place) = place {
            drop(order.followers.remove(place));
        }
        true
    }

    /// Gets up. Whom it returns is to lead, if nobody does, and must be woken.
    pub(crate) fn leave(&self, waiter: &Arc<WakeSlot>, leads: bool) -> Option<Arc<WakeSlot>> {
        let mut order = self.inner.lock();
        if leads {
            order.led = false;
        } else {
            // It may have been woken to lead, and leaves instead.
            order.followers.retain(|other| !Arc::ptr_eq(other, waiter));
        }
        if order.led { None } else { order.followers.pop_front() }
    }
}

/// Ends the leader's poll.
#[derive(Debug)]
pub(crate) struct Bell {
    rung: UnixStream,
    rope: UnixStream,
}

impl Bell {
    pub(crate) fn new() -> io::Result<Self> {
        let (rung, rope) = UnixStream::pair()?;
        rung.set_nonblocking(true)?;
        rope.set_nonblocking(true)?;
        Ok(Self { rung, rope })
    }

    /// Waits until `source` is readable or the bell has rung, up to `left`, or until a signal comes. It rings no more then.
    pub(crate) fn poll(&self, source: BorrowedFd<'_>, left: Option<Duration>) -> io::Result<()> {
        let result = match sync::poll([source, self.rung.as_fd()], left) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            result => result,
        };
        let mut bytes = [0; 64];
        while matches!((&self.rung).read(&mut bytes), Ok(1..)) {}
        result
    }
}

impl Wake for Bell {
    fn wake(self: std::sync::Arc<Self>) {
        // Where it is full it rings already.
        let _ = (&self.rope).write(&[1]);
    }
}

/// What a leader does for all: looks at the source, and takes the turns.
pub(crate) trait Drive {
    /// What ends a [`look`](Self::look), also one that has not begun.
    fn bell(&self) -> Waker;

    /// Waits until there is something for a turn or the bell has rung, up to `left`.
    ///
    /// # Errors
    /// The source cannot be polled.
    fn look(&self, left: Option<Duration>) -> io::Result<()>;

    /// Takes in all that is there.
    fn pump(&self);
}

/// Waits until `scan` comes to something, up to `deadline`: then there is nothing. The queue has been scanned before.
///
/// # Errors
/// Those of `scan`, or the source cannot be polled.
pub(crate) fn wait(
    lead: &Lead,
    queue: &QueueShared,
    drive: &impl Drive,
    deadline: Option<Instant>,
    mut scan: impl FnMut() -> Result<usize, QueueError>,
) -> Result<usize, QueueError> {
    let mut seat = Seat::new(lead, queue);
    loop {
        if seat.settle(drive) {
            let now = deadline.map(|deadline| (deadline, Instant::now()));
            if now.is_some_and(|(deadline, now)| now >= deadline) {
                return Ok(0);
            }
            let left = now.map(|(deadline, now)| deadline - now);
            seat.sleep(drive, left).map_err(QueueError::Wait)?;
        }
        let count = scan()?;
        if count > 0 {
            return Ok(count);
        }
    }
}

/// The same for a task, which leads nobody: ready with what `scan` comes to, or `waker` is woken when there may be something.
pub(crate) fn poll(
    queue: &QueueShared,
    waiter: &Arc<WakeSlot>,
    waker: &Waker,
    mut scan: impl FnMut() -> Result<usize, QueueError>,
) -> Poll<Result<usize, QueueError>> {
    loop {
        let count = scan()?;
        if count > 0 {
            // Busy with these from here on: what comes now is for others who wait.
            let heir = queue.lock().leaves(waiter);
            heir.iter().for_each(|waiter| waiter.wake());
            return Poll::Ready(Ok(count));
        }
        waiter.register(waker);
        if queue.lock().waits(waiter) {
            return Poll::Pending;
        }
    }
}

/// A place among those who wait at a queue. Dropping it gives it up, and passes on what it was woken for.
#[derive(Debug)]
struct Seat<'a> {
    lead: &'a Lead,
    queue: &'a QueueShared,
    waiter: Arc<WakeSlot>,
    leads: bool,
}

impl<'a> Seat<'a> {
    fn new(lead: &'a Lead, queue: &'a QueueShared) -> Self {
        Self { lead, queue, waiter: Arc::new(WakeSlot::new()), leads: false }
    }

    /// Sees to it that somebody leads, and that news from here on wake this thread. False if there are some already.
    fn settle(&mut self, drive: &impl Drive) -> bool {
        if !self.leads {
            // Registered before it can be woken to lead.
            self.waiter.register(&sync::thread_waker());
            self.leads = self.lead.sit(&self.waiter);
        }
        if self.leads {
            self.waiter.register(&drive.bell());
        }
        self.queue.lock().waits(&self.waiter)
    }

    /// Sleeps until there may be news, up to `left`; who leads brings them.
    fn sleep(&self, drive: &impl Drive, left: Option<Duration>) -> io::Result<()> {
        if self.leads {
            drive.look(left)?;
            drive.pump();
        } else {
            sync::park(left);
        }
        Ok(())
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.queue.leave(&self.waiter);
        let leader = self.lead.leave(&self.waiter, self.leads);
        leader.iter().for_each(|waiter| waiter.wake());
    }
}
