//! The command as people and scripts use it: what it writes where, and how it ends.
#![cfg(all(feature = "cli", target_os = "linux"))]
#![expect(unsafe_code, reason = "signals, users and terminals, which the standard library has not")]

#[path = "cli/doctor.rs"]
mod doctor;
#[path = "cli/harness.rs"]
mod harness;
#[path = "cli/losses.rs"]
mod losses;
#[path = "cli/signals.rs"]
mod signals;
#[path = "cli/witnesses.rs"]
mod witnesses;

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use harness::{PROC_WATCH, code, finish, in_time, plain, proc_watch, run, skipped, start, text, works};

const DEMO: &str = r#"ls | wc -l; (setsid sh -c "sleep 0.2; exit 3" &)"#;

#[test]
fn it_ends_as_the_command_ends() {
    if !works() {
        return;
    }
    assert_eq!(code(&["true"]), Some(0));
    assert_eq!(code(&["--", "sh", "-c", "exit 3"]), Some(3));
    assert_eq!(code(&["--wait=leader", "--no-metadata", "--", "sh", "-c", "exit 255"]), Some(255));
    assert_eq!(code(&["--source=cn_proc", "sh", "-c", "kill -TERM $$"]), Some(143));
    assert_eq!(code(&["sh", "-c", "kill -KILL $$"]), Some(137));
}

