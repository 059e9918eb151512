//! A run: `reuser` is spawned and followed by a stream, while another thread registers with a queue whoever has the pid.

use std::collections::{BTreeSet, VecDeque};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Wake, Waker};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

use proc_reactor::{
    Event, EventKind, Guard, Interest, Kevent, Notice, OpenOptions, ProcId, Queue, QueueOptions, Reactor,
    Reader, Readiness, SourceError, SourceName, TreeOptions, flags, open,
};

use crate::tap::{Tally, Tap};

/// How long nothing may be told while somebody lives.
const PATIENCE: Duration = Duration::from_secs(15);
const LOOK: Duration = Duration::from_millis(20);
/// Events that may wait to be read, in bytes: the reader is not what is tested here.
pub(crate) const LOG: usize = 256 << 20;

/// What is to be done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) source: SourceName,
    /// How many pids are used in turn; 0 if the kernel chooses.
    pub(crate) pids: usize,
    pub(crate) births: u64,
    /// Of `reuser`.
    pub(crate) mode: &'static str,
}

/// One `EV_ADD` that was accepted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Added {
    pub(crate) pid: u32,
    /// Births that there had been before the call and after it. There may have been one more, that was not yet written down.
    pub(crate) before: u64,
    pub(crate) after: u64,
    /// Whom it is about, where the layer says.
    pub(crate) id: Option<ProcId>,
}

/// What came of a run.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) plan: Plan,
    pub(crate) pids: Vec<u32>,
    pub(crate) root: ProcId,
    pub(crate) events: Vec<Event>,
    /// In their order; the place is the token.
    pub(crate) added: Vec<Added>,
    pub(crate) refused: u64,
    pub(crate) notices: Vec<Notice>,
    /// How often somebody else had one of the pids.
    pub(crate) strangers: u64,
    /// Births told, and those told before the end of the owner before.
    pub(crate) overlaps: (u64, u64),
    pub(crate) statuses: bool,
    pub(crate) took: Duration,
}

/// Over this source and no other; says why it does not open.
pub(crate) fn reactor(name: SourceName) -> Option<(Reactor, Arc<Mutex<Tally>>)> {
    let mut options = OpenOptions::default();
    options.source = Some(name);
    match open(&options) {
        Ok(source) => {
            let (tap, tally) = Tap::around(source);
            Some((Reactor::new(Box::new(tap)).expect("the process list"), tally))
        }
        Err(error) => {
            println!("SKIPPED: {name}: {error}");
            None
        }
    }
}

/// `reuser`, which has said which pids it uses and waits to begin.
#[derive(Debug)]
pub(crate) struct Reuser {
    child: Child,
    out: BufReader<ChildStdout>,
    /// Where it writes how many births there have been.
    pub(crate) progress: Progress,
    pub(crate) pids: Vec<u32>,
}

/// How many births there have been.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    file: Arc<File>,
    over: Arc<AtomicBool>,
}

impl Progress {
    /// The number of births, and the pid of the last.
    pub(crate) fn births(&self) -> (u64, u32) {
        let mut bytes = [0; 16];
        self.file.read_exact_at(&mut bytes, 0).expect("two numbers");
        let [births, pid] =
            [0, 8].map(|at| u64::from_ne_bytes(bytes[at..at + 8].try_into().expect("eight bytes")));
        (births, u32::try_from(pid).expect("a pid"))
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    pub(crate) fn end(&self) {
        self.over.store(true, Ordering::Release);
    }
}

impl Reuser {
    pub(crate) fn spawn(reactor: &Reactor, plan: Plan) -> (Self, Reader) {
        let file = tempfile::NamedTempFile::new().expect("a file");
        file.as_file().write_all_at(&[0; 16], 0).expect("a file");
        let (file, path) = file.into_parts();
        let mut command = Command::new(env!("CARGO_BIN_EXE_reuser"));
        command.arg(&path).arg(plan.pids.to_string()).arg(plan.births.to_string()).arg(plan.mode);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut options = TreeOptions::default();
        options.metadata = false;
        options.log_limit = LOG;
        let started = reactor.spawn(options, move || {
            let child = command.spawn().expect("reuser can be run");
            Ok::<_, SourceError>((child.id(), child))
        });
        let (reader, mut child) = started.expect("it is followed");
        let mut out = BufReader::new(child.stdout.take().expect("a pipe"));
        let words = line(&mut out);
        let pids = words.strip_prefix("pids").unwrap_or_else(|| panic!("{words:?}"));
        let pids = pids.split_whitespace().map(|pid| pid.parse().expect("a pid")).collect();
        // It has it open by now.
        drop(path);
        let progress = Progress { file: Arc::new(file), over: Arc::default() };
        (Self { child, out, progress, pids }, reader)
    }

    pub(crate) fn begin(&mut self) {
        self.child.stdin.take().expect("a pipe").write_all(b"go\n").expect("it listens");
    }

