//! Runs a command and tells what each of its processes has used, the most memory first, and which of them the kernel killed because there was
//! none left: `usage make -j8`.

use proc_watch::{Accounts, Command, EventKind, Watcher};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args_os().skip(1);
    let program = args.next().ok_or("usage: usage COMMAND [ARGUMENT..]")?;
    let watcher = Watcher::new()?;
    // Of processes that are not this program's children the kernel tells root alone.
    let mut accounts = match Accounts::open() {
        Ok(accounts) => Some(accounts),
        Err(error) => {
            println!("only of the command itself: {error}");
            None
        }
    };
    let (mut child, mut events) = watcher.spawn(Command::new(program).args(args))?;
    let (mut used, mut names) = (Vec::new(), std::collections::HashMap::new());
    while let Some(event) = events.next().await {
        // It is given all of them: by births it knows whose an end is.
        let account = accounts.as_mut().map(|accounts| accounts.of(&event)).unwrap_or_default();
        match &event.kind {
            EventKind::Exec { metadata } => drop(names.insert(event.id, metadata.to_string())),
            EventKind::Exit { status } => {
                used.extend(account.usage.map(|usage| (usage, event.id, status.to_string())));
                if let Some(kill) = account.oom_kill {
                    println!("{}: {kill}", event.id);
                }
            }
            _ => {}
        }
    }
    used.sort_by_key(|(usage, ..)| std::cmp::Reverse(usage.peak_memory));
    for (usage, id, status) in used {
        let (time, peak) = ((usage.user + usage.system).as_secs_f64(), usage.peak_memory >> 20);
        println!("{time:8.2} s {peak:6} MiB  {status:12} {}", names.get(&id).map_or("", String::as_str));
    }
    let (status, usage) = child.wait_with_usage().await?;
    if let Some(usage) = usage {
        println!("all that were waited for: {:.2} s, {status}", (usage.user + usage.system).as_secs_f64());
    }
    Ok(())
}
