//! What does not arrive: at a reader who is slow or gone, on a disk that is full, or from the kernel.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{
    PROC_WATCH, TOO_LONG, finish, next_line, plain, proc_watch, run, send, skipped, start, text,
    wait_for_line, works,
};

#[test]
fn a_full_disk_ends_the_output_and_not_the_command() {
    if !works() {
        return;
    }
    let script = "for i in 1 2 3; do sleep 0.05; done; echo done; exit 6";
    let output = run(proc_watch(&["-o", "/dev/full", "--", "sh", "-c", script]));
    assert_eq!(output.status.code(), Some(6));
    assert_eq!(text(&output.stdout), "done\n");
    let stderr = text(&output.stderr);
    assert_eq!(stderr.matches("proc-watch: writing to /dev/full: No space left").count(), 1, "{stderr}");
    assert!(
        stderr.contains("  processes      4, of which 4 ended\n"),
        "the summary has come to another place: {stderr}"
    );
}

#[test]
fn nobody_listens() {
    if !works() {
        return;
    }
    let mut child =
        start(&mut proc_watch(&["--", "sh", "-c", "for i in 1 2 3; do sleep 0.05; done; echo done; exit 7"]));
    drop(child.stderr.take());
    let output = finish(child);
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(7), "done\n"));
}

#[test]
fn who_reads_too_late_is_told_of_the_gap() {
    if !works() {
        return;
    }
    const GAP: &str = r#","event":"gap","#;
    // On a machine that is flooded it may take long until there is something to be late for.
    let output = [1, 4, 16]
        .map(Duration::from_secs)
        .into_iter()
        .map(read_too_late)
        .find(|stderr| stderr.contains(GAP));
    let stderr = output.expect("a gap");
    let gap = stderr.lines().find(|line| line.contains(GAP)).expect("a gap");
    let gap: Value = serde_json::from_str(gap).unwrap();
    assert!(gap["count"].as_u64().unwrap() > 0, "{gap}");
    let living = gap["living"].as_array().unwrap();
    assert!(living.iter().all(|member| member["id"].is_string()), "{gap}");
    let summary = &stderr[stderr.find("proc-watch: sh: exit 8 after ").expect("a summary")..];
    assert!(summary.contains(" events came faster than they were read, in "), "{summary}");
    assert!(summary.contains("  left behind    nobody\n"), "{summary}");
}

/// Reads nothing of what `proc-watch` writes until a tree has filled more than its log; returns all of it.
fn read_too_late(pause: Duration) -> String {
    let dir = TempDir::new().unwrap();
    // More command lines than a log holds, of processes that stay until they have been looked at.
    let script = r#"cd "$0"; mkfifo wait; exec 3<>wait; x=$(head -c 100000 /dev/zero | tr '\0' x); i=0
        while [ $i -lt 40 ]; do sh -c 'read x <wait' sh $x $x $x $x $x $x $x $x 3>&- & i=$((i+1)); done
        echo started; read x; exec 3>&-; wait; exit 8"#;
    let args = ["--format=json", "--", "sh", "-c", script, dir.path().to_str().unwrap()];
    let mut child = start(ahead(&mut proc_watch(&args)).stdin(Stdio::piped()));
    let _stdout = wait_for_line(&mut child, "started");
    // What is read is taken for a program's only if that has not ended by then: so they stay a moment longer.
    let pid = child.id();
    wait_until("it has read nearly all", || read_by(pid) > 30_000_000);
    sleep(pause);
    child.stdin.take().unwrap().write_all(b"\n").unwrap();
    let output = finish(child);
    assert_eq!(output.status.code(), Some(8));
    text(&output.stderr)
}

#[test]
fn what_the_kernel_lost_is_told() {
    if !works() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let log = dir.path().join("log");
    let script = "echo ready; read x; i=0; while [ $i -lt 6000 ]; do (exit 1); i=$((i+1)); done; echo done; read x; exit 5";
    let args =
        ["--receive-buffer=2097152", "--format=json", "-o", log.to_str().unwrap(), "--", "sh", "-c", script];
    let mut child = start(ahead(&mut proc_watch(&args)).stdin(Stdio::piped()));
    let mut stdout = wait_for_line(&mut child, "ready");
    let mut stdin = child.stdin.take().unwrap();
    send(child.id(), libc::SIGSTOP);
    stdin.write_all(b"\n").unwrap();
    assert_eq!(next_line(&mut stdout), "done");
    send(child.id(), libc::SIGCONT);
    let resync = r#""event":"resync""#;
    wait_until(resync, || fs::read_to_string(&log).unwrap().contains(resync));
    stdin.write_all(b"\n").unwrap();
    let output = finish(child);
    assert_eq!(output.status.code(), Some(5));
    let lines = fs::read_to_string(&log).unwrap();
    let lost = lines.lines().find(|line| line.contains(r#","event":"lost","#)).unwrap();
    let lost: Value = serde_json::from_str(lost).unwrap();
    assert!(lost["count"].as_u64().unwrap() > 0 && lost["exact"].is_boolean(), "{lost}");
    assert!(lines.trim_end().ends_with(r#","status":{"code":5}}"#), "the leader's exit is seen again");
    let stderr = text(&output.stderr);
    assert!(stderr.contains(" records of the source, in "), "{stderr}");
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < TOO_LONG, "waiting for ever until {what}");
        sleep(Duration::from_millis(10));
    }
}

/// Bytes that a process has read.
fn read_by(pid: u32) -> u64 {
    let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap();
    io.lines().find_map(|line| line.strip_prefix("rchar: ")).expect(&io).parse().unwrap()
}

/// Before all others, where that is permitted: what is asked here is not how it fares on a machine that is flooded.
fn ahead(command: &mut Command) -> &mut Command {
    let go_ahead = || {
        // SAFETY: setpriority(2) takes no pointer.
        unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, -15) };
        Ok(())
    };
    // SAFETY: the closure makes a system call and no more.
    unsafe { command.pre_exec(go_ahead) }
}

/// perf is shut out of programs that their user may not read. What it then does not see is said, in each form.
#[test]
fn who_may_not_be_looked_into_is_out_of_sight() {
    let dir = TempDir::new().unwrap();
    let place = |from: &str, name: &str, mode| {
        let path = dir.path().join(name);
        fs::copy(from, &path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    };
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let (program, unreadable) =
        (place(PROC_WATCH, "proc-watch", 0o755), place("/bin/sh", "unreadable", 0o111));
    let watch = |format: &str| {
        // SAFETY: geteuid(2) takes nothing and cannot fail.
        let drops = if unsafe { libc::geteuid() } == 0 { "--reuid=65534" } else { "--inh-caps=-all" };
        let mut command = Command::new("setpriv");
        command.arg(drops).arg(&program).args(["run", "--source=perf", "--format", format, "--"]);
        command.arg(&unreadable).args(["-c", "(exit 3); exit 4"]);
        plain(&mut command);
        run(command)
    };
    let output = watch("json");
    if output.status.code() == Some(125) {
        return skipped(&text(&output.stderr));
    }
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    let lines = text(&output.stderr);
    let events: Vec<Value> = lines
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let kinds: Vec<&str> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["fork", "exec", "unseen", "exit"], "{lines}");
    assert_eq!(events[3]["status"], serde_json::json!({"code": 4}), "{lines}");
    assert!(lines.contains("  out of sight   1 that may not be looked into"), "{lines}");
    let lines = text(&watch("text").stderr);
    assert!(lines.contains(" out of sight: it may not be looked into"), "{lines}");
}
