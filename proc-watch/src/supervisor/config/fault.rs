//! [`ConfigError`]: where a text is wrong, and what would be right.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::supervisor::spec::SpecError;

/// As many are told; who reads them has enough to do.
pub(crate) const MOST: usize = 20;

/// Why there are no services to be had from a text.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file could not be read.
    #[error("{} cannot be read: {source}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// What it says is wrong.
    #[error("{}", told(path.as_ref(), faults, *more))]
    Wrong {
        /// The file, if it is one.
        path: Option<PathBuf>,
        /// What is wrong, in the order of the text: one at least, and the first 20 at most.
        faults: Vec<Fault>,
        /// How many more there are.
        more: usize,
    },
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fault {
    /// The line, counted from 1.
    pub line: usize,
    /// The column, in characters counted from 1.
    pub column: usize,
    /// The path of the key, `service.web.ready_within`; empty where there is none.
    pub key: String,
    /// What is wrong.
    pub kind: FaultKind,
}

/// What is wrong with a key or its value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FaultKind {
    /// It is no TOML.
    #[error("{why}")]
    Syntax {
        /// Why not.
        why: String,
    },
    /// It is there already.
    #[error("it is there twice; remove one of them")]
    Twice,
    /// There is no such key.
    #[error("there is no such key{}", suggestion(*near, known))]
    UnknownKey {
        /// What may have been meant.
        near: Option<&'static str>,
        /// Those that there are.
        known: &'static [&'static str],
    },
    /// A key is not there.
    #[error("it has no {key:?}; want {want}")]
    Missing {
        /// Which.
        key: &'static str,
        /// What it would be.
        want: &'static str,
    },
    /// The value is of another type.
    #[error("found {found}; want {want}")]
    Type {
        /// What it is.
        found: String,
        /// What would be right.
        want: String,
    },
    /// The value is of the right type, and not one that can be.
    #[error("found {found}; want {want}")]
    Value {
        /// What it is.
        found: String,
        /// What would be right.
        want: String,
    },
    /// The services make no sense together.
    #[error("{error}{}", did_you_mean(near.as_deref()))]
    Spec {
        /// Why not.
        error: SpecError,
        /// The service that may have been meant.
        near: Option<String>,
    },
}

fn did_you_mean(near: Option<&str>) -> String {
    near.map_or(String::new(), |near| format!("; did you mean {near:?}?"))
}

fn suggestion(near: Option<&str>, known: &[&str]) -> String {
    match near {
        Some(_) => did_you_mean(near),
        None => format!("; there are {}", known.join(", ")),
    }
}

impl fmt::Display for Fault {
    /// `line 7, column 16: service.web.ready_within: found ..; want ..`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: {}", self.line, self.column, self.without_place())
    }
}

impl Fault {
    fn without_place(&self) -> String {
        if self.key.is_empty() { self.kind.to_string() } else { format!("{}: {}", self.key, self.kind) }
    }
}

/// One a line; with a file, as editors and compilers have it: `FILE:LINE:COLUMN: `.
fn told(path: Option<&PathBuf>, faults: &[Fault], more: usize) -> String {
    let line = |fault: &Fault| match path {
        Some(path) => {
            format!("{}:{}:{}: {}", path.display(), fault.line, fault.column, fault.without_place())
        }
        None => fault.to_string(),
    };
    let mut lines: Vec<_> = faults.iter().map(line).collect();
    lines.extend((more > 0).then(|| format!("and {more} more")));
    lines.join("\n")
}

/// Faults as they are found: in any order, at bytes of the text.
#[derive(Debug, Default)]
pub(crate) struct Faults(Vec<(usize, String, FaultKind)>);

impl Faults {
    pub(crate) fn add(&mut self, at: usize, key: &str, kind: FaultKind) {
        self.0.push((at, key.to_owned(), kind));
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none; else they are told.
    pub(crate) fn none_in(self, text: &str) -> Result<(), ConfigError> {
        if self.0.is_empty() { Ok(()) } else { Err(self.tell(text)) }
    }

    pub(crate) fn tell(mut self, text: &str) -> ConfigError {
        self.0.sort_by_key(|(at, ..)| *at);
        let more = self.0.len().saturating_sub(MOST);
        let faults = self.0.into_iter().take(MOST).map(|(at, key, kind)| {
            let (line, column) = place(text, at);
            Fault { line, column, key, kind }
        });
        ConfigError::Wrong { path: None, faults: faults.collect(), more }
    }
}

/// Line and column of a byte.
fn place(text: &str, at: usize) -> (usize, usize) {
    let at = (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let before = text[..at].strip_prefix('\u{feff}').unwrap_or(&text[..at]);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
    (line, column)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_in_characters_from_one() {
        let text = "a\r\né = 1\n";
        assert_eq!(
            [0, 1, 3, 5, 6, 9].map(|at| place(text, at)),
            [(1, 1), (1, 2), (2, 1), (2, 2), (2, 3), (2, 6)]
        );
        assert_eq!(place(text, 99), (3, 1));
        // In the middle of a character; after a mark that no editor counts.
        assert_eq!((place(text, 4), place("\u{feff}ab", 4)), ((2, 1), (1, 2)));
    }

    #[test]
    fn in_order_and_not_too_many() {
        let mut faults = Faults::default();
        for at in (0..30).rev() {
            faults.add(at, "k", FaultKind::Twice);
        }
        let error = faults.none_in(&"x".repeat(40)).unwrap_err();
        let ConfigError::Wrong { faults, more, .. } = &error else { panic!("{error}") };
        assert_eq!((faults.len(), faults[0].column, faults[19].column, *more), (20, 1, 20, 10));
        assert!(error.to_string().ends_with("\nand 10 more"), "{error}");
    }
}
