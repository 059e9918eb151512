//! The reasoning of [`Subtree`] on a kernel in memory, with whatever may happen between two calls.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::kernel::collect;
use super::{Reaping, ReapingError, SimReaper, Standing, Subtree};
use crate::ident::ProcId;

const HERE: u32 = SimReaper::HERE;

fn nobody(_: u32) -> bool {
    false
}

/// A child, and its subtree.
fn child(sim: &SimReaper, reaping: &Reaping, pid: u32) -> Subtree {
    sim.fork(HERE, pid);
    reaping.subtree(ProcId::new(pid, u64::from(pid))).unwrap()
}

fn kernels() -> [SimReaper; 2] {
    [SimReaper::new(), SimReaper::new().old()]
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(30), "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn orphans_are_of_it_and_nobody_else_is() {
    for sim in kernels() {
        let reaping = sim.acquire().unwrap();
        let (one, other) = (child(&sim, &reaping, 10), child(&sim, &reaping, 20));
        sim.fork(10, 11);
        sim.fork(11, 12);
        sim.fork(20, 21);
        assert_eq!(one.look(nobody).unwrap(), Standing::Living { count: 3 });
        // A daemon: its parent and its parent's end.
        sim.end(11);
        sim.wait(11);
        sim.end(10);
        assert_eq!(one.look(nobody).unwrap(), Standing::Living { count: 1 });
        sim.wait(10);
        assert_eq!(one.look(nobody).unwrap(), Standing::Living { count: 1 });
        assert_eq!(one.kill(nobody).unwrap(), Standing::Living { count: 1 });
        assert_eq!(one.look(nobody).unwrap(), Standing::Empty);
        assert!(!sim.lives(12) && sim.lives(20) && sim.lives(21));
        assert_eq!(other.look(nobody).unwrap(), Standing::Living { count: 2 });
    }
}

#[test]
fn a_zombie_is_gone() {
    for sim in kernels() {
        let reaping = sim.acquire().unwrap();
        let subtree = child(&sim, &reaping, 10);
        sim.end(10);
        assert_eq!(subtree.look(nobody).unwrap(), Standing::Empty);
        // Nobody is killed any more, reaped or not.
        assert_eq!(subtree.kill(nobody).unwrap(), Standing::Empty);
        sim.wait(10);
        assert_eq!(subtree.look(nobody).unwrap(), Standing::Empty);
    }
}

#[test]
fn who_is_born_during_a_kill_is_killed_by_the_next() {
    for sim in kernels() {
        let reaping = sim.acquire().unwrap();
        let subtree = child(&sim, &reaping, 10);
        sim.fork(10, 11);
        sim.fork_during_kill(11, 12);
        assert_eq!(subtree.kill(nobody).unwrap(), Standing::Living { count: 2 });
        assert!(sim.lives(12));
        assert_eq!(subtree.kill(nobody).unwrap(), Standing::Living { count: 1 });
        assert_eq!(subtree.kill(nobody).unwrap(), Standing::Empty);
    }
}

#[test]
fn a_reaper_below_hides_nobody() {
    for sim in kernels() {
        let reaping = sim.acquire().unwrap();
        let subtree = child(&sim, &reaping, 10);
        sim.fork(10, 11);
        sim.acquire_by(11);
        sim.fork(11, 12);
        sim.fork(12, 13);
        sim.end(12);
        // 12 and 13 are not on the list, but 11 is, as long as it lives; then they are.
        assert_eq!(subtree.look(nobody).unwrap(), Standing::Living { count: 2 });
        sim.end(10);
        sim.end(11);
        assert_eq!(subtree.look(nobody).unwrap(), Standing::Living { count: 1 });
        assert_eq!(subtree.kill(nobody).unwrap(), Standing::Living { count: 1 });
        assert!(!sim.lives(13));
        assert_eq!(subtree.look(nobody).unwrap(), Standing::Empty);
    }
}

#[test]
fn a_kill_reaches_those_of_a_reaper_below() {
    let sim = SimReaper::new();
    let reaping = sim.acquire().unwrap();
    let subtree = child(&sim, &reaping, 10);
    sim.acquire_by(10);
    sim.fork(10, 11);
    sim.fork(11, 12);
    subtree.kill(nobody).unwrap();
    assert!([10, 11, 12].iter().all(|pid| !sim.lives(*pid)));
    assert_eq!(subtree.look(nobody).unwrap(), Standing::Empty);
}

