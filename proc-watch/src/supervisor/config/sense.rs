//! Whether services make sense together, and where in the text they do not.

use crate::supervisor::config::fault::{FaultKind, Faults};
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
    /// Where it says that it needs this one.
    fn need(&self, name: &str) -> Item<'a> {
        let needs = self.table.get("needs");
        let at = self.service.needs.iter().position(|need| need == name);
        let element = |needs: &Item<'a>| needs.elements()?.into_iter().nth(at?);
        needs.as_ref().and_then(element).unwrap_or_else(|| self.item.clone())
    }
}

pub(super) fn check(read: &[Read<'_>], faults: &mut Faults) {
    let names: Vec<&str> = read.iter().map(|one| one.service.name()).collect();
    for one in read {
        for needs in one.service.needs.iter().filter(|needs| !names.contains(&needs.as_str())) {
            let error = SpecError::Unknown { name: one.service.name().to_owned(), needs: needs.clone() };
            let near = nearest(needs, &names).map(str::to_owned);
            one.need(needs).fault::<()>(FaultKind::Spec { error, near }, faults);
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
    circles(read, &names, faults);
}

fn circles(read: &[Read<'_>], names: &[&str], faults: &mut Faults) {
    let bare = |one: &Read<'_>| {
        let mut bare = Service::new(one.service.name(), "");
        bare.needs =
            one.service.needs.iter().filter(|need| names.contains(&need.as_str())).cloned().collect();
        bare
    };
    let mut services: Vec<_> = read.iter().map(bare).collect();
    for _ in 0..CIRCLES {
        let Err(SpecError::Cycle { names }) = in_order(services.clone()) else { return };
        let (first, next) = (&names[0], &names[1 % names.len()]);
        let Some(at) = services.iter().position(|service| service.name() == first) else { return };
        // Without this need, there may be another.
        services[at].needs.retain(|need| need != next);
        let item = read[at].need(next);
        item.fault::<()>(FaultKind::Spec { error: SpecError::Cycle { names }, near: None }, faults);
    }
}
