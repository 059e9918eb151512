//! [`TreeHandle`]: a tree, for those who want to do something about it and not to read what it does.

use std::sync::Arc;
use std::time::{Duration, Instant};

use proc_reactor::{Member, ProcFd, ProcId, SignalError, SourceError};
use tokio::sync::{oneshot, watch};

use crate::reaper::Job;
use crate::stop::engine::Stopping;
use crate::stop::{Emptiness, Progress, Stop, StopPlan, Wishes};
use crate::stream::Events;
use crate::watcher::Inner;

/// A watched tree: to stop it, to wait until it is empty, to look who lives.
///
/// Cheap to clone. It keeps the tree followed and no events; the tree's [`Events`] may be there or not.
#[derive(Clone, Debug)]
pub struct TreeHandle {
    // Before `inner`: it belongs to its reactor.
    tree: proc_reactor::TreeHandle,
    inner: Arc<Inner>,
}

impl TreeHandle {
    pub(crate) fn new(tree: proc_reactor::TreeHandle, inner: Arc<Inner>) -> Self {
        Self { tree, inner }
    }

    /// The process that it is the tree of.
    pub fn id(&self) -> ProcId {
        self.tree.id()
    }

    /// Who lives in it now, parents first. Takes in what is queued.
    pub fn living(&self) -> Vec<Member> {
        self.inner.reactor.catch_up();
        self.tree.living()
    }

    /// How long a process of it that lives has done so; by the system's account, with ticks of 10 ms, if its birth was not seen.
    pub fn age(&self, id: ProcId) -> Option<Duration> {
        self.tree.age(id)
    }

    /// Why the source failed, if it did.
    pub(crate) fn source_error(&self) -> Option<Arc<SourceError>> {
        self.tree.source_error()
    }

    /// Its events from now on; who lives at this point is not in them.
    pub fn events(&self) -> Events {
        let (reader, _) = self.tree.reader();
        self.inner.events(reader)
    }

    /// Stops everybody in it, step by step as the plan says, and tells when nobody is left, and how sure that is. It begins now, and goes on
    /// whether it is awaited or not: see [`Stop`].
    ///
    /// Signals reach the processes that are meant or nobody (pidfd_send_signal(2)); who is born while it goes on is in it. Nobody is
    /// reaped: a [`Child`](crate::Child) that was stopped is waited for as ever.
    ///
    /// Several at once on one tree each do what their plan says.
    pub fn stop(&self, plan: StopPlan) -> Stop {
        let reaper = match self.inner.reaper() {
            Ok(reaper) => reaper,
            Err(error) => return Stop::failed(error),
        };
        let mut stopping = self.stopping(plan, KEEP);
        let (tell, report) = oneshot::channel();
        let nothing = Progress::default();
        let (news, progress) = watch::channel(nothing);
        let wishes = Arc::<Wishes>::default();
        stopping.report_to(news, Arc::clone(&wishes), tell);
        reaper.take(Job::Stop(Box::new(stopping)));
        Stop::new(report, progress, wishes)
    }

    /// Sends a signal to everybody who lives in it now, and to nobody else. Who was not signalled, and why.
    ///
    /// Who is born meanwhile may be left out: [`stop`](Self::stop) goes after those too.
    ///
    /// # Errors
    /// The source has failed; some may have been signalled.
    pub fn signal(&self, signal: i32) -> Result<Vec<(ProcId, SignalError)>, SourceError> {
        let ids: Vec<ProcId> = self.living().iter().map(|member| member.id).collect();
        let mut failed = Vec::new();
        for ids in ids.chunks(ATONCE) {
            let attested = self.inner.reactor.pidfds(ids)?;
            let sent = attested.into_iter().map(|process| process.and_then(|process| process.signal(signal)));
            failed.extend(ids.iter().zip(sent).filter_map(|(&id, sent)| sent.err().map(|error| (id, error))));
        }
        // Who has ended meanwhile need not be told of.
        failed.retain(|(_, error)| !matches!(error, SignalError::Gone { .. }));
        Ok(failed)
    }

    /// Waits until nobody lives in it, and says how sure that is.
    ///
    /// # Cancel safety
    ///
    /// Cancel-safe: nothing is consumed.
    pub async fn empty(&self) -> Emptiness {
        let mut events = self.events();
        while events.next().await.is_some() {}
        Emptiness::of(&self.tree)
    }

    /// One of the leader, if it lives.
    pub(crate) fn descriptor(&self) -> Result<ProcFd, SignalError> {
        let mut attested = self.inner.reactor.pidfds(&[self.id()])?;
        attested.pop().expect("one result for one process")
    }

    fn stopping(&self, plan: StopPlan, keep: usize) -> Stopping {
        Stopping::new(self.tree.clone(), plan, Instant::now(), keep, Arc::clone(&self.inner.reserve))
    }

    /// Starts the thread that stops, if it has not been: when it is needed there may be no thread to be had.
    pub(crate) fn prepare(&self) -> std::io::Result<()> {
        self.inner.reaper().map(drop)
    }

    /// Kills everybody in it, at once as far as one pass goes, and for good by the thread that stops; and reaps the child.
    pub(crate) fn kill(&self, mut child: Option<tokio::process::Child>) {
        let mut stopping = Box::new(self.stopping(StopPlan::kill(), 0));
        let over = stopping.step() == crate::stop::engine::Step::Over;
        if over && child.as_mut().is_none_or(|child| !matches!(child.try_wait(), Ok(None))) {
            return;
        }
        match (self.inner.reaper(), over) {
            (Ok(reaper), false) => reaper.take(Job::Kill(stopping, child)),
            (Ok(reaper), true) => child.into_iter().for_each(|child| reaper.take(Job::Reap(child))),
            (Err(error), _) => {
                tracing::error!(root = %self.id(), %error, "a dropped tree was killed in one pass only")
            }
        }
    }
}

/// How many descriptors a stopping keeps for its further rungs.
const KEEP: usize = 64;
/// Processes that are attested at once: as many descriptors are open meanwhile.
const ATONCE: usize = 128;
