//! Random lives on the kernel in memory, with its faults, some of them in the midst of a reading: what is told is held against what
//! happened.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::follow::Follower;
use super::kernels::{FREEBSD, Kernel, OPENBSD};
use super::machine::{Core, Machine, Missed};
use crate::event::{Change, Stamped};

const ME: u32 = 50;

#[derive(Clone, Debug)]
enum Act {
    Fork { parent: u8, on: [bool; 2] },
    Exec { who: u8 },
    Exit { who: u8, race: bool, reap: bool },
    Reap { who: u8 },
    Foreign,
}

/// What is done before a drain, and what during it, one before each call.
type Batch = (Vec<Act>, Vec<Act>, u64);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Life {
    parent: u32,
    execs: usize,
    status: Option<i32>,
}

/// What happened.
#[derive(Debug, Default)]
struct Truth {
    lives: BTreeMap<u32, Vec<Life>>,
    living: Vec<u32>,
    zombies: Vec<u32>,
    last: u32,
    pids: u32,
    count: i32,
}

impl Truth {
    fn act(&mut self, kernel: &mut Core, act: &Act) {
        let pick = |from: &[u32], at: u8| (!from.is_empty()).then(|| from[at as usize % from.len()]);
        match *act {
            Act::Fork { parent, on } => {
                let parent = pick(&self.living, parent).unwrap_or(ME);
                if on != [false; 2] {
                    // Its note is passed over because it is busy with another fork.
                    self.fork(kernel, parent, [false; 2]);
                }
                self.fork(kernel, parent, on);
            }
            Act::Exec { who } => {
                let Some(pid) = pick(&self.living, who) else { return };
                kernel.exec(pid);
                self.newest(pid).execs += 1;
            }
            Act::Exit { who, race, reap } => {
                let Some(pid) = pick(&self.living, who) else { return };
                self.exit(kernel, pid, race);
                if reap {
                    self.reap(kernel, pid);
                }
            }
            Act::Reap { who } => {
                let Some(pid) = pick(&self.zombies, who) else { return };
                self.reap(kernel, pid);
            }
            Act::Foreign => {
                kernel.fork(1, 40_000);
                kernel.exit(40_000, 0, false);
                kernel.reap(40_000);
            }
        }
    }

    fn fork(&mut self, kernel: &mut Core, parent: u32, on: [bool; 2]) {
        let free = |pid: &u32| !kernel.processes.contains_key(pid);
        let next = (1..=self.pids).map(|step| 60 + (self.last + step) % self.pids).find(free);
        let Some(child) = next else { return };
        self.last = child - 60;
        if on != [false; 2] {
            kernel.processes.get_mut(&parent).expect("it lives").threads = 2;
        }
        kernel.fork_badly(parent, child, Missed { on, memory: None });
        self.lives.entry(child).or_default().push(Life { parent, execs: 0, status: None });
        self.living.push(child);
    }

    fn exit(&mut self, kernel: &mut Core, pid: u32, race: bool) {
        self.count += 1;
        let status = (self.count % 255) << 8;
        kernel.exit(pid, status, race);
        self.newest(pid).status = Some(status);
        self.living.retain(|other| *other != pid);
        self.zombies.push(pid);
    }

    fn reap(&mut self, kernel: &mut Core, pid: u32) {
        kernel.reap(pid);
        self.zombies.retain(|other| *other != pid);
    }

    fn newest(&mut self, pid: u32) -> &mut Life {
        self.lives.get_mut(&pid).and_then(|lives| lives.last_mut()).expect("it was born")
    }
}

/// What was told, whose order is looked at as it comes.
#[derive(Debug, Default)]
struct Told {
    lives: BTreeMap<u32, Vec<Life>>,
    living: HashMap<u32, ()>,
}

