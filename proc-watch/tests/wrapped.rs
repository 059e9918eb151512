//! Commands of the crate process-wrap, over each source that works here.

mod each_source;

use std::time::Duration;

use proc_watch::{Command, Emptiness, ExitStatus, SpawnError, StopPlan};
use process_wrap::tokio::{CommandWrap, KillOnDrop, ProcessGroup, ProcessSession};

use each_source::watchers;

/// A limit for what is sure to happen soon.
const PATIENCE: Duration = Duration::from_secs(60);

/// A session of its own, which a grandchild leaves by another: killing the group would leave that behind.
#[tokio::test]
async fn who_leaves_the_group_is_in_the_tree() {
    for watcher in watchers() {
        let mut command = CommandWrap::with_new("sh", |command| {
            command.args(["-c", "setsid sleep 1000 & exec sleep 1000"]);
        });
        command.wrap(ProcessSession).wrap(KillOnDrop);
        let (mut child, handle, mut events) = watcher.spawn_wrapped(command).unwrap();
        assert_eq!(child.id(), Some(handle.id().pid()));
        while handle.living().len() < 2 {
            tokio::time::timeout(PATIENCE, events.next()).await.expect("in time");
        }
        let report = tokio::time::timeout(PATIENCE, handle.stop(StopPlan::kill())).await.unwrap().unwrap();
        assert!(report.empty.is_empty() && report.processes.len() == 2, "{report}");
        assert!(!child.wait().await.unwrap().success());
    }
}

#[tokio::test]
async fn its_status_is_the_wrapper_s_to_take() {
    for watcher in watchers() {
        let mut command = CommandWrap::with_new("sh", |command| {
            command.args(["-c", "exit 9"]);
        });
        command.wrap(ProcessGroup::leader());
        let (mut child, handle, _events) = watcher.spawn_wrapped(command).unwrap();
        assert_eq!(child.wait().await.unwrap().code(), Some(9), "K10");
        assert!(tokio::time::timeout(PATIENCE, handle.empty()).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn what_cannot_be_started() {
    for watcher in watchers() {
        let command = CommandWrap::with_new("/does/not/exist", |_| {});
        let error = watcher.spawn_wrapped(command).unwrap_err();
        assert!(
            matches!(&error, SpawnError::Start(error) if error.kind() == std::io::ErrorKind::NotFound),
            "{error}"
        );
        assert_eq!(watcher.stats().trees, 0, "K11");
    }
}

/// By any other means: here by tokio itself.
#[tokio::test]
async fn a_way_of_one_s_own() {
    for watcher in watchers() {
        let (mut child, handle, mut events) = watcher
            .spawn_with(|| {
                let child = Command::new("sh").args(["-c", "(exit 2); exit 3"]).spawn()?;
                Ok((child.id().expect("it has just been started"), child))
            })
            .unwrap();
        let mut ends = Vec::new();
        while let Some(event) = tokio::time::timeout(PATIENCE, events.next()).await.expect("in time") {
            if let proc_watch::EventKind::Exit { status } = event.kind {
                ends.push((event.id == handle.id(), status));
            }
        }
        let known = watcher.capabilities().statuses;
        assert_eq!(ends.len(), 2);
        assert!(!known || ends == [(false, ExitStatus::Code(2)), (true, ExitStatus::Code(3))], "{ends:?}");
        assert_eq!(child.wait().await.unwrap().code(), Some(3));
    }
}

/// The child is made by a thread that nobody looks at: what it did before it is claimed is not known, and that is said.
#[tokio::test]
async fn by_another_thread_there_is_a_doubt() {
    for watcher in watchers() {
        let (mut child, handle, _events) = watcher
            .spawn_with(|| {
                let runtime = tokio::runtime::Handle::current();
                let made = std::thread::spawn(move || {
                    let _entered = runtime.enter();
                    let script = "(setsid sleep 2 &); exec sleep 100";
                    let child = Command::new("sh").args(["-c", script]).spawn()?;
                    std::thread::sleep(Duration::from_millis(100));
                    Ok::<_, std::io::Error>((child.id().expect("it has just been started"), child))
                });
                made.join().expect("no panic")
            })
            .unwrap();
        let report = tokio::time::timeout(PATIENCE, handle.stop(StopPlan::kill())).await.unwrap().unwrap();
        // Either all of it was seen, or it is said that it may not have been.
        let whole = report.processes.len() > 1;
        assert!(report.empty.is_empty(), "{report}");
        assert!(
            whole || matches!(report.empty, Emptiness::Observed(_)),
            "{}: {report}",
            watcher.source_name()
        );
        child.wait().await.unwrap();
    }
}

/// Whoever is none of this program's children is not taken for one.
#[tokio::test]
async fn a_pid_that_is_nobody_s_of_ours() {
    for watcher in watchers() {
        for pid in [0, 1, u32::MAX] {
            let ((), handle, _events) = watcher.spawn_with(move || Ok((pid, ()))).unwrap();
            let report =
                tokio::time::timeout(PATIENCE, handle.stop(StopPlan::empty().tree(0, PATIENCE))).await;
            let report = report.unwrap().unwrap();
            assert!(report.processes.is_empty(), "{pid}: {report}");
            assert!(!matches!(report.empty, Emptiness::Proven), "{pid}: {report}");
        }
    }
}
