//! What a test with a guard says when it leaves a process behind. In a test it is one line: `let _guard = LeakGuard::new()?;`

use std::process::{Command, Stdio};

use proc_watch::LeakGuard;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut guard = LeakGuard::new()?;
    let mut left = Command::new("sh").args(["-c", "exec sleep 2"]).stdin(Stdio::null()).spawn()?;
    let leaks = guard.leaked();
    println!("{leaks}");
    left.kill()?;
    left.wait()?;
    // Now it is content.
    guard.check();
    Ok(())
}
