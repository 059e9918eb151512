//! What is done with each variant, and timed.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use benches::spread::percentile;
use benches::sys;

use crate::lock::{self, Count};
use crate::memory;
use crate::notes::{BATCH, Change, EXEC, EXIT, FORK, Notes, Pid};

/// One piece of work with one variant.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sample {
    /// Nanoseconds for each unit of it.
    pub(crate) cost: f64,
    /// The same of what another thread did meanwhile, if that is what is measured too.
    pub(crate) other: f64,
    /// Locks taken for each unit.
    pub(crate) locks: f64,
    /// The share of them that somebody else had just then.
    pub(crate) waited: f64,
}

impl Sample {
    fn new(time: Duration, units: u64, count: Count) -> Self {
        Self {
            cost: time.as_nanos() as f64 / units as f64,
            other: f64::NAN,
            locks: count.taken as f64 / units as f64,
            waited: count.waited as f64 / count.taken as f64,
        }
    }
}

/// How many processors threads are spread over.
static PROCESSORS: AtomicUsize = AtomicUsize::new(1);

/// From now on threads are put on all the processors there are, the calling one on the first.
pub(crate) fn spread() {
    PROCESSORS.store(thread::available_parallelism().map_or(1, usize::from), Ordering::Relaxed);
    place(0);
}

/// Gives the calling thread a processor by its number: left alone, a busy machine puts all of them on one, where they
/// cannot meet.
fn place(number: usize) {
    let processors = PROCESSORS.load(Ordering::Relaxed);
    // If it is not to be had, the numbers vary more: the share of locks not taken at once tells.
    if processors > 1 {
        let _ = sys::pin(number % processors);
    }
}

/// Processes with a note each on the first queue.
fn noted<N: Notes>(processes: u64) -> N {
    let notes = N::new(1);
    for pid in 0..processes {
        notes.fork(pid);
        notes.register(0, pid).expect("it was just born");
    }
    notes
}

/// One thread that applies changes, so many at a time, and reads their events.
pub(crate) fn alone<N: Notes>(batch: usize, events: u64) -> Sample {
    let processes = 1_024;
    let notes = noted::<N>(processes);
    let (mut scratch, mut seen, mut read) = (N::Scratch::default(), Vec::with_capacity(BATCH), 0);
    let mut changes = Vec::with_capacity(batch);
    lock::take_count();
    let begun = Instant::now();
    let mut pids = (0..processes).cycle();
    while read < events {
        changes.clear();
        changes.extend(pids.by_ref().take(batch).map(|pid| Change::new(pid, EXEC)));
        notes.apply(&changes);
        seen.clear();
        notes.scan(0, &mut scratch, &mut seen);
        read += seen.len() as u64;
    }
    Sample::new(begun.elapsed(), read, lock::take_count())
}

/// Who reads what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Crowd {
    pub(crate) scanners: usize,
    pub(crate) queues: usize,
    /// Each process has a note on every queue, not on one.
    pub(crate) everywhere: bool,
}

/// A fork, an exec and an exit of each of so many processes, while others read until every exit has been told. By
/// change, or by note and change if there is a note on every queue.
pub(crate) fn lives<N: Notes>(crowd: Crowd, processes: u64) -> Sample {
    let Crowd { scanners, queues, everywhere } = crowd;
    let notes = N::new(queues);
    for pid in 0..processes {
        notes.fork(pid);
        let on = if everywhere { 0..queues } else { pid as usize % queues..pid as usize % queues + 1 };
        for queue in on {
            notes.register(queue, pid).expect("it was just born");
        }
    }
    let units = processes * if everywhere { queues as u64 } else { 1 };
    let left = AtomicU64::new(units);
    let begin = Barrier::new(scanners + 1);
    let (begun, mut count) = thread::scope(|scope| {
        let scanners: Vec<_> = (0..scanners)
            .map(|number| {
                let (notes, left, begin) = (&notes, &left, &begin);
                let own: Vec<usize> =
                    (0..queues).filter(|queue| queues < scanners || queue % scanners == number).collect();
                scope.spawn(move || {
                    place(number + 1);
                    begin.wait();
                    scan_until_done(notes, &own, left)
                })
            })
            .collect();
        begin.wait();
        lock::take_count();
        let begun = Instant::now();
        let pids: Vec<Pid> = (0..processes).collect();
        for pids in pids.chunks(BATCH) {
            for flags in [FORK, EXEC, EXIT] {
                let changes: Vec<Change> = pids.iter().map(|&pid| Change::new(pid, flags)).collect();
                notes.apply(&changes);
            }
        }
        let count = lock::take_count();
        let counts = scanners.into_iter().map(|scanner| scanner.join().expect("a scanner panicked"));
        (begun, counts.fold(count, |sum, count| sum + count))
    });
    let time = begun.elapsed();
    count = count + lock::take_count();
    assert!(notes.is_empty());
    Sample::new(time, units * 3, count)
}

