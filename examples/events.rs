//! The five lines: starts a command and prints what its tree does.
//!
//! `cargo run -p examples --example events -- make -j8`

use proc_watch::{Command, Watcher};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args_os().skip(1);
    let program = args.next().ok_or("usage: events COMMAND [ARGUMENT..]")?;

    let watcher = Watcher::new()?;
    let (mut child, mut events) = watcher.spawn(Command::new(program).args(args))?;
    while let Some(event) = events.next().await {
        eprintln!("{event}");
    }
    let status = child.wait().await?;

    std::process::exit(status.code().unwrap_or(1));
}
