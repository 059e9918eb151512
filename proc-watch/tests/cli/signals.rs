//! Signals and terminals.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use libc::c_int;
use tempfile::TempDir;

use crate::harness::{
    PROC_WATCH, finish, in_time, next_line, plain, proc_watch, run, send, start, text, wait_for_line, works,
};

#[test]
fn a_signal_to_it_alone_is_passed_on_and_it_lives() {
    if !works() {
        return;
    }
    for (signal, name) in [(libc::SIGTERM, "TERM"), (libc::SIGINT, "INT"), (libc::SIGHUP, "HUP")] {
        let script =
            format!("trap 'echo got {name}; exit 9' {name}; echo ready; while :; do sleep 0.05; done");
        let mut child = start(&mut proc_watch(&["--", "sh", "-c", &script]));
        let mut stdout = wait_for_line(&mut child, "ready");
        send(child.id(), signal);
        let output = finish(child);
        assert_eq!(next_line(&mut stdout), format!("got {name}"));
        assert_eq!(output.status.code(), Some(9), "{output:?}");
        assert!(
            text(&output.stderr).contains("  left behind    nobody"),
            "it went on to the end: {output:?}"
        );
    }
}

#[test]
fn a_signal_ends_the_waiting_for_who_is_left() {
    if !works() {
        return;
    }
    let mut child = start(&mut proc_watch(&["--", "sh", "-c", "sleep 4 >/dev/null 2>&1 & exit 4"]));
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    while !next_line(&mut stderr).contains("still waiting") {}
    send(child.id(), libc::SIGTERM);
    assert_eq!(finish(child).status.code(), Some(4));
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("  left behind    1\n"), "{rest}");
}

/// Starts a command as the leader of a session at a terminal of its own; returns that terminal's other side.
fn at_a_terminal(command: &mut Command) -> (Child, File) {
    let open =
        |path: &str| File::options().read(true).write(true).custom_flags(libc::O_NOCTTY).open(path).unwrap();
    let ours = open("/dev/ptmx");
    let (locked, mut number): (c_int, c_int) = (0, 0);
    // SAFETY: TIOCSPTLCK reads a number, which is there.
    assert_eq!(unsafe { libc::ioctl(ours.as_raw_fd(), libc::TIOCSPTLCK, &raw const locked) }, 0);
    // SAFETY: TIOCGPTN writes a number, for which there is room.
    assert_eq!(unsafe { libc::ioctl(ours.as_raw_fd(), libc::TIOCGPTN, &raw mut number) }, 0);
    let theirs = open(&format!("/dev/pts/{number}"));
    let take = || {
        // SAFETY: setsid(2) takes nothing.
        unsafe { libc::setsid() };
        // SAFETY: TIOCSCTTY takes a number; descriptor 0 is the terminal by now.
        if unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) } < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    };
    // SAFETY: the closure makes system calls only.
    unsafe { command.pre_exec(take) };
    let other = || theirs.try_clone().unwrap();
    let child = command.stdin(other()).stdout(other()).stderr(other()).spawn().unwrap();
    // Held by the command, the terminal would not hang up.
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    (child, ours)
}

/// All that comes to a terminal until nobody holds its other side, and how the child ended.
fn finish_at_terminal(mut child: Child, mut terminal: File, mut seen: Vec<u8>) -> (String, Option<i32>) {
    in_time(child.id(), move || {
        // Ends with EIO.
        let _ = terminal.read_to_end(&mut seen);
        (text(&seen), child.wait().unwrap().code())
    })
}

fn until(terminal: &mut File, what: &str) -> Vec<u8> {
    let mut seen = Vec::new();
    let mut some = [0; 4096];
    while !text(&seen).contains(what) {
        let read = terminal.read(&mut some).unwrap();
        seen.extend(&some[..read]);
    }
    seen
}

