//! [`Reactor`]: the handle that all parts of a program share.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::error::{AttachError, SignalError, SourceError, census_advice};
use crate::persist::PersistentId;
use crate::process::table::Origin;
use crate::process::threads::Threads;
use crate::process::track::RootKey;
use crate::reactor::attach::{Whom, follow_tree};
use crate::reactor::attest::ProcFd;
use crate::reactor::baton::Baton;
use crate::reactor::reconcile::PopulateError;
use crate::reactor::registration::Reader;
use crate::reactor::state::State;
use crate::reactor::turn::{Turn, wake};
use crate::source::Living;
use crate::source::{Capabilities, Source, Spawner, WitnessReport};
use crate::sync::{Arc, AtomicBool, AtomicU64, Mutex, Ordering};
use crate::wait::{Bell, Lead};
use crate::{Event, EventKind, ExitStatus, ProcId, sys};

/// Follows processes through one [`Source`].
///
/// Cheap to clone; all clones are the same reactor, from any thread. It does nothing by itself: somebody calls
/// [`turn`](Reactor::turn) when its descriptor polls readable, or lets a [`Guard`](crate::Guard) do so. Dropping the last
/// clone and the last [`Reader`] closes the source.
///
/// It can be nested in another loop: by its descriptor ([`AsFd`]), or as a [`mio::event::Source`].
#[derive(Clone, Debug)]
pub struct Reactor {
    pub(crate) shared: Arc<Shared>,
}

/// What the clones of a reactor share.
#[derive(Debug)]
pub(crate) struct Shared {
    baton: Baton<Turn>,
    pub(crate) state: Mutex<State>,
    /// Turns begun, by whomever.
    turns: AtomicU64,
    /// A turn is going on, or the last one left something undone that its descriptor need not show.
    unfinished: AtomicBool,
    pub(crate) failure: Mutex<Option<std::sync::Arc<SourceError>>>,
    /// Who of those that wait in queues looks at the source, and what ends its looking: made with the first queue.
    pub(crate) lead: Lead,
    bell: Mutex<Option<std::sync::Arc<Bell>>>,
    /// The source's, kept open as long as anybody may poll it.
    fd: OwnedFd,
    /// Who made it: no fork of that one can use it.
    pub(crate) maker: u32,
    name: &'static str,
    capabilities: Capabilities,
    /// Whether the source says which thread forked.
    tells_threads: bool,
    /// Where children are to be started, if that matters to the source.
    spawner: Option<std::sync::Arc<Spawner>>,
    /// Makes the descriptor readable once more, if the source needs that.
    pub(crate) recall: Option<std::task::Waker>,
}

/// How a tree is to be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TreeOptions {
    /// Read what processes run, at each exec and when found. On by default; costs 30 to 60 us an exec, and where a
    /// program has not begun to run yet a turn waits for it: 50 us, on an overloaded machine up to 3 ms.
    pub metadata: bool,
    /// Bytes that the log of unread events may take, 8 MiB by default. A reader that falls further behind
    /// gets an [`EventKind::Gap`].
    pub log_limit: usize,
}

impl Default for TreeOptions {
    fn default() -> Self {
        Self { metadata: true, log_limit: 8 << 20 }
    }
}

/// What [`Reactor::turn`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turned {
    /// Everything that was queued has been taken in.
    Done,
    /// There is more than one turn takes: come again.
    More,
    /// Another thread is at it and will see to what this call was for.
    Elsewhere,
}

/// Sizes of a reactor's tables, for leak checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Trees that are followed.
    pub trees: usize,
    /// Queues that are open.
    pub queues: usize,
    /// Living processes that some tree follows.
    pub tracked: usize,
    /// All living processes of the machine that are known.
    pub processes: usize,
    /// Turns begun so far.
    pub turns: u64,
}

impl Shared {
    /// Runs a turn, or leaves it to whoever is at one.
    pub(crate) fn turn(&self) -> Turned {
        let mut more = false;
        let mut wakes = Vec::new();
        let ran = self.baton.request(|turn| {
            more = self.run(turn);
            wakes.append(&mut turn.wakes);
        });
        wake(wakes);
        match (ran, more) {
            (false, _) => Turned::Elsewhere,
            (true, true) => Turned::More,
            (true, false) => Turned::Done,
        }
    }

