//! The parts that this program plays in processes of its own: the workload, and watchers of a tree of one process that
//! does nothing until it is told to end.

use std::error::Error;
use std::io;
use std::process::Stdio;

use benches::bare::Counts;
use benches::bare_perf::Rings;
use benches::sys;
use benches::workload::{Workload, go, say};
use proc_watch::{EventKind, Watcher};

/// Ends when its input does.
const IDLE: &str = "cat";

/// Plays one.
pub(crate) fn play(role: &str, arguments: &[String]) -> Result<(), Box<dyn Error>> {
    match (role, arguments) {
        ("workload", [workload, iterations]) => Ok(workload.parse::<Workload>()?.run(iterations.parse()?)?),
        ("bare-perf", []) => bare_perf(),
        ("proc-watch", [source]) => proc_watch(source),
        _ => Err(format!("no part {role:?} with {arguments:?}").into()),
    }
}

/// Waits until it is told to end, or whoever measures has ended, beside what else is done; the idle process ends then.
fn until_told(input: Option<impl Send + 'static>) -> io::Result<()> {
    say("watching")?;
    std::thread::spawn(move || {
        let _ = go();
        drop(input);
    });
    Ok(())
}

fn bare_perf() -> Result<(), Box<dyn Error>> {
    sys::end_with_parent()?;
    let start = || {
        let rings = Rings::of_this_thread()?;
        let child = std::process::Command::new(IDLE).stdin(Stdio::piped()).spawn()?;
        Ok::<_, io::Error>((rings, child))
    };
    // On a thread that ends: the events are on it and what it starts, and on nothing else of this process.
    let (mut rings, mut child) = std::thread::spawn(start).join().expect("no panic")?;
    until_told(child.stdin.take())?;
    let (mut counts, own) = (Counts::default(), [std::process::id(), child.id()]);
    while rings.receive(&mut counts, &own)? {}
    child.wait()?;
    Ok(say(&format!("saw {} {}", counts.changes(), rings.lost()?))?)
}

fn proc_watch(source: &str) -> Result<(), Box<dyn Error>> {
    sys::end_with_parent()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let watcher = Watcher::builder().source(source.parse()?).metadata(false).build()?;
        let mut command = tokio::process::Command::new(IDLE);
        let (mut child, mut events) = watcher.spawn(command.stdin(Stdio::piped()))?;
        let own = child.id();
        // Everything of its start is read before it is said that it watches.
        let (mut begun, mut seen) = (false, 0_u64);
        while let Some(event) = events.next().await {
            match event.kind {
                EventKind::Exec { .. } if !begun => {
                    begun = true;
                    until_told(child.stdin.take())?;
                }
                _ if event.id != own => seen += 1,
                _ => {}
            }
        }
        child.wait().await?;
        Ok(say(&format!("saw {seen} 0"))?)
    })
}
