//! The program of the 2016 report, on ours: a thread that forks short-lived children, a thread that reaps them with
//! wait4(-1), and a tracker of forks, execs and exits. Every process must be seen born once and ended once, with
//! the status that wait4 gave.
//!
//! `cargo run --release -p examples --example watch -- --processes 100000`
//!
//! With `--queue` the tracker is what it was in 2016: a kqueue, here one in user space, with NOTE_EXIT, NOTE_EXEC, NOTE_FORK and
//! NOTE_TRACK, and four threads that wait in it. With `--native` it is the kernel's own, where there is one.
//!
//! `--source` forces one. Where that does not promise statuses, one that is not known is counted, and one that is wrong is wrong.
//!
//! Children take turns in what they do: exit at once; exec a program that exits; fork a grandchild that exits, and wait for
//! it; the same without waiting, so that we are left with the orphan (we are a subreaper, and reap it).
//!
//! `--child` has them all do one thing: `exit`, `exec`, `fork` (and wait), `leave`, `vfork` (which ends at once), `raw` (fork past
//! libc), or `mix`, all in turn; `--makers` has several threads make them at the same time.
//!
//! Ends with lines `totals: ..`, all that was done and told, and `wrong W missing M duplicate D`; exit code 1 if one of these is not 0, or
//! if a step takes longer than `--time-limit`, which is then named.

#[path = "watch/account.rs"]
mod account;
#[path = "make_tree/births.rs"]
mod births;
#[path = "watch/console.rs"]
mod console;
#[path = "watch/deadline.rs"]
mod deadline;
#[path = "watch/kqueue.rs"]
mod kqueue;
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
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use proc_reactor::SourceName;

use account::Verdict;
use processes::{Order, Truth};

/// Forks, reaps and tracks short-lived children, and compares what each of the three saw.
#[derive(Debug, Parser)]
struct Options {
    /// How many children to make; grandchildren come on top.
    #[arg(long, default_value_t = 10_000)]
    processes: usize,
    /// How many children may be unreaped at a time.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..))]
    unreaped: u16,
    /// What children do: i (exit), x (exec), f (fork and wait), g (fork and leave), v (vfork), r (fork past libc), in turn.
    #[arg(long, default_value = "ixfg", value_parser = kinds)]
    kinds: String,
    /// The same by a word.
    #[arg(long, value_enum, conflicts_with = "kinds")]
    child: Option<ChildKind>,
    /// How many threads make children at the same time.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    makers: u16,
    /// Bytes for the receive buffer, as an unprivileged program may ask.
    #[arg(long)]
    receive_buffer: Option<usize>,
    /// The source to be used; else the first that works.
    #[arg(long)]
    source: Option<SourceName>,
    /// Track through `Queue::kevent`, on four threads that wait in it, in place of a stream.
    #[arg(long)]
    queue: bool,
    /// Track through the kernel's own kqueue in the same way.
    #[arg(long, conflicts_with_all = ["queue", "source", "receive_buffer", "metadata"])]
    native: bool,
    /// Read what processes run, too; not with --queue.
    #[arg(long)]
    metadata: bool,
    /// Seconds that one step may take: making and reaping all, reading the rest ...
    #[arg(long, default_value_t = 3600)]
    time_limit: u64,
    /// Used by the program for its children: end with this code.
    #[arg(long, hide = true)]
    exit: Option<i32>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ChildKind {
    Exit,
    Exec,
    Fork,
    Leave,
    Vfork,
    Raw,
    Mix,
}

impl ChildKind {
    fn kinds(self) -> &'static str {
        match self {
            Self::Exit => "i",
            Self::Exec => "x",
            Self::Fork => "f",
            Self::Leave => "g",
            Self::Vfork => "v",
            Self::Raw => "r",
            Self::Mix => "ixfgvr",
        }
    }
}

fn kinds(text: &str) -> Result<String, String> {
    match text.chars().find(|kind| !"ixfgvr".contains(*kind)) {
        Some(kind) => Err(format!("no kind {kind}")),
        None if text.is_empty() => Err("children have to do something".to_owned()),
        None => Ok(text.to_owned()),
    }
}

/// What it came to.
#[derive(Debug)]
struct Summary {
    children: usize,
    /// Grandchildren that were left to us included.
    reaped: usize,
    born: usize,
    execs: usize,
    ended: usize,
    /// What was told of losses.
    lost: String,
    verdict: Verdict,
}

