//! Traps of perf events.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use proc_reactor::{EventKind, ExitStatus, Guard, OpenOptions, SourceName};

use crate::raw::{self, Perf, Seen};
use crate::rig::{self, await_ready, end_of, go, read_to_end, right, spawn, trapper};

/// Megabytes, so that a fork takes milliseconds.
const LARGE: &str = "128";

/// The attach comes later and later after the fork has begun.
#[test]
fn trap_0_1_a_fork_under_way_at_the_attach() {
    const TRIES: u32 = 12;
    const APART: Duration = Duration::from_micros(250);
    let mut shown = 0;
    for number in 0..TRIES {
        let mut child = trapper(&["fork", LARGE]).spawn().expect("it can be run");
        await_ready(&mut child);
        let input = go(&mut child);
        std::thread::sleep(number * APART);
        let perf = Perf::open(child.id(), 8);
        drop(input);
        child.wait().expect("it can be waited for");
        let Ok(mut perf) = perf else { break };
        let records = perf.drain();
        let forked = records.iter().find_map(|seen| match seen {
            Seen::Fork { child: process, parent, .. } if process != parent => Some(*process),
            _ => None,
        });
        let ended = |child: u32| records.contains(&Seen::Exit { process: child, thread: child });
        shown += u32::from(forked.is_some_and(|child| !ended(child)));
    }
    println!("in {shown} of {TRIES} attaches there was a birth and no end");

    let mut both = [0; 2];
    for number in 0..TRIES {
        for (name, reactor) in rig::reactors(|_| ()) {
            let mut child = trapper(&["fork", LARGE]).spawn().expect("it can be run");
            await_ready(&mut child);
            let input = go(&mut child);
            std::thread::sleep(number * APART);
            let attached = reactor.attach(child.id(), rig::without_metadata());
            drop(input);
            let mut reader = attached.expect("it lives");
            let events = read_to_end(&reactor, &mut reader);
            right(&reactor, end_of(&events, reader.id()), ExitStatus::Code(0));
            let others: Vec<_> =
                rig::ends(&events).into_iter().filter(|(id, _)| *id != reader.id()).collect();
            let [(grandchild, status)] = others[..] else { panic!("{name}, try {number}: {events:?}") };
            right(&reactor, status, ExitStatus::Code(7));
            let born = |kind: &EventKind| matches!(kind, EventKind::Fork { child } if *child == grandchild);
            both[usize::from(events.iter().any(|event| born(&event.kind)))] += 1;
            child.wait().expect("it can be waited for");
        }
    }
    println!("{} children were found, {} seen to be born", both[0], both[1]);
}

/// A directory that everybody may look into, with a program in it that has this mode.
fn program(of: &Path, mode: u32) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::Builder::new().prefix("trap-").tempdir().expect("a directory");
    fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).expect("a mode");
    let path = dir.path().join("program");
    fs::copy(of, &path).expect("a copy");
    fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("a mode");
    (dir, path)
}

#[test]
fn trap_0_2_a_program_that_may_not_be_read() {
    follow_into(0o711);
}

#[test]
fn trap_0_2_a_setuid_program() {
    follow_into(0o4755);
}

/// A part that is run as nobody follows one into a program that is root's. Root itself may look into any.
fn follow_into(mode: u32) {
    if !raw::is_root() {
        println!("SKIPPED: only root can make a program that others may not look into");
        return;
    }
    let (_dir, path) = program(Path::new(env!("CARGO_BIN_EXE_trapper")), mode);
    let (_mine, me) = program(&std::env::current_exe().expect("/proc"), 0o755);
    let (_helper, trapper) = program(Path::new(env!("CARGO_BIN_EXE_trapper")), 0o755);
    let output = Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .arg(me)
        .args(["--exact", "perf::part_of_trap_0_2", "--ignored", "--nocapture"])
        .env("TRAP_PROGRAM", &path)
        .env("TRAP_HELPER", trapper)
        .current_dir("/")
        .output();
    let output = match output {
        Ok(output) => output,
        Err(error) => return println!("SKIPPED: setpriv: {error}"),
    };
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{mode:o}: {text}");
    assert!(output.status.success() && text.contains("1 passed"), "{mode:o}: {errors}");
}

