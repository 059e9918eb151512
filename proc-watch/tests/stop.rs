//! Stopping real trees, over each source that works here.

mod each_source;

use std::time::{Duration, Instant};

use proc_watch::{Child, Command, Emptiness, Events, ExitStatus, SignalError, StopPlan, StopReport, Watcher};
use tokio::io::{AsyncBufReadExt, BufReader};

use each_source::{watchers, watchers_with};

/// A limit for what is sure to happen soon.
const PATIENCE: Duration = Duration::from_secs(60);
const SIGTERM: u8 = 15;
const SIGKILL: u8 = 9;

/// A shell script, which says `ready` when it is.
async fn start(watcher: &Watcher, script: &str) -> (Child, Events) {
    let mut command = Command::new("sh");
    command.args(["-c", script]).stdout(std::process::Stdio::piped());
    let (mut child, events) = watcher.spawn(command).unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = tokio::time::timeout(PATIENCE, lines.next_line()).await.expect("ready in time").unwrap();
    assert_eq!(line.as_deref(), Some("ready"));
    (child, events)
}

async fn until_living(child: &Child, count: usize) {
    let begun = Instant::now();
    while child.handle().living().len() < count {
        assert!(begun.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn stopped(child: &Child, plan: StopPlan) -> StopReport {
    tokio::time::timeout(PATIENCE, child.stop(plan)).await.expect("stopped in time").unwrap()
}

fn alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')')
        .next()
        .is_some_and(|rest| !rest.trim().is_empty() && !rest.trim().starts_with(['Z', 'X']))
}

fn assert_gone(report: &StopReport, watcher: &Watcher) {
    assert!(matches!(report.empty, Emptiness::Proven), "{}: {report}", watcher.source_name());
    assert!(report.survivors.is_empty());
    for process in &report.processes {
        assert!(process.status.is_some() && !alive(process.id.pid()), "{report}");
    }
}

/// Row 8 of what users of other tools ask for: the leader first.
#[tokio::test]
async fn a_leader_that_cleans_up_is_all_that_is_signalled() {
    for watcher in watchers() {
        // A fork of the shell would catch the signal and forget it until it runs sleep.
        let script = "trap 'kill $child; wait; exit 5' TERM; sleep 100 & child=$!;
            until [ \"$(cat /proc/$child/comm)\" = sleep ]; do :; done; echo ready; wait";
        let (mut child, _events) = start(&watcher, script).await;
        let report = stopped(&child, StopPlan::default()).await;
        assert_gone(&report, &watcher);
        assert_eq!(report.rungs, 1, "{report}");
        let leader = &report.processes[0];
        assert_eq!((leader.id, leader.rung), (child.id(), Some(0)), "{report}");
        assert_eq!(leader.status, Some(ExitStatus::Code(5)), "{report}");
        assert!(report.processes[1..].iter().all(|process| process.rung.is_none()), "{report}");
        assert_eq!(child.wait().await.unwrap().code(), Some(5), "K10");
    }
}

/// Rows 1 to 3 and 7: who calls setsid or lost its parent is stopped too, and it is not over with the leader; by the time that it
/// is over nobody is there any more.
#[tokio::test]
async fn who_left_the_group_and_who_is_left_behind() {
    for watcher in watchers() {
        let script =
            "(setsid sh -c 'sleep 100 & wait' &) ; sh -c 'trap \"\" TERM; echo ready; exec sleep 100' & wait";
        let (mut child, _events) = start(&watcher, script).await;
        until_living(&child, 4).await;
        let plan = StopPlan::empty()
            .leader(15, PATIENCE)
            .tree(15, Duration::from_secs(1))
            .tree(9, PATIENCE)
            .follow(Duration::from_millis(50));
        let report = stopped(&child, plan).await;
        assert_gone(&report, &watcher);
        assert!(report.processes.len() >= 4, "{report}");
        assert_eq!(report.rungs, 3, "one of them ignores SIGTERM: {report}");
        assert!(report.elapsed < PATIENCE / 2, "{report}");
        let killed = report.processes.iter().any(|process| process.rung == Some(2));
        assert!(killed, "{report}");
        child.wait().await.unwrap();
    }
}

/// Row 5: who is born while the others are killed. Bounded: 3,000 processes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tree_that_goes_on_forking() {
    for watcher in watchers_with(|builder| builder.metadata(false)) {
        let script = "
            bomb() { while [ $n -lt 150 ]; do n=$((n+1)); sleep 100 & done; wait; }
            n=0; for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do bomb & done; echo ready; wait";
        let (mut child, _events) = start(&watcher, script).await;
        let report = stopped(&child, StopPlan::kill()).await;
        assert_gone(&report, &watcher);
        let since = report.processes.iter().filter(|process| process.born_since).count();
        println!("{}: {} processes, {since} born since", watcher.source_name(), report.processes.len());
        child.wait().await.unwrap();
    }
}

#[tokio::test]
async fn two_thousand() {
    for watcher in watchers_with(|builder| builder.metadata(false)) {
        let script = "for i in 1 2 3 4 5 6 7 8 9 10; do
                (for j in $(seq 200); do sleep 100 & done; wait) & done; echo ready; wait";
        let (mut child, _events) = start(&watcher, script).await;
        until_living(&child, 2_011).await;
        let before = child.handle().living().len();
        let report = stopped(&child, StopPlan::kill()).await;
        println!(
            "{}: {before} before, {} in {:?}",
            watcher.source_name(),
            report.processes.len(),
            report.elapsed
        );
        assert_gone(&report, &watcher);
        assert!(report.processes.len() >= 2_000, "{}", report.processes.len());
        child.wait().await.unwrap();
    }
}

#[tokio::test]
async fn who_is_stopped_gets_to_see_it() {
    for watcher in watchers() {
        let (mut child, _events) =
            start(&watcher, "trap 'exit 7' TERM; echo ready; kill -STOP $$; while :; do :; done").await;
        let pid = child.pid().unwrap();
        let begun = Instant::now();
        let state = || std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        while !state().contains(") T ") {
            assert!(begun.elapsed() < PATIENCE);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let report = stopped(&child, StopPlan::empty().tree(15, PATIENCE)).await;
        assert_gone(&report, &watcher);
        assert_eq!(report.processes[0].status, Some(ExitStatus::Code(7)), "{report}");
        child.wait().await.unwrap();
    }
}

/// Two signals, one right after the other.
#[tokio::test]
async fn a_rung_may_be_given_no_time() {
    for watcher in watchers() {
        // The first does nothing, so that it lives to get the second.
        let script = "trap '' USR1; trap 'exit 8' TERM; echo ready; while :; do :; done";
        let (mut child, _events) = start(&watcher, script).await;
        let plan = StopPlan::empty().tree(10, Duration::ZERO).tree(15, PATIENCE);
        let report = stopped(&child, plan).await;
        assert_gone(&report, &watcher);
        assert_eq!((report.processes[0].status, report.rungs), (Some(ExitStatus::Code(8)), 2), "{report}");
        child.wait().await.unwrap();
    }
}

/// Whom a leader left behind that ended long ago need not be waited for.
#[tokio::test]
async fn a_leader_that_has_ended_before() {
    for watcher in watchers() {
        let (mut child, _events) = start(&watcher, "sleep 100 & echo ready; exit 0").await;
        child.wait().await.unwrap();
        while child.handle().living().len() > 1 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let plan = StopPlan::empty().leader(15, PATIENCE).tree(9, PATIENCE).follow(PATIENCE);
        let report = stopped(&child, plan).await;
        assert_gone(&report, &watcher);
        assert_eq!(report.rungs, 2, "{report}");
    }
}

/// Nobody will ever reap it, and nobody has to wait for that.
#[tokio::test]
async fn a_zombie_whose_parent_never_reaps() {
    for watcher in watchers() {
        // What runs in the place of the shell does not know of its child.
        let script = "sleep 100 & echo ready; exec sleep 101";
        let (mut child, _events) = start(&watcher, script).await;
        let orphan = child.handle().living().pop().unwrap().id;
        let report = {
            let plan = StopPlan::empty().tree(15, PATIENCE);
            let handle = child.handle();
            // Who was born a moment ago and has not run yet cannot be told from another: on a busy machine that takes its time.
            let unsettled = |error: &SignalError| matches!(error, SignalError::Unsettled { .. });
            let end = Instant::now() + PATIENCE;
            loop {
                let failed = handle.signal(0).unwrap();
                if failed.is_empty() {
                    break;
                }
                assert!(failed.iter().all(|(_, error)| unsettled(error)), "{failed:?}");
                assert!(Instant::now() < end, "{failed:?}");
            }
            // The grandchild alone first: it stays a zombie while its parent lives.
            while let Err(error) = watcher.signal(orphan, 15) {
                assert!(unsettled(&error) && Instant::now() < end, "{error}");
            }
            tokio::time::timeout(PATIENCE, handle.stop(plan)).await.expect("in time").unwrap()
        };
        assert_gone(&report, &watcher);
        child.wait().await.unwrap();
    }
}

/// Row 4: who is still there, and why.
#[tokio::test]
async fn progress_names_who_is_left_and_why() {
    for watcher in watchers() {
        let script = "trap '' TERM INT; echo ready; exec sleep 100";
        let (mut child, _events) = start(&watcher, script).await;
        // However long it takes to become what it is going to be, and to be looked up.
        let plan = StopPlan::empty().tree(15, PATIENCE).progress_every(Duration::from_millis(20));
        let mut stop = child.stop(plan);
        let named = |progress: &proc_watch::Progress| {
            progress.survivors.iter().any(|survivor| {
                survivor.id == child.id()
                    && survivor.ignores.contains(15)
                    && !survivor.ignores.contains(10)
                    && survivor.argv == ["sleep", "100"]
                    && survivor.age.is_some_and(|age| age < PATIENCE)
            })
        };
        for _ in 0..2 {
            let mut seen = Vec::new();
            while !seen.last().is_some_and(named) {
                seen.push(stop.progress().await.unwrap_or_else(|| panic!("never: {seen:#?}")));
            }
        }
        assert_gone(&stopped(&child, StopPlan::kill()).await, &watcher);
        let report = stop.await.unwrap();
        assert_gone(&report, &watcher);
        assert_eq!(report.processes[0].status, Some(ExitStatus::Signal { signal: SIGKILL, core: false }));
        child.wait().await.unwrap();
    }
}

/// The plan's time is over, and somebody lives: that is said, and the next stop goes on from there.
#[tokio::test]
async fn who_survives_the_plan_is_told() {
    for watcher in watchers() {
        let (mut child, _events) = start(&watcher, "trap '' TERM; echo ready; exec sleep 100").await;
        let report = stopped(&child, StopPlan::empty().tree(15, Duration::from_millis(100))).await;
        assert!(matches!(report.empty, Emptiness::No { living: 1 }), "{report}");
        assert!(report.survivors[0].ignores.contains(15), "{report}");
        assert!(alive(child.id().pid()));
        assert_gone(&stopped(&child, StopPlan::kill()).await, &watcher);
        child.wait().await.unwrap();
    }
}

/// Row 18: a dropped future stops nothing.
#[tokio::test]
async fn a_dropped_stop_goes_on() {
    for watcher in watchers() {
        let (mut child, events) = start(&watcher, "trap '' TERM; echo ready; exec sleep 100").await;
        drop(child.stop(StopPlan::terminate(Duration::from_millis(100))));
        let empty = tokio::time::timeout(PATIENCE, events.handle().empty()).await.unwrap();
        assert!(matches!(empty, Emptiness::Proven), "{empty}");
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&child.wait().await.unwrap()), Some(9));
    }
}

