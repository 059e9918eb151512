//! Whether services make sense together, and where in the text they do not.

use std::collections::HashSet;

use crate::supervisor::config::fault::{FaultKind, Faults, MOST};
use crate::supervisor::config::item::{Item, Table};
use crate::supervisor::config::near::nearest;
use crate::supervisor::spec::{Service, SpecError, in_order};

/// Circles that are looked for: each takes a look at all services.
const CIRCLES: usize = 8;

/// A service, and where it is.
#[derive(Debug)]
pub(super) struct Read<'a> {
    pub(super) service: Service,
    pub(super) item: Item<'a>,
    pub(super) table: Table<'a>,
    /// Whether all of it could be read.
    pub(super) is_whole: bool,
}

impl<'a> Read<'a> {
    /// Where it says what it needs, one by one.
    fn needs(&self) -> Vec<Item<'a>> {
        self.table.get("needs").and_then(|needs| needs.elements()).unwrap_or_default()
    }
}

pub(super) fn check(read: &[Read<'_>], faults: &mut Faults) {
    let names: Vec<&str> = read.iter().map(|one| one.service.name()).collect();
    let known: HashSet<&str> = names.iter().copied().collect();
    for one in read {
        for (needs, item) in one.service.needs.iter().zip(one.needs()) {
            if known.contains(needs.as_str()) {
                continue;
            }
            let error = SpecError::Unknown { name: one.service.name().to_owned(), needs: needs.clone() };
            // Of those that are told: each is held against every name.
            let near = (faults.len() < MOST).then(|| nearest(needs, &names)).flatten().map(str::to_owned);
            item.fault::<()>(FaultKind::Spec { error, near }, faults);
        }
        // Alone, it is in nobody's way; and what could not be read may be what it lacks.
        let mut alone = one.service.clone();
        alone.needs.clear();
        if let (true, Err(error)) = (one.is_whole, in_order(vec![alone])) {
            let item = one.table.get("ready").or_else(|| one.table.get("watchdog"));
            let item = item.unwrap_or_else(|| one.item.clone());
            item.fault::<()>(FaultKind::Spec { error, near: None }, faults);
        }
    }
    circles(read, &known, faults);
}

fn circles(read: &[Read<'_>], known: &HashSet<&str>, faults: &mut Faults) {
    let bare = |one: &Read<'_>| {
        let mut bare = Service::new(one.service.name(), "");
        bare.needs = one.service.needs.iter().filter(|need| known.contains(need.as_str())).cloned().collect();
        bare
    };
    let mut services: Vec<_> = read.iter().map(bare).collect();
    for _ in 0..CIRCLES {
        let Err(SpecError::Cycle { names }) = in_order(services.clone()) else { return };
        let (first, next) = (&names[0], &names[1 % names.len()]);
        let Some(at) = services.iter().position(|service| service.name() == first) else { return };
        let place = read[at].service.needs.iter().position(|need| need == next);
        let item = place.and_then(|place| read[at].needs().into_iter().nth(place));
        // Without this need, there may be another.
        services[at].needs.retain(|need| need != next);
        let item = item.unwrap_or_else(|| read[at].item.clone());
        item.fault::<()>(FaultKind::Spec { error: SpecError::Cycle { names }, near: None }, faults);
    }
}
