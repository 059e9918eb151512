//! A value of a text with the path of its key and its place; and tables whose keys are all known.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::supervisor::config::fault::{FaultKind, Faults};
use crate::supervisor::config::near::nearest;

/// A value, and where it is.
#[derive(Clone, Debug)]
pub(crate) struct Item<'a> {
    pub(crate) value: &'a DeValue<'a>,
    /// Of its key, in bytes.
    pub(crate) key_at: usize,
    at: Range<usize>,
    pub(crate) path: String,
}

impl<'a> Item<'a> {
    fn new(path: String, key_at: usize, value: &'a Spanned<DeValue<'a>>) -> Self {
        Self { value: value.get_ref(), key_at, at: value.span(), path }
    }

    /// What it is, as people are told.
    pub(crate) fn found(&self) -> String {
        match self.value {
            DeValue::String(text) if text.chars().count() <= 60 => format!("{text:?}"),
            DeValue::String(text) => format!("{:?}..", text.chars().take(60).collect::<String>()),
            DeValue::Integer(number) => shortened(number.as_str()),
            DeValue::Float(number) => shortened(number.as_str()),
            DeValue::Boolean(value) => value.to_string(),
            DeValue::Datetime(_) => "a date or a time".to_owned(),
            DeValue::Array(items) if items.is_empty() => "an empty array".to_owned(),
            DeValue::Array(_) => "an array".to_owned(),
            DeValue::Table(_) => "a table".to_owned(),
        }
    }

    /// It is of another type. Returned is what a reader returns that has told a fault.
    pub(crate) fn is_no<T>(&self, want: impl Into<String>, faults: &mut Faults) -> Option<T> {
        self.fault(FaultKind::Type { found: self.found(), want: want.into() }, faults)
    }

    /// It is of the right type, and not one that can be.
    pub(crate) fn cannot_be<T>(&self, want: impl Into<String>, faults: &mut Faults) -> Option<T> {
        self.fault(FaultKind::Value { found: self.found(), want: want.into() }, faults)
    }

    pub(crate) fn fault<T>(&self, kind: FaultKind, faults: &mut Faults) -> Option<T> {
        faults.add(self.at.start, &self.path, kind);
        None
    }

    /// Its key is none that can be.
    pub(crate) fn key_cannot_be(&self, key: &str, want: &str, faults: &mut Faults) {
        let kind = FaultKind::Value { found: format!("{key:?}"), want: want.to_owned() };
        faults.add(self.key_at, &self.path, kind);
    }

    pub(crate) fn is_text(&self) -> bool {
        matches!(self.value, DeValue::String(_))
    }

    pub(crate) fn is_array(&self) -> bool {
        matches!(self.value, DeValue::Array(_))
    }

    pub(crate) fn is_table(&self) -> bool {
        matches!(self.value, DeValue::Table(_))
    }

    /// Its elements, if it is an array.
    pub(crate) fn elements(&self) -> Option<Vec<Item<'a>>> {
        let DeValue::Array(items) = self.value else { return None };
        let element = |(at, value)| Item::new(format!("{}[{at}]", self.path), self.key_at, value);
        Some(items.iter().enumerate().map(element).collect())
    }

    /// It as a table of which these are all keys. Tells of others.
    pub(crate) fn table(
        &self,
        known: &'static [&'static str],
        want: &str,
        faults: &mut Faults,
    ) -> Option<Table<'a>> {
        let DeValue::Table(entries) = self.value else { return self.is_no(want, faults) };
        Some(Table::new(self.path.clone(), self.key_at, entries, known, faults))
    }

    /// Its entries in the order of the text, if it is a table: of names that anybody may choose.
    pub(crate) fn entries(&self) -> Option<Vec<(&'a str, Item<'a>)>> {
        let DeValue::Table(entries) = self.value else { return None };
        let mut entries: Vec<_> = entries.iter().map(|(key, value)| entry(&self.path, key, value)).collect();
        entries.sort_by_key(|(_, item)| item.key_at);
        Some(entries)
    }
}

fn shortened(number: &str) -> String {
    match number.char_indices().nth(40) {
        Some((at, _)) => format!("{}..", &number[..at]),
        None => number.to_owned(),
    }
}

fn entry<'a>(
    path: &str,
    key: &'a Spanned<std::borrow::Cow<'a, str>>,
    value: &'a Spanned<DeValue<'a>>,
) -> (&'a str, Item<'a>) {
    (key.get_ref(), Item::new(child(path, key.get_ref()), key.span().start, value))
}

/// The path of a key in a table: quoted as TOML would have to.
pub(crate) fn child(path: &str, key: &str) -> String {
    let is_bare = |key: &str| {
        !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    let key = if is_bare(key) { key.to_owned() } else { format!("{key:?}") };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

/// A table whose keys are known.
#[derive(Debug)]
pub(crate) struct Table<'a> {
    path: String,
    key_at: usize,
    entries: &'a DeTable<'a>,
    known: &'static [&'static str],
}

impl<'a> Table<'a> {
    pub(crate) fn new(
        path: String,
        key_at: usize,
        entries: &'a DeTable<'a>,
        known: &'static [&'static str],
        faults: &mut Faults,
    ) -> Self {
        for key in entries.keys().filter(|key| !known.contains(&&**key.get_ref())) {
            let kind = FaultKind::UnknownKey { near: nearest(key.get_ref(), known), known };
            faults.add(key.span().start, &child(&path, key.get_ref()), kind);
        }
        Self { path, key_at, entries, known }
    }

    pub(crate) fn get(&self, key: &str) -> Option<Item<'a>> {
        let (key, value) = self.entries.get_key_value(key)?;
        Some(entry(&self.path, key, value).1)
    }

    /// What a key says: `None` if it is not there, or says what was told as a fault.
    pub(crate) fn read<T>(
        &self,
        key: &str,
        faults: &mut Faults,
        read: impl FnOnce(&Item<'a>, &mut Faults) -> Option<T>,
    ) -> Option<T> {
        read(&self.get(key)?, faults)
    }

    /// What a key says that has to be there.
    pub(crate) fn require<T>(
        &self,
        key: &'static str,
        want: &'static str,
        faults: &mut Faults,
        read: impl FnOnce(&Item<'a>, &mut Faults) -> Option<T>,
    ) -> Option<T> {
        match self.get(key) {
            Some(item) => read(&item, faults),
            // It has been told of.
            None if self.is_misspelt(key) => None,
            None => {
                faults.add(self.key_at, &self.path, FaultKind::Missing { key, want });
                None
            }
        }
    }

    fn is_misspelt(&self, key: &str) -> bool {
        let mut strange =
            self.entries.keys().map(|key| key.get_ref()).filter(|key| !self.known.contains(&&***key));
        strange.any(|other| nearest(other, self.known) == Some(key))
    }
}