#[test]
fn a_terminals_interrupt_is_not_passed_on() {
    if !works() {
        return;
    }
    // The first is in the terminal's group and has it from there. The second has left: it has it from nobody, and once
    // from proc-watch what was sent to that alone.
    let trap = r#"n=0; trap 'n=$((n+1))' INT; echo rea""dy; i=0; while [ $i -lt 20 ]; do sleep 0.05; i=$((i+1)); done"#;
    for (place, to_it_alone, count) in [("env", false, 1), ("setsid", false, 0), ("setsid", true, 1)] {
        let script = format!("{trap}; echo count $n; exit 6");
        let (child, mut terminal) = at_a_terminal(&mut proc_watch(&["--", place, "sh", "-c", &script]));
        let seen = until(&mut terminal, "ready");
        if to_it_alone {
            send(child.id(), libc::SIGINT);
        } else {
            terminal.write_all(b"\x03").unwrap();
        }
        let (seen, code) = finish_at_terminal(child, terminal, seen);
        assert_eq!(code, Some(6), "{seen}");
        assert!(seen.contains(&format!("count {count}\r\n")), "{place}, {to_it_alone}: {seen}");
        assert!(seen.contains("  left behind    nobody"), "{seen}");
    }
}

#[test]
fn a_hangup_is_passed_on_by_the_leader_of_the_session() {
    if !works() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let log = dir.path().join("log");
    let script = "trap 'exit 9' HUP; echo rea\"\"dy; while :; do sleep 0.05; done";
    let (mut child, mut terminal) =
        at_a_terminal(&mut proc_watch(&["-o", log.to_str().unwrap(), "sh", "-c", script]));
    until(&mut terminal, "ready");
    drop(terminal);
    let code = in_time(child.id(), move || child.wait().unwrap().code());
    assert_eq!(code, Some(9), "{}", fs::read_to_string(&log).unwrap());
}

#[test]
fn colours_are_for_terminals() {
    if !works() {
        return;
    }
    let at_terminal = |variable: Option<&str>| {
        let mut command = proc_watch(&["sh", "-c", "exit 3"]);
        command.envs(variable.map(|name| (name, "1")));
        let (child, terminal) = at_a_terminal(&mut command);
        finish_at_terminal(child, terminal, Vec::new()).0
    };
    assert!(at_terminal(None).contains("\x1b[31mexit 3\x1b[0m"));
    assert!(!at_terminal(Some("NO_COLOR")).contains('\x1b'));
    let mut forced = proc_watch(&["sh", "-c", "exit 3"]);
    forced.env("CLICOLOR_FORCE", "1");
    assert!(text(&run(forced).stderr).contains("\x1b[31mexit 3\x1b[0m"));
}

#[test]
fn the_command_starts_as_if_nothing_were() {
    if !works() {
        return;
    }
    let status = |stdout: &[u8], key: &str| -> u64 {
        let stdout = text(stdout);
        let line = stdout.lines().find_map(|line| line.strip_prefix(key)).expect(&stdout);
        u64::from_str_radix(line.trim(), 16).unwrap()
    };
    let bit = |signal: i32| 1 << (signal - 1);
    let output = run(proc_watch(&["cat", "/proc/self/status"]));
    assert_eq!(status(&output.stdout, "SigBlk:"), 0);
    let ours = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGPIPE, libc::SIGCHLD];
    assert_eq!(status(&output.stdout, "SigIgn:") & ours.map(bit).iter().sum::<u64>(), 0);
    // What whoever starts it ignores, as nohup does, it ignores, and so does the command; SIGCHLD must not be.
    let mut command = Command::new("sh");
    command.args([
        "-c",
        "trap '' HUP CHLD; exec \"$0\" run -- sh -c 'cat /proc/self/status; exit 3'",
        PROC_WATCH,
    ]);
    plain(&mut command);
    let output = run(command);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert_eq!(status(&output.stdout, "SigIgn:") & bit(libc::SIGHUP), bit(libc::SIGHUP));
}
