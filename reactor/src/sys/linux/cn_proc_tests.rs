//! The source against the real kernel: completeness, order and the count of losses, with a second socket as witness.

use std::collections::{HashMap, HashSet};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::cn_proc::{CnProc, listen};
use super::netlink::Socket;
use super::{marker, message, syscall};
use crate::event::{Change, Stamped};
use crate::source::{Drained, Source};
use crate::sys::OpenOptions;

/// Tests of this module flood the machine's sockets, and go one by one.
static ONE_BY_ONE: std::sync::Mutex<()> = std::sync::Mutex::new(());

fn open(receive_buffer: Option<usize>, shards: usize) -> Option<CnProc> {
    match CnProc::open(&OpenOptions { receive_buffer, shards: Some(shards), ..OpenOptions::default() }) {
        Ok(source) => Some(source),
        Err(error) => {
            println!("SKIPPED: {error}");
            None
        }
    }
}

/// Forks this many short-lived processes, on all processors.
fn flood(forks: usize) {
    let script = format!("i=0; while [ $i -lt {} ]; do (:); i=$((i+1)); done", forks / 2);
    let spawn = || Command::new("sh").args(["-c", &script]).spawn().unwrap();
    let mut children = [spawn(), spawn()];
    children.iter_mut().for_each(|child| assert!(child.wait().unwrap().success()));
}

fn drain(source: &mut CnProc) -> (Vec<Stamped>, Drained) {
    let mut out = Vec::new();
    loop {
        match source.drain(&mut out, usize::MAX).unwrap() {
            Drained::More => {}
            end => return (out, end),
        }
    }
}

/// A privileged program can send to the group; to us it is nobody. Enough of them that both ways to receive get some.
#[test]
fn forged_records_are_dropped() {
    let _one = ONE_BY_ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    const NOBODY: u32 = u32::MAX - 7;
    for shards in [1, 4] {
        let Some(mut source) = open(None, shards) else { return };
        let forger = Socket::open().unwrap();
        for sequence in 0..100 {
            let forged = message::encode(0, sequence, u64::MAX, message::PROC_EVENT_EXEC, &[NOBODY, NOBODY]);
            match forger.forge(&forged) {
                Ok(()) => {}
                Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
                    println!("SKIPPED: only a privileged program can send to the group");
                    return;
                }
                Err(error) => panic!("{error}"),
            }
        }
        flood(2);
        let (changes, end) = drain(&mut source);
        assert_eq!(end, Drained::All, "they do not count as records either");
        assert!(changes.iter().any(|stamped| matches!(stamped.change, Change::Fork { .. })));
        let forged = Change::Exec { process: NOBODY };
        assert!(changes.iter().all(|stamped| stamped.change != forged));
    }
}

/// A source with hardly any buffer loses most of a flood; a witness with a large one gets it all. What the first
/// received and what it says it lost must make up what the witness has seen.
fn loss_is_exact(shards: usize) {
    let _one = ONE_BY_ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    // While others flood the machine there may be no moment at which a count is exact, and it says so.
    let floods = (0..10).take_while(|_| !counts_exactly(shards)).count();
    assert!(floods < 10, "no count was exact, ten times");
}

