//! The child has ended, and its output has not: who has it open?

use std::process::Stdio;

use proc_watch::{Command, Watcher, pipe_holders};

const SCRIPT: &str = "sleep 2 & echo done";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let watcher = Watcher::new()?;
    let mut command = Command::new("sh");
    command.args(["-c", SCRIPT]).stdout(Stdio::piped()).stdin(Stdio::null());
    let (mut child, _events) = watcher.spawn(command)?;
    child.kill_tree_on_drop(true);
    let captured = child.capture(4096).await?;
    println!("{}: {:?}", captured.status, String::from_utf8_lossy(&captured.stdout.bytes));
    let Some(stdout) = child.stdout.as_ref().filter(|_| captured.stdout.held) else { return Ok(()) };
    for holder in pipe_holders(stdout)?.holders.iter().filter(|holder| holder.writes) {
        println!("still open in {:?} as {:?}", holder.argv, holder.descriptors);
    }
    Ok(())
}
