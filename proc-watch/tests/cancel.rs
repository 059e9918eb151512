//! Row 18 of what users of other tools ask for: every public future, given up at each await that it comes to, and what is left then.

mod each_source;

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::pin::pin;
use std::process::Stdio;
use std::task::Poll;
use std::time::{Duration, Instant};

use proc_watch::supervisor::{Ready, Service, State, Supervisor, Verdict};
use proc_watch::{Child, Command, Emptiness, EventKind, Events, ExitStatus, StopPlan, Watcher};
use tokio::io::AsyncReadExt;

use each_source::watchers;

/// A limit for what is sure to happen soon.
const PATIENCE: Duration = Duration::from_secs(60);
/// So often is given up what cannot be ready yet.
const ENOUGH: usize = 12;
/// What the tests of this file give up, by the file and the name in it.
const TRIED: &[(&str, &str)] = &[
    ("capture.rs", "capture"),
    ("command.rs", "wait"),
    ("command.rs", "wait_with_output"),
    ("command.rs", "wait_with_usage"),
    ("exit_of.rs", "ExitOf"),
    ("handle.rs", "empty"),
    ("stop/mod.rs", "Stop"),
    ("stop/mod.rs", "progress"),
    ("stream.rs", "next"),
    ("supervisor/handle.rs", "next"),
    ("supervisor/handle.rs", "reload"),
    ("supervisor/handle.rs", "shutdown"),
    ("supervisor/handle.rs", "stop"),
    ("supervisor/handle.rs", "wait"),
    ("supervisor/handle.rs", "wait_ready"),
];

/// Polls it until it has not been ready that often, and drops it.
async fn give_up<T>(future: impl Future<Output = T>, after: usize) -> Option<T> {
    let mut future = pin!(future);
    let mut polls = 0;
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending if polls == after => Poll::Ready(None),
        // It is woken as it has asked for.
        Poll::Pending => {
            polls += 1;
            Poll::Pending
        }
    })
    .await
}

/// Makes a future again and again that is given up at its first await, its second, ..., until one is ready before. With how many
/// were given up. What it waits for may happen once some have been.
macro_rules! until_ready {
    ($make:expr) => {
        until_ready!($make, &mut None::<proc_watch::Command>)
    };
    ($make:expr, $held:expr) => {{
        let begun = Instant::now();
        let held: &mut Option<_> = $held;
        let mut drops = 0;
        loop {
            if drops == ENOUGH {
                drop(held.take());
            }
            // Whoever is not woken that often waits here until the other has had its time.
            let tried = give_up($make, drops % 3);
            match tokio::time::timeout(Duration::from_millis(20), tried).await {
                Ok(Some(value)) => break (value, drops),
                _ => drops += 1,
            }
            assert!(begun.elapsed() < PATIENCE);
            tokio::task::yield_now().await;
        }
    }};
}

fn start(watcher: &Watcher, script: &str) -> (Child, Events) {
    let mut command = Command::new("sh");
    command.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    watcher.spawn(command).unwrap()
}

/// Every `pub async fn` and every public future of the crate is among those tried: one that is new wants its test, and its section.
#[test]
fn each_public_future_is_tried_and_says_so() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = BTreeSet::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.extend((!path.ends_with("bin")).then_some(path));
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let file = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
            let word = |rest: &str| rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            let mut sections = 0;
            for line in text.lines().map(str::trim) {
                sections += usize::from(line == "/// # Cancel safety");
                for start in ["pub async fn ", "impl Future for "] {
                    if let Some(rest) = line.strip_prefix(start) {
                        let name: String = word(rest);
                        assert!(sections > 0, "{file}: {name} does not say whether it is cancel-safe");
                        sections -= 1;
                        found.insert((file.clone(), name));
                    }
                }
            }
        }
    }
    let tried: BTreeSet<_> = TRIED.iter().map(|(file, name)| (file.to_string(), name.to_string())).collect();
    assert_eq!(found, tried);
    println!("{} public futures", found.len());
}

#[tokio::test]
async fn waiting_for_a_child() {
    for watcher in watchers() {
        let (mut child, _events) = start(&watcher, "read x; exit 3");
        let mut input = child.stdin.take();
        let (status, drops) = until_ready!(child.wait(), &mut input);
        assert_eq!(status.unwrap().code(), Some(3));
        let (mut child, _events) = start(&watcher, "read x; exit 4");
        let mut input = child.stdin.take();
        let (result, more) = until_ready!(child.wait_with_usage(), &mut input);
        let (status, usage) = result.unwrap();
        assert_eq!((status.code(), usage.is_some()), (Some(4), true));
        println!("{}: dropped at an await {drops} and {more} times", watcher.source_name());
        assert!(drops > 0 && more > 0);
    }
}

