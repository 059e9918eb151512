//! Streams in every kind of runtime, in several at once, in one that shuts down, in one that is stalled, and in none.
#![cfg(target_os = "linux")]

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use proc_watch::{AttachError, Command, EventKind, Events, ExitStatus, SpawnError, Tree, Watcher};
use tokio::runtime::{Builder, Runtime};

fn watcher() -> Option<Watcher> {
    match Watcher::new() {
        Ok(watcher) => Some(watcher),
        Err(error) => {
            println!("SKIPPED: {error}");
            None
        }
    }
}

fn current_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn multi_thread() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// A tree of four processes, of which one escapes.
fn tree() -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "(exit 3); (setsid sh -c 'sleep 0.05; exit 4' &)"]);
    command
}

/// Reads to the end; a stream that does not end fails the test.
async fn fold(mut events: Events) -> Tree {
    let mut tree = Tree::new(events.id());
    let read = async {
        while let Some(event) = events.next().await {
            tree.apply(&event);
        }
    };
    tokio::time::timeout(Duration::from_secs(30), read).await.expect("the stream does not end");
    tree
}

fn codes(tree: &Tree) -> Vec<u8> {
    let mut codes: Vec<u8> =
        tree.processes().map(|process| process.status.unwrap().code().unwrap()).collect();
    codes.sort_unstable();
    codes
}

async fn spawn_and_fold(watcher: Watcher) {
    let (mut child, events) = watcher.spawn(tree()).unwrap();
    let tree = fold(events).await;
    assert!(child.wait().await.unwrap().success());
    let codes = codes(&tree);
    assert!(codes.contains(&3) && codes.contains(&4), "{codes:?}");
    assert!(tree.is_empty());
    assert_eq!(tree.get(child.id()).unwrap().status, Some(ExitStatus::Code(0)));
}

#[test]
fn current_thread_runtime() {
    let Some(watcher) = watcher() else { return };
    current_thread().block_on(spawn_and_fold(watcher.clone()));
    assert_eq!(watcher.stats().tracked, 0, "K11");
}

#[test]
fn multi_thread_runtime_many_at_once() {
    let Some(watcher) = watcher() else { return };
    multi_thread().block_on(async {
        let tasks: Vec<_> = (0..20).map(|_| tokio::spawn(spawn_and_fold(watcher.clone()))).collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
    assert_eq!((watcher.stats().trees, watcher.stats().tracked), (0, 0), "K11");
}

#[test]
fn two_runtimes_at_once_and_a_stream_that_moves_from_one_to_the_other() {
    let Some(watcher) = watcher() else { return };
    let (one, two) = (current_thread(), multi_thread());
    let (mut child, mut events) = one.block_on(async { watcher.spawn(tree()).unwrap() });
    let first = one.block_on(events.next()).unwrap();
    assert!(matches!(first.kind, EventKind::Fork { .. }));
    std::thread::scope(|scope| {
        let other = scope.spawn(|| one.block_on(spawn_and_fold(watcher.clone())));
        two.block_on(async {
            spawn_and_fold(watcher.clone()).await;
            let tree = fold(events).await;
            assert!(tree.is_empty());
        });
        other.join().unwrap();
    });
    assert!(one.block_on(child.wait()).unwrap().success());
}

/// Without metadata a stream alone drives the reactor itself; two have a task for it; and the one that is left goes on.
#[test]
fn a_stream_alone_with_another_and_alone_again() {
    // With metadata there is a task for one stream too.
    let builders = [Watcher::builder().metadata(false), Watcher::builder()];
    for (builder, runtime) in builders.iter().flat_map(|b| [(b, current_thread()), (b, multi_thread())]) {
        let watcher = match builder.clone().build() {
            Ok(watcher) => watcher,
            Err(error) => return println!("SKIPPED: {error}"),
        };
        runtime.block_on(async {
            let mut command = Command::new("sh");
            command.args(["-c", "for i in 1 2 3 4 5 6; do sh -c 'exit 3'; sleep 0.03; done"]);
            let (mut child, events) = watcher.spawn(command).unwrap();
            let alone = tokio::spawn(fold(events));
            // So that it awaits something by now; nothing below depends on it.
            tokio::time::sleep(Duration::from_millis(50)).await;
            spawn_and_fold(watcher.clone()).await;
            let tree = alone.await.unwrap();
            assert_eq!(codes(&tree).iter().filter(|code| **code == 3).count(), 6);
            assert!(tree.is_empty() && tree.lost() == 0);
            child.wait().await.unwrap();
        });
        assert_eq!(watcher.stats().tracked, 0, "K11");
    }
}

#[test]
fn a_runtime_without_io_is_driven_by_the_guard() {
    let Some(watcher) = watcher() else { return };
    let other = current_thread();
    let (child, events) = other.block_on(async { watcher.spawn(tree()).unwrap() });
    let without = Builder::new_current_thread().enable_time().build().unwrap();
    assert!(without.block_on(fold(events)).is_empty());
    drop(child);
}

#[test]
fn a_runtime_that_shuts_down_takes_no_stream_with_it() {
    let Some(watcher) = watcher() else { return };
    let first = multi_thread();
    let (child, mut events) = first.block_on(async { watcher.spawn(tree()).unwrap() });
    first.block_on(events.next()).unwrap();
    drop(child);
    first.shutdown_background();
    // Its driver is gone; the next poll elsewhere makes another.
    let tree = current_thread().block_on(fold(events));
    assert!(tree.is_empty());
}

#[test]
fn a_stalled_runtime_loses_nothing() {
    // A buffer of 512 records, and some 4,000 made while the runtime does not come round: without the guard it overflows
    // each time. It may with it, where all processes of a busy machine make more than that in the guard's moment.
    for _ in 0..5 {
        match records_lost_while_stalled() {
            Some(0) | None => return,
            Some(lost) => println!("{lost} records lost on a busy machine, once more"),
        }
    }
    panic!("lost each time");
}

fn records_lost_while_stalled() -> Option<u64> {
    let watcher = match Watcher::builder().receive_buffer(212_992).shards(1).metadata(false).build() {
        Ok(watcher) => watcher,
        Err(error) => {
            println!("SKIPPED: {error}");
            return None;
        }
    };
    current_thread().block_on(async {
        let mut command = Command::new("sh");
        command.args(["-c", "i=0; while [ $i -lt 600 ]; do (:); sleep 0.001; i=$((i+1)); done"]);
        let (mut child, events) = watcher.spawn(command).unwrap();
        // Not what a task should do.
        while child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(20));
        }
        let tree = fold(events).await;
        if tree.lost() == 0 {
            assert_eq!(tree.processes().count(), 1 + 2 * 600);
        }
        Some(tree.lost())
    })
}

