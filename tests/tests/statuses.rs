//! K9 and K10: everybody's status for those who wait, and never a wrong one for those who watch, over each source that works here.
//!
//! Children end with all codes, by signals, and with cores. Whoever waits for them gets each status once, as if nobody watched;
//! and what the stream tells of each is the same, or that it is unknown. Where a source or the situation promises that it is
//! known, it has to be.
#![cfg(target_os = "linux")]
#![expect(unsafe_code, reason = "waiting for any child, and ignoring them all, have no safe interface")]

use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};

use proc_reactor::{OpenOptions, Reactor, Reader, Readiness, SourceName, TreeOptions, Turned};
use tests::ends::{Ends, Share, is_as_planned, planned};
use tests::seen::ATTEMPTS;
use tests::sources::{Forced, sources};
use tokio::runtime::{Builder, Runtime};

/// Children of a test, over each source.
const CHILDREN: usize = 600;
/// Of them at the same time.
const AT_ONCE: usize = 12;
/// Milliseconds in which something has to come.
const TIME_LIMIT: i32 = 60_000;

const MORTAL: &str = env!("CARGO_BIN_EXE_mortal");

fn reactor(source: SourceName) -> Reactor {
    let mut options = OpenOptions::default();
    options.source = Some(source);
    let source = proc_reactor::open(&options).unwrap_or_else(|error| panic!("{error}"));
    Reactor::new(source).unwrap_or_else(|error| panic!("{error}"))
}

fn options() -> TreeOptions {
    let mut options = TreeOptions::default();
    options.metadata = false;
    options
}

/// A command that ends as the child of this number is to, in a directory where a core may be left.
fn mortal(number: usize, dir: &tempfile::TempDir) -> Command {
    let mut command = Command::new(MORTAL);
    command.args(["end", &planned(number).to_string()]).current_dir(dir.path()).stderr(Stdio::null());
    command
}

fn directory() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("statuses-").tempdir().expect("a directory")
}

type AnyError = Box<dyn std::error::Error + Send + Sync>;

fn spawn(reactor: &Reactor, mut command: Command) -> (Reader, Child) {
    let start = move || -> Result<(u32, Child), AnyError> {
        let child = command.spawn()?;
        Ok((child.id(), child))
    };
    reactor.spawn(options(), start).unwrap_or_else(|error| panic!("{error}"))
}

/// Reads a stream to its end.
fn read(reactor: &Reactor, reader: &mut Reader, ends: &mut Ends) {
    let mut events = VecDeque::new();
    loop {
        while reactor.turn() == Turned::More {}
        let readiness = reader.read(&mut events, 64);
        events.drain(..).for_each(|event| ends.take(event.id, &event.kind));
        match readiness {
            Readiness::End => return,
            Readiness::Ready => {}
            Readiness::Pending => readable(reactor),
        }
    }
}

fn readable(fd: impl AsFd) {
    let mut polled = libc::pollfd { fd: fd.as_fd().as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one entry, which lives as long as the call.
    assert_eq!(unsafe { libc::poll(&raw mut polled, 1, TIME_LIMIT) }, 1, "nothing comes");
}

/// What the application got for a child by waiting for it, which has to be what the child did.
fn check_waited(number: usize, status: std::io::Result<std::process::ExitStatus>) -> i32 {
    let status = status.unwrap_or_else(|error| panic!("child {number}: its status was lost: {error}"));
    let (status, planned) = (status.into_raw(), planned(number));
    assert!(is_as_planned(status, planned), "child {number} was to end with {planned:#x}: {status:#x}");
    status
}

/// Whether all statuses have to be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// Whatever the source.
    All,
    /// Of a source that promises statuses.
    IfPromised,
}