fn scan_until_done<N: Notes>(notes: &N, queues: &[usize], left: &AtomicU64) -> Count {
    let (mut scratch, mut events) = (N::Scratch::default(), Vec::with_capacity(BATCH));
    lock::take_count();
    while left.load(Ordering::Relaxed) > 0 {
        events.clear();
        for &queue in queues {
            notes.scan(queue, &mut scratch, &mut events);
        }
        let exits = events.iter().filter(|event| event.flags & EXIT != 0).count() as u64;
        if exits > 0 {
            left.fetch_sub(exits, Ordering::Relaxed);
        }
        if events.is_empty() {
            thread::yield_now();
        }
    }
    lock::take_count()
}

/// One thread applies changes and reads their events; another registers and deletes notes on the same processes and the
/// same queue. Both rest between, or the one who has the table's lock would take it again before the other wakes. By
/// change, the median of batches; the other's by note, which a tenth of them exceed.
pub(crate) fn churn<N: Notes>(changes: u64) -> Sample {
    let processes = 1_024;
    let notes = noted::<N>(processes);
    let done = AtomicBool::new(false);
    let begin = Barrier::new(2);
    thread::scope(|scope| {
        let other = scope.spawn(|| {
            place(1);
            let (mut times, mut pids) = (Vec::new(), (0..processes).cycle());
            begin.wait();
            while !done.load(Ordering::Relaxed) {
                rest(Duration::from_micros(1));
                // A step that has no common divisor with their number: all of them, and not in the changes' order.
                let pid = pids.nth(388).expect("they go round");
                let begun = Instant::now();
                let note = notes.register(0, pid).expect("nobody ends");
                notes.delete(&note);
                times.push(nanos(begun));
            }
            (percentile(&mut times, 0.9), lock::take_count())
        });
        let (mut scratch, mut events) = (N::Scratch::default(), Vec::with_capacity(BATCH));
        let (mut times, mut pids) = (Vec::new(), (0..processes).cycle());
        lock::take_count();
        begin.wait();
        for _ in 0..changes / BATCH as u64 {
            let batch: Vec<Change> = pids.by_ref().take(BATCH).map(|pid| Change::new(pid, EXEC)).collect();
            events.clear();
            rest(Duration::from_micros(2));
            let begun = Instant::now();
            notes.apply(&batch);
            notes.scan(0, &mut scratch, &mut events);
            times.push(nanos(begun));
        }
        done.store(true, Ordering::Relaxed);
        let count = lock::take_count();
        let (other, others) = other.join().expect("the other thread panicked");
        let sample = Sample::new(Duration::ZERO, changes, count + others);
        let batch = percentile(&mut times, 0.5);
        Sample { cost: batch as f64 / BATCH as f64, other: other as f64, ..sample }
    })
}

/// What somebody does who has no lock.
fn rest(time: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < time {}
}

fn nanos(begun: Instant) -> u64 {
    begun.elapsed().as_nanos() as u64
}

/// What a reader waits for although it is not its own: one change of 64 is of a process that has a note. By scan, which
/// may find nothing: a tenth of them take longer than the one, a hundredth longer than the other.
pub(crate) fn strangers<N: Notes>(work: u32, scans: u64) -> Sample {
    let processes = 8_192;
    let notes = N::new(1);
    for pid in 0..processes {
        notes.fork(pid);
        if pid % 64 == 0 {
            notes.register(0, pid).expect("it was just born");
        }
    }
    let done = AtomicBool::new(false);
    let begin = Barrier::new(2);
    thread::scope(|scope| {
        scope.spawn(|| {
            place(1);
            begin.wait();
            let mut pids = (0..processes).cycle();
            while !done.load(Ordering::Relaxed) {
                let batch: Vec<Change> =
                    pids.by_ref().take(BATCH).map(|pid| Change { pid, flags: EXEC, work }).collect();
                notes.apply(&batch);
            }
        });
        let (mut scratch, mut events) = (N::Scratch::default(), Vec::with_capacity(BATCH));
        let mut times = Vec::with_capacity(scans as usize);
        lock::take_count();
        begin.wait();
        for _ in 0..scans {
            rest(Duration::from_micros(2));
            events.clear();
            let begun = Instant::now();
            notes.scan(0, &mut scratch, &mut events);
            times.push(nanos(begun));
        }
        let count = lock::take_count();
        done.store(true, Ordering::Relaxed);
        let sample = Sample::new(Duration::ZERO, scans, count);
        let (most, nearly_all) = (percentile(&mut times, 0.9), percentile(&mut times, 0.99));
        Sample { cost: most as f64, other: nearly_all as f64, ..sample }
    })
}

/// What notes take that nobody has anything to tell.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Idle {
    /// The first of a process, and one more of another queue.
    pub(crate) first: (f64, f64),
    pub(crate) second: (f64, f64),
}

/// Bytes and blocks of a note, of so many that a vector that doubles is three quarters full.
pub(crate) fn idle<N: Notes>() -> Idle {
    let processes = 3 << 13;
    let notes = N::new(2);
    (0..processes).for_each(|pid| notes.fork(pid));
    let of = |queue| {
        let before = memory::now();
        for pid in 0..processes {
            notes.register(queue, pid).expect("it was just born");
        }
        let more = memory::now() - before;
        (more.bytes as f64 / processes as f64, more.blocks as f64 / processes as f64)
    };
    Idle { first: of(0), second: of(1) }
}
