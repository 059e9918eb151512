//! What becomes of services when their supervisor's program is killed, and what the next supervisor makes of them: over each source that works here.
#![cfg(target_os = "linux")]

mod each_source;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use proc_watch::supervisor::{
    Backoff, Builder, Guard, Main, OnDeath, Output, Ready, Service, ServiceEvent, ServiceEventKind,
    ServiceEvents, StartError, State, StateError, Supervisor, Verdict,
};
use proc_watch::{ExitStatus, PersistentId, SourceName, Watcher};

use each_source::watchers;

/// A limit for what is sure to happen soon.
const PATIENCE: Duration = Duration::from_secs(60);
/// What a part is told by its environment.
const SOURCE: &str = "PART_SOURCE";
const DIR: &str = "PART_DIR";
const GUARD: &str = "PART_GUARD";

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("in time")
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn lives(pid: u32) -> bool {
    PersistentId::of(pid).expect("descriptors of processes").is_some()
}

fn quick() -> Backoff {
    let mut backoff = Backoff::default();
    (backoff.first, backoff.most) = (Duration::from_millis(5), Duration::from_millis(20));
    backoff
}

/// Writes the pids that it is to be known by into files of its name.
fn shell(dir: &Path, name: &str, script: &str) -> Service {
    let own = format!("me() {{ echo $1 >{0}/$2.new && mv {0}/$2.new {0}/$2; }}\n{script}", dir.display());
    Service::new(name, "sh").args(["-c", &own]).backoff(quick()).output(Output::Null)
}

fn pid(dir: &Path, name: &str) -> Option<u32> {
    std::fs::read_to_string(dir.join(name)).ok()?.trim().parse().ok()
}

fn pids(dir: &Path, names: &[&str]) -> BTreeMap<String, u32> {
    let mut found = BTreeMap::new();
    until("all have said who they are", || {
        found = names.iter().filter_map(|name| Some(((*name).to_owned(), pid(dir, name)?))).collect();
        found.len() == names.len()
    });
    found
}

/// A server with somebody who left its session; a daemon whose starter has ended; one that was stopped by hand; one that names another as
/// its main process and says that it is ready.
fn services(dir: &Path) -> Vec<Service> {
    let server = "me $$ server; setsid sh -c 'echo $$ >$0/left.new && mv $0/left.new $0/left; exec sleep 1000' \
                  \"$DIR\" & exec sleep 1000";
    let daemon = "setsid sh -c 'echo $$ >$0/daemon.new && mv $0/daemon.new $0/daemon; exec sleep 1000' \"$DIR\" \
                  >/dev/null 2>&1 & exit 0";
    let named = "sleep 1000 & other=$!; me $other named; python3 -c 'import socket, sys, os\n\
                 s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n\
                 s.sendto(sys.argv[1].encode(), os.environ[\"NOTIFY_SOCKET\"])' \"MAINPID=$other\nREADY=1\"; wait";
    let sleeper = "me $$ sleeper; exec sleep 1000";
    vec![
        shell(dir, "server", server).env("DIR", dir),
        shell(dir, "daemon", daemon).env("DIR", dir).main(Main::Tree),
        shell(dir, "a sleeper", sleeper),
        shell(dir, "named", named).ready(Ready::Notify),
    ]
}

const NAMES: [&str; 5] = ["server", "left", "daemon", "sleeper", "named"];

fn builder(dir: &Path) -> Builder {
    Supervisor::builder().services(services(dir)).state_file(dir.join("state"))
}

/// This program again, which does one of its parts, until it says that it has begun.
fn part(name: &str, watcher: &Watcher, dir: &Path, more: &[(&str, &str)]) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--ignored", "--nocapture"])
        .env(SOURCE, watcher.source_name())
        .env(DIR, dir)
        .envs(more.iter().copied())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let begun = lines.map_while(Result::ok).any(|line| line.ends_with("begun"));
    assert!(begun, "the part said nothing");
    child
}

fn kill(mut part: Child) {
    part.kill().unwrap();
    assert_eq!(part.wait().unwrap().signal(), Some(9));
}

