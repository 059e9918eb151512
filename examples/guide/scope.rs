//! Processes that live no longer than a scope, whatever happens in it: an error, a panic, a dropped future.

use std::time::Duration;

use proc_watch::{Command, Watcher};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let watcher = Watcher::new()?;
    let (child, _events) =
        watcher.spawn(Command::new("sh").args(["-c", "(setsid sleep 1000 &); sleep 1000"]))?;
    let handle = child.handle();
    let work = async move {
        let mut child = child;
        child.kill_tree_on_drop(true);
        child.wait().await
    };
    // It is given up, and with it the child and all below it.
    assert!(tokio::time::timeout(Duration::from_millis(300), work).await.is_err());
    println!("{}", handle.empty().await);
    Ok(())
}
