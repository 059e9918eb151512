//! The reactor over a scripted source: what no real kernel can be made to do on order.

use std::collections::VecDeque;
use std::ffi::OsString;

use proc_reactor::source::Living;
use proc_reactor::source::sim::{Script, scripted};
use proc_reactor::{
    AttachError, Change, Event, EventKind, ExitStatus, Metadata, Missing, ProcId, Reactor, Reader, Readiness,
    SignalError, TreeOptions, Turned,
};

/// The process that the tests attach to.
const ROOT: u32 = 100;

fn reactor() -> (Reactor, Script) {
    let (source, script) = scripted().unwrap();
    script.list(living(ROOT, 1, &[ROOT]));
    (Reactor::new(Box::new(source)).unwrap(), script)
}

fn living(pid: u32, parent: u32, threads: &[u32]) -> Living {
    Living { pid, parent, start: 0, threads: threads.to_vec(), status: None }
}

fn options() -> TreeOptions {
    TreeOptions::default()
}

fn attach(reactor: &Reactor, pid: u32) -> Reader {
    reactor.attach(pid, options()).unwrap()
}

/// Takes turns until nothing is left, and reads everything.
fn read(reactor: &Reactor, reader: &mut Reader) -> (Vec<Event>, Readiness) {
    while reactor.turn() == Turned::More {}
    let mut out = VecDeque::new();
    loop {
        match reader.read(&mut out, 7) {
            Readiness::Ready => {}
            end => return (out.into(), end),
        }
    }
}

/// In few words: `fork 100 101`, `exec 101`, `exit 101 3`, `found 100`, `lost 5`, `resync 1 2`, `gap 9 [..]`.
fn told(events: &[Event]) -> Vec<String> {
    events.iter().map(word).collect()
}

fn word(event: &Event) -> String {
    let pid = event.id.pid();
    match &event.kind {
        EventKind::Fork { child } => format!("fork {pid} {}", child.pid()),
        EventKind::Exec { .. } => format!("exec {pid}"),
        EventKind::Exit { status: ExitStatus::Code(code) } => format!("exit {pid} {code}"),
        EventKind::Exit { status: ExitStatus::Signal { signal, .. } } => format!("killed {pid} {signal}"),
        EventKind::Exit { .. } => format!("exit {pid} ?"),
        EventKind::Found { .. } => format!("found {pid}"),
        EventKind::Lost { count, exact } => format!("lost {count}{}", if *exact { "" } else { "+" }),
        EventKind::Resync { found, exited } => format!("resync {found} {exited}"),
        EventKind::Gap { count, living, .. } => {
            format!("gap {count} {:?}", living.iter().map(|member| member.id.pid()).collect::<Vec<_>>())
        }
        EventKind::Failed { .. } => "failed".to_owned(),
        _ => "?".to_owned(),
    }
}

fn exit(process: u32, thread: u32, code: i32) -> Change {
    Change::Exit { process, thread, status: Some(code << 8), parent: 0 }
}

fn nothing_is_left(reactor: &Reactor) {
    let stats = reactor.stats();
    assert_eq!((stats.trees, stats.tracked), (0, 0), "K11: {stats:?}");
}

#[test]
fn a_tree_from_attach_to_end() {
    let (reactor, script) = reactor();
    let mut reader = attach(&reactor, ROOT);
    script.fork(ROOT, 101).fork(101, 102).exec(102).exit(101, 3 << 8).fork(1, 200).exit(200, 0);
    script.exit(102, 9).exit(ROOT, 0);
    let (events, end) = read(&reactor, &mut reader);
    let expected =
        ["found 100", "fork 100 101", "fork 101 102", "exec 102", "exit 101 3", "killed 102 9", "exit 100 0"];
    assert_eq!(told(&events), expected);
    assert_eq!(end, Readiness::End);
    drop(reader);
    nothing_is_left(&reactor);
}

#[test]
fn c3_no_such_process() {
    let (reactor, _script) = reactor();
    for pid in [0, 99, u32::MAX] {
        assert!(
            matches!(reactor.attach(pid, options()), Err(AttachError::NoSuchProcess { pid: no }) if no == pid)
        );
    }
    nothing_is_left(&reactor);
}

