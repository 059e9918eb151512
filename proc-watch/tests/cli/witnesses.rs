//! Two sources at once, held against each other.

use std::fs;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{proc_watch, run, skipped, text};

/// Whether both sources work here; says so if not.
fn both_work() -> bool {
    let output = run(proc_watch(&["-q", "--source=both", "true"]));
    let works = output.status.code() == Some(0);
    if !works {
        skipped(&text(&output.stderr));
    }
    works
}

#[test]
fn two_witnesses_agree_and_it_is_said_at_the_end() {
    if !both_work() {
        return;
    }
    let script = "/bin/true; (exit 3); sleep 0.1 & exit 5";
    let output = run(proc_watch(&["--source=both", "--", "sh", "-c", script]));
    assert_eq!(output.status.code(), Some(5), "an audit changes no status");
    let stderr = text(&output.stderr);
    // Two births and ends with an exec, one without, and those of the shell.
    let line = "  witnesses      agree on 11 births, execs and ends of 4 processes\n";
    assert!(stderr.ends_with(line), "{stderr}");
    let alone = text(&run(proc_watch(&["--source=cn_proc", "true"])).stderr);
    assert!(!alone.contains("witnesses"), "{alone}");
}

#[test]
fn the_last_line_of_json_is_what_the_witnesses_came_to() {
    if !both_work() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let log = dir.path().join("log");
    let mut command: Command =
        proc_watch(&["-q", "--source=both", "--format=json", "-o", log.to_str().unwrap()]);
    command.args(["--", "sh", "-c", "(exit 1); (exit 2)"]);
    let output = run(command);
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(2), ""));
    let lines = fs::read_to_string(&log).unwrap();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let last = lines.last().unwrap();
    assert_eq!(last["event"], "witnesses");
    assert_eq!((&last["id"], &last["pid"]), (&lines[0]["child"], &lines[1]["pid"]));
    assert_eq!((&last["agreed"], &last["processes"], &last["open"]), (&7.into(), &3.into(), &0.into()));
    assert_eq!((&last["disagreed"], &last["disagreements"]), (&0.into(), &Value::Array(Vec::new())));
    let others = lines.iter().filter(|line| line["event"] == "witnesses").count();
    assert_eq!(others, 1);
}
