//! The table of one workload.

use std::io;

use benches::options::Options;
use benches::spread::Spread;
use benches::table::{Table, goal};
use benches::workload::Workload;

use crate::run::{Bench, Run};
use crate::watchers::{BARE, BARE_PERF, CN_PROC, FORKSTAT, NONE, PERF, Watcher};

/// All rounds of one watcher.
#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) watcher: &'static Watcher,
    /// The slices of each round.
    rounds: Vec<Vec<Run>>,
    pub(crate) failed: Option<String>,
}

/// A number for each slice of each round.
type Values = Vec<Vec<f64>>;

impl Series {
    pub(crate) fn new(watcher: &'static Watcher) -> Self {
        Self { watcher, rounds: Vec::new(), failed: None }
    }

    pub(crate) fn begin_round(&mut self) {
        self.rounds.push(Vec::new());
    }

    pub(crate) fn add(&mut self, run: Run) {
        self.rounds.last_mut().expect("a round has begun").push(run);
    }

    /// It is left out from now on, and what it had measured before too: slices are compared one by one.
    pub(crate) fn fail(&mut self, error: &io::Error) {
        eprintln!("SKIPPED: {}: {error}", self.watcher.name);
        self.failed = Some(error.to_string());
        self.rounds.clear();
    }

    fn runs(&self) -> impl Iterator<Item = &Run> {
        self.rounds.iter().flatten()
    }

    /// µs an iteration.
    fn micros(&self, bench: &Bench<'_>, value: impl Fn(&Run) -> u64) -> Values {
        let micros = |run: &Run| value(run) as f64 / bench.iterations as f64 / 1_000.0;
        self.rounds.iter().map(|slices| slices.iter().map(micros).collect()).collect()
    }

    fn worst(&self, value: impl Fn(&Run) -> Option<u64>) -> String {
        self.runs().filter_map(value).max().map_or("".into(), |worst| worst.to_string())
    }

    /// Of the fewest that it saw in any slice, against what there was to see.
    fn events(&self, bench: &Bench<'_>) -> String {
        let fewest = self.runs().filter_map(|run| run.seen).min();
        fewest.map_or("".into(), |fewest| format!("{fewest}/{}", bench.expected()))
    }
}

fn pairwise(a: &Values, b: &Values, combine: impl Fn(f64, f64) -> f64) -> Values {
    let round = |(a, b): (&Vec<f64>, &Vec<f64>)| a.iter().zip(b).map(|(a, b)| combine(*a, *b)).collect();
    a.iter().zip(b).map(round).collect()
}

/// Each round by the median of its slices.
fn spread(values: &Values) -> Spread {
    let rounds = values.iter().map(|slices| Spread::of(slices.iter().copied()).median);
    Spread::of(rounds.filter(|median| !median.is_nan()))
}

/// How it was measured.
pub(crate) fn method(options: &Options, rounds: usize, slices: u64, group: bool) -> String {
    let pin = options.pin.map_or("on all processors".to_owned(), |cpu| format!("on processor {cpu} alone"));
    let account = if group {
        "CPU is what a control group with the workload and the watcher in it was charged; \"by clocks\" says it again by \
         the workload's resource usage and the watcher's process clock, which miss what a process does after its parent \
         knew of its end"
    } else {
        "CPU is the workload's resource usage with its children's and the watcher's process clock (there was no control \
         group to be had)"
    };
    format!(
        "{rounds} rounds of {slices} slices, watchers interleaved, {pin}. {account}. Neither includes starts and ends of \
         the watcher or the workload. Differences and ratios are formed within each slice; a round is the median of its \
         slices; shown is the median of the rounds (least to most). Only what is added to bare's is a ratio of each round's \
         medians; bare is the bare reader of the same source (cn_proc's, for both). Times in µs. A change is a birth, an exec or an exit. \
         Events: the fewest that were seen in any slice, of the workload's (ours and bare perf, which tell whose they are), or of \
         the whole machine (bare cn_proc). The watcher's own CPU is that of its process: it has not in it what \
         watching costs the watched, but neither how the watched vary. Dropped: records that the kernel could not put into the watcher's socket or ring, or that the \
         watcher says it missed, in the worst slice.{}",
        if options.quick { " **Quick: the numbers mean nothing.**" } else { "" }
    )
}

