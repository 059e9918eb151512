//! What lock guards a note? One for all there is, one for each process's list of notes, one for each note, or one for
//! each queue with all of its notes in it.
//!
//! Each variant is as small as it can be and right, which its tests show; no kernel is asked and nobody sleeps. A
//! reader that finds nothing yields.

mod gathered;
mod keys;
mod list;
mod lock;
mod memory;
mod note;
mod notes;
mod slots;
mod source;
#[cfg(test)]
mod tests;
mod work;

use std::process::ExitCode;

use benches::options::Options;
use benches::spread::Spread;
use benches::table::Table;
use benches::{machine, sys};

use gathered::Gathered;
use keys::Keys;
use list::LockAList;
use note::LockANote;
use notes::{BATCH, Notes};
use source::Source;
use work::{Crowd, Idle, Sample};

/// A piece of work, and what its columns are called.
struct Work {
    name: &'static str,
    short: &'static str,
    what: Kind,
    unit: &'static str,
    other: Option<&'static str>,
}

#[derive(Clone, Copy)]
enum Kind {
    Alone { batch: usize },
    Lives(Crowd),
    Churn,
    Strangers { work: u32 },
}

const fn lives(
    name: &'static str,
    short: &'static str,
    scanners: usize,
    queues: usize,
    everywhere: bool,
) -> Work {
    let what = Kind::Lives(Crowd { scanners, queues, everywhere });
    Work { name, short, what, unit: "ns a change", other: None }
}

const WORKS: [Work; 10] = [
    Work {
        name: "One thread: a change, a scan",
        short: "change, scan",
        what: Kind::Alone { batch: 1 },
        unit: "ns an event",
        other: None,
    },
    Work {
        name: "One thread: 64 changes, a scan of 64 events",
        short: "64, scan",
        what: Kind::Alone { batch: BATCH },
        unit: "ns an event",
        other: None,
    },
    lives("Two threads: changes, scans of 1 queue", "1 scans 1", 1, 1, false),
    lives("Two threads: changes, scans of 16 queues", "1 scans 16", 1, 16, false),
    lives("Changes, four threads that scan 1 queue", "4 scan 1", 4, 1, false),
    lives("Changes, four threads that scan 4 of 16 queues each", "4 scan 16", 4, 16, false),
    lives("The same with a note of every queue on each process", "16 notes each", 4, 16, true),
    Work {
        name: "Two threads: changes and scans, registering and deleting",
        short: "churn",
        what: Kind::Churn,
        unit: "ns a change",
        other: Some("p90 of register and delete, ns"),
    },
    Work {
        name: "Two threads: changes of strangers (63 of 64), scans",
        short: "strangers",
        what: Kind::Strangers { work: 0 },
        unit: "p90 of a scan, ns",
        other: Some("p99 of a scan, ns"),
    },
    Work {
        name: "The same with 100 ns of other work for each change, about",
        short: "strangers, work",
        what: Kind::Strangers { work: 60 },
        unit: "p90 of a scan, ns",
        other: Some("p99 of a scan, ns"),
    },
];

/// A variant, by what can be done with it.
struct Variant {
    name: &'static str,
    run: fn(Kind, u64) -> Sample,
    idle: fn() -> Idle,
}

const fn variant<N: Notes>() -> Variant {
    Variant { name: N::NAME, run: run::<N>, idle: work::idle::<N> }
}

const VARIANTS: [Variant; 6] = [
    variant::<Keys>(),
    variant::<Gathered>(),
    variant::<Source>(),
    variant::<LockAList<true>>(),
    variant::<LockAList<false>>(),
    variant::<LockANote>(),
];

/// One slice of so many changes or events, or so.
fn run<N: Notes>(what: Kind, iterations: u64) -> Sample {
    match what {
        Kind::Alone { batch } => work::alone::<N>(batch, iterations),
        Kind::Lives(crowd) => {
            let share = if crowd.everywhere { crowd.queues as u64 } else { 1 };
            work::lives::<N>(crowd, (iterations / 3 / share).max(1))
        }
        Kind::Churn => work::churn::<N>(iterations),
        Kind::Strangers { work } => work::strangers::<N>(work, iterations / 16),
    }
}

/// Parts of a round, by turns: the machine's speed drifts within one.
const SLICES: usize = 30;

/// The medians of each round's slices.
#[derive(Default)]
struct Series {
    cost: Vec<f64>,
    other: Vec<f64>,
    /// The same to the first variant's of the same slice.
    cost_ratio: Vec<f64>,
    other_ratio: Vec<f64>,
    locks: Vec<f64>,
    waited: Vec<f64>,
}

