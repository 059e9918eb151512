//! Keeps the services of a TOML file up, and shows what becomes of them.
//!
//! ```text
//! cargo run -p examples --example supervise -- examples/supervise/services.toml
//! ```
//!
//! SIGTERM and SIGINT (Ctrl-C) stop all, SIGHUP has those that can read their configuration again, SIGUSR1 shows how they are. With `--init` it is fit to be process 1 of
//! a container: see `supervise/init.rs`.

#[path = "supervise/init.rs"]
mod init;
#[path = "supervise/show.rs"]
mod show;
#[path = "supervise/web.rs"]
mod web;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use proc_watch::Watcher;
use proc_watch::supervisor::{Builder, OnDeath, Supervisor, Verdict};
use tokio::signal::unix::{SignalKind, signal};

/// Keeps the services of a TOML file up.
#[derive(Debug, Parser)]
struct Args {
    /// The services (docs/guide/supervise-toml.md).
    #[arg(required_unless_present = "play_web")]
    file: Option<PathBuf>,
    /// Reaps whoever loses his parent, and passes signals on to the supervisor, which is a process of its own: for process 1.
    #[arg(long)]
    init: bool,
    /// Writes down here what runs, and takes over what does.
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Services die with this program, however it does.
    #[arg(long)]
    die_with_me: bool,
    /// Stops all after so many seconds.
    #[arg(long, value_name = "SECONDS")]
    stop_after: Option<f64>,
    /// How many seconds all services together have to end.
    #[arg(long, default_value_t = 20.0, value_name = "SECONDS")]
    within: f64,
    /// Tells what happens as lines of JSON (docs/json.md).
    #[arg(long)]
    json: bool,
    /// Plays a web server at this address instead, for services.toml.
    #[arg(long, value_name = "ADDRESS")]
    play_web: Option<std::net::SocketAddr>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(address) = args.play_web {
        return ended(web::serve(address).map(|()| ExitCode::SUCCESS));
    }
    if args.init {
        return ended(init::run());
    }
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return ended(Err(error)),
    };
    match runtime.block_on(run(&args)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("supervise: {error}");
            ExitCode::FAILURE
        }
    }
}

fn ended(result: std::io::Result<ExitCode>) -> ExitCode {
    result.unwrap_or_else(|error| {
        eprintln!("supervise: {error}");
        ExitCode::FAILURE
    })
}

async fn run(args: &Args) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let watcher = Watcher::new()?;
    let file = args.file.as_deref().expect("clap asks for it");
    let mut builder = Builder::from_toml_file(file)?;
    if let Some(state) = &args.state {
        builder = builder.state_file(state);
    }
    if args.die_with_me {
        builder = builder.on_death(OnDeath::Kill);
    }
    // Before anything is started: a signal that comes earlier would end this program, and not its services.
    let mut signals = Signals::new()?;
    let supervisor = builder.start(&watcher)?;
    let shown = tokio::spawn(show::events(supervisor.events(), args.json));
    if let Some(guard) = supervisor.guard() {
        println!("supervise: services die with process {}, by {guard:?}", std::process::id());
    }
    let verdict = tokio::select! {
        verdict = supervisor.wait() => verdict,
        () = signals.until_asked(&supervisor) => supervisor.shutdown(seconds(args.within)).await,
        () = later(args.stop_after) => supervisor.shutdown(seconds(args.within)).await,
    };
    // The stream of events ends with the supervisor.
    let snapshot = supervisor.snapshot();
    drop(supervisor);
    shown.await?;
    show::table(&snapshot);
    Ok(if verdict == Verdict::Asked { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

struct Signals {
    term: tokio::signal::unix::Signal,
    int: tokio::signal::unix::Signal,
    hup: tokio::signal::unix::Signal,
    usr1: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            hup: signal(SignalKind::hangup())?,
            usr1: signal(SignalKind::user_defined1())?,
        })
    }

    /// Does what else is asked for until all are to be stopped.
    async fn until_asked(&mut self, supervisor: &Supervisor) {
        loop {
            tokio::select! {
                _ = self.term.recv() => return,
                _ = self.int.recv() => return,
                _ = self.usr1.recv() => show::table(&supervisor.snapshot()),
                _ = self.hup.recv() => {
                    for service in supervisor.services() {
                        if let Err(error) = service.reload().await {
                            println!("{}: {error}", service.status().name);
                        }
                    }
                }
            }
        }
    }
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

async fn later(after: Option<f64>) {
    match after {
        Some(after) => tokio::time::sleep(seconds(after)).await,
        None => std::future::pending().await,
    }
}
