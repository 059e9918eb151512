//! Follows a program that becomes a daemon: it forks twice and calls `setsid`, and stays in the tree.

use proc_watch::{Command, EventKind, Watcher};

const SCRIPT: &str = "(setsid sh -c 'sleep 0.1; exit 4' &) ; exit 0";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let watcher = Watcher::new()?;
    let (mut child, mut events) = watcher.spawn(Command::new("sh").args(["-c", SCRIPT]))?;
    println!("the program: {}", child.wait().await?);
    while let Some(event) = events.next().await {
        if let EventKind::Exit { status } = event.kind {
            println!(
                "{}: {status}",
                if event.id == child.id() { "its leader" } else { "one of its processes" }
            );
        }
    }
    Ok(())
}
