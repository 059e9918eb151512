//! [`Watcher`]: where trees come from.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use proc_reactor::{
    Capabilities, OpenOptions, PersistentId, ProcId, Reactor, Reader, SignalError, SourceError, SourceName,
    Stats, TreeOptions, WitnessReport,
};

use crate::command::{Child, Spawn};
use crate::driver::Drivers;
use crate::error::{AttachError, SpawnError};
use crate::handle::TreeHandle;
use crate::reaper::Reaper;
use crate::reserve::Reserve;
use crate::stream::{Counted, Events};

/// Watches trees of processes through one source of the system.
///
/// Cheap to clone; all clones are the same watcher. The source is open, and a guard thread asleep, while a clone or a
/// stream of it lives. One watcher for a whole program is best: each has a socket that the kernel fills with every
/// process event of the machine.
#[derive(Clone, Debug)]
pub struct Watcher {
    inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) reactor: Reactor,
    pub(crate) drivers: Drivers,
    tree: TreeOptions,
    /// Started with the first tree that is to be stopped.
    reaper: Mutex<Option<Arc<Reaper>>>,
    pub(crate) reserve: Arc<Reserve>,
}

impl Inner {
    pub(crate) fn reaper(&self) -> io::Result<Arc<Reaper>> {
        let mut reaper = self.reaper.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever is woken or logs on it may have panicked there: that is no reason to stop nobody ever after.
        if let Some(reaper) = reaper.as_ref().filter(|reaper| !reaper.is_dead()) {
            return Ok(Arc::clone(reaper));
        }
        let started = Reaper::start(&self.reactor)
            .or_else(|error| if self.reserve.spend() { Reaper::start(&self.reactor) } else { Err(error) })?;
        Ok(Arc::clone(reaper.insert(Arc::new(started))))
    }

    /// Counted first: the last stream that goes ends the tasks.
    pub(crate) fn events(self: &Arc<Self>, reader: Reader) -> Events {
        let events = Events::new(Arc::clone(self), reader);
        self.drivers.begin(&self.reactor);
        events
    }
}

/// How a [`Watcher`] is to be made.
#[derive(Clone, Debug, Default)]
#[must_use = "call build"]
pub struct Builder {
    open: OpenOptions,
    tree: TreeOptions,
}

impl Builder {
    /// This source and no other; else the first that works here.
    pub fn source(mut self, source: SourceName) -> Self {
        self.open.source = Some(source);
        self
    }

    /// Bytes asked for each socket's receive buffer, as an unprivileged program may ask; the kernel caps them at
    /// `net.core.rmem_max`. Else as much as is permitted.
    pub fn receive_buffer(mut self, bytes: usize) -> Self {
        self.open.receive_buffer = Some(bytes);
        self
    }

    /// Over how many sockets the kernel's records are spread (a power of two up to 64). Else 1, or 16 where buffers are
    /// small.
    pub fn shards(mut self, shards: usize) -> Self {
        self.open.shards = Some(shards);
        self
    }

    /// Pages of each processor's ring of the source `perf`, a power of two. Else 64 (256 KiB), or as many as are permitted.
    pub fn ring_pages(mut self, pages: usize) -> Self {
        self.open.ring_pages = Some(pages);
        self
    }

    /// How many pidfds the source `perf` may hold at once, to learn statuses by. Else a quarter of the soft limit of open files.
    pub fn pidfds(mut self, most: usize) -> Self {
        self.open.pidfds = Some(most);
        self
    }

    /// With the source `perf`: whether this program adopts the orphans of all that it starts, so that their statuses can be
    /// known. Those of watched trees are reaped by the watcher; others stay zombies unless the program waits for them itself.
    /// Off by default; it stays on when the watcher is gone.
    pub fn subreaper(mut self, adopt: bool) -> Self {
        self.open.subreaper = adopt;
        self
    }

    /// Whether to read what processes run, at each exec and when found: on by default, at 30 to 60 us an exec.
    pub fn metadata(mut self, metadata: bool) -> Self {
        self.tree.metadata = metadata;
        self
    }

    /// Bytes that a tree's log of unread events may take, 8 MiB by default. A stream that falls further behind gets
    /// an [`EventKind::Gap`](crate::EventKind::Gap).
    pub fn log_limit(mut self, bytes: usize) -> Self {
        self.tree.log_limit = bytes;
        self
    }

