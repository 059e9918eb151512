//! The rules of kqueue's EVFILT_PROC, shown by a program that stands alone: no harness, no shell, no file but a socket or two in the
//! directory for temporary ones. It starts itself for the processes that it needs.
//!
//! `conformance --help` says what it takes and prints.

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    tests::conformance::run(&arguments)
}
