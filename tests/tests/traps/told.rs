//! Traps of more than one interface.

use std::time::Duration;

use proc_reactor::{EventKind, ExitStatus, Kevent, QueueOptions, SourceName, Turned, flags};

use crate::raw::{self, Perf, Seen};
use crate::rig::{self, await_ready, end_of, go, reactors, read_to_end, right, spawn, trapper};

/// What perf itself tells of a `trapper`, from its start to its end.
fn raw_records(args: &[&str]) -> Option<(u32, Vec<Seen>)> {
    let mut perf = match Perf::open(0, 8) {
        Ok(perf) => perf,
        Err(error) => {
            println!("SKIPPED: how the kernel does it: perf_event_open: {error}");
            return None;
        }
    };
    let mut child = trapper(args).spawn().expect("it can be run");
    let pid = child.id();
    child.wait().expect("it can be waited for");
    Some((pid, perf.drain()))
}

#[test]
fn trap_0_5_the_leader_leaves_first() {
    if let Some((pid, records)) = raw_records(&["leader", "5"]) {
        let exits: Vec<&Seen> = records
            .iter()
            .filter(|seen| matches!(seen, Seen::Exit { process, .. } if *process == pid))
            .collect();
        assert_eq!(exits.len(), 2, "{records:?}");
        assert!(
            exits.contains(&&Seen::Exit { process: pid, thread: pid }),
            "the leader has an end of its own: {exits:?}"
        );
    }
    for (name, reactor) in reactors(|_| ()) {
        let begun = std::time::Instant::now();
        let (mut child, mut reader) = spawn(&reactor, trapper(&["leader", "5"]));
        let events = read_to_end(&reactor, &mut reader);
        right(&reactor, end_of(&events, reader.id()), ExitStatus::Code(5));
        assert!(begun.elapsed() >= Duration::from_millis(60), "{name}: told when the leader had left");
        assert_eq!(child.wait().expect("it can be waited for").code(), Some(5));
    }
}

#[test]
fn trap_0_5_a_thread_runs_a_program() {
    if let Some((pid, records)) = raw_records(&["exec-by-thread", "6"]) {
        let of_leader = |seen: &Seen| *seen == Seen::Exit { process: pid, thread: pid };
        let ends = records.iter().filter(|seen| of_leader(seen)).count();
        println!("{ends} ends of the leader, of which one is the process's");
        assert!(ends >= 1, "{records:?}");
    }
    for (_, reactor) in reactors(|_| ()) {
        let (mut child, mut reader) = spawn(&reactor, trapper(&["exec-by-thread", "6"]));
        let events = read_to_end(&reactor, &mut reader);
        let execs = events.iter().filter(|event| matches!(event.kind, EventKind::Exec { .. })).count();
        assert_eq!(execs, 2, "{events:#?}");
        right(&reactor, end_of(&events, reader.id()), ExitStatus::Code(6));
        assert_eq!(child.wait().expect("it can be waited for").code(), Some(6));
    }
}

/// Two hundred ends: how many the kernel tells of before the process can be waited for, and that we tell none of an own child so.
#[test]
fn trap_0_6_an_end_before_it_can_be_waited_for() {
    const ENDS: usize = 200;
    if let Ok(mut perf) = Perf::open(0, 64) {
        let mut early = 0;
        for _ in 0..ENDS {
            let mut child = trapper(&["many", "0"]).spawn().expect("it can be run");
            await_ready(&mut child);
            drop(go(&mut child));
            let pid = child.id();
            let ended = |seen: &Seen| *seen == Seen::Exit { process: pid, thread: pid };
            while !perf.drain().iter().any(ended) {
                std::hint::spin_loop();
            }
            early += usize::from(!raw::waitable(pid));
            child.wait().expect("it can be waited for");
        }
        println!("perf told {early} of {ENDS} ends before the process could be waited for");
    }
    let Some(reactor) = rig::reactor(SourceName::Perf, |_| ()) else { return };
    for _ in 0..ENDS {
        let (mut child, mut reader) = spawn(&reactor, trapper(&["end", "0", "4"]));
        let events = read_to_end(&reactor, &mut reader);
        assert!(raw::waitable(child.id()), "told before it can be waited for");
        assert_eq!(end_of(&events, reader.id()), ExitStatus::Code(4), "an own child's is always known");
        child.wait().expect("it can be waited for");
    }
}

