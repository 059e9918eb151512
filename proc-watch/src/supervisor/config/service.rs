//! One service.

use std::collections::BTreeMap;
use std::ffi::OsString;

use proc_reactor::signal_name;
use toml::de::DeValue;

use crate::supervisor::config::fault::Faults;
use crate::supervisor::config::item::{Item, Table};
use crate::supervisor::config::{output, policy, ready, scalar, stop};
use crate::supervisor::spec::{Main, Service};

pub(super) const KEYS: &[&str] = &[
    "command",
    "env",
    "env_remove",
    "clear_env",
    "dir",
    "uid",
    "gid",
    "output",
    "main",
    "ready",
    "ready_within",
    "health",
    "watchdog",
    "stop",
    "reload",
    "needs",
    "restart",
    "backoff",
    "intensity",
    "significant",
    "autostart",
];

const VARIABLE: &str = "a name with neither = nor NUL in it";

/// What has a fault is as if it had not been said: whoever asks for the services is refused them then.
pub(super) fn service(name: &str, table: &Table<'_>, faults: &mut Faults) -> Service {
    let words = table.require("command", scalar::WORDS, faults, scalar::command).unwrap_or_default();
    let mut words = words.into_iter();
    let mut service = Service::new(name, words.next().unwrap_or_default()).args(words);
    service.env = environment(table, faults);
    service.clear_env = table.read("clear_env", faults, scalar::boolean).unwrap_or(service.clear_env);
    service.dir = table.read("dir", faults, scalar::name).map(Into::into);
    service.uid = table.read("uid", faults, id);
    service.gid = table.read("gid", faults, id);
    service.output = table.read("output", faults, output::output).unwrap_or_default();
    service.main = table.read("main", faults, main).unwrap_or_default();
    service.ready = table.read("ready", faults, ready::ready).unwrap_or_default();
    service.ready_within = table.read("ready_within", faults, scalar::some_time);
    service.health = table.read("health", faults, ready::health);
    service.watchdog = table.read("watchdog", faults, scalar::some_time);
    service.stop = table.read("stop", faults, stop::stop).unwrap_or_default();
    service.reload = table.read("reload", faults, reload);
    let needs = table.read("needs", faults, scalar::names).unwrap_or_default();
    service.needs = needs.into_iter().map(str::to_owned).collect();
    service.restart = table.read("restart", faults, policy::restart).unwrap_or_default();
    service.backoff = table.read("backoff", faults, policy::backoff).unwrap_or_default();
    service.intensity = table.read("intensity", faults, policy::intensity);
    service.significant = table.read("significant", faults, scalar::boolean).unwrap_or(service.significant);
    service.autostart = table.read("autostart", faults, scalar::boolean).unwrap_or(service.autostart);
    service
}

/// Variables with their values, and `None` for those that are not inherited.
fn environment(table: &Table<'_>, faults: &mut Faults) -> BTreeMap<OsString, Option<OsString>> {
    let mut env = BTreeMap::new();
    let entries = table.read("env", faults, |item, faults| match item.entries() {
        Some(entries) => Some(entries),
        None => item.is_no("a table of variables", faults),
    });
    for (name, item) in entries.unwrap_or_default() {
        let value = match item.value {
            DeValue::Boolean(false) => None,
            DeValue::String(_) => scalar::text(&item, faults).map(OsString::from),
            _ => item.is_no("a string, or false for one that is not inherited", faults),
        };
        if is_variable(name) {
            env.insert(name.into(), value);
        } else {
            item.key_cannot_be(name, VARIABLE, faults);
        }
    }
    let removed = table.read("env_remove", faults, |item, faults| match item.elements() {
        Some(elements) => scalar::names(item, faults).map(|names| (names, elements)),
        None => item.is_no("an array of names", faults),
    });
    let (names, elements) = removed.unwrap_or_default();
    for (name, item) in names.into_iter().zip(elements) {
        if !is_variable(name) {
            item.cannot_be::<()>(VARIABLE, faults);
        } else if env.insert(name.into(), None).is_some() {
            item.cannot_be::<()>("one that `env` does not say something of", faults);
        }
    }
    env
}

fn is_variable(name: &str) -> bool {
    !name.is_empty() && !name.contains(['=', '\0'])
}

/// The highest of all means "leave it" to the system.
fn id(item: &Item<'_>, faults: &mut Faults) -> Option<u32> {
    scalar::number(0, u32::MAX - 1, item, faults)
}

fn main(item: &Item<'_>, faults: &mut Faults) -> Option<Main> {
    scalar::one_of(&[("child", Main::Child), ("tree", Main::Tree)], item, faults)
}

fn reload(item: &Item<'_>, faults: &mut Faults) -> Option<i32> {
    let signal = scalar::signal(item, faults)?;
    match u8::try_from(signal).ok().and_then(signal_name) {
        Some("SIGKILL" | "SIGSTOP") => item.cannot_be("a signal that can be caught", faults),
        _ => Some(signal),
    }
}
