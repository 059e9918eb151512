//! The program of the 2016 report, on ours: a thread that forks short-lived children, a thread that reaps them with
//! wait4(-1), and a tracker of forks, execs and exits. Every process must be seen born once and ended once, with
//! the status that wait4 gave.
//!
//! `cargo run --release -p examples --example watch -- --processes 100000`
//!
//! With `--queue` the tracker is what it was in 2016: a kqueue, here one in user space, with NOTE_EXIT, NOTE_EXEC, NOTE_FORK and
//! NOTE_TRACK, and four threads that wait in it.
//!
//! `--source` forces one. Where that does not promise statuses, one that is not known is counted, and one that is wrong is wrong.
//!
//! Children take turns in what they do: exit at once; exec a program that exits; fork a grandchild that exits, and wait for
//! it; the same without waiting, so that we are left with the orphan (we are a subreaper, and reap it).
//!
//! Ends with a line `wrong W missing M duplicate D`, and exit code 1 if any is not 0.

#[path = "watch/processes.rs"]
mod processes;
#[path = "watch/queue.rs"]
mod queue;
#[path = "watch/stream.rs"]
mod stream;

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;

use clap::Parser;
use proc_reactor::SourceName;

use processes::Truth;

/// Forks, reaps and tracks short-lived children, and compares what each of the three saw.
#[derive(Debug, Parser)]
struct Options {
    /// How many children to make; grandchildren come on top.
    #[arg(long, default_value_t = 10_000)]
    processes: usize,
    /// How many children may be unreaped at a time.
    #[arg(long, default_value_t = 32)]
    unreaped: usize,
    /// What children do: i(exit), x (exec), f (fork and wait), g (fork and leave), in turn.
    #[arg(long, default_value = "ixfg")]
    kinds: String,
    /// Bytes for the receive buffer, as an unprivileged program may ask.
    #[arg(long)]
    receive_buffer: Option<usize>,
    /// The source to be used: cn_proc, perf or both; else the first that works.
    #[arg(long)]
    source: Option<SourceName>,
    /// Track through `Queue::kevent`, on four threads that wait in it, in place of a stream.
    #[arg(long)]
    queue: bool,
    /// Read what processes run, too; not with --queue.
    #[arg(long)]
    metadata: bool,
    /// Used by the program for its children: end with this code.
    #[arg(long, hide = true)]
    exit: Option<i32>,
}

/// What it came to.
#[derive(Debug)]
struct Summary {
    children: usize,
    born: usize,
    ended: usize,
    /// What was told of losses.
    lost: String,
    /// Statuses that are not known, of a source that does not promise them.
    unknown: usize,
    wrong: usize,
    missing: usize,
    duplicate: usize,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let options = Options::parse();
    if let Some(code) = options.exit {
        std::process::exit(code);
    }
    processes::become_subreaper()?;
    let truth = Arc::new(Mutex::new(Truth::default()));
    let started = Instant::now();
    let summary = if options.queue {
        let tracker = queue::Tracker::start(&options)?;
        let (maker, reaper) = start(&options, &truth)?;
        tracker.run(move || maker.is_finished() && reaper.is_finished(), truth)?
    } else {
        let tracker = stream::Tracker::start(&options)?;
        let (maker, reaper) = start(&options, &truth)?;
        tracker.run(move || maker.is_finished() && reaper.is_finished(), truth)?
    };
    println!(
        "{} children and {} grandchildren in {:.1} s: {} born, {} ended; {}; statuses unknown {}",
        summary.children,
        summary.born.saturating_sub(summary.children),
        started.elapsed().as_secs_f64(),
        summary.born,
        summary.ended,
        summary.lost,
        summary.unknown,
    );
    println!("wrong {} missing {} duplicate {}", summary.wrong, summary.missing, summary.duplicate);
    std::process::exit(i32::from(summary.wrong + summary.missing + summary.duplicate > 0));
}

type Worker = JoinHandle<io::Result<()>>;

/// Starts the thread that forks and the thread that reaps.
fn start(options: &Options, truth: &Arc<Mutex<Truth>>) -> io::Result<(Worker, Worker)> {
    let unreaped = Arc::new(AtomicUsize::new(0));
    let made_all = Arc::new(AtomicBool::new(false));
    let (processes, kinds, limit) = (options.processes, options.kinds.clone(), options.unreaped);
    let maker = {
        let (truth, unreaped, made_all) = (Arc::clone(truth), Arc::clone(&unreaped), Arc::clone(&made_all));
        std::thread::Builder::new().name("procmaker".to_owned()).spawn(move || {
            let made = processes::make(processes, kinds.as_bytes(), limit, &unreaped, &truth);
            made_all.store(true, Ordering::Release);
            made
        })?
    };
    let reaper = {
        let truth = Arc::clone(truth);
        std::thread::Builder::new()
            .name("reaper".to_owned())
            .spawn(move || processes::reap(&unreaped, &made_all, &truth))?
    };
    Ok((maker, reaper))
}
