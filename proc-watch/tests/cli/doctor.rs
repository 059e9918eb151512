//! What `proc-watch doctor` says, to people and to programs, and that it is so.

use std::fs::File;
use std::process::{Command, Output, Stdio};

use proc_watch::SourceName;
use serde_json::Value;

use crate::harness::{PROC_WATCH, plain, proc_watch, run, skipped, start, text};

fn doctor(before: &[&str], args: &[&str]) -> Output {
    let words: Vec<&str> =
        before.iter().copied().chain([PROC_WATCH, "doctor"]).chain(args.iter().copied()).collect();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    plain(&mut command);
    run(command)
}

fn findings(before: &[&str]) -> (Value, Option<i32>) {
    let output = doctor(before, &["--json"]);
    let line = text(&output.stdout);
    assert!(line.lines().count() == 1 && output.stderr.is_empty(), "{output:?}");
    (serde_json::from_str(&line).expect(&line), output.status.code())
}

/// What it found holds, and is said alike to people and to programs.
fn check(before: &[&str]) {
    let (found, code) = findings(before);
    assert_eq!(found["v"], 1);
    assert_eq!(code, Some(i32::from(found["default"].is_null())), "{found}");
    let names: Vec<&str> = SourceName::ALL.iter().map(|name| name.as_str()).collect();
    let sources = found["sources"].as_array().unwrap();
    assert_eq!(sources.iter().map(|source| source["source"].as_str().unwrap()).collect::<Vec<_>>(), names);
    let output = doctor(before, &[]);
    assert_eq!(output.status.code(), code);
    let people = text(&output.stdout);
    for source in sources {
        let name = source["source"].as_str().unwrap();
        let line = people.lines().position(|line| line.split(' ').next() == Some(name)).expect(&people);
        let mut lines = people.lines().skip(line);
        let first = lines.next().unwrap();
        if source["usable"] == true {
            assert_eq!(first.contains(" works, the default"), found["default"] == name, "{people}");
            assert!(first.contains(" works"), "{people}");
            assert_eq!(source["promises"].as_object().unwrap().len(), 5, "{found}");
            assert!(source["details"].is_object() && source.get("reason").is_none(), "{found}");
        } else {
            let reason = source["reason"].as_str().unwrap();
            assert!(first.ends_with(&format!(" does not work: {reason}")), "{people}");
            if let Some(advice) = source["advice"].as_str() {
                assert_eq!(lines.next().map(str::trim_start), Some(advice), "{people}");
            }
            assert!(source.get("promises").is_none(), "{found}");
        }
        // And so it is when it is used.
        let words: Vec<&str> = before
            .iter()
            .copied()
            .chain([PROC_WATCH, "run", "-q", "--source", name, "sh", "-c", "exit 9"])
            .collect();
        let mut used = Command::new(words[0]);
        used.args(&words[1..]);
        plain(&mut used);
        let used = run(used);
        if source["usable"] == true {
            assert_eq!(used.status.code(), Some(9), "{used:?}");
        } else {
            assert_eq!(used.status.code(), Some(125), "{used:?}");
            assert!(text(&used.stderr).contains(source["reason"].as_str().unwrap()), "{used:?}");
        }
    }
    let ending = match found["default"].as_str() {
        Some(name) => format!("\n\nStreams over {name}\n"),
        None => "\n\nNo source works here: no processes can be watched.\n".to_owned(),
    };
    assert!(people.contains(&ending), "{people}");
    assert!(!people.contains('\x1b'), "no terminal, no escapes: {people}");
}

#[test]
fn it_says_what_works_here() {
    check(&[]);
}

#[test]
fn in_another_network_namespace_it_says_so() {
    let elsewhere = ["unshare", "--user", "--map-root-user", "--net"];
    let mut trial = Command::new(elsewhere[0]);
    trial.args(&elsewhere[1..]).arg("true");
    plain(&mut trial);
    if !run(trial).status.success() {
        return skipped("no user and network namespace can be made");
    }
    check(&elsewhere);
    let (found, _) = findings(&elsewhere);
    assert_eq!(found["sources"][0]["usable"], false, "{found}");
    assert!(found["sources"][0]["advice"].as_str().unwrap().contains("network namespace only"), "{found}");
}

#[test]
fn what_cannot_be_written_is_an_error_and_what_nobody_reads_is_none() {
    let full = |args: &[&str]| {
        let mut command = Command::new(PROC_WATCH);
        command.arg("doctor").args(args);
        plain(&mut command);
        command.stdout(File::options().write(true).open("/dev/full").unwrap()).stderr(Stdio::piped());
        command.spawn().unwrap().wait_with_output().unwrap()
    };
    for args in [&[][..], &["--json"]] {
        let output = full(args);
        assert_eq!(output.status.code(), Some(125));
        assert!(text(&output.stderr).contains("standard output: No space left"), "{output:?}");
    }
    let mut command = Command::new(PROC_WATCH);
    command.arg("doctor");
    plain(&mut command);
    let mut child = start(&mut command);
    drop(child.stdout.take());
    let output = crate::harness::finish(child);
    assert!(matches!(output.status.code(), Some(0 | 1)) && output.stderr.is_empty(), "{output:?}");
}

#[test]
fn a_source_is_forced_by_any_of_their_names() {
    let output = run(proc_watch(&["--source=none", "true"]));
    assert_eq!(output.status.code(), Some(2));
    for name in SourceName::ALL {
        assert!(text(&output.stderr).contains(name.as_str()), "{output:?}");
    }
}
