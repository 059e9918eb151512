//! A queue over the scripted source with many processes, all registered.

use std::error::Error;
use std::time::{Duration, Instant};

use benches::sys;
use proc_reactor::flags::{EV_ADD, EV_DELETE, NOTE_EXEC, NOTE_EXIT};
use proc_reactor::source::Living;
use proc_reactor::source::sim::{Script, scripted};
use proc_reactor::{Kevent, Queue, QueueOptions, Reactor};

pub(crate) const NOW: Option<Duration> = Some(Duration::ZERO);
const FIRST: u32 = 1_000;
/// Changes a call.
const CHANGES: usize = 64;

pub(crate) struct Bench {
    pub(crate) queue: Queue,
    script: Script,
    count: u32,
    pub(crate) bytes_a_note: f64,
    pub(crate) register_ns: f64,
}

impl Bench {
    /// `count` processes, each with an idle note.
    pub(crate) fn new(count: u32) -> Result<Self, Box<dyn Error>> {
        let (source, script) = scripted()?;
        for pid in FIRST..FIRST + count {
            script.list(Living { pid, parent: 1, start: 0, threads: vec![pid], status: None });
        }
        let queue = Reactor::new(Box::new(source))?.queue(QueueOptions::default())?;
        let changes: Vec<_> =
            (FIRST..FIRST + count).map(|pid| Kevent::process(pid, EV_ADD, NOTE_EXIT | NOTE_EXEC)).collect();
        let before = sys::resident()?;
        let begun = Instant::now();
        for some in changes.chunks(CHANGES) {
            queue.kevent(some, &mut [], None)?;
        }
        let register_ns = begun.elapsed().as_nanos() as f64 / f64::from(count);
        let bytes_a_note = sys::resident()?.saturating_sub(before) as f64 / f64::from(count);
        Ok(Self { queue, script, count, bytes_a_note, register_ns })
    }

    /// How long it takes to delete one of `count`, in ns.
    pub(crate) fn delete_ns(count: u32) -> Result<f64, Box<dyn Error>> {
        let bench = Self::new(count)?;
        let changes: Vec<_> = (FIRST..FIRST + count).map(|pid| Kevent::process(pid, EV_DELETE, 0)).collect();
        let begun = Instant::now();
        for some in changes.chunks(CHANGES) {
            bench.queue.kevent(some, &mut [], None)?;
        }
        let time = begun.elapsed();
        assert_eq!(bench.queue.stats().notes, 0);
        Ok(time.as_nanos() as f64 / f64::from(count))
    }

    pub(crate) fn nth(&self, index: u32) -> u32 {
        FIRST + index % self.count
    }

    /// So many of them, each another.
    pub(crate) fn some(&self, many: usize, dice: &mut Dice) -> Vec<u32> {
        // One from each stretch, so that none comes twice.
        let stretch = self.count / many as u32;
        (0..many as u32).map(|index| FIRST + index * stretch + dice.below(stretch)).collect()
    }

    /// Each of the processes that `pick` names runs a program, and that is read: ns an event, from the record to the program.
    pub(crate) fn deliver(&self, batches: u64, mut pick: impl FnMut(u64) -> Vec<u32>) -> f64 {
        let mut events = [Kevent::default(); 128];
        let mut time = Duration::ZERO;
        let mut told = 0;
        for batch in 0..batches {
            let pids = pick(batch);
            for pid in &pids {
                self.script.exec(*pid);
            }
            let begun = Instant::now();
            let count = self.queue.kevent(&[], &mut events, NOW).expect("the queue is open");
            time += begun.elapsed();
            assert_eq!(count, pids.len());
            told += count;
        }
        time.as_nanos() as f64 / told as f64
    }
}

/// A linear congruential generator: the same numbers each time.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new() -> Self {
        Self(1)
    }

    fn below(&mut self, limit: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % u64::from(limit)) as u32
    }
}
