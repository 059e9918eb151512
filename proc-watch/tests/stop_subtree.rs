//! Stopping with the reaper's list for another witness, on a scripted source and a kernel in memory: what the source does not tell, the list does.

use std::time::{Duration, Instant};

use proc_watch::sim::{Script, scripted};
use proc_watch::{Emptiness, Reaping, SimReaper, StopPlan, StopReport, Subtree, TreeHandle, Watcher};

/// A limit for what is sure to happen soon.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long somebody has who will not go.
const SHORT: Duration = Duration::from_millis(100);

/// A machine, of which the one half is told by the script and the other by the reaper.
struct Stage {
    script: Script,
    watcher: Watcher,
    kernel: SimReaper,
    reaping: Reaping,
}

impl Stage {
    fn over(kernel: SimReaper) -> Self {
        let (source, script) = scripted().unwrap();
        let watcher = Watcher::builder().build_scripted(source).unwrap();
        let reaping = kernel.acquire().unwrap();
        Self { script, watcher, kernel, reaping }
    }

    /// A child, told by both.
    fn start(&self, pid: u32) -> (TreeHandle, Subtree) {
        let (script, kernel) = (self.script.clone(), self.kernel.clone());
        let started = self.watcher.spawn_with(move || {
            kernel.fork(SimReaper::HERE, pid);
            script.fork(std::process::id(), pid);
            Ok((pid, ()))
        });
        let ((), handle, _) = started.unwrap();
        let subtree = self.reaping.subtree(handle.id()).unwrap();
        (handle, subtree)
    }

    /// Its end, told by both.
    fn end(&self, pid: u32) {
        self.kernel.end(pid);
        self.script.exit(pid, 0);
    }

    /// Tells the script's side of a kill.
    async fn is_killed(&self, pid: u32) {
        let begun = Instant::now();
        while self.kernel.lives(pid) {
            assert!(begun.elapsed() < PATIENCE, "{pid} is not killed");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        self.script.exit(pid, 9);
    }
}

async fn stop(handle: &TreeHandle, plan: StopPlan) -> StopReport {
    tokio::time::timeout(PATIENCE, handle.stop(plan)).await.expect("in time").unwrap()
}

/// Somebody whose birth was lost, and whose parent is gone: the source cannot say more than that records were lost.
#[tokio::test]
async fn who_was_lost_is_killed_and_proven_gone() {
    for kernel in [SimReaper::new(), SimReaper::new().old()] {
        let stage = Stage::over(kernel);
        let (handle, subtree) = stage.start(100);
        stage.kernel.fork(100, 101);
        stage.kernel.fork_during_kill(101, 102);
        stage.end(100);
        stage.script.lose(1);
        let report = stop(&handle, StopPlan::kill()).await;
        assert!(matches!(report.empty, Emptiness::Observed(_)), "{report}");
        assert!(stage.kernel.lives(101));
        let report = stop(&handle, StopPlan::kill().subtree(&subtree)).await;
        assert!(matches!(report.empty, Emptiness::Proven), "{report}");
        assert!(!stage.kernel.lives(101));
        assert!(!stage.kernel.lives(102), "who was being born during the kill");
        // The child is still its starter's to wait for.
        stage.kernel.wait(100);
    }
}

/// SIGTERM is for who is known; and nobody is proven gone who is not.
#[tokio::test]
async fn nobody_is_killed_by_a_plan_that_does_not_say_so() {
    let stage = Stage::over(SimReaper::new());
    let (handle, subtree) = stage.start(100);
    stage.kernel.fork(100, 101);
    stage.end(100);
    let report = stop(&handle, StopPlan::empty().tree(15, SHORT).subtree(&subtree)).await;
    assert!(matches!(report.empty, Emptiness::No { living: 1 }), "{report}");
    assert!(stage.kernel.lives(101));
    stage.kernel.end(101);
    let report = stop(&handle, StopPlan::empty().subtree(&subtree)).await;
    assert!(matches!(report.empty, Emptiness::Proven), "{report}");
}

/// Those who live are killed by the list as well, and their ends are told as ever.
#[tokio::test]
async fn the_living_are_killed_at_once() {
    let stage = Stage::over(SimReaper::new());
    let (handle, subtree) = stage.start(100);
    stage.kernel.fork(100, 101);
    stage.script.fork(100, 101);
    let stopping = handle.stop(StopPlan::kill().subtree(&subtree));
    stage.is_killed(100).await;
    stage.is_killed(101).await;
    let report = tokio::time::timeout(PATIENCE, stopping).await.expect("in time").unwrap();
    assert!(matches!(report.empty, Emptiness::Proven), "{report}");
    assert_eq!(report.processes.len(), 2);
    assert!(
        report.processes.iter().all(|process| process.status.and_then(|status| status.signal()) == Some(9))
    );
}

#[tokio::test]
async fn another_trees_subtree_does_nothing() {
    let stage = Stage::over(SimReaper::new());
    let (_one, subtree) = stage.start(100);
    let (other, _) = stage.start(200);
    let report = stop(&other, StopPlan::empty().tree(9, SHORT).subtree(&subtree)).await;
    assert!(matches!(report.empty, Emptiness::No { living: 1 }), "{report}");
    assert!(stage.kernel.lives(100) && stage.kernel.lives(200));
    stage.end(200);
    stage.script.lose(1);
    let report = stop(&other, StopPlan::kill().subtree(&subtree)).await;
    assert!(matches!(report.empty, Emptiness::Observed(_)), "{report}");
    assert!(stage.kernel.lives(100));
}

/// The kernel's word holds where the source has none.
#[tokio::test]
async fn the_source_fails_and_the_list_does_not() {
    let stage = Stage::over(SimReaper::new());
    let (handle, subtree) = stage.start(100);
    stage.kernel.fork(100, 101);
    stage.script.fail("for this test");
    let report = stop(&handle, StopPlan::kill()).await;
    assert!(matches!(report.empty, Emptiness::Unknown(_)), "{report}");
    assert!(stage.kernel.lives(100));
    let report = stop(&handle, StopPlan::kill().subtree(&subtree)).await;
    assert!(matches!(report.empty, Emptiness::Proven), "{report}");
    assert!(!stage.kernel.lives(100) && !stage.kernel.lives(101));
}

/// Who may not be signalled is there, and is said to be.
#[tokio::test]
async fn who_is_not_to_be_signalled_is_not_proven_gone() {
    let stage = Stage::over(SimReaper::new());
    let (handle, subtree) = stage.start(100);
    stage.kernel.fork(100, 101);
    stage.kernel.deny(101);
    stage.end(100);
    let report = stop(&handle, StopPlan::empty().tree(9, SHORT).subtree(&subtree)).await;
    assert!(matches!(report.empty, Emptiness::No { living: 1 }), "{report}");
}

/// A system that has a reaper and no list (DragonFly): it can be said that nobody at all is left, and nothing else.
#[tokio::test]
async fn without_a_list() {
    let stage = Stage::over(SimReaper::new().without_list());
    let (handle, subtree) = stage.start(100);
    let (_other, _) = stage.start(200);
    stage.end(100);
    stage.script.lose(1);
    let plan = StopPlan::kill().subtree(&subtree);
    let report = stop(&handle, plan.clone()).await;
    assert!(matches!(report.empty, Emptiness::Observed(_)), "{report}");
    assert!(stage.kernel.lives(200));
    stage.end(200);
    let report = stop(&handle, plan).await;
    assert!(matches!(report.empty, Emptiness::Proven), "{report}");
}
