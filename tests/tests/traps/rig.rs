//! Streams over each source, read to their ends.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use proc_reactor::{
    Event, EventKind, ExitStatus, OpenOptions, ProcId, Reactor, Reader, Readiness, SourceError, SourceName,
    TreeOptions, Turned, open,
};

use crate::raw;

const PATIENCE: Duration = Duration::from_secs(30);

/// Over each source that opens here, with these options.
pub(crate) fn reactors(options: impl Fn(&mut OpenOptions)) -> Vec<(SourceName, Reactor)> {
    SourceName::ALL.iter().filter_map(|&name| Some((name, reactor(name, &options)?))).collect()
}

/// Over this source, if it opens here.
pub(crate) fn reactor(name: SourceName, options: impl Fn(&mut OpenOptions)) -> Option<Reactor> {
    let mut chosen = OpenOptions::default();
    chosen.source = Some(name);
    options(&mut chosen);
    match open(&chosen) {
        Ok(source) => Some(Reactor::new(source).expect("the process list")),
        Err(error) => {
            println!("SKIPPED: {name}: {error}");
            None
        }
    }
}

pub(crate) fn trapper(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trapper"));
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped());
    command
}

pub(crate) fn spawn(reactor: &Reactor, mut command: Command) -> (Child, Reader) {
    let options = without_metadata();
    let started = reactor.spawn(options, move || {
        let child = command.spawn().expect("it can be run");
        Ok::<_, SourceError>((child.id(), child))
    });
    let (reader, child) = started.expect("it is followed");
    (child, reader)
}

pub(crate) fn without_metadata() -> TreeOptions {
    let mut options = TreeOptions::default();
    options.metadata = false;
    options
}

/// It has said that it is ready.
pub(crate) fn await_ready(child: &mut Child) {
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().expect("a pipe")).read_line(&mut line).expect("it speaks");
    assert_eq!(line, "ready\n");
}

/// It does what it was ready for. Its input ends when what is returned is dropped.
pub(crate) fn go(child: &mut Child) -> ChildStdin {
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(b"go\n").expect("it listens");
    stdin
}

/// Everything, by turns that are taken when its descriptor polls readable.
pub(crate) fn read_to_end(reactor: &Reactor, reader: &mut Reader) -> Vec<Event> {
    let begun = Instant::now();
    let mut out = VecDeque::new();
    loop {
        while reactor.turn() == Turned::More {}
        match reader.read(&mut out, 256) {
            Readiness::End => return out.into(),
            Readiness::Ready => {}
            Readiness::Pending => {
                assert!(begun.elapsed() < PATIENCE, "{}: no end: {out:?}", reactor.source_name());
                raw::poll(&reactor.as_fd(), 100);
            }
        }
    }
}

/// The ends, in their order.
pub(crate) fn ends(events: &[Event]) -> Vec<(ProcId, ExitStatus)> {
    let end = |event: &Event| {
        if let EventKind::Exit { status } = event.kind { Some((event.id, status)) } else { None }
    };
    events.iter().filter_map(end).collect()
}

/// The end of one process: there has to be one, and nothing of it after.
pub(crate) fn end_of(events: &[Event], id: ProcId) -> ExitStatus {
    let ends: Vec<ExitStatus> =
        ends(events).into_iter().filter(|(whose, _)| *whose == id).map(|(_, end)| end).collect();
    let [end] = ends[..] else { panic!("{id}: {ends:?}: {events:#?}") };
    // What is told of the stream itself has the root's name.
    let of_it = |event: &&Event| {
        event.id == id && !matches!(event.kind, EventKind::Lost { .. } | EventKind::Resync { .. })
    };
    let last = events.iter().rfind(of_it).expect("it has an end");
    assert!(matches!(last.kind, EventKind::Exit { .. }), "{id}: {last}");
    end
}

/// Its own; where the source does not know all, perhaps unknown (K9).
pub(crate) fn right(reactor: &Reactor, told: ExitStatus, truth: ExitStatus) {
    let unknown = told == ExitStatus::Unknown && !reactor.capabilities().statuses;
    assert!(unknown || told == truth, "{}: {told}, and it was {truth}", reactor.source_name());
}

pub(crate) fn lost(events: &[Event]) -> u64 {
    let count = |event: &Event| if let EventKind::Lost { count, .. } = event.kind { count } else { 0 };
    events.iter().map(count).sum()
}