#[test]
fn k7_a_pid_that_is_used_again_before_its_exit_was_told() {
    // Written before the second birth, the first end is the first's. After it, it may be that of either, and so may the second (K9).
    for (first_end, statuses) in [(2_500, [1, 2].map(Some)), (4_500, [None, None])] {
        let (reactor, script) = reactor();
        let mut reader = attach(&reactor, ROOT);
        let fork = || Change::Fork { parent: ROOT, thread: ROOT, child: 101 };
        script
            .change_at(2_000, fork())
            .change_at(3_000, fork())
            .change_at(4_000, Change::Exec { process: 101 });
        script.change_at(first_end, exit(101, 101, 1)).change_at(5_000, exit(101, 101, 2));
        let (events, _) = read(&reactor, &mut reader);
        let exits = statuses
            .map(|status| format!("exit 101 {}", status.map_or("?".to_owned(), |status| status.to_string())));
        let expected = ["fork 100 101", "fork 100 101", "exec 101", &exits[0], &exits[1]];
        assert_eq!(told(&events)[1..], expected);
        let child = |event: &Event| match event.kind {
            EventKind::Fork { child } => child,
            _ => event.id,
        };
        let (old, new) = (child(&events[1]), child(&events[2]));
        assert_ne!(old, new);
        assert_eq!([events[3].id, events[4].id, events[5].id], [new, old, new]);
    }
}

#[test]
fn k7_the_late_exit_of_a_stranger_does_not_end_the_next_owner_of_its_pid() {
    let (reactor, script) = reactor();
    let mut reader = attach(&reactor, ROOT);
    script.fork(1, 101).fork(ROOT, 101).exit(101, 1 << 8).exec(101).exit(101, 2 << 8);
    let (events, _) = read(&reactor, &mut reader);
    assert_eq!(told(&events)[1..], ["fork 100 101", "exec 101", "exit 101 2"]);
}

/// The list finds a process before its birth is told: the one who forks it was preempted before it sent the record.
#[test]
fn a_birth_that_is_told_late_is_no_second_one() {
    for late in [5, 30, 900] {
        let (source, script) = scripted().unwrap();
        let start = 1_000_000_000;
        script.list(living(ROOT, 1, &[ROOT]));
        script.list(Living { start, ..living(101, ROOT, &[101]) });
        let reactor = Reactor::new(Box::new(source)).unwrap();
        let mut reader = attach(&reactor, ROOT);
        let told_at = start + late * 1_000_000;
        script.change_at(told_at, Change::Fork { parent: ROOT, thread: ROOT, child: 101 });
        script.change_at(told_at + 1_000, exit(101, 101, 3)).change_at(told_at + 2_000, exit(ROOT, ROOT, 0));
        let (events, end) = read(&reactor, &mut reader);
        assert_eq!(told(&events), ["found 100", "found 101", "exit 101 3", "exit 100 0"], "{late} ms late");
        assert_eq!(end, Readiness::End);
    }
}

/// A pid that the list found, born again to another parent or much later, is another process.
#[test]
fn k7_a_found_process_does_not_swallow_the_next_birth_of_its_pid() {
    for (parent, late) in [(102, 30), (ROOT, 5_000)] {
        let (source, script) = scripted().unwrap();
        let start = 1_000_000_000;
        script.list(living(ROOT, 1, &[ROOT])).list(living(102, ROOT, &[102]));
        script.list(Living { start, ..living(101, ROOT, &[101]) });
        let reactor = Reactor::new(Box::new(source)).unwrap();
        let mut reader = attach(&reactor, ROOT);
        let told_at = start + late * 1_000_000;
        script.change_at(told_at, Change::Fork { parent, thread: parent, child: 101 });
        script.change_at(told_at + 1_000, exit(101, 101, 3)).change_at(told_at + 2_000, exit(101, 101, 4));
        let (events, _) = read(&reactor, &mut reader);
        let born = format!("fork {parent} 101");
        // Both came after the second birth: whose is which there is no telling.
        assert_eq!(told(&events)[3..], [born.as_str(), "exit 101 ?", "exit 101 ?"]);
    }
}

#[test]
fn threads_are_folded() {
    let (reactor, script) = reactor();
    let mut reader = attach(&reactor, ROOT);
    script.fork(ROOT, 101).change(Change::Thread { process: 101, thread: 102 });
    // The leader leaves by pthread_exit; a thread forks, and ends the process.
    script.change(exit(101, 101, 0)).change(Change::Fork { parent: 101, thread: 102, child: 103 });
    script.change(exit(101, 102, 5)).change(exit(103, 103, 0));
    let (events, _) = read(&reactor, &mut reader);
    assert_eq!(told(&events)[1..], ["fork 100 101", "fork 101 103", "exit 101 5", "exit 103 0"]);
}