/// C41: who has seen an end by wait(2) is told it, though its record may be late.
#[test]
fn trap_0_6_an_end_after_it_was_waited_for() {
    const ENDS: usize = 300;
    for (name, reactor) in reactors(|_| ()) {
        let queue = reactor.queue(QueueOptions::default()).expect("a queue");
        let mut late = 0;
        for _ in 0..ENDS {
            let (mut child, mut reader) = spawn(&reactor, trapper(&["many", "0"]));
            let pid = child.id();
            let add = Kevent::process(pid, flags::EV_ADD, flags::NOTE_EXIT);
            assert_eq!(queue.kevent(&[add], &mut [], None).expect("it lives"), 0);
            await_ready(&mut child);
            drop(go(&mut child));
            child.wait().expect("it can be waited for");
            while reactor.turn() == Turned::More {}
            late += usize::from(queue.stats().ready == 0);
            let mut events = [Kevent::default(); 2];
            assert_eq!(queue.kevent(&[], &mut events, Some(Duration::ZERO)).expect("its end"), 1, "{name}");
            assert_eq!((events[0].ident, events[0].fflags), (u64::from(pid), flags::NOTE_EXIT), "{name}");
            read_to_end(&reactor, &mut reader);
        }
        println!("{name}: {late} of {ENDS} ends were not there yet when the process had been waited for");
    }
}

/// Its birth, its life and its end are told, though all was over when the spawn returned.
#[test]
fn trap_13_over_before_spawn_returns() {
    for (name, reactor) in reactors(|_| ()) {
        for _ in 0..50 {
            let options = rig::without_metadata();
            let started = reactor.spawn(options, || {
                let mut child = std::process::Command::new("true").spawn().expect("true");
                // Over, and its pid anybody's.
                let status = child.wait().expect("it can be waited for");
                Ok::<_, proc_reactor::SourceError>((child.id(), status))
            });
            let (mut reader, status) = started.expect("it is followed");
            let events = read_to_end(&reactor, &mut reader);
            assert!(
                matches!(events[0].kind, EventKind::Fork { child } if child == reader.id()),
                "{name}: {events:?}"
            );
            right(&reactor, end_of(&events, reader.id()), status.into());
        }
        assert_eq!((reactor.stats().trees, reactor.stats().tracked), (0, 0), "{name}: K11");
    }
}

/// The kernel tells a birth and an end of a spawn that failed: nobody's events.
#[test]
fn trap_13_a_failed_exec_is_nobody() {
    for (name, reactor) in reactors(|_| ()) {
        for _ in 0..20 {
            let start =
                || std::process::Command::new("/no/such/program").spawn().map(|child| (child.id(), child));
            let started = reactor.spawn(rig::without_metadata(), move || start().map_err(|_| Refused));
            assert!(started.is_err(), "{name}: it cannot be run");
        }
        assert_eq!((reactor.stats().trees, reactor.stats().tracked), (0, 0), "{name}: K11");
        // What comes after is another's.
        let (mut child, mut reader) = spawn(&reactor, trapper(&["end", "0", "3"]));
        let events = read_to_end(&reactor, &mut reader);
        assert_eq!(rig::ends(&events).len(), 1, "{name}: {events:?}");
        child.wait().expect("it can be waited for");
    }
}

#[derive(Debug)]
struct Refused;

impl From<proc_reactor::SourceError> for Refused {
    fn from(_: proc_reactor::SourceError) -> Self {
        Self
    }
}
