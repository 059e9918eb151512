//! Services of a file are run as it says, and told of as JSON.

mod each_source;

use std::time::Duration;

use proc_watch::Watcher;
use proc_watch::supervisor::{Builder, Snapshot, State, Supervisor};

use each_source::watchers;

/// A limit for what is sure to happen soon.
const PATIENCE: Duration = Duration::from_secs(60);

const TEXT: &str = r#"
[service.second]
command = ["sh", "-c", "pwd; echo second: $WORD-$HOME; exit 3"]
dir = "DIR"
env = { WORD = "a b", HOME = false }
output = { file = "DIR/log" }
needs = ["first"]
restart = "temporary"

[service.first]
command = ["sh", "-c", "echo first; echo is up; exec sleep 600"]
output = { file = "DIR/log" }
ready = { line = "is up" }
ready_within = "1m"
stop = [{ signal = "KILL" }]
significant = true

[service.third]
command = "true"
autostart = false
"#;

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("in time")
}

/// Until the second has ended for good.
async fn settled(supervisor: &Supervisor) -> Snapshot {
    let second = supervisor.service("second").unwrap();
    while second.status().state != State::Failed {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    supervisor.snapshot()
}

async fn runs(watcher: &Watcher) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("services.toml");
    // The name that the shell has for it.
    let real = dir.path().canonicalize().unwrap();
    std::fs::write(&path, TEXT.replace("DIR", real.to_str().unwrap())).unwrap();
    let supervisor = Builder::from_toml_file(&path).unwrap().start(watcher).unwrap();
    let mut events = supervisor.events();
    let snapshot = in_time(settled(&supervisor)).await;
    let states: Vec<_> = snapshot.services.iter().map(|one| (&*one.name, one.state)).collect();
    assert_eq!(states, [("first", State::Ready), ("second", State::Failed), ("third", State::Down)]);
    let log = std::fs::read_to_string(real.join("log")).unwrap();
    assert_eq!(log, format!("first\nis up\n{}\nsecond: a b-\n", real.display()));

    let json = serde_json::to_string(&snapshot).unwrap();
    assert!(json.contains(r#""last_end":{"status":{"code":3}}"#), "{json}");
    let read: Snapshot = serde_json::from_str(&json).unwrap();
    assert_eq!(serde_json::to_string(&read).unwrap(), json);

    in_time(supervisor.shutdown(PATIENCE)).await;
    drop(supervisor);
    let mut lines = Vec::new();
    while let Some(event) = in_time(events.next()).await {
        lines.push(serde_json::to_string(&event).unwrap());
    }
    // A ladder of one step: it was killed, and not asked before.
    let is_end = |line: &&String| line.contains(r#""service":"first","event":"ended""#);
    let end = lines.iter().find(is_end).expect("the first has ended");
    assert!(end.ends_with(r#""status":{"signal":9,"core":false}}"#), "{end}");
    assert!(
        lines.last().unwrap().ends_with(r#""service":null,"event":"over","verdict":"asked"}"#),
        "{lines:#?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_run_as_it_says() {
    for watcher in watchers() {
        runs(&watcher).await;
    }
}
