//! The two oracles verify each other: what `make_tree` says of its trees is what strace saw.
//!
//! `ORACLES_SEED` chooses other trees than the usual ones.
#![cfg(target_os = "linux")]

use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, Stdio};

use tests::compare::{End, Life, compare};
use tests::{strace, truth};

/// Trees of each shape.
const SEEDS: u64 = 3;

/// Makes trees under strace, and returns the lives of all. None if there's no strace.
fn agreed(args: &[&str]) -> Option<Vec<Life>> {
    let seeds = first_seed()..first_seed() + SEEDS;
    strace_is_there().then(|| seeds.flat_map(|seed| agreed_once(args, seed)).collect())
}

fn first_seed() -> u64 {
    std::env::var("ORACLES_SEED").map_or(1, |seed| seed.parse().expect("a number"))
}

fn strace_is_there() -> bool {
    match Command::new("strace").arg("-V").stdout(Stdio::null()).status() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            eprintln!("SKIPPED: no strace");
            false
        }
        status => {
            assert!(status.expect("strace can be run").success());
            true
        }
    }
}

fn agreed_once(args: &[&str], seed: u64) -> Vec<Life> {
    let dir = tempfile::Builder::new().prefix("oracles-").tempdir().expect("a directory");
    let lives = make(dir.path(), args, seed);
    let account = std::fs::read(dir.path().join("strace")).expect("strace's output");
    let account = strace::parse(&String::from_utf8_lossy(&account), lives[0].pid);

    let differences = compare(&lives, &account);
    let fine = differences.is_empty()
        && differences.argv_known == differences.argv_total
        && account[0].pid == lives[0].pid
        && lives.iter().all(|life| matches!(life.end, End::Code(_) | End::Signal(_)));
    if !fine {
        let kept = dir.keep();
        panic!("{args:?}, seed {seed}: {differences}The files are in {}", kept.display());
    }
    lives
}

/// Makes a tree under strace, and returns its own account.
fn make(dir: &Path, args: &[&str], seed: u64) -> Vec<Life> {
    let truth = dir.join("truth");
    let status = Command::new("strace")
        // Arguments in full.
        .args(["-f", "-e", "trace=process", "-s", "65535", "-o"])
        .arg(dir.join("strace"))
        .arg(env!("CARGO_BIN_EXE_make_tree"))
        .arg("--truth")
        .arg(&truth)
        .args(["--seed", &seed.to_string()])
        .args(args)
        .status()
        .expect("strace can be run");
    assert!(status.success(), "{args:?}, seed {seed}: {status}");
    let text = std::fs::read_to_string(&truth).expect("the truth file");
    truth::parse(&text).unwrap_or_else(|error| panic!("{args:?}, seed {seed}: {error}"))
}

/// How many lives are like this.
fn number_of(lives: &[Life], like_this: impl Fn(&Life) -> bool) -> usize {
    lives.iter().filter(|life| like_this(life)).count()
}

#[test]
fn tree() {
    let Some(lives) = agreed(&["--shape", "tree", "--depth", "3", "--fanout", "4"]) else { return };
    assert_eq!(lives.len() as u64, SEEDS * (1 + 4 + 16 + 64));
}

#[test]
fn deep_tree() {
    let Some(lives) = agreed(&["--shape", "tree", "--depth", "14", "--fanout", "1"]) else { return };
    assert_eq!(lives.len() as u64, SEEDS * 15);
}

#[test]
fn double_fork() {
    let Some(lives) = agreed(&["--shape", "double-fork"]) else { return };
    assert!(lives.len() >= 100);
}

#[test]
fn setsid() {
    let Some(lives) = agreed(&["--shape", "setsid"]) else { return };
    assert!(lives.len() >= 100);
}

#[test]
fn vfork() {
    let Some(lives) = agreed(&["--shape", "vfork"]) else { return };
    assert!(number_of(&lives, |life| life.execs.len() == 1) >= 30);
    assert!(number_of(&lives, |life| life.execs.len() == 2) >= 10);
}

#[test]
fn threads() {
    let Some(lives) = agreed(&["--shape", "threads"]) else { return };
    assert!(lives.len() >= 100);
    agreed(&["--shape", "threads", "--threads", "1"]);
    agreed(&["--shape", "threads", "--threads", "32", "--count", "200"]);
}

#[test]
fn exec_by_thread() {
    let Some(lives) = agreed(&["--shape", "exec-by-thread"]) else { return };
    assert!(number_of(&lives, |life| life.execs.len() == 1) >= 100);
    agreed(&["--shape", "exec-by-thread", "--threads", "1"]);
    agreed(&["--shape", "exec-by-thread", "--threads", "32", "--count", "16"]);
}

#[test]
fn failed_exec() {
    let Some(lives) = agreed(&["--shape", "failed-exec"]) else { return };
    let failed = |code| number_of(&lives, |life| life.end == End::Code(code) && life.execs.is_empty());
    assert!(failed(127) >= 30 && failed(126) >= 15 && failed(125) >= 15);
    assert!(number_of(&lives, |life| life.execs.len() == 1) >= 15);
}

#[test]
fn exec_chain() {
    let Some(lives) = agreed(&["--shape", "exec-chain"]) else { return };
    assert!(number_of(&lives, |life| life.execs.len() > 4) >= 10);
}

#[test]
fn signals() {
    let Some(lives) = agreed(&["--shape", "signals"]) else { return };
    for signal in [libc::SIGKILL, libc::SIGTERM, libc::SIGSEGV, libc::SIGABRT, libc::SIGHUP, 37] {
        assert!(number_of(&lives, |life| life.end == End::Signal(signal)) >= 9, "{signal}");
    }
}

#[test]
fn storm() {
    let Some(lives) = agreed(&["--shape", "storm", "--count", "500"]) else { return };
    assert!(lives.len() >= 1500);
    agreed(&["--shape", "storm", "--count", "500", "--threads", "16"]);
}

/// With the usual limit of 32,768, every pid is used more than once.
#[test]
#[ignore = "takes minutes"]
fn long_storm() {
    if !strace_is_there() {
        return;
    }
    let lives = agreed_once(&["--shape", "storm", "--count", "50000"], first_seed());
    assert!(lives.len() >= 50_000);
}

#[test]
fn instant() {
    let Some(lives) = agreed(&["--shape", "instant", "--count", "200"]) else { return };
    assert_eq!(lives.len() as u64, SEEDS * 201);
}

#[test]
fn orphans() {
    let Some(lives) = agreed(&["--shape", "orphans"]) else { return };
    assert!(lives.len() >= 100);
}

#[test]
fn mix() {
    let Some(lives) = agreed(&["--count", "400"]) else { return };
    assert!(lives.len() >= 1000);
}
