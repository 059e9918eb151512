//! Makes process trees to order, and keeps the truth about them.
//!
//! Whatever watches processes can be tested against this program, because every process of the
//! tree writes down its own birth, each of its successful execs and its end. Nothing observes
//! them: the account is complete however fast they come and go.
//!
//! ```text
//! make_tree --truth FILE --shape mix --count 500 --seed 1
//! ```
//!
//! The truth file has one line for each of these, in an order in which each process's own lines
//! are right, and a pid's lives follow each other:
//!
//! ```text
//! top PID               the process that was started; it comes first
//! birth PID PPID        PPID is the process that forked it
//! exec PID ARGV-HEX     after an exec; the arguments are joined by NUL
//! end PID code N        just before it exits
//! end PID signal N      just before it raises a signal that kills it
//! ```
//!
//! The top process stays until all others are gone, and gives up after five minutes (status 99).
//!
//! With `--watch ours` or `--watch native` the top is a child, and the tree is tracked by a queue meanwhile. `--shape race --threads 4
//! --count 4800 --watch native` is what kernels are known to miss children in.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::fd::{IntoRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};

#[path = "watch/account.rs"]
mod account;
#[path = "make_tree/births.rs"]
mod births;
#[path = "watch/console.rs"]
mod console;
#[path = "watch/deadline.rs"]
mod deadline;
#[path = "make_tree/image.rs"]
mod image;
#[path = "watch/kqueue.rs"]
mod kqueue;
#[path = "make_tree/log.rs"]
mod log;
#[path = "make_tree/os.rs"]
mod os;
#[path = "make_tree/process.rs"]
mod process;
#[path = "make_tree/shapes.rs"]
mod shapes;
#[path = "make_tree/threaded.rs"]
mod threaded;
#[path = "make_tree/watched.rs"]
mod watched;

use process::End;
use watched::{Side, Watch};

/// More of these would not fit among the pids of a small machine at once.
const LARGEST_TREE: u32 = 20_000;

/// Makes a process tree in which each process logs its own birth, execs and end.
#[derive(Debug, Parser)]
struct Options {
    /// Where to write the truth; an existing file is emptied
    #[arg(long, value_name = "FILE")]
    truth: PathBuf,
    /// What kind of tree
    #[arg(long, value_enum, default_value_t = Shape::Mix)]
    shape: Shape,
    /// Levels below the top (`tree`)
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=14))]
    depth: u32,
    /// Children of each process (`tree`)
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    fanout: u32,
    /// About how many processes in total (all but `tree`)
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    count: Option<u32>,
    /// The same seed makes the same tree
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Threads in a process that has several
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    threads: u32,
    /// Track the tree, and compare what is told with the truth: prints `totals: ..`; exit code 1 if anything is missing, told twice or
    /// wrong
    #[arg(long, value_enum)]
    watch: Option<Watch>,
    /// The source of `--watch ours`; else the first that works
    #[arg(long)]
    source: Option<proc_reactor::SourceName>,
    /// Seconds that one step of `--watch` may take
    #[arg(long, default_value_t = 330)]
    time_limit: u64,
}

/// The kinds of tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Shape {
    /// Plain forks, `depth` x `fanout`
    Tree,
    /// Daemons: fork, setsid, fork, and the process in the middle exits
    DoubleFork,
    /// Sessions and process groups of their own
    Setsid,
    /// vfork and posix_spawn, with and without an exec
    Vfork,
    /// Threads that fork; the leader is gone before the process is
    Threads,
    /// A thread that isn't the leader execs
    ExecByThread,
    /// Execs that fail
    FailedExec,
    /// One process that execs again and again
    ExecChain,
    /// Deaths by signal
    Signals,
    /// Many short lives, made by several threads at once
    Storm,
    /// vfork and fork by several threads at the same time
    Race,
    /// fork and _exit
    Instant,
    /// Parents that die before their children
    Orphans,
    /// All of these
    Mix,
}

fn main() -> ExitCode {
    os::die_of_panics();
    let args: Vec<OsString> = std::env::args_os().collect();
    if args.get(1).is_some_and(|arg| arg.as_bytes() == image::MARK) {
        image::run(&args);
    }
    console::open();
    let code = tree(&Options::parse());
    console::close(code);
    ExitCode::from(code)
}

/// The exit code.
fn tree(options: &Options) -> u8 {
    if options.shape == Shape::Tree && nodes(options.depth, options.fanout) > LARGEST_TREE {
        eprintln!("make_tree: a tree of more than {LARGEST_TREE} processes is too large");
        return 2;
    }
    if let Some(watch) = options.watch {
        return u8::from(!watched(watch, options));
    }
    if let Err(error) = make(options) {
        eprintln!("make_tree: {}: {error}", options.truth.display());
    }
    // `make` only returns if there was nothing to log to.
    1
}

/// Makes the tree by a child, and watches it. Whether all that was done was told.
fn watched(watch: Watch, options: &Options) -> bool {
    let done = match watched::fork() {
        Ok(Side::Watcher(watcher)) => watcher.run(watch, options),
        Ok(Side::Top(lead)) => match watched::wait_for_lead(lead).and_then(|()| make(options)) {
            Ok(()) => Ok(false),
            Err(error) => Err(error.into()),
        },
        Err(error) => Err(error.into()),
    };
    done.unwrap_or_else(|error| {
        eprintln!("make_tree: {}: {}: {error}", options.truth.display(), deadline::now());
        false
    })
}

/// Makes the tree, waits until it is gone, and ends this process.
fn make(options: &Options) -> std::io::Result<()> {
    os::reset_signals()?;
    let truth = OpenOptions::new()
        .append(true)
        .create(true)
        .custom_flags(libc::O_TRUNC)
        .open(&options.truth)
        .map(OwnedFd::from)?;
    os::keep_over_exec(&truth)?;
    // Every descendant has the write end, so that the read end is at its end when all are gone:
    // no list of processes could tell this of orphans.
    let (all_gone, alive) = os::inherited_pipe()?;
    log::to(truth.into_raw_fd());
    log::top(std::process::id());
    os::give_up_after(process::TIME_LIMIT);

    shapes::make(options);

    drop(alive);
    File::from(all_gone).read_to_end(&mut Vec::new())?;
    process::reap_all();
    process::finish(End::Code(0))
}

/// How many processes a tree has, without its top.
fn nodes(depth: u32, fanout: u32) -> u32 {
    (1..=depth).fold(0_u32, |sum, level| sum.saturating_add(fanout.saturating_pow(level)))
}
