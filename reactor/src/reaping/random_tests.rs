//! [`Subtree`] while everything else goes on, between any two of its calls: what it says is held against who descends from whom in truth.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::{Reaping, SimReaper, Standing, Subtree};
use crate::ident::ProcId;

/// So few that each is used again and again.
const PIDS: Range<u32> = 10..17;

/// Something that happens: which, and to whom.
type Act = (u8, u8);

/// Who is who: by pid the birth of the child of this program that it descends from.
#[derive(Debug, Default)]
struct Truth {
    births: u64,
    roots: HashMap<u32, u64>,
}

impl Truth {
    fn act(&mut self, sim: &SimReaper, (what, whom): Act) {
        let pick = |is: &dyn Fn(u32) -> bool| {
            let pids: Vec<u32> = PIDS.filter(|pid| is(*pid)).collect();
            (!pids.is_empty()).then(|| pids[usize::from(whom) % pids.len()])
        };
        let living = pick(&|pid| sim.lives(pid));
        match what % 12 {
            0..5 => {
                let free =
                    PIDS.cycle().skip(usize::from(whom)).take(PIDS.len()).find(|pid| sim.is_free(*pid));
                if let Some(pid) = free {
                    let parent = living.filter(|_| what % 12 > 1).unwrap_or(SimReaper::HERE);
                    sim.fork(parent, pid);
                    self.births += 1;
                    let root = if parent == SimReaper::HERE { self.births } else { self.roots[&parent] };
                    self.roots.insert(pid, root);
                }
            }
            5..8 => living.into_iter().for_each(|pid| sim.end(pid)),
            8..11 => {
                let ended = pick(&|pid| sim.is_there(pid) && !sim.lives(pid));
                ended.into_iter().for_each(|pid| sim.wait(pid));
            }
            _ => living.into_iter().for_each(|pid| sim.acquire_by(pid)),
        }
    }

    /// Who lives of this root, and who of others.
    fn living(&self, sim: &SimReaper, root: u64) -> [HashSet<u32>; 2] {
        let living = self.roots.iter().filter(|(pid, _)| sim.lives(**pid));
        let (ours, others): (Vec<_>, Vec<_>) = living.partition(|(_, of)| **of == root);
        [ours, others].map(|of| of.into_iter().map(|(pid, _)| *pid).collect())
    }
}

/// What was said, how often.
#[derive(Debug, Default)]
struct Said {
    empty: usize,
    living: usize,
    unclear: usize,
}

/// Before each call of the subtree some things happen, and during it others, one before each call of the kernel.
fn run(sim: &SimReaper, batches: Vec<(Vec<Act>, Vec<Act>, bool)>, said: &mut Said) {
    let reaping = Reaping::alone(Arc::new(sim.clone()));
    let truth = Arc::new(Mutex::new(Truth::default()));
    let lock = || -> MutexGuard<'_, Truth> { truth.lock().unwrap() };
    let mut subtree: Option<(Subtree, u64)> = None;
    for (before, during, kills) in batches {
        before.into_iter().for_each(|act| lock().act(sim, act));
        if subtree.is_none() {
            subtree = PIDS.filter(|pid| sim.is_there(*pid)).find_map(|pid| {
                let root = lock().roots[&pid];
                Some((reaping.subtree(ProcId::new(pid, root)).ok()?, root))
            });
        }
        let Some((of, root)) = &subtree else { continue };
        let root = *root;
        let [known, _] = lock().living(sim, root);
        // As the reactor does: of who was known before and lives.
        let vouch = |pid| known.contains(&pid) && lock().living(sim, root)[0].contains(&pid);
        let others = Arc::new(Mutex::new(None));
        let (theirs, spared, mut during) = (Arc::clone(&truth), Arc::clone(&others), during.into_iter());
        sim.meanwhile(Some(Box::new(move |sim, call| {
            let mut truth = theirs.lock().unwrap();
            if call == "kill" {
                // Right before it nothing happens: that is the window which all signals by pid have.
                *spared.lock().unwrap() = Some(truth.living(sim, root)[1].clone());
            } else if let Some(act) = during.next() {
                truth.act(sim, act);
            }
        })));
        let standing = if kills { of.kill(vouch) } else { of.look(vouch) };
        sim.meanwhile(None);
        let [ours, strangers] = lock().living(sim, root);
        if let Some(spared) = others.lock().unwrap().take() {
            assert_eq!(strangers, spared, "a stranger was killed");
        }
        match standing.unwrap() {
            Standing::Empty => {
                // Who is gone starts nobody: so it holds now as well.
                assert!(ours.is_empty(), "{ours:?} live");
                said.empty += 1;
                subtree = None;
            }
            Standing::Living { count } => {
                assert!(count > 0);
                said.living += 1;
            }
            Standing::Unclear => said.unclear += 1,
        }
    }
}

#[test]
fn whatever_happens_meanwhile() {
    let acts = |most| vec(any::<Act>(), 0..most);
    let inputs = (vec((acts(4), acts(12), any::<bool>()), 1..24), any::<bool>());
    let said = Mutex::new(Said::default());
    let mut runner = TestRunner::new(ProptestConfig::with_cases(2_000));
    let result = runner.run(&inputs, |(batches, old)| {
        let sim = if old { SimReaper::new().old() } else { SimReaper::new() };
        run(&sim, batches, &mut said.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        Ok(())
    });
    result.unwrap();
    // All three are come to often, so that what is asserted of them is.
    let said = said.into_inner().unwrap();
    assert!(said.empty > 1_000 && said.living > 5_000 && said.unclear < said.living, "{said:?}");
}