/// Row 13: also when the runtime is gone, and without a zombie.
#[test]
fn a_dropped_child_takes_its_tree_with_it() {
    for watcher in watchers() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (child, events) = runtime.block_on(async {
            let (mut child, events) =
                start(&watcher, "(setsid sleep 100 &); trap '' TERM; sleep 100 & echo ready; wait").await;
            child.kill_tree_on_drop(true);
            (child, events)
        });
        let pids: Vec<u32> = child.handle().living().iter().map(|member| member.id.pid()).collect();
        assert!(pids.len() >= 3, "{pids:?}");
        let leader = child.id().pid();
        drop((events, runtime));
        drop(child);
        let begun = Instant::now();
        while pids.iter().any(|&pid| alive(pid)) || std::fs::exists(format!("/proc/{leader}")).unwrap() {
            assert!(begun.elapsed() < PATIENCE, "{}", watcher.source_name());
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// The watcher may be dropped with it.
#[test]
fn so_it_does_with_the_last_handle() {
    for watcher in watchers() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let pids = runtime.block_on(async move {
            let (mut child, _events) =
                start(&watcher, "for i in $(seq 50); do sleep 100 & done; echo ready; wait").await;
            child.kill_tree_on_drop(true);
            let living = child.handle().living();
            drop(watcher);
            living
        });
        assert!(pids.iter().all(|member| !alive(member.id.pid())));
    }
}

#[tokio::test]
async fn a_tree_that_was_attached_to_is_observed() {
    for watcher in watchers() {
        let mut other = std::process::Command::new("sh").args(["-c", "sleep 100 & wait"]).spawn().unwrap();
        let events = watcher.attach(other.id()).unwrap();
        let report = tokio::time::timeout(PATIENCE, events.stop(StopPlan::kill())).await.unwrap().unwrap();
        let Emptiness::Observed(doubts) = &report.empty else { panic!("{report}") };
        assert!(doubts.attached && doubts.lost.is_none());
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&other.wait().unwrap()), Some(9), "K10");
    }
}