fn main() {
    console::open();
    let good = match watch() {
        Ok(good) => good,
        Err(error) => {
            println!("failed: {}: {error}", deadline::now());
            false
        }
    };
    end(u8::from(!good))
}

fn end(code: u8) -> ! {
    console::close(code);
    std::process::exit(code.into())
}

/// Whether all that was done was told.
fn watch() -> Result<bool, Box<dyn std::error::Error>> {
    let options = Options::parse();
    if let Some(code) = options.exit {
        std::process::exit(code);
    }
    deadline::step("becoming a reaper");
    processes::become_subreaper()?;
    let truth = Arc::new(Mutex::new(Truth::default()));
    let so_far = Arc::clone(&truth);
    deadline::start(Duration::from_secs(options.time_limit), move || progress(&so_far))?;
    deadline::step("opening a source");
    let started = Instant::now();
    let summary = if options.queue || options.native {
        let tracker = queue::Tracker::start(&options)?;
        let work = Work::start(&options, &truth)?;
        tracker.run(|| work.is_finished(), &truth)?
    } else {
        let tracker = stream::Tracker::start(&options)?;
        let work = Work::start(&options, &truth)?;
        tracker.run(|| work.is_finished(), &truth)?
    };
    let verdict = summary.verdict;
    println!(
        "{} children and {} grandchildren in {:.1} s: {} born, {} ended; {}; statuses unknown {}",
        summary.children,
        summary.born.saturating_sub(summary.children),
        started.elapsed().as_secs_f64(),
        summary.born,
        summary.ended,
        summary.lost,
        verdict.unknown,
    );
    println!(
        "totals: born {} reaped {} NOTE_CHILD {} NOTE_EXEC {} NOTE_EXIT {} missing {} twice {} wrong {}",
        summary.children,
        summary.reaped,
        summary.born,
        summary.execs,
        summary.ended,
        verdict.missing,
        verdict.twice,
        verdict.wrong,
    );
    println!("wrong {} missing {} duplicate {}", verdict.wrong, verdict.missing, verdict.twice);
    Ok(verdict.is_good())
}

/// For a program that hangs. Whoever forks may hold the truth meanwhile.
fn progress(truth: &Mutex<Truth>) -> String {
    for _ in 0..100 {
        if let Ok(truth) = truth.try_lock() {
            return format!("{} made, {} reaped", truth.made.len(), truth.reaped.len());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    "a fork does not return".to_owned()
}

/// The threads that fork and the thread that reaps.
struct Work {
    threads: Vec<JoinHandle<()>>,
}

impl Work {
    fn start(options: &Options, truth: &Arc<Mutex<Truth>>) -> io::Result<Self> {
        deadline::step("making and reaping children");
        let unreaped = Arc::new(AtomicUsize::new(0));
        let makers = usize::from(options.makers);
        let busy = Arc::new(AtomicUsize::new(makers));
        let made_all = Arc::new(AtomicBool::new(false));
        let mut order = Order {
            count: 0,
            kinds: options.child.map_or(options.kinds.as_str(), |child| child.kinds()).as_bytes().to_vec(),
            limit: options.unreaped.into(),
            program: processes::program()?,
            alone: makers == 1,
        };
        let mut threads = Vec::new();
        for number in 0..makers {
            order.count = options.processes / makers + usize::from(number < options.processes % makers);
            let order = order.clone();
            let (truth, unreaped) = (Arc::clone(truth), Arc::clone(&unreaped));
            let (busy, made_all) = (Arc::clone(&busy), Arc::clone(&made_all));
            threads.push(start("procmaker", move || {
                processes::make(&order, &unreaped, &truth)?;
                if busy.fetch_sub(1, Ordering::AcqRel) == 1 {
                    made_all.store(true, Ordering::Release);
                }
                Ok(())
            })?);
        }
        let truth = Arc::clone(truth);
        threads.push(start("reaper", move || processes::reap(&unreaped, &made_all, &truth))?);
        Ok(Self { threads })
    }

    fn is_finished(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }
}

/// What fails in one of them ends the program: the others would wait for ever.
fn start(
    name: &'static str,
    work: impl FnOnce() -> io::Result<()> + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        if let Err(error) = work() {
            println!("failed: {name}: {error}");
            end(1);
        }
    })
}
