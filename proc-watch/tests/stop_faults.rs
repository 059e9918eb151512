//! Stopping where something is wrong: no descriptors, a stalled runtime, programs that may not be signalled, other namespaces.

mod each_source;

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use proc_watch::{Child, Command, Emptiness, Refused, StopPlan, Watcher};

use each_source::watchers;

/// A limit for what is sure to happen soon.
const PATIENCE: Duration = Duration::from_secs(60);

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// A command, which says `ready` when it is.
fn start(watcher: &Watcher, words: &[&str]) -> Child {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).stdout(Stdio::piped()).stdin(Stdio::null());
    let (mut child, _events) = watcher.spawn(command).unwrap();
    let out = child.stdout.take().unwrap().into_owned_fd().unwrap();
    let mut line = String::new();
    // It was made for a runtime, which waits; this does too.
    let mut out = BufReader::new(File::from(out));
    let begun = Instant::now();
    while !line.ends_with('\n') {
        assert!(begun.elapsed() < PATIENCE, "{words:?}: {line:?}");
        match out.read_line(&mut line) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                std::thread::sleep(Duration::from_millis(1));
            }
            read => assert!(read.unwrap() > 0, "{words:?} ended early"),
        }
    }
    assert_eq!(line.trim(), "ready", "{words:?}");
    child
}

/// A part of a test, in a program of its own that `prefix` starts.
fn part(name: &str, prefix: &[&str]) -> Output {
    let me = std::env::current_exe().unwrap();
    let (program, args) = prefix.split_first().unwrap();
    std::process::Command::new(program)
        .args(args)
        .arg(&me)
        .args(["--exact", name, "--ignored", "--nocapture", "--test-threads=1"])
        .current_dir("/")
        .output()
        .unwrap()
}

fn assert_passed(output: &Output) {
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    print!("{text}");
    assert!(output.status.success() && text.contains("1 passed"), "{text}{errors}");
}

#[test]
fn no_descriptors_are_left() {
    assert_passed(&part("part_no_descriptors", &["sh", "-c", "ulimit -n 100; exec \"$@\"", "sh"]));
}

#[test]
#[ignore = "a part of `no_descriptors_are_left`"]
fn part_no_descriptors() {
    let runtime = runtime();
    let _entered = runtime.enter();
    for watcher in watchers() {
        let script = "for i in $(seq 100); do sleep 100 & done; echo ready; wait";
        let mut child = start(&watcher, &["sh", "-c", script]);
        let mut files = Vec::new();
        while let Ok(file) = File::open("/dev/null") {
            files.push(file);
        }
        let report =
            runtime.block_on(async { tokio::time::timeout(PATIENCE, child.stop(StopPlan::kill())).await });
        drop(files);
        let report = report.expect("in time").unwrap();
        // Records may be lost where not even the process list can be read.
        assert!(
            report.empty.is_empty() && report.processes.len() >= 101,
            "{}: {report}",
            watcher.source_name()
        );
        runtime.block_on(child.wait()).unwrap();
    }
}

/// The runtime does nothing while its only thread does something else.
#[test]
fn a_stalled_runtime() {
    let runtime = runtime();
    for watcher in watchers() {
        runtime.block_on(async {
            let mut child =
                start(&watcher, &["sh", "-c", "trap '' TERM; sleep 100 & echo ready; exec sleep 100"]);
            let pids: Vec<u32> = child.handle().living().iter().map(|member| member.id.pid()).collect();
            let stop = child.stop(StopPlan::terminate(Duration::from_millis(50)));
            let begun = Instant::now();
            let gone = |pid: &u32| {
                let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
                stat.is_empty() || stat.contains(") Z ")
            };
            while !pids.iter().all(gone) {
                assert!(begun.elapsed() < PATIENCE);
                std::thread::sleep(Duration::from_millis(1));
            }
            assert!(matches!(stop.await.unwrap().empty, Emptiness::Proven));
            child.wait().await.unwrap();
        });
    }
}

/// A setuid program is stopped like any other, for the user who started it may signal it; one that has become another user is told to
/// live, and that it was not for us to signal it.
#[test]
fn programs_with_more_privileges() {
    let Ok(dir) = tempfile::Builder::new().permissions(PermissionsExt::from_mode(0o755)).tempdir() else {
        return println!("SKIPPED: no directory");
    };
    let Ok(setpriv) = std::fs::read("/usr/bin/setpriv").or_else(|_| std::fs::read("/bin/setpriv")) else {
        return println!("SKIPPED: no setpriv");
    };
    let copy = |name: &str, bytes: Vec<u8>, mode| {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        path
    };
    let sleeper = copy("sleeper", std::fs::read("/bin/sleep").unwrap(), 0o4755);
    let changer = copy("changer", setpriv, 0o4755);
    if std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(&sleeper).unwrap()) != 0 {
        return println!("SKIPPED: only root can make a program that is root's");
    }
    let me = copy("me", std::fs::read(std::env::current_exe().unwrap()).unwrap(), 0o755);
    let output = std::process::Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .arg(&me)
        .args(["--exact", "part_more_privileges", "--ignored", "--nocapture"])
        .env("SLEEPER", &sleeper)
        .env("CHANGER", &changer)
        .current_dir("/")
        .output();
    assert_passed(&output.unwrap());
}

