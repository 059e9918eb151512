//! Reading what a process runs while a tracer holds it in the midst of an exec: its new program can be read then, and
//! the exec's record is not queued yet.
#![cfg(target_os = "linux")]

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};

use nix::sys::ptrace::{self, Event as Stop, Options};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use proc_reactor::source::Source;
use proc_reactor::{
    EventKind, Metadata, OpenOptions, Reactor, Reader, Readiness, SourceName, TreeOptions, Turned, open,
};

/// A reactor over each source that works here and `which` says, one after the other.
fn reactors(which: impl Fn(&dyn Source) -> bool) -> impl Iterator<Item = Reactor> {
    SourceName::ALL.iter().filter_map(move |&name| {
        let mut options = OpenOptions::default();
        options.source = Some(name);
        match open(&options) {
            Ok(source) => which(&*source).then(|| Reactor::new(source).unwrap()),
            Err(error) => {
                println!("SKIPPED: {name}: {error}");
                None
            }
        }
    })
}

/// A shell that is to run `sleep` and is held at the end of that exec, nearly.
fn hold_in_exec() -> Option<(Child, Pid)> {
    let mut child = Command::new("sh")
        .args(["-c", "echo; read go; exec sleep 60"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // Only then is its own exec over.
    child.stdout.take().unwrap().read_exact(&mut [0]).unwrap();
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    if let Err(error) = ptrace::seize(pid, Options::PTRACE_O_TRACEEXEC | Options::PTRACE_O_EXITKILL) {
        println!("SKIPPED: no tracing here: {error}");
        end(child);
        return None;
    }
    child.stdin.take().unwrap().write_all(b"\n").unwrap();
    loop {
        match waitpid(pid, Some(WaitPidFlag::__WALL)).unwrap() {
            WaitStatus::PtraceEvent(_, _, stop) if stop == Stop::PTRACE_EVENT_EXEC as i32 => {
                return Some((child, pid));
            }
            WaitStatus::Stopped(_, signal) => ptrace::cont(pid, signal).unwrap(),
            other => panic!("{other:?}"),
        }
    }
}

fn programs(reactor: &Reactor, reader: &mut Reader) -> Vec<Metadata> {
    while reactor.turn() == Turned::More {}
    let mut events = VecDeque::new();
    while reader.read(&mut events, 64) == Readiness::Ready {}
    let metadata = |kind| match kind {
        EventKind::Exec { metadata } | EventKind::Found { metadata } => Some((*metadata).clone()),
        _ => None,
    };
    events.into_iter().filter_map(|event| metadata(event.kind)).collect()
}

fn end(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Over sources that see whom this thread starts; the others queue the record of an exec earlier than a tracer holds it.
#[test]
fn k9_an_exec_is_not_told_with_what_the_next_one_runs() {
    for reactor in reactors(|source| source.capabilities().whole_machine) {
        for _ in 0..20 {
            let spawning = reactor.begin_spawn(TreeOptions::default()).unwrap();
            let Some((child, pid)) = hold_in_exec() else { return };
            let cmdline = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap();
            assert_eq!(cmdline, b"sleep\x0060\0", "the program that is about to begin can be read");
            let mut reader = spawning.claim(child.id());
            let told = programs(&reactor, &mut reader);
            assert_eq!(told.len(), 1, "the exec of sleep is not told yet: {told:?}");
            assert!(told[0].argv.is_err(), "{told:?}");
            ptrace::detach(pid, None).unwrap();
            end(child);
        }
    }
}

#[test]
fn k9_nor_is_who_was_found() {
    for reactor in reactors(|_| true) {
        for _ in 0..20 {
            let Some((child, pid)) = hold_in_exec() else { return };
            let mut reader = reactor.attach(child.id(), TreeOptions::default()).unwrap();
            let told = programs(&reactor, &mut reader);
            assert_eq!(told.len(), 1, "the exec of sleep is not told yet: {told:?}");
            assert!(told[0].argv.is_err(), "{told:?}");
            ptrace::detach(pid, None).unwrap();
            end(child);
        }
    }
}