#[test]
fn k9_a_status_that_threads_dispute_is_looked_up_or_unknown() {
    let (reactor, script) = reactor();
    let mut reader = attach(&reactor, ROOT);
    let disputed = |pid: u32, one: i32, other: i32| {
        script.fork(ROOT, pid);
        for (thread, code) in [(pid + 50, one), (pid + 60, other)] {
            script.change(Change::Thread { process: pid, thread });
            script.change(exit(pid, thread, code));
        }
        script.change(exit(pid, pid, 0));
        script.unlist(pid);
    };
    // One left before with 0, and its record comes last; two that cannot both be the process's, reaped and not.
    disputed(101, 5, 5);
    disputed(102, 5, 6);
    disputed(103, 5, 6);
    script.list(Living { threads: vec![], status: Some(5 << 8), ..living(103, ROOT, &[]) });
    let (events, _) = read(&reactor, &mut reader);
    let exits: Vec<_> = told(&events).into_iter().filter(|word| word.starts_with("exit")).collect();
    assert_eq!(exits, ["exit 101 5", "exit 102 ?", "exit 103 5"]);
}

#[test]
fn an_exec_by_a_thread_keeps_the_process() {
    let (reactor, script) = reactor();
    let mut reader = attach(&reactor, ROOT);
    script.fork(ROOT, 101).change(Change::Thread { process: 101, thread: 102 });
    let overtaken = 2_500;
    script.change(exit(101, 102, 9)).exec(101).change_at(overtaken, exit(101, 101, 9)).exit(101, 4 << 8);
    let (events, _) = read(&reactor, &mut reader);
    assert_eq!(told(&events)[1..], ["fork 100 101", "exec 101", "exit 101 4"]);
}

#[test]
fn two_trees_one_in_the_other() {
    let (reactor, script) = reactor();
    let mut outer = attach(&reactor, ROOT);
    script.fork(ROOT, 101).fork(101, 102);
    read(&reactor, &mut outer);
    let mut inner = attach(&reactor, 101);
    script.fork(102, 103).exit(101, 0).exit(102, 0).exit(103, 0).exit(ROOT, 0);
    let (inside, end) = read(&reactor, &mut inner);
    assert_eq!(
        told(&inside),
        ["found 101", "found 102", "fork 102 103", "exit 101 0", "exit 102 0", "exit 103 0"]
    );
    assert_eq!(end, Readiness::End);
    let (outside, end) = read(&reactor, &mut outer);
    assert_eq!(told(&outside), ["fork 102 103", "exit 101 0", "exit 102 0", "exit 103 0", "exit 100 0"]);
    assert_eq!(end, Readiness::End);
    assert_eq!(inside[2].id, outside[0].id, "one process, one name");
}

#[test]
fn k8_what_was_lost_is_counted_and_repaired() {
    let (reactor, script) = reactor();
    let mut reader = attach(&reactor, ROOT);
    script.fork(ROOT, 101).fork(ROOT, 102).fork(ROOT, 103);
    read(&reactor, &mut reader);
    // Lost: 101 ended and was reaped, 102 is a zombie, 103 has a child that has a child.
    script.lose(7).unlist(101);
    script.list(Living { threads: vec![], status: Some(3 << 8), ..living(102, ROOT, &[]) });
    script.list(living(105, 104, &[105])).list(living(104, 103, &[104, 204]));
    script.fork(105, 106).exit(106, 0);
    let (events, end) = read(&reactor, &mut reader);
    assert_eq!(end, Readiness::Pending);
    let told = told(&events);
    assert_eq!(told[0], "lost 7");
    assert_eq!(told.last().unwrap(), "resync 2 2");
    let place = |what: &str| {
        told.iter().position(|word| word == what).unwrap_or_else(|| panic!("{what} in {told:?}"))
    };
    assert!(place("found 104") < place("found 105"), "parents first");
    place("exit 101 ?");
    place("exit 102 3");
    // It was born after the loss, to one who was born unseen, and has ended.
    assert!(!told.contains(&"exit 106 ?".to_owned()));
    // Threads have been read again.
    script.change(exit(104, 104, 0)).change(exit(104, 204, 1));
    let (events, _) = read(&reactor, &mut reader);
    assert_eq!(self::told(&events), ["exit 104 1"]);
    drop(reader);
    nothing_is_left(&reactor);
}

