//! Strategies, restarts and budgets.

use crate::supervisor::config::fault::Faults;
use crate::supervisor::config::item::Item;
use crate::supervisor::config::scalar::{self, TIME, fraction, number};
use crate::supervisor::death::{Guard, OnDeath};
use crate::supervisor::policy::{AutoShutdown, Backoff, Intensity, Restart, Strategy};

const BACKOFF: &str = "\"none\", or a table with `first`, `factor`, `most`, `jitter`, `stable_for`";

pub(super) fn strategy(item: &Item<'_>, faults: &mut Faults) -> Option<Strategy> {
    let choices = [
        ("one_for_one", Strategy::OneForOne),
        ("one_for_all", Strategy::OneForAll),
        ("rest_for_one", Strategy::RestForOne),
    ];
    scalar::one_of(&choices, item, faults)
}

pub(super) fn auto_shutdown(item: &Item<'_>, faults: &mut Faults) -> Option<AutoShutdown> {
    let choices = [
        ("never", AutoShutdown::Never),
        ("any_significant", AutoShutdown::AnySignificant),
        ("all_significant", AutoShutdown::AllSignificant),
    ];
    scalar::one_of(&choices, item, faults)
}

pub(super) fn on_death(item: &Item<'_>, faults: &mut Faults) -> Option<OnDeath> {
    let choices = [
        ("leave", OnDeath::Leave),
        ("kill", OnDeath::Kill),
        ("kill_by_cgroup", OnDeath::KillBy(Guard::Cgroup)),
        ("kill_by_environment", OnDeath::KillBy(Guard::Environment)),
    ];
    scalar::one_of(&choices, item, faults)
}

pub(super) fn restart(item: &Item<'_>, faults: &mut Faults) -> Option<Restart> {
    let choices = [
        ("permanent", Restart::Permanent),
        ("transient", Restart::Transient),
        ("temporary", Restart::Temporary),
    ];
    scalar::one_of(&choices, item, faults)
}

pub(super) fn intensity(item: &Item<'_>, faults: &mut Faults) -> Option<Intensity> {
    let table = item.table(&["restarts", "period"], "a table with `restarts` and `period`", faults)?;
    let restarts = table
        .require("restarts", "how many are borne", faults, |item, faults| number(0, u32::MAX, item, faults));
    let period = table.require("period", TIME, faults, scalar::some_time);
    Some(Intensity { restarts: restarts?, period: period? })
}

pub(super) fn backoff(item: &Item<'_>, faults: &mut Faults) -> Option<Backoff> {
    if item.is_text() {
        return scalar::one_of(&[("none", Backoff::none())], item, faults);
    }
    let known = &["first", "factor", "most", "jitter", "stable_for"];
    let table = item.table(known, BACKOFF, faults)?;
    let usual = Backoff::default();
    let before = faults.len();
    let backoff = Backoff {
        first: table.read("first", faults, scalar::time).unwrap_or(usual.first),
        factor: table
            .read("factor", faults, |item, faults| fraction(1.0, f64::MAX, item, faults))
            .unwrap_or(usual.factor),
        most: table.read("most", faults, scalar::time).unwrap_or(usual.most),
        jitter: table
            .read("jitter", faults, |item, faults| fraction(0.0, 1.0, item, faults))
            .unwrap_or(usual.jitter),
        stable_for: table.read("stable_for", faults, scalar::time).unwrap_or(usual.stable_for),
    };
    if faults.len() > before {
        return None;
    }
    if backoff.first > backoff.most {
        // The one that was written is the one that is wrong.
        let wrong = table.get("first").or_else(|| table.get("most")).unwrap_or_else(|| item.clone());
        let (first, most) = (backoff.first, backoff.most);
        return wrong.cannot_be(format!("`first` ({first:?}) no longer than `most` ({most:?})"), faults);
    }
    Some(backoff)
}
