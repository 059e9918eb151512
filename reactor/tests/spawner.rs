//! Children that the source's own thread starts, as if the caller's had.
#![cfg(target_os = "linux")]

use std::collections::VecDeque;
use std::fs;
use std::process::{Command, Stdio};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::Pid;
use proc_reactor::{
    EventKind, ExitStatus, OpenOptions, Reactor, Readiness, SourceError, SourceName, TreeOptions, open,
};

fn reactor() -> Option<Reactor> {
    let mut options = OpenOptions::default();
    options.source = Some(SourceName::Perf);
    match open(&options) {
        Ok(source) => Some(Reactor::new(source).expect("it has just been opened")),
        Err(error) => {
            println!("SKIPPED: {error}");
            None
        }
    }
}

/// A line of this thread's /proc/thread-self/status.
fn line_of(status: &str, key: &str) -> String {
    status.lines().find(|line| line.starts_with(key)).expect("it has such a line").to_owned()
}

/// The signal mask and the processors of the thread that asks, not those of the thread that starts it or of the last that asked.
#[test]
fn a_child_has_the_mask_and_the_processors_of_its_caller() {
    let Some(reactor) = reactor() else { return };
    let all = sched_getaffinity(Pid::from_raw(0)).expect("processors");
    let cpus: Vec<usize> = (0..CpuSet::count()).filter(|cpu| all.is_set(*cpu) == Ok(true)).collect();
    for (turn, blocked) in [Some(Signal::SIGUSR1), None, Some(Signal::SIGUSR2)].into_iter().enumerate() {
        let (reactor, cpu) = (reactor.clone(), cpus[turn % cpus.len()]);
        let caller = std::thread::spawn(move || {
            let mut mask = SigSet::empty();
            blocked.into_iter().for_each(|signal| mask.add(signal));
            mask.thread_set_mask().expect("a mask");
            let mut one = CpuSet::new();
            one.set(cpu).expect("there is such a processor");
            sched_setaffinity(Pid::from_raw(0), &one).expect("it is ours to run on");
            let own = fs::read_to_string("/proc/thread-self/status").expect("/proc");
            let start = || -> Result<_, SourceError> {
                let mut command = Command::new("cat");
                let child = command.arg("/proc/self/status").stdout(Stdio::piped()).spawn().expect("cat");
                Ok((child.id(), child))
            };
            let (_reader, child) = reactor.spawn(TreeOptions::default(), start).expect("it can be spawned");
            let output = child.wait_with_output().expect("it is ours to wait for");
            let status = String::from_utf8(output.stdout).expect("text");
            for key in ["SigBlk:", "Cpus_allowed:"] {
                assert_eq!(line_of(&status, key), line_of(&own, key));
            }
        });
        caller.join().expect("as it should be");
    }
}

/// What this thread starts is not seen, and nobody is led to believe that it is.
#[test]
fn another_thread_is_told_to_spawn_otherwise() {
    let Some(reactor) = reactor() else { return };
    let refused = reactor.begin_spawn(TreeOptions::default()).expect_err("it does not see this thread");
    assert!(refused.to_string().contains("Reactor::spawn"), "{refused}");
}

/// A start that fails or panics leaves nothing, and the next is as ever.
#[test]
fn a_failed_start_and_a_panic() {
    let Some(reactor) = reactor() else { return };
    let fails = || Err::<(u32, ()), _>(SourceError::Unsupported { source_name: "a test" });
    assert!(reactor.spawn(TreeOptions::default(), fails).is_err());
    let panics = || -> Result<(u32, ()), SourceError> { panic!("on purpose") };
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _ = reactor.spawn(TreeOptions::default(), panics);
    }));
    assert!(caught.is_err());
    assert_eq!(reactor.stats().trees, 0);

    let start = || -> Result<_, SourceError> {
        let child = Command::new("sh").args(["-c", "exit 3"]).spawn().expect("a shell");
        Ok((child.id(), child))
    };
    let (mut reader, mut child) = reactor.spawn(TreeOptions::default(), start).expect("it can be spawned");
    let mut events = VecDeque::new();
    while reader.read(&mut events, 64) != Readiness::End {
        reactor.turn();
        std::thread::yield_now();
    }
    let ends = events.iter().filter_map(|event| match event.kind {
        EventKind::Exit { status } => Some(status),
        _ => None,
    });
    assert_eq!(ends.collect::<Vec<_>>(), [ExitStatus::Code(3)], "it is not reaped, so that it is known");
    assert_eq!(child.wait().expect("it is ours").code(), Some(3));
}