/// False if others flooded the machine meanwhile.
fn counts_exactly(shards: usize) -> bool {
    let Some(mut small) = open(Some(4096), shards) else { return true };
    let Some(mut witness) = open(None, 1) else { return true };
    let allowed = syscall::allowed_cpus().unwrap();
    small.settle(&mut Vec::new()).unwrap();
    let from = small.ledger.next();
    flood(1_500);
    let (_, end) = drain(&mut small);
    assert_eq!(end, Drained::Overrun, "the flood was too small");
    // Without the marks nothing more would come, and most of the loss would not show.
    let loss = small.settle(&mut Vec::new()).unwrap();
    // Where this program may not run on every processor, nothing can be marked there.
    let everywhere = small.ledger.cpus().all(|cpu| allowed.contains(&cpu));
    assert!(everywhere || !loss.exact, "{loss:?}");
    if !everywhere {
        println!("SKIPPED: the exact count needs all processors, and this program may not run on all");
        return true;
    }
    if !loss.exact {
        println!("{loss:?}, in a flood of others");
        return false;
    }
    let (_, end) = drain(&mut witness);
    if end == Drained::Overrun {
        println!("SKIPPED: the witness has too small a buffer here (net.core.rmem_max)");
        return true;
    }
    let within = |cpu: u32, sequence: u32| {
        let bound = |next: &[(u32, u32)]| next.iter().find(|(of, _)| *of == cpu).map(|(_, next)| *next);
        let (Some(from), Some(to)) = (bound(&from), bound(&small.ledger.next())) else { return false };
        sequence.wrapping_sub(from) < to.wrapping_sub(from)
    };
    let count = |all: &[(u32, u32)]| {
        let all: HashSet<(u32, u32)> =
            all.iter().copied().filter(|(cpu, sequence)| within(*cpu, *sequence)).collect();
        all.len() as u64
    };
    let (received, truth) = (count(&small.ledger.all), count(&witness.ledger.all));
    println!("{shards} shards: received {received}, lost {}, truth {truth}", loss.count);
    assert!(loss.count > 0);
    assert_eq!(received + loss.count, truth);
    true
}

#[test]
fn k8_loss_is_exact_to_the_unit() {
    loss_is_exact(1);
}

#[test]
fn k8_loss_is_exact_to_the_unit_over_shards() {
    loss_is_exact(4);
}

/// Each process of the flood as it must be told: its birth before its exit, each once. Others may be forced to use pids again, whose
/// next birth the kernel may tell before the last end.
fn check_order(changes: &[Stamped]) -> usize {
    let (me, mut alive) = (std::process::id(), HashSet::new());
    let mut exits = 0;
    for stamped in changes {
        match stamped.change {
            Change::Fork { parent, child, .. } if parent == me || alive.contains(&parent) => {
                assert!(alive.insert(child), "{child} was born twice");
            }
            Change::Exit { process, thread, .. } if process == thread => {
                exits += usize::from(alive.remove(&process));
            }
            _ => {}
        }
    }
    exits
}

/// When those were born that descend from this process and were born within these changes.
fn own_births(changes: &[Stamped]) -> HashSet<u64> {
    let mut family = HashSet::from([std::process::id()]);
    let birth = |stamped: &Stamped| match stamped.change {
        Change::Fork { parent, child, .. } => {
            (family.contains(&parent) && family.insert(child)).then_some(stamped.time)
        }
        Change::Exit { process, thread, .. } if process == thread => {
            family.remove(&process);
            None
        }
        _ => None,
    };
    changes.iter().filter_map(birth).collect()
}

/// The same through one socket and through sixteen: nothing missing, nothing twice, births before exits.
#[test]
fn k12_shards_are_put_in_order_again() {
    let _one = ONE_BY_ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let (Some(mut one), Some(mut many)) = (open(None, 1), open(None, 16)) else { return };
    let (mut from_one, mut from_many) = (Vec::new(), Vec::new());
    std::thread::scope(|scope| {
        let flooding = scope.spawn(|| flood(3_000));
        // Read while they run: afterwards any order would do.
        while !flooding.is_finished() {
            from_one.extend(drain(&mut one).0);
            from_many.extend(drain(&mut many).0);
        }
    });
    from_one.extend(drain(&mut one).0);
    from_many.extend(drain(&mut many).0);
    assert!(check_order(&from_one) >= 3_000);
    assert!(check_order(&from_many) >= 3_000);
    // Both sources are open before the flood begins, and are read after it has ended: what is ours both must tell.
    let (one, many) = (own_births(&from_one), own_births(&from_many));
    assert!(one.len() >= 3_000);
    assert_eq!(one.symmetric_difference(&many).count(), 0, "births that only one of them told");
}

