//! The whole queue, its turn and the scripted source under random schedules, by shuttle: `RUSTFLAGS="--cfg
//! proc_reactor_shuttle" cargo test -p proc-reactor --release --lib shuttle_`.
//!
//! Not every schedule, as loom has it, but of everything together and with six threads. `PROC_REACTOR_SHUTTLE_ITERATIONS` says
//! how many schedules each scheduler makes, `SHUTTLE_RANDOM_SEED` which.
//!
//! A schedule that fails is written into `schedules/` beside this file, and what stands there is run again by each test run:
//! rename it to say what it found, mend the fault, and leave it there.

mod explore;
mod life;