impl Told {
    fn take(&mut self, changes: &[Stamped], lost: bool) {
        for stamped in changes {
            match stamped.change {
                Change::Fork { parent, child, .. } => {
                    let lives = parent == ME || self.living.contains_key(&parent);
                    assert!(lives || lost, "{parent} is dead: {changes:?}");
                    assert!(self.living.insert(child, ()).is_none(), "{child} is born twice: {changes:?}");
                    self.lives.entry(child).or_default().push(Life { parent, execs: 0, status: None });
                }
                Change::Exec { process } => {
                    assert!(self.living.contains_key(&process), "{process} is dead: {changes:?}");
                    self.newest(process).execs += 1;
                }
                Change::End { process, status } => {
                    assert!(self.living.remove(&process).is_some(), "{process} ends twice: {changes:?}");
                    self.newest(process).status = status;
                }
                ref other => panic!("{other:?}"),
            }
        }
    }

    fn newest(&mut self, pid: u32) -> &mut Life {
        self.lives.get_mut(&pid).and_then(|lives| lives.last_mut()).expect("it was born")
    }
}

struct Outcome {
    truth: Truth,
    told: Told,
    lost: bool,
    members: usize,
    leaked: usize,
}

fn run(kernel: Kernel, pids: u32, batches: &[Batch]) -> Outcome {
    let machine = Machine::new(kernel);
    machine.lock().put(1, 0);
    machine.lock().put(ME, 1);
    let mut follower = Follower::new(machine.clone(), kernel, ME).unwrap();
    let truth = Arc::new(Mutex::new(Truth { pids, ..Truth::default() }));
    let (mut told, mut lost) = (Told::default(), false);
    let mut drain = |follower: &mut Follower<Machine>| {
        let mut out = Vec::new();
        follower.round(&mut out).unwrap();
        follower.check(&mut out).unwrap();
        if follower.doubts.some {
            lost = true;
            follower.settle(&mut out).unwrap();
        }
        told.take(&out, lost);
    };
    for (before, during, pause) in batches {
        let mut core = machine.lock();
        before.iter().for_each(|act| truth.lock().unwrap().act(&mut core, act));
        core.time += pause;
        for act in during.clone() {
            let truth = Arc::clone(&truth);
            core.meanwhile.push_back(Box::new(move |core| truth.lock().unwrap().act(core, &act)));
        }
        drop(core);
        drain(&mut follower);
        // What was not called for happens all the same.
        let mut core = machine.lock();
        while let Some(step) = core.meanwhile.pop_front() {
            step(&mut core);
        }
    }
    let mut core = machine.lock();
    let mut end = truth.lock().unwrap();
    for pid in end.living.clone() {
        end.exit(&mut core, pid, pid % 2 == 0);
    }
    drop(core);
    drain(&mut follower);
    for pid in end.zombies.clone() {
        end.reap(&mut machine.lock(), pid);
    }
    drop(end);
    for _ in 0..4 {
        machine.lock().time += 30_000_000;
        drain(&mut follower);
    }
    let members = follower.members.len();
    drop(follower);
    let leaked = machine.lock().leaked();
    drop(machine);
    let truth = std::mem::take(&mut *truth.lock().unwrap());
    Outcome { truth, told, lost, members, leaked }
}

/// Nothing was lost, so that all is told, and how often a process ran a program is told where it is seen between two drains.
fn exact(outcome: &Outcome, missed: bool) -> Result<(), TestCaseError> {
    prop_assert_eq!(
        outcome.truth.lives.keys().collect::<Vec<_>>(),
        outcome.told.lives.keys().collect::<Vec<_>>()
    );
    for (pid, lives) in &outcome.truth.lives {
        let told = &outcome.told.lives[pid];
        prop_assert_eq!(lives.len(), told.len(), "{}: {:?} {:?}", pid, lives, told);
        for (life, told) in lives.iter().zip(told) {
            // Nobody is told of an end that the one queue that followed lost, after it was reaped.
            prop_assert_eq!(life.parent, told.parent, "{}", pid);
            prop_assert!(
                life.status == told.status || (missed && told.status.is_none()),
                "{}: {:?}",
                pid,
                told
            );
            prop_assert!(
                told.execs <= life.execs && (told.execs > 0) == (life.execs > 0),
                "{}: {:?} {:?}",
                pid,
                life,
                told
            );
        }
    }
    Ok(())
}

