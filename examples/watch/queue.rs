//! The tracker through a queue, as in 2016: four threads that wait in it.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use proc_reactor::flags::{
    EV_ADD, EV_DELETE, EVFILT_USER, NOTE_EXEC, NOTE_EXIT, NOTE_FORK, NOTE_TRACK, NOTE_TRIGGER,
};
use proc_reactor::{Kevent, OpenOptions};

use crate::account::{Account, Heap};
use crate::kqueue::Kqueue;
use crate::processes::{GRANDCHILD, Truth};
use crate::{Options, Summary, deadline};

const WAITERS: usize = 4;
/// The user event that ends the waiting.
const END: u64 = 1;
/// How long nothing must come, when all is done, before it is believed that nothing more will.
const QUIET: Duration = Duration::from_millis(500);

pub(crate) struct Tracker {
    queue: Kqueue,
    waiters: Vec<JoinHandle<io::Result<Vec<Kevent>>>>,
    all_statuses: bool,
}

impl Tracker {
    pub(crate) fn start(options: &Options) -> Result<Self, Box<dyn std::error::Error>> {
        deadline::step("opening the queue");
        let (queue, all_statuses) = if options.native {
            (Kqueue::native().map_err(|error| format!("the kernel's own kqueue: {error}"))?, true)
        } else {
            let mut source = OpenOptions::default();
            (source.receive_buffer, source.source) = (options.receive_buffer, options.source);
            let (queue, promises) = Kqueue::ours(&source)?;
            (queue, promises.statuses)
        };
        deadline::step("watching ourselves");
        let follow = NOTE_EXIT | NOTE_EXEC | NOTE_FORK | NOTE_TRACK;
        let changes = [Kevent::process(std::process::id(), EV_ADD, follow), Kevent::user(END, EV_ADD, 0)];
        queue.kevent(&changes, &mut [], None)?;
        let waiters = (0..WAITERS)
            .map(|_| {
                let queue = queue.clone();
                std::thread::spawn(move || wait(&queue))
            })
            .collect();
        Ok(Self { queue, waiters, all_statuses })
    }

    pub(crate) fn run(
        self,
        finished: impl Fn() -> bool,
        truth: &Arc<Mutex<Truth>>,
    ) -> Result<Summary, Box<dyn std::error::Error>> {
        while !finished() {
            std::thread::sleep(Duration::from_millis(20));
        }
        deadline::step("reading the rest of the events");
        // The main thread reads, too: what is queued now, until there is nothing.
        let me = std::process::id();
        let mut seen = Vec::new();
        let mut events = [Kevent::default(); 32];
        loop {
            let count = self.queue.kevent(&[], &mut events, Some(QUIET))?;
            seen.extend_from_slice(&events[..count]);
            if count > 0 {
                continue;
            }
            // Ourselves stay.
            match self.queue.notes() {
                Some(notes) if notes > 2 => eprintln!("missing: {notes} notes are left"),
                _ => {}
            }
            break;
        }
        deadline::step("ending the threads that wait");
        // Without EV_CLEAR it stays triggered: each of them reads it.
        self.queue.kevent(&[Kevent::user(END, 0, NOTE_TRIGGER)], &mut [], None)?;
        for waiter in self.waiters {
            seen.extend(waiter.join().map_err(|_| "a waiter panicked")??);
        }
        self.queue.kevent(&[Kevent::process(me, EV_DELETE, 0)], &mut [], None)?;
        deadline::step("comparing");
        let truth = truth.lock().map_err(|_| "a thread panicked")?;
        Ok(compare(&truth, &seen, me, self.all_statuses))
    }
}

/// One of the waiting threads: reads until it reads the user event.
fn wait(queue: &Kqueue) -> io::Result<Vec<Kevent>> {
    let mut seen = Vec::new();
    let mut events = [Kevent::default(); 32];
    loop {
        let count = queue.kevent(&[], &mut events, None)?;
        let end = |event: &Kevent| event.filter == EVFILT_USER;
        seen.extend(events[..count].iter().filter(|event| !end(event)));
        if events[..count].iter().any(end) {
            return Ok(seen);
        }
    }
}

fn compare(truth: &Truth, seen: &[Kevent], me: u32, all_statuses: bool) -> Summary {
    let account = Account::of(seen, me);
    let mut expected: HashMap<u32, Heap> = HashMap::new();
    let mut grandchildren_made = 0;
    for child in &truth.made {
        let heap = expected.entry(child.pid).or_default();
        heap.births += 1;
        heap.execs += child.execs;
        heap.forks += child.forks;
        grandchildren_made += child.forks;
    }
    for &(pid, status) in truth.reaped.iter().filter(|(_, status)| *status != GRANDCHILD) {
        expected.entry(pid).or_default().statuses.push(i64::from(status));
    }
    // Whose pids grandchildren had is not known to the truth, but their number, and how they ended.
    for (&pid, &births) in &account.grandchildren {
        let heap = expected.entry(pid).or_default();
        heap.births += births;
        heap.statuses.extend(std::iter::repeat_n(i64::from(GRANDCHILD), births));
    }
    let told: usize = account.grandchildren.values().sum();
    if told != grandchildren_made {
        eprintln!("{told} grandchildren, not {grandchildren_made}");
    }
    let (born, execs, ended) = (account.born, account.execs, account.ended);
    let lost = format!("NOTE_TRACKERR {}", account.track_errors);
    let mut verdict = account.compare(expected, all_statuses);
    verdict.missing += grandchildren_made.saturating_sub(told);
    verdict.twice += told.saturating_sub(grandchildren_made);
    Summary { children: truth.made.len(), reaped: truth.reaped.len(), born, execs, ended, lost, verdict }
}