fn part_watcher() -> (Watcher, PathBuf) {
    let source: SourceName = std::env::var(SOURCE).expect("it is a part").parse().unwrap();
    (Watcher::builder().source(source).build().unwrap(), std::env::var_os(DIR).unwrap().into())
}

async fn heard(events: &mut ServiceEvents, wanted: impl Fn(&ServiceEvent) -> bool) -> ServiceEvent {
    in_time(async {
        loop {
            let event = events.next().await.expect("it goes on");
            if wanted(&event) {
                return event;
            }
        }
    })
    .await
}

fn is_of(event: &ServiceEvent, name: &str) -> bool {
    event.service.as_deref() == Some(name)
}

fn python() -> bool {
    let there = Command::new("python3").arg("-c").arg("").stderr(Stdio::null()).status();
    let there = there.is_ok_and(|status| status.success());
    if !there {
        println!("SKIPPED: no python3");
    }
    there
}

#[tokio::test]
#[ignore = "a part of those that kill it"]
async fn part_supervisor() {
    let (watcher, dir) = part_watcher();
    let on_death = match std::env::var(GUARD).as_deref() {
        Ok("cgroup") => OnDeath::KillBy(Guard::Cgroup),
        Ok("environment") => OnDeath::KillBy(Guard::Environment),
        _ => OnDeath::Leave,
    };
    let supervisor = builder(&dir).on_death(on_death).start(&watcher).unwrap();
    in_time(supervisor.wait_ready()).await.unwrap();
    pids(&dir, &NAMES);
    if on_death == OnDeath::Leave {
        in_time(supervisor.service("a sleeper").unwrap().stop()).await;
        let state = || std::fs::read_to_string(dir.join("state")).unwrap();
        let written = || state().contains("stopped") && state().matches("ready").count() == 3;
        until_async("all that is to be known is written down", written).await;
    }
    println!("begun");
    tokio::time::sleep(PATIENCE).await;
}

/// Row 11: children survive the death of the supervisor. Where that is not wanted nobody does, whatever he called.
#[test]
fn row_11_killed_with_its_supervisor() {
    if !python() {
        return;
    }
    for watcher in watchers() {
        for guard in ["cgroup", "environment"] {
            if guard == "cgroup" && proc_watch::Cgroup::create().is_err() {
                println!("SKIPPED: no cgroup may be made here");
                continue;
            }
            let dir = tempfile::tempdir().unwrap();
            let part = part("part_supervisor", &watcher, dir.path(), &[(GUARD, guard)]);
            let pids = pids(dir.path(), &NAMES);
            assert!(pids.values().all(|pid| lives(*pid)), "{pids:?}");
            let begun = Instant::now();
            kill(part);
            until("nobody is left", || !pids.values().any(|pid| lives(*pid)));
            println!("{}, by {guard}: all gone {:?} after the kill", watcher.source_name(), begun.elapsed());
        }
    }
}

/// Who kills the services of the one that died does not take those of the next for them, though they have one file.
#[test]
fn the_next_ones_services_are_not_those_of_who_died() {
    for watcher in watchers() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        for _ in 0..5 {
            let part = part("part_with_one", &watcher, dir, &[]);
            let before = pids(dir, &["one"])["one"];
            kill(part);
            runtime().block_on(async {
                let supervisor = one(dir).start(&watcher).unwrap();
                let service = supervisor.service("one").unwrap();
                in_time(service.wait_ready()).await.unwrap();
                // It is gone as soon as its killer has come to it, whether it was taken over or not.
                until_async("it is another", || {
                    pid(dir, "one").is_some_and(|pid| pid != before) && service.status().state == State::Ready
                })
                .await;
                let status = service.status();
                // Longer than the killer looks.
                tokio::time::sleep(Duration::from_millis(400)).await;
                assert_eq!((service.status().starts, service.status().id), (status.starts, status.id));
                in_time(supervisor.shutdown(PATIENCE)).await;
            });
        }
    }
}