/// Something was lost: what is told is true all the same.
fn true_as_far_as_told(outcome: &Outcome) -> Result<(), TestCaseError> {
    for (pid, told) in &outcome.told.lives {
        // Where each queue missed another of two lives that were over when they were read, nobody knows which came first.
        let mut truth = outcome.truth.lives.get(pid).cloned().unwrap_or_default();
        for told in told {
            let is = |life: &Life| {
                life.parent == told.parent && (told.status.is_none() || told.status == life.status)
            };
            let at = truth.iter().position(is);
            prop_assert!(
                at.is_some(),
                "{}: {:?}, which was not, {:?} {:?}",
                pid,
                told,
                outcome.truth.lives.get(pid),
                outcome.told.lives.get(pid)
            );
            at.map(|at| truth.remove(at));
        }
    }
    Ok(())
}

/// Births of others raise doubts about those who may have had several threads, where anybody is missed at all.
fn act(missed: [u32; 2]) -> impl Strategy<Value = Act> {
    let chance = |weight: u32| prop::bool::weighted(f64::from(weight) / 100.0);
    let on = (chance(missed[0]), chance(missed[1]));
    prop_oneof![
        4 => (any::<u8>(), on).prop_map(|(parent, on)| Act::Fork { parent, on: [on.0, on.1] }),
        3 => any::<u8>().prop_map(|who| Act::Exec { who }),
        3 => (any::<u8>(), any::<bool>(), any::<bool>()).prop_map(|(who, race, reap)| Act::Exit { who, race, reap }),
        2 => any::<u8>().prop_map(|who| Act::Reap { who }),
        u32::from(missed != [0, 0]) => Just(Act::Foreign),
    ]
}

fn batches(missed: [u32; 2]) -> impl Strategy<Value = Vec<Batch>> {
    let batch = (
        vec(act(missed), 0..8),
        vec(act(missed), 0..5),
        prop_oneof![Just(0_u64), Just(100_000), Just(3_000_000)],
    );
    vec(batch, 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_to_the_race(batches in batches([0, 0])) {
        let outcome = run(FREEBSD, 20_000, &batches);
        prop_assert!(!outcome.lost);
        exact(&outcome, false)?;
        prop_assert_eq!((outcome.members, outcome.leaked), (1, 0));
    }

    #[test]
    fn what_one_queue_misses_the_other_tells(batches in batches([30, 30])) {
        let outcome = run(FREEBSD, 20_000, &batches);
        if !outcome.lost {
            exact(&outcome, true)?;
        }
        true_as_far_as_told(&outcome)?;
        prop_assert_eq!(outcome.members, 1);
    }

    #[test]
    fn one_note_is_as_good(batches in batches([0, 0])) {
        let outcome = run(OPENBSD, 20_000, &batches);
        if !outcome.lost {
            exact(&outcome, false)?;
        }
        true_as_far_as_told(&outcome)?;
        prop_assert_eq!(outcome.members, 1);
    }
}

/// With six pids nearly all are used again within a reading, which is so rare that it is not all known (docs/design/0011, what is left): the
/// same ones each time, so that a change is found by what it changes. `PROPTEST_RNG_SEED` and `PROPTEST_CASES` try others.
fn the_same() -> ProptestConfig {
    ProptestConfig { cases: 1500, rng_seed: RngSeed::Fixed(12), ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(the_same())]

    #[test]
    fn used_pids_are_told_apart(batches in batches([0, 0])) {
        let outcome = run(FREEBSD, 6, &batches);
        if !outcome.lost {
            exact(&outcome, false)?;
        }
        true_as_far_as_told(&outcome)?;
        prop_assert_eq!(outcome.members, 1);
    }

    // Where in addition a queue misses one of two lives that follow each other under one pid and one parent within one reading, which of
    // the other's it is not is sometimes not to be known. Then that is said, and what is told is true.
    #[test]
    fn used_pids_and_missed_ones_are_told_apart_or_said(batches in batches([20, 20])) {
        let outcome = run(FREEBSD, 6, &batches);
        if !outcome.lost {
            exact(&outcome, true)?;
        }
        true_as_far_as_told(&outcome)?;
        prop_assert_eq!(outcome.members, 1);
    }
}
