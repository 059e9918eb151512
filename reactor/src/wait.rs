//! Waiting in a queue: one thread of all that wait at the queues of a reactor leads, which is to say that it polls the source and
//! takes the turns; the others follow and are woken by what a turn brings them.
//!
//! Who leads and leaves wakes the follower that has waited longest, who then leads. So whoever waits does so behind somebody
//! who looks at the source, or is that one.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

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

    fn silence(&self) {
        let mut bytes = [0; 64];
        while matches!((&self.rung).read(&mut bytes), Ok(1..)) {}
    }
}

impl Wake for Bell {
    fn wake(self: std::sync::Arc<Self>) {
        // Where it is full it rings already.
        let _ = (&self.rope).write(&[1]);
    }
}

/// A place among those who wait at a queue. Dropping it gives it up, and passes on what it was woken for.
#[derive(Debug)]
pub(crate) struct Seat<'a> {
    lead: &'a Lead,
    queue: &'a QueueShared,
    waiter: Arc<WakeSlot>,
    leads: bool,
}

impl<'a> Seat<'a> {
    pub(crate) fn new(lead: &'a Lead, queue: &'a QueueShared) -> Self {
        Self { lead, queue, waiter: Arc::new(WakeSlot::new()), leads: false }
    }

    pub(crate) fn leads(&self) -> bool {
        self.leads
    }

    /// Sees to it that somebody leads, and that news from here on wake this thread. False if there are some already.
    pub(crate) fn settle(&mut self, bell: &std::sync::Arc<Bell>) -> bool {
        if !self.leads {
            // Registered before it can be woken to lead.
            self.waiter.register(&sync::thread_waker());
            self.leads = self.lead.sit(&self.waiter);
        }
        if self.leads {
            self.waiter.register(&Waker::from(std::sync::Arc::clone(bell)));
        }
        self.queue.lock().waits(&self.waiter)
    }

    /// Sleeps until there may be news, or up to `deadline`.
    ///
    /// # Errors
    /// The source cannot be polled.
    pub(crate) fn sleep(
        &self,
        source: BorrowedFd<'_>,
        bell: &Bell,
        deadline: Option<Instant>,
    ) -> io::Result<()> {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if !self.leads {
            sync::park(left);
            return Ok(());
        }
        let result = poll(source, bell, left);
        bell.silence();
        result
    }
}

fn poll(source: BorrowedFd<'_>, bell: &Bell, left: Option<Duration>) -> io::Result<()> {
    match sync::poll([source, bell.rung.as_fd()], left) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
        result => result,
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let heir = self.queue.lock().leaves(&self.waiter);
        let leader = self.lead.leave(&self.waiter, self.leads);
        for waiter in [heir, leader].into_iter().flatten() {
            waiter.wake();
        }
    }
}