    /// How many strangers it met.
    pub(crate) fn finish(mut self) -> u64 {
        let words = line(&mut self.out);
        let status = self.child.wait().expect("it can be waited for");
        assert!(status.success(), "reuser: {status}");
        let strangers = words.strip_prefix("met ").and_then(|rest| rest.strip_suffix(" strangers"));
        strangers.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{words:?}"))
    }
}

impl Drop for Reuser {
    fn drop(&mut self) {
        // After a failure. Who has been reaped is not killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn line(out: &mut BufReader<ChildStdout>) -> String {
    let mut line = String::new();
    out.read_line(&mut line).expect("it speaks");
    line.trim_end().to_owned()
}

/// Drives, follows, registers, and collects it all.
pub(crate) fn run(plan: Plan) -> Option<Account> {
    let (reactor, tally) = reactor(plan.source)?;
    let begun = Instant::now();
    let guard = Guard::start(&reactor).expect("a thread");
    guard.set_eager(true);
    let queue = reactor.queue(QueueOptions::default()).expect("a queue");
    let (mut reuser, reader) = Reuser::spawn(&reactor, plan);
    let (root, pids) = (reader.id(), reuser.pids.clone());

    let events = follow(reader, |_| ());
    let adding = {
        let (queue, progress) = (queue.clone(), reuser.progress.clone());
        std::thread::spawn(move || add(&queue, &progress))
    };
    let collecting = {
        let (queue, progress) = (queue.clone(), reuser.progress.clone());
        std::thread::spawn(move || collect(&queue, &progress))
    };
    let progress = reuser.progress.clone();
    reuser.begin();
    let strangers = reuser.finish();
    let events = events.join();
    progress.end();
    let events = events.expect("a whole stream");
    let (added, refused) = adding.join().expect("each is accepted or refused");
    let mut notices = collecting.join().expect("notices");
    // Whoever was registered has ended: nothing is waited for.
    while queue.wait(&mut notices, 64, Some(Duration::ZERO)).expect("the rest") > 0 {}
    let overlaps = tally.lock().expect("nobody panics with it").of(&used(&events));

    assert_eq!(queue.stats().notes, 0, "K11: what is left in the queue");
    let stats = reactor.stats();
    assert_eq!((stats.trees, stats.tracked), (0, 0), "K11: what is left of the tree");
    let statuses = reactor.capabilities().statuses;
    let took = begun.elapsed();
    let account =
        Account { plan, pids, root, events, added, refused, notices, strangers, overlaps, statuses, took };
    Some(account)
}

/// The pids that more than the root and its maker had.
fn used(events: &[Event]) -> Vec<u32> {
    let child =
        |event: &Event| if let EventKind::Fork { child } = event.kind { Some(child.pid()) } else { None };
    let pids: BTreeSet<u32> = events.iter().skip(1).filter_map(child).collect();
    pids.into_iter().collect()
}

/// Reads a stream to its end.
pub(crate) fn follow(
    mut reader: Reader,
    mut tell: impl FnMut(&Event) + Send + 'static,
) -> JoinHandle<Vec<Event>> {
    std::thread::spawn(move || {
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let mut events: Vec<Event> = Vec::new();
        let mut read = VecDeque::new();
        let mut last = Instant::now();
        loop {
            reader.register(&waker);
            match reader.read(&mut read, 256) {
                Readiness::End => return events,
                Readiness::Pending => {
                    assert!(last.elapsed() < PATIENCE, "no end of the stream; {}", alive(&events));
                    std::thread::park_timeout(PATIENCE);
                }
                Readiness::Ready => last = Instant::now(),
            }
            read.iter().for_each(&mut tell);
            events.extend(read.drain(..));
        }
    })
}

/// Whose end has not been told.
fn alive(events: &[Event]) -> String {
    let mut alive = BTreeSet::new();
    for event in events {
        match &event.kind {
            EventKind::Fork { child } => drop(alive.insert(*child)),
            EventKind::Exit { .. } => drop(alive.remove(&event.id)),
            _ => {}
        }
    }
    let some: Vec<String> = alive.iter().take(5).map(ProcId::to_string).collect();
    format!("after {} events {} live, as {}", events.len(), alive.len(), some.join(" "))
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Registers whoever has the pid of the last birth, by kevent and by the typed layer in turn, once a birth at most.
fn add(queue: &Queue, progress: &Progress) -> (Vec<Added>, u64) {
    let (mut added, mut refused) = (Vec::new(), 0);
    let mut seen = 0;
    while !progress.is_over() {
        let (before, pid) = progress.births();
        if before == seen {
            std::thread::yield_now();
            continue;
        }
        seen = before;
        let token = added.len() as u64;
        let result = if token % 2 == 0 {
            let registered = queue.register(pid, Interest::EXIT, token);
            registered.map(|registration| {
                let id = registration.id();
                registration.keep();
                Some(id)
            })
        } else {
            let change = Kevent::process(pid, flags::EV_ADD, flags::NOTE_EXIT).with_udata(token);
            queue.kevent(&[change], &mut [], None).map(|_| None)
        };
        match result {
            Ok(id) => added.push(Added { pid, before, after: progress.births().0, id }),
            Err(error) => {
                assert_eq!(error.errno(), libc::ESRCH, "{error}");
                refused += 1;
            }
        }
    }
    (added, refused)
}

fn collect(queue: &Queue, progress: &Progress) -> Vec<Notice> {
    let mut notices = Vec::new();
    while !progress.is_over() {
        queue.wait(&mut notices, 64, Some(LOOK)).expect("notices");
    }
    notices
}

/// The records that the source lost, as the stream says.
pub(crate) fn lost(events: &[Event]) -> u64 {
    let count = |event: &Event| if let EventKind::Lost { count, .. } = event.kind { count } else { 0 };
    events.iter().map(count).sum()
}