fn one(dir: &Path) -> Builder {
    let service = shell(dir, "one", "me $$ one; exec sleep 1000");
    let builder = Supervisor::builder().service(service).state_file(dir.join("state"));
    builder.on_death(OnDeath::KillBy(Guard::Environment))
}

#[tokio::test]
#[ignore = "a part of `the_next_ones_services_are_not_those_of_who_died`"]
async fn part_with_one() {
    let (watcher, dir) = part_watcher();
    // What the one before wrote is no news of this one's.
    let _ = std::fs::remove_file(dir.join("one"));
    let supervisor = one(&dir).start(&watcher).unwrap();
    in_time(supervisor.wait_ready()).await.unwrap();
    until_async("it has said who it is", || pid(&dir, "one").is_some()).await;
    println!("begun");
    tokio::time::sleep(PATIENCE).await;
}

/// Everybody is taken over as who he is: who runs is not started again, and who was stopped is not started.
#[test]
fn who_still_runs_is_taken_over() {
    if !python() {
        return;
    }
    for watcher in watchers() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        kill(part("part_supervisor", &watcher, dir, &[]));
        let before = pids(dir, &NAMES);
        let living = |names: &[&str]| names.iter().all(|name| lives(before[*name]));
        assert!(living(&["server", "left", "daemon", "named"]), "{before:?}");
        runtime().block_on(async {
            let supervisor = builder(dir).start(&watcher).unwrap();
            let mut events = supervisor.events();
            in_time(async {
                for name in ["server", "daemon", "named"] {
                    let status = supervisor.service(name).unwrap().wait_ready().await.unwrap();
                    assert_eq!((status.starts, status.id.unwrap().pid()), (0, before[name]), "{status:?}");
                }
            })
            .await;
            let sleeper = supervisor.service("a sleeper").unwrap();
            assert_eq!((sleeper.status().state, sleeper.status().wanted), (State::Down, false));
            // Still the same.
            assert_eq!(pids(dir, &NAMES), before);

            // The end of its main process is the end of each, and who is left of it is stopped before it is started again.
            end(before["server"]);
            let ended = heard(&mut events, |event| matches!(event.kind, ServiceEventKind::Ended(_))).await;
            assert!(is_of(&ended, "server"), "{ended}");
            until_async("another server", || pid(dir, "server") != Some(before["server"])).await;
            assert!(!lives(before["left"]));
            end(before["named"]);
            until_async("another that it names", || pid(dir, "named") != Some(before["named"])).await;
            let by_hand = supervisor.service("daemon").unwrap();
            in_time(by_hand.stop()).await;
            assert!(!lives(before["daemon"]));
            sleeper.start();
            in_time(sleeper.wait_ready()).await.unwrap();

            assert_eq!(in_time(supervisor.shutdown(PATIENCE)).await, Verdict::Asked);
            let state = std::fs::read_to_string(dir.join("state")).unwrap();
            assert_eq!(state.lines().count(), 1, "nothing is left to be known: {state}");
        });
        until("nobody is left", || !pids(dir, &NAMES).values().any(|pid| lives(*pid)));
    }
}

/// A service whose main process ended while there was no supervisor has ended; who is left of it is stopped before it is started again.
#[test]
fn what_happened_while_nobody_looked() {
    if !python() {
        return;
    }
    for watcher in watchers() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        kill(part("part_supervisor", &watcher, dir, &[]));
        let before = pids(dir, &NAMES);
        end(before["server"]);
        until("it has ended", || !lives(before["server"]));
        runtime().block_on(async {
            // Of one more nothing is to be known any more.
            let fewer = services(dir).into_iter().filter(|service| service.name() != "named");
            let supervisor =
                Supervisor::builder().services(fewer).state_file(dir.join("state")).start(&watcher).unwrap();
            let mut events = supervisor.events();
            let stray =
                heard(&mut events, |event| matches!(event.kind, ServiceEventKind::Stray { .. })).await;
            assert!(stray.to_string().contains("\"named\", which there is no more"), "{stray}");
            assert!(!lives(before["named"]));
            let server = supervisor.service("server").unwrap();
            until_async("another server", || pid(dir, "server") != Some(before["server"])).await;
            assert_eq!(server.status().last_end, Some(ExitStatus::Unknown));
            assert!(!lives(before["left"]), "not beside who was left of it");
            assert!(lives(before["daemon"]));
            in_time(supervisor.shutdown(PATIENCE)).await;
        });
        until("nobody is left", || !pids(dir, &NAMES).values().any(|pid| lives(*pid)));
    }
}

