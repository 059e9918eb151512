//! Two honest witnesses never disagree, however their words interleave; and one word dropped or doubled is always found.

use proptest::prelude::*;
use rustc_hash::FxHashMap;

use super::audit::{Audit, GRACE, Witness};
use super::report::Told;
use crate::event::{Change, Stamped};

const ME: u32 = 1;
const SPAWNER: u32 = 2;
/// Few, so that they are used again; the last ones are strangers'.
const PIDS: u32 = 6;
const STRANGER: u32 = 900;

/// What happens, as the kernel has it.
#[derive(Clone, Copy, Debug)]
enum Fact {
    Birth {
        parent: u32,
        child: u32,
    },
    Thread {
        process: u32,
        thread: u32,
    },
    /// `by` is the thread that does it; the others end.
    Exec {
        process: u32,
        by: u32,
    },
    ThreadEnd {
        process: u32,
        thread: u32,
    },
    End {
        process: u32,
        last: u32,
    },
}

/// A world in which things happen as the numbers say; at the end everybody ends.
fn world(choices: &[(u8, u8, u8)]) -> Vec<Fact> {
    let mut living: FxHashMap<u32, Vec<u32>> = FxHashMap::default();
    let mut facts = Vec::new();
    let mut next_thread = 1000;
    let born = |living: &mut FxHashMap<u32, Vec<u32>>, facts: &mut Vec<Fact>, parent, child| {
        living.insert(child, vec![child]);
        facts.push(Fact::Birth { parent, child });
    };
    for &(what, whom, which) in choices {
        let mut pids: Vec<u32> = living.keys().copied().collect();
        pids.sort_unstable();
        let free = (10..10 + PIDS).find(|pid| !living.contains_key(pid));
        let someone = pids.get(usize::from(whom) % pids.len().max(1)).copied();
        match (what % 8, someone, free) {
            (0, _, Some(child)) => born(&mut living, &mut facts, ME, child),
            (1, _, Some(child)) => born(&mut living, &mut facts, STRANGER, child),
            (2 | 3, Some(parent), Some(child)) => born(&mut living, &mut facts, parent, child),
            (4, Some(process), _) => {
                next_thread += 1;
                living.entry(process).or_default().push(next_thread);
                facts.push(Fact::Thread { process, thread: next_thread });
            }
            (5, Some(process), _) => {
                let threads = living.entry(process).or_default();
                let by = threads[usize::from(which) % threads.len()];
                *threads = vec![process];
                facts.push(Fact::Exec { process, by });
            }
            (6 | 7, Some(process), _) => {
                let threads = living.entry(process).or_default();
                let thread = threads.remove(usize::from(which) % threads.len());
                if threads.is_empty() {
                    living.remove(&process);
                    facts.push(Fact::End { process, last: thread });
                } else {
                    facts.push(Fact::ThreadEnd { process, thread });
                }
            }
            _ => {}
        }
    }
    let mut pids: Vec<_> = living.into_iter().collect();
    pids.sort_unstable();
    for (process, threads) in pids {
        let (last, others) = threads.split_last().expect("who has no thread has ended");
        facts.extend(others.iter().map(|&thread| Fact::ThreadEnd { process, thread }));
        facts.push(Fact::End { process, last: *last });
    }
    facts
}

/// What a witness of threads tells, of everybody: the index says by which fact.
fn by_threads(facts: &[Fact]) -> Vec<(usize, Change)> {
    let mut threads: FxHashMap<u32, Vec<u32>> = FxHashMap::default();
    let mut told = Vec::new();
    let exit = |process, thread| Change::Exit { process, thread, status: Some(0), parent: 0 };
    for (index, &fact) in facts.iter().enumerate() {
        let mut tell = |change| told.push((index, change));
        match fact {
            Fact::Birth { parent, child } => {
                threads.insert(child, vec![child]);
                let thread = if parent == ME { SPAWNER } else { parent };
                tell(Change::Fork { parent, thread, child });
            }
            Fact::Thread { process, thread } => {
                threads.entry(process).or_default().push(thread);
                tell(Change::Thread { process, thread });
            }
            Fact::Exec { process, by } => {
                let before = std::mem::replace(threads.entry(process).or_default(), vec![process]);
                // Whoever does it takes the leader's id; the leader's own end is told of.
                let gone = before.into_iter().filter(|thread| *thread != by);
                gone.for_each(|thread| tell(exit(process, thread)));
                tell(Change::Exec { process });
            }
            Fact::ThreadEnd { process, thread } => {
                threads.entry(process).or_default().retain(|other| *other != thread);
                tell(exit(process, thread));
            }
            Fact::End { process, last } => tell(exit(process, last)),
        }
    }
    told
}

/// What a witness of whole processes tells, of those that descend from this program. Ends are held back by up to `delays`
/// words, but not beyond the next birth of the pid.
fn by_processes(facts: &[Fact], delays: &[u8]) -> Vec<(usize, Change)> {
    let mut seen = Vec::new();
    let mut told: Vec<(usize, Change)> = Vec::new();
    let mut held: Vec<(usize, u32, u8)> = Vec::new();
    for (index, &fact) in facts.iter().enumerate() {
        if let Fact::Birth { child, .. } = fact {
            release(&mut held, &mut told, |pid, _| pid == child);
        }
        match fact {
            Fact::Birth { parent, child } => {
                seen.retain(|pid| *pid != child);
                if parent == ME || seen.contains(&parent) {
                    seen.push(child);
                    told.push((index, Change::Fork { parent, thread: parent, child }));
                }
            }
            Fact::Exec { process, .. } if seen.contains(&process) => {
                told.push((index, Change::Exec { process }));
            }
            Fact::End { process, .. } if seen.contains(&process) => {
                held.push((index, process, delays[index % delays.len()] % 4));
            }
            _ => {}
        }
        release(&mut held, &mut told, |_, left| left == 0);
        held.iter_mut().for_each(|(_, _, left)| *left = left.saturating_sub(1));
    }
    release(&mut held, &mut told, |_, _| true);
    told
}