impl Series {
    fn add(&mut self, slices: &[Sample], first: &[Sample]) {
        let median = |of: fn(&Sample) -> f64| Spread::of(slices.iter().map(of)).median;
        let ratio = |of: fn(&Sample) -> f64| {
            Spread::of(slices.iter().zip(first).map(|(slice, first)| of(slice) / of(first))).median
        };
        self.cost.push(median(|slice| slice.cost));
        self.other.push(median(|slice| slice.other));
        self.cost_ratio.push(ratio(|slice| slice.cost));
        self.other_ratio.push(ratio(|slice| slice.other));
        self.locks.push(median(|slice| slice.locks));
        self.waited.push(median(|slice| slice.waited * 100.0));
    }
}

fn main() -> ExitCode {
    let options = Options::from_command_line();
    println!("# Locks\n\n{}\n", machine::describe());
    match options.pin {
        Some(cpu) => {
            if let Err(error) = sys::pin(cpu) {
                eprintln!("locks: {error}");
                return ExitCode::FAILURE;
            }
        }
        None => work::spread(),
    }
    measure(&options);
    ExitCode::SUCCESS
}

fn measure(options: &Options) {
    let (rounds, iterations) = (options.rounds(9, 2), options.iterations(49_152, 3_072));
    println!(
        "{rounds} rounds of {SLICES} slices of {iterations} changes or events, variants by turns, {}. A round is the median of \
         its slices; shown is the median of the rounds (least to most). Ratios are to the first row, formed within each \
         slice.{}\n",
        options.pin.map_or_else(
            || "threads spread over the processors".to_owned(),
            |cpu| format!("all on processor {cpu}"),
        ),
        if options.quick { " **Quick: the numbers mean nothing.**" } else { "" },
    );
    let works: Vec<&Work> = WORKS.iter().filter(|work| options.wants(work.short)).collect();
    let all: Vec<Vec<Series>> = works.iter().map(|work| series(work, rounds, iterations)).collect();
    println!("## Ratios to the first row\n\n{}", summary(&works, &all));
    for (work, series) in works.iter().zip(&all) {
        println!("## {} ({})\n\n{}", work.name, work.short, report(work, series));
    }
    println!("## Memory of an idle note\n\n{}", memory());
}

fn series(work: &Work, rounds: usize, iterations: u64) -> Vec<Series> {
    let mut all: Vec<Series> = VARIANTS.iter().map(|_| Series::default()).collect();
    for round in 0..rounds {
        let mut slices = vec![Vec::new(); VARIANTS.len()];
        for turn in 0..VARIANTS.len() * SLICES {
            let index = (round + turn) % VARIANTS.len();
            slices[index].push((VARIANTS[index].run)(work.what, iterations));
        }
        for (series, own) in all.iter_mut().zip(&slices) {
            series.add(own, &slices[0]);
        }
    }
    eprintln!("{}", work.name);
    all
}

fn of(rounds: &[f64]) -> Spread {
    Spread::of(rounds.iter().copied())
}

fn summary(works: &[&Work], all: &[Vec<Series>]) -> String {
    let mut text = String::new();
    // Two tables: more columns than these nobody reads.
    for (works, all) in works.chunks(5).zip(all.chunks(5)) {
        let mut headings = vec!["lock"];
        for work in works {
            headings.push(work.short);
            if work.other.is_some() {
                headings.push(if matches!(work.what, Kind::Churn) { "the other's" } else { "p99" });
            }
        }
        let mut table = Table::of(headings);
        for (index, variant) in VARIANTS.iter().enumerate() {
            let mut row = vec![variant.name.to_owned()];
            for (work, series) in works.iter().zip(all) {
                row.push(format!("{:.2}", of(&series[index].cost_ratio).median));
                if work.other.is_some() {
                    row.push(format!("{:.2}", of(&series[index].other_ratio).median));
                }
            }
            table.row(row);
        }
        text += &format!("{table}\n");
    }
    text
}

fn report(work: &Work, all: &[Series]) -> Table {
    let mut headings = vec!["lock", work.unit, "to keys'"];
    headings.extend(work.other.into_iter().flat_map(|other| [other, "to keys'"]));
    headings.extend(["locks taken each", "of them not at once, %"]);
    let mut table = Table::of(headings);
    for (variant, series) in VARIANTS.iter().zip(all) {
        let mut row = vec![
            variant.name.to_owned(),
            of(&series.cost).to_string(),
            format!("{:.2}", of(&series.cost_ratio)),
        ];
        if work.other.is_some() {
            row.push(of(&series.other).to_string());
            row.push(format!("{:.2}", of(&series.other_ratio)));
        }
        row.push(format!("{:.2}", of(&series.locks).median));
        row.push(format!("{:.1}", of(&series.waited).median));
        table.row(row);
    }
    table
}

fn memory() -> Table {
    let mut table = Table::new([
        "lock",
        "bytes, a process's first",
        "blocks",
        "bytes, a second on another queue",
        "blocks",
    ]);
    for variant in &VARIANTS {
        let Idle { first, second } = (variant.idle)();
        let cells = [first.0, first.1, second.0, second.1].map(|number| format!("{number:.1}"));
        table.row([variant.name.to_owned()].into_iter().chain(cells).collect());
    }
    table
}
