//! Shows who lives in the tree of a command, and what they run, each half second: `living make -j8`.

use std::time::Duration;

use proc_watch::{Command, Tree, Watcher};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args_os().skip(1);
    let program = args.next().ok_or("usage: living COMMAND [ARGUMENT..]")?;
    let watcher = Watcher::new()?;
    let (mut child, mut events) = watcher.spawn(Command::new(program).args(args))?;
    let mut tree = Tree::new(events.id());
    let mut ticks = tokio::time::interval(Duration::from_millis(500));
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(event) => tree.apply(&event),
                None => break,
            },
            _ = ticks.tick() => {
                for process in tree.living() {
                    let runs = process.metadata.as_ref().map_or_else(String::new, |metadata| metadata.to_string());
                    println!("{}{} {runs}", "  ".repeat(process.depth), process.id.pid());
                }
                println!();
            }
        }
    }
    println!("{} processes, {}", tree.processes().count(), child.wait().await?);
    Ok(())
}
