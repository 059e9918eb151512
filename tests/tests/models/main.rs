//! Models of the algorithms that came before, searched to the end for each fault by itself. Prints the table fault x
//! algorithm; each cell is asserted.

mod algorithm;
mod bug2016;

use algorithm::{Algorithm, FAULTS, Fault, Memory, Way};
use bug2016::{Found, search};

/// The kernels of the report.
const REPORT: Algorithm = Algorithm {
    name: "report",
    lock: Way::Reread,
    unlock: Way::Reread,
    exit_clears_pointer: true,
    memory: Memory::ClearedAtReap,
    filter_needs_process: false,
    exit_skips_scanned: false,
    delete_waits: true,
    deletes: false,
};

/// The patch that was turned down: the exit leaves the pointer alone.
const KEPT: Algorithm =
    Algorithm { name: "pointer kept", exit_clears_pointer: false, memory: Memory::TypeStable, ..REPORT };

/// What is locked is remembered, and unlocked; a list that outlives its process until its last note goes.
const COUNTED: Algorithm = Algorithm {
    name: "counted list",
    lock: Way::Remembered,
    unlock: Way::Remembered,
    exit_clears_pointer: false,
    memory: Memory::Counted,
    deletes: true,
    ..REPORT
};

/// The smallest repair: what is locked is remembered, and lists stay for ever.
const TOKEN: Algorithm = Algorithm {
    name: "lock remembered",
    exit_clears_pointer: true,
    memory: Memory::TypeStable,
    deletes: false,
    ..COUNTED
};

/// Each algorithm with the faults that it must be found to have. It must be found to have no other.
const EXPECTED: [(Algorithm, &[Fault]); 10] = [
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

#[test]
fn bug2016() {
    let mut wrong = Vec::new();
    print!("{:28}", "steps to it, or (states)");
    FAULTS.iter().for_each(|fault| print!("{:>16}", format!("{fault:?}")));
    println!();
    for (algorithm, expected) in EXPECTED {
        print!("{:28}", algorithm.name);
        for fault in FAULTS {
            let (found, trace) = search(algorithm, fault);
            let cell = match found {
                Found::Yes { steps } => steps.to_string(),
                Found::No { states } => format!("({states})"),
            };
            print!("{cell:>16}");
            if matches!(found, Found::Yes { .. }) != expected.contains(&fault) {
                wrong.push(format!("{}: {fault:?}: {found:?}: {}", algorithm.name, trace.join(" ")));
            }
        }
        println!();
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