/// Runs a scenario over each source, anew while records are lost on a busy machine, and judges it.
fn over_each_source(known: Known, scenario: impl Fn(Forced) -> (Vec<(u32, i32)>, Ends)) {
    for source in sources() {
        let promised = source.watcher().capabilities().statuses;
        let mut whole = false;
        for _ in 0..ATTEMPTS {
            let (truth, ends) = scenario(source);
            let share = judge(&truth, &ends, source);
            println!("{}: {share}, {} records lost", source.name, ends.lost);
            whole = share.is_whole() || (known == Known::IfPromised && !promised);
            if ends.lost == 0 {
                break;
            }
            whole = false;
        }
        assert!(whole, "{}: not all statuses are known", source.name);
    }
}

fn judge(truth: &[(u32, i32)], ends: &Ends, source: Forced) -> Share {
    ends.judge(truth).unwrap_or_else(|wrong| panic!("{}, {} lost: {wrong}", source.name, ends.lost))
}

/// Whether the kernel says of the reaped how they ended (6.15), tried with one.
fn tells_the_reaped() -> bool {
    #[repr(C, align(8))]
    struct Info([u32; 16]);
    const INFO_EXIT: u32 = 1 << 3;
    const GET_INFO: u32 = 0xc040_ff0b;
    let mut child = Command::new("true").spawn().expect("true");
    // SAFETY: takes integers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, child.id(), 0) };
    child.wait().expect("a child");
    let mut info = Info([0; 16]);
    info.0[0] = INFO_EXIT;
    // SAFETY: the request's number has the size of what is read and written.
    let told = unsafe { libc::ioctl(fd as libc::c_int, GET_INFO as _, &raw mut info) };
    // SAFETY: it is this function's.
    unsafe { libc::close(fd as libc::c_int) };
    let tells = told == 0 && info.0[0] & INFO_EXIT != 0;
    if !tells {
        println!("SKIPPED: that all are known, for this kernel does not say of the reaped how they ended");
    }
    tells
}

/// What has to be known of own children that are waited for at once.
fn of_own_children() -> Known {
    if tells_the_reaped() { Known::All } else { Known::IfPromised }
}

/// std: waited for at once, by whoever made them.
#[test]
fn k10_std_child_wait() {
    over_each_source(of_own_children(), |source| {
        let (reactor, dir) = (reactor(source.name), directory());
        let (mut truth, mut ends) = (Vec::new(), Ends::default());
        let mut streams = Vec::new();
        for number in 0..CHILDREN {
            let (reader, mut child) = spawn(&reactor, mortal(number, &dir));
            truth.push((child.id(), check_waited(number, child.wait())));
            streams.push(reader);
            if streams.len() == AT_ONCE {
                streams.drain(..).for_each(|mut reader| read(&reactor, &mut reader, &mut ends));
            }
        }
        streams.iter_mut().for_each(|reader| read(&reactor, reader, &mut ends));
        (truth, ends)
    });
}

/// The stream has told of the end of a child that nobody has waited for. It is still there to be waited for.
#[test]
fn k10_we_reap_nobody() {
    over_each_source(Known::All, |source| {
        let (reactor, dir) = (reactor(source.name), directory());
        let (mut truth, mut ends) = (Vec::new(), Ends::default());
        for first in (0..CHILDREN).step_by(AT_ONCE) {
            let numbers = first..CHILDREN.min(first + AT_ONCE);
            let made = numbers.map(|number| (number, spawn(&reactor, mortal(number, &dir))));
            for (number, (mut reader, mut child)) in made.collect::<Vec<_>>() {
                read(&reactor, &mut reader, &mut ends);
                assert_eq!(
                    ends.by_pid[&child.id()].len(),
                    truth_of(&truth, child.id()) + 1,
                    "told, and not waited for"
                );
                truth.push((child.id(), check_waited(number, child.wait())));
            }
        }
        (truth, ends)
    });
}

