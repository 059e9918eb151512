//! Orphans that come to this program. A test program of its own, for that is a matter of the whole program.
#![cfg(target_os = "linux")]

use std::collections::VecDeque;
use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use proc_reactor::{
    EventKind, ExitStatus, OpenOptions, Reactor, Readiness, SourceError, SourceName, TreeOptions, open,
};

/// Row 12 of what users of other tools ask for. The statuses of all orphans are known, in whatever order they and their parents end, and none stays a zombie. A child of the
/// program itself is left for it to wait for.
#[test]
fn orphans_are_reaped_and_children_are_not() {
    const ORPHANS: usize = 40;
    let mut options = OpenOptions::default();
    (options.source, options.subreaper) = (Some(SourceName::Perf), true);
    let source = match open(&options) {
        Ok(source) => source,
        Err(error) => return println!("SKIPPED: {error}"),
    };
    let reactor = Reactor::new(source).expect("it has just been opened");
    let script = format!(
        "i=0; while [ $i -lt {ORPHANS} ]; do (sh -c 'read -r x; exit 9' <&3 &) ; i=$((i + 1)); done 3<&0; exit 7"
    );
    let start = move || -> Result<_, SourceError> {
        let mut command = Command::new("sh");
        let child = command.arg("-c").arg(&script).stdin(Stdio::piped()).spawn().expect("a shell");
        Ok((child.id(), child))
    };
    let (mut reader, mut child) = reactor.spawn(TreeOptions::default(), start).expect("it can be spawned");
    // They end when their input does, which is when all have lost their parents: the shell has ended, and told so.
    let mut input = child.stdin.take();
    let mut ends = Vec::new();
    let mut events = VecDeque::new();
    let begun = Instant::now();
    loop {
        assert!(begun.elapsed() < Duration::from_secs(60), "so far: {ends:?}");
        match reader.read(&mut events, 64) {
            Readiness::End => break,
            Readiness::Pending => {
                reactor.turn();
                std::thread::yield_now();
            }
            Readiness::Ready => {}
        }
        for event in events.drain(..) {
            if let EventKind::Exit { status } = event.kind {
                ends.push((event.id.pid(), status));
                if event.id.pid() == child.id() {
                    let stat = fs::read_to_string(format!("/proc/{}/stat", child.id()));
                    assert!(stat.expect("it has not been waited for").contains(") Z "));
                    assert_eq!(own_children(), ORPHANS + 1, "the orphans have come to us");
                    drop(input.take());
                }
            }
        }
    }
    let orphans: Vec<_> = ends.iter().filter(|(_, status)| *status == ExitStatus::Code(9)).collect();
    assert_eq!(orphans.len(), ORPHANS, "{ends:?}");
    let zombie = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.contains(") Z ") && stat.contains(&format!(" {} ", std::process::id()))
    };
    assert_eq!(orphans.iter().filter(|(pid, _)| zombie(pid)).count(), 0, "of {ends:?}");
    assert_eq!(child.wait().expect("it is ours to wait for").code(), Some(7));
}

/// How many have this program for their parent, alive or not.
fn own_children() -> usize {
    let threads = fs::read_dir("/proc/self/task").expect("/proc");
    let children = threads.filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("children")).ok());
    children.map(|pids| pids.split_whitespace().count()).sum()
}
