//! The program of the 2016 report, on ours: a thread that forks short-lived children, a thread that reaps them with
//! wait4(-1), and a tracker of forks, execs and exits. Every process must be seen born once and ended once, with
//! the status that wait4 gave.
//!
//! `cargo run --release -p examples --example watch -- --processes 100000`
//!
//! Children take turns in what they do: exit at once; exec a program that exits; fork a grandchild that exits, and wait for
//! it; the same without waiting, so that we are left with the orphan (we are a subreaper, and reap it).
//!
//! Ends with a line `wrong W missing M duplicate D`, and exit code 1 if any is not 0.
#![expect(unsafe_code, reason = "fork, wait4 and _exit, which have no safe face")]

use std::collections::{HashMap, VecDeque};
use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use clap::Parser;
use proc_watch::{Event, EventKind, Events, ExitStatus, ProcId, Watcher};

/// Forks, reaps and tracks short-lived children, and compares what each of the three saw.
#[derive(Debug, Parser)]
struct Options {
    /// How many children to make; grandchildren come on top.
    #[arg(long, default_value_t = 10_000)]
    processes: usize,
    /// How many children may be unreaped at a time.
    #[arg(long, default_value_t = 32)]
    unreaped: usize,
    /// What children do: i(exit), x (exec), f (fork and wait), g (fork and leave), in turn.
    #[arg(long, default_value = "ixfg")]
    kinds: String,
    /// Bytes for the receive buffer, as an unprivileged program may ask.
    #[arg(long)]
    receive_buffer: Option<usize>,
    /// Read what processes run, too.
    #[arg(long)]
    metadata: bool,
    /// Used by the program for its children: end with this code.
    #[arg(long, hide = true)]
    exit: Option<i32>,
}

/// What the forker and the reaper saw.
#[derive(Debug, Default)]
struct Truth {
    /// Children, with the number of execs of each, in order of birth.
    made: Vec<(u32, usize)>,
    /// Wait statuses in the order of reaping.
    reaped: Vec<(u32, i32)>,
}

/// What the tracker saw of one process.
#[derive(Debug)]
struct Seen {
    id: ProcId,
    parent: ProcId,
    execs: usize,
    status: Option<ExitStatus>,
}

/// What the tracker saw of all.
#[derive(Debug, Default)]
struct Account {
    born: Vec<Seen>,
    by_id: HashMap<ProcId, usize>,
    duplicate: usize,
    wrong: usize,
    lost: u64,
    ended: usize,
}