#[test]
fn who_may_not_be_signalled_lives_on() {
    for sim in kernels() {
        let reaping = sim.acquire().unwrap();
        let subtree = child(&sim, &reaping, 10);
        sim.fork(10, 11);
        sim.deny(11);
        subtree.kill(nobody).unwrap();
        assert!(!sim.lives(10));
        assert_eq!(subtree.kill(nobody).unwrap(), Standing::Living { count: 1 });
        assert_eq!(subtree.look(nobody).unwrap(), Standing::Living { count: 1 });
    }
}

/// K7: the pid of a subtree that is over is another child's, and neither it nor what it leaves behind is killed for it.
#[test]
fn another_child_with_its_pid() {
    for (sim, is_looked_at) in
        kernels().into_iter().zip([true, false]).chain(kernels().into_iter().zip([false, true]))
    {
        let reaping = sim.acquire().unwrap();
        let subtree = child(&sim, &reaping, 10);
        sim.end(10);
        sim.wait(10);
        if is_looked_at {
            assert_eq!(subtree.look(nobody).unwrap(), Standing::Empty);
        }
        sim.fork(HERE, 10);
        sim.fork(10, 11);
        let unclear = if is_looked_at { Standing::Empty } else { Standing::Unclear };
        assert_eq!(subtree.look(nobody).unwrap(), unclear);
        assert_eq!(subtree.kill(nobody).unwrap(), unclear);
        sim.end(10);
        sim.wait(10);
        assert_eq!(subtree.kill(nobody).unwrap(), unclear);
        assert!(sim.lives(11));
        sim.end(11);
        assert_eq!(subtree.kill(nobody).unwrap(), Standing::Empty);
    }
}

/// Who was known has gone: then somebody has to answer for those who are there.
#[test]
fn strangers_are_vouched_for() {
    let sim = SimReaper::new();
    let reaping = sim.acquire().unwrap();
    let subtree = child(&sim, &reaping, 10);
    sim.fork(10, 11);
    sim.end(10);
    sim.wait(10);
    assert_eq!(subtree.kill(nobody).unwrap(), Standing::Unclear);
    assert!(sim.lives(11));
    assert_eq!(subtree.kill(|pid| pid == 11).unwrap(), Standing::Living { count: 1 });
    assert!(!sim.lives(11));
}

/// The kernel leaves out the oldest where others come while it makes room: a living one is not overlooked for it, though the count fits.
#[test]
fn a_list_that_was_cut() {
    for sim in kernels() {
        let reaping = Reaping::alone(Arc::new(sim.clone()));
        let subtree = child(&sim, &reaping, 10);
        let births = Arc::new(Mutex::new(0_u32));
        let counted = Arc::clone(&births);
        // Another child is started between room and list, and is gone when all are counted.
        sim.meanwhile(Some(Box::new(move |sim, call| {
            let mut births = counted.lock().unwrap();
            let last = 20 + *births;
            if call == "count" && sim.lives(last) {
                sim.end(last);
                sim.wait(last);
            }
            if call == "the list, with its room" && !sim.lives(last) {
                *births += 1;
                sim.fork(HERE, last + 1);
            }
        })));
        assert_ne!(subtree.look(nobody).unwrap(), Standing::Empty);
        assert!(*births.lock().unwrap() > 8);
        sim.meanwhile(None);
        assert_eq!(subtree.look(nobody).unwrap(), Standing::Living { count: 1 });
    }
}

/// The same where those who come were born long ago, under a reaper below that ends, and as many go as have come.
#[test]
fn a_list_that_was_cut_by_orphans() {
    for sim in kernels() {
        let reaping = Reaping::alone(Arc::new(sim.clone()));
        let subtree = child(&sim, &reaping, 10);
        // So many that there is one for each reading.
        let below: Vec<u32> = (100..140).collect();
        for pid in &below {
            sim.fork(HERE, *pid);
            sim.acquire_by(*pid);
            sim.fork(*pid, 100 + pid);
        }
        let mut left = below.into_iter();
        let mut ended = None;
        sim.meanwhile(Some(Box::new(move |sim, call| match (call, ended) {
            ("the list, with its room", None) => {
                ended = left.next();
                ended.into_iter().for_each(|pid| sim.end(pid));
            }
            ("count", Some(pid)) => {
                sim.wait(pid);
                ended = None;
            }
            _ => {}
        })));
        assert_ne!(subtree.look(nobody).unwrap(), Standing::Empty);
    }
}

