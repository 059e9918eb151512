//! What a stream tells of a tree is what the tree says of itself: every birth with its parent,
//! every exec, every end with its status; and nothing else.
//!
//! Each shape is watched over each source that works here, forced; over the process connector once more with the buffer of a
//! stock distribution, where records are spread over several sockets. `EXACT_SEED` chooses other
//! trees than the usual ones.

use std::ffi::OsString;
use std::path::Path;

use proc_watch::{Command, ExitStatus, Watcher};
use tests::compare::{End, Ends, compare_with};
use tests::seen::Seen;
use tests::sources::{Forced, sources, sources_and_buffers};
use tests::truth;
use tokio::runtime::{Builder, Runtime};

/// Watches trees of one shape, over each source.
fn exact(args: &[&str]) {
    let runtime = current_thread();
    for source in sources_and_buffers() {
        runtime.block_on(exact_once(args, source));
    }
}

fn current_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn multi_thread() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

async fn exact_once(args: &[&str], source: Forced) {
    let dir = tempfile::Builder::new().prefix("exact-").tempdir().expect("a directory");
    let file = dir.path().join("truth");
    let watcher = source.watcher();
    let wrong = differences(&watcher, &file, args).await;
    if let Err(wrong) = wrong {
        let kept = dir.keep();
        panic!("{args:?}, {source:?}: {wrong}\nThe truth is in {}", kept.display());
    }
    let stats = watcher.stats();
    assert_eq!((stats.trees, stats.tracked), (0, 0), "what is left of a tree that is gone");
}

/// Makes one tree, and says how the stream's account of it differs from its own.
async fn differences(watcher: &Watcher, file: &Path, args: &[&str]) -> Result<(), String> {
    let seed = std::env::var("EXACT_SEED").unwrap_or_else(|_| "1".into());
    let mut argv: Vec<OsString> = vec![env!("CARGO_BIN_EXE_make_tree").into(), "--truth".into(), file.into()];
    argv.extend(["--seed".into(), seed.into()]);
    argv.extend(args.iter().map(OsString::from));
    let command = || {
        let mut command = Command::new(&argv[0]);
        command.args(&argv[1..]);
        command
    };
    let (seen, status) = Seen::of(watcher, command).await;

    let text = std::fs::read_to_string(file).map_err(|error| error.to_string())?;
    let truth = truth::parse(&text)?;
    if let Some(unfinished) = truth.iter().find(|life| life.end == End::Alive) {
        return Err(format!("make_tree failed, {status}: {unfinished:?}"));
    }
    let differences = compare_with(&truth, &seen.lives(), Ends::of(watcher));
    let known = differences.argv_known;
    eprintln!(
        "{} {args:?}: {} processes, argv known of {known} in {} execs, {} statuses unknown",
        watcher.source_name(),
        truth.len(),
        differences.argv_total,
        differences.ends_unknown,
    );
    if !differences.is_empty() {
        return Err(differences.to_string());
    }

    // The comparison leaves out what the top did before it wrote.
    let top = &seen.processes()[0];
    assert_eq!((top.life.pid, status), (truth[0].pid, ExitStatus::Code(0)));
    assert_eq!(top.parent.map(|parent| parent.pid()), Some(std::process::id()));
    assert!(top.life.execs == [Some(argv)] || top.life.execs == [None], "{:?}", top.life.execs);
    Ok(())
}

#[test]
fn tree() {
    exact(&["--shape", "tree", "--depth", "3", "--fanout", "4"]);
}

#[test]
fn deep_tree() {
    exact(&["--shape", "tree", "--depth", "14", "--fanout", "1"]);
}

#[test]
fn wide_tree() {
    exact(&["--shape", "tree", "--depth", "1", "--fanout", "300"]);
}

#[test]
fn double_fork() {
    exact(&["--shape", "double-fork"]);
}

#[test]
fn setsid() {
    exact(&["--shape", "setsid"]);
}

#[test]
fn vfork() {
    exact(&["--shape", "vfork"]);
}

#[test]
fn threads() {
    exact(&["--shape", "threads"]);
    exact(&["--shape", "threads", "--threads", "1"]);
    exact(&["--shape", "threads", "--threads", "32", "--count", "200"]);
}

#[test]
fn exec_by_thread() {
    exact(&["--shape", "exec-by-thread"]);
    exact(&["--shape", "exec-by-thread", "--threads", "1"]);
    exact(&["--shape", "exec-by-thread", "--threads", "32", "--count", "16"]);
}

#[test]
fn failed_exec() {
    exact(&["--shape", "failed-exec"]);
}

#[test]
fn exec_chain() {
    exact(&["--shape", "exec-chain"]);
}

#[test]
fn signals() {
    exact(&["--shape", "signals"]);
}

#[test]
fn storm() {
    exact(&["--shape", "storm", "--count", "1000"]);
    exact(&["--shape", "storm", "--count", "500", "--threads", "16"]);
}

#[test]
fn instant() {
    exact(&["--shape", "instant", "--count", "500"]);
}

#[test]
fn orphans() {
    exact(&["--shape", "orphans"]);
}

#[test]
fn mix() {
    exact(&["--shape", "mix"]);
}

#[test]
fn with_several_worker_threads() {
    let runtime = multi_thread();
    for shape in ["mix", "storm", "threads", "exec-by-thread"] {
        for source in sources_and_buffers() {
            let args = ["--shape", shape, "--count", "300"];
            // Elsewhere than on this thread, which would not be one of the workers.
            let watching = runtime.spawn(async move { exact_once(&args, source).await });
            runtime.block_on(watching).unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        }
    }
}

/// Trees side by side, in one stream each: nobody is in another's.
#[test]
fn several_at_once() {
    let dir = tempfile::Builder::new().prefix("exact-").tempdir().expect("a directory");
    let files = [1, 2, 3].map(|number| dir.path().join(number.to_string()));
    let args = ["--shape", "mix", "--count", "200"];
    for source in sources() {
        let watcher = source.watcher();
        let watch = |file: usize| differences(&watcher, &files[file], &args);
        let (first, second, third) =
            current_thread().block_on(async { tokio::join!(watch(0), watch(1), watch(2)) });
        assert_eq!([first, second, third], [Ok(()), Ok(()), Ok(())], "{source:?}");
    }
}

/// With the usual limit of 32,768, every pid is used more than once.
///
/// ```text
/// cargo test -p tests --test tree_is_exact -- --ignored --nocapture long_storm
/// ```
#[test]
#[ignore = "takes a minute"]
fn long_storm() {
    exact(&["--shape", "storm", "--count", "50000"]);
}

/// All that there is, 50,000 processes of it.
///
/// ```text
/// cargo test -p tests --test tree_is_exact -- --ignored --nocapture long_mix
/// ```
#[test]
#[ignore = "takes a minute"]
fn long_mix() {
    exact(&["--shape", "mix", "--count", "50000"]);
}
