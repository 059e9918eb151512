//! The algorithms by name, and the scenes in which ours is shown.

use crate::algorithm::{Algorithm, Memory, Way};
use crate::ours::Scene;

/// The kernels of the report.
pub(crate) const REPORT: Algorithm = Algorithm {
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
pub(crate) const KEPT: Algorithm =
    Algorithm { name: "pointer kept", exit_clears_pointer: false, memory: Memory::TypeStable, ..REPORT };

/// What is locked is remembered, and unlocked; a list that outlives its process until its last note goes.
pub(crate) const COUNTED: Algorithm = Algorithm {
    name: "counted list",
    lock: Way::Remembered,
    unlock: Way::Remembered,
    exit_clears_pointer: false,
    memory: Memory::Counted,
    deletes: true,
    ..REPORT
};

/// The smallest repair: what is locked is remembered, and lists stay for ever.
pub(crate) const TOKEN: Algorithm = Algorithm {
    name: "lock remembered",
    exit_clears_pointer: true,
    memory: Memory::TypeStable,
    deletes: false,
    ..COUNTED
};

/// The report's three threads, and a deletion.
pub(crate) const RACE: Scene = Scene {
    name: "ours",
    watched: true,
    oneshot: false,
    known: true,
    contested: false,
    two_notes: false,
    readers: 1,
    times_out: false,
    deletes: true,
    closes: false,
    reuse: false,
    exits_cross: false,
    registers: None,
};
pub(crate) const CONTESTED: Scene = Scene { name: "ours, status asked for", contested: true, ..RACE };
pub(crate) const CLOSING: Scene = Scene { name: "ours, queue closed", closes: true, ..RACE };
pub(crate) const READERS: Scene =
    Scene { name: "ours, two readers", readers: 2, two_notes: true, deletes: false, ..RACE };
pub(crate) const TIMES_OUT: Scene = Scene { name: "ours, one reader leaves", times_out: true, ..READERS };
pub(crate) const ONESHOT: Scene =
    Scene { name: "ours, one event only", oneshot: true, two_notes: true, ..RACE };
pub(crate) const REUSED: Scene =
    Scene { name: "ours, pid used again", reuse: true, registers: Some(1), deletes: false, ..RACE };
/// What the source is believed never to do.
pub(crate) const CROSSED: Scene = Scene { name: "- source crosses exits", exits_cross: true, ..REUSED };
pub(crate) const SLOT: Scene =
    Scene { name: "ours, slot used again", oneshot: true, registers: Some(2), deletes: false, ..RACE };
pub(crate) const ATTACHING: Scene =
    Scene { name: "ours, attaching", watched: false, registers: Some(0), ..RACE };
pub(crate) const UNKNOWN: Scene = Scene { name: "ours, attaching unknown", known: false, ..ATTACHING };
pub(crate) const ATTACHING_CLOSING: Scene =
    Scene { name: "ours, attaching, closed", closes: true, deletes: false, ..UNKNOWN };
