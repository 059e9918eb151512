//! When a service is ready, and how it is looked after.

use crate::supervisor::config::fault::Faults;
use crate::supervisor::config::item::{Item, Table};
use crate::supervisor::config::scalar::{self, TIME};
use crate::supervisor::spec::{Health, Ready};

const READY: &str = "\"at_once\", \"notify\", or a table with one of `line`, `connect`, `command`";
const HEALTH: &str = "a table with `connect` or `command`, and with `every`";

pub(super) fn ready(item: &Item<'_>, faults: &mut Faults) -> Option<Ready> {
    if item.is_text() {
        let notifies = scalar::one_of(&[("at_once", false), ("notify", true)], item, faults)?;
        return Some(if notifies { Ready::Notify } else { Ready::AtOnce });
    }
    let before = faults.len();
    let table = item.table(&["line", "connect", "command"], READY, faults)?;
    if faults.len() > before {
        return None;
    }
    match (table.get("line"), table.get("connect"), table.get("command")) {
        (Some(line), None, None) => match scalar::name(&line, faults)? {
            text if text.contains('\n') => line.cannot_be("a part of one line", faults),
            text => Some(Ready::Line(text.to_owned())),
        },
        (None, ..) => check(&table, item, READY, faults),
        _ => item.cannot_be(READY, faults),
    }
}

pub(super) fn health(item: &Item<'_>, faults: &mut Faults) -> Option<Health> {
    let before = faults.len();
    let table = item.table(&["connect", "command", "every", "failures"], HEALTH, faults)?;
    let is_known = faults.len() == before;
    let every = table.require("every", TIME, faults, scalar::some_time);
    let failures = table.read("failures", faults, |item, faults| scalar::number(1, u32::MAX, item, faults));
    // What has been misspelt is not missing as well.
    let check = if is_known { check(&table, item, HEALTH, faults) } else { None };
    let usual = Health::new(check?, every?);
    Some(Health { failures: failures.unwrap_or(usual.failures), ..usual })
}

/// What can be asked from outside: one of the two.
fn check(table: &Table<'_>, item: &Item<'_>, want: &str, faults: &mut Faults) -> Option<Ready> {
    match (table.get("connect"), table.get("command")) {
        (Some(connect), None) => Some(Ready::Connect(scalar::address(&connect, faults)?)),
        (None, Some(command)) => {
            let words = scalar::command(&command, faults)?;
            Some(Ready::Command(words.into_iter().map(Into::into).collect()))
        }
        _ => item.cannot_be(want, faults),
    }
}
