//! K8: 20,000 processes while the reader sleeps. What was received and what is said to be lost make up what there was, to the unit.
//!
//! perf is told of its own tree only, so the truth is known. cn_proc is told of the whole machine: a second one, which does not
//! sleep, is the witness of what others did.
#![cfg(target_os = "linux")]

use std::collections::VecDeque;
use std::os::fd::AsRawFd;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use proc_reactor::source::Drained;
use proc_reactor::{
    Change, Event, EventKind, OpenOptions, Reactor, Readiness, Source, SourceError, SourceName, Stamped,
    TreeOptions, Turned, open,
};

/// Processes of a flood, without the one that makes them.
const FLOOD: u64 = 20_000;
/// Their births and ends; and of the one that makes them the birth, the new program and the end.
const RECORDS: u64 = 2 * FLOOD + 3;
const HOWS: [&str; 2] = ["fork", "vfork"];
/// How often it is tried to find the machine without others' processes.
const TRIES: usize = 4;
/// As long a record may be under way from its stamp to the queue.
const UNDER_WAY: Duration = Duration::from_millis(10);

/// The floods go one by one: they would be each other's others.
fn one_by_one() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn options(name: SourceName, small: bool) -> OpenOptions {
    let mut options = OpenOptions::default();
    options.source = Some(name);
    if small {
        (options.receive_buffer, options.shards, options.ring_pages) = (Some(32 << 10), Some(1), Some(1));
    }
    options
}

fn opened(name: SourceName, small: bool) -> Option<Box<dyn Source>> {
    match open(&options(name, small)) {
        Ok(source) => Some(source),
        Err(error) => {
            println!("SKIPPED: {error}");
            None
        }
    }
}

fn forker(how: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_puppet"));
    // On one processor, whose queue keeps the oldest: nobody's end is in it without the birth.
    command.args(["--flood", &FLOOD.to_string(), how, &processors()[0].to_string()]).stdin(Stdio::null());
    command
}

/// The processors that this program may run on.
fn processors() -> Vec<usize> {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc");
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).expect("a list");
    let number = |text: &str| text.parse::<usize>().expect("a number");
    let ranges = list.trim().split(',').map(|range| range.split_once('-').unwrap_or((range, range)));
    ranges.flat_map(|(first, last)| number(first)..=number(last)).collect()
}

/// Runs a flood to its end; the pid of the one that made it.
fn flood(source: &dyn Source, how: &'static str) -> u32 {
    let run = move || -> (u32, ExitStatus) {
        let mut child = forker(how).spawn().expect("a puppet");
        (child.id(), child.wait().expect("a child"))
    };
    let (pid, status) = source.spawner().map_or_else(run, |spawner| spawner.run(run));
    assert!(status.success(), "{status}");
    pid
}

fn drain(source: &mut dyn Source, out: &mut Vec<Stamped>) -> Drained {
    loop {
        match source.drain(out, 1_000).expect("a source that works") {
            Drained::More => {}
            end => return end,
        }
    }
}

#[test]
fn k8_perf_counts_a_flood_to_the_unit() {
    let _one = one_by_one();
    for how in HOWS {
        for small in [true, false] {
            let Some(mut source) = opened(SourceName::Perf, small) else { return };
            flood(&*source, how);
            // What comes before the loss is told was received, each change a record; what comes after is found out.
            let (mut received, mut lost) = (Vec::new(), 0);
            let mut end = drain(&mut *source, &mut received);
            while end == Drained::Overrun {
                let loss = source.settle(&mut Vec::new()).expect("a source that works");
                if !loss.exact {
                    println!("SKIPPED: this kernel does not count what perf loses (before 6.0)");
                    return;
                }
                lost += loss.count;
                end = drain(&mut *source, &mut received);
            }
            println!("{how}, small {small}: received {}, lost {lost}, truth {RECORDS}", received.len());
            assert!(!small || lost > RECORDS * 9 / 10, "a small ring holds few: {lost}");
            assert_eq!(received.len() as u64 + lost, RECORDS, "{how}, small {small}");
        }
    }
}

/// The same up to the reader: what the stream of a tree tells before the loss and of it, that it ends, and that nobody is left.
#[test]
fn k8_a_stream_tells_the_loss_and_ends() {
    let _one = one_by_one();
    for &name in SourceName::ALL {
        for small in [true, false] {
            let Some(source) = opened(name, small) else { continue };
            let whole_machine = source.capabilities().whole_machine;
            let reactor = Reactor::new(source).expect("a process list");
            let mut tree = TreeOptions::default();
            (tree.metadata, tree.log_limit) = (false, 64 << 20);
            let spawn = || {
                let child = forker("fork").stdin(Stdio::piped()).spawn().expect("a puppet");
                Ok::<_, SourceError>((child.id(), child))
            };
            let mut poll = mio::Poll::new().expect("a poll");
            let mut readable = mio::Events::with_capacity(1);
            let mut polled = reactor.clone();
            poll.registry()
                .register(&mut polled, mio::Token(0), mio::Interest::READABLE)
                .expect("a descriptor");
            let (mut reader, mut child) = reactor.spawn(tree, spawn).expect("a source that works");
            // The flood begins now, and nobody reads: to claim a child is to read. To wait closes its input.
            assert!(child.wait().expect("a child").success());
            let mut events = VecDeque::new();
            loop {
                while reactor.turn() == Turned::More {}
                match reader.read(&mut events, usize::MAX) {
                    Readiness::End => break,
                    Readiness::Ready => {}
                    _ => {
                        poll.poll(&mut readable, Some(Duration::from_secs(20))).expect("it waits");
                        assert!(!readable.is_empty(), "the stream does not end");
                    }
                }
            }
            let is_lost = |event: &&Event| matches!(event.kind, EventKind::Lost { .. });
            let record = |event: &&Event| {
                matches!(event.kind, EventKind::Fork { .. } | EventKind::Exec { .. } | EventKind::Exit { .. })
            };
            let before = events.iter().take_while(|event| !is_lost(event)).filter(record).count() as u64;
            let told = events.iter().filter(record).count() as u64;
            let count =
                |event: &Event| if let EventKind::Lost { count, .. } = event.kind { count } else { 0 };
            let lost: u64 = events.iter().map(count).sum();
            println!(
                "{name}, small {small}: told {told}, {before} before a loss; lost {lost}, truth {RECORDS}"
            );
            assert!(!small || lost > 0, "the flood was too small for {name}");
            if whole_machine {
                // The socket says first that it overran, and has what it kept after that, beside what is found out; others' records
                // are among the lost.
                assert!(told + lost >= RECORDS, "{name}, small {small}: {told} and {lost}");
            } else {
                assert_eq!(before + lost, RECORDS, "{name}, small {small}");
            }
            drop(reader);
            assert_eq!((reactor.stats().trees, reactor.stats().tracked), (0, 0), "K11");
        }
    }
}

