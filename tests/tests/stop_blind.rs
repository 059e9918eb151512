//! Stopping where the source does not tell all: it fails in the middle, records are lost, or this program itself is killed. What is left
//! then: descriptors that were kept, and a cgroup where one may be made.
#![cfg(target_os = "linux")]

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use proc_reactor::source::Drained;
use proc_reactor::{Source, SourceError, Stamped};
use proc_watch::supervisor::{Ready, Service, ServiceEventKind, Supervisor, Verdict};
use proc_watch::{
    Cgroup, CgroupError, Child, Command, Emptiness, ExitStatus, OpenOptions, Refused, SourceName, StopPlan,
    Watcher,
};
use tests::around::{Around, Meddle};
use tokio::io::AsyncBufReadExt;

/// A limit for what is sure to happen soon.
const PATIENCE: Duration = Duration::from_secs(60);

/// Fails for good when it is told to.
#[derive(Debug)]
struct Breaking(Arc<AtomicBool>);

/// Leaves what is queued where it is while it is told to.
#[derive(Debug)]
struct Holding(Arc<AtomicBool>);

impl Meddle for Holding {
    fn drain(
        &mut self,
        source: &mut dyn Source,
        out: &mut Vec<Stamped>,
        limit: usize,
    ) -> Result<Drained, SourceError> {
        if self.0.load(Ordering::Acquire) {
            // Whoever polls it is told again at once.
            std::thread::sleep(Duration::from_millis(1));
            return Ok(Drained::All);
        }
        source.drain(out, limit)
    }
}

impl Meddle for Breaking {
    fn drain(
        &mut self,
        source: &mut dyn Source,
        out: &mut Vec<Stamped>,
        limit: usize,
    ) -> Result<Drained, SourceError> {
        if self.0.load(Ordering::Acquire) {
            let reason = "it was told to".to_owned();
            return Err(SourceError::Refused { source_name: "broken", reason, advice: "nothing" });
        }
        source.drain(out, limit)
    }
}

/// A watcher over each source that works here, and what makes its source fail.
fn watchers() -> Vec<(Watcher, Arc<AtomicBool>)> {
    let open = |&source| {
        let mut options = OpenOptions::default();
        options.source = Some(source);
        let opened = match proc_reactor::open(&options) {
            Ok(opened) => opened,
            Err(error) => {
                println!("SKIPPED: {error}");
                return None;
            }
        };
        let broken = Arc::<AtomicBool>::default();
        let around = Around::new(opened, Breaking(Arc::clone(&broken)));
        Some((Watcher::builder().build_over(Box::new(around)).unwrap(), broken))
    };
    SourceName::ALL.iter().filter_map(open).collect()
}

