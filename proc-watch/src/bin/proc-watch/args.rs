//! What may be asked for on the command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Parser, Subcommand, ValueEnum};
use proc_watch::SourceName;

/// Watch a command and all its descendants: every fork, exec and exit, in order, with every exit status.
#[derive(Debug, Parser)]
#[command(name = "proc-watch", version, arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Run(Run),
    Doctor(Doctor),
}

/// Say which sources of events work here, what to do about those that do not, and what can be promised.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit status: 0 if some source works that is chosen by itself, 1 if none does.")]
pub(crate) struct Doctor {
    /// One line of JSON instead of text.
    #[arg(long)]
    pub(crate) json: bool,
}

const AFTER_HELP: &str = "\
Exit status: that of COMMAND, 128+n if signal n ended it; 126 if it cannot be executed, 127 if there is no such \
command, 125 if proc-watch itself cannot do its part (nothing is started then), 2 for wrong usage.

Signals: SIGINT, SIGTERM and SIGHUP that a process sends to proc-watch are passed on to COMMAND; those that come \
from the terminal have reached it already. While COMMAND runs, proc-watch goes on; once it has ended, such a signal \
ends the waiting for what it left behind.";

/// Run a command and tell what its tree of processes does.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Run {
    /// Write the events to FILE instead of standard error; FILE is created or truncated before COMMAND is started.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,

    /// How to write events: text for people, or JSON, one object a line.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,

    /// Where events come from; auto is the first source that works here (see proc-watch doctor).
    #[arg(long, value_name = "SOURCE", default_value = "auto", value_parser = source_parser())]
    pub(crate) source: Source,

    /// When to end: when nobody of the tree lives any more, or when COMMAND itself has ended.
    #[arg(long, value_enum, default_value_t = Wait::Tree)]
    pub(crate) wait: Wait,

    /// Do not read what processes run; saves 30 to 60 us an exec.
    #[arg(long)]
    pub(crate) no_metadata: bool,

    /// Bytes to ask for each socket's receive buffer; else as much as is permitted.
    #[arg(long, value_name = "BYTES")]
    pub(crate) receive_buffer: Option<usize>,

    /// No summary at the end.
    #[arg(short = 'q', long)]
    pub(crate) no_summary: bool,

    /// The command and its arguments.
    #[arg(value_names = ["COMMAND", "ARGUMENT"], required = true, trailing_var_arg = true)]
    pub(crate) command: Vec<OsString>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Wait {
    Tree,
    Leader,
}

/// A source by its name, or none for whichever works. Not a bare `Option`, which would mean to clap that the flag may be
/// missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Source(pub(crate) Option<SourceName>);

/// Takes `auto` and whatever sources the library has.
fn source_parser() -> impl TypedValueParser<Value = Source> {
    let names = SourceName::ALL.iter().map(|name| name.as_str());
    PossibleValuesParser::new(["auto"].into_iter().chain(names)).map(|name| Source(name.parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn run(words: &[&str]) -> Result<Run, clap::Error> {
        let words = ["proc-watch", "run"].iter().chain(words);
        Args::try_parse_from(words).map(|args| match args.command {
            Command::Run(run) => run,
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn clap_finds_no_contradiction() {
        Args::command().debug_assert();
    }

    #[test]
    fn what_follows_the_command_is_the_commands() {
        for words in [&["-q", "--", "make", "-q", "--", "-j8"][..], &["-q", "make", "-q", "--", "-j8"]] {
            let run = run(words).unwrap();
            assert!(run.no_summary);
            assert_eq!(run.command, ["make", "-q", "--", "-j8"]);
        }
    }

    #[test]
    fn sources_by_name() {
        assert_eq!(run(&["x"]).unwrap().source, Source(None));
        assert_eq!(run(&["--source", "auto", "x"]).unwrap().source, Source(None));
        for &name in SourceName::ALL {
            assert_eq!(run(&["--source", name.as_str(), "x"]).unwrap().source, Source(Some(name)));
        }
        let error = run(&["--source=kqueue", "x"]).unwrap_err().to_string();
        assert!(error.contains("auto, cn_proc"), "{error}");
    }

    #[test]
    fn a_command_is_needed() {
        assert_eq!(run(&[]).unwrap_err().exit_code(), 2);
        assert_eq!(run(&["--frobnicate", "x"]).unwrap_err().exit_code(), 2);
    }
}