/// Its birth is told after the loss, and its parent's was lost.
#[test]
fn k8_children_of_who_was_born_unseen_are_found() {
    let (reactor, script) = reactor();
    let mut reader = attach(&reactor, ROOT);
    read(&reactor, &mut reader);
    script.lose(1).list(living(101, ROOT, &[101])).fork(101, 102).fork(102, 103);
    let (events, _) = read(&reactor, &mut reader);
    assert_eq!(
        told(&events),
        ["lost 1", "found 101", "found 102", "found 103", "resync 3 0"],
        "who was told to be born of nobody known is found like any other"
    );
    script.exit(101, 0).fork(103, 104);
    let (events, _) = read(&reactor, &mut reader);
    assert_eq!(told(&events), ["exit 101 0", "fork 103 104"]);
}

#[test]
fn k9_the_end_of_a_thread_is_not_that_of_its_process_after_a_loss() {
    let (reactor, script) = reactor();
    let mut reader = attach(&reactor, ROOT);
    script.fork(ROOT, 101).change(Change::Thread { process: 101, thread: 102 });
    read(&reactor, &mut reader);
    script.lose(1).change(exit(101, 102, 0)).lose(1).unlist(101);
    let (events, _) = read(&reactor, &mut reader);
    assert_eq!(told(&events), ["lost 2", "exit 101 ?", "resync 0 1"]);
    // Killed for an exec, which is lost with what came of it.
    script.fork(ROOT, 103).change(Change::Thread { process: 103, thread: 104 });
    read(&reactor, &mut reader);
    let killed = Change::Exit { process: 103, thread: 104, status: Some(9), parent: 0 };
    script.lose(1).change(killed.clone()).lose(2).unlist(103);
    let (events, _) = read(&reactor, &mut reader);
    assert_eq!(told(&events), ["lost 3", "exit 103 ?", "resync 0 1"]);
    // The leader, and its record comes after that of the exec.
    script.fork(ROOT, 109).change(Change::Thread { process: 109, thread: 110 });
    read(&reactor, &mut reader);
    let killed = Change::Exit { process: 109, thread: 109, status: Some(9), parent: 0 };
    script.lose(1).exec(109).change_at(2_500, killed).lose(1).unlist(109);
    let (events, _) = read(&reactor, &mut reader);
    assert!(told(&events).contains(&"exit 109 ?".to_owned()), "{:?}", told(&events));
    // The same with the exec told; and what all its threads say counts.
    script.fork(ROOT, 105).change(Change::Thread { process: 105, thread: 106 });
    script.fork(ROOT, 107).change(Change::Thread { process: 107, thread: 108 });
    read(&reactor, &mut reader);
    script.lose(1).change(exit(105, 106, 7)).exec(105).lose(1).unlist(105);
    script.change(exit(107, 108, 7)).change(exit(107, 107, 7)).unlist(107);
    let (events, _) = read(&reactor, &mut reader);
    let told = told(&events);
    assert!(told.contains(&"exit 105 ?".to_owned()) && told.contains(&"exit 107 7".to_owned()), "{told:?}");
}

#[test]
fn k8_threads_that_were_born_unseen_keep_their_process() {
    let (reactor, script) = reactor();
    let mut reader = attach(&reactor, ROOT);
    script.fork(ROOT, 101);
    read(&reactor, &mut reader);
    script.lose(1).list(living(101, ROOT, &[102]));
    script.change(exit(101, 101, 0));
    let (events, _) = read(&reactor, &mut reader);
    assert_eq!(told(&events), ["lost 1", "resync 0 0"]);
    script.change(exit(101, 102, 6));
    let (events, _) = read(&reactor, &mut reader);
    assert_eq!(told(&events), ["exit 101 6"]);
}

#[test]
fn k8_a_pid_that_was_used_again_during_the_loss() {
    let (reactor, script) = reactor();
    let mut reader = attach(&reactor, ROOT);
    script.fork(ROOT, 101);
    let (events, _) = read(&reactor, &mut reader);
    let EventKind::Fork { child: old } = events[1].kind else { panic!("{events:?}") };
    // Its exit is lost, and so is the birth of the next, a stranger of much later.
    script.lose(2).list(Living { start: 60_000_000_000, ..living(101, 1, &[101]) });
    let (events, _) = read(&reactor, &mut reader);
    assert_eq!(told(&events), ["lost 2", "exit 101 ?", "resync 0 1"]);
    assert_eq!(events[1].id, old);
}