    /// Opens the source.
    ///
    /// # Errors
    /// No source works here; the error says why not of each. Or no thread or no descriptors are left.
    pub fn build(self) -> Result<Watcher, WatcherError> {
        let source = proc_reactor::open(&self.open).map_err(WatcherError::Open)?;
        Watcher::over(Reactor::new(source).map_err(WatcherError::Source)?, self.tree)
    }

    /// Over a scripted source instead of the system's.
    ///
    /// # Errors
    /// No thread or no descriptors are left.
    #[cfg(feature = "sim")]
    pub fn build_scripted(self, source: crate::sim::SimSource) -> Result<Watcher, WatcherError> {
        self.build_over(Box::new(source))
    }

    /// Over a source of one's own, such as one of the system's ([`proc_reactor::open`]) with something done to it.
    ///
    /// # Errors
    /// No thread or no descriptors are left, or the source failed.
    #[cfg(feature = "sim")]
    pub fn build_over(self, source: Box<dyn proc_reactor::Source>) -> Result<Watcher, WatcherError> {
        Watcher::over(Reactor::new(source).map_err(WatcherError::Source)?, self.tree)
    }
}

/// Why there is no watcher to be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WatcherError {
    /// No source works here.
    #[error(transparent)]
    Open(proc_reactor::OpenError),
    /// A source works, and then failed.
    #[error(transparent)]
    Source(SourceError),
    /// The guard thread could not be started.
    #[error(
        "the guard thread could not be started: {0}; raise the limits of processes and open files (ulimit -u, -n)"
    )]
    Guard(#[source] std::io::Error),
}

impl Watcher {
    /// A watcher over the best source that works here.
    ///
    /// Reads the process list once, some 20 us a process of the machine. Needs no runtime.
    ///
    /// # Errors
    /// As [`Builder::build`].
    pub fn new() -> Result<Self, WatcherError> {
        Self::builder().build()
    }

    /// A watcher made to order.
    pub fn builder() -> Builder {
        Builder::default()
    }

    fn over(reactor: Reactor, tree: TreeOptions) -> Result<Self, WatcherError> {
        let drivers = Drivers::new(&reactor, tree.metadata).map_err(WatcherError::Guard)?;
        let reserve = Arc::new(Reserve::default());
        reserve.fill();
        Ok(Self { inner: Arc::new(Inner { reactor, drivers, tree, reaper: Mutex::default(), reserve }) })
    }

    /// Starts a command and watches it and all its descendants, from its first instruction on.
    ///
    /// Takes a [`Command`](crate::Command) by value or by reference, or a [`std::process::Command`]. The child is an
    /// ordinary child of this program, to be waited for as any ([`Child::wait`]); the stream never reaps it. A program
    /// that cannot be executed is an error here, and no event.
    ///
    /// A descendant that is made with `CLONE_PARENT` by the child itself is a child of this program and not of the
    /// tree.
    ///
    /// # Errors
    /// The command cannot be started, there is no runtime here, or the source has failed.
    ///
    /// # Panics
    /// The runtime has I/O disabled, as [`tokio::process::Command::spawn`] does.
    pub fn spawn(&self, command: impl Spawn) -> Result<(Child, Events), SpawnError> {
        let (reader, child) = command.spawn_in(&self.inner.reactor, self.inner.tree)?;
        let handle = TreeHandle::new(reader.handle(), Arc::clone(&self.inner));
        Ok((Child::new(child, handle), self.inner.events(reader)))
    }