/// Trap 6: perf writes that a process exits while it still gives its memory back, long before it can be waited for; cn_proc sends it
/// after. Whatever the source, an end that is told is one that can be waited for.
#[test]
fn trap_6_an_end_that_is_told_can_be_waited_for() {
    over_each_source(Known::All, |source| {
        let (reactor, dir) = (reactor(source.name), directory());
        let (mut truth, mut ends) = (Vec::new(), Ends::default());
        for number in 0..20 {
            let mut command = mortal(number, &dir);
            if number % 2 == 0 {
                command = Command::new(MORTAL);
                command.args(["bulk", &planned(number).to_string()]);
            }
            let (mut reader, mut child) = spawn(&reactor, command);
            read(&reactor, &mut reader, &mut ends);
            let status = child.try_wait().expect("nobody else waits for it").expect("its end was told");
            truth.push((child.id(), check_waited(number, Ok(status))));
        }
        (truth, ends)
    });
}

fn truth_of(truth: &[(u32, i32)], pid: u32) -> usize {
    truth.iter().filter(|(known, _)| *known == pid).count()
}

fn runtimes() -> [Runtime; 2] {
    let current_thread = Builder::new_current_thread().enable_all().build();
    let multi_thread = Builder::new_multi_thread().worker_threads(2).enable_all().build();
    [current_thread.expect("a runtime"), multi_thread.expect("a runtime")]
}

/// tokio: waited for in tasks of their own, while others are being made.
#[test]
fn k10_tokio_child_wait() {
    for runtime in runtimes() {
        over_each_source(of_own_children(), |source| {
            let dir = directory();
            let task = async move {
                let watcher = source.watcher();
                let (mut truth, mut ends) = (Vec::new(), Ends::default());
                for first in (0..CHILDREN).step_by(AT_ONCE) {
                    let mut tasks = Vec::new();
                    for number in first..CHILDREN.min(first + AT_ONCE) {
                        let spawned = watcher.spawn(mortal(number, &dir));
                        let (mut child, mut events) = spawned.unwrap_or_else(|error| panic!("{error}"));
                        let pid = child.id().pid();
                        let waiting = tokio::spawn(async move { (pid, number, child.wait().await) });
                        tasks.push((
                            waiting,
                            tokio::spawn(async move {
                                let mut told = Vec::new();
                                while let Some(event) = events.next().await {
                                    told.push(event);
                                }
                                told
                            }),
                        ));
                    }
                    for (waiting, reading) in tasks {
                        let (pid, number, status) = waiting.await.expect("a task");
                        truth.push((pid, check_waited(number, status)));
                        let told = reading.await.expect("a task");
                        told.iter().for_each(|event| ends.take(event.id, &event.kind));
                    }
                }
                (truth, ends)
            };
            let time_limit = std::time::Duration::from_secs(120);
            runtime
                .block_on(async { tokio::time::timeout(time_limit, tokio::spawn(task)).await })
                .expect("a stream or a child does not end")
                .expect("a task")
        });
    }
}

/// A tree whose top makes children in its own way, and says what it knows of them.
fn tree(source: Forced, how: &str) -> (Vec<(u32, i32)>, Ends) {
    let (reactor, dir) = (reactor(source.name), directory());
    let mut command = Command::new(MORTAL);
    command.args([how, &CHILDREN.to_string()]).current_dir(dir.path()).stdout(Stdio::piped());
    let (mut reader, child) = spawn(&reactor, command);
    let pid = child.id();
    let waiting = std::thread::spawn(move || child.wait_with_output().expect("its output"));
    let mut ends = Ends::default();
    read(&reactor, &mut reader, &mut ends);
    let output = waiting.join().expect("a thread");
    assert!(output.status.success(), "{how}: a status was lost or wrong: {}", output.status);
    let text = String::from_utf8(output.stdout).expect("text");
    let line = |line: &str| {
        let (pid, status) = line.split_once(' ').expect("two words");
        (pid.parse().expect("a pid"), status.parse().expect("a status"))
    };
    let mut truth: Vec<(u32, i32)> = text.lines().map(line).collect();
    assert_eq!(truth.len(), CHILDREN);
    truth.push((pid, 0));
    (truth, ends)
}