/// One of its own, where that is permitted.
fn cgroup() -> Option<Cgroup> {
    match Cgroup::create() {
        Ok(cgroup) => Some(cgroup),
        Err(error @ (CgroupError::None | CgroupError::Create { .. })) => {
            println!("SKIPPED: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// A shell script, which says `ready` when it is.
async fn start(watcher: &Watcher, cgroup: Option<&Cgroup>, script: &str) -> Child {
    let mut command = Command::new("sh");
    command.args(["-c", script]).stdin(Stdio::null()).stdout(Stdio::piped());
    if let Some(cgroup) = cgroup {
        cgroup.enter(command.as_std_mut());
    }
    let (mut child, _events) = watcher.spawn(command).unwrap();
    let mut lines = tokio::io::BufReader::new(child.stdout.take().unwrap()).lines();
    let line = tokio::time::timeout(PATIENCE, lines.next_line()).await.expect("ready in time").unwrap();
    assert_eq!(line.as_deref(), Some("ready"));
    child
}

fn is_gone(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_none_or(|rest| rest.trim().is_empty() || rest.trim().starts_with(['Z', 'X']))
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

const DEAF: &str = "trap '' TERM; for i in 1 2 3; do sleep 1000 & done; echo ready; wait; exec sleep 1000";

/// Whoever was signalled before the source failed is signalled on, each rung in its time.
#[tokio::test]
async fn the_source_fails_and_descriptors_were_kept() {
    for (watcher, broken) in watchers() {
        let mut child = start(&watcher, None, DEAF).await;
        let handle = child.handle();
        until("the tree is there", || handle.living().len() == 4).await;
        let pids: Vec<u32> = handle.living().iter().map(|member| member.id.pid()).collect();
        let mut stop = handle.stop(StopPlan::empty().tree(15, Duration::from_millis(300)).tree(9, PATIENCE));
        // Its first news is that the rung has been climbed, and all have their signal.
        let progress = tokio::time::timeout(PATIENCE, stop.progress()).await.unwrap().unwrap();
        assert_eq!(progress.rungs, 1);
        broken.store(true, Ordering::Release);
        let report = tokio::time::timeout(PATIENCE, stop).await.expect("in time").unwrap();
        // That nobody else is there nobody can say. Those who were known are gone.
        assert!(matches!(report.empty, Emptiness::Unknown(_)), "{report}");
        assert_eq!((report.rungs, report.processes.len()), (2, 4), "{report}");
        assert!(pids.iter().all(|pid| is_gone(*pid)), "{}: {report}", watcher.source_name());
        assert!(report.processes.iter().all(|process| process.refused.is_none()), "{report}");
        assert_eq!(child.wait().await.unwrap().signal(), Some(9));
    }
}

/// Nobody had a signal yet: there is nobody that anything can be done about, and it says so at once.
#[tokio::test]
async fn the_source_has_failed_before() {
    for (watcher, broken) in watchers() {
        let mut child = start(&watcher, None, DEAF).await;
        let handle = child.handle();
        until("the tree is there", || handle.living().len() == 4).await;
        let pids: Vec<u32> = handle.living().iter().map(|member| member.id.pid()).collect();
        broken.store(true, Ordering::Release);
        let begun = Instant::now();
        let report =
            tokio::time::timeout(PATIENCE, child.stop(StopPlan::kill())).await.expect("in time").unwrap();
        assert!(matches!(report.empty, Emptiness::Unknown(_)), "{report}");
        assert!(begun.elapsed() < Duration::from_secs(5));
        let living = report.processes.iter().filter(|process| process.status.is_none());
        let refused: Vec<_> = living.map(|process| process.refused).collect();
        assert_eq!(refused, [Some(Refused::SourceFailed); 4], "{report}");
        // This program's own children can be told apart whatever happens.
        child.start_kill().unwrap();
        child.wait().await.unwrap();
        // The others hold nothing, and end with the machine: not so in a test.
        pids.iter().filter(|pid| !is_gone(**pid)).for_each(|pid| kill(*pid));
    }
}

/// By a program of its own, as there is no other way in safe Rust.
fn kill(pid: u32) {
    let _ = std::process::Command::new("kill").args(["-9", &pid.to_string()]).stderr(Stdio::null()).status();
}

/// The same in a cgroup: the kernel kills all, and says that nobody is left.
#[tokio::test]
async fn a_cgroup_needs_no_source() {
    for (watcher, broken) in watchers() {
        let Some(cgroup) = cgroup() else { return };
        let mut child = start(&watcher, Some(&cgroup), DEAF).await;
        until("the tree is there", || cgroup.pids().unwrap().len() == 4).await;
        let pids = cgroup.pids().unwrap();
        broken.store(true, Ordering::Release);
        let plan = StopPlan::terminate(Duration::from_millis(100)).cgroup(&cgroup);
        let report = tokio::time::timeout(PATIENCE, child.stop(plan)).await.expect("in time").unwrap();
        assert!(matches!(report.empty, Emptiness::Proven), "{}: {report}", watcher.source_name());
        assert!(pids.iter().all(|pid| is_gone(*pid)) && cgroup.is_empty().unwrap());
        assert!(
            report.survivors.is_empty() && report.processes.iter().all(|process| process.status.is_some())
        );
        assert_eq!(child.wait().await.unwrap().signal(), Some(9));
        let path = cgroup.path().to_owned();
        assert!(path.is_dir());
        drop((cgroup, child));
        // The watcher's thread may have the plan for a moment yet.
        until("the cgroup is removed", || !path.exists()).await;
    }
}

/// A tree that goes on forking, in a cgroup. Who left its session is in it too.
#[tokio::test]
async fn a_forking_tree_in_a_cgroup() {
    for (watcher, _) in watchers() {
        let Some(cgroup) = cgroup() else { return };
        let script = "trap '' TERM; setsid sh -c 'i=0; while [ $i -lt 3000 ]; do sleep 5 & i=$((i+1)); done' & echo ready; wait";
        let mut child = start(&watcher, Some(&cgroup), script).await;
        until("it forks", || cgroup.pids().unwrap().len() > 20).await;
        let plan = StopPlan::kill().cgroup(&cgroup);
        let report = tokio::time::timeout(PATIENCE, child.stop(plan)).await.expect("in time").unwrap();
        assert!(matches!(report.empty, Emptiness::Proven), "{}: {report}", watcher.source_name());
        assert!(cgroup.is_empty().unwrap() && report.processes.len() > 20);
        assert!(report.processes.iter().all(|process| is_gone(process.id.pid())), "{report}");
        assert!(
            report
                .processes
                .iter()
                .any(|process| process.status == Some(ExitStatus::Signal { signal: 9, core: false }))
        );
        child.wait().await.unwrap();
    }
}

/// With a buffer for a few records, which nobody reads for a while: what is lost leaves a doubt that the kernel's word on the cgroup removes.
#[tokio::test]
async fn a_cgroup_is_proof_though_records_were_lost() {
    let mut options = OpenOptions::default();
    (options.source, options.receive_buffer, options.shards) =
        (Some(SourceName::CnProc), Some(4096), Some(1));
    let source = match proc_reactor::open(&options) {
        Ok(source) => source,
        Err(error) => return println!("SKIPPED: {error}"),
    };
    let Some(cgroup) = cgroup() else { return };
    let held = Arc::<AtomicBool>::default();
    let around = Around::new(source, Holding(Arc::clone(&held)));
    let watcher = Watcher::builder().build_over(Box::new(around)).unwrap();
    held.store(true, Ordering::Release);
    let script = "i=0; while [ $i -lt 500 ]; do (:); i=$((i+1)); done; echo ready; exec sleep 1000";
    let mut child = start(&watcher, Some(&cgroup), script).await;
    held.store(false, Ordering::Release);
    let plan = StopPlan::kill().cgroup(&cgroup);
    let report = tokio::time::timeout(PATIENCE, child.stop(plan)).await.expect("in time").unwrap();
    assert!(matches!(report.empty, Emptiness::Proven), "{report}");
    // The handle knows that records were lost, so that it can only have observed that nobody lives.
    let empty = child.handle().empty().await;
    assert!(matches!(&empty, Emptiness::Observed(doubts) if doubts.lost.is_some()), "{empty}");
    child.wait().await.unwrap();
}

/// Row 11: this program is killed, and what it watched goes with it.
#[test]
fn the_program_is_killed() {
    if cgroup().is_none() {
        return;
    }
    let me = std::env::current_exe().unwrap();
    let mut part = std::process::Command::new(me)
        .args(["--exact", "part_that_is_killed", "--ignored", "--nocapture"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut words = Vec::new();
    for line in BufReader::new(part.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if let Some(rest) = line.split("the tree: ").nth(1) {
            words = rest.split(' ').map(str::to_owned).collect();
            break;
        }
    }
    let path = std::path::PathBuf::from(words.remove(0));
    let pids: Vec<u32> = words.iter().map(|pid| pid.parse().unwrap()).collect();
    assert!(pids.len() == 4 && pids.iter().all(|pid| !is_gone(*pid)), "{pids:?}");
    part.kill().unwrap();
    assert_eq!(part.wait().unwrap().signal(), Some(9));
    let begun = Instant::now();
    while !pids.iter().all(|pid| is_gone(*pid)) || path.exists() {
        assert!(begun.elapsed() < PATIENCE, "{pids:?} live on");
        std::thread::sleep(Duration::from_millis(2));
    }
    println!("all gone {:?} after the kill", begun.elapsed());
}

#[tokio::test]
#[ignore = "a part of `the_program_is_killed`"]
async fn part_that_is_killed() {
    let (watcher, _) = watchers().remove(0);
    let cgroup = cgroup().unwrap();
    let _guardian = cgroup.die_with_this_program().unwrap();
    let _child = start(&watcher, Some(&cgroup), DEAF).await;
    until("the tree is there", || cgroup.pids().unwrap().len() == 4).await;
    let pids: Vec<_> = cgroup.pids().unwrap().iter().map(u32::to_string).collect();
    println!("the tree: {} {}", cgroup.path().display(), pids.join(" "));
    tokio::time::sleep(PATIENCE).await;
}

/// Let go, the guardian kills nobody, and is gone.
#[tokio::test]
async fn a_guardian_that_is_dropped() {
    let Some(cgroup) = cgroup() else { return };
    let (watcher, _) = watchers().remove(0);
    let guardian = cgroup.die_with_this_program().unwrap();
    let mut child = start(&watcher, Some(&cgroup), "echo ready; exec sleep 1000").await;
    drop(guardian);
    assert_eq!(cgroup.pids().unwrap(), [child.pid().unwrap()]);
    child.stop(StopPlan::kill()).await.unwrap();
    child.wait().await.unwrap();
}

/// A plan with a cgroup that the tree is not in: what the kernel says of that proves nothing of those who live.
#[tokio::test]
async fn a_cgroup_that_it_is_not_in_is_no_proof() {
    for (watcher, broken) in watchers() {
        let Some(cgroup) = cgroup() else { return };
        let mut child = start(&watcher, None, DEAF).await;
        let handle = child.handle();
        until("the tree is there", || handle.living().len() == 4).await;
        let pids: Vec<u32> = handle.living().iter().map(|member| member.id.pid()).collect();
        let plan = StopPlan::empty().tree(15, Duration::from_millis(50)).cgroup(&cgroup);
        let report = tokio::time::timeout(PATIENCE, child.stop(plan.clone())).await.unwrap().unwrap();
        assert!(matches!(report.empty, Emptiness::No { living: 4 }), "{report}");
        broken.store(true, Ordering::Release);
        let report = tokio::time::timeout(PATIENCE, child.stop(plan)).await.unwrap().unwrap();
        assert!(matches!(report.empty, Emptiness::Unknown(_)), "{report}");
        child.start_kill().unwrap();
        child.wait().await.unwrap();
        pids.iter().filter(|pid| !is_gone(**pid)).for_each(|pid| kill(*pid));
    }
}

/// A command that cannot enter is not started.
#[tokio::test]
async fn a_cgroup_that_is_gone() {
    let Some(cgroup) = cgroup() else { return };
    let (watcher, _) = watchers().remove(0);
    let mut command = Command::new("true");
    cgroup.enter(command.as_std_mut());
    std::fs::remove_dir(cgroup.path()).unwrap();
    let error = watcher.spawn(command).unwrap_err().to_string();
    assert!(error.contains("true could not be started"), "{error}");
    assert!(matches!(cgroup.is_empty(), Err(CgroupError::File { .. })));
    assert_eq!(watcher.stats().trees, 0, "K11");
}

/// What it says where it may not be made.
#[test]
fn a_refused_cgroup_says_where() {
    let error = Cgroup::create_in("/proc/self/fd").unwrap_err();
    let CgroupError::Create { ref path, .. } = error else { panic!("{error}") };
    assert!(path.starts_with("/proc/self/fd") && error.to_string().contains("Delegate=yes"), "{error}");
}

/// Nobody can say any more who lives, so that nothing is started again; all that were started are stopped, and the verdict says why.
#[tokio::test]
async fn a_supervisor_whose_source_fails() {
    for (watcher, broken) in watchers() {
        let service = |name: &str, script: &str| Service::new(name, "sh").args(["-c", script]);
        let services = [
            service("plain", "exec sleep 1000"),
            service("deaf", "trap '' TERM; while :; do sleep 1; done"),
            service("crashes", "sleep 0.3; exit 3"),
        ];
        let supervisor = Supervisor::builder().services(services).start(&watcher).unwrap();
        let mut events = supervisor.events();
        tokio::time::timeout(PATIENCE, supervisor.wait_ready()).await.unwrap().unwrap();
        let pids: Vec<u32> =
            supervisor.snapshot().services.iter().map(|service| service.id.unwrap().pid()).collect();
        broken.store(true, Ordering::Release);
        let verdict = tokio::time::timeout(PATIENCE, supervisor.wait()).await.unwrap();
        assert_eq!(verdict, Verdict::SourceFailed);
        let (mut failed, mut started) = (0, 0);
        while let Ok(Some(event)) = tokio::time::timeout(Duration::from_millis(10), events.next()).await {
            failed += u32::from(matches!(event.kind, ServiceEventKind::SourceFailed(_)));
            started += u32::from(matches!(event.kind, ServiceEventKind::Started(_)));
        }
        assert!(failed > 0 && started <= 3, "{failed} {started}");
        assert!(supervisor.snapshot().services.iter().all(|service| service.starts == 1));
        let begun = Instant::now();
        while !pids.iter().all(|pid| is_gone(*pid)) {
            assert!(begun.elapsed() < PATIENCE, "{pids:?} live on");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// One that says something all the time is heard when the source fails, and killed like the others.
#[tokio::test]
async fn a_service_that_talks_while_the_source_fails() {
    let python = std::process::Command::new("python3").args(["-c", ""]).stderr(Stdio::null()).status();
    if !python.is_ok_and(|status| status.success()) {
        return println!("SKIPPED: no python3");
    }
    let script = "import os, socket\ns = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\ns.connect(os.environ['NOTIFY_SOCKET'])\n\
                  s.send(b'READY=1')\nwhile True: s.send(b'WATCHDOG=1')";
    for (watcher, broken) in watchers() {
        let talks = Service::new("talks", "python3").args(["-c", script]).ready(Ready::Notify);
        let supervisor = Supervisor::builder().service(talks).start(&watcher).unwrap();
        tokio::time::timeout(PATIENCE, supervisor.wait_ready()).await.unwrap().unwrap();
        let pid = supervisor.snapshot().services[0].id.unwrap().pid();
        broken.store(true, Ordering::Release);
        let verdict = tokio::time::timeout(PATIENCE, supervisor.wait()).await;
        assert_eq!(verdict.expect("it is not waited for for ever"), Verdict::SourceFailed);
        until("it is gone", || is_gone(pid)).await;
    }
}
