//! A log on a disk that is full, and then is not: a small one of the test's own.
#![cfg(target_os = "linux")]

mod each_source;

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use proc_watch::supervisor::{Output, Service, ServiceEventKind, ServiceEvents, State, Supervisor, Verdict};

use each_source::watchers;

/// A limit for what is sure to happen soon.
const PATIENCE: Duration = Duration::from_secs(60);

/// Into a namespace where something may be mounted: as root, or as root of a namespace of users.
fn unshare() -> Option<Vec<&'static str>> {
    let ways = [vec!["unshare", "--mount"], vec!["unshare", "--user", "--map-root-user", "--mount"]];
    ways.into_iter().find(|way| {
        let mount = ["sh", "-c", "mount -t tmpfs none /tmp"];
        let mounted = Command::new(way[0]).args(&way[1..]).args(mount).stderr(Stdio::null()).status();
        mounted.is_ok_and(|status| status.success())
    })
}

#[test]
fn a_disk_is_full_and_then_is_not() {
    let Some(unshare) = unshare() else {
        return println!("SKIPPED: a_disk_is_full_and_then_is_not: nothing can be mounted here");
    };
    let dir = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs -o size=4m none \"$DISK\" && exec \"$@\"";
    let output = Command::new(unshare[0])
        .args(&unshare[1..])
        .args(["sh", "-c", script, "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "part_on_a_small_disk", "--ignored", "--nocapture"])
        .env("DISK", dir.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    print!("{text}");
    assert!(output.status.success() && text.contains("1 passed"), "{text}{errors}");
}

/// Until it is told that output is lost; or that nothing of the kind is told within this time.
async fn lost(events: &mut ServiceEvents, within: Duration) -> Option<String> {
    let lost = async {
        loop {
            let event = events.next().await.expect("it goes on");
            if matches!(event.kind, ServiceEventKind::OutputLost(_)) {
                return event.to_string();
            }
        }
    };
    tokio::time::timeout(within, lost).await.ok()
}

/// Takes all the room that there is.
fn fill(path: &Path) {
    let mut file = File::create(path).unwrap();
    while file.write_all(&[b'x'; 512]).is_ok() {}
}

fn last_number(log: &Path) -> u64 {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let mut numbers =
        text.lines().filter_map(|line| line.strip_prefix("line ")?.split(' ').next()?.parse().ok());
    numbers.next_back().unwrap_or(0)
}

#[tokio::test]
#[ignore = "a part of `a_disk_is_full_and_then_is_not`"]
async fn part_on_a_small_disk() {
    let disk = PathBuf::from(std::env::var_os("DISK").unwrap());
    for watcher in watchers() {
        let (log, filler) = (disk.join("log"), disk.join("filler"));
        let output = Output::File { path: log.clone(), limit: Some(1 << 20), keep: 1 };
        // Long lines, for the last page of the log has room for some when the disk has none.
        let script =
            format!("i=1; while :; do echo line $i {}; i=$((i+1)); sleep 0.001; done", "x".repeat(400));
        let service = Service::new("writes", "sh").args(["-c", &script]).output(output);
        let supervisor = Supervisor::builder().service(service).start(&watcher).unwrap();
        let mut events = supervisor.events();
        let mut before = 0;
        for round in 0..2 {
            let begun = Instant::now();
            while last_number(&log) <= before {
                assert!(begun.elapsed() < PATIENCE, "round {round}: it is written again");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            fill(&filler);
            let told = lost(&mut events, PATIENCE).await.expect("it is told");
            assert!(told.contains("No space left"), "{told}");
            assert_eq!(lost(&mut events, Duration::from_millis(200)).await, None, "it is told once");
            before = last_number(&log);
            std::fs::remove_file(&filler).unwrap();
        }
        let status = supervisor.service("writes").unwrap().status();
        assert_eq!((status.state, status.starts), (State::Ready, 1));
        let verdict = tokio::time::timeout(PATIENCE, supervisor.shutdown(PATIENCE)).await.expect("in time");
        assert_eq!(verdict, Verdict::Asked);
        println!("{}: full twice, last line {}", watcher.source_name(), last_number(&log));
        std::fs::remove_file(&log).unwrap();
    }
}