fn release(held: &mut Vec<(usize, u32, u8)>, told: &mut Vec<(usize, Change)>, due: impl Fn(u32, u8) -> bool) {
    held.retain(|&(index, process, left)| {
        let goes = due(process, left);
        if goes {
            told.push((index, Change::End { process, status: None }));
        }
        !goes
    });
}

/// Tells both, now some of the one and now some of the other. The second is heard first of what both can tell by then, as it is
/// drained, where `in_time`; else in any order. All is stamped with the time at which it happened.
fn hear(first: &[(usize, Change)], second: &[(usize, Change)], turns: &[u8], in_time: bool) -> Audit {
    let mut audit = Audit::new(ME, Some(SPAWNER), ["first", "second"]);
    let stamp = |(index, change): &(usize, Change)| Stamped {
        time: (*index as u64 + 1) * 1_000,
        change: change.clone(),
    };
    let (mut one, mut other) = (0, 0);
    let mut turn = 0;
    while one < first.len() || other < second.len() {
        let many = usize::from(turns[turn % turns.len()]);
        turn += 1;
        let end = (one + many % 7).min(first.len());
        let until = if in_time {
            let heard = first[..end].last().map_or(0, |(index, _)| *index);
            second.partition_point(|(index, _)| *index <= heard).max(other)
        } else {
            (other + many / 7 % 7).min(second.len())
        };
        let until = if end == first.len() && in_time { second.len() } else { until };
        let words: Vec<_> = second[other..until].iter().map(stamp).collect();
        audit.apply(Witness::Second, &words, 0);
        let words: Vec<_> = first[one..end].iter().map(stamp).collect();
        audit.apply(Witness::First, &words, 0);
        (one, other) = (end, until);
        // So that none of the turns stands still for ever.
        if one == end && many == 0 && turns.iter().all(|many| many % 7 == 0) {
            one = first.len().min(one + 1);
        }
    }
    audit.quiet(GRACE);
    audit
}

fn choices() -> impl Strategy<Value = Vec<(u8, u8, u8)>> {
    prop::collection::vec(any::<(u8, u8, u8)>(), 1..60)
}

fn delays() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 1..8)
}

/// Turns in which each of the two has a word at least now and then.
fn turns() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(1_u8..49, 1..12).prop_map(|mut turns| {
        turns.push(8);
        turns
    })
}

/// What an exec, a birth or an end of a whole process is: the words that a fold makes facts of.
fn is_fact(change: &Change) -> bool {
    matches!(change, Change::Fork { .. } | Change::Exec { .. } | Change::End { .. })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn the_honest_never_disagree(choices in choices(), delays in delays(), turns in turns(), in_time: bool) {
        let facts = world(&choices);
        let (first, second) = (by_threads(&facts), by_processes(&facts, &delays));
        let audit = hear(&first, &second, &turns, in_time);
        let report = audit.report();
        prop_assert_eq!(&report.disagreements, &[]);
        prop_assert_eq!((report.open, report.exempt, audit.kept()), (0, 0, 0));
        prop_assert_eq!(report.agreed, second.len() as u64, "everything that the second told");
    }

    /// By either; and nobody else is under suspicion for it but those whom it made or who had the same pid.
    #[test]
    fn one_word_dropped_or_doubled_is_found(
        choices in choices(), delays in delays(), turns in turns(), which: prop::sample::Index, twice: bool, faulty_first: bool,
    ) {
        let facts = world(&choices);
        let seen = by_processes(&facts, &delays);
        prop_assume!(!seen.is_empty());
        // Either tells whole processes, so that each word is a fact; the first of strangers as well.
        let (mut first, mut second) = (by_processes(&facts, &[0]), seen);
        let faulty = if faulty_first { &mut first } else { &mut second };
        let at = which.index(faulty.len());
        prop_assert!(is_fact(&faulty[at].1));
        let word = faulty.remove(at);
        if twice {
            faulty.insert(at, word.clone());
            faulty.insert(at, word.clone());
        }
        // Who is this program's child is so by its spawner's thread.
        for (_, change) in &mut first {
            if let Change::Fork { parent: ME, thread, .. } = change {
                *thread = SPAWNER;
            }
        }
        let report = hear(&first, &second, &turns, true).report();
        prop_assert!(report.disagreed() > 0, "{:?} {}", word, if twice { "twice" } else { "never" });
        let pid = match word.1 {
            Change::Fork { child, .. } => child,
            Change::Exec { process } | Change::End { process, .. } => process,
            _ => unreachable!("no other word is a fact"),
        };
        let of_it = report.disagreements.iter().find(|one| one.pid == pid);
        prop_assert!(of_it.is_some(), "{:?} is not among {:?}", word, report.disagreements);
        prop_assert!(of_it.is_some_and(|one| one.first != one.second || one.first == Told::default()));
    }
}