#[test]
fn k8_cn_proc_counts_a_flood_to_the_unit() {
    let _one = one_by_one();
    for how in HOWS {
        for small in [true, false] {
            let mut outcomes = Vec::new();
            while outcomes.len() < TRIES && outcomes.last() != Some(&Outcome::ToTheUnit) {
                match counts_of_cn_proc(how, small) {
                    Some(outcome) => outcomes.push(outcome),
                    None => return,
                }
            }
            // Others' records that are no births, execs or ends count when they are lost, and nobody makes them each time
            // without such a one.
            assert!(!outcomes.iter().all(|outcome| *outcome == Outcome::TooMany), "{how}, small {small}");
            if outcomes.last() != Some(&Outcome::ToTheUnit) {
                println!(
                    "SKIPPED: to the unit, beside others' processes ({how}, small {small}): {outcomes:?}"
                );
            }
        }
    }
}

/// How received and lost compare with what the witness saw; fewer is a failure at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    ToTheUnit,
    /// More, and nobody else did anything that could be it.
    TooMany,
    /// More, beside others' processes.
    BesideOthers,
    /// The source says that its count is a lower bound only: others flooded it as well.
    LowerBound,
}

/// `None` if it cannot be told here.
fn counts_of_cn_proc(how: &'static str, small: bool) -> Option<Outcome> {
    let (mut sleeper, mut witness) = (opened(SourceName::CnProc, small)?, opened(SourceName::CnProc, false)?);
    drain(&mut *sleeper, &mut Vec::new());
    let from = sleeper.now();
    let over = AtomicBool::new(false);
    let mut seen = Vec::new();
    let forker = std::thread::scope(|scope| {
        let witnessing = scope.spawn(|| {
            let mut poll = mio::Poll::new().expect("a poll");
            let mut events = mio::Events::with_capacity(1);
            let fd = witness.fd().as_raw_fd();
            let mut fd = mio::unix::SourceFd(&fd);
            poll.registry().register(&mut fd, mio::Token(0), mio::Interest::READABLE).expect("a descriptor");
            while !over.load(Ordering::Acquire) {
                poll.poll(&mut events, Some(Duration::from_millis(5))).expect("it waits");
                if drain(&mut *witness, &mut seen) == Drained::Overrun {
                    return false;
                }
            }
            true
        });
        let forker = flood(&*sleeper, how);
        over.store(true, Ordering::Release);
        witnessing.join().expect("no panic").then_some(forker)
    });
    let Some(forker) = forker else {
        println!("SKIPPED: the witness has too small a buffer here (net.core.rmem_max)");
        return None;
    };
    let (mut received, mut lost, mut exact) = (Vec::new(), 0, true);
    while drain(&mut *sleeper, &mut received) == Drained::Overrun {
        let loss = sleeper.settle(&mut received).expect("a source that works");
        lost += loss.count;
        exact &= loss.exact;
    }
    // All that was lost was lost by now. Up to here both have everything, once it is queued.
    let to = sleeper.now();
    std::thread::sleep(UNDER_WAY);
    exact &= drain(&mut *sleeper, &mut received) == Drained::All;
    if drain(&mut *witness, &mut seen) == Drained::Overrun {
        println!("SKIPPED: the witness has too small a buffer here (net.core.rmem_max)");
        return None;
    }
    let within = |changes: &[Stamped]| -> u64 {
        changes.iter().filter(|stamped| (from..=to).contains(&stamped.time)).count() as u64
    };
    let children = seen
        .iter()
        .filter(|stamped| matches!(stamped.change, Change::Fork { parent, .. } if parent == forker))
        .count() as u64;
    assert_eq!(children, FLOOD, "what the witness has seen");
    let (got, truth) = (within(&received), within(&seen));
    println!(
        "{how}, small {small}: received {got}, lost {lost} ({exact}), truth {truth}, of it ours {RECORDS}"
    );
    assert!(!small || lost > RECORDS / 2, "a small buffer holds few: {lost}");
    if !exact {
        return Some(Outcome::LowerBound);
    }
    assert!(got + lost >= truth, "{how}, small {small}: {got} and {lost} of {truth}");
    // The thread of the witness was born and ended meanwhile, too.
    Some(match (got + lost - truth, truth - (RECORDS + 2)) {
        (0, _) => Outcome::ToTheUnit,
        (_, 0) => Outcome::TooMany,
        _ => Outcome::BesideOthers,
    })
}
