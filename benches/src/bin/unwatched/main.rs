//! What a watcher costs those whom it does not watch: the processor time of a workload while the watcher follows another
//! tree, in which nothing happens, against that without a watcher.
//!
//! Only the workload is accounted for, and the watcher sleeps. The row "none again" is the same as "none": what it differs by is
//! what cannot be told apart here.

mod parts;
mod report;

use std::error::Error;
use std::io;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

use benches::account::{Group, Reading};
use benches::options::{self, Options};
use benches::part::{self, LONG_PATIENCE, PATIENCE, Part};
use benches::workload::{Workload, say_failed};
use benches::{machine, sys};

use report::{Run, Series};

/// Watchers that the workload has nothing to do with: name, role and arguments; none for nobody.
const WATCHERS: [(&str, &[&str]); 5] = [
    (report::NONE, &[]),
    (report::AGAIN, &[]),
    ("bare perf", &["bare-perf"]),
    (report::PERF, &["proc-watch", "perf"]),
    // To compare: it is told of everybody.
    ("ours, cn_proc", &["proc-watch", "cn_proc"]),
];

/// The kernel takes its hooks for perf out of the scheduler a second after the last event was closed.
const UNHOOKED: Duration = Duration::from_millis(1_200);

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
            eprintln!("unwatched: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(options: &Options) -> Result<(), Box<dyn Error>> {
    sys::note_terminations();
    if let Some(cpu) = options.pin {
        sys::pin(cpu)?;
    }
    let rounds = options.rounds(60, 2);
    let iterations = options.iterations(2_000, 200);
    println!("# Who is not watched\n\n{}", machine::describe());
    let group =
        Group::create().inspect_err(|error| eprintln!("no control group ({error}): the clock must do")).ok();
    println!("{}\n", report::method(options, rounds, iterations, group.is_some()));
    let mut all: Vec<Series> = WATCHERS
        .iter()
        .filter(|(name, _)| options.wants(name))
        .map(|(name, words)| Series::new(name, words))
        .collect();
    for round in 0..rounds {
        let count = all.len();
        for turn in 0..count {
            let series = &mut all[(round + turn) % count];
            if series.failed.is_none() {
                match run(series.words, iterations, group.as_ref()) {
                    Ok(run) => series.runs.push(run),
                    Err(error) => series.fail(&error),
                }
            }
            if sys::terminated() {
                return Err("interrupted".into());
            }
        }
        eprintln!("round {} of {rounds}", round + 1);
    }
    println!("{}", report::of(&all));
    println!("{}", machine::at_the_end());
    Ok(())
}

/// The workload once, beside a watcher of another tree.
fn run(watcher: &[&str], iterations: u64, group: Option<&Group>) -> io::Result<Run> {
    let beside = match watcher {
        [] => None,
        [role, arguments @ ..] => {
            let mut command = part::command(role)?;
            command.extend(arguments.iter().map(|word| (*word).to_owned()));
            let mut beside = Part::start(&command)?;
            beside.line("watching", PATIENCE)?;
            Some(beside)
        }
    };
    let mut command = part::command("workload")?;
    command.extend([Workload::Fork.to_string(), iterations.to_string()]);
    let mut workload = match group {
        Some(group) => group.within(|| Part::start(&command))??,
        None => Part::start(&command)?,
    };
    workload.line("ready", PATIENCE)?;
    let before = Reading::when_quiet(group, None)?;
    let births = machine::births();
    workload.go()?;
    let [wall, clocks] = workload.line("done", LONG_PATIENCE)?[..] else {
        return Err(io::Error::other("the workload did not say how long it took"));
    };
    let after = Reading::when_quiet(group, None)?;
    let foreign = (machine::births() - births).saturating_sub(iterations);
    workload.go()?;
    workload.end()?;
    if let Some(mut beside) = beside {
        beside.go()?;
        beside.end()?;
    }
    sleep(UNHOOKED);
    let cpu = after.group.zip(before.group).map_or(clocks, |(after, before)| after - before);
    let an_iteration = |nanos: u64| nanos as f64 / iterations as f64 / 1_000.0;
    Ok(Run { cpu: an_iteration(cpu), wall: an_iteration(wall), foreign })
}