/// Nothing is left to be done, and that is no error.
#[tokio::test]
async fn a_tree_that_is_gone_already() {
    for watcher in watchers() {
        let (mut child, mut events) = watcher.spawn(Command::new("true")).unwrap();
        child.wait().await.unwrap();
        while events.next().await.is_some() {}
        let report = stopped(&child, StopPlan::default()).await;
        assert!(matches!(report.empty, Emptiness::Proven), "{report}");
        assert_eq!((report.rungs, report.processes.len()), (0, 0), "{report}");
    }
}

/// Who is signalled is told by which rung, and how it ended.
#[tokio::test]
async fn the_report_says_what_became_of_everybody() {
    for watcher in watchers() {
        let (mut child, _events) = start(&watcher, "sleep 100 & sleep 100 & echo ready; wait").await;
        let report = stopped(&child, StopPlan::empty().tree(15, PATIENCE)).await;
        assert_gone(&report, &watcher);
        for process in &report.processes {
            assert_eq!(process.rung, Some(0), "{report}");
            let told = process.status.unwrap();
            let known = watcher.capabilities().statuses || process.id == child.id();
            let right = told == ExitStatus::Signal { signal: SIGTERM, core: false };
            assert!(right || (!known && told == ExitStatus::Unknown), "{report}");
        }
        assert!(report.to_string().contains("nobody is left"), "{report}");
        child.wait().await.unwrap();
    }
}

