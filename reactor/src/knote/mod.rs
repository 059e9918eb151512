//! Knotes: what is kept of one registration of one process with one queue.
//!
//! ```text
//!                EV_ADD                              Fork, Exec, TrackError
//!                  │                                     ┌──────┐ collected |= what was asked for
//!                  ▼        Attached                     ▼      │
//!            ┌───────────┐ ──────────────────────────► ┌──────────┐ ─── Take, EV_ONESHOT ──────────┐
//!            │ Attaching │                             │   Live   │                                │
//!            └───────────┘ ──┐                         └──────────┘ ◄─ Take: told, nothing collected
//!                  │         │ AttachedTooLate            │    │                                  │
//!                  │         │ (a zombie, with status)    │    │ Exit: NOTE_EXIT and data,        │
//!           Delete │         │                     Delete │    │       if it was asked for        │
//!                  │         │                            │    ▼                                  │
//!                  │         └───────────────────────────►│ ┌──────────┐ ── Take: told with EV_EOF ┤
//!                  │                                      │ │  Ended   │                           │
//!                  │                                      │ └──────────┘ ── Take, nothing to tell ─┤
//!                  ▼                                      ▼    │ Delete                            ▼
//!            ┌─────────────────────────────────────────────────▼─────────────────────────────────────┐
//!            │ Gone                                                                                  │
//!            └───────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Beside its life a note is enabled or disabled. It is on its queue's ready list exactly if it is enabled and has collected
//! something, or has ended with nothing to tell.
//!
//! 1. A note is known by its key ([`list::NoteKey`]), from outside its queue: the slot and a serial that is given once. There is
//!    no pointer to a note, and none in a note. A key whose note is gone finds nothing (K1).
//! 2. A note belongs to its queue, and everything of it is under the queue's lock, which is a leaf: who holds it takes no other but
//!    a waker's slot, and calls nobody (K3, K5).
//! 3. A process has a list of keys, under the lock of the process table, which is taken before a queue's lock and never after. The list
//!    is no way to a lock: it says which queue and which slot, and both are looked up.
//! 4. The exit of a process takes the process out of the table with its list, and marks the notes of the list. It removes none: a note
//!    is removed by whoever reads its last event, by `EV_DELETE` or by the closing of its queue (K3).
//! 5. A scan takes a note off the ready list, reads it and puts it back, or removes it, in one hold of the lock. There is no moment at
//!    which a note is being scanned and others can see it: nothing is "in flux", and nobody waits for it. So a scan has no question to ask
//!    a second time, and an exit cannot come between its halves (the report of 2016, and the loss in its fix).
//! 6. What is collected goes with the note's reading or removal, and with nothing else; disabling keeps it (K6, C12).
//! 7. `Attaching`: the note is there for changes (a second `EV_ADD` modifies it, `EV_DELETE` and closing take it away) but on no
//!    process's list. What happened before it was bound is not its own (K7). When the source has been asked it is bound, under
//!    the table's lock: to a living process, or to a zombie, whose end it then tells at once (C4); or it goes, and the change
//!    fails.
//! 8. A note is on one birth of a pid. A pid that is used again has other notes (C8, C39).
//! 9. A tracked fork makes, under both locks and before the parent's NOTE_FORK, two notes or none: one that tells of the child, once
//!    and never more than that, and one on the child that inherits what the parent's asks for (C25). They come to the ready list in
//!    that order, so NOTE_CHILD is the first of a child that is told (C28). Where there is no room, the parent's note says so (C30).
//! 10. NOTE_EXIT is collected last, for nothing is collected by a note that has ended; it is told last, for the note goes with it (C20).

pub(crate) mod list;
pub(crate) mod ready;
pub(crate) mod state;
#[cfg(test)]
mod state_tests;
pub(crate) mod table;
pub(crate) mod user;