impl Account {
    fn take(&mut self, me: ProcId, event: Event) {
        match event.kind {
            EventKind::Fork { child } => {
                if self.by_id.insert(child, self.born.len()).is_some() {
                    self.duplicate += 1;
                }
                if event.id != me && !self.by_id.contains_key(&event.id) {
                    eprintln!("wrong: {child} was born to {}, who was not", event.id);
                    self.wrong += 1;
                }
                self.born.push(Seen { id: child, parent: event.id, execs: 0, status: None });
            }
            EventKind::Exec { .. } => match self.by_id.get(&event.id) {
                Some(&index) => self.born[index].execs += 1,
                None => self.wrong += 1,
            },
            EventKind::Exit { status } => match self.by_id.get(&event.id) {
                Some(&index) if self.born[index].status.is_none() => {
                    self.born[index].status = Some(status);
                    self.ended += 1;
                }
                Some(_) => self.duplicate += 1,
                None => self.wrong += 1,
            },
            EventKind::Lost { count, .. } => self.lost += count,
            EventKind::Found { .. } | EventKind::Resync { .. } => {}
            other => {
                eprintln!("wrong: {other:?}");
                self.wrong += 1;
            }
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let options = Options::parse();
    if let Some(code) = options.exit {
        std::process::exit(code);
    }
    become_subreaper()?;
    let mut builder = Watcher::builder().metadata(options.metadata);
    if let Some(bytes) = options.receive_buffer {
        builder = builder.receive_buffer(bytes);
    }
    let watcher = builder.build()?;
    let mut events = watcher.attach(std::process::id())?;
    // Ourselves.
    let me = events.id();
    while let Some(event) = events.try_next() {
        assert_eq!(event.id, me, "we have no children yet");
    }

    let truth = Arc::new(Mutex::new(Truth::default()));
    let unreaped = Arc::new(AtomicUsize::new(0));
    let made_all = Arc::new(AtomicBool::new(false));
    let (kinds, limit) = (options.kinds.into_bytes(), options.unreaped);
    let started = Instant::now();
    let maker = {
        let (truth, unreaped, made_all) = (Arc::clone(&truth), Arc::clone(&unreaped), Arc::clone(&made_all));
        std::thread::Builder::new().name("procmaker".to_owned()).spawn(move || {
            let made = make(options.processes, &kinds, limit, &unreaped, &truth);
            made_all.store(true, Ordering::Release);
            made
        })?
    };
    let reaper = {
        let (truth, unreaped) = (Arc::clone(&truth), Arc::clone(&unreaped));
        std::thread::Builder::new()
            .name("reaper".to_owned())
            .spawn(move || reap(&unreaped, &made_all, &truth))?
    };

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let account = runtime.block_on(track(events, me, move || maker.is_finished() && reaper.is_finished()));
    let truth = Arc::into_inner(truth).ok_or("the threads have ended")?.into_inner()?;
    println!(
        "{} children and {} grandchildren in {:.1} s: {} born, {} ended; lost records {}",
        truth.made.len(),
        account.born.len().saturating_sub(truth.made.len()),
        started.elapsed().as_secs_f64(),
        account.born.len(),
        account.ended,
        account.lost,
    );
    let (wrong, missing) = compare(&truth, &account, me);
    println!("wrong {wrong} missing {missing} duplicate {}", account.duplicate);
    std::process::exit(i32::from(wrong + missing + account.duplicate > 0));
}

/// Reads the stream until both other threads have ended and then nothing has come for a while that is missing.
async fn track(mut events: Events, me: ProcId, finished: impl Fn() -> bool) -> Account {
    let mut account = Account::default();
    loop {
        match tokio::time::timeout(Duration::from_millis(200), events.next()).await {
            Ok(Some(event)) => account.take(me, event),
            Ok(None) => return account,
            Err(_) if finished() => return account,
            Err(_) => {}
        }
    }
}

/// Compares births, execs and exits, process by process. Where a pid was used again, its k-th life here is its k-th
/// there.
fn compare(truth: &Truth, account: &Account, me: ProcId) -> (usize, usize) {
    let mut wrong = account.wrong;
    let mut missing = 0;
    let mut report = |what: String, wrongs: usize| {
        if wrong + missing < 20 {
            eprintln!("{what}");
        }
        wrong += wrongs;
        missing += 1 - wrongs;
    };
    let mut seen: HashMap<u32, Vec<&Seen>> = HashMap::new();
    for process in &account.born {
        seen.entry(process.id.pid()).or_default().push(process);
    }
    let mut reaped: HashMap<u32, Vec<i32>> = HashMap::new();
    for &(pid, status) in &truth.reaped {
        reaped.entry(pid).or_default().push(status);
    }
    let mut made: HashMap<u32, VecDeque<usize>> = HashMap::new();
    for &(pid, execs) in &truth.made {
        made.entry(pid).or_default().push_back(execs);
    }
    let mut children_seen = 0;
    for (pid, processes) in &seen {
        let mut statuses = reaped.get(pid).cloned().unwrap_or_default().into_iter();
        for process in processes {
            let is_child = process.parent == me;
            children_seen += usize::from(is_child);
            if is_child {
                match made.get_mut(pid).and_then(VecDeque::pop_front) {
                    Some(execs) if execs != process.execs => {
                        report(format!("wrong: {} execs of {}, not {execs}", process.execs, process.id), 1);
                    }
                    Some(_) => {}
                    None => report(format!("wrong: {} was never made", process.id), 1),
                }
            }
            match process.status {
                None => report(format!("missing: the exit of {}", process.id), 0),
                Some(ExitStatus::Unknown) => report(format!("missing: the status of {}", process.id), 0),
                // Grandchildren of kind f are reaped by their parent, and end with code 7 like those of kind g.
                Some(status) if !is_child && status != ExitStatus::Code(7) => {
                    report(format!("wrong: {} ended by {status}", process.id), 1);
                }
                Some(status) if is_child => match statuses.find(|raw| *raw != 7 << 8) {
                    Some(raw) if ExitStatus::from_wait_status(raw) == status => {}
                    Some(raw) => {
                        report(format!("wrong: {status} of {}, and wait4 gave {raw:#x}", process.id), 1)
                    }
                    None => {
                        report(format!("wrong: {} ended by {status}, and was never reaped", process.id), 1)
                    }
                },
                Some(_) => {}
            }
        }
    }
    missing += truth.made.len().saturating_sub(children_seen);
    (wrong, missing)
}

/// Forks children, at most `limit` unreaped at a time.
fn make(
    count: usize,
    kinds: &[u8],
    limit: usize,
    unreaped: &AtomicUsize,
    truth: &Mutex<Truth>,
) -> io::Result<()> {
    let program = CString::new(std::env::current_exe()?.as_os_str().as_bytes())?;
    for number in 0..count {
        while unreaped.load(Ordering::Acquire) >= limit {
            std::thread::yield_now();
        }
        let kind = kinds[number % kinds.len()];
        // Never 7, which is the grandchildren's.
        let code = (8 + number % 200) as i32;
        let argument = CString::new(format!("--exit={code}"))?;
        let argv = [program.as_ptr(), argument.as_ptr(), std::ptr::null()];
        unreaped.fetch_add(1, Ordering::AcqRel);
        // The reaper must not look for the child before it is noted.
        let mut truth = truth.lock().map_err(|_| io::Error::other("the reaper panicked"))?;
        // SAFETY: the child calls only fork, wait4, execv and _exit, which are async-signal-safe.
        let pid = unsafe { libc::fork() };
        match pid {
            -1 => return Err(io::Error::last_os_error()),
            0 => child(kind, code, &argv),
            pid => truth.made.push((pid as u32, usize::from(kind == b'x'))),
        }
    }
    Ok(())
}

/// What a child does; async-signal-safe.
fn child(kind: u8, code: i32, argv: &[*const libc::c_char; 3]) -> ! {
    match kind {
        b'x' => {
            // SAFETY: a null-terminated array of C strings, the first of them the program.
            unsafe { libc::execv(argv[0], argv.as_ptr()) };
            exit(99)
        }
        b'f' | b'g' => {
            // SAFETY: as in `make`.
            let grandchild = unsafe { libc::fork() };
            if grandchild == 0 {
                exit(7);
            }
            if kind == b'f' {
                // SAFETY: no status and no usage are asked for.
                unsafe { libc::wait4(grandchild, std::ptr::null_mut(), 0, std::ptr::null_mut()) };
            }
            exit(code)
        }
        _ => exit(code),
    }
}

fn exit(code: i32) -> ! {
    // SAFETY: ends the process, without running anything of the parent's.
    unsafe { libc::_exit(code) }
}

/// Reaps whoever ends, until all have been made and nobody is left.
fn reap(unreaped: &AtomicUsize, made_all: &AtomicBool, truth: &Mutex<Truth>) -> io::Result<()> {
    loop {
        let last_round = made_all.load(Ordering::Acquire);
        let mut status = 0;
        // SAFETY: the status is written to an int; no usage is asked for.
        let pid = unsafe { libc::wait4(-1, &raw mut status, 0, std::ptr::null_mut()) };
        if pid > 0 {
            truth
                .lock()
                .map_err(|_| io::Error::other("the maker panicked"))?
                .reaped
                .push((pid as u32, status));
            if status != 7 << 8 {
                unreaped.fetch_sub(1, Ordering::AcqRel);
            }
            continue;
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::ECHILD) if last_round => return Ok(()),
            Some(libc::ECHILD) => std::thread::yield_now(),
            Some(libc::EINTR) => {}
            _ => return Err(error),
        }
    }
}

fn become_subreaper() -> io::Result<()> {
    // SAFETY: takes integers.
    let set = unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
