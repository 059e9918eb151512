//! Races that happened elsewhere, one test each. The first half of a test is a small model of what was done there, in which the
//! fault must be found; the second half does the same to the queue and must not have it: with real threads over the scripted source,
//! with real processes where these are needed, or in the model of the queue. Each prints a line: what it is, in how many steps the fault is
//! reached, and what was run of ours.
//!
//! A model of a race is made after what its public report says of it, and has no more in it than the race. The reports: FreeBSD's by
//! problem report (PR), review (D) or revision (r), the others' by repository and number.

#[path = "../models/algorithm.rs"]
#[expect(dead_code, reason = "the models' test uses all of it")]
mod algorithm;
#[path = "../models/bug2016/mod.rs"]
mod bug2016;
#[path = "../models/known.rs"]
#[expect(dead_code, reason = "the models' test uses all of it")]
mod known;
#[path = "../models/ours/mod.rs"]
#[expect(dead_code, reason = "the models' test uses all of it")]
mod ours;

mod bench;
mod freebsd_events;
mod freebsd_lists;
mod gate;
mod interleave;
mod libuv;
mod others;