    /// One turn, counted. True if there is more to do than a turn takes.
    pub(crate) fn run(&self, turn: &mut Turn) -> bool {
        self.turns.fetch_add(1, Ordering::Relaxed);
        self.unfinished.store(true, Ordering::Release);
        let more = turn.run(self);
        self.unfinished.store(more, Ordering::Release);
        more
    }

    /// Waits for the baton and works under it.
    pub(crate) fn with_turn<T>(&self, work: impl FnOnce(&mut Turn) -> T) -> T {
        let mut turn = self.baton.take();
        let result = work(&mut turn);
        let mut wakes = std::mem::take(&mut turn.wakes);
        self.baton.give_back(turn, |turn| {
            turn.catch_up(self);
            wakes.append(&mut turn.wakes);
        });
        wake(wakes);
        result
    }

    /// Takes in all that is queued now, also where another is at it (C41).
    pub(crate) fn pump(&self) {
        self.with_turn(|turn| turn.catch_up(self));
    }

    /// Polls readable when there is something for a turn.
    pub(crate) fn source_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    pub(crate) fn bell(&self) -> io::Result<std::sync::Arc<Bell>> {
        let mut bell = self.bell.lock();
        if bell.is_none() {
            *bell = Some(std::sync::Arc::new(Bell::new()?));
        }
        Ok(std::sync::Arc::clone(bell.as_ref().expect("it has just been made")))
    }

    /// What broke the source, if anything did.
    pub(crate) fn source_error(&self) -> Option<std::sync::Arc<SourceError>> {
        self.failure.lock().clone()
    }

    /// Turns begun so far.
    pub(crate) fn turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }

    pub(crate) fn unfinished(&self) -> bool {
        self.unfinished.load(Ordering::Acquire)
    }

    /// From the monotonic to the wall clock, given the time by the former.
    pub(crate) fn wall_offset(&self, now: u64) -> i64 {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let offset = wall.as_nanos() as i128 - i128::from(now);
        i64::try_from(offset).unwrap_or(0)
    }

    /// Whether the source is told of every process.
    pub(crate) fn whole_machine(&self) -> bool {
        self.capabilities.whole_machine
    }

    /// Whether the source tells of every birth.
    pub(crate) fn exact_tree(&self) -> bool {
        self.capabilities.exact_tree
    }

    /// The error that broke the source, if one did.
    pub(crate) fn failure(&self) -> Result<(), SourceError> {
        match &*self.failure.lock() {
            None => Ok(()),
            Some(error) => Err(SourceError::Refused {
                source_name: self.name,
                reason: format!("it failed before: {error}"),
                advice: "make a new reactor",
            }),
        }
    }
}

