//! The reactor over each real source.
#![cfg(target_os = "linux")]

use std::collections::{HashMap, VecDeque};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use proc_reactor::{
    Event, EventKind, ExitStatus, OpenOptions, Reactor, Reader, Readiness, SourceName, TreeOptions, Turned,
    open,
};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A reactor over each source that works here, one after the other; starved ones have the smallest buffers there are.
fn reactors(starved: bool) -> impl Iterator<Item = (SourceName, Reactor)> {
    SourceName::ALL.iter().filter_map(move |&name| {
        let mut options = OpenOptions::default();
        options.source = Some(name);
        options.receive_buffer = starved.then_some(4096);
        options.shards = starved.then_some(1);
        options.ring_pages = starved.then_some(1);
        match open(&options) {
            Ok(source) => Some((name, Reactor::new(source).unwrap())),
            Err(error) => {
                println!("SKIPPED: {name}: {error}");
                None
            }
        }
    })
}

/// Reads until the stream ends.
fn read_to_end(reactor: &Reactor, reader: &mut Reader) -> Vec<Event> {
    let begun = Instant::now();
    let mut out = VecDeque::new();
    loop {
        while reactor.turn() == Turned::More {}
        match reader.read(&mut out, 64) {
            Readiness::End => return out.into(),
            Readiness::Ready => {}
            _ => {
                assert!(begun.elapsed() < Duration::from_secs(60), "the stream does not end: {out:?}");
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

/// By the thread of the source's own where it sees no others' children.
fn spawn(reactor: &Reactor, mut command: Command) -> (Child, Reader) {
    if !reactor.capabilities().whole_machine {
        let start = move || command.spawn().map(|child| (child.id(), child)).map_err(Failure::from);
        let (reader, child) = reactor.spawn(TreeOptions::default(), start).unwrap();
        return (child, reader);
    }
    let spawning = reactor.begin_spawn(TreeOptions::default()).unwrap();
    let child = command.spawn().unwrap();
    let reader = spawning.claim(child.id());
    (child, reader)
}

fn statuses(events: &[Event]) -> Vec<ExitStatus> {
    let status = |event: &Event| match event.kind {
        EventKind::Exit { status } => Some(status),
        _ => None,
    };
    events.iter().filter_map(status).collect()
}

/// Of who is reaped as soon as it ends a source that promises no statuses may not know how; never wrongly.
#[test]
fn everything_from_the_first_instruction_on() {
    for (name, reactor) in reactors(false) {
        let all_known = reactor.capabilities().statuses;
        for _ in 0..50 {
            let mut command = Command::new("sh");
            command.args(["-c", "(exit 3); (setsid sh -c 'exit 4' &); kill -9 $$"]).stdout(Stdio::null());
            let (mut child, mut reader) = spawn(&reactor, command);
            child.wait().unwrap();
            let events = read_to_end(&reactor, &mut reader);
            assert!(matches!(events[0].kind, EventKind::Fork { child } if child == reader.id()));
            assert_eq!(events[0].id.pid(), std::process::id());
            assert!(
                matches!(events[1].kind, EventKind::Exec { .. }) && events[1].id == reader.id(),
                "{name}: {events:?}"
            );
            let births = events.iter().filter(|event| matches!(event.kind, EventKind::Fork { .. })).count();
            let statuses = statuses(&events);
            assert_eq!(births, statuses.len(), "{name}: {events:?}");
            let count = |status| statuses.iter().filter(|known| **known == status).count();
            let unknown = count(ExitStatus::Unknown);
            // The shells between them end with 0.
            let shells = count(ExitStatus::Code(0));
            let ends = [ExitStatus::Code(3), ExitStatus::Code(4)].map(count);
            assert!(ends.iter().all(|ends| *ends <= 1), "{name}: {events:?}");
            assert_eq!(
                ends.iter().sum::<usize>() + shells + unknown + 1,
                statuses.len(),
                "{name}: {events:?}"
            );
            assert_eq!(count(ExitStatus::Signal { signal: 9, core: false }), 1, "{name}: {events:?}");
            assert!(!all_known || (unknown == 0 && ends == [1, 1]), "{name}: {events:?}");
        }
        assert_eq!((reactor.stats().trees, reactor.stats().tracked), (0, 0), "K11");
    }
}

/// Nobody turns while a tree makes far more records than the buffer holds. Afterwards the loss is told, everybody
/// who lives is found, everybody who does not has ended, and the stream goes on and ends.
#[test]
fn k8_a_sleeping_reader_is_told_what_it_lost_and_gets_the_tree_back() {
    for (name, reactor) in reactors(true) {
        println!("over {name}");
        sleep_through_a_flood(&reactor);
    }
}

fn sleep_through_a_flood(reactor: &Reactor) {
    // The flood begins when nobody reads any more: to claim a child is to read.
    let script = "read go; sleep 30 & echo $! >&3; i=0; while [ $i -lt 400 ]; do (:); i=$((i+1)); done; \
                  sh -c 'sleep 30; exit 5' & echo $! >&3; wait";
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("exec 3>&1; {script}")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .process_group(0);
    let (mut child, mut reader) = spawn(reactor, command);
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"go\n").unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    let mut sleepers: Vec<i32> = (0..2).map(|_| lines.next().unwrap().unwrap().parse().unwrap()).collect();

    let mut out = VecDeque::new();
    let begun = Instant::now();
    let lost = |out: &VecDeque<Event>| -> u64 {
        let count = |event: &Event| if let EventKind::Lost { count, .. } = event.kind { count } else { 0 };
        out.iter().map(count).sum()
    };
    let repaired = |out: &VecDeque<Event>| {
        let mut told = out
            .iter()
            .filter(|event| matches!(event.kind, EventKind::Lost { .. } | EventKind::Resync { .. }));
        told.next_back().is_some_and(|event| matches!(event.kind, EventKind::Resync { .. }))
    };
    // The flood is over, for the shell has said who its second sleeper is.
    while lost(&out) < 400 || !repaired(&out) {
        assert!(begun.elapsed() < Duration::from_secs(20), "{} lost, {out:?}", lost(&out));
        while reactor.turn() == Turned::More {}
        while reader.read(&mut out, 64) == Readiness::Ready {}
    }
    assert!(out.iter().all(|event| event.id.pid() != 0), "{out:?}");
    // Who lives now, by what was told.
    let mut living = HashMap::new();
    for event in &out {
        match &event.kind {
            EventKind::Fork { child } => drop(living.insert(*child, child.pid())),
            EventKind::Found { .. } => drop(living.insert(event.id, event.id.pid())),
            EventKind::Exit { .. } => assert!(living.remove(&event.id).is_some(), "{event} of nobody"),
            _ => {}
        }
    }
    let mut told: Vec<i32> = living.values().map(|pid| *pid as i32).collect();
    told.retain(|pid| sleepers.contains(pid));
    told.sort_unstable();
    sleepers.sort_unstable();
    assert_eq!(told, sleepers, "both sleepers are alive, {out:?}");

    // All of its group: nothing is left behind.
    let group = format!("-{}", child.id());
    assert!(Command::new("kill").args(["-9", "--", &group]).status().unwrap().success());
    let rest = read_to_end(reactor, &mut reader);
    let killed = ExitStatus::Signal { signal: 9, core: false };
    let (ends, lost) = (statuses(&rest), lost(&rest.iter().cloned().collect()) > 0);
    // Others may flood so small a buffer at the same moment: that is told, and makes how they ended unknown, but never another's.
    let right = ends.iter().filter(|status| **status == killed || (lost && **status == ExitStatus::Unknown));
    assert!(right.count() >= 2, "{rest:?}");
    child.wait().unwrap();
    drop(reader);
    assert_eq!((reactor.stats().trees, reactor.stats().tracked), (0, 0), "K11");
}

/// Prints what opening the process connector comes to; run in other namespaces by the test below.
#[test]
#[ignore = "a part of `refused_in_other_namespaces`"]
fn open_and_tell() {
    let mut options = OpenOptions::default();
    options.source = Some(SourceName::CnProc);
    match open(&options) {
        Ok(source) => println!("usable: {}", source.name()),
        Err(error) => println!("refused: {error}"),
    }
}

/// A program in another pid, user or network namespace is told why the connector does not work, and never left waiting.
#[test]
fn refused_in_other_namespaces() {
    if !reactors(false).any(|(name, _)| name == SourceName::CnProc) {
        return;
    }
    let me = std::env::current_exe().unwrap();
    let cases: [(&str, &[&str], &str); 3] = [
        ("user", &["--user", "--map-root-user"], "user namespace"),
        ("pid", &["--user", "--map-root-user", "--pid", "--fork"], "pid"),
        ("net", &["--user", "--map-root-user", "--net"], "network namespace"),
    ];
    for (name, flags, word) in cases {
        if !Command::new("unshare").args(flags).arg("true").status().is_ok_and(|status| status.success()) {
            println!("SKIPPED: no {name} namespace can be made here");
            continue;
        }
        let begun = Instant::now();
        let output = Command::new("timeout")
            .arg("20")
            .arg("unshare")
            .args(flags)
            .arg(&me)
            .args(["--exact", "open_and_tell", "--ignored", "--nocapture"])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{name}: {text}{}", String::from_utf8_lossy(&output.stderr));
        assert!(text.contains("refused: ") && text.contains(word), "{name}: {text}");
        println!("{name} namespace, after {:?}: {text}", begun.elapsed());
    }
}
