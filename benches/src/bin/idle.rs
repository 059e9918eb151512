//! How often a watcher wakes while there is nothing to see.
//!
//! It watches a child that sleeps. A wake-up is a switch of context of any thread of this program but the one that
//! measures. The kernel tells every listener of every process of the machine, so others' processes wake it too: how many
//! records there were is counted by a second socket that nobody waits at, read when the time is over.

use std::collections::HashMap;
use std::error::Error;
use std::fs;
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::Duration;

use benches::bare::{Counts, Listener};
use benches::options::Options;
use benches::table::{Table, goal};
use benches::{machine, sys};
use proc_watch::{Command, Watcher};
use tokio::runtime::{Builder, Runtime};

fn main() -> ExitCode {
    match measure(&Options::from_command_line()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("idle: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(options: &Options) -> Result<(), Box<dyn Error>> {
    if let Some(cpu) = options.pin {
        sys::pin(cpu)?;
    }
    let time = Duration::from_secs(if options.quick { 2 } else { 10 });
    let rounds = options.rounds(3, 1);
    println!("# Idle\n\n{}\n", machine::describe());
    println!("{} s a round with a sleeping child watched.\n", time.as_secs());
    let mut table = Table::new(["runtime", "threads", "wake-ups", "CPU µs", "records of the machine"]);
    let mut quietest = f64::NAN;
    for round in 0..rounds {
        for (name, workers) in [("current_thread", None), ("multi_thread(2)", Some(2))] {
            if !options.wants(name) {
                continue;
            }
            let idle = watch_nothing(runtime(workers)?, time)?;
            // Only a round without records says what we do by ourselves.
            if idle.records == 0 {
                quietest = quietest.max(idle.wakes as f64);
            }
            let cells = [idle.threads as u64, idle.wakes, idle.cpu / 1_000, idle.records]
                .map(|cell| cell.to_string());
            table.row([name.to_owned()].into_iter().chain(cells).collect());
        }
        eprintln!("round {} of {rounds}", round + 1);
    }
    println!("{table}");
    println!("{}", goal("wake-ups in a round without any record (the most)", quietest, 0.0, ""));
    Ok(())
}

fn runtime(workers: Option<usize>) -> std::io::Result<Runtime> {
    match workers {
        None => Builder::new_current_thread().enable_all().build(),
        Some(workers) => Builder::new_multi_thread().worker_threads(workers).enable_all().build(),
    }
}

struct Idle {
    threads: usize,
    wakes: u64,
    cpu: u64,
    records: u64,
}

fn watch_nothing(runtime: Runtime, time: Duration) -> Result<Idle, Box<dyn Error>> {
    let (say, hear) = mpsc::channel();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let thread = std::thread::spawn(move || {
        runtime.block_on(async move {
            let watcher = Watcher::new().map_err(|error| error.to_string())?;
            let mut sleeper = Command::new("sleep");
            sleeper.arg("60").kill_on_drop(true);
            let (_child, mut events) = watcher.spawn(&mut sleeper).map_err(|error| error.to_string())?;
            // Until the test is over: the child's exec comes, and then nothing.
            let reading = async { while events.next().await.is_some() {} };
            let _ = say.send(());
            tokio::select! {
                () = reading => Err("the child did not sleep".to_owned()),
                _ = stopped => Ok(()),
            }
        })
    });
    let watching = hear.recv().is_ok();
    let listener = Listener::open()?;
    std::thread::sleep(Duration::from_millis(500));
    read_out(&listener);
    let (before, cpu) = (switches()?, sys::process_cpu(std::process::id())?);
    std::thread::sleep(time);
    let (after, cpu) = (switches()?, sys::process_cpu(std::process::id())? - cpu);
    let records = read_out(&listener).changes();
    drop(listener);
    drop(stop);
    thread.join().map_err(|_| "the watching thread panicked")??;
    if !watching {
        return Err("the watching thread did not come to watch".into());
    }
    let wakes = after.iter().map(|(thread, count)| count - before.get(thread).copied().unwrap_or(0)).sum();
    Ok(Idle { threads: after.len(), wakes, cpu, records })
}

/// Takes everything that is queued.
fn read_out(listener: &Listener) -> Counts {
    let mut counts = Counts::default();
    // As often as there can be anything in the buffer.
    for _ in 0..100_000 {
        match listener.receive_many(&mut counts, false) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
            Err(error) => eprintln!("the count of records is too low: {error}"),
        }
    }
    counts
}

/// Switches of context so far, voluntary or not, of each thread of this program but the calling one.
fn switches() -> std::io::Result<HashMap<u32, u64>> {
    let mut switches = HashMap::new();
    for entry in fs::read_dir("/proc/self/task")? {
        let entry = entry?;
        let Some(thread) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if thread == sys::thread_id() {
            continue;
        }
        // Threads may end meanwhile.
        let status = fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        let fields = status.lines().filter_map(|line| line.split_once("_ctxt_switches:"));
        switches.insert(thread, fields.filter_map(|(_, count)| count.trim().parse::<u64>().ok()).sum());
    }
    Ok(switches)
}
