//! What services, this program and the machine do wrong, over each source that works here. The source's own failure is in tests/tests/stop_blind.rs.
#![cfg(target_os = "linux")]

mod each_source;

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use proc_watch::supervisor::{
    Backoff, Main, Output, Ready, Restart, Service, ServiceEvent, ServiceEventKind, ServiceEvents, State,
    Status, Supervisor, Verdict,
};
use proc_watch::{ExitStatus, SourceName, StopPlan, Watcher};

use each_source::watchers;

/// A limit for what is sure to happen soon.
const PATIENCE: Duration = Duration::from_secs(60);

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("in time")
}

fn quick() -> Backoff {
    let mut backoff = Backoff::default();
    (backoff.first, backoff.most) = (Duration::from_millis(5), Duration::from_millis(20));
    backoff
}

fn shell(name: &str, script: &str) -> Service {
    Service::new(name, "sh").args(["-c", script]).backoff(quick()).output(Output::Null)
}

fn python(name: &str, script: &str) -> Service {
    let begin = "import os, socket, time, sys\ns = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n\
                 def say(text): s.sendto(text.encode(), os.environ['NOTIFY_SOCKET'])\n";
    Service::new(name, "python3").args(["-c", &format!("{begin}{script}")]).backoff(quick())
}

fn has_python() -> bool {
    let there = Command::new("python3").arg("-c").arg("").stderr(Stdio::null()).status();
    let there = there.is_ok_and(|status| status.success());
    if !there {
        println!("SKIPPED: no python3");
    }
    there
}

fn start(watcher: &Watcher, services: impl IntoIterator<Item = Service>) -> Supervisor {
    Supervisor::builder().services(services).start(watcher).unwrap()
}

