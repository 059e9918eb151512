//! `docs/linux.md`, a part of which is made of what was found.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};
use std::path::PathBuf;

use proc_reactor::SourceName;
use tests::observed::Refusal;

const BEGIN: &str = "<!-- Made by: UPDATE_DOCS=1 cargo test -p tests --test situations -->\n";
const CONDITIONS: &str = "Found by running it, on ";
const END: &str = "<!-- The end of what is made. -->\n";

/// What one situation comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) situation: String,
    /// Of each source.
    pub(crate) cells: Vec<String>,
    pub(crate) default: String,
}

/// Why a source cannot be opened, and what doctor advises.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Word {
    source: String,
    reason: String,
    advice: String,
}

/// The part that is made.
#[derive(Debug)]
pub(crate) struct Document {
    /// Of the machine, without which other cells may be right.
    pub(crate) conditions: String,
    pub(crate) rows: Vec<Row>,
    pub(crate) words: BTreeSet<Word>,
}

impl Word {
    pub(crate) fn new(source: SourceName, refusal: &Refusal) -> Self {
        let advice = refusal.advice.clone().unwrap_or_default();
        Self { source: source.to_string(), reason: refusal.reason.clone(), advice }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "| {} |", self.situation)?;
        self.cells.iter().try_for_each(|cell| write!(f, " {cell} |"))?;
        write!(f, " {} |", self.default)
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "| {} | {} | {} |", self.source, self.reason, self.advice)
    }
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = SourceName::ALL.iter().map(|name| name.as_str()).collect();
        writeln!(f, "{CONDITIONS}{}.", self.conditions)?;
        writeln!(f, "\n| situation | {} | the default |", names.join(" | "))?;
        writeln!(f, "|---|{}---|", "---|".repeat(names.len()))?;
        self.rows.iter().try_for_each(|row| writeln!(f, "{row}"))?;
        writeln!(f, "\nWhat `proc-watch doctor` says where a source is unavailable:\n")?;
        writeln!(f, "| source | what was seen | what to do |\n|---|---|---|")?;
        self.words.iter().try_for_each(|word| writeln!(f, "{word}"))?;
        f.write_char('\n')
    }
}

/// Those that hold here.
pub(crate) fn conditions() -> String {
    let setting = |name: &str| {
        let value = std::fs::read_to_string(format!("/proc/sys/{}", name.replace('.', "/")));
        format!("{name} {}", value.as_deref().map_or("unknown", str::trim))
    };
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release: Vec<&str> = release.split('.').take(2).collect();
    let settings =
        ["kernel.perf_event_paranoid", "kernel.perf_event_mlock_kb", "net.core.rmem_max"].map(setting);
    format!("Linux {} with {}", release.join("."), settings.join(", "))
}

fn place() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "..", "docs", "linux.md"].iter().collect()
}

/// The whole file, and where in it the part is that is made.
fn text() -> (String, usize, usize) {
    let text = std::fs::read_to_string(place()).expect("docs/linux.md");
    let begin = text.find(BEGIN).expect("a mark before what is made") + BEGIN.len();
    let end = text.find(END).expect("a mark after what is made");
    (text, begin, end)
}

impl Document {
    pub(crate) fn read() -> Self {
        let (text, begin, end) = text();
        let (mut rows, mut words) = (Vec::new(), BTreeSet::new());
        let mut conditions = String::new();
        for line in text[begin..end].lines() {
            if let Some(found) = line.strip_prefix(CONDITIONS) {
                conditions = found.trim_end_matches('.').to_owned();
            }
            let Some(line) = line.strip_prefix("| ").and_then(|line| line.strip_suffix(" |")) else {
                continue;
            };
            let mut cells = line.split(" | ").map(|cell| cell.trim_end_matches(" |").to_owned());
            let first = cells.next().expect("a split has a first");
            let mut rest: Vec<String> = cells.collect();
            let is_head = first == "situation" || rest.first().is_some_and(|cell| cell == "what was seen");
            match (is_head, rest.len()) {
                (false, 2) => {
                    let advice = rest.remove(1);
                    words.insert(Word { source: first, reason: rest.remove(0), advice });
                }
                (false, _) => {
                    let default = rest.pop().expect("a row of the matrix has a default");
                    rows.push(Row { situation: first, cells: rest, default });
                }
                (true, _) => {}
            }
        }
        Self { conditions, rows, words }
    }

    pub(crate) fn write(&self) {
        let (mut text, begin, end) = text();
        text.replace_range(begin..end, &self.to_string());
        std::fs::write(place(), text).expect("it can be written");
    }

    pub(crate) fn row(&self, situation: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.situation == situation)
    }

    /// What is no longer as it stands here, line by line.
    pub(crate) fn changes(&self, found: &Self) -> Vec<String> {
        let (old, new) = (self.to_string(), found.to_string());
        let gone = old.lines().filter(|line| !new.lines().any(|other| other == *line));
        let come = new.lines().filter(|line| !old.lines().any(|other| other == *line));
        let mut changes: Vec<String> =
            gone.map(|line| format!("- {line}")).chain(come.map(|line| format!("+ {line}"))).collect();
        let (text, begin, end) = text();
        if changes.is_empty() && text[begin..end] != new {
            changes.push("the order, or what is around the rows".to_owned());
        }
        changes
    }
}
