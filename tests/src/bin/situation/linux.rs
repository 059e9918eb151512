//! Tries one source where it is run, and says what it comes to: a line of JSON, [`Observed`].
//!
//! If the source can be opened, it watches a tree of `make_tree`, which lies beside this program, and holds what it was told
//! against the tree's own account. With `--asleep` it reads nothing until the tree is gone.
#![expect(unsafe_code, reason = "waiting, which the standard library does in other ways only")]

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};

use clap::Parser;
use proc_reactor::{
    OpenOptions, Reactor, Reader, Readiness, SourceError, SourceName, TreeOptions, Turned, open,
};
use tests::observed::{Observed, Refusal, Watched};
use tests::seen::{ATTEMPTS, Seen};
use tests::truth;

#[derive(Debug, Parser)]
struct Asked {
    /// This source; else whichever is chosen
    #[arg(long)]
    source: Option<SourceName>,
    #[arg(long)]
    receive_buffer: Option<usize>,
    #[arg(long)]
    shards: Option<usize>,
    #[arg(long)]
    ring_pages: Option<usize>,
    /// Read nothing while the tree lives
    #[arg(long)]
    asleep: bool,
    /// Let make_tree be a file that its owner may run and not read
    #[arg(long)]
    unreadable: bool,
    /// What the tree is to be, as make_tree takes it
    #[arg(last = true)]
    tree: Vec<String>,
}

pub(crate) fn main() {
    let asked = Asked::parse();
    let observed = observe(&asked);
    println!("{}", serde_json::to_string(&observed).expect("it has text keys only"));
}

fn observe(asked: &Asked) -> Observed {
    let mut options = OpenOptions::default();
    options.source = asked.source;
    options.receive_buffer = asked.receive_buffer;
    options.shards = asked.shards;
    options.ring_pages = asked.ring_pages;
    let source = match open(&options) {
        Ok(source) => source,
        Err(error) => return Observed::Refused { tried: error.tried().iter().map(refusal).collect() },
    };
    let reactor = match Reactor::new(source) {
        Ok(reactor) => reactor,
        Err(error) => return Observed::Refused { tried: vec![refusal(&error)] },
    };
    for attempt in 1.. {
        match watch(asked, &reactor) {
            Ok(watched) => {
                // A busy machine may make the kernel lose records; here it is to lose them only asleep.
                if asked.asleep || watched.lost == 0 || attempt == ATTEMPTS {
                    return Observed::Watched(watched);
                }
            }
            Err(refusal) => return Observed::Refused { tried: vec![refusal] },
        }
    }
    unreachable!("it returns at the last attempt")
}

fn watch(asked: &Asked, reactor: &Reactor) -> Result<Watched, Refusal> {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("truth");
    let mut make_tree = std::env::current_exe().expect("/proc").with_file_name("make_tree");
    if asked.unreadable {
        let copy = dir.path().join("make_tree");
        fs::copy(&make_tree, &copy).expect("a directory of ours");
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o111)).expect("our own");
        make_tree = copy;
    }
    let mut command = Command::new(make_tree);
    command.arg("--truth").arg(&file).args(&asked.tree).stdin(Stdio::null());
    let start = move || -> Result<(u32, Child), Unstarted> {
        let child = command.spawn().map_err(Unstarted::Tree)?;
        Ok((child.id(), child))
    };
    let (mut reader, mut child) = reactor.spawn(TreeOptions::default(), start)?;
    if asked.asleep {
        wait_for_the_end_of(&child);
    }
    let mut seen = Seen::spawned(reader.id()).losses_allowed().blindness_allowed();
    read(reactor, &mut reader, &mut seen);
    let status = child.wait().expect("nobody else reaps it");
    assert!(status.success(), "make_tree: {status}");
    let truth = fs::read_to_string(&file).expect("the truth");
    let capabilities = reactor.capabilities();
    Ok(Watched {
        source: reactor.source_name().to_owned(),
        exact_tree: capabilities.exact_tree,
        statuses: capabilities.statuses,
        counts_losses: capabilities.counts_losses,
        ..Watched::compare(&truth::parse(&truth).expect("as it is documented"), &seen)
    })
}

/// Why there is no tree.
enum Unstarted {
    Source(SourceError),
    /// It is not the source's fault: where this program has no descriptors left, for instance.
    Tree(io::Error),
}

impl From<SourceError> for Unstarted {
    fn from(error: SourceError) -> Self {
        Self::Source(error)
    }
}

impl From<Unstarted> for Refusal {
    fn from(unstarted: Unstarted) -> Self {
        match unstarted {
            Unstarted::Source(error) => refusal(&error),
            Unstarted::Tree(error) => Self { reason: format!("starting make_tree: {error}"), advice: None },
        }
    }
}

fn refusal(error: &SourceError) -> Refusal {
    Refusal { reason: error.reason(), advice: error.advice().map(ToOwned::to_owned) }
}

/// Reads a stream to its end. Whoever started this program ends it if there is none.
fn read(reactor: &Reactor, reader: &mut Reader, seen: &mut Seen) {
    let mut events = VecDeque::new();
    loop {
        match reader.read(&mut events, 256) {
            Readiness::Ready => events.drain(..).for_each(|event| seen.take(&event)),
            Readiness::Pending => {
                if reactor.turn() == Turned::Done && reader.read(&mut events, 256) == Readiness::Pending {
                    until_readable(reactor.as_fd()).expect("its descriptor polls");
                }
                events.drain(..).for_each(|event| seen.take(&event));
            }
            Readiness::End => break,
        }
    }
    seen.end();
}

fn until_readable(fd: BorrowedFd<'_>) -> io::Result<()> {
    let mut poll = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one entry, which outlives the call.
    let polled = unsafe { libc::poll(&raw mut poll, 1, -1) };
    let error = io::Error::last_os_error();
    if polled < 0 && error.kind() != io::ErrorKind::Interrupted { Err(error) } else { Ok(()) }
}

/// It stays a zombie, so that its status is still to be had.
fn wait_for_the_end_of(child: &Child) {
    // SAFETY: all zeroes is a siginfo_t.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: writes one siginfo_t and reads nothing.
    unsafe { libc::waitid(libc::P_PID, child.id(), &raw mut info, libc::WEXITED | libc::WNOWAIT) };
}