#[test]
#[ignore = "a part of `trap_0_2`, run as nobody"]
fn part_of_trap_0_2() {
    let (Some(path), Some(helper)) = (std::env::var_os("TRAP_PROGRAM"), std::env::var_os("TRAP_HELPER"))
    else {
        return println!("SKIPPED: a part of another test");
    };
    let command = || {
        let mut command = Command::new(&helper);
        command.arg("then").arg(&path).args(["end", "150", "9"]);
        command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        command
    };
    if let Ok(mut perf) = Perf::open(0, 8) {
        let mut child = command().spawn().expect("it can be run");
        await_ready(&mut child);
        drop(go(&mut child));
        let end = Seen::Exit { process: child.id(), thread: child.id() };
        let mut records = Vec::new();
        while !records.contains(&end) {
            records.extend(perf.drain());
            std::thread::sleep(Duration::from_millis(1));
        }
        let lives = !raw::waitable(child.id());
        println!("perf tells an end while the process lives: {lives}");
        child.wait().expect("it can be waited for");
    }
    for (name, reactor) in rig::reactors(|_| ()) {
        let begun = std::time::Instant::now();
        let (mut child, mut reader) = spawn(&reactor, command());
        await_ready(&mut child);
        drop(go(&mut child));
        let events = read_to_end(&reactor, &mut reader);
        assert!(begun.elapsed() >= Duration::from_millis(150), "{name}: ended before it did: {events:#?}");
        right(&reactor, end_of(&events, reader.id()), ExitStatus::Code(9));
        let unseen = events.iter().filter(|event| matches!(event.kind, EventKind::Unseen)).count();
        assert_eq!(unseen, usize::from(name == SourceName::Perf), "{name}: {events:#?}");
        assert!(raw::waitable(child.id()), "{name}");
        child.wait().expect("it can be waited for");
    }
}

#[test]
fn trap_0_3_a_tree_that_ends_in_a_loss() {
    const MADE: u32 = 2000;
    if let Ok(mut perf) = Perf::open(0, 1) {
        let mut child = trapper(&["many", &MADE.to_string()]).spawn().expect("it can be run");
        await_ready(&mut child);
        drop(go(&mut child));
        child.wait().expect("it can be waited for");
        let lost = perf.lost();
        let told: u64 =
            perf.drain().iter().map(|seen| if let Seen::Lost { count } = seen { *count } else { 0 }).sum();
        println!("{lost} records were lost, of which the records tell {told}");
        assert!(lost > 0 && told < lost);
    }
    ends_in_a_loss(SourceName::Perf, MADE, |options| options.ring_pages = Some(1));
}

/// Nobody reads while a tree makes more than the buffers hold and ends. That something was lost is told, and everybody ends.
pub(crate) fn ends_in_a_loss(name: SourceName, made: u32, options: impl Fn(&mut OpenOptions)) {
    let Some(reactor) = rig::reactor(name, options) else { return };
    let (mut child, mut reader) = spawn(&reactor, trapper(&["many", &made.to_string()]));
    await_ready(&mut child);
    drop(go(&mut child));
    // Everybody has been reaped by now, but for the root, and nothing comes any more.
    while !raw::waitable(child.id()) {
        std::thread::sleep(Duration::from_millis(1));
    }
    let events = read_to_end(&reactor, &mut reader);
    let (lost, births) = (rig::lost(&events), births(&events));
    println!("{name}: {births} births told, {lost} records lost");
    assert!(lost > 0, "{events:#?}");
    // Two records at least of each that is missing, but for those of whom the birth or the end was told.
    let missing = u64::from(made + 1).saturating_sub(births);
    assert!(lost >= missing, "{births} of {made} births, {lost} lost");
    right(&reactor, end_of(&events, reader.id()), ExitStatus::Code(0));
    let last =
        events.iter().rfind(|event| matches!(event.kind, EventKind::Lost { .. } | EventKind::Resync { .. }));
    assert!(last.is_some_and(|event| matches!(event.kind, EventKind::Resync { .. })), "{last:?}");
    // A tree that is over stays as long as it has a reader.
    drop(reader);
    let stats = reactor.stats();
    assert_eq!((stats.trees, stats.tracked), (0, 0), "K11: {stats:?}");
    child.wait().expect("it can be waited for");
}

fn births(events: &[proc_reactor::Event]) -> u64 {
    events.iter().filter(|event| matches!(event.kind, EventKind::Fork { .. })).count() as u64
}