#[test]
#[ignore = "a part of `programs_with_more_privileges`"]
fn part_more_privileges() {
    let [sleeper, changer] = ["SLEEPER", "CHANGER"].map(|name| std::env::var(name).unwrap());
    let runtime = runtime();
    let _entered = runtime.enter();
    for watcher in watchers() {
        let script =
            format!("{sleeper} 100 & until grep -q sleeper /proc/$!/comm; do :; done; echo ready; wait");
        let mut child = start(&watcher, &["sh", "-c", &script]);
        let report = runtime.block_on(child.stop(StopPlan::kill())).unwrap();
        match &report.empty {
            Emptiness::Proven => assert!(watcher.capabilities().whole_machine, "{report}"),
            Emptiness::Observed(doubts) => assert_eq!(doubts.unseen, 1, "{report}"),
            other => panic!("{}: {other}: {report}", watcher.source_name()),
        }
        runtime.block_on(child.wait()).unwrap();

        // It ends by itself, for nobody else can end it.
        let become_another = format!("{changer} --reuid 1 --regid 1 --clear-groups sleep 3");
        let script =
            format!("{become_another} & until grep -q sleep /proc/$!/comm; do :; done; echo ready; wait");
        let mut child = start(&watcher, &["sh", "-c", &script]);
        let plan = StopPlan::empty().tree(9, Duration::from_millis(300));
        let report = runtime.block_on(child.stop(plan)).unwrap();
        assert!(matches!(report.empty, Emptiness::No { living: 1 }), "{}: {report}", watcher.source_name());
        let left = report.processes.iter().find(|process| process.status.is_none()).unwrap();
        assert_eq!(left.refused, Some(Refused::Denied), "{report}");
        runtime.block_on(child.wait()).unwrap();
        let handle = child.handle();
        let empty = runtime.block_on(async { tokio::time::timeout(PATIENCE, handle.empty()).await });
        assert!(empty.unwrap().is_empty());
    }
}

/// Those in namespaces below ours are ours to see and to stop, by our pids of them.
#[test]
fn processes_in_namespaces_below() {
    let unshare = ["unshare", "--user", "--map-root-user", "--pid", "--fork"];
    let possible = std::process::Command::new(unshare[0]).args(&unshare[1..]).arg("true").status();
    if !possible.is_ok_and(|status| status.success()) {
        return println!("SKIPPED: no namespaces can be made here");
    }
    let runtime = runtime();
    let _entered = runtime.enter();
    for watcher in watchers() {
        let script = "sleep 100 & (setsid sleep 100 &); echo ready; wait";
        let words: Vec<&str> = unshare.into_iter().chain(["sh", "-c", script]).collect();
        let mut child = start(&watcher, &words);
        let report = runtime.block_on(async {
            tokio::time::timeout(PATIENCE, child.stop(StopPlan::terminate(Duration::from_millis(200)))).await
        });
        let report = report.expect("in time").unwrap();
        assert!(matches!(report.empty, Emptiness::Proven), "{}: {report}", watcher.source_name());
        assert!(report.processes.len() >= 4, "{report}");
        runtime.block_on(child.wait()).unwrap();
    }
}

/// Nobody can say any more who lives, and that is said.
#[cfg(feature = "sim")]
#[test]
fn the_source_fails() {
    let (source, script) = proc_watch::sim::scripted().unwrap();
    let living = proc_watch::sim::Living { pid: 100, parent: 1, start: 0, threads: vec![100], status: None };
    script.list(living);
    let watcher = Watcher::builder().build_scripted(source).unwrap();
    let runtime = runtime();
    let report = runtime.block_on(async {
        let events = watcher.attach(100).unwrap();
        script.fork(100, 101);
        let stop = events.stop(StopPlan::empty().tree(15, PATIENCE));
        tokio::time::sleep(Duration::from_millis(20)).await;
        script.fail("for this test");
        tokio::time::timeout(PATIENCE, stop).await.expect("in time").unwrap()
    });
    assert!(matches!(report.empty, Emptiness::Unknown(_)), "{report}");
    assert_eq!(report.processes.len(), 2, "{report}");
    // These are no processes of the system: nobody was signalled.
    assert!(report.processes.iter().all(|process| process.refused == Some(Refused::Unsupported)), "{report}");
}