#[test]
fn a_slow_reader_gets_a_gap_and_who_lives() {
    let (reactor, script) = reactor();
    let options = {
        let mut options = options();
        options.log_limit = 2_000;
        options
    };
    let mut slow = reactor.attach(ROOT, options).unwrap();
    let mut all = 0;
    for pid in 101..141 {
        script.fork(ROOT, pid);
        if pid % 2 == 0 {
            script.exit(pid, 0);
        }
        all += 1 + usize::from(pid % 2 == 0);
    }
    let (events, end) = read(&reactor, &mut slow);
    assert_eq!(end, Readiness::Pending);
    let [Event { kind: EventKind::Gap { count, living, lost: None }, .. }] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!(*count, all as u64 + 1, "and the first found");
    let pids: Vec<u32> = living.iter().map(|member| member.id.pid()).collect();
    assert_eq!(pids[0], ROOT, "parents first");
    assert_eq!(pids[1..].iter().filter(|pid| **pid % 2 == 1).count(), 20);
    assert_eq!(pids.len(), 21);
    script.exit(101, 0);
    let (events, _) = read(&reactor, &mut slow);
    assert_eq!(told(&events), ["exit 101 0"]);
}

#[test]
fn a_clone_reads_from_the_same_place() {
    let (reactor, script) = reactor();
    let mut one = attach(&reactor, ROOT);
    read(&reactor, &mut one);
    let mut two = one.clone();
    script.fork(ROOT, 101);
    assert_eq!(told(&read(&reactor, &mut one).0), ["fork 100 101"]);
    drop(one);
    assert_eq!(told(&read(&reactor, &mut two).0), ["fork 100 101"]);
    drop(two);
    nothing_is_left(&reactor);
}

fn runs(argv: &str) -> Metadata {
    let mut metadata = Metadata::missing(Missing::Unsupported);
    metadata.argv = Ok(vec![OsString::from(argv)]);
    metadata
}

fn argv(event: &Event) -> Result<String, Missing> {
    match &event.kind {
        EventKind::Exec { metadata } | EventKind::Found { metadata } => metadata
            .argv
            .as_ref()
            .map(|argv| argv[0].to_string_lossy().into_owned())
            .map_err(|reason| *reason),
        other => panic!("{other:?}"),
    }
}

#[test]
fn k9_metadata_never_from_a_later_exec() {
    let (reactor, script) = reactor();
    script.program(ROOT, runs("root"));
    let mut reader = attach(&reactor, ROOT);
    script.fork(ROOT, 101).program(101, runs("second")).exec(101).exec(101);
    let (events, _) = read(&reactor, &mut reader);
    assert_eq!(argv(&events[0]), Ok("root".to_owned()));
    assert_eq!(argv(&events[2]), Err(Missing::Superseded));
    assert_eq!(argv(&events[3]), Ok("second".to_owned()));
    script.exec(101).exit(101, 0);
    let (events, _) = read(&reactor, &mut reader);
    assert_eq!(argv(&events[0]), Err(Missing::Gone));
}

/// What was read may be of an exec that is not queued yet.
#[test]
fn k9_metadata_that_are_not_settled_do_not_count() {
    let (reactor, script) = reactor();
    script.unsettled_program(ROOT, runs("next"));
    let mut reader = attach(&reactor, ROOT);
    script.exec(ROOT);
    let (events, _) = read(&reactor, &mut reader);
    assert_eq!(argv(&events[0]), Err(Missing::Unsettled));
    assert_eq!(argv(&events[1]), Err(Missing::Unsettled));
    script.program(ROOT, runs("next")).exec(ROOT);
    let (events, _) = read(&reactor, &mut reader);
    assert_eq!(argv(&events[0]), Ok("next".to_owned()));
}

#[test]
fn metadata_can_be_off() {
    let (reactor, script) = reactor();
    script.program(ROOT, runs("root")).program(101, runs("child"));
    let off = {
        let mut options = options();
        options.metadata = false;
        options
    };
    let mut without = reactor.attach(ROOT, off).unwrap();
    let mut with = attach(&reactor, ROOT);
    script.fork(ROOT, 101).exec(101);
    let (events, _) = read(&reactor, &mut without);
    assert_eq!((argv(&events[0]), argv(&events[2])), (Err(Missing::Off), Err(Missing::Off)));
    let (events, _) = read(&reactor, &mut with);
    assert_eq!((argv(&events[0]), argv(&events[2])), (Ok("root".to_owned()), Ok("child".to_owned())));
}

