//! How long after a child's end its parent knows: by tokio's own wait, by ours, and by our stream.
//!
//! The child sleeps for 2 ms, so that everybody is asleep again who was busy with its start, writes the time into
//! memory that it shares with its parent, and ends. Latency is from there to when the parent has the news, and includes
//! what the kernel does to end a process, alike for all.

mod ways;

use std::error::Error;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::Duration;

use benches::options::{self, Options};
use benches::spread::{Spread, percentile};
use benches::stamp::Stamp;
use benches::table::{Table, goal};
use benches::{machine, sys};

use ways::{RUNTIMES, Runtimes, WAYS, Way};

/// How long the child lives before it stamps.
const LIFE: Duration = Duration::from_millis(2);

fn main() -> ExitCode {
    let result = match options::role() {
        Some(_) => child(),
        None => measure(&Options::from_command_line()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("latency: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Parts of a round, by turns: the machine's speed drifts within one.
const SLICES: usize = 20;

/// The child. Its standard input is what it writes the time to.
fn child() -> Result<(), Box<dyn Error>> {
    let stamp = Stamp::of(std::io::stdin().as_fd())?;
    stamp.clear();
    std::thread::sleep(LIFE);
    stamp.stamp();
    sys::exit_now()
}

/// Both percentiles, in µs, of each round.
#[derive(Default)]
struct Series {
    p50: Vec<f64>,
    p99: Vec<f64>,
}

fn measure(options: &Options) -> Result<(), Box<dyn Error>> {
    if let Some(cpu) = options.pin {
        sys::pin(cpu)?;
    }
    let (rounds, iterations) = (options.rounds(7, 1), options.iterations(2_000, 200));
    println!("# Latency of a child's exit\n\n{}", machine::describe());
    println!(
        "{rounds} rounds of {iterations} children each, by turns in {SLICES} slices{}. Medians of the rounds (least to most); ratios are \
         formed within each round. Times in µs.{}\n",
        options.pin.map_or(String::new(), |cpu| format!(", on processor {cpu} alone")),
        if options.quick { " **Quick: the numbers mean nothing.**" } else { "" },
    );
    let mut wanted: Vec<Way> = WAYS.into_iter().filter(|way| options.wants(way.name())).collect();
    wanted.retain(|way| match way.refused() {
        None => true,
        Some(reason) => {
            println!("SKIPPED: {}: {reason}\n", way.name());
            false
        }
    });
    for runtime in RUNTIMES {
        let mut all: Vec<Series> = wanted.iter().map(|_| Series::default()).collect();
        for round in 0..rounds {
            let mut latencies = vec![Vec::new(); wanted.len()];
            for turn in 0..wanted.len() * SLICES {
                let index = (round + turn) % wanted.len();
                latencies[index].extend(ways::run(runtime, wanted[index], iterations / SLICES as u64)?);
            }
            for (series, mut latencies) in all.iter_mut().zip(latencies) {
                let mut micros = |share| percentile(&mut latencies, share) as f64 / 1_000.0;
                series.p50.push(micros(0.5));
                series.p99.push(micros(0.99));
            }
            eprintln!("{}: round {} of {rounds}", runtime.name(), round + 1);
        }
        report(runtime, &wanted, &all);
    }
    println!("{}", machine::at_the_end());
    Ok(())
}

fn report(runtime: Runtimes, ways: &[Way], all: &[Series]) {
    let nothing = Series::default();
    let find = |way: Way| ways.iter().position(|other| *other == way).map_or(&nothing, |index| &all[index]);
    let tokio = find(Way::Tokio);
    let ratio = |a: &[f64], b: &[f64]| Spread::pairwise(a, b, |a, b| a / b);
    let mut table = Table::new(["by", "p50", "p99", "p50 to tokio's", "p99 to tokio's"]);
    for (way, series) in ways.iter().zip(all) {
        let mut row = vec![
            way.name().to_owned(),
            Spread::of(series.p50.iter().copied()).to_string(),
            Spread::of(series.p99.iter().copied()).to_string(),
        ];
        if *way != Way::Tokio {
            row.push(format!("{:.2}", ratio(&series.p50, &tokio.p50)));
            row.push(format!("{:.2}", ratio(&series.p99, &tokio.p99)));
        }
        table.row(row);
    }
    println!("## {}\n\n{table}", runtime.name());
    let (wait, stream) = (find(Way::Wait), find(Way::Stream));
    println!("{}", goal("our wait's p50, to tokio's", ratio(&wait.p50, &tokio.p50).median, 1.1, ""));
    println!("{}", goal("our wait's p99, to tokio's", ratio(&wait.p99, &tokio.p99).median, 1.25, ""));
    println!("{}", goal("the stream's p50, to tokio's", ratio(&stream.p50, &tokio.p50).median, 1.25, ""));
    let perf = find(Way::StreamPerf);
    println!("{}\n", goal("perf's stream's p50, to tokio's", ratio(&perf.p50, &tokio.p50).median, 1.25, ""));
}
