//! Whether a service is ready, and whether it is well, asked from outside.

use std::time::Duration;

use tokio::net::TcpStream;

use crate::command::Child;
use crate::supervisor::spec::{Health, Ready};
use crate::watcher::Watcher;

/// Between two attempts.
const AGAIN: Duration = Duration::from_millis(100);
/// The longest that one attempt may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whether there is anything to be asked from outside.
pub(crate) fn is_asked(ready: &Ready) -> bool {
    matches!(ready, Ready::Connect(_) | Ready::Command(_))
}

/// Asks until the answer is yes. Dropped, it leaves nobody behind.
pub(crate) async fn until_ready(watcher: &Watcher, ready: &Ready) {
    while !passes(watcher, ready).await {
        tokio::time::sleep(AGAIN).await;
    }
}

/// Asks now and then until it was no too often.
pub(crate) async fn until_unhealthy(watcher: &Watcher, health: &Health) {
    let mut failures = 0;
    while failures < health.failures.max(1) {
        tokio::time::sleep(health.every).await;
        failures = if passes(watcher, &health.check).await { 0 } else { failures + 1 };
    }
}

async fn passes(watcher: &Watcher, check: &Ready) -> bool {
    let once = async {
        match check {
            Ready::Connect(address) => TcpStream::connect(address).await.is_ok(),
            Ready::Command(words) => match run(watcher, words) {
                Some(mut child) => child.wait().await.is_ok_and(|status| status.success()),
                None => false,
            },
            _ => true,
        }
    };
    tokio::time::timeout(PATIENCE, once).await.unwrap_or(false)
}

/// With all that it starts, it goes when it is given up.
fn run(watcher: &Watcher, words: &[std::ffi::OsString]) -> Option<Child> {
    let (program, args) = words.split_first()?;
    let mut command = tokio::process::Command::new(program);
    let null = std::process::Stdio::null;
    command.args(args).stdin(null()).stdout(null()).stderr(null());
    let (mut child, _) = watcher.spawn(command).ok()?;
    child.kill_tree_on_drop(true);
    Some(child)
}