#[test]
fn trap_0_4_two_who_poll() {
    if let Ok(mut perf) = Perf::open(0, 8) {
        Command::new("true").status().expect("true");
        let (first, second) = (perf.readable(), perf.readable());
        println!(
            "{first} rings polled readable, and polled again {second}, with {} records in them",
            perf.drain().len()
        );
    }
    // A guard and this thread poll one reactor; nobody's news stay behind.
    for (name, reactor) in rig::reactors(|_| ()) {
        let guard = Guard::start(&reactor).expect("a thread");
        for round in 0..200 {
            guard.set_eager(round % 2 == 1);
            let (mut child, mut reader) = spawn(&reactor, trapper(&["end", "0", "3"]));
            let events = read_to_end(&reactor, &mut reader);
            right(&reactor, end_of(&events, reader.id()), ExitStatus::Code(3));
            child.wait().unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }
}

/// Four threads of a process fork at once, on all processors: nobody acts before its birth or after its end (K12).
#[test]
fn trap_13_rings_one_after_the_other() {
    if let Ok(mut perf) = Perf::open(0, 256) {
        make_storm();
        let records = perf.drain();
        let mut born = std::collections::HashSet::new();
        let early = |seen: &&Seen| match seen {
            Seen::Fork { child, .. } => !born.insert(*child),
            Seen::Exit { process, .. } => !born.contains(process),
            _ => false,
        };
        let early = records.iter().filter(early).count();
        println!("{early} of {} records came before the birth of whom they tell", records.len());
    }
    for (name, reactor) in rig::reactors(|_| ()) {
        let (dir, command) = storm();
        let (mut child, mut reader) = spawn(&reactor, command);
        let mut events = read_to_end(&reactor, &mut reader);
        let lost = rig::lost(&events);
        let mut seen = tests::seen::Seen::spawned(reader.id()).losses_allowed();
        events.drain(..).for_each(|event| seen.take(&event));
        seen.end();
        assert!(seen.broken().is_empty(), "{name}, {lost} lost: {:#?}", seen.broken());
        child.wait().expect("it can be waited for");
        drop(dir);
    }
}

fn storm() -> (tempfile::TempDir, Command) {
    let dir = tempfile::Builder::new().prefix("trap-").tempdir().expect("a directory");
    let mut command = Command::new(env!("CARGO_BIN_EXE_make_tree"));
    command.arg("--truth").arg(dir.path().join("truth")).args(["--shape", "storm", "--count", "1000"]);
    (dir, command)
}

fn make_storm() {
    let (_dir, mut command) = storm();
    assert!(command.status().expect("make_tree can be run").success());
}

/// Another thread than the source's own cannot begin a spawn, which would not be seen; `spawn` can be called from any.
#[test]
fn trap_13_another_thread_s_children() {
    if let Ok(mut perf) = Perf::open(0, 8) {
        let other = std::thread::spawn(|| Command::new("true").status().expect("true"));
        other.join().expect("it runs");
        // The thread itself is inherited, so that one of before has to be asked.
        let (sender, receiver) = std::sync::mpsc::channel::<()>();
        let before = std::thread::spawn(move || {
            receiver.recv().expect("a word");
            Command::new("true").status().expect("true");
        });
        perf.drain();
        let mut late = Perf::open(0, 8).expect("as before");
        sender.send(()).expect("it listens");
        before.join().expect("it runs");
        let forks = late.drain().into_iter().filter(|seen| matches!(seen, Seen::Fork { .. })).count();
        assert_eq!(forks, 0, "children of a thread that was there are not seen");
    }
    let Some(reactor) = rig::reactor(SourceName::Perf, |_| ()) else { return };
    assert!(reactor.begin_spawn(rig::without_metadata()).is_err(), "it would not be seen");
    let spawned = std::thread::spawn({
        let reactor = reactor.clone();
        move || {
            let (mut child, mut reader) = spawn(&reactor, trapper(&["end", "0", "3"]));
            let events = read_to_end(&reactor, &mut reader);
            child.wait().expect("it can be waited for");
            (reader.id(), events)
        }
    });
    let (id, events) = spawned.join().expect("it runs");
    assert_eq!(end_of(&events, id), ExitStatus::Code(3));
}
