//! Stops a tree that does not want to go, and shows how: `cargo run -p examples --example stop_tree`.
//!
//! The leader ends when it is asked to, and leaves behind a worker that ignores SIGTERM, a daemon in a session of its own, and one that is
//! stopped. None of them is forgotten.

use std::process::Stdio;
use std::time::Duration;

use proc_watch::{Command, StopPlan, Watcher};

const SCRIPT: &str = r#"
sh -c 'trap "" TERM; while :; do sleep 0.2; done' &
(setsid sh -c 'exec sleep 1000' &)
sh -c 'kill -STOP $$; exec sleep 1001' &
trap 'echo "leader: asked to end"; exit 0' TERM
echo "leader: up"
while :; do sleep 0.1; done
"#;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let watcher = Watcher::new()?;
    let (mut child, events) = watcher.spawn(Command::new("sh").args(["-c", SCRIPT]).stdin(Stdio::null()))?;
    // Nobody reads what happens; the tree is followed all the same.
    drop(events);
    tokio::time::sleep(Duration::from_millis(500)).await;

    let plan = StopPlan::empty()
        .leader(libc::SIGTERM, Duration::from_secs(2))
        .tree(libc::SIGTERM, Duration::from_secs(1))
        .tree(libc::SIGKILL, Duration::from_secs(10));
    let mut stop = child.stop(plan);
    while let Some(progress) = stop.progress().await {
        println!("{progress}");
    }
    let report = stop.await?;
    println!("{report}");
    child.wait().await?;
    if report.empty.is_empty() { Ok(()) } else { Err("somebody is left".into()) }
}