/// The pid alone is nobody's name.
#[test]
fn another_who_has_the_pid_is_refused() {
    for watcher in watchers() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let mut stranger = Command::new("sleep").arg("1000").spawn().unwrap();
        let text = PersistentId::of(stranger.id()).unwrap().unwrap().to_string();
        let parts: Vec<&str> = text.split('/').collect();
        let start: u64 = parts[2].parse().unwrap();
        let of_before = format!("{}/{}/{}", parts[0], parts[1], start - 1);
        let state = format!("proc-watch supervisor 1 00000000000000aa\nready {of_before} - sleeper\n");
        std::fs::write(dir.join("state"), state).unwrap();
        runtime().block_on(async {
            let service = shell(dir, "sleeper", "me $$ sleeper; exec sleep 1000");
            let supervisor =
                Supervisor::builder().service(service).state_file(dir.join("state")).start(&watcher).unwrap();
            in_time(supervisor.wait_ready()).await.unwrap();
            let status = supervisor.service("sleeper").unwrap().status();
            assert_eq!(status.starts, 1);
            assert_ne!(status.id.unwrap().pid(), stranger.id());
            in_time(supervisor.shutdown(PATIENCE)).await;
        });
        assert!(stranger.try_wait().unwrap().is_none(), "it has nothing to do with it");
        stranger.kill().unwrap();
        stranger.wait().unwrap();
    }
}

#[tokio::test]
async fn two_cannot_have_one_file() {
    let watcher = watchers().remove(0);
    let dir = tempfile::tempdir().unwrap();
    let start = || {
        let sleeper = Service::new("sleeper", "sleep").arg("1000");
        Supervisor::builder().service(sleeper).state_file(dir.path().join("state")).start(&watcher)
    };
    let first = start().unwrap();
    let second = start().unwrap_err();
    assert!(matches!(second, StartError::State(StateError::InUse { .. })), "{second}");
    in_time(first.shutdown(PATIENCE)).await;
    drop(first);
    let mut third = start();
    let begun = Instant::now();
    while third.is_err() && begun.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(5)).await;
        third = start();
    }
    in_time(third.unwrap().shutdown(PATIENCE)).await;
    std::fs::write(dir.path().join("other"), "[services]\n").unwrap();
    let malformed =
        Supervisor::builder().state_file(dir.path().join("other")).start(&watcher).unwrap_err().to_string();
    assert!(malformed.contains("other, line 1: not what a supervisor has written"), "{malformed}");
}

/// It is told, and holds up nothing.
#[tokio::test]
async fn a_file_that_cannot_be_written_any_more() {
    let watcher = watchers().remove(0);
    let dir = tempfile::tempdir().unwrap();
    let within = dir.path().join("state of it");
    std::fs::create_dir(&within).unwrap();
    let sleeper = Service::new("sleeper", "sleep").arg("1000").autostart(false);
    let supervisor =
        Supervisor::builder().service(sleeper).state_file(within.join("state")).start(&watcher).unwrap();
    let mut events = supervisor.events();
    std::fs::remove_dir_all(&within).unwrap();
    let service = supervisor.service("sleeper").unwrap();
    service.start();
    heard(&mut events, |event| matches!(event.kind, ServiceEventKind::StateLost(_))).await;
    in_time(service.wait_ready()).await.unwrap();
    in_time(supervisor.shutdown(PATIENCE)).await;
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

async fn until_async(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// One that this test knows, and that nobody else ends.
fn end(pid: u32) {
    let status = Command::new("kill").args(["-KILL", &pid.to_string()]).status().unwrap();
    assert!(status.success());
}