#[test]
fn a_broken_source_ends_all_streams_and_says_so() {
    let (reactor, script) = reactor();
    let mut reader = attach(&reactor, ROOT);
    script.fork(ROOT, 101).fail("cut off");
    let (events, end) = read(&reactor, &mut reader);
    // What came before the failure is told.
    assert_eq!(told(&events), ["found 100", "fork 100 101", "failed"]);
    assert_eq!(end, Readiness::End);
    let error = reactor.attach(ROOT, options()).unwrap_err();
    assert!(error.to_string().contains("cut off"), "{error}");
    assert!(reactor.begin_spawn(options()).unwrap_err().to_string().contains("cut off"));
}

#[test]
fn a_spawn_that_failed_leaves_nothing() {
    let (reactor, script) = reactor();
    let me = std::process::id();
    let spawning = reactor.begin_spawn(options()).unwrap();
    script.change(Change::Fork { parent: me, thread: thread_id(), child: 101 }).exit(101, 127 << 8);
    drop(spawning);
    reactor.turn();
    nothing_is_left(&reactor);
}

#[test]
fn a_spawn_claims_its_child_and_nobody_elses() {
    let (reactor, script) = reactor();
    let me = std::process::id();
    // Before the spawn, by this very thread; and during it, by another.
    script.change(Change::Fork { parent: me, thread: thread_id(), child: 101 });
    let spawning = reactor.begin_spawn(options()).unwrap();
    script.change(Change::Fork { parent: me, thread: u32::MAX, child: 102 });
    script.change(Change::Fork { parent: me, thread: thread_id(), child: 103 });
    script.fork(103, 104).exit(104, 0).exit(103, 1 << 8);
    let mut reader = spawning.claim(103);
    let (events, end) = read(&reactor, &mut reader);
    let born = format!("fork {me} 103");
    assert_eq!(told(&events), [born.as_str(), "fork 103 104", "exit 104 0", "exit 103 1"]);
    assert_eq!(end, Readiness::End);
    assert_eq!(
        reader.id(),
        match events[0].kind {
            EventKind::Fork { child } => child,
            _ => ProcId::new(0, 0),
        }
    );
}

#[test]
fn a_child_whose_birth_was_lost_is_found_or_gone() {
    let (reactor, script) = reactor();
    let spawning = reactor.begin_spawn(options()).unwrap();
    script.lose(3).list(living(std::process::id(), 1, &[thread_id()])).list(living(
        103,
        std::process::id(),
        &[103],
    ));
    script.list(living(104, 103, &[104]));
    let mut reader = spawning.claim(103);
    let (events, _) = read(&reactor, &mut reader);
    assert_eq!(told(&events), ["lost 3", "resync 0 0", "found 103", "found 104"]);
    assert_eq!(events[0].id, reader.id(), "named when it was claimed");
    let spawning = reactor.begin_spawn(options()).unwrap();
    script.lose(3);
    let mut reader = spawning.claim(105);
    let (events, end) = read(&reactor, &mut reader);
    assert_eq!(told(&events), ["lost 3", "resync 0 0", "exit 105 ?"]);
    assert_eq!(end, Readiness::End);
}

/// As the kernel names this thread, which a spawn goes by.
fn thread_id() -> u32 {
    let link = std::fs::read_link("/proc/thread-self").expect("/proc is mounted");
    link.file_name().and_then(|name| name.to_str()?.parse().ok()).expect("PID/task/TID")
}

/// Its pids are made up: no process of this system is meant by them.
#[test]
fn a_scripted_process_cannot_be_signalled() {
    let (reactor, script) = reactor();
    script.list(living(std::process::id(), ROOT, &[std::process::id()]));
    script.fork(ROOT, std::process::id());
    let reader = attach(&reactor, std::process::id());
    let refused = reactor.signal(reader.id(), 0);
    assert!(matches!(refused, Err(SignalError::Unsupported(_))), "{refused:?}");
    assert!(matches!(reactor.pidfd(reader.id()), Err(SignalError::Unsupported(_))));
    script.fail("broken");
    while reactor.turn() == Turned::More {}
    let refused = reactor.signal(reader.id(), 0);
    assert!(matches!(refused, Err(SignalError::Source(_))), "nobody knows any more who lives: {refused:?}");
}
