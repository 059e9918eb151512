//! The ways to know of a child's end.

use std::error::Error;
use std::io;
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::time::Duration;

use benches::options;
use benches::stamp::Stamp;
use benches::sys;
use proc_watch::{EventKind, SourceName, Watcher};
use tokio::process::Command;
use tokio::runtime::{Builder, Runtime};

/// By what the parent knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// tokio's `Child::wait`, and no watcher in the program.
    Tokio,
    /// Our `Child::wait`; the stream is there and nobody reads it.
    Wait,
    /// The exit event in our stream; the child is reaped after.
    Stream,
    /// The same two with what processes run read too.
    WaitMetadata,
    StreamMetadata,
    /// The first two over perf.
    WaitPerf,
    StreamPerf,
}

pub(crate) const WAYS: [Way; 7] = [
    Way::Tokio,
    Way::Wait,
    Way::Stream,
    Way::WaitMetadata,
    Way::StreamMetadata,
    Way::WaitPerf,
    Way::StreamPerf,
];

impl Way {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tokio => "tokio",
            Self::Wait => "wait",
            Self::Stream => "stream",
            Self::WaitMetadata => "wait, metadata",
            Self::StreamMetadata => "stream, metadata",
            Self::WaitPerf => "wait, perf",
            Self::StreamPerf => "stream, perf",
        }
    }

    /// Through what its watcher watches; none if it has no watcher.
    fn source(self) -> Option<SourceName> {
        match self {
            Self::Tokio => None,
            Self::WaitPerf | Self::StreamPerf => Some(SourceName::Perf),
            _ => Some(SourceName::CnProc),
        }
    }

    /// Why it cannot be had here, if it cannot.
    pub(crate) fn refused(self) -> Option<String> {
        let error = Watcher::builder().source(self.source()?).build().err()?;
        Some(error.to_string().lines().map(str::trim).collect::<Vec<_>>().join(" "))
    }
}

/// In which runtime.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Runtimes {
    CurrentThread,
    MultiThread,
}

pub(crate) const RUNTIMES: [Runtimes; 2] = [Runtimes::CurrentThread, Runtimes::MultiThread];

impl Runtimes {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::CurrentThread => "current_thread",
            Self::MultiThread => "multi_thread(2)",
        }
    }

    fn build(self) -> io::Result<Runtime> {
        match self {
            Self::CurrentThread => Builder::new_current_thread().enable_all().build(),
            Self::MultiThread => Builder::new_multi_thread().worker_threads(2).enable_all().build(),
        }
    }
}

/// Children one after another; the latency of each, in nanoseconds.
pub(crate) fn run(runtime: Runtimes, way: Way, iterations: u64) -> Result<Vec<u64>, Box<dyn Error>> {
    // A task, as in programs: with several threads, the one that blocks on a future is none of the runtime's.
    let runtime = runtime.build()?;
    let task =
        runtime.spawn(async move { children(way, iterations).await.map_err(|error| error.to_string()) });
    Ok(runtime.block_on(task)??)
}

async fn children(way: Way, iterations: u64) -> Result<Vec<u64>, Box<dyn Error + Send + Sync>> {
    let program = std::env::current_exe()?;
    let (stamp, shared) = Stamp::create()?;
    let metadata = matches!(way, Way::WaitMetadata | Way::StreamMetadata);
    let watcher = way.source().map(|source| Watcher::builder().source(source).metadata(metadata).build());
    let watcher = watcher.transpose()?;
    let mut latencies = Vec::with_capacity(iterations as usize);
    for _ in 0..iterations {
        stamp.clear();
        let mut command = Command::new(&program);
        command.arg(options::as_role("child")).stdin(Stdio::from(OwnedFd::try_clone(&shared)?));
        let known =
            tokio::time::timeout(Duration::from_secs(10), end_of(way, watcher.as_ref(), command)).await??;
        let stamped = stamp.read().ok_or("the child ended without a stamp")?;
        latencies.push(known.saturating_sub(stamped));
    }
    Ok(latencies)
}

/// When the end of a child was known, by the monotonic clock.
async fn end_of(
    way: Way,
    watcher: Option<&Watcher>,
    mut command: Command,
) -> Result<u64, Box<dyn Error + Send + Sync>> {
    let Some(watcher) = watcher else {
        let mut child = command.spawn()?;
        child.wait().await?;
        return Ok(sys::monotonic());
    };
    let (mut child, mut events) = watcher.spawn(&mut command)?;
    if matches!(way, Way::Wait | Way::WaitMetadata | Way::WaitPerf) {
        child.wait().await?;
        return Ok(sys::monotonic());
    }
    let id = child.id();
    while let Some(event) = events.next().await {
        if event.id == id && matches!(event.kind, EventKind::Exit { .. }) {
            let known = sys::monotonic();
            child.wait().await?;
            return Ok(known);
        }
    }
    Err("the stream ended without the child's exit".into())
}