/// What one added, to what another did, of the medians of each round: a ratio of the small differences of single slices
/// is mostly noise.
fn of_medians(ours: &Values, theirs: &Values) -> Spread {
    let medians = |values: &Values| -> Vec<f64> {
        values.iter().map(|slices| Spread::of(slices.iter().copied()).median).collect()
    };
    Spread::pairwise(&medians(ours), &medians(theirs), |ours, theirs| ours / theirs)
}

pub(crate) fn of(bench: &Bench<'_>, slices: u64, all: &[Series]) -> String {
    let find = |name: &str| {
        let series = all.iter().find(|series| series.watcher.name == name);
        series.map(|series| series.micros(bench, Run::cpu)).unwrap_or_default()
    };
    let (none, forkstat) = (find(NONE), find(FORKSTAT));
    let changes = bench.workload.changes() as f64;
    let added = |cpu: &Values| pairwise(cpu, &none, |cpu, none| cpu - none);
    let added_a_change = |cpu: &Values| spread(&pairwise(cpu, &none, |cpu, none| (cpu - none) / changes));
    let over_bare =
        |cpu: &Values, bare: &str| spread(&pairwise(cpu, &find(bare), |cpu, bare| (cpu - bare) / changes));
    let of_bare = |cpu: &Values, bare: &str| of_medians(&added(cpu), &added(&find(bare)));
    let of_forkstat =
        |cpu: &Values| spread(&pairwise(&added(cpu), &added(&forkstat), |ours, theirs| ours / theirs));

    let own_a_change = |series: &Series| {
        let own = series.micros(bench, |run| run.watcher);
        pairwise(&own, &own, |own, _| own / changes)
    };

    let mut table = Table::new([
        "watcher",
        "CPU an iteration",
        "added",
        "to none",
        "added a change",
        "a change over bare",
        "added to bare's",
        "added to forkstat's",
        "watcher's own a change",
        "CPU by clocks",
        "wall",
        "events",
        "dropped",
    ]);
    for series in all {
        let Watcher { name, bare, .. } = *series.watcher;
        if series.failed.is_some() {
            table.row(vec![name.into(), "SKIPPED".into()]);
            continue;
        }
        let cpu = series.micros(bench, Run::cpu);
        let unless = |names: &[&str], text: String| if names.contains(&name) { String::new() } else { text };
        let to_bare =
            |text: &dyn Fn(&str) -> Spread| bare.map_or(String::new(), |bare| format!("{:.2}", text(bare)));
        table.row(vec![
            name.into(),
            spread(&cpu).to_string(),
            unless(&[NONE], spread(&added(&cpu)).to_string()),
            unless(&[NONE], format!("{:.2}", spread(&pairwise(&cpu, &none, |cpu, none| cpu / none)))),
            unless(&[NONE], format!("{:.2}", added_a_change(&cpu))),
            to_bare(&|bare| over_bare(&cpu, bare)),
            to_bare(&|bare| of_bare(&cpu, bare)),
            unless(&[NONE, FORKSTAT], format!("{:.2}", of_forkstat(&cpu))),
            unless(&[NONE], format!("{:.2}", spread(&own_a_change(series)))),
            spread(&series.micros(bench, |run| run.clocks)).to_string(),
            spread(&series.micros(bench, |run| run.wall)).to_string(),
            series.events(bench),
            series.worst(|run| run.dropped.max(run.missed)),
        ]);
    }
    let foreign = Spread::of(all.iter().flat_map(Series::runs).map(|run| run.foreign as f64));
    let (cn_proc, perf) = (find(CN_PROC), find(PERF));
    let mut goals = vec![
        goal("cn_proc: a change over bare", over_bare(&cn_proc, BARE).median, 3.0, "µs"),
        goal("cn_proc: what it adds, to what forkstat adds", of_forkstat(&cn_proc).median, 0.4, ""),
    ];
    if bench.workload == Workload::Fork {
        goals.extend([
            goal("perf: what it adds, to what bare adds", of_bare(&perf, BARE_PERF).median, 1.3, ""),
            goal("perf: what it adds, to what forkstat adds", of_forkstat(&perf).median, 0.6, ""),
        ]);
    }
    let skipped: String = all
        .iter()
        .filter_map(|series| {
            Some(format!("SKIPPED: {}: {}\n\n", series.watcher.name, series.failed.as_ref()?))
        })
        .collect();
    format!(
        "## {}: {} iterations a round\n\n{table}\n{skipped}Others made {foreign:.0} processes and threads during a slice.\n\n{}\n",
        bench.workload.title(),
        bench.iterations * slices,
        goals.join("\n"),
    )
}
