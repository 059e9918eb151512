//! Runs a command and lists every process of it that failed: `list_failed make -j8`.

use proc_watch::{Command, Tree, Watcher};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args_os().skip(1);
    let program = args.next().ok_or("usage: list_failed COMMAND [ARGUMENT..]")?;
    let watcher = Watcher::new()?;
    let (mut child, mut events) = watcher.spawn(Command::new(program).args(args))?;
    let mut tree = Tree::new(events.id());
    while let Some(event) = events.next().await {
        tree.apply(&event);
    }
    for process in tree.processes().filter(|process| process.failed()) {
        let ran = process.metadata.as_ref().map_or_else(String::new, |metadata| metadata.to_string());
        let status = process.status.map_or_else(String::new, |status| status.to_string());
        println!("{} {status}: {ran}", process.id.pid());
    }
    std::process::exit(child.wait().await?.code().unwrap_or(1));
}
