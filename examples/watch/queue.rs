//! The tracker through a queue, as in 2016: four threads that wait in it.
//!
//! What one thread has read before another is not known afterwards, so what was seen of a pid is compared as a heap: so many births,
//! execs and forks, and these statuses. All of a heap must be there, and nothing else.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use proc_reactor::flags::{
    EV_ADD, EV_DELETE, NOTE_CHILD, NOTE_EXEC, NOTE_EXIT, NOTE_FORK, NOTE_TRACK, NOTE_TRACKERR, NOTE_TRIGGER,
};
use proc_reactor::{Kevent, OpenOptions, Queue, QueueError, QueueOptions, Reactor, open};

use crate::processes::{GRANDCHILD, Truth};
use crate::{Options, Summary};

const WAITERS: usize = 4;
/// The user event that ends the waiting.
const END: u64 = 1;
/// In place of a status that is not known.
const UNKNOWN: i64 = -1;
/// How long nothing must come, when all is done, before it is believed that nothing more will.
const QUIET: Duration = Duration::from_millis(200);

pub(crate) struct Tracker {
    queue: Queue,
    waiters: Vec<JoinHandle<Result<Vec<Kevent>, QueueError>>>,
    all_statuses: bool,
}

impl Tracker {
    pub(crate) fn start(options: &Options) -> Result<Self, Box<dyn std::error::Error>> {
        let mut source = OpenOptions::default();
        (source.receive_buffer, source.source) = (options.receive_buffer, options.source);
        let reactor = Reactor::new(open(&source)?)?;
        let all_statuses = reactor.capabilities().statuses;
        let queue = reactor.queue(QueueOptions::default())?;
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
        truth: Arc<Mutex<Truth>>,
    ) -> Result<Summary, Box<dyn std::error::Error>> {
        while !finished() {
            std::thread::sleep(Duration::from_millis(20));
        }
        // The main thread reads, too: what is queued now, until there is nothing.
        let me = std::process::id();
        let mut seen = Vec::new();
        let mut events = [Kevent::default(); 32];
        loop {
            let count = self.queue.kevent(&[], &mut events, Some(QUIET))?;
            seen.extend_from_slice(&events[..count]);
            // Ourselves stay.
            if count == 0 && self.queue.stats().notes <= 2 {
                break;
            }
            if count == 0 {
                eprintln!("missing: {:?}", self.queue.stats());
                break;
            }
        }
        // Without EV_CLEAR it stays triggered: each of them reads it.
        self.queue.kevent(&[Kevent::user(END, 0, NOTE_TRIGGER)], &mut [], None)?;
        for waiter in self.waiters {
            seen.extend(waiter.join().map_err(|_| "a waiter panicked")??);
        }
        self.queue.kevent(&[Kevent::process(me, EV_DELETE, 0)], &mut [], None)?;
        let truth = Arc::into_inner(truth).ok_or("the threads have ended")?.into_inner()?;
        Ok(compare(&truth, &seen, me, self.all_statuses))
    }
}

/// One of the waiting threads: reads until it reads the user event.
fn wait(queue: &Queue) -> Result<Vec<Kevent>, QueueError> {
    let mut seen = Vec::new();
    let mut events = [Kevent::default(); 32];
    loop {
        let count = queue.kevent(&[], &mut events, None)?;
        let end = |event: &Kevent| event.filter == proc_reactor::flags::EVFILT_USER;
        seen.extend(events[..count].iter().filter(|event| !end(event)));
        if events[..count].iter().any(end) {
            return Ok(seen);
        }
    }
}

/// All that is to be known of one pid, whosever it was in turn.
#[derive(Debug, Default, PartialEq, Eq)]
struct Heap {
    births: usize,
    execs: usize,
    forks: usize,
    statuses: Vec<i64>,
}

fn compare(truth: &Truth, seen: &[Kevent], me: u32, all_statuses: bool) -> Summary {
    let mut heaps: HashMap<u32, Heap> = HashMap::new();
    let mut summary = Summary {
        children: truth.made.len(),
        born: 0,
        ended: 0,
        lost: String::new(),
        unknown: 0,
        wrong: 0,
        missing: 0,
        duplicate: 0,
    };
    let mut track_errors = 0;
    let mut grandchildren: HashMap<u32, usize> = HashMap::new();
    for event in seen {
        let told = |note| usize::from(event.fflags & note != 0);
        let pid = u32::try_from(event.ident).unwrap_or(0);
        track_errors += told(NOTE_TRACKERR);
        if pid == me {
            continue;
        }
        let heap = heaps.entry(pid).or_default();
        heap.births += told(NOTE_CHILD);
        heap.execs += told(NOTE_EXEC);
        heap.forks += told(NOTE_FORK);
        if told(NOTE_EXIT) > 0 {
            heap.statuses.push(event.data);
        }
        if told(NOTE_CHILD) > 0 && event.data != i64::from(me) {
            *grandchildren.entry(pid).or_default() += 1;
        }
        summary.born += told(NOTE_CHILD);
        summary.ended += told(NOTE_EXIT);
    }
    summary.lost = format!("NOTE_TRACKERR {track_errors}");
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
    for (&pid, &births) in &grandchildren {
        let heap = expected.entry(pid).or_default();
        heap.births += births;
        heap.statuses.extend(std::iter::repeat_n(i64::from(GRANDCHILD), births));
    }
    let told: usize = grandchildren.values().sum();
    if told != grandchildren_made {
        eprintln!("{told} grandchildren, not {grandchildren_made}");
    }
    summary.missing += grandchildren_made.saturating_sub(told);
    summary.duplicate += told.saturating_sub(grandchildren_made);
    for heap in heaps.values_mut().chain(expected.values_mut()) {
        heap.statuses.sort_unstable();
    }
    let pids: std::collections::BTreeSet<_> = heaps.keys().chain(expected.keys()).copied().collect();
    let none = Heap::default();
    for pid in pids {
        let (seen, expected) = (heaps.get(&pid).unwrap_or(&none), expected.get(&pid).unwrap_or(&none));
        let unknown = seen.statuses.iter().filter(|status| **status == UNKNOWN).count();
        if !all_statuses && unknown > 0 {
            summary.unknown += unknown;
            // Those that are known are among the right ones, each once, and there are as many in all.
            let mut rest = expected.statuses.clone();
            let known = seen.statuses.iter().filter(|status| **status != UNKNOWN);
            let right = known.filter(|status| {
                let place = rest.iter().position(|right| right == *status);
                place.map(|place| rest.swap_remove(place)).is_some()
            });
            let right = right.count() + unknown == seen.statuses.len();
            let counts = |heap: &Heap| (heap.births, heap.execs, heap.forks, heap.statuses.len());
            if right && counts(seen) == counts(expected) {
                continue;
            }
        } else if seen == expected {
            continue;
        }
        if summary.wrong + summary.missing + summary.duplicate < 20 {
            eprintln!("{pid}: {seen:?}, not {expected:?}");
        }
        let mut differs = false;
        for (seen, expected) in [
            (seen.births, expected.births),
            (seen.execs, expected.execs),
            (seen.forks, expected.forks),
            (seen.statuses.len(), expected.statuses.len()),
        ] {
            summary.missing += expected.saturating_sub(seen);
            summary.duplicate += seen.saturating_sub(expected);
            differs |= seen != expected;
        }
        summary.wrong += usize::from(!differs);
    }
    summary
}