impl Reactor {
    /// A reactor over `source`; reads the process list once.
    ///
    /// # Errors
    /// The process list cannot be read, or the source fails.
    pub fn new(source: Box<dyn Source>) -> Result<Self, SourceError> {
        let name = source.name();
        let failed = |call, advice| move |error| SourceError::Call { source_name: name, call, error, advice };
        let fd = source.fd().try_clone_to_owned();
        let fd =
            fd.map_err(failed("duplicating its descriptor", "raise the limit of open files (ulimit -n)"))?;
        let capabilities = source.capabilities();
        let (spawner, recall) = (source.spawner(), source.recall());
        let tells_threads = source.tells_threads();
        let me = std::process::id();
        let shared = Shared {
            baton: Baton::new(Turn::new(source)),
            state: Mutex::new(State::new(me)),
            turns: AtomicU64::new(0),
            unfinished: AtomicBool::new(false),
            failure: Mutex::new(None),
            lead: Lead::default(),
            bell: Mutex::new(None),
            fd,
            maker: me,
            name,
            capabilities,
            tells_threads,
            spawner,
            recall,
        };
        shared.with_turn(|turn| turn.populate(&shared)).map_err(|error| match error {
            PopulateError::Source(error) => error,
            PopulateError::Census(error) => {
                let advice = census_advice(&error);
                failed("reading the process list", advice)(error)
            }
        })?;
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Takes in what the source has queued, tells it to the trees it concerns, and wakes their readers. Does not wait for
    /// anything to happen, but where metadata are read for programs to begin (see [`TreeOptions::metadata`]). Other
    /// threads may call it at the same time.
    pub fn turn(&self) -> Turned {
        self.shared.turn()
    }

    /// Takes in all that is queued now, also where another thread is at it. Blocks for as long as that takes.
    pub fn catch_up(&self) {
        self.shared.pump();
    }

    /// Starts a child, and follows it and all its descendants from its first instruction on.
    ///
    /// `start` makes one child and returns its pid, with whatever else is to be returned. Where the source sees only what a
    /// thread of its own starts, that thread runs it, with the caller's signal mask and processors; else it is run here.
    ///
    /// # Errors
    /// Those of `start`, or the source has failed.
    ///
    /// # Panics
    /// `start` panicked.
    pub fn spawn<T, E>(
        &self,
        options: TreeOptions,
        start: impl FnOnce() -> Result<(u32, T), E> + Send + 'static,
    ) -> Result<(Reader, T), E>
    where
        T: Send + 'static,
        E: From<SourceError> + Send + 'static,
    {
        let reactor = self.clone();
        let job = move || {
            let spawning = reactor.begin_spawn(options)?;
            let (pid, made) = start()?;
            Ok((spawning.claim(pid), made))
        };
        match &self.shared.spawner {
            None => job(),
            Some(spawner) => {
                let alike = sys::like_this_thread();
                spawner.run(move || {
                    alike();
                    job()
                })
            }
        }
    }

    /// Begins to spawn a child on this thread: a process that this thread makes from now on is kept, with all that
    /// it does, until [`Spawning::claim`] says its pid. Make one child, on this thread, and claim it.
    ///
    /// [`spawn`](Self::spawn) works over every source; this only over those that see what any thread starts
    /// ([`Capabilities::whole_machine`]).
    ///
    /// # Errors
    /// The source has failed before, or does not see what this thread starts.
    pub fn begin_spawn(&self, options: TreeOptions) -> Result<Spawning, SourceError> {
        self.shared.failure()?;
        let seen = |spawner: &std::sync::Arc<Spawner>| spawner.is_this_thread();
        if !self.shared.capabilities.whole_machine && !self.shared.spawner.as_ref().is_some_and(seen) {
            return Err(SourceError::Refused {
                source_name: self.shared.name,
                reason: "it does not see what this thread starts".to_owned(),
                advice: "start the child by Reactor::spawn",
            });
        }
        let shared = &self.shared;
        let thread = if shared.tells_threads { sys::thread_id() } else { shared.maker };
        // Births of this thread that are queued already are none of this spawn's.
        let key = shared.with_turn(|turn| {
            turn.settle(shared);
            shared.failure()?;
            Ok::<_, SourceError>(shared.state.lock().begin_spawn(thread, options.metadata, options.log_limit))
        })?;
        let shared = Arc::clone(shared);
        Ok(Spawning { shared, key, thread, claimed: false, _this_thread: std::marker::PhantomData })
    }

    /// Follows a process that runs already and all its descendants. The reader first finds everybody who is there
    /// ([`EventKind::Found`], parents first), then what happens from there on, without a gap or a repetition.
    ///
    /// Descendants are those whose chain of parents leads to `pid` now. Processes of which a dead parent has
    /// been the only link are not found unless they were born while this reactor watched `pid`.
    ///
    /// Blocks for as long as it takes to read what the processes of the tree run.
    ///
    /// # Errors
    /// No such process is visible, or the source has failed.
    pub fn attach(&self, pid: u32, options: TreeOptions) -> Result<Reader, AttachError> {
        self.shared.failure()?;
        let shared = &self.shared;
        shared.with_turn(|turn| {
            let key = turn.attach(shared, &[Whom::Pid(pid)], options.metadata, options.log_limit)?;
            Reader::of(shared, key).ok_or(AttachError::NoSuchProcess { pid })
        })
    }

    /// The same of those who are meant, and nobody else who has one of their pids by now: of all together one tree, whose root is the
    /// first who lives. Who has ended is left out.
    ///
    /// # Errors
    /// None of them lives, or none may be followed, or the source has failed.
    pub fn attach_known(&self, whom: &[PersistentId], options: TreeOptions) -> Result<Reader, AttachError> {
        self.shared.failure()?;
        let shared = &self.shared;
        let whom: Vec<Whom> = whom.iter().copied().map(Whom::Known).collect();
        shared.with_turn(|turn| {
            let key = turn.attach(shared, &whom, options.metadata, options.log_limit)?;
            let gone = || AttachError::NoSuchProcess { pid: whom[0].pid() };
            Reader::of(shared, key).ok_or_else(gone)
        })
    }

    /// What names this process to a later program.
    ///
    /// # Errors
    /// As for [`signal`](Self::signal); [`Unsupported`](SignalError::Unsupported) where processes have no such names.
    pub fn persistent_id(&self, id: ProcId) -> Result<PersistentId, SignalError> {
        let known = self.attested(id)?.persistent_id();
        let known = known.map_err(|error| match error.raw_os_error() {
            Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM) => SignalError::Descriptors(error),
            _ => SignalError::Unsupported(error),
        });
        known?.ok_or(SignalError::Gone { id })
    }

