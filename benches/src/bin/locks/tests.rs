//! Every variant, on its way through threads, tells every exit once.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::gathered::Gathered;
use crate::keys::Keys;
use crate::list::LockAList;
use crate::lock;
use crate::note::LockANote;
use crate::notes::{BATCH, Change, EXEC, EXIT, Event, FORK, Flags, Notes, Pid};
use crate::source::Source;

/// A few numbers without an order that matters.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

const QUEUES: usize = 3;
const OPERATIONS: u64 = 100_000;

/// A note, by whom it belongs to and whom it is on.
type Name = (usize, Pid);

/// Notes that others may delete.
type Given<N> = Mutex<Vec<(Name, <N as Notes>::Handle)>>;

/// What one reader was told.
#[derive(Default)]
struct Told {
    flags: HashMap<Name, Flags>,
    exits: HashMap<Name, u32>,
}

impl Told {
    fn add(&mut self, queue: usize, event: Event) {
        let name = (queue, event.pid);
        assert_ne!(event.flags, 0, "an event of nothing: {name:?}");
        *self.flags.entry(name).or_default() |= event.flags;
        *self.exits.entry(name).or_default() += u32::from(event.flags & EXIT != 0);
    }
}

/// Forks processes, makes notes on them and applies changes; returns what each note's process did. Handles of some of
/// the notes are put where others may delete them.
fn live<N: Notes>(notes: &N, given: Option<&Given<N>>) -> HashMap<Name, Flags> {
    let mut random = Random(0x2016_0614);
    let (mut did, mut alive, mut changes) = (HashMap::new(), Vec::new(), Vec::new());
    for operation in 0..OPERATIONS {
        match random.below(4) {
            0 => {
                notes.fork(operation);
                let on = random.below(1 << QUEUES);
                for queue in (0..QUEUES).filter(|queue| on >> queue & 1 == 1) {
                    let handle = notes.register(queue, operation).expect("it was just born");
                    did.insert((queue, operation), 0);
                    if let Some(given) = given.filter(|_| random.below(4) == 0) {
                        given.lock().unwrap().push(((queue, operation), handle));
                    }
                }
                alive.push(operation);
            }
            what if !alive.is_empty() => {
                let index = random.below(alive.len() as u64) as usize;
                let flags = if what == 1 { EXIT } else { 1 << random.below(2) };
                let pid = if what == 1 { alive.swap_remove(index) } else { alive[index] };
                changes.push(Change::new(pid, flags));
            }
            _ => {}
        }
        if changes.len() == BATCH || random.below(50) == 0 {
            apply(notes, &mut changes, &mut did);
        }
    }
    changes.extend(alive.into_iter().map(|pid| Change::new(pid, EXIT)));
    apply(notes, &mut changes, &mut did);
    did
}

fn apply<N: Notes>(notes: &N, changes: &mut Vec<Change>, did: &mut HashMap<Name, Flags>) {
    for changes in changes.chunks(BATCH) {
        notes.apply(changes);
    }
    for change in changes.drain(..) {
        for queue in 0..QUEUES {
            did.entry((queue, change.pid)).and_modify(|flags| *flags |= change.flags);
        }
    }
}

/// One thread lives, another reads and deletes; what was deleted is not told of from then on.
fn two_threads<N: Notes>() {
    let (notes, given, over) = (N::new(QUEUES), Mutex::new(Vec::new()), AtomicBool::new(false));
    let (mut told, mut deleted) = (Told::default(), HashMap::new());
    let did = thread::scope(|scope| {
        let source = scope.spawn(|| {
            let did = live(&notes, Some(&given));
            over.store(true, Ordering::Release);
            did
        });
        let (mut scratch, mut events) = (N::Scratch::default(), Vec::new());
        loop {
            let last = over.load(Ordering::Acquire);
            let mut read = 0;
            for queue in 0..QUEUES {
                notes.scan(queue, &mut scratch, &mut events);
                read += events.len();
                for event in events.drain(..) {
                    assert!(!deleted.contains_key(&(queue, event.pid)), "told of what was deleted");
                    told.add(queue, event);
                }
            }
            let delete = given.lock().unwrap().pop();
            if let Some((name, handle)) = delete {
                notes.delete(&handle);
                // Twice, as one who lost his way would: a note that has told its exit is gone already.
                notes.delete(&handle);
                deleted.insert(name, handle);
            } else if last && read == 0 {
                break;
            }
        }
        source.join().unwrap()
    });
    assert!(notes.is_empty());
    assert!(deleted.len() > 1_000, "{} deleted", deleted.len());
    check(&did, &told, |name| !deleted.contains_key(name));
}

/// Each exit once and none twice; of a note that nobody deleted, all that its process did and nothing else.
fn check(did: &HashMap<Name, Flags>, told: &Told, kept: impl Fn(&Name) -> bool) {
    assert!(told.exits.values().all(|exits| *exits <= 1), "an exit was told twice");
    for (name, flags) in did {
        let seen = told.flags.get(name).copied().unwrap_or(0);
        assert_eq!(seen & !flags, 0, "{name:?}: told what was not");
        assert!(!kept(name) || seen == *flags, "{name:?}: {flags} happened, {seen} was told");
    }
    assert!(told.flags.keys().all(|name| did.contains_key(name)), "told of a note that nobody made");
}