#[test]
fn what_cannot_be_executed() {
    if !works() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let file = |name: &str, mode, content: &str| {
        let path = dir.path().join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let plain = file("plain", 0o644, "#!/bin/sh\n");
    let orphan = file("orphan", 0o755, "#!/no/such/interpreter\n");
    for (program, code, said) in [
        ("no-such-command-anywhere", 127, "no such command in PATH"),
        ("./no/such/file", 127, "check the path"),
        (&orphan, 127, "interpreter"),
        (&plain, 126, "chmod +x"),
        (dir.path().to_str().unwrap(), 126, "directory"),
    ] {
        let output = run(proc_watch(&[program]));
        assert_eq!(output.status.code(), Some(code), "{program}");
        let stderr = text(&output.stderr);
        assert!(stderr.contains(program) && stderr.contains(said), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "nothing but the reason: {stderr}");
    }
}

#[test]
fn an_unwritable_file_starts_nothing() {
    if !works() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let marker = dir.path().join("marker");
    for file in [dir.path().to_str().unwrap(), "/no/such/directory/file"] {
        let output = run(proc_watch(&["-o", file, "touch", marker.to_str().unwrap()]));
        assert_eq!(output.status.code(), Some(125));
        assert!(text(&output.stderr).contains(file), "{output:?}");
        assert!(!marker.exists());
    }
}

#[test]
fn without_a_source_nothing_is_started_or_touched() {
    let elsewhere = |args: &[&str]| {
        let mut command = Command::new("unshare");
        command.arg("--net").args(args);
        plain(&mut command);
        run(command)
    };
    if !elsewhere(&["true"]).status.success() {
        return skipped("no network namespace can be made, where this source would not work");
    }
    let dir = TempDir::new().unwrap();
    let (marker, log) = (dir.path().join("marker"), dir.path().join("log"));
    fs::write(&log, "precious").unwrap();
    let output = elsewhere(&[
        PROC_WATCH,
        "run",
        "--source=cn_proc",
        "-o",
        log.to_str().unwrap(),
        "touch",
        marker.to_str().unwrap(),
    ]);
    assert_eq!(output.status.code(), Some(125), "{output:?}");
    assert!(text(&output.stderr).contains("cn_proc: "), "{output:?}");
    assert!(!marker.exists());
    assert_eq!(fs::read_to_string(&log).unwrap(), "precious");
}

#[test]
fn wrong_usage() {
    for args in
        [&[][..], &["--frobnicate", "true"], &["--source=kqueue", "true"], &["--wait=never", "true"], &["-o"]]
    {
        assert_eq!(code(args), Some(2), "{args:?}");
    }
}

#[test]
fn the_demo() {
    if works() {
        check_demo(&run(proc_watch(&["--", "sh", "-c", DEMO])));
    }
}

fn check_demo(output: &Output) {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let alone = Command::new("sh").args(["-c", "ls | wc -l"]).output().unwrap();
    assert_eq!(output.stdout, alone.stdout, "the command's own and nothing else");
    let stderr = text(&output.stderr);
    assert!(!stderr.contains('\x1b'), "no terminal, no escapes: {stderr}");
    assert!(!stderr.contains("still waiting"), "{stderr}");
    let failures = stderr.split("  failures       1\n").nth(1).expect(&stderr);
    assert!(failures.lines().next().unwrap().contains(" exit 3 after "), "{stderr}");
    assert!(stderr.contains("  processes      6, of which 6 ended\n"), "{stderr}");
    assert!(stderr.contains("  left behind    nobody\n"), "{stderr}");
    let events = stderr.lines().filter(|line| line.starts_with("    0."));
    let count = |what: fn(&str) -> bool| events.clone().filter(|line| what(line)).count();
    assert_eq!(count(|line| line.ends_with(" started by proc-watch")), 1, "{stderr}");
    assert_eq!(count(|line| line.contains(" fork of ")), 5, "{stderr}");
    assert_eq!(count(|line| line.ends_with(" exit 0") || line.ends_with(" exit 3")), 6, "{stderr}");
}

#[test]
fn as_nobody() {
    if !works() {
        return;
    }
    // SAFETY: geteuid(2) takes nothing and cannot fail.
    if unsafe { libc::geteuid() } != 0 {
        return skipped("not root, so that all of these tests run unprivileged already");
    }
    let dir = TempDir::new().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = dir.path().join("proc-watch");
    fs::copy(PROC_WATCH, &program).unwrap();
    let closed = dir.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
    let nobody = |args: &[&str]| {
        let mut command = Command::new("/usr/bin/setpriv");
        command
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(&program)
            .arg("run")
            .args(args);
        plain(&mut command);
        command.env("PATH", format!("{}:/usr/bin:/bin", closed.display()));
        run(command)
    };
    let output = nobody(&["true"]);
    if output.status.code() == Some(125) {
        return skipped(&text(&output.stderr));
    }
    check_demo(&nobody(&["--", "sh", "-c", DEMO]));
    assert_eq!(
        nobody(&["no-such-command-anywhere"]).status.code(),
        Some(127),
        "some of PATH may not be searched"
    );
}

#[test]
fn json_as_documented() {
    if !works() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let log = dir.path().join("log");
    let script = r#"sleep 0.1; (exit 3); sh -c 'sleep 0.1; kill -TERM $$' "$1"; sleep 0.1"#;
    let mut command =
        proc_watch(&["--format=json", "-o", log.to_str().unwrap(), "--", "sh", "-c", script, "sh"]);
    command.arg(OsStr::from_bytes(b"caf\xe9"));
    // On an overloaded machine a command line may not be read in time.
    let mut attempts = 0;
    let lines = loop {
        let output = finish(start(&mut command));
        assert_eq!(output.status.code(), Some(0));
        assert!(
            text(&output.stderr).contains("proc-watch: sh: exit 0 after "),
            "the summary is aside: {output:?}"
        );
        let lines = fs::read_to_string(&log).unwrap();
        check_json(&lines);
        attempts += 1;
        if attempts == 10 || !lines.contains(r#""argv":null"#) {
            break lines;
        }
    };
    for part in [
        r#""argv":["sleep","0.1"]}"#,
        r#","status":{"code":3}}"#,
        r#","status":{"signal":15,"core":false}}"#,
        r#","argv":["sh","-c","sleep 0.1; kill -TERM $$",{"hex":"636166e9"}]}"#,
    ] {
        assert!(lines.contains(part), "{part} in {lines}");
    }
    assert_eq!(lines.lines().count(), 6 + 5 + 6, "forks, execs and exits: {lines}");
}

/// Of a whole stream without losses: keys and their order, births first, exits last, everybody accounted for.
fn check_json(lines: &str) {
    let (mut living, mut born) = (HashSet::new(), HashSet::new());
    let mut parents = Vec::new();
    for line in lines.lines() {
        let value: Value = serde_json::from_str(line).expect(line);
        let key = |key: &str| value.get(key).cloned().expect(line);
        let id = key("id").as_str().expect(line).to_owned();
        assert_eq!(id.split(':').next(), Some(key("pid").to_string().as_str()), "{line}");
        let own = match key("event").as_str().expect(line) {
            "fork" => {
                let child = key("child").as_str().expect(line).to_owned();
                assert!(born.is_empty() || living.contains(&id), "a stranger's fork: {line}");
                assert!(born.insert(child.clone()) && living.insert(child.clone()), "born twice: {line}");
                parents.push((child, key("pid")));
                String::new()
            }
            "exec" => format!(r#","exe":{},"argv":{}"#, key("exe"), key("argv")),
            "exit" => {
                assert!(living.remove(&id), "ended before it was born, or twice: {line}");
                // serde_json sorts the keys of an object.
                let status = key("status")
                    .to_string()
                    .replace(r#""core":false,"signal":15"#, r#""signal":15,"core":false"#);
                format!(r#","status":{status}"#)
            }
            other => panic!("{other} in a stream without losses"),
        };
        if key("event") != "fork" {
            let (_, parent) = parents.iter().rfind(|(child, _)| *child == id).expect(line);
            assert_eq!(key("ppid"), *parent, "{line}");
            assert!(key("event") == "exit" || living.contains(&id), "an event of one who has ended: {line}");
        }
        let child = value.get("child").map(|child| format!(r#","child":{child}"#)).unwrap_or_default();
        let (t, ppid, event) = (key("t"), key("ppid"), key("event"));
        let (id, pid) = (key("id"), key("pid"));
        assert_eq!(
            line,
            format!(r#"{{"v":1,"t":{t},"id":{id},"pid":{pid},"event":{event}{child},"ppid":{ppid}{own}}}"#)
        );
    }
    assert!(living.is_empty() && !born.is_empty());
}

#[test]
fn the_leader_may_leave_others_behind() {
    if !works() {
        return;
    }
    let dir = TempDir::new().unwrap();
    // Who is left holds no pipe of ours, and stays until somebody writes to the one with a name.
    let script = "mkfifo \"$0\"; (exec >/dev/null 2>&1; cat <\"$0\") & exit 4";
    let wait = dir.path().join("wait");
    let output = run(proc_watch(&["--wait=leader", "--", "sh", "-c", script, wait.to_str().unwrap()]));
    File::options().write(true).open(wait).unwrap();
    assert_eq!(output.status.code(), Some(4));
    let stderr = text(&output.stderr);
    let summary = stderr.find("proc-watch: sh: exit 4 after ").expect(&stderr);
    assert!(
        stderr[..summary].trim_end().ends_with(" exit 4"),
        "the leader's exit is the last event: {stderr}"
    );
    let left = stderr.split("  left behind    1\n").nth(1).expect(&stderr);
    assert!(left.lines().next().unwrap().contains(" still runs after "), "{stderr}");
}

#[test]
fn after_two_seconds_it_says_what_it_waits_for() {
    if !works() {
        return;
    }
    let mut attempts = 0;
    loop {
        let begun = Instant::now();
        let output = run(proc_watch(&["-q", "--", "sh", "-c", "sleep 3.1 & sleep 0.1; exit 4"]));
        assert_eq!(output.status.code(), Some(4));
        assert!(begun.elapsed() > Duration::from_secs(3));
        let stderr = text(&output.stderr);
        let message =
            stderr.split("proc-watch: sh has ended; still waiting for 1 process of its tree:\n").nth(1);
        let process = message.expect(&stderr).lines().next().unwrap();
        assert!(stderr.trim_end().ends_with(" exit 0"), "said before, not at the end: {stderr}");
        attempts += 1;
        // On an overloaded machine a command line may not be read in time.
        if attempts == 10 || !process.ends_with(" (not settled when it was read)") {
            assert!(process.ends_with(" sleep 3.1"), "{stderr}");
            break;
        }
    }
}

#[test]
fn its_input_and_output_are_the_commands_alone() {
    if !works() {
        return;
    }
    let script = "cat; exec <&- >&-; while ! [ -e \"$0\" ]; do sleep 0.05; done; exit 5";
    let dir = TempDir::new().unwrap();
    let seen = dir.path().join("seen");
    let mut child = start(proc_watch(&["sh", "-c", script, seen.to_str().unwrap()]).stdin(Stdio::piped()));
    child.stdin.take().unwrap().write_all(b"through").unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let all = in_time(child.id(), move || {
        let mut all = String::new();
        stdout.read_to_string(&mut all).map(|_| all).unwrap()
    });
    assert_eq!(all, "through", "and the end is seen while the command runs");
    File::create(seen).unwrap();
    assert_eq!(finish(child).status.code(), Some(5));
}
