//! Trees of `make_tree` where there are few pids: the kernel gives each of them again and again, to processes that exec, to their
//! children, to orphans and to threads.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use proc_reactor::{
    Event, EventKind, ExitStatus, Guard, Interest, Notice, NoticeKind, ProcId, Queue, QueueOptions,
    SourceError, SourceName, TreeOptions,
};
use tests::compare::{End, Ends, Life, compare_with};
use tests::seen::Seen;
use tests::truth;

use crate::rig;

const ATTEMPTS: u32 = 6;

/// Follows a tree of so many processes, and registers everybody who is told of.
pub(crate) fn wrap_around(source: SourceName, shape: &str, count: u64) {
    for seed in 1..=ATTEMPTS {
        let dir = tempfile::Builder::new().prefix("wrap-").tempdir().expect("a directory");
        match tree(source, shape, count, seed, &dir.path().join("truth")) {
            None => return,
            Some(0) => return,
            Some(lost) => println!("{lost} records of a busy machine LOST: once more"),
        }
    }
    panic!("disturbed each time");
}

/// What was lost, if the source opens here.
fn tree(source: SourceName, shape: &str, count: u64, seed: u32, file: &Path) -> Option<u64> {
    let (reactor, tally) = rig::reactor(source)?;
    let guard = Guard::start(&reactor).expect("a thread");
    guard.set_eager(true);
    let queue = reactor.queue(QueueOptions::default()).expect("a queue");
    let mut command = Command::new(env!("CARGO_BIN_EXE_make_tree"));
    command.arg("--truth").arg(file).args(["--shape", shape, "--seed", &seed.to_string()]);
    command.args(["--count", &count.to_string()]);
    let mut options = TreeOptions::default();
    options.metadata = false;
    options.log_limit = rig::LOG;
    let started = reactor.spawn(options, move || {
        let child = command.spawn().expect("make_tree can be run");
        Ok::<_, SourceError>((child.id(), child))
    });
    let (reader, mut child) = started.expect("it is followed");
    let root = reader.id();
    let (births, told) = mpsc::channel();
    let events = rig::follow(reader, move |event: &Event| {
        if let EventKind::Fork { child } = event.kind {
            let _ = births.send(child);
        }
    });
    let registering = {
        let queue = queue.clone();
        std::thread::spawn(move || register(&queue, &told))
    };
    let status = child.wait().expect("it can be waited for");
    let events = events.join().expect("a whole stream");
    let (registered, refused, notices) = registering.join().expect("notices");
    assert!(status.success(), "make_tree: {status}");
    assert_eq!(queue.stats().notes, 0, "K11: what is left in the queue");
    let stats = reactor.stats();
    assert_eq!((stats.trees, stats.tracked), (0, 0), "K11: what is left of the tree");

    let lost = rig::lost(&events);
    if lost > 0 {
        return Some(lost);
    }
    let mut seen = Seen::spawned(root);
    events.iter().for_each(|event| seen.take(event));
    seen.end();
    assert!(seen.broken().is_empty(), "{:#?}", seen.broken());
    let truth = truth::parse(&std::fs::read_to_string(file).expect("the truth")).expect("the truth");
    let ends = if reactor.capabilities().statuses { Ends::Known } else { Ends::OrUnknown };
    let differences = compare_with(&truth, &seen.lives(), ends);
    assert!(differences.is_empty(), "{shape}, seed {seed}: {differences}");
    judge(&events, &truth, &registered, &notices, ends);

    let pids: HashSet<u32> = truth.iter().map(|life| life.pid).collect();
    let (_, overlaps) =
        tally.lock().expect("nobody panics with it").of(&pids.iter().copied().collect::<Vec<_>>());
    println!(
        "{source} {shape}: {} processes of {} pids, {overlaps} births told before the last owner's end, {} statuses \
         unknown; {} registrations, {refused} refused",
        truth.len(),
        pids.len(),
        differences.ends_unknown,
        registered.len(),
    );
    Some(0)
}

/// Who was told of, and who was registered then by its pid.
type Registered = Vec<(ProcId, ProcId)>;

/// Registers everybody who is told of, as fast as it can, and collects the notices.
fn register(queue: &Queue, told: &mpsc::Receiver<ProcId>) -> (Registered, u64, Vec<Notice>) {
    let (mut registered, mut refused, mut notices) = (Vec::new(), 0, Vec::new());
    for id in told {
        match queue.register(id.pid(), Interest::EXIT, id.birth()) {
            Ok(registration) => {
                registered.push((id, registration.id()));
                registration.keep();
            }
            Err(error) => {
                assert_eq!(error.errno(), libc::ESRCH, "{error}");
                refused += 1;
            }
        }
        queue.wait(&mut notices, 64, Some(Duration::ZERO)).expect("notices");
    }
    // The stream has ended, and so has everybody.
    while queue.wait(&mut notices, 64, Some(Duration::ZERO)).expect("notices") > 0 {}
    (registered, refused, notices)
}

/// A registration is of whom the stream told last by that pid, or of somebody younger; and it is told the end that the stream told.
fn judge(events: &[Event], truth: &[Life], registered: &Registered, notices: &[Notice], ends: Ends) {
    let exit = |event: &Event| {
        if let EventKind::Exit { status } = event.kind { Some((event.id, status)) } else { None }
    };
    let streamed: HashMap<ProcId, ExitStatus> = events.iter().filter_map(exit).collect();
    let mut told = HashMap::new();
    for notice in notices {
        let NoticeKind::Process { id, exit: Some(status), ended: true, .. } = notice.kind else {
            panic!("{notice:?}")
        };
        assert_eq!(told.insert(id, status), None, "{id} told twice");
        match streamed.get(&id) {
            Some(streamed) => assert_eq!(status, *streamed, "{id}"),
            // It was a zombie by then, whose end had been told.
            None => {
                let unknown = ends == Ends::OrUnknown && !status.is_known();
                let its = |life: &Life| life.pid == id.pid() && is(life.end, status);
                assert!(unknown || truth.iter().any(its), "{id}: {status}: nobody by this pid ended so");
            }
        }
    }
    for (named, id) in registered {
        assert_eq!(named.pid(), id.pid());
        assert!(named.birth() <= id.birth(), "{named} had been told of, and {id} was registered");
        assert!(told.contains_key(id), "{id}: no end was told");
    }
    let all: HashSet<ProcId> = registered.iter().map(|(_, id)| *id).collect();
    assert_eq!(all.len(), told.len(), "somebody's end was told who was not registered");
}

fn is(end: End, status: ExitStatus) -> bool {
    match end {
        End::Code(code) => status.code().map(i32::from) == Some(code),
        End::Signal(signal) => status.signal().map(i32::from) == Some(signal),
        End::Unknown | End::Alive => false,
    }
}
