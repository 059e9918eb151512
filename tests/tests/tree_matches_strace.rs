//! What a stream tells of a tree is what strace saw of it, and what the tree says of itself.
//!
//! strace is the command that is watched, so that the tree is seen by both at once. Being traced
//! changes it: everybody stops at each call, exits and execs take much longer, and a process is
//! reaped by its tracer before its parent may have it.
#![cfg(target_os = "linux")]

use std::path::Path;

use proc_watch::{Command, ExitStatus};
use tests::compare::{Ends, Life, compare_with};
use tests::seen::Seen;
use tests::sources::{Forced, sources};
use tests::{strace, truth};

const TREES: u64 = 2;

/// Makes trees of one shape under strace, and has the three accounts of each agree.
fn agreed(args: &[&str]) {
    let Ok(version) = std::process::Command::new("strace").arg("-V").output() else {
        println!("SKIPPED: no strace");
        return;
    };
    assert!(version.status.success());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    for (source, seed) in sources().into_iter().flat_map(|source| (1..=TREES).map(move |seed| (source, seed)))
    {
        let dir = tempfile::Builder::new().prefix("strace-").tempdir().expect("a directory");
        if let Err(wrong) = runtime.block_on(agreed_once(source, dir.path(), args, seed)) {
            let kept = dir.keep();
            panic!("{source:?} {args:?}, seed {seed}: {wrong}\nThe files are in {}", kept.display());
        }
    }
}

async fn agreed_once(source: Forced, dir: &Path, args: &[&str], seed: u64) -> Result<(), String> {
    let watcher = source.watcher();
    let ends = Ends::of(&watcher);
    let command = || {
        let mut command = Command::new("strace");
        command
            .args(["-f", "-q", "-s", "65535", "-e", "trace=process", "-o"])
            .arg(dir.join("strace"))
            .arg(env!("CARGO_BIN_EXE_make_tree"))
            .arg("--truth")
            .arg(dir.join("truth"))
            .args(["--seed", &seed.to_string()])
            .args(args);
        command
    };
    let (seen, status) = Seen::of(&watcher, command).await;
    if status != ExitStatus::Code(0) {
        return Err(status.to_string());
    }

    let text = std::fs::read_to_string(dir.join("truth")).map_err(|error| error.to_string())?;
    let truth = truth::parse(&text)?;
    let text = std::fs::read(dir.join("strace")).map_err(|error| error.to_string())?;
    let strace = strace::parse(&String::from_utf8_lossy(&text), truth[0].pid);
    // strace has other children too, by which it finds out what the kernel can do.
    let seen = seen.lives_below_root(truth[0].pid);
    same("the truth", &truth, &seen, ends)?;
    // strace saw the exec that the top does not know of.
    let top = strace.first().ok_or("strace saw nothing")?;
    let top_is_same = seen[0].execs.len() == top.execs.len()
        && (seen[0].execs == top.execs || seen[0].execs.contains(&None));
    if !top_is_same {
        return Err(format!("the top, as strace saw it: {top:?}; as it was seen: {:?}", seen[0]));
    }
    same("strace", &strace, &seen, ends)
}

fn same(name: &str, account: &[Life], seen: &[Life], ends: Ends) -> Result<(), String> {
    let differences = compare_with(account, seen, ends);
    eprintln!(
        "{} processes, argv known of {} in {} execs",
        account.len(),
        differences.argv_known,
        differences.argv_total
    );
    if differences.is_empty() { Ok(()) } else { Err(format!("not as {name} has it: {differences}")) }
}

#[test]
fn tree() {
    agreed(&["--shape", "tree", "--depth", "3", "--fanout", "3"]);
}

#[test]
fn double_fork() {
    agreed(&["--shape", "double-fork"]);
}

#[test]
fn setsid() {
    agreed(&["--shape", "setsid"]);
}

#[test]
fn vfork() {
    agreed(&["--shape", "vfork"]);
}

#[test]
fn threads() {
    agreed(&["--shape", "threads"]);
    agreed(&["--shape", "threads", "--threads", "32", "--count", "100"]);
}

#[test]
fn exec_by_thread() {
    agreed(&["--shape", "exec-by-thread"]);
    agreed(&["--shape", "exec-by-thread", "--threads", "32", "--count", "8"]);
}

#[test]
fn failed_exec() {
    agreed(&["--shape", "failed-exec"]);
}

#[test]
fn exec_chain() {
    agreed(&["--shape", "exec-chain"]);
}

#[test]
fn signals() {
    agreed(&["--shape", "signals"]);
}

#[test]
fn storm() {
    agreed(&["--shape", "storm", "--count", "300"]);
}

#[test]
fn instant() {
    agreed(&["--shape", "instant"]);
}

#[test]
fn orphans() {
    agreed(&["--shape", "orphans"]);
}

#[test]
fn mix() {
    agreed(&["--shape", "mix", "--count", "300"]);
}

/// With the usual limit of 32,768, every pid is used more than once.
///
/// ```text
/// cargo test -p tests --test tree_matches_strace -- --ignored --nocapture long_storm
/// ```
#[test]
#[ignore = "takes minutes"]
fn long_storm() {
    agreed(&["--shape", "storm", "--count", "50000"]);
}