/// Shards that overrun again and again, settled while the flood runs: no process's end is handed out before its birth,
/// which would leave it alive for ever.
#[test]
fn k12_in_order_across_losses_too() {
    let _one = ONE_BY_ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let Some(mut source) = open(Some(4096), 8) else { return };
    let mut ended: HashMap<u32, u64> = HashMap::new();
    let (mut losses, mut births, mut late) = (0, 0, 0);
    // Each is more than the buffers hold; what is read after it is read in the midst of the next one.
    let floods = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let flooding = scope.spawn(|| {
            for _ in 0..20 {
                flood(200);
                floods.fetch_add(1, Ordering::Relaxed);
            }
        });
        let mut read = 0;
        while !flooding.is_finished() {
            while floods.load(Ordering::Relaxed) == read && !flooding.is_finished() {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            read = floods.load(Ordering::Relaxed);
            let (mut out, end) = drain(&mut source);
            if end == Drained::Overrun {
                source.settle(&mut out).unwrap();
                losses += 1;
            }
            for stamped in out {
                match stamped.change {
                    Change::Fork { child, .. } => {
                        births += 1;
                        late += usize::from(ended.get(&child).is_some_and(|ended| stamped.time < *ended));
                    }
                    Change::Exit { process, .. } => drop(ended.insert(process, stamped.time)),
                    _ => {}
                }
            }
        }
    });
    println!("{losses} losses, {births} births told, {late} of them after the end");
    assert!(losses > 0, "the flood was too small");
    assert_eq!(late, 0);
}

#[test]
fn a_closed_source_stops_listening() {
    let _one = ONE_BY_ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let Some(mut one) = open(None, 1) else { return };
    drop(open(None, 4));
    // The other's IGNORE is its own: this one still gets everything.
    let (_, _) = drain(&mut one);
    flood(20);
    assert!(check_order(&drain(&mut one).0) >= 20);
}

/// Other listeners come and go. What the kernel answers them counts in the sequence like any record.
#[test]
fn k8_answers_to_other_listeners_are_no_loss() {
    let _one = ONE_BY_ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let Some(mut one) = open(None, 1) else { return };
    for _ in 0..10 {
        drop(open(None, 2));
    }
    let (_, end) = drain(&mut one);
    assert_eq!(end, Drained::All);
    let loss = one.settle(&mut Vec::new()).unwrap();
    assert!(loss.count == 0 || !loss.exact, "nothing was lost: {loss:?}");
}

/// More records than a buffer of 4 KiB holds, by the time that this returns: made by this thread, on its way into all sockets.
fn overfill() {
    (0..200).for_each(|_| syscall::rename_to_own_name().unwrap());
}

/// A full buffer takes neither the kernel's answer nor our own marks. That is no namespace's fault, and to run elsewhere
/// would not help.
#[test]
fn a_flood_is_not_taken_for_a_refusal() {
    let _one = ONE_BY_ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    // While nobody listens no records are made.
    let Some(_witness) = open(None, 1) else { return };
    let Some(mut small) = open(Some(4096), 1) else { return };
    let options = OpenOptions { receive_buffer: Some(4096), ..OpenOptions::default() };
    let unheard = listen(&options, overfill).unwrap_err().to_string();
    let unmarked = small.find_base_line(|| {
        overfill();
        marker::mark_all()
    });
    let unmarked = unmarked.unwrap_err().to_string();
    for error in [unheard, unmarked] {
        assert!(error.contains("lost in a flood") && error.contains("larger receive buffer"), "{error}");
        assert!(!error.contains("container"), "{error}");
    }
    // What is lost at first may come later.
    let mut floods = 3;
    let twice = listen(&options, || {
        if floods > 0 {
            floods -= 1;
            overfill();
        }
    });
    assert!(twice.is_ok(), "{twice:?}");
}