#[test]
fn another_child_with_its_pid_beside_it() {
    for sim in kernels() {
        let sim = sim.careless();
        let reaping = Reaping::alone(Arc::new(sim.clone()));
        let subtree = child(&sim, &reaping, 10);
        sim.fork(10, 11);
        assert_eq!(subtree.look(nobody).unwrap(), Standing::Living { count: 2 });
        sim.end(10);
        sim.wait(10);
        sim.fork(HERE, 10);
        assert_eq!(subtree.kill(nobody).unwrap(), Standing::Unclear);
        assert!(sim.lives(10) && sim.lives(11));
    }
}

/// All that was read is over when the kill is about to be sent.
#[test]
fn another_child_with_its_pid_at_the_last_moment() {
    for sim in kernels() {
        let reaping = Reaping::alone(Arc::new(sim.clone()));
        let subtree = child(&sim, &reaping, 10);
        let mut looks = 0;
        sim.meanwhile(Some(Box::new(move |sim, call| {
            looks += usize::from(call == "look");
            if call == "look" && looks == 2 {
                sim.end(10);
                sim.wait(10);
                sim.fork(HERE, 10);
            }
        })));
        assert_eq!(subtree.kill(nobody).unwrap(), Standing::Unclear);
        assert!(sim.lives(10));
    }
}

#[test]
fn without_a_list() {
    let sim = SimReaper::new().without_list();
    sim.fork(HERE, 9);
    let reaping = sim.acquire().unwrap();
    assert!(matches!(reaping.subtree(ProcId::new(9, 9)), Err(ReapingError::NotUnder(_))));
    let subtree = child(&sim, &reaping, 10);
    sim.fork(10, 11);
    assert_eq!(subtree.look(nobody).unwrap(), Standing::Unclear);
    assert_eq!(subtree.kill(nobody).unwrap(), Standing::Unclear);
    sim.end(10);
    sim.end(11);
    // Whoever was there before is not under it.
    assert!(sim.lives(9) && reaping.is_deserted().unwrap());
    assert_eq!(subtree.look(nobody).unwrap(), Standing::Empty);
    // Orphans cannot be told from children.
    assert!(sim.is_there(11));
}

#[test]
fn whose_subtree_it_is() {
    let sim = SimReaper::new();
    sim.fork(HERE, 9);
    let reaping = sim.acquire().unwrap();
    sim.fork(HERE, 10);
    sim.fork(10, 11);
    for pid in [9, 11, 12] {
        let id = ProcId::new(pid, 1);
        assert!(matches!(reaping.subtree(id), Err(ReapingError::NotUnder(who)) if who == id), "{pid}");
    }
    // Adopted, it is still no subtree of its own.
    sim.end(10);
    assert!(matches!(reaping.subtree(ProcId::new(11, 1)), Err(ReapingError::NotUnder(_))));
    assert!(reaping.subtree(ProcId::new(10, 1)).is_ok());
}

/// K10: the collector waits for orphans, and for no child of the program's own, at whatever time they end.
#[test]
fn orphans_are_reaped_and_children_are_not() {
    let sim = SimReaper::new();
    let reaping = sim.acquire().unwrap();
    let _subtree = child(&sim, &reaping, 10);
    for pid in [11, 12, 13] {
        sim.fork(10, pid);
    }
    sim.end(11);
    sim.end(10);
    until("an orphan that had ended is reaped", || !sim.is_there(11));
    sim.end(12);
    until("an orphan is reaped", || !sim.is_there(12));
    assert!(sim.is_there(10) && sim.lives(13));
    sim.end(13);
    drop((_subtree, reaping));
    assert!(!sim.is_reaper() && !sim.is_there(13) && sim.is_there(10));
}

#[test]
fn it_is_given_up_with_the_last() {
    let sim = SimReaper::new();
    let reaping = sim.acquire().unwrap();
    assert!(matches!(sim.acquire(), Err(ReapingError::Taken)));
    let subtree = child(&sim, &reaping, 10);
    drop(reaping);
    assert!(sim.is_reaper());
    drop(subtree);
    assert!(!sim.is_reaper());
    drop(sim.acquire().unwrap());
}

#[cfg(not(any(target_os = "freebsd", target_os = "dragonfly")))]
#[test]
fn there_is_none_here() {
    assert!(matches!(Reaping::acquire(), Err(ReapingError::Unsupported)));
}

#[test]
fn nothing_to_collect() {
    let sim = SimReaper::new();
    let reaping = sim.acquire().unwrap();
    sim.fork(HERE, 10);
    sim.end(10);
    assert_eq!(collect(reaping.kernel()).unwrap(), 0);
    assert!(sim.is_there(10));
}
