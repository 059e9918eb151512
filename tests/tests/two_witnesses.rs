//! Two sources of the system, held against each other over real processes: they agree on every birth, exec and end, or where one
//! of them cannot see, it is said that nothing was compared.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use proc_watch::{AttachError, Command, Events, SourceName, Watcher, WitnessReport};
use tests::seen::{ATTEMPTS, Seen};
use tests::truth;
use tokio::runtime::{Builder, Runtime};

/// Longer than anything here is waited for.
const TOO_LONG: Duration = Duration::from_secs(60);

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// `None` where it does not open; it is said why.
fn watcher() -> Option<Watcher> {
    match Watcher::builder().source(SourceName::Both).metadata(false).build() {
        Ok(watcher) => Some(watcher),
        Err(error) => {
            println!("SKIPPED: source both: {error}");
            None
        }
    }
}

/// What it came to, once neither has told what the other has not, or has been given time for it in vain.
fn settled(watcher: &Watcher) -> WitnessReport {
    let begun = std::time::Instant::now();
    loop {
        let report = watcher.witnesses().expect("there are two");
        if report.open == 0 || begun.elapsed() > TOO_LONG {
            return report;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn assert_agreed(report: &WitnessReport) {
    let told: Vec<String> = report.disagreements.iter().map(ToString::to_string).collect();
    assert!(told.is_empty(), "{report:?}\n{}", told.join("\n"));
    assert_eq!((report.open, &report.silent), (0, &None), "{report:?}");
}

/// Reads a stream to its end. True if nothing was lost by either.
async fn undisturbed(watcher: &Watcher, mut events: Events) -> bool {
    let seen = Seen::attached(events.id()).losses_allowed().read(&mut events).await;
    let report = settled(watcher);
    assert_agreed(&report);
    seen.lost() == 0 && report.lost_by_second == 0
}

fn make_tree(dir: &Path, args: &[&str]) -> std::process::Command {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_make_tree"));
    command.arg("--truth").arg(dir.join("truth")).args(args);
    command
}

/// Both tell of the same processes as the tree itself.
fn agree_on(args: &[&str]) {
    for _ in 0..ATTEMPTS {
        let Some(watcher) = watcher() else { return };
        let dir = tempfile::tempdir().expect("a directory");
        let whole = runtime().block_on(async {
            let (mut child, events) = watcher.spawn(make_tree(dir.path(), args)).expect("a tree");
            let whole = undisturbed(&watcher, events).await;
            assert!(child.wait().await.expect("its status").success());
            whole
        });
        let text = fs::read_to_string(dir.path().join("truth")).expect("the truth");
        let truth = truth::parse(&text).expect("the truth");
        let report = settled(&watcher);
        if whole {
            assert_eq!((report.processes, report.exempt), (truth.len() as u64, 0), "{report:?}");
            assert!(report.agreed >= 2 * report.processes, "{report:?}");
            return;
        }
        println!("records were lost, once more: {report:?}");
    }
    panic!("records were lost each time");
}

#[test]
fn all_shapes_at_once() {
    agree_on(&["--shape", "mix", "--count", "500"]);
}

#[test]
fn threads_that_fork_and_leaders_that_leave() {
    agree_on(&["--shape", "threads", "--count", "300"]);
}

#[test]
fn execs_by_other_threads() {
    agree_on(&["--shape", "exec-by-thread", "--count", "300"]);
}

#[test]
fn many_makers_at_once() {
    agree_on(&["--shape", "storm", "--count", "4000"]);
}

#[test]
fn parents_that_die_before_their_children() {
    agree_on(&["--shape", "orphans", "--count", "300"]);
}

/// A tree that runs already, and forks while it is attached to.
#[test]
fn attached_in_the_midst_of_forks() {
    let mut in_time = 0;
    for seed in 1..6 {
        let Some(watcher) = watcher() else { return };
        let dir = tempfile::tempdir().expect("a directory");
        let args = ["--shape", "storm", "--count", "3000", "--seed", &seed.to_string()];
        let mut top = make_tree(dir.path(), &args).stdout(Stdio::null()).spawn().expect("a tree");
        // By then it makes processes, and is far from the end.
        while fs::read_to_string(dir.path().join("truth")).map_or(0, |text| text.lines().count()) < 50 {
            std::thread::sleep(Duration::from_millis(1));
        }
        runtime().block_on(async {
            let events = match watcher.attach(top.id()) {
                Ok(events) => events,
                // A tree that grows does not wait.
                Err(AttachError::NoSuchProcess { .. }) => {
                    top.wait().expect("its status");
                    return;
                }
                Err(error) => panic!("{error}"),
            };
            in_time += 1;
            let reaped = tokio::task::spawn_blocking(move || top.wait());
            undisturbed(&watcher, events).await;
            assert!(reaped.await.expect("no panic").expect("its status").success());
        });
        println!("seed {seed}: {:?}", settled(&watcher));
    }
    assert!(in_time > 0, "each tree had ended before it was attached to");
}

/// The second is shut out of a program that may not be read; root may read all. What such a program starts is not compared, and all
/// else is.
#[test]
fn a_program_that_may_not_be_read() {
    let dir = tempfile::tempdir().expect("a directory");
    let hidden = dir.path().join("hidden");
    fs::copy("/bin/sh", &hidden).expect("a copy of the shell");
    fs::set_permissions(&hidden, fs::Permissions::from_mode(0o111)).expect("a mode");
    let root = fs::read(&hidden).is_ok();
    let script = "\"$0\" -c 'sleep 0.3; (sleep 0.1 & wait); exit 3'; (exit 4); sleep 0.1; exit 5";
    for _ in 0..ATTEMPTS {
        let Some(watcher) = watcher() else { return };
        let whole = runtime().block_on(async {
            let mut command = Command::new("sh");
            let (mut child, events) =
                watcher.spawn(command.args(["-c", script]).arg(&hidden)).expect("a shell");
            let whole = undisturbed(&watcher, events).await;
            assert_eq!(child.wait().await.expect("its status").code(), Some(5));
            whole
        });
        let report = settled(&watcher);
        if whole {
            // The shell that may not be read and its three children; the shell that started it, and that one's others.
            let expected = if root { (7, 0) } else { (3, 4) };
            assert_eq!((report.processes, report.exempt), expected, "{report:?}");
            return;
        }
        println!("records were lost, once more: {report:?}");
    }
    panic!("records were lost each time");
}

/// One pid, over and over: the births of it are not told apart by anything but their order.
#[test]
fn k7_a_pid_that_is_used_again_and_again() {
    const TIMES: usize = 300;
    let Some(watcher) = watcher() else { return };
    let dir = tempfile::tempdir().expect("a directory");
    let master = UnixDatagram::bind(dir.path().join("master")).expect("a socket");
    master.set_read_timeout(Some(TOO_LONG)).expect("a time-out");
    let say = |pid: u32, words: &str| {
        master.send_to(words.as_bytes(), dir.path().join(pid.to_string())).expect("it listens");
    };
    // From whom it comes, and what: answers of several may be on their way.
    let hear = || {
        let mut buffer = [0; 64];
        let length = master.recv(&mut buffer).expect("an answer in time");
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        let (pid, words) = text.split_once(' ').expect("a pid and words");
        (pid.parse::<u32>().expect("a pid"), words.to_owned())
    };
    runtime().block_on(async {
        let mut command = Command::new(env!("CARGO_BIN_EXE_puppet"));
        let (mut child, events) = watcher.spawn(command.arg("--puppet").arg(dir.path())).expect("a puppet");
        let top = child.id().pid();
        assert_eq!(hear(), (top, "ready".to_owned()));
        let mut order = "fork".to_owned();
        for time in 0..TIMES {
            say(top, &order);
            let (mut made, mut ready) = (None, None);
            while made.is_none() || ready.is_none() {
                match hear() {
                    (pid, words) if pid == top && words.starts_with("refused") => {
                        assert_eq!(time, 1, "{words}");
                        println!("SKIPPED: pids cannot be chosen here ({words}): it takes root");
                        made = Some(0);
                        ready = Some(0);
                    }
                    (pid, words) if pid == top => made = words.parse::<u32>().ok(),
                    (pid, _) => ready = Some(pid),
                }
            }
            if made == Some(0) {
                break;
            }
            let child = made.expect("its pid");
            assert_eq!(ready, Some(child));
            say(child, "exit 0");
            say(top, &format!("reap {child}"));
            hear();
            order = format!("fork-as {child}");
        }
        say(top, "exit 0");
        child.wait().await.expect("its status");
        undisturbed(&watcher, events).await;
    });
    println!("{:?}", settled(&watcher));
}