    /// Sends a signal to this process and to no other, whoever has its pid by now. Signal 0 sends none, and tells whether
    /// one could be sent.
    ///
    /// Takes in what is queued, and so may find out that the process has ended. Where it was born a moment ago it may
    /// block for up to 3 ms. A process that ends at the same time may not see the signal.
    ///
    /// # Errors
    /// It has ended, or may not be signalled, or [it cannot be said for certain who it is](SignalError).
    pub fn signal(&self, id: ProcId, signal: i32) -> Result<(), SignalError> {
        self.attested(id)?.signal(signal)
    }

    /// A descriptor of this process and of no other (a pidfd, close-on-exec): it polls readable when the process has ended, and
    /// is good for `waitid`, `pidfd_send_signal` and `setns`. On the BSDs and macOS a kqueue, good for polling only.
    ///
    /// # Errors
    /// As for [`signal`](Self::signal).
    pub fn pidfd(&self, id: ProcId) -> Result<OwnedFd, SignalError> {
        self.attested(id).map(OwnedFd::from)
    }

    /// The same for many at once, in the order of `ids`: cheaper than one by one, for what is queued is taken in once.
    ///
    /// # Errors
    /// The source has failed; or, for each by itself, as for [`signal`](Self::signal).
    pub fn pidfds(&self, ids: &[ProcId]) -> Result<Vec<Result<ProcFd, SignalError>>, SourceError> {
        let shared = &self.shared;
        shared.failure()?;
        let attested = shared.with_turn(|turn| turn.attest(shared, ids));
        // Those whom it knew when it failed have not ended by that.
        shared.failure()?;
        Ok(attested)
    }

    fn attested(&self, id: ProcId) -> Result<ProcFd, SignalError> {
        self.pidfds(&[id])?.pop().expect("one result for one process")
    }

    /// What streams over this reactor's source can promise.
    pub fn capabilities(&self) -> Capabilities {
        self.shared.capabilities
    }

    /// The name of its source.
    pub fn source_name(&self) -> &'static str {
        self.shared.name
    }

    /// Takes in all that is queued, and says what holding the source's two witnesses against each other has come to
    /// ([`SourceName::Both`](crate::SourceName::Both)); `None` over any other source.
    pub fn witnesses(&self) -> Option<WitnessReport> {
        self.shared.with_turn(|turn| {
            turn.catch_up(&self.shared);
            turn.source.witnesses()
        })
    }

    /// Sizes of its tables.
    pub fn stats(&self) -> Stats {
        let state = self.shared.state.lock();
        Stats {
            trees: state.roots.len(),
            queues: state.queues.len(),
            tracked: state.tracked(),
            processes: state.table.len(),
            turns: self.shared.turns(),
        }
    }
}

impl Reactor {
    /// To register a descriptor is to poll it, and one that says only once that it is readable has said so to nobody then.
    fn recall(&self) {
        if let Some(recall) = &self.shared.recall {
            recall.wake_by_ref();
        }
    }
}

impl AsFd for Reactor {
    /// Polls readable when there is something for a [`turn`](Reactor::turn) to take in. To register it with an epoll is to poll
    /// it, and may use up that it was readable: take a turn after it was registered, before you wait.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.fd.as_fd()
    }
}

impl mio::event::Source for Reactor {
    fn register(
        &mut self,
        registry: &mio::Registry,
        token: mio::Token,
        interests: mio::Interest,
    ) -> io::Result<()> {
        use std::os::fd::AsRawFd;
        mio::unix::SourceFd(&self.shared.fd.as_raw_fd()).register(registry, token, interests)?;
        self.recall();
        Ok(())
    }

