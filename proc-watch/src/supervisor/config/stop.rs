//! How a service is stopped: a ladder of signals, or the usual one with another time.

use std::time::Duration;

use crate::stop::{Rung, StopPlan, Whom};
use crate::supervisor::config::fault::Faults;
use crate::supervisor::config::item::Item;
use crate::supervisor::config::scalar;

const STOP: &str =
    "a time, an array of steps like { signal = \"TERM\", to = \"leader\", wait = \"5s\" }, or a table";
const STEP: &str = "a table with `signal`, `to`, `wait`";
const SIGKILL: i32 = 9;

/// A time, a ladder, or a table with either and more.
pub(super) fn stop(item: &Item<'_>, faults: &mut Faults) -> Option<StopPlan> {
    if item.is_array() {
        return ladder(item, faults);
    }
    if !item.is_table() {
        return Some(usual(scalar::time_or(STOP, item, faults)?));
    }
    let before = faults.len();
    let table = item.table(&["wait", "ladder", "follow", "resume", "progress_every"], STOP, faults)?;
    let wait = table.read("wait", faults, scalar::time).map(usual);
    let ladder = table.read("ladder", faults, ladder);
    if table.get("wait").is_some() && table.get("ladder").is_some() {
        return item
            .cannot_be("one of `wait` and `ladder`: each step of a ladder has a time of its own", faults);
    }
    let mut plan = wait.or(ladder).unwrap_or_default();
    if let Some(time) = table.read("follow", faults, scalar::time) {
        plan = plan.follow(time);
    }
    if let Some(resume) = table.read("resume", faults, scalar::boolean) {
        plan = plan.resume(resume);
    }
    if let Some(time) = table.read("progress_every", faults, scalar::some_time) {
        plan = plan.progress_every(time);
    }
    (faults.len() == before).then_some(plan)
}

/// The default, with so much time for the leader before all others are asked to end too.
fn usual(wait: Duration) -> StopPlan {
    let mut plan = StopPlan::default();
    plan.rungs[0].grace = wait;
    plan
}

fn ladder(item: &Item<'_>, faults: &mut Faults) -> Option<StopPlan> {
    let Some(steps) = item.elements() else { return item.is_no("an array of steps", faults) };
    if steps.is_empty() {
        return item.cannot_be("one step at least: else it would never be stopped", faults);
    }
    // Each, so that the faults of all are told.
    let rungs: Vec<_> = steps.iter().map(|step| rung(step, faults)).collect();
    let rungs: Vec<Rung> = rungs.into_iter().collect::<Option<_>>()?;
    Some(StopPlan { rungs, ..StopPlan::empty() })
}

/// To everybody, and with the time that the default has, where nothing else is said.
fn rung(item: &Item<'_>, faults: &mut Faults) -> Option<Rung> {
    let before = faults.len();
    let table = item.table(&["signal", "to", "wait"], STEP, faults)?;
    let want = "the name or the number of a signal";
    let signal = table.require("signal", want, faults, scalar::signal);
    let whom = table.read("to", faults, |item, faults| {
        scalar::one_of(&[("leader", Whom::Leader), ("tree", Whom::Tree)], item, faults)
    });
    let grace = table.read("wait", faults, scalar::time);
    if faults.len() > before {
        return None;
    }
    let signal = signal?;
    let plan = StopPlan::default();
    let usual = plan.rungs.iter().rev().find(|rung| (rung.signal == SIGKILL) == (signal == SIGKILL));
    let grace = grace.or(usual.map(|rung| rung.grace))?;
    Some(Rung { whom: whom.unwrap_or(Whom::Tree), signal, grace })
}
