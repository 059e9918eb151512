//! What watching costs: processor time of a workload and its watcher together, for several watchers.
//!
//! A round is made of slices: in each slice every watcher has its turn at a tenth of the round's iterations, in an order
//! that rotates. Watchers are compared slice by slice, and a round is the median of its slices: machines become
//! slower and faster from one second to the next by more than some watchers cost, and that is to favour nobody. Measured is from when the watcher watches and the workload has warmed up until both
//! have come to rest after the last iteration; no start and no end of either is in it.

mod parts;
mod report;
mod run;
mod watchers;

use std::error::Error;
use std::process::ExitCode;

use benches::account::Group;
use benches::options::{self, Options};
use benches::workload::{Workload, say_failed};
use benches::{machine, sys};

use report::Series;
use run::Bench;
use watchers::WATCHERS;

fn main() -> ExitCode {
    let result = match options::role() {
        Some((role, arguments)) => parts::play(&role, &arguments).inspect_err(|error| {
            // Whoever measures leaves it out then, and says this.
            let _ = say_failed(error.as_ref());
        }),
        None => measure(&Options::from_command_line()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("overhead: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(options: &Options) -> Result<(), Box<dyn Error>> {
    sys::note_terminations();
    if let Some(cpu) = options.pin {
        sys::pin(cpu)?;
    }
    let rounds = options.rounds(7, 1);
    let slices = if options.quick { 1 } else { 10 };
    println!("# Overhead\n\n{}", machine::describe());
    let group =
        Group::create().inspect_err(|error| eprintln!("no control group ({error}): the clocks must do")).ok();
    println!("{}\n", report::method(options, rounds, slices, group.is_some()));
    for (workload, usual, quick) in [(Workload::Fork, 20_000, 400), (Workload::Spawn, 5_000, 100)] {
        let iterations = options.iterations(usual, quick).div_ceil(slices);
        let bench = Bench { workload, iterations, group: group.as_ref() };
        let mut all: Vec<Series> =
            WATCHERS.iter().filter(|watcher| options.wants(watcher.name)).map(Series::new).collect();
        for round in 0..rounds {
            all.iter_mut().for_each(Series::begin_round);
            for slice in 0..slices as usize {
                in_turn(&bench, &mut all, round + slice)?;
            }
            eprintln!("{workload}: round {} of {rounds}", round + 1);
        }
        println!("{}", report::of(&bench, slices, &all));
    }
    println!("{}", machine::at_the_end());
    Ok(())
}

/// One slice: each watcher once, beginning with another each time.
fn in_turn(bench: &Bench<'_>, all: &mut [Series], slice: usize) -> Result<(), Box<dyn Error>> {
    let count = all.len();
    for turn in 0..count {
        let series = &mut all[(slice + turn) % count];
        if series.failed.is_none() {
            match bench.run(series.watcher) {
                Ok(run) => series.add(run),
                Err(error) => series.fail(&error),
            }
        }
        // Not before everything that was started has been ended.
        if sys::terminated() {
            return Err("interrupted".into());
        }
    }
    Ok(())
}
