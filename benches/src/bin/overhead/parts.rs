//! The parts that this program plays in processes of its own: the workload, and the watchers that are not programs of
//! somebody else.

use std::error::Error;
use std::io;

use benches::bare::{Counts, Listener};
use benches::bare_perf::Rings;
use benches::sys;
use benches::workload::{Workload, say};
use proc_watch::{Builder, Command, EventKind, Watcher};
use tokio::signal::unix::{SignalKind, signal};

/// ENOBUFS.
const LOST: i32 = 105;

/// Plays one.
pub(crate) fn play(role: &str, arguments: &[String]) -> Result<(), Box<dyn Error>> {
    match (role, arguments) {
        ("workload", [workload, iterations]) => Ok(workload.parse::<Workload>()?.run(iterations.parse()?)?),
        ("bare", []) => bare(Listener::receive),
        ("bare-batched", []) => bare(|listener, counts| listener.receive_many(counts, true)),
        ("bare-tokio", []) => bare_tokio(),
        ("bare-perf", command) => bare_perf(command, |rings| rings),
        ("bare-perf-pidfds", command) => bare_perf(command, Rings::with_pidfds),
        ("proc-watch", [source, command @ ..]) => proc_watch(watched_by(source)?, command),
        ("proc-watch-metadata", [source, command @ ..]) => {
            proc_watch(watched_by(source)?.metadata(true), command)
        }
        ("proc-watch-no-pidfds", [source, command @ ..]) => {
            proc_watch(watched_by(source)?.pidfds(0), command)
        }
        _ => Err(format!("no part {role:?} with {arguments:?}").into()),
    }
}

fn bare(receive: impl Fn(&Listener, &mut Counts) -> io::Result<()>) -> Result<(), Box<dyn Error>> {
    sys::end_with_parent()?;
    sys::note_terminations();
    let listener = Listener::open()?;
    let mut counts = Counts::default();
    let mut overruns = 0_u64;
    while !sys::terminated() {
        match receive(&listener, &mut counts) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.raw_os_error() == Some(LOST) => overruns += 1,
            Err(error) => return Err(error.into()),
        }
    }
    drop(listener);
    say(&format!("saw {} {overruns}", counts.changes()))?;
    Ok(())
}

/// The same where a tokio program has to do it: told by its runtime, it reads until there is nothing left.
fn bare_tokio() -> Result<(), Box<dyn Error>> {
    sys::end_with_parent()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut counts = Counts::default();
    let overruns = runtime.block_on(async {
        let mut end = signal(SignalKind::terminate())?;
        let listener = Listener::open()?.in_tokio()?;
        let mut overruns = 0_u64;
        loop {
            let mut ready = tokio::select! {
                ready = listener.readable() => ready?,
                _ = end.recv() => return Ok::<_, io::Error>(overruns),
            };
            loop {
                match listener.get_ref().receive_many(&mut counts, false) {
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) if error.raw_os_error() == Some(LOST) => overruns += 1,
                    Err(error) => return Err(error),
                }
            }
            ready.clear_ready();
        }
    })?;
    say(&format!("saw {} {overruns}", counts.changes()))?;
    Ok(())
}

/// Starts a command, and reads and counts the records of it to the end.
fn bare_perf(command: &[String], with: impl FnOnce(Rings) -> Rings) -> Result<(), Box<dyn Error>> {
    let (program, arguments) = command.split_first().ok_or("no command")?;
    let mut command = std::process::Command::new(program);
    command.args(arguments);
    // On a thread that ends: the events are on it and what it starts, and on nothing else of this process.
    let start = move || Ok::<_, io::Error>((Rings::of_this_thread()?, command.spawn()?));
    let (mut rings, mut child) = std::thread::spawn(start).join().expect("no panic")?;
    rings = with(rings);
    // The child's own birth, exec and exit, and the thread's end, are none of the workload's.
    let (mut counts, own) = (Counts::default(), [std::process::id(), child.id()]);
    while rings.receive(&mut counts, &own)? {}
    child.wait()?;
    say(&format!("saw {} {}", counts.changes(), rings.lost()?))?;
    Ok(())
}

fn watched_by(source: &str) -> Result<Builder, String> {
    Ok(Watcher::builder().source(source.parse()?).metadata(false))
}

/// Starts a command, and reads and counts its events to the end.
fn proc_watch(builder: Builder, command: &[String]) -> Result<(), Box<dyn Error>> {
    let (program, arguments) = command.split_first().ok_or("no command")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let watcher = builder.build()?;
        let (mut child, mut events) = watcher.spawn(Command::new(program).args(arguments))?;
        // The child's own birth, exec and exit are none of the workload's.
        let (mut seen, mut lost, own) = (0_u64, 0, child.id());
        while let Some(event) = events.next().await {
            match event.kind {
                EventKind::Exec { .. } | EventKind::Exit { .. } if event.id == own => {}
                EventKind::Fork { child } if child == own => {}
                EventKind::Fork { .. } | EventKind::Exec { .. } | EventKind::Exit { .. } => seen += 1,
                EventKind::Lost { count, .. } => lost += count,
                EventKind::Gap { count, lost: unread, .. } => {
                    lost += count + unread.map_or(0, |unread| unread.count);
                }
                _ => {}
            }
        }
        child.wait().await?;
        say(&format!("saw {seen} {lost}"))?;
        Ok(())
    })
}
