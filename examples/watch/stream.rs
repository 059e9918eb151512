//! The tracker through a stream of proc-watch.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proc_watch::{Event, EventKind, Events, ExitStatus, ProcId, Watcher};

use crate::account::Verdict;
use crate::processes::{GRANDCHILD, Truth};
use crate::{Options, Summary, deadline};

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

/// Attaches to ourselves.
pub(crate) struct Tracker {
    events: Events,
    me: ProcId,
    all_statuses: bool,
}

impl Tracker {
    pub(crate) fn start(options: &Options) -> Result<Self, Box<dyn std::error::Error>> {
        deadline::step("opening the stream");
        let mut builder = Watcher::builder().metadata(options.metadata);
        if let Some(bytes) = options.receive_buffer {
            builder = builder.receive_buffer(bytes);
        }
        if let Some(source) = options.source {
            builder = builder.source(source);
        }
        let watcher = builder.build()?;
        let mut events = watcher.attach(std::process::id())?;
        // Ourselves.
        let me = events.id();
        while let Some(event) = events.try_next() {
            assert_eq!(event.id, me, "we have no children yet");
        }
        Ok(Self { events, me, all_statuses: watcher.capabilities().statuses })
    }

    /// Follows all until `finished`, and holds what was seen against what was done.
    pub(crate) fn run(
        self,
        finished: impl Fn() -> bool,
        truth: &Arc<Mutex<Truth>>,
    ) -> Result<Summary, Box<dyn std::error::Error>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let account = runtime.block_on(track(self.events, self.me, finished));
        deadline::step("comparing");
        let truth = truth.lock().map_err(|_| "a thread panicked")?;
        let (wrong, missing, unknown) = compare(&truth, &account, self.me);
        // Where they are not promised they are not missing.
        let (missing, unknown) = if self.all_statuses { (missing + unknown, 0) } else { (missing, unknown) };
        Ok(Summary {
            children: truth.made.len(),
            reaped: truth.reaped.len(),
            born: account.born.len(),
            execs: account.born.iter().map(|process| process.execs).sum(),
            ended: account.ended,
            lost: format!("lost records {}", account.lost),
            verdict: Verdict { missing, twice: account.duplicate, wrong, unknown },
        })
    }
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
fn compare(truth: &Truth, account: &Account, me: ProcId) -> (usize, usize, usize) {
    let mut wrong = account.wrong;
    let (mut missing, mut unknown) = (0, 0);
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
    for child in &truth.made {
        made.entry(child.pid).or_default().push_back(child.execs);
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
                Some(ExitStatus::Unknown) => {
                    unknown += 1;
                    if is_child {
                        statuses.find(|raw| *raw != GRANDCHILD);
                    }
                }
                // Grandchildren of kind f are reaped by their parent, and end with code 7 like those of kind g.
                Some(status) if !is_child && status != ExitStatus::Code(7) => {
                    report(format!("wrong: {} ended by {status}", process.id), 1);
                }
                Some(status) if is_child => match statuses.find(|raw| *raw != GRANDCHILD) {
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
    (wrong, missing, unknown)
}
