//! Waits for processes that are not ours: `exit_of PID..`.

use proc_watch::Watcher;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let watcher = Watcher::new()?;
    for pid in std::env::args().skip(1) {
        let exited = watcher.exit_of(pid.parse()?).await?;
        match exited.id {
            Some(_) => println!("{pid}: {}", exited.status),
            None => println!("{pid}: nobody has this pid"),
        }
    }
    Ok(())
}
