//! The table, with how sure it is.

use std::io;

use benches::options::Options;
use benches::spread::{Spread, percentile_of, sure_of_median};
use benches::table::Table;

pub(crate) const NONE: &str = "none";
pub(crate) const AGAIN: &str = "none again";
pub(crate) const PERF: &str = "ours, perf";

/// One measurement, in µs an iteration.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) cpu: f64,
    pub(crate) wall: f64,
    /// Processes and threads that others made meanwhile.
    pub(crate) foreign: u64,
}

/// All rounds beside one watcher.
#[derive(Debug)]
pub(crate) struct Series {
    name: &'static str,
    pub(crate) words: &'static [&'static str],
    pub(crate) runs: Vec<Run>,
    pub(crate) failed: Option<String>,
}

impl Series {
    pub(crate) fn new(name: &'static str, words: &'static [&'static str]) -> Self {
        Self { name, words, runs: Vec::new(), failed: None }
    }

    /// It is left out from now on, and what it had measured before too: rounds are compared one by one.
    pub(crate) fn fail(&mut self, error: &io::Error) {
        eprintln!("SKIPPED: {}: {error}", self.name);
        self.failed = Some(error.to_string());
        self.runs.clear();
    }

    fn to(&self, other: &Self, value: impl Fn(&Run) -> f64) -> Vec<f64> {
        self.runs.iter().zip(&other.runs).map(|(own, other)| value(own) / value(other)).collect()
    }
}

/// How it was measured.
pub(crate) fn method(options: &Options, rounds: usize, iterations: u64, group: bool) -> String {
    let pin = options.pin.map_or("on all processors".to_owned(), |cpu| format!("on processor {cpu} alone"));
    let account = if group { "its control group" } else { "its and its children's resource usage" };
    format!(
        "{rounds} rounds, each of {iterations} iterations of fork + _exit + waitpid beside each watcher by turns, {pin}. CPU is the \
         workload's by {account}; the watcher's own is not in it. Times in µs, median (quartiles). Ratios are formed within each \
         round, to \"none\" of the same round: their median, the interval that has the true median in it with 95 % \
         certainty (by order statistics), and their quartiles. Before each, a pause until the kernel has taken its hooks for perf \
         out of the scheduler.{}",
        if options.quick { " **Quick: the numbers mean nothing.**" } else { "" }
    )
}

pub(crate) fn of(all: &[Series]) -> String {
    let find = |name: &str| all.iter().find(|series| series.name == name && series.failed.is_none());
    let Some(none) = find(NONE) else { return "nothing to compare with".to_owned() };
    let quartiles = |values: &mut Vec<f64>, digits: usize| {
        let median = Spread::of(values.iter().copied()).median;
        let (low, high) = (percentile_of(values, 0.25), percentile_of(values, 0.75));
        (format!("{median:.digits$}"), format!("{low:.digits$} to {high:.digits$}"))
    };
    let mut table = Table::new([
        "the watcher of another tree",
        "CPU an iteration",
        "CPU to none",
        "95 %",
        "quartiles",
        "wall to none",
        "95 %",
        "quartiles",
    ]);
    let mut skipped = String::new();
    for series in all {
        if let Some(error) = &series.failed {
            table.row(vec![series.name.into(), "SKIPPED".into()]);
            skipped += &format!("SKIPPED: {}: {error}\n\n", series.name);
            continue;
        }
        let mut cpu: Vec<f64> = series.runs.iter().map(|run| run.cpu).collect();
        let (median, apart) = quartiles(&mut cpu, 1);
        let mut row = vec![series.name.to_owned(), format!("{median} ({apart})")];
        if series.name != NONE {
            for value in [|run: &Run| run.cpu, |run: &Run| run.wall] {
                let mut ratios = series.to(none, value);
                let (median, apart) = quartiles(&mut ratios, 3);
                row.extend([median, sure(&ratios), apart]);
            }
        }
        table.row(row);
    }
    let mut foreign: Vec<f64> =
        all.iter().flat_map(|series| &series.runs).map(|run| run.foreign as f64).collect();
    let (foreign, apart) = quartiles(&mut foreign, 0);
    format!(
        "{table}\n{skipped}Others made {foreign} processes and threads during a run (quartiles {apart}).\n\n{}\n",
        verdict(find(PERF).map(|perf| perf.to(none, |run| run.cpu)))
    )
}

fn sure(ratios: &[f64]) -> String {
    sure_of_median(ratios).map_or("too few".into(), |(low, high)| format!("{low:.3} to {high:.3}"))
}

/// Measurable is what the interval excludes.
fn verdict(ratios: Option<Vec<f64>>) -> String {
    let what = "- processes that perf does not watch, to none";
    let Some(ratios) = ratios.filter(|ratios| !ratios.is_empty()) else {
        return format!("{what}: **not measured**");
    };
    let median = Spread::of(ratios.iter().copied()).median;
    match sure_of_median(&ratios) {
        None => format!("{what}: {median:.3}, of too few rounds to say more"),
        Some((low, high)) => {
            let verdict = if low <= 1.0 { "pass" } else { "FAIL" };
            format!(
                "{what}: {median:.3} ({low:.3} to {high:.3}), goal: no more than 1 can be shown: **{verdict}**"
            )
        }
    }
}