/// Another process reaps its own children, faster than we may be.
#[test]
fn k10_a_foreign_reaper() {
    over_each_source(Known::IfPromised, |source| tree(source, "reap"));
}

/// Another process ignores its children, which the kernel reaps as they end.
#[test]
fn k9_children_that_are_ignored() {
    over_each_source(Known::IfPromised, |source| tree(source, "ignore"));
}

/// Whoever takes in orphans reaps them, at a time of its own.
#[test]
fn k9_orphans() {
    over_each_source(Known::IfPromised, |source| {
        let (mut truth, mut ends) = tree(source, "orphan");
        // Those between them all ended with 0, and nobody wrote down who they were.
        let known: Vec<u32> = truth.iter().map(|(pid, _)| *pid).collect();
        let before = ends.by_pid.len();
        ends.by_pid.retain(|pid, _| known.contains(pid));
        truth.retain(|(pid, _)| ends.by_pid.get(pid).is_some_and(|told| told.len() == 1));
        assert!(
            before > CHILDREN && truth.len() > CHILDREN / 2,
            "{before} ended, {} alone of their pid",
            truth.len()
        );
        (truth, ends)
    });
}

/// Runs a part of this program that changes the whole of a process, in a process of its own, over each source.
fn in_a_program_of_its_own(part: &str) {
    for source in sources() {
        let output = Command::new(std::env::current_exe().expect("/proc"))
            .args(["--exact", part, "--ignored", "--nocapture", "--test-threads", "1"])
            .env(SOURCE, source.name.as_str())
            .output()
            .expect("this program");
        print!("{}", String::from_utf8_lossy(&output.stdout));
        assert!(output.status.success(), "{part}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// The source that a part is run over.
const SOURCE: &str = "STATUSES_SOURCE";

/// None where a part is not run as a part of another test.
fn forced() -> Option<SourceName> {
    let name = std::env::var(SOURCE).ok()?;
    Some(name.parse().expect("a source"))
}

/// A thread of the application waits for any child, whosever it is.
#[test]
fn k10_wait4_of_any_child_in_another_thread() {
    in_a_program_of_its_own("any_child_is_waited_for");
}

#[test]
#[ignore = "a part of `k10_wait4_of_any_child_in_another_thread`"]
#[expect(clippy::zombie_processes, reason = "another thread waits for it")]
fn any_child_is_waited_for() {
    let Some(name) = forced() else { return };
    for _ in 0..ATTEMPTS {
        let (reactor, dir) = (reactor(name), directory());
        // While it is there, there is always somebody to be waited for.
        let mut last = Command::new(MORTAL).arg("linger").stdin(Stdio::piped()).spawn().expect("mortal");
        let last_pid = last.id();
        let reaper = std::thread::spawn(move || reap_all(last_pid));
        let (mut made, mut ends) = (Vec::new(), Ends::default());
        for first in (0..CHILDREN).step_by(AT_ONCE) {
            let mut streams = Vec::new();
            for number in first..CHILDREN.min(first + AT_ONCE) {
                let (reader, child) = spawn(&reactor, mortal(number, &dir));
                made.push((child.id(), number));
                streams.push(reader);
            }
            streams.iter_mut().for_each(|reader| read(&reactor, reader, &mut ends));
        }
        drop(last.stdin.take());
        let truth = reaper.join().expect("a thread");
        assert_eq!(truth.len(), CHILDREN, "each once, and nobody else");
        let mut waited: HashMap<u32, VecDeque<i32>> = HashMap::new();
        truth.iter().for_each(|(pid, status)| waited.entry(*pid).or_default().push_back(*status));
        for (pid, number) in made {
            let status = waited.get_mut(&pid).and_then(VecDeque::pop_front).expect("its status was lost");
            assert!(is_as_planned(status, planned(number)), "child {number}: {status:#x}");
        }
        let share = judge(&truth, &ends, Forced { name, buffer: None });
        println!("{name}: {share}, {} records lost", ends.lost);
        if ends.lost == 0 {
            assert!(share.is_whole() || !reactor.capabilities().statuses);
            return;
        }
    }
    panic!("records were lost each time");
}

/// Waits for any child, with stops, until `last` has ended and nobody is left. Who ends after others may be waited for before
/// them.
fn reap_all(last: u32) -> Vec<(u32, i32)> {
    let (mut reaped, mut seen_last) = (Vec::new(), false);
    loop {
        let mut status = 0;
        let flags = libc::WUNTRACED | libc::WCONTINUED | libc::__WALL;
        // SAFETY: the status is this function's; no usage is asked for.
        let pid = unsafe { libc::wait4(-1, &raw mut status, flags, std::ptr::null_mut()) };
        if pid < 0 {
            assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(libc::ECHILD));
            assert!(seen_last, "somebody else reaped the last");
            return reaped;
        }
        assert!(libc::WIFEXITED(status) || libc::WIFSIGNALED(status), "{pid} did not end: {status:#x}");
        if pid as u32 == last {
            seen_last = true;
        } else {
            reaped.push((pid as u32, status));
        }
    }
}

/// Row 14 of what users of other tools ask for: SIGCHLD is never used. The application ignores its children: nobody can wait for them.
#[test]
fn k10_an_application_that_ignores_its_children() {
    in_a_program_of_its_own("children_are_ignored");
}

#[test]
#[ignore = "a part of `k10_an_application_that_ignores_its_children`"]
fn children_are_ignored() {
    let Some(name) = forced() else { return };
    // SAFETY: to ignore runs no code.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    for _ in 0..ATTEMPTS {
        let (reactor, dir) = (reactor(name), directory());
        let (mut truth, mut ends) = (Vec::new(), Ends::default());
        for first in (0..CHILDREN).step_by(AT_ONCE) {
            // No cores: nobody could say whether there was one.
            let plain = |number: &usize| planned(*number) & tests::ends::CORE == 0;
            let numbers = (first..CHILDREN.min(first + AT_ONCE)).filter(plain);
            let made = numbers.map(|number| (number, spawn(&reactor, mortal(number, &dir))));
            for (number, (mut reader, mut child)) in made.collect::<Vec<_>>() {
                let waited = child.wait().expect_err("nothing is kept of it");
                assert_eq!(waited.raw_os_error(), Some(libc::ECHILD));
                truth.push((child.id(), planned(number)));
                read(&reactor, &mut reader, &mut ends);
            }
        }
        let share = judge(&truth, &ends, Forced { name, buffer: None });
        println!("{name}: {share}, {} records lost", ends.lost);
        if ends.lost == 0 {
            assert!(share.is_whole() || !reactor.capabilities().statuses);
            return;
        }
    }
    panic!("records were lost each time");
}

/// By its stream's identity, and by nobody's pid: the application learns of the end by the descriptor that it was given.
#[test]
fn k2_a_watcher_signals_and_gives_descriptors() {
    for source in sources() {
        let [runtime, _] = runtimes();
        runtime.block_on(async {
            let watcher = source.watcher();
            let mut command = Command::new(MORTAL);
            command.arg("linger").stdin(Stdio::piped());
            let (mut child, mut events) = watcher.spawn(command).unwrap_or_else(|error| panic!("{error}"));
            let id = child.id();
            let signalled = loop {
                match watcher.signal(id, libc::SIGUSR1) {
                    Err(proc_watch::SignalError::Unsettled { .. }) => tokio::task::yield_now().await,
                    result => break result,
                }
            };
            signalled.unwrap_or_else(|error| panic!("{error}"));
            let status = child.wait().await.expect("its status");
            assert_eq!(status.signal(), Some(libc::SIGUSR1));
            let mut ends = Ends::default();
            while let Some(event) = events.next().await {
                ends.take(event.id, &event.kind);
            }
            judge(&[(id.pid(), libc::SIGUSR1)], &ends, source);
            assert!(matches!(watcher.signal(id, 0), Err(proc_watch::SignalError::Gone { .. })));
        });
    }
}
