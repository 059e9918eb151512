//! The `proc-watch` command: runs a command and tells what its whole tree of processes does.
//!
//! `args` is what may be asked for, `run` and `doctor` are what it does; `text`, `json` and `summary` are what it says.

mod args;
mod doctor;
mod handover;
mod json;
mod output;
mod refusal;
mod run;
#[cfg_attr(not(target_os = "linux"), path = "signalfd_shell.rs")]
mod signalfd;
mod signals;
mod summary;
mod tally;
mod text;
mod usage;
mod writable;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let ended = match args::Args::parse().command {
        args::Command::Run(asked) => run::run(&asked),
        args::Command::Doctor(asked) => doctor::doctor(&asked),
    };
    match ended {
        Ok(code) => ExitCode::from(code),
        Err(refusal) => {
            output::tell(&format!("proc-watch: {refusal}\n"));
            ExitCode::from(refusal.code())
        }
    }
}
