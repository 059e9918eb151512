//! Gives a command so many seconds, and then stops everybody whom it has started: `time_limit 2.5 make test`.

use std::time::Duration;

use proc_watch::{Command, StopPlan, Watcher};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    const USAGE: &str = "usage: time_limit SECONDS COMMAND [ARGUMENT..]";
    let mut args = std::env::args_os().skip(1);
    let seconds: f64 = args.next().and_then(|text| text.into_string().ok()).ok_or(USAGE)?.parse()?;
    let program = args.next().ok_or(USAGE)?;
    let watcher = Watcher::new()?;
    let (mut child, _events) = watcher.spawn(Command::new(program).args(args))?;
    // Not only the command, but all that it leaves behind.
    let empty = child.handle();
    match tokio::time::timeout(Duration::from_secs_f64(seconds), empty.empty()).await {
        Ok(empty) => println!("in time: {empty}"),
        Err(_) => {
            println!("too long: {}", child.stop(StopPlan::terminate(Duration::from_secs(1))).await?.empty)
        }
    }
    std::process::exit(child.wait().await?.code().unwrap_or(1));
}