/// One thread lives, four read the same queues.
fn four_readers<N: Notes>() {
    let (notes, over) = (N::new(QUEUES), AtomicBool::new(false));
    let told = Mutex::new(Told::default());
    let did = thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let (mut scratch, mut own) = (N::Scratch::default(), Vec::new());
                loop {
                    let (last, before) = (over.load(Ordering::Acquire), own.len());
                    for queue in 0..QUEUES {
                        let mut events = Vec::new();
                        notes.scan(queue, &mut scratch, &mut events);
                        own.extend(events.into_iter().map(|event| (queue, event)));
                    }
                    if last && own.len() == before {
                        break;
                    }
                }
                let mut told = told.lock().unwrap();
                own.into_iter().for_each(|(queue, event)| told.add(queue, event));
            });
        }
        let did = live(&notes, None);
        over.store(true, Ordering::Release);
        did
    });
    assert!(notes.is_empty());
    check(&did, &told.into_inner().unwrap(), |_| true);
}

/// One who registers and deletes on processes that live on leaves nothing behind, and disturbs nobody else's note.
fn churn_beside<N: Notes>() {
    let (notes, rounds) = (N::new(1), AtomicU64::new(0));
    notes.fork(1);
    notes.register(0, 1).unwrap();
    let mut exits = 0;
    thread::scope(|scope| {
        scope.spawn(|| {
            while let Some(handle) = notes.register(0, 1) {
                notes.delete(&handle);
                rounds.fetch_add(1, Ordering::Relaxed);
            }
        });
        let (mut scratch, mut events) = (N::Scratch::default(), Vec::new());
        while rounds.load(Ordering::Relaxed) < 10_000 {
            notes.apply(&[Change::new(1, FORK)]);
            notes.scan(0, &mut scratch, &mut events);
        }
        notes.apply(&[Change::new(1, EXEC | EXIT)]);
    });
    let (mut scratch, mut events) = (N::Scratch::default(), Vec::new());
    notes.scan(0, &mut scratch, &mut events);
    for event in events {
        exits += u32::from(event.flags & EXIT != 0);
    }
    assert_eq!(exits, 1);
    assert!(notes.is_empty());
}

const ROUNDS: u64 = 3_000;

/// What happens while another event of the same note is being read is told too, and nothing is told again.
fn change_meets_scan<N: Notes>() {
    let (notes, forks, execs, over) =
        (N::new(1), AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    notes.fork(1);
    notes.register(0, 1).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            let (mut scratch, mut events) = (N::Scratch::default(), Vec::new());
            while !over.load(Ordering::Relaxed) {
                notes.scan(0, &mut scratch, &mut events);
                if events.is_empty() {
                    thread::yield_now();
                }
                for event in events.drain(..) {
                    forks.fetch_add(u64::from(event.flags & FORK != 0), Ordering::Relaxed);
                    execs.fetch_add(u64::from(event.flags & EXEC != 0), Ordering::Relaxed);
                }
            }
        });
        let begun = Instant::now();
        let mut lost = false;
        for round in 1..=ROUNDS {
            notes.apply(&[Change::new(1, FORK)]);
            // The two come closer to each other and farther apart.
            (0..round % 128).for_each(|_| std::hint::spin_loop());
            notes.apply(&[Change::new(1, EXEC)]);
            while execs.load(Ordering::Relaxed) < round && !lost {
                lost = begun.elapsed() > Duration::from_secs(60);
                thread::yield_now();
            }
        }
        over.store(true, Ordering::Relaxed);
        assert!(!lost, "an exec was not told");
    });
    assert_eq!(execs.into_inner(), ROUNDS);
    assert!(forks.into_inner() <= ROUNDS, "a fork was told twice");
}

macro_rules! each_variant {
    ($($test:ident)*) => {$(
        mod $test {
            use super::*;

            #[test]
            fn source() {
                super::$test::<Source>();
            }

            #[test]
            fn list_as_kernel() {
                super::$test::<LockAList<true>>();
            }

            #[test]
            fn list() {
                super::$test::<LockAList<false>>();
            }

            #[test]
            fn note() {
                super::$test::<LockANote>();
            }

            #[test]
            fn keys() {
                super::$test::<Keys>();
            }

            #[test]
            fn keys_gathered() {
                super::$test::<Gathered>();
            }
        }
    )*};
}

each_variant!(two_threads four_readers churn_beside change_meets_scan);

/// The figures of docs/design/0005: locks for a change that makes a note ready, and for a scan of 64 events.
#[test]
fn locks_that_it_takes() {
    fn of<N: Notes>() -> (u64, u64) {
        let notes = N::new(1);
        let changes: Vec<Change> = (0..BATCH as u64).map(|pid| Change::new(pid, EXEC)).collect();
        for change in &changes {
            notes.fork(change.pid);
            notes.register(0, change.pid).unwrap();
        }
        lock::take_count();
        notes.apply(&changes);
        let apply = lock::take_count().taken;
        let mut events = Vec::new();
        notes.scan(0, &mut N::Scratch::default(), &mut events);
        assert_eq!(events.len(), BATCH);
        (apply, lock::take_count().taken)
    }
    assert_eq!(of::<Source>(), (1, 1));
    assert_eq!(of::<LockAList<true>>(), (129, 129));
    assert_eq!(of::<LockAList<false>>(), (129, 65));
    assert_eq!(of::<LockANote>(), (129, 65));
    assert_eq!(of::<Keys>(), (65, 1));
    assert_eq!(of::<Gathered>(), (2, 1));
}