async fn heard(events: &mut ServiceEvents, wanted: impl Fn(&ServiceEventKind) -> bool) -> ServiceEvent {
    in_time(async {
        loop {
            let event = events.next().await.expect("it goes on");
            if wanted(&event.kind) {
                return event;
            }
        }
    })
    .await
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn ends_clean(watcher: &Watcher, supervisor: Supervisor) {
    assert_eq!(in_time(supervisor.shutdown(PATIENCE)).await, Verdict::Asked);
    assert!(supervisor.snapshot().services.iter().all(|service| service.id.is_none()));
    drop(supervisor);
    until("nothing is followed", || watcher.stats().trees == 0).await;
}

/// Row 3: escalation follows the emptiness of the tree, and not the leader, who ends at once; the others fork for as long as they live, each into a session
/// of its own. It is started again when nobody is left, and not before.
#[tokio::test]
async fn row_3_it_forks_while_it_is_killed() {
    // 600 at most. Nobody ends by himself, however late a busy machine lets this test have its turn.
    let script = "trap 'exit 0' TERM; \
                  (trap '' TERM; i=0; while [ $i -lt 600 ]; do (setsid sh -c \"trap '' TERM; sleep 60\" &); i=$((i+1)); done; exec sleep 60) & wait";
    for watcher in watchers() {
        let plan = StopPlan::empty().tree(15, Duration::from_millis(100)).tree(9, PATIENCE);
        let supervisor = start(&watcher, [shell("storm", script).stop(plan)]);
        let mut events = supervisor.events();
        let storm = supervisor.service("storm").unwrap();
        in_time(storm.wait_ready()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        storm.restart();
        let stopped = heard(&mut events, |kind| matches!(kind, ServiceEventKind::Stopped(_))).await;
        let ServiceEventKind::Stopped(report) = &stopped.kind else { unreachable!() };
        println!("{}: {} processes, {}", watcher.source_name(), report.processes.len(), report.empty);
        assert!(report.survivors.is_empty() && report.processes.len() > 3, "{report}");
        let again = heard(&mut events, |kind| matches!(kind, ServiceEventKind::Started(_))).await;
        assert!(again.time >= stopped.time);
        ends_clean(&watcher, supervisor).await;
    }
}

/// Row 4: who keeps it busy is named while it is being stopped.
#[tokio::test]
async fn row_4_who_keeps_it_busy() {
    for watcher in watchers() {
        let script = "(trap '' TERM; exec sleep 1004) & trap 'exit 0' TERM; while :; do wait; done";
        let plan = StopPlan::empty().tree(15, Duration::from_millis(500)).tree(9, PATIENCE);
        let plan = plan.progress_every(Duration::from_millis(50));
        let supervisor = start(&watcher, [shell("busy", script).stop(plan)]);
        let mut events = supervisor.events();
        let busy = supervisor.service("busy").unwrap();
        in_time(busy.wait_ready()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        let stopping = tokio::spawn(async move { busy.stop().await });
        let named = heard(&mut events, |kind| match kind {
            ServiceEventKind::Stopping(progress) => {
                progress.survivors.iter().any(|survivor| survivor.to_string().contains("sleep 1004"))
            }
            _ => false,
        });
        let named = named.await;
        assert!(named.to_string().contains("sleep 1004"), "{named}");
        in_time(stopping).await.unwrap();
        ends_clean(&watcher, supervisor).await;
    }
}

/// No descriptors are left in this program. Services that run go on; one that is to be started is tried again until there are some.
#[test]
fn no_descriptors_are_left() {
    let me = std::env::current_exe().unwrap();
    let script = format!(
        "ulimit -n 160; exec {} --exact part_without_descriptors --ignored --nocapture",
        me.display()
    );
    let output = Command::new("sh").args(["-c", &script]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    print!("{text}");
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
#[ignore = "a part of `no_descriptors_are_left`"]
async fn part_without_descriptors() {
    for watcher in watchers() {
        let supervisor =
            start(&watcher, [shell("stays", "sleep 1000"), shell("comes", "sleep 1000").autostart(false)]);
        let mut events = supervisor.events();
        in_time(supervisor.service("stays").unwrap().wait_ready()).await.unwrap();
        let comes = supervisor.service("comes").unwrap();
        let mut taken = Vec::new();
        loop {
            while let Ok(file) = std::fs::File::open("/dev/null") {
                taken.push(file);
            }
            comes.start();
            let told = heard(&mut events, |kind| {
                matches!(kind, ServiceEventKind::NotStarted(_) | ServiceEventKind::Started(_))
            });
            let told = told.await;
            println!("{}: {told}", watcher.source_name());
            if matches!(told.kind, ServiceEventKind::NotStarted(_)) {
                break;
            }
            // The last watcher's were given back meanwhile.
            in_time(comes.stop()).await;
        }
        assert_eq!(supervisor.service("stays").unwrap().status().state, State::Ready);
        drop(taken);
        in_time(comes.wait_ready()).await.unwrap();
        ends_clean(&watcher, supervisor).await;
    }
}

/// fork fails with EAGAIN: this user may have no more processes. They come one after the other as others go.
#[test]
fn no_processes_are_left() {
    let me = std::env::current_exe().unwrap();
    let root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
    if !root {
        return println!(
            "SKIPPED: no_processes_are_left: it takes root to be a user who has no other processes"
        );
    }
    // The limit does not hold for root. The file may lie where that user cannot go.
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("part");
    std::fs::copy(&me, &copy).unwrap();
    let open = |path: &Path| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    open(dir.path());
    open(&copy);
    let output = Command::new("prlimit")
        .args(["--nproc=24", "setpriv", "--reuid", "61234", "--regid", "61234", "--clear-groups"])
        .arg(&copy)
        .args(["--exact", "part_without_processes", "--ignored", "--nocapture"])
        .env("TMPDIR", "/tmp")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    print!("{text}");
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
#[ignore = "a part of `no_processes_are_left`"]
async fn part_without_processes() {
    for source in SourceName::ALL {
        // One at a time: their threads count.
        match Watcher::builder().source(*source).build() {
            Ok(watcher) => without_processes(&watcher).await,
            Err(error) => println!("SKIPPED: {source}: {error}"),
        }
    }
}

async fn without_processes(watcher: &Watcher) {
    let sleeps =
        |at: usize| Service::new(format!("{at}"), "sleep").arg("1000").backoff(quick()).output(Output::Null);
    let supervisor = start(watcher, (0..40).map(sleeps));
    let mut events = supervisor.events();
    let error = heard(&mut events, |kind| matches!(kind, ServiceEventKind::NotStarted(_))).await;
    println!("{}: {error}", watcher.source_name());
    let with = |wanted: fn(&Status) -> bool| {
        supervisor.snapshot().services.iter().filter(|service| wanted(service)).count()
    };
    until("some run", || with(|service| service.state == State::Ready) > 4).await;
    let first = supervisor.services().find(|service| service.status().state == State::Ready).unwrap();
    let before = with(|service| service.starts > 0);
    in_time(first.stop()).await;
    until("another has its place", || with(|service| service.starts > 0) > before).await;
    ends_clean(watcher, supervisor).await;
}

/// Of a fault that lasts nothing more is told, however much is written.
async fn told_once(events: &mut ServiceEvents) {
    let more = async {
        loop {
            let event = events.next().await.expect("it goes on");
            assert!(!matches!(event.kind, ServiceEventKind::OutputLost(_)), "again: {event}");
        }
    };
    let _: Result<(), _> = tokio::time::timeout(Duration::from_millis(200), more).await;
}

/// The disk is full under a log, and then it is not. The service goes on; it is told once, and again the next time.
#[tokio::test]
async fn the_disk_is_full_under_a_log() {
    for watcher in watchers() {
        let dir = tempfile::tempdir().unwrap();
        let (log, file) = (dir.path().join("log"), dir.path().join("file"));
        let link = |to: &Path| {
            let new = dir.path().join("new");
            std::os::unix::fs::symlink(to, &new).unwrap();
            std::fs::rename(&new, &log).unwrap();
        };
        link(Path::new("/dev/full"));
        let output = Output::File { path: log.clone(), limit: Some(1_000), keep: 1 };
        let service =
            shell("writes", "while :; do echo a line of some length; sleep 0.005; done").output(output);
        let supervisor = start(&watcher, [service]);
        let mut events = supervisor.events();
        let lost = heard(&mut events, |kind| matches!(kind, ServiceEventKind::OutputLost(_))).await;
        assert!(lost.to_string().contains("No space left"), "{lost}");
        told_once(&mut events).await;
        std::fs::create_dir_all(dir.path().join("log.1").join("full")).unwrap();
        link(&file);
        until("it is written again", || {
            std::fs::read_to_string(&file).is_ok_and(|text| text.lines().count() > 2)
        })
        .await;
        assert_eq!(supervisor.service("writes").unwrap().status().starts, 1);
        // The old one cannot be renamed to where a directory is: that is a fault of the same kind.
        let lost = heard(&mut events, |kind| matches!(kind, ServiceEventKind::OutputLost(_))).await;
        assert!(!lost.to_string().contains("No space left"), "{lost}");
        told_once(&mut events).await;
        ends_clean(&watcher, supervisor).await;
    }
}

/// The only thread of the runtime does something else for five seconds, while services crash, say things and write.
#[test]
fn the_runtime_is_stalled() {
    const STALL: Duration = Duration::from_secs(5);
    if !has_python() {
        return;
    }
    let runs: Vec<_> = watchers()
        .into_iter()
        .flat_map(|watcher| [(watcher.clone(), true), (watcher, false)])
        .map(|(watcher, is_alone)| {
            // At the same time, for they do nothing but wait.
            std::thread::spawn(move || {
                let mut builder = if is_alone {
                    tokio::runtime::Builder::new_current_thread()
                } else {
                    tokio::runtime::Builder::new_multi_thread()
                };
                let runtime = builder.worker_threads(1).enable_all().build().unwrap();
                runtime.block_on(async {
                    let lines = Arc::new(AtomicUsize::new(0));
                    let count = Arc::clone(&lines);
                    let script = "say('READY=1')\nfor n in range(100):\n    say(f'STATUS=at {n}')\n    print(n, flush=True)\ntime.sleep(1000)";
                    let talks = python("talks", script).ready(Ready::Notify).lines(move |_| {
                        count.fetch_add(1, Ordering::Relaxed);
                    });
                    let crashes = shell("crashes", "sleep 0.2; exit 3").restart(Restart::Transient).intensity(2, PATIENCE);
                    let leaves = shell("leaves", "setsid sleep 1000 & sleep 0.3; exit 0").restart(Restart::Temporary);
                    let supervisor = start(&watcher, [talks, crashes, leaves]);
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    let stalled = tokio::spawn(async move { std::thread::sleep(STALL) });
                    if is_alone {
                        std::thread::sleep(STALL);
                    }
                    stalled.await.unwrap();
                    let service = |name: &str| supervisor.service(name).unwrap();
                    in_time(service("talks").wait_ready()).await.unwrap();
                    until("all that it said is heard", || service("talks").status().text.as_deref() == Some("at 99")).await;
                    until("all that it wrote is read", || lines.load(Ordering::Relaxed) == 100).await;
                    until("it is given up", || service("crashes").status().state == State::Failed).await;
                    assert_eq!(service("crashes").status().starts, 3);
                    assert_eq!(service("crashes").status().last_end, Some(ExitStatus::Code(3)));
                    until("it has ended", || service("leaves").status().state == State::Down).await;
                    ends_clean(&watcher, supervisor).await;
                });
            })
        })
        .collect();
    runs.into_iter().for_each(|run| run.join().unwrap());
}

/// Ten thousand messages of a stranger, as fast as they go. What the service says is heard among them, and nothing is kept of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_floods_the_socket() {
    if !has_python() {
        return;
    }
    for watcher in watchers() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("socket");
        let script = "open(sys.argv[1] + '.new', 'w').write(os.environ['NOTIFY_SOCKET'])\nos.rename(sys.argv[1] + '.new', sys.argv[1])\n\
                      while not os.path.exists(sys.argv[1] + '.go'): time.sleep(0.001)\nsay('READY=1')\ntime.sleep(1000)";
        let supervisor = start(&watcher, [python("talks", script).arg(&place).ready(Ready::Notify)]);
        until("it has a socket", || place.exists()).await;
        let socket = std::fs::read_to_string(&place).unwrap();
        let go = dir.path().join("socket.go");
        let flood = tokio::task::spawn_blocking(move || {
            let stranger = UnixDatagram::unbound().unwrap();
            let begun = Instant::now();
            for number in 0..10_000 {
                if number == 2_000 {
                    std::fs::write(&go, "").unwrap();
                }
                // It blocks while the socket's queue is full, and the service has to wait its turn with it.
                stranger.send_to(b"READY=1\nMAINPID=1\nSTATUS=all is lost", &socket).unwrap();
            }
            begun.elapsed()
        });
        in_time(supervisor.wait_ready()).await.unwrap();
        let took = in_time(flood).await.unwrap();
        let status = supervisor.service("talks").unwrap().status();
        assert_eq!((status.state, status.text, status.starts), (State::Ready, None, 1));
        println!("{}: 10,000 messages in {took:?}", watcher.source_name());
        ends_clean(&watcher, supervisor).await;
    }
}

/// Who is not one of its living processes cannot be its main process.
#[tokio::test]
async fn main_processes_that_are_none() {
    if !has_python() {
        return;
    }
    for watcher in watchers() {
        let script = "import subprocess\ndead = subprocess.Popen(['true']); dead.wait()\n\
                      for pid in [0, 1, dead.pid, os.getppid(), 4194305]: say(f'MAINPID={pid}')\n\
                      say('MAINPID=-1')\nsay(f'MAINPID={os.getpid()}\\nREADY=1')\ntime.sleep(1000)";
        let supervisor = start(&watcher, [python("names", script).ready(Ready::Notify)]);
        let mut events = supervisor.events();
        for _ in 0..6 {
            heard(&mut events, |kind| matches!(kind, ServiceEventKind::Stranger { .. })).await;
        }
        let names = supervisor.service("names").unwrap();
        let status = in_time(names.wait_ready()).await.unwrap();
        assert_eq!(status.starts, 1);
        ends_clean(&watcher, supervisor).await;
    }
}

/// The one that was started ends at once, and others keep its pipe for ever; lines that never end, and bytes that are no text.
#[tokio::test]
async fn what_is_written_is_odd() {
    type Told = Arc<Mutex<Vec<Vec<u8>>>>;
    for watcher in watchers() {
        let told = Told::default();
        let take = |told: &Told| {
            let told = Arc::clone(told);
            move |line: &proc_watch::supervisor::Line<'_>| told.lock().unwrap().push(line.bytes.to_vec())
        };
        let long = Told::default();
        let supervisor = start(
            &watcher,
            [
                shell(
                    "keeps",
                    "printf 'one\\n\\377\\376\\000two\\n'; (trap '' TERM; setsid sleep 1000) & exit 0",
                )
                .main(Main::Tree)
                .lines(take(&told)),
                shell("long", "head -c 1000000 /dev/zero; exec sleep 1000").lines(take(&long)),
            ],
        );
        until("its lines", || told.lock().unwrap().len() == 2).await;
        assert_eq!(*told.lock().unwrap(), [b"one".to_vec(), b"\xff\xfe\0two".to_vec()]);
        // It has no end of a line, and is not kept whole.
        until("all but the last of it", || {
            let long = long.lock().unwrap();
            assert!(long.iter().all(|part| part.len() <= 64 << 10));
            long.iter().map(Vec::len).sum::<usize>() > 900_000
        })
        .await;
        assert_eq!(supervisor.service("keeps").unwrap().status().state, State::Ready);
        ends_clean(&watcher, supervisor).await;
    }
}

/// Row 13: no zombie is left of who was dropped, whatever state he was in.
#[tokio::test]
async fn row_13_nobody_is_left_a_zombie() {
    for watcher in watchers() {
        let services = (0..20).map(|at| shell(&format!("{at}"), "sleep 1000 & sleep 1000 & wait"));
        let supervisor = start(&watcher, services);
        in_time(supervisor.wait_ready()).await.unwrap();
        let pids: Vec<u32> =
            supervisor.snapshot().services.iter().map(|service| service.id.unwrap().pid()).collect();
        assert_eq!(pids.len(), 20);
        drop(supervisor);
        let is_there = |pid: &u32| Path::new(&format!("/proc/{pid}")).exists();
        until("nobody is left, dead or alive", || !pids.iter().any(is_there)).await;
    }
}

/// Row 12: nobody else's child is ever waited for, however many of its own come and go.
#[tokio::test]
async fn row_12_others_children_are_not_waited_for() {
    for watcher in watchers() {
        let mut other = Command::new("sh").args(["-c", "exit 7"]).spawn().unwrap();
        let stat = || std::fs::read_to_string(format!("/proc/{}/stat", other.id())).unwrap_or_default();
        until("it is a zombie", || stat().contains(") Z ")).await;
        let mut backoff = Backoff::none();
        backoff.stable_for = PATIENCE;
        let supervisor = start(&watcher, (0..4).map(|at| shell(&format!("{at}"), "exit 1").backoff(backoff)));
        until("they come and go", || {
            supervisor.snapshot().services.iter().all(|service| service.starts > 10)
        })
        .await;
        ends_clean(&watcher, supervisor).await;
        assert!(stat().contains(") Z "), "it is still this test's to wait for");
        assert_eq!(other.wait().unwrap().code(), Some(7));
    }
}
