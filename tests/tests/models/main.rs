//! Models of the algorithms that came before and of ours, searched to the end for each fault. Prints the table fault x
//! algorithm; each cell is asserted.

mod algorithm;
mod bug2016;
mod known;
mod ours;

use algorithm::{ALL_FAULTS, Algorithm, FAULTS, Fault, Found, Memory, Way};
use bug2016::search;
use known::{
    ATTACHING, ATTACHING_CLOSING, CLOSING, CONTESTED, COUNTED, CROSSED, KEPT, ONESHOT, RACE, READERS, REPORT,
    REUSED, SLOT, TIMES_OUT, TOKEN, UNKNOWN,
};
use ours::{Mutant, Scene};

/// Each algorithm of a kernel with the faults that it must be found to have. It must be found to have no other.
const KERNELS: [(Algorithm, &[Fault]); 10] = [
    (
        REPORT,
        &[
            Fault::ReturnsWithLock,
            Fault::SleepsWithLock,
            Fault::NullList,
            Fault::NullLock,
            Fault::CopiesWithLock,
            Fault::Hang,
        ],
    ),
    (KEPT, &[]),
    (
        Algorithm { name: "pointer kept, memory freed", memory: Memory::FreedAtReap, ..KEPT },
        &[Fault::FreedList],
    ),
    (TOKEN, &[]),
    (
        Algorithm { name: "- unlock rereads", unlock: Way::Reread, ..TOKEN },
        &[Fault::ReturnsWithLock, Fault::SleepsWithLock, Fault::CopiesWithLock, Fault::Hang],
    ),
    (COUNTED, &[]),
    (Algorithm { name: "- as in 12.3", filter_needs_process: true, ..COUNTED }, &[Fault::LostExit]),
    (
        Algorithm { name: "- list goes with exit", memory: Memory::FreedAtExit, ..COUNTED },
        &[Fault::FreedList],
    ),
    (Algorithm { name: "- exit skips scanned", exit_skips_scanned: true, ..COUNTED }, &[Fault::LostExit]),
    (
        Algorithm { name: "- delete does not wait", delete_waits: false, ..COUNTED },
        &[Fault::FreedList, Fault::FreedNote],
    ),
];

/// Ours in each scene, and ours broken in one place in the scene where that is to be seen; with the faults that must be found, as above.
const OURS: [(Scene, Mutant, &[Fault]); 27] = [
    (RACE, Mutant::Ours, &[]),
    (CONTESTED, Mutant::Ours, &[]),
    (CLOSING, Mutant::Ours, &[]),
    (READERS, Mutant::Ours, &[]),
    (TIMES_OUT, Mutant::Ours, &[]),
    (ONESHOT, Mutant::Ours, &[]),
    (SLOT, Mutant::Ours, &[]),
    (REUSED, Mutant::Ours, &[]),
    (ATTACHING, Mutant::Ours, &[]),
    (UNKNOWN, Mutant::Ours, &[]),
    (ATTACHING_CLOSING, Mutant::Ours, &[]),
    (SLOT, Mutant::SerialUnchecked, &[Fault::FreedNote, Fault::WrongBirth]),
    (RACE, Mutant::AsksAgain, &[Fault::FreedNote, Fault::LostExit]),
    (READERS, Mutant::TwoHolds, &[Fault::LostExit, Fault::ToldTwice]),
    (RACE, Mutant::ExitRemoves, &[Fault::LostExit]),
    // Who sleeps on does not tell the end either.
    (RACE, Mutant::LooksUnlocked, &[Fault::LostExit, Fault::LostWake]),
    (RACE, Mutant::ArmsLate, &[Fault::LostExit, Fault::LostWake]),
    (TIMES_OUT, Mutant::NoHeir, &[Fault::LostExit, Fault::LostWake]),
    (ATTACHING, Mutant::BindsBlind, &[Fault::LostExit]),
    (UNKNOWN, Mutant::NoBaton, &[Fault::LostExit]),
    (REUSED, Mutant::NoPump, &[Fault::LostExit, Fault::WrongBirth]),
    (REUSED, Mutant::ByPid, &[Fault::LostExit, Fault::WrongBirth]),
    (REUSED, Mutant::ForgetsBirths, &[Fault::LostExit, Fault::WrongBirth]),
    (REUSED, Mutant::ExitOfYoungest, &[Fault::LostExit, Fault::WrongBirth]),
    (CROSSED, Mutant::Ours, &[Fault::LostExit, Fault::WrongBirth]),
    (CLOSING, Mutant::MarksUnlocked, &[Fault::NullList, Fault::NullLock, Fault::FreedList]),
    (
        ONESHOT,
        Mutant::UnlocksByProcess,
        &[Fault::ReturnsWithLock, Fault::SleepsWithLock, Fault::CopiesWithLock, Fault::Hang],
    ),
];

/// A row of the table. Says in what it is not as expected.
fn row(name: &str, cells: &[(Found, Vec<String>)], expected: &[Fault]) -> Vec<String> {
    let mut wrong = Vec::new();
    print!("{name:28}");
    for (fault, (found, trace)) in ALL_FAULTS.into_iter().zip(cells) {
        let cell = match found {
            Found::Yes { steps } => steps.to_string(),
            Found::No { states } => format!("({states})"),
        };
        print!("{cell:>16}");
        if matches!(found, Found::Yes { .. }) != expected.contains(&fault) {
            wrong.push(format!("{name}: {fault:?}: {found:?}: {}", trace.join(" ")));
        }
    }
    // Those for which the model has nothing in which they could be.
    ALL_FAULTS.iter().skip(cells.len()).for_each(|_| print!("{:>16}", "."));
    println!();
    wrong
}

/// One test, so that the table is one.
#[test]
fn faults_by_algorithm() {
    print!("{:28}", "steps to it, or (states)");
    ALL_FAULTS.iter().for_each(|fault| print!("{:>16}", fault.name()));
    println!();
    let mut wrong = Vec::new();
    for (algorithm, expected) in KERNELS {
        wrong.extend(row(algorithm.name, &FAULTS.map(|fault| search(algorithm, fault)), expected));
    }
    for (scene, mutant, expected) in OURS {
        wrong.extend(row(mutant.name().unwrap_or(scene.name), &ours::search(scene, mutant), expected));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
