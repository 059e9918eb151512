//! What is no TOML, with the key that it is about, as far as that can be told.

use std::collections::HashSet;

use toml::de::{DeTable, DeValue, Error};

use crate::supervisor::config::fault::{FaultKind, Faults, MOST};
use crate::supervisor::config::item::child;

/// What the parser says of a key that is there already. It has no other sign of it.
const TWICE: &str = "duplicate key";

/// No key is further down; a text can be made in which thousands are.
const DEEPEST: usize = 8;

/// Tells what the parser found. True if what it made of the text is not to be relied on.
pub(super) fn tell(text: &str, root: &DeTable<'_>, errors: &[Error], faults: &mut Faults) -> bool {
    if errors.is_empty() {
        return false;
    }
    let mut keys = Vec::new();
    gather(root, "", DEEPEST, &mut keys);
    let mut told = HashSet::new();
    let mut is_broken = false;
    for error in errors {
        let span = error.span().unwrap_or(0..0);
        let is_twice = error.message() == TWICE;
        is_broken |= !is_twice;
        // Each bracket that is not closed is an error of its own, at the same place.
        if !told.insert(span.start) {
            continue;
        }
        // Of those that are told: each is looked for among all keys.
        let keys = if told.len() > MOST { &[] } else { &keys[..] };
        let name = text.get(span.clone()).unwrap_or_default();
        let before = keys.iter().filter(|key| key.at <= span.start);
        let (path, kind) = if is_twice {
            // It is not in the tree. The last of that name before it is the one that it repeats.
            let first = before.filter(|key| text.get(key.at..key.name_end) == Some(name));
            (first.max_by_key(|key| key.at).map_or(name, |key| &key.path), FaultKind::Twice)
        } else {
            let here = before.filter(|key| span.start <= key.end);
            let why = error.message().to_owned();
            (here.max_by_key(|key| key.at).map_or("", |key| &key.path), FaultKind::Syntax { why })
        };
        faults.add(span.start, path, kind);
    }
    is_broken
}

/// A key, and where it and its value are.
struct Key {
    path: String,
    at: usize,
    name_end: usize,
    end: usize,
}

fn gather(table: &DeTable<'_>, path: &str, depth: usize, keys: &mut Vec<Key>) {
    for (key, value) in table {
        let (path, name) = (child(path, key.get_ref()), key.span());
        let end = name.end.max(value.span().end);
        keys.push(Key { path: path.clone(), at: name.start, name_end: name.end, end });
        below(value.get_ref(), &path, depth, keys);
    }
}

fn below(value: &DeValue<'_>, path: &str, depth: usize, keys: &mut Vec<Key>) {
    let Some(depth) = depth.checked_sub(1) else { return };
    match value {
        DeValue::Table(table) => gather(table, path, depth, keys),
        DeValue::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                below(item.get_ref(), &format!("{path}[{at}]"), depth, keys);
            }
        }
        _ => {}
    }
}