#[test]
fn outside_of_any_runtime() {
    let Some(watcher) = watcher() else { return };
    let runtime = current_thread();
    let (child, mut events) = runtime.block_on(async { watcher.spawn(tree()).unwrap() });
    // Not run any more, and not dropped: the guard has to do it.
    let mut tree = Tree::new(events.id());
    while let Some(event) = block_on(events.next()) {
        tree.apply(&event);
    }
    assert!(tree.is_empty());
    drop(child);
}

/// The least executor there is.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(std::thread::Thread, AtomicBool);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.1.store(true, Ordering::Release);
            self.0.unpark();
        }
    }
    let unpark = Arc::new(Unpark(std::thread::current(), AtomicBool::new(false)));
    let waker = Waker::from(Arc::clone(&unpark));
    let mut future = pin!(future);
    let begun = Instant::now();
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return value;
        }
        while !unpark.1.swap(false, Ordering::AcqRel) {
            assert!(begun.elapsed() < Duration::from_secs(30), "never woken");
            std::thread::park_timeout(Duration::from_secs(1));
        }
    }
}

#[test]
fn a_dropped_next_loses_no_event() {
    let Some(watcher) = watcher() else { return };
    current_thread().block_on(async {
        let (mut child, mut events) = watcher.spawn(tree()).unwrap();
        let mut kept = events.clone();
        let mut told = Vec::new();
        let mut dropped = 0;
        loop {
            // Dropped at its await point whenever it has one.
            let next = tokio::time::timeout(Duration::ZERO, events.next()).await;
            match next {
                Ok(Some(event)) => told.push((event.id, std::mem::discriminant(&event.kind))),
                Ok(None) => break,
                Err(_) => {
                    dropped += 1;
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
        }
        let mut all = Vec::new();
        while let Some(event) = kept.next().await {
            all.push((event.id, std::mem::discriminant(&event.kind)));
        }
        println!("dropped {dropped} times");
        assert!(dropped > 0);
        assert_eq!(told, all);
        child.wait().await.unwrap();
    });
}

#[test]
fn a_failed_spawn_is_an_error_and_no_event() {
    let Some(watcher) = watcher() else { return };
    assert!(matches!(watcher.spawn(Command::new("true")), Err(SpawnError::NoRuntime)));
    current_thread().block_on(async {
        for (program, kind) in [
            ("/nonexistent/program", std::io::ErrorKind::NotFound),
            ("/etc/passwd", std::io::ErrorKind::PermissionDenied),
        ] {
            match watcher.spawn(Command::new(program)) {
                Err(SpawnError::Command { error, .. }) => assert_eq!(error.kind(), kind),
                other => panic!("{other:?}"),
            }
        }
        // One with a hook runs by fork and exec, whose child lives a while before it fails.
        let mut hooked = Command::new("/nonexistent/program");
        hooked.env("A", "B").current_dir("/");
        assert!(matches!(watcher.spawn(hooked), Err(SpawnError::Command { .. })));
        spawn_and_fold(watcher.clone()).await;
    });
    assert!(matches!(watcher.attach(u32::MAX), Err(AttachError::NoSuchProcess { .. })));
    assert_eq!((watcher.stats().trees, watcher.stats().tracked), (0, 0));
}

#[test]
fn everything_goes_when_the_watcher_and_its_streams_do() {
    let threads = || std::fs::read_dir("/proc/self/task").unwrap().count();
    let Some(watcher) = watcher() else { return };
    let runtime = current_thread();
    let (mut child, events) =
        runtime.block_on(async { watcher.spawn(Command::new("sleep").arg("0.1")).unwrap() });
    let guards = || {
        let named = |task: std::io::Result<std::fs::DirEntry>| {
            task.ok().and_then(|task| std::fs::read_to_string(task.path().join("comm")).ok())
        };
        std::fs::read_dir("/proc/self/task")
            .unwrap()
            .filter_map(named)
            .filter(|name| name == "proc-guard\n")
            .count()
    };
    assert!(guards() >= 1 && threads() >= 2);
    drop(watcher);
    let tree = runtime.block_on(fold(events));
    assert_eq!(codes(&tree), [0], "the stream lives on without the handle");
    runtime.block_on(child.wait()).unwrap();
}
