//! The reactor over each real source.
#![cfg(target_os = "linux")]

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use proc_reactor::{
    Event, EventKind, ExitStatus, OpenOptions, ProcId, Reactor, Reader, Readiness, SourceName, TreeOptions,
    Turned, open,
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

/// A process group, all of which is ended where a test fails before it has done so itself.
struct Group(Child);

impl Group {
    fn kill(&self) -> bool {
        let group = format!("-{}", self.0.id());
        Command::new("kill").args(["-9", "--", &group]).status().unwrap().success()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Once it has been reaped its number may be another's.
        if matches!(self.0.try_wait(), Ok(None)) {
            self.kill();
            let _ = self.0.wait();
        }
    }
}

/// The process group of one who lives. None of a zombie.
fn group_of(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    if fields[0] == "Z" { None } else { fields[2].parse().ok() }
}

/// How many processes and threads the machine has made so far.
fn forks() -> u64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap();
    stat.lines().find_map(|line| line.strip_prefix("processes ")).unwrap().parse().unwrap()
}

/// A stream that is read while others may flood so small a buffer, at any moment and for as long as they please.
struct Told<'a> {
    reactor: &'a Reactor,
    reader: Reader,
    events: Vec<Event>,
    /// When the last loss was told, or reading began.
    calm_since: Instant,
    losses: u64,
    lost: u64,
    /// A loss has been told, and not yet that all is right again.
    broken: bool,
    /// Who lives, by what was told.
    living: HashSet<ProcId>,
    /// Ends: with whether a loss was being repaired.
    ends: Vec<(ProcId, ExitStatus, bool)>,
}

impl<'a> Told<'a> {
    fn new(reactor: &'a Reactor, reader: Reader) -> Self {
        let (events, living, ends) = (Vec::new(), HashSet::new(), Vec::new());
        let calm_since = Instant::now();
        Self { reactor, reader, events, calm_since, losses: 0, lost: 0, broken: false, living, ends }
    }

    fn take(&mut self, event: Event) {
        match &event.kind {
            EventKind::Fork { child } => assert!(self.living.insert(*child), "{event}, twice"),
            EventKind::Found { .. } => assert!(self.living.insert(event.id), "{event}, twice"),
            EventKind::Exit { status } => {
                assert!(self.living.remove(&event.id), "{event} of nobody");
                self.ends.push((event.id, *status, self.broken));
            }
            EventKind::Lost { count, .. } => {
                (self.broken, self.calm_since) = (true, Instant::now());
                (self.losses, self.lost) = (self.losses + 1, self.lost + count);
            }
            EventKind::Resync { .. } => self.broken = false,
            EventKind::Exec { .. } => assert!(self.living.contains(&event.id), "{event} of nobody"),
            // It is read after each turn, and the tree is small.
            _ => panic!("{event}"),
        }
        self.events.push(event);
    }

    /// Reads until it is `enough`, or the end. It takes long only while others flood: false if they never stopped.
    fn read_until(&mut self, enough: impl Fn(&Self) -> bool) -> bool {
        let (begun, forks_before, losses_before) = (Instant::now(), forks(), self.losses);
        let mut out = VecDeque::new();
        self.calm_since = begun;
        while !enough(self) {
            // One at a time: in a flood there is always more, and the log would run over.
            let turned = self.reactor.turn();
            let readiness = self.reader.read(&mut out, usize::MAX);
            out.drain(..).for_each(|event| self.take(event));
            if readiness == Readiness::End {
                break;
            }
            assert!(self.calm_since.elapsed() < Duration::from_secs(20), "it stands still: {self}");
            if begun.elapsed() > Duration::from_secs(60) {
                // A buffer holds more than a fork's records: fewer forks cannot have made so many losses.
                let (forks, losses) = (forks() - forks_before, self.losses - losses_before);
                assert!(forks > losses, "{losses} losses, and others made {forks} processes: {self}");
                println!("SKIPPED: others flood the machine: {forks} forks, {losses} losses in a minute");
                return false;
            }
            if turned != Turned::More {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        true
    }
}

/// Without the losses, of which there may be hundreds.
impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { losses, lost, broken, living, ends, .. } = self;
        writeln!(f, "{lost} lost in {losses} losses, broken: {broken}; {living:?} live, {ends:?} ended")?;
        let told = |event: &&Event| !matches!(event.kind, EventKind::Lost { .. } | EventKind::Resync { .. });
        self.events.iter().filter(told).try_for_each(|event| writeln!(f, "{event}"))
    }
}

fn sleep_through_a_flood(reactor: &Reactor) {
    // The flood begins when nobody reads any more: to claim a child is to read.
    let script = "read go; sleep 600 & echo $! >&3; i=0; while [ $i -lt 400 ]; do (:); i=$((i+1)); done; \
                  sh -c 'sleep 600; exit 5' & echo $! >&3; wait";
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("exec 3>&1; {script}")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .process_group(0);
    let (child, reader) = spawn(reactor, command);
    let mut group = Group(child);
    let (root, pid) = (reader.id(), group.0.id());
    std::io::Write::write_all(&mut group.0.stdin.take().unwrap(), b"go\n").unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(group.0.stdout.take().unwrap()));
    let sleepers = [(); 2].map(|()| lines.next().unwrap().unwrap().parse::<u32>().unwrap());

    // The flood is over, for the shell has said who its second sleeper is.
    let mut told = Told::new(reactor, reader);
    if !told.read_until(|told| told.lost >= 400 && !told.broken) {
        return;
    }
    assert!(told.events.iter().all(|event| event.id.pid() != 0), "{told}");
    let lives = |pid: u32| told.living.iter().any(|id| id.pid() == pid);
    assert!(told.living.contains(&root) && sleepers.into_iter().all(lives), "all three are alive, {told}");
    // And what the second sleeper waits for; nobody of the flood.
    let of_it = |id: &ProcId| group_of(id.pid()) == Some(pid);
    assert!(told.living.iter().all(of_it) && told.living.len() <= 4, "the dead are alive, {told}");

    // All of its group: nothing is left behind.
    let before: Vec<ProcId> = told.living.iter().copied().collect();
    told.ends.clear();
    assert!(group.kill());
    if !told.read_until(|_| false) {
        return;
    }
    assert!(told.living.is_empty(), "{told}");
    for id in &before {
        assert_eq!(told.ends.iter().filter(|(of, ..)| of == id).count(), 1, "{id}: {told}");
    }
    // Others may flood at the moment of the kill: who is reaped by another then has an end that nobody knows. That a loss was being
    // repaired has been told by then; and ours has not been reaped.
    let killed = ExitStatus::Signal { signal: 9, core: false };
    for &(id, status, broken) in &told.ends {
        let unseen = !before.contains(&id) && !reactor.capabilities().statuses;
        let may_be_unknown = id != root && (broken || unseen);
        assert!(
            status == killed || may_be_unknown && status == ExitStatus::Unknown,
            "{id}, {status}: {told}"
        );
    }
    drop((told, group));
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