    fn reregister(
        &mut self,
        registry: &mio::Registry,
        token: mio::Token,
        interests: mio::Interest,
    ) -> io::Result<()> {
        use std::os::fd::AsRawFd;
        mio::unix::SourceFd(&self.shared.fd.as_raw_fd()).reregister(registry, token, interests)?;
        self.recall();
        Ok(())
    }

    fn deregister(&mut self, registry: &mio::Registry) -> io::Result<()> {
        use std::os::fd::AsRawFd;
        mio::unix::SourceFd(&self.shared.fd.as_raw_fd()).deregister(registry)
    }
}

/// A spawn that has begun on this thread. Dropped without a [`claim`](Spawning::claim), what was kept is forgotten: the
/// spawn failed, and a child that lived only to fail its exec is nobody's event.
#[derive(Debug)]
#[must_use = "claim the child, or what it does is forgotten"]
pub struct Spawning {
    shared: Arc<Shared>,
    key: RootKey,
    thread: u32,
    claimed: bool,
    /// It is about the thread that made it.
    _this_thread: std::marker::PhantomData<*const ()>,
}

impl Spawning {
    /// The child is `pid`: its reader has everything from its birth on. Call this on the thread that made the child. One that another thread
    /// made is followed from now on, which the tree's [`Doubts`](crate::Doubts) say; who is no child of this program is not followed.
    pub fn claim(mut self, pid: u32) -> Reader {
        let shared = Arc::clone(&self.shared);
        self.claimed = true;
        shared.with_turn(|turn| {
            turn.settle(&shared);
            let time = turn.source.now();
            let mut state = shared.state.lock();
            state.end_spawn(self.thread);
            let alone = !shared.tells_threads;
            if state.claim(self.key, pid, alone).is_none() {
                drop(state);
                // The spawner has not waited for it yet: the pid is still its own. Whoever is somebody else's child is nobody to be followed.
                let child = turn.source.look(pid).ok().flatten();
                let is_ours = child.as_ref().is_none_or(|child| child.parent == std::process::id());
                let (pid, child) = if is_ours { (pid, child) } else { (0, None) };
                child.iter().filter(|child| !child.is_zombie()).for_each(|child| turn.source.found(child));
                state = shared.state.lock();
                if let Some(tree) = state.roots.get_mut(self.key) {
                    // What it did between its birth and now is not known, by a loss or because another thread made it.
                    tree.doubts.birth_unseen = true;
                }
                birth_was_lost(&mut state, self.key, pid, time, child);
            }
            state.news(&mut turn.wakes);
            drop(state);
            Reader::of(&shared, self.key)
                .expect("a tree that was claimed a moment ago, with nobody to remove it")
        })
    }
}

impl Drop for Spawning {
    fn drop(&mut self) {
        if self.claimed {
            return;
        }
        let mut state = self.shared.state.lock();
        state.end_spawn(self.thread);
        let root = state.roots.remove(self.key);
        drop(state);
        drop(root);
    }
}

/// The record of the child's birth fell to a loss, or the source has failed. `child` is what the system says of it.
fn birth_was_lost(state: &mut State, key: RootKey, pid: u32, time: u64, child: Option<Living>) {
    let known = state.table.newest(pid).map(|slot| state.table.get(slot).id);
    let alive = child.as_ref().filter(|child| !child.is_zombie());
    let id = match (known, alive) {
        (Some(id), _) => id,
        (None, Some(alive)) => {
            let parent = state.table.newest(alive.parent).map(|slot| state.table.get(slot).id);
            let threads = Threads::read(pid, &alive.threads);
            let slot = state.table.insert(pid, parent, Origin::Found, alive.start, threads);
            state.table.get(slot).id
        }
        (None, None) => {
            let id = state.table.number(pid);
            let status = child.and_then(|zombie| zombie.status);
            let status = status.map_or(ExitStatus::Unknown, ExitStatus::from_wait_status);
            let time = crate::Time::new(time, state.wall_offset);
            state.roots.push(key, Event { id, parent: None, time, kind: EventKind::Exit { status } });
            id
        }
    };
    follow_tree(state, key, id, time, |_, _| None);
    state.name(key, id);
}