/// Row 18: each public future of stopping, given up at each await that it has, loses nothing.
#[tokio::test]
async fn cancel_safe_at_each_await() {
    for watcher in watchers() {
        let script = "trap '' TERM; echo ready; exec sleep 100";
        let (mut child, _events) = start(&watcher, script).await;
        let handle = child.handle();
        let mut drops = 0;
        // Polled once and dropped, while nothing happens and while somebody is being stopped.
        let mut give_up = async |stop: &mut proc_watch::Stop| {
            tokio::select! { biased; _ = handle.empty() => panic!("it lives"), () = tokio::task::yield_now() => drops += 1 }
            tokio::select! { biased; _ = stop.progress() => {}, () = tokio::task::yield_now() => drops += 1 }
            tokio::select! { biased; _ = &mut *stop => return true, () = tokio::task::yield_now() => drops += 1 }
            false
        };
        let plan =
            StopPlan::empty().tree(15, Duration::from_millis(100)).progress_every(Duration::from_millis(1));
        let mut stop = child.stop(plan);
        let begun = Instant::now();
        while !give_up(&mut stop).await {
            assert!(begun.elapsed() < PATIENCE);
        }
        println!("{}: dropped at an await {drops} times", watcher.source_name());
        assert!(drops > 3);
        // The one that goes on is whole.
        assert_gone(&stopped(&child, StopPlan::kill()).await, &watcher);
        assert!(matches!(handle.empty().await, Emptiness::Proven));
        child.wait().await.unwrap();
    }
}

/// What a handler starts to clean up with is not what the signal is for; SIGKILL leaves nobody.
#[tokio::test]
async fn who_cleans_up_is_spared() {
    for watcher in watchers() {
        let dir = tempfile::tempdir().unwrap();
        let done = dir.path().join("done");
        let script = format!(
            "trap 'sh -c \"sleep 0.1; sleep 0.1; : > {}\"; exit 0' TERM; echo ready; while :; do sleep 0.01; done",
            done.display()
        );
        let (mut child, _events) = start(&watcher, &script).await;
        let report = stopped(&child, StopPlan::empty().tree(15, PATIENCE)).await;
        assert_gone(&report, &watcher);
        assert!(done.exists(), "{}: {report}", watcher.source_name());
        assert_eq!(report.processes[0].status, Some(ExitStatus::Code(0)), "{report}");
        child.wait().await.unwrap();
    }
}

/// Times that no clock reaches stop nobody from being stopped, then or later.
#[tokio::test]
async fn times_without_end() {
    for watcher in watchers() {
        let (mut child, _events) = start(&watcher, "trap '' TERM; echo ready; exec sleep 100").await;
        let plan =
            StopPlan::empty().leader(15, Duration::MAX).follow(Duration::MAX).progress_every(Duration::MAX);
        let mut endless = child.stop(plan);
        endless.progress().await.unwrap();
        let often =
            child.stop(StopPlan::empty().tree(0, Duration::from_millis(50)).progress_every(Duration::ZERO));
        assert!(matches!(often.await.unwrap().empty, Emptiness::No { living: 1 }));
        assert_gone(&stopped(&child, StopPlan::kill()).await, &watcher);
        assert!(tokio::time::timeout(PATIENCE, endless).await.unwrap().unwrap().empty.is_empty());
        child.wait().await.unwrap();
    }
}

/// It is over with it, whichever way that is.
#[tokio::test]
async fn kill_tree_on_drop_and_all_of_its_output() {
    for watcher in watchers() {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 100 >/dev/null 2>&1 & echo $!"]).stdout(std::process::Stdio::piped());
        let (mut child, _events) = watcher.spawn(command).unwrap();
        let handle = child.handle();
        child.kill_tree_on_drop(true);
        assert!(child.wait_with_output().await.unwrap().status.success());
        assert!(tokio::time::timeout(PATIENCE, handle.empty()).await.unwrap().is_empty());
    }
}
