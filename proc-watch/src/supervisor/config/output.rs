//! Where what a service writes goes.

use crate::supervisor::config::fault::{FaultKind, Faults};
use crate::supervisor::config::item::Item;
use crate::supervisor::config::scalar;
use crate::supervisor::spec::Output;

const WANT: &str = "\"inherit\", \"null\", or a table with `file`, `limit`, `keep`";
/// Old files, where there is a limit and nothing is said.
const KEEP: u32 = 5;

pub(super) fn output(item: &Item<'_>, faults: &mut Faults) -> Option<Output> {
    if item.is_text() {
        let is_null = scalar::one_of(&[("inherit", false), ("null", true)], item, faults)?;
        return Some(if is_null { Output::Null } else { Output::Inherit });
    }
    let table = item.table(&["file", "limit", "keep"], WANT, faults)?;
    let before = faults.len();
    let path = table.require("file", "the path of a file", faults, scalar::name);
    let limit = table.read("limit", faults, scalar::size);
    let keep = table.read("keep", faults, |item, faults| scalar::number(0, 1000, item, faults));
    if let (None, Some(keep)) = (table.get("limit"), table.get("keep")) {
        let want = "the size at which the file is renamed, as `keep` is there";
        return keep.fault(FaultKind::Missing { key: "limit", want }, faults);
    }
    if faults.len() > before {
        return None;
    }
    let keep = keep.unwrap_or(if limit.is_some() { KEEP } else { 0 });
    Some(Output::File { path: path?.into(), limit, keep })
}
