//! A whole text: what is said of all services, and each of them.

use std::ffi::OsString;

use toml::de::{DeTable, DeValue};

use crate::supervisor::config::depth::too_deep;
use crate::supervisor::config::fault::{ConfigError, FaultKind, Faults};
use crate::supervisor::config::item::{Item, Table};
use crate::supervisor::config::sense::{self, Read};
use crate::supervisor::config::{policy, scalar, service, syntax};
use crate::supervisor::death::OnDeath;
use crate::supervisor::policy::{AutoShutdown, Intensity, Strategy};
use crate::supervisor::spec::Service;

pub(super) const KEYS: &[&str] =
    &["strategy", "auto_shutdown", "intensity", "state_file", "on_death", "service"];
const SERVICES: &str = "tables of services: [service.NAME]";

/// What a text says.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) services: Vec<Service>,
    pub(super) strategy: Strategy,
    pub(super) auto_shutdown: AutoShutdown,
    pub(super) intensity: Option<Intensity>,
    pub(super) state_file: Option<OsString>,
    pub(super) on_death: OnDeath,
}

impl Document {
    pub(super) fn parse(text: &str) -> Result<Self, ConfigError> {
        let mut faults = Faults::default();
        if let Some(at) = too_deep(text) {
            let why = "it goes too deep: no table here has that many in it".to_owned();
            faults.add(at, "", FaultKind::Syntax { why });
            return Err(faults.tell(text));
        }
        let (root, errors) = DeTable::parse_recoverable(text);
        if syntax::tell(text, root.get_ref(), &errors, &mut faults) {
            // What else is wrong may only seem so: an entry may have been taken for one of another table.
            return Err(faults.tell(text));
        }
        let document = Self::read(root.get_ref(), &mut faults);
        faults.none_in(text)?;
        Ok(document)
    }

    fn read(root: &DeTable<'_>, faults: &mut Faults) -> Self {
        let table = Table::new(String::new(), 0, root, KEYS, faults);
        let strategy = table.read("strategy", faults, policy::strategy).unwrap_or_default();
        let auto_shutdown = table.read("auto_shutdown", faults, policy::auto_shutdown).unwrap_or_default();
        let intensity = table.read("intensity", faults, policy::intensity);
        let state_file = table.read("state_file", faults, scalar::name).map(OsString::from);
        let on_death = table.read("on_death", faults, policy::on_death).unwrap_or_default();
        let entries = table.read("service", faults, |item, faults| match item.entries() {
            Some(entries) => Some(entries),
            None => item.is_no(SERVICES, faults),
        });
        let entries = entries.unwrap_or_default();
        let read: Vec<_> = entries.into_iter().filter_map(|(name, item)| one(name, item, faults)).collect();
        sense::check(&read, faults);
        let services = read.into_iter().map(|one| one.service).collect();
        Self { services, strategy, auto_shutdown, intensity, state_file, on_death }
    }
}

fn one<'a>(name: &str, item: Item<'a>, faults: &mut Faults) -> Option<Read<'a>> {
    let before = faults.len();
    if name.is_empty() || name.contains(char::is_control) {
        item.key_cannot_be(name, "a name with something in it, and no control characters", faults);
    }
    let table = match item.value {
        DeValue::Table(_) => item.table(service::KEYS, SERVICES, faults)?,
        _ => return item.is_no("a table: [service.NAME]", faults),
    };
    let service = service::service(name, &table, faults);
    let is_whole = faults.len() == before;
    Some(Read { service, item, table, is_whole })
}