#[tokio::test]
async fn capturing_loses_nothing() {
    for watcher in watchers() {
        let script = "for i in 1 2 3 4 5 6 7; do echo $i; echo e$i >&2; sleep 0.03; done; read x; echo 8; echo e8 >&2; exit 5";
        let (mut child, _events) = start(&watcher, script);
        let mut input = child.stdin.take();
        let (captured, drops) = until_ready!(child.capture(1 << 20), &mut input);
        let captured = captured.unwrap();
        assert_eq!(captured.status.code(), Some(5));
        assert_eq!(captured.stdout.bytes, b"1\n2\n3\n4\n5\n6\n7\n8\n");
        assert_eq!(captured.stderr.bytes, b"e1\ne2\ne3\ne4\ne5\ne6\ne7\ne8\n");
        println!("{}: dropped at an await {drops} times", watcher.source_name());
        assert!(drops > 0);
    }
}

/// It says that it is not cancel-safe. The child is dropped with it, and killed with its tree where that was asked for.
#[tokio::test]
async fn giving_up_output_gives_up_the_child() {
    for watcher in watchers() {
        for after in 0..3 {
            let (mut child, mut events) = start(&watcher, "sleep 100 & sleep 100");
            child.kill_tree_on_drop(true);
            let given_up = give_up(child.wait_with_output(), after);
            let output = tokio::time::timeout(Duration::from_millis(20), given_up).await;
            assert!(!matches!(output, Ok(Some(_))));
            let mut ends = Vec::new();
            let all = async {
                while let Some(event) = events.next().await {
                    if let EventKind::Exit { status } = event.kind {
                        ends.push(status);
                    }
                }
            };
            tokio::time::timeout(PATIENCE, all).await.expect("killed in time");
            let killed = ExitStatus::Signal { signal: 9, core: false };
            assert!(ends.contains(&killed) || ends.contains(&ExitStatus::Unknown), "{ends:?}");
        }
        println!("{}: dropped at an await 3 times", watcher.source_name());
    }
}

#[tokio::test]
async fn the_next_event_is_not_lost() {
    for watcher in watchers() {
        let (mut child, mut events) = start(&watcher, "for i in 1 2 3; do (exit $i); read x; done");
        let mut witness = events.clone();
        let (mut told, mut drops) = (Vec::new(), 0);
        let mut input = child.stdin.take();
        loop {
            let (event, more) = until_ready!(events.next(), &mut input);
            drops += more;
            let Some(event) = event else { break };
            told.push(event.to_string());
        }
        let mut all = Vec::new();
        while let Some(event) = witness.next().await {
            all.push(event.to_string());
        }
        assert_eq!(told, all);
        println!("{}: dropped at an await {drops} times", watcher.source_name());
        assert!(drops > 0);
        child.wait().await.unwrap();
    }
}

#[tokio::test]
async fn the_end_of_a_process_and_of_a_tree() {
    for watcher in watchers() {
        let (mut child, _events) = start(&watcher, "read x; exit 6");
        let pid = child.pid().unwrap();
        let mut exit = watcher.exit_of(pid);
        let mut input = child.stdin.take();
        let (exited, drops) = until_ready!(&mut exit, &mut input);
        assert_eq!(exited.unwrap().status, ExitStatus::Code(6));
        drop(watcher.exit_of(pid));
        let handle = child.handle();
        child.wait().await.unwrap();
        let (mut child, _events) = start(&watcher, "exec 3<&0; cat <&3 & exit 0");
        let (of_this, mut input) = (child.handle(), child.stdin.take());
        let (empty, more) = until_ready!(of_this.empty(), &mut input);
        assert!(empty.is_empty() && handle.empty().await.is_empty());
        child.wait().await.unwrap();
        drop(exit);
        assert_eq!(watcher.stats().queues, 0, "K11");
        println!("{}: dropped at an await {drops} and {more} times", watcher.source_name());
        assert!(drops > 0 && more > 0);
    }
}

