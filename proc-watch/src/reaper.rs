//! The thread that stops trees: it outlives the handles and the runtimes of those who asked.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

use mio::event::Source;
use mio::{Events, Interest, Poll, Token};
use proc_reactor::{Reactor, Turned};

use crate::stop::engine::{Step, Stopping};

const SOURCE: Token = Token(0);
const BELL: Token = Token(1);
/// How often children are looked at that are to be reaped: they can be as soon as their ends have been told, or a moment later.
const REAP_AGAIN: Duration = Duration::from_millis(5);
/// Who does not end is looked at less and less often, and so often at least.
const REAP_AT_LEAST: Duration = Duration::from_secs(1);
/// How long whoever drops the last handle waits for trees to be gone that were to be killed by dropping.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Job {
    Stop(Box<Stopping>),
    /// The same, for who dropped the last handle to wait for; with the child, to be reaped.
    Kill(Box<Stopping>, Option<tokio::process::Child>),
    Reap(tokio::process::Child),
}

/// The thread, from outside. Dropped, it ends when it has nothing left to do.
#[derive(Debug)]
pub(crate) struct Reaper {
    jobs: Option<mpsc::Sender<Job>>,
    bell: Arc<Bell>,
    /// Trees that are being killed because somebody dropped them.
    killing: Arc<AtomicUsize>,
    over: Mutex<mpsc::Receiver<()>>,
    thread: std::thread::JoinHandle<()>,
}

#[derive(Debug)]
struct Bell(mio::Waker);

impl Bell {
    fn ring(&self) {
        if let Err(error) = self.0.wake() {
            tracing::error!(%error, "the thread that stops could not be woken");
        }
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.ring();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ring();
    }
}

impl Reaper {
    pub(crate) fn start(reactor: &Reactor) -> io::Result<Self> {
        let poll = Poll::new()?;
        let bell = Arc::new(Bell(mio::Waker::new(poll.registry(), BELL)?));
        let (jobs, queue) = mpsc::channel();
        let (alive, over) = mpsc::channel();
        let killing = Arc::new(AtomicUsize::new(0));
        let worker = Worker {
            reactor: reactor.clone(),
            registered: false,
            poll,
            waker: Waker::from(Arc::clone(&bell)),
            queue,
            closed: false,
            stopping: Vec::new(),
            children: Vec::new(),
            reap_again: REAP_AGAIN,
            killing: Arc::clone(&killing),
            _alive: alive,
        };
        let thread =
            std::thread::Builder::new().name("proc-reaper".to_owned()).spawn(move || worker.run())?;
        Ok(Self { jobs: Some(jobs), bell, killing, over: Mutex::new(over), thread })
    }

    /// Whether it has ended by a panic.
    pub(crate) fn is_dead(&self) -> bool {
        self.thread.is_finished()
    }

    pub(crate) fn take(&self, job: Job) {
        if matches!(job, Job::Kill(..)) {
            self.killing.fetch_add(1, Ordering::AcqRel);
        }
        if let Some(jobs) = &self.jobs {
            // It is gone only if it has panicked, and then whoever waits for it is told.
            let _ = jobs.send(job);
            self.bell.ring();
        }
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        drop(self.jobs.take());
        self.bell.ring();
        // A program that ends now would leave behind who is born of those that are being killed. A waker that this thread drops may hold
        // the last handle.
        let until = Instant::now() + PATIENCE;
        let over = self.over.get_mut().unwrap_or_else(PoisonError::into_inner);
        while self.thread.thread().id() != std::thread::current().id()
            && self.killing.load(Ordering::Acquire) > 0
            && Instant::now() < until
        {
            if let Ok(()) | Err(mpsc::RecvTimeoutError::Disconnected) = over.recv_timeout(REAP_AGAIN) {
                return;
            }
        }
    }
}

struct Worker {
    reactor: Reactor,
    registered: bool,
    poll: Poll,
    waker: Waker,
    queue: mpsc::Receiver<Job>,
    closed: bool,
    /// With whether somebody dropped the tree.
    stopping: Vec<(Box<Stopping>, bool)>,
    children: Vec<tokio::process::Child>,
    /// How long until they are looked at again.
    reap_again: Duration,
    killing: Arc<AtomicUsize>,
    _alive: mpsc::Sender<()>,
}

impl Worker {
    fn run(mut self) {
        let mut events = Events::with_capacity(2);
        loop {
            self.receive();
            let until = self.work();
            if self.closed && self.stopping.is_empty() && self.children.is_empty() {
                return;
            }
            let timeout = until.map(|until| until.saturating_duration_since(Instant::now()));
            if let Err(error) = self.poll.poll(&mut events, timeout) {
                if error.kind() != io::ErrorKind::Interrupted {
                    tracing::error!(%error, "the thread that stops cannot poll");
                    std::thread::sleep(REAP_AGAIN);
                }
            }
        }
    }

    fn receive(&mut self) {
        loop {
            match self.queue.try_recv() {
                Ok(Job::Stop(stopping)) => self.stopping.push((stopping, false)),
                Ok(Job::Kill(stopping, child)) => {
                    self.stopping.push((stopping, true));
                    self.take(child);
                }
                Ok(Job::Reap(child)) => self.take(Some(child)),
                Err(mpsc::TryRecvError::Empty) => return,
                Err(mpsc::TryRecvError::Disconnected) => {
                    self.closed = true;
                    return;
                }
            }
        }
    }

    /// Does what can be done now. When to come again.
    fn work(&mut self) -> Option<Instant> {
        self.register(!self.stopping.is_empty());
        let mut until: Option<Instant> = None;
        if !self.stopping.is_empty() {
            // One: where there is a flood there is always more, and it is for this to end it.
            let more = self.reactor.turn() == Turned::More;
            until = more.then(Instant::now);
            self.stopping.retain_mut(|(stopping, dropped)| {
                // What comes after this wakes us, and what came before is read now.
                stopping.reader().register(&self.waker);
                match stopping.step() {
                    Step::Wait(next) => {
                        until = Some(until.map_or(next, |until| until.min(next)));
                        true
                    }
                    Step::Over => {
                        self.killing.fetch_sub(usize::from(*dropped), Ordering::AcqRel);
                        false
                    }
                }
            });
        }
        let before = self.children.len();
        self.children.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
        if !self.children.is_empty() {
            let some_have_ended = self.children.len() < before || !self.stopping.is_empty();
            self.reap_again =
                if some_have_ended { REAP_AGAIN } else { (2 * self.reap_again).min(REAP_AT_LEAST) };
            let again = Instant::now() + self.reap_again;
            until = Some(until.map_or(again, |until| until.min(again)));
        }
        until
    }

    fn take(&mut self, child: Option<tokio::process::Child>) {
        self.children.extend(child);
        self.reap_again = REAP_AGAIN;
    }

    /// Only while there is something to stop is this woken by what happens.
    fn register(&mut self, wanted: bool) {
        if wanted == self.registered {
            return;
        }
        let registry = self.poll.registry();
        let result = if wanted {
            self.reactor.register(registry, SOURCE, Interest::READABLE)
        } else {
            self.reactor.deregister(registry)
        };
        match result {
            Ok(()) => self.registered = wanted,
            // Others take turns as well, and the steps come by time.
            Err(error) => tracing::debug!(%error, "the reactor cannot be polled by the thread that stops"),
        }
    }
}
