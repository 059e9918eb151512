//! Goes through every order of the steps of a few threads: breadth first, so that what is found is found in the fewest steps, and to the
//! end.

use std::collections::{HashSet, VecDeque};
use std::hash::Hash;

use crate::algorithm::Found;

/// A thread: makes one step. False if it cannot, or has ended.
pub(crate) type Thread<S> = fn(&mut S) -> bool;

/// Searches for a state that is `bad`, which is also told whether nobody can go on.
pub(crate) fn search<S: Clone + Eq + Hash>(
    start: S,
    threads: &[Thread<S>],
    bad: impl Fn(&S, bool) -> bool,
) -> Found {
    let mut seen = HashSet::from([start.clone()]);
    let mut todo = VecDeque::from([(start, 0)]);
    while let Some((state, steps)) = todo.pop_front() {
        let mut next = threads.iter().filter_map(|step| {
            let mut state = state.clone();
            step(&mut state).then_some(state)
        });
        let first = next.next();
        if bad(&state, first.is_none()) {
            return Found::Yes { steps };
        }
        for state in first.into_iter().chain(next) {
            if seen.insert(state.clone()) {
                todo.push_back((state, steps + 1));
            }
        }
    }
    Found::No { states: seen.len() }
}

#[test]
fn it_finds_an_update_that_is_lost_and_does_not_find_one_under_a_lock() {
    // Of each thread: where it is, and what it read. Then the sum and the lock.
    type State = ([(u8, u8); 2], u8, bool);
    fn step<const ME: usize, const LOCKS: bool>((threads, sum, locked): &mut State) -> bool {
        let (at, read) = &mut threads[ME];
        match *at {
            0 if LOCKS && *locked => return false,
            0 => *locked = true,
            1 => *read = *sum,
            2 => *sum = *read + 1,
            3 => *locked = false,
            _ => return false,
        }
        *at += 1;
        true
    }
    let start: State = ([(0, 0); 2], 0, false);
    let lost = |state: &State, stands: bool| stands && state.1 != 2;
    assert_eq!(search(start, &[step::<0, false>, step::<1, false>], lost), Found::Yes { steps: 8 });
    assert!(matches!(search(start, &[step::<0, true>, step::<1, true>], lost), Found::No { .. }));
}