/// A supervisor goes on by itself, whoever waits.
#[tokio::test]
async fn a_supervisor_goes_on() {
    for watcher in watchers() {
        let dir = tempfile::tempdir().unwrap();
        let (flag, slow) = (dir.path().join("up"), dir.path().join("go"));
        let script = format!(
            "trap 'while [ ! -e {1} ]; do sleep 0.01; done; exit' TERM; while [ ! -e {0} ]; do sleep 0.01; done; echo up; while :; do sleep 0.01; done",
            flag.display(),
            slow.display()
        );
        let service = Service::new("one", "sh").args(["-c", &script]).lines(|_| {}).reload(0);
        let service = service.ready(Ready::Line("up".to_owned())).stop(StopPlan::terminate(PATIENCE));
        let supervisor = Supervisor::builder().service(service).start(&watcher).unwrap();
        let (mut events, one) = (supervisor.events(), supervisor.service("one").unwrap());
        // Whatever the state, each is given up at its awaits before what it waits for is let happen.
        for after in 0..ENOUGH {
            let wait = Duration::from_millis(5);
            assert!(
                tokio::time::timeout(wait, give_up(supervisor.wait_ready(), after))
                    .await
                    .ok()
                    .flatten()
                    .is_none()
            );
            assert!(
                tokio::time::timeout(wait, give_up(one.wait_ready(), after)).await.ok().flatten().is_none()
            );
            assert!(
                tokio::time::timeout(wait, give_up(supervisor.wait(), after)).await.ok().flatten().is_none()
            );
            let _ = tokio::time::timeout(wait, give_up(one.reload(), after)).await;
        }
        std::fs::write(&flag, "").unwrap();
        let (ready, drops) = until_ready!(one.wait_ready());
        assert_eq!(ready.unwrap().starts, 1);
        supervisor.wait_ready().await.unwrap();
        let mut stops = 0;
        for after in 0..3 {
            let stop = tokio::time::timeout(Duration::from_millis(5), give_up(one.stop(), after));
            stops += usize::from(stop.await.ok().flatten().is_none());
        }
        std::fs::write(&slow, "").unwrap();
        assert_eq!(one.stop().await.state, State::Down);
        let mut told = Vec::new();
        drop(tokio::time::timeout(Duration::from_millis(1), give_up(supervisor.shutdown(PATIENCE), 0)).await);
        let (verdict, more) = until_ready!(supervisor.wait());
        assert_eq!(verdict, Verdict::Asked);
        drop((one, supervisor));
        let mut lost = 0;
        loop {
            let (event, drops) = until_ready!(events.next());
            lost += drops;
            match event {
                Some(event) => told.push(event.to_string()),
                None => break,
            }
        }
        let states = ["starting", "up", "ready", "stopping", "down"].map(|state| format!("one: {state}"));
        let told: Vec<_> = told.into_iter().filter(|line| states.contains(line)).collect();
        assert_eq!(told, states);
        let name = watcher.source_name();
        println!("{name}: dropped at an await {} times, and {drops}, {stops}, {more}, {lost}", 4 * ENOUGH);
    }
}

/// Stopping goes on by itself, whoever listens.
#[tokio::test]
async fn a_stopping_goes_on() {
    for watcher in watchers() {
        let (mut child, _events) = start(&watcher, "trap '' TERM; echo; exec sleep 100 >&-");
        // It is deaf by now.
        let mut line = Vec::new();
        child.stdout.take().unwrap().read_to_end(&mut line).await.unwrap();
        let handle = child.handle();
        let plan =
            StopPlan::empty().tree(15, Duration::from_millis(200)).progress_every(Duration::from_millis(5));
        let mut stop = child.stop(plan.clone());
        let mut told = 0;
        let drops = loop {
            let (progress, drops) = until_ready!(stop.progress());
            if progress.is_none() {
                break drops;
            }
            told += 1;
        };
        let report = stop.await.unwrap();
        assert!(told > 1 && matches!(report.empty, Emptiness::No { living: 1 }), "{told}, {report}");
        let mut stop = child.stop(plan.tree(9, PATIENCE));
        let (report, more) = until_ready!(&mut stop);
        assert!(report.unwrap().empty.is_empty());
        // One that nobody waits for.
        drop(child.stop(StopPlan::kill()));
        assert!(handle.empty().await.is_empty());
        child.wait().await.unwrap();
        println!("{}: dropped at an await {drops} and {more} times", watcher.source_name());
        assert!(more > 0);
    }
}