    /// Starts a child in a way of one's own, and watches it and all its descendants from its first instruction on: for what makes processes
    /// by other means than [`Command`](crate::Command).
    ///
    /// `start` makes one child and returns its pid, with whatever else is to be returned; it may be run on another thread, with this one's
    /// signal mask, processors and runtime, and has to make the child on that thread: one that another thread makes is followed from when it
    /// returns, which [`Emptiness`](crate::Emptiness) says, and who is no child of this program is not followed. The child is for whoever made it to
    /// wait for.
    ///
    /// # Errors
    /// Those of `start`, or the source has failed.
    ///
    /// # Panics
    /// `start` panicked.
    pub fn spawn_with<T: Send + 'static>(
        &self,
        start: impl FnOnce() -> std::io::Result<(u32, T)> + Send + 'static,
    ) -> Result<(T, TreeHandle, Events), SpawnError> {
        let runtime = tokio::runtime::Handle::try_current().ok();
        let (reader, made) = self.inner.reactor.spawn(self.inner.tree, move || {
            let _in_the_runtime = runtime.as_ref().map(tokio::runtime::Handle::enter);
            start().map_err(SpawnError::Start)
        })?;
        let handle = TreeHandle::new(reader.handle(), Arc::clone(&self.inner));
        Ok((made, handle, self.inner.events(reader)))
    }

    /// Starts a command of the crate process-wrap, with all its wrappers, and watches it and all its descendants. The wrapped child is to
    /// be waited for as ever; the tree is the handle's, whatever groups and sessions its processes are in.
    ///
    /// # Errors
    /// The command cannot be started, there is no runtime here, or the source has failed.
    #[cfg(feature = "process-wrap")]
    pub fn spawn_wrapped(
        &self,
        mut command: process_wrap::tokio::CommandWrap,
    ) -> Result<(Box<dyn process_wrap::tokio::ChildWrapper>, TreeHandle, Events), SpawnError> {
        tokio::runtime::Handle::try_current().map_err(|_| SpawnError::NoRuntime)?;
        self.spawn_with(move || {
            let child = command.spawn()?;
            let pid = child.id().ok_or(std::io::ErrorKind::NotFound)?;
            Ok((pid, child))
        })
    }

    /// Watches a process that runs already, whosever it is, and all its descendants. First everybody who is there is
    /// [`Found`](crate::EventKind::Found), parents first; then what happens from there on, without a gap or a
    /// repetition.
    ///
    /// Descendants are those whose chain of parents leads to `pid` now. What an ended process left behind has
    /// another parent, and is found only if this watcher watched it before.
    ///
    /// Blocks for some 60 us a process of the tree (metadata off: 1 us).
    ///
    /// # Errors
    /// There is no such process to be seen, or the source has failed.
    pub fn attach(&self, pid: u32) -> Result<Events, AttachError> {
        let reader = self.inner.reactor.attach(pid, self.inner.tree)?;
        Ok(self.inner.events(reader))
    }

    /// The same of those who are meant, and nobody else who has one of their pids by now: all together are one tree, whose root is the first
    /// who lives. Who has ended is left out.
    ///
    /// # Errors
    /// None of them lives, none may be followed, or the source has failed.
    pub fn attach_known(&self, whom: &[PersistentId]) -> Result<Events, AttachError> {
        let reader = self.inner.reactor.attach_known(whom, self.inner.tree)?;
        Ok(self.inner.events(reader))
    }

    /// What names this process to a later program: for [`attach_known`](Self::attach_known).
    ///
    /// # Errors
    /// It has ended, it cannot be said for certain who it is, or processes have no such names here.
    pub fn persistent_id(&self, id: ProcId) -> Result<PersistentId, SignalError> {
        self.inner.reactor.persistent_id(id)
    }

    /// Starts the thread that stops, if it has not been.
    pub(crate) fn prepare_to_stop(&self) -> io::Result<()> {
        self.inner.reaper().map(drop)
    }

    pub(crate) fn reactor(&self) -> &Reactor {
        &self.inner.reactor
    }

    /// One more who waits for news.
    pub(crate) fn count(&self) -> Counted {
        Counted::new(Arc::clone(&self.inner))
    }

    /// Sends a signal to this process and to no other, whoever has its pid by now: [`Reactor::signal`].
    ///
    /// Works for every process that its streams have told of and that has not ended, whether the stream is still there or
    /// not. Takes a turn; blocks for up to 3 ms where the process was born a moment ago.
    ///
    /// # Errors
    /// It has ended, or may not be signalled, or [it cannot be said for certain who it is](SignalError).
    pub fn signal(&self, id: ProcId, signal: i32) -> Result<(), SignalError> {
        self.inner.reactor.signal(id, signal)
    }

    /// What its streams can promise.
    pub fn capabilities(&self) -> Capabilities {
        self.inner.reactor.capabilities()
    }

    /// The name of its source.
    pub fn source_name(&self) -> &'static str {
        self.inner.reactor.source_name()
    }

    /// What holding its source's two witnesses against each other has come to, with all that is queued by now;
    /// `None` unless the source is [`SourceName::Both`].
    pub fn witnesses(&self) -> Option<WitnessReport> {
        self.inner.reactor.witnesses()
    }

    /// Sizes of its tables, for leak checks: with all streams dropped or ended and read, nothing is tracked.
    pub fn stats(&self) -> Stats {
        self.inner.reactor.stats()
    }
}
