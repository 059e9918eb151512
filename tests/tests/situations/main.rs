//! The matrix of source and situation: what each source comes to as root, as nobody, in other namespaces, under seccomp, with little
//! memory and few descriptors. Found by running, and kept in `docs/linux.md`.
//!
//! `UPDATE_DOCS=1 cargo test -p tests --test situations` writes the document anew. As root every situation is run; as anybody else
//! those that need root are taken from the document as they are. On another kernel, or with other settings of those that the
//! document names, other cells may be right: all is run there too, and held against the promises, but not against the document.
#![cfg(target_os = "linux")]

mod cell;
mod document;
mod situation;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::sync::{Mutex, PoisonError};

use document::{Document, Row, Word};
use proc_reactor::SourceName;
use serde_json::Value;
use situation::{Programs, SITUATIONS, Situation};
use tests::observed::{Observed, Refusal};

/// Both tests use what there is once for each user.
static ONE_BY_ONE: Mutex<()> = Mutex::new(());

/// What is found in one situation, or what is wrong with it.
fn explore(
    situation: &Situation,
    programs: &Programs,
    as_documented: bool,
    words: &mut BTreeSet<Word>,
) -> Result<Row, String> {
    let mut cells = Vec::new();
    let mut refusals: Vec<Option<Refusal>> = Vec::new();
    for &name in SourceName::ALL {
        let observed = programs.observe(situation, Some(name));
        cells.push(cell::cell(&observed, situation.asleep).map_err(|wrong| format!("{name}: {wrong}"))?);
        refusals.push(match observed {
            Observed::Watched(_) => None,
            Observed::Refused { mut tried } => tried.pop(),
        });
    }
    for (name, refusal) in SourceName::ALL.iter().zip(&refusals) {
        words.extend(refusal.as_ref().map(|refusal| Word::new(*name, refusal)));
    }
    let chosen = match programs.observe(situation, None) {
        Observed::Refused { .. } => None,
        Observed::Watched(watched) => Some(watched.source),
    };
    let works = |name: &&SourceName| SourceName::ALL.iter().zip(&refusals).any(|at| at == (*name, &None));
    let first = SourceName::TRIED.iter().find(works).map(|name| name.as_str());
    if chosen.as_deref() != first {
        return Err(format!("{chosen:?} was chosen, and the first that works is {first:?}"));
    }
    if situation.options.is_empty() {
        let (found, code) = programs.doctor(situation);
        agrees(&found, code, &refusals, first)?;
    }
    if as_documented {
        is_right(situation, &refusals, first)?;
    }
    Ok(Row { situation: situation.name.to_owned(), cells, default: first.unwrap_or("none").to_owned() })
}

/// The right choice, and the right words.
fn is_right(situation: &Situation, refusals: &[Option<Refusal>], chosen: Option<&str>) -> Result<(), String> {
    let expected = situation.default.map(SourceName::as_str);
    if chosen != expected {
        return Err(format!("{chosen:?} was chosen, and ought to be {expected:?}"));
    }
    for (name, said) in situation.says {
        let at = SourceName::ALL.iter().position(|other| other == name).expect("one of them");
        let refusal = refusals[at].as_ref().ok_or_else(|| format!("{name} works, and ought not to"))?;
        let words = format!("{}; {}", refusal.reason, refusal.advice.as_deref().unwrap_or("no advice"));
        if !words.contains(said) {
            return Err(format!("{name} does not say {said:?}, but: {words}"));
        }
    }
    Ok(())
}

/// What doctor finds is what opening comes to.
fn agrees(
    found: &Value,
    code: Option<i32>,
    refusals: &[Option<Refusal>],
    chosen: Option<&str>,
) -> Result<(), String> {
    let text = |value: &Value| value.as_str().map(ToOwned::to_owned);
    let sources = found["sources"].as_array().ok_or("doctor says nothing")?;
    let theirs: Vec<Option<Refusal>> = sources
        .iter()
        .map(|source| {
            text(&source["reason"]).map(|reason| Refusal { reason, advice: text(&source["advice"]) })
        })
        .collect();
    let usable =
        sources.iter().map(|source| source["usable"] == false).eq(refusals.iter().map(Option::is_some));
    let same = theirs == refusals && usable && found["default"].as_str() == chosen;
    if same && code == Some(i32::from(chosen.is_none())) {
        return Ok(());
    }
    Err(format!(
        "doctor ends with {code:?} and says {found}, where {refusals:?} are refused and {chosen:?} is chosen"
    ))
}

#[test]
fn the_document_is_what_is_so() {
    let _one = ONE_BY_ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let programs = Programs::gather();
    let kept = Document::read();
    let conditions = document::conditions();
    let update = std::env::var_os("UPDATE_DOCS").is_some_and(|wanted| wanted == "1");
    let as_documented = update || kept.conditions == conditions;
    let (mut rows, mut words, mut wrong) = (Vec::new(), BTreeSet::new(), Vec::new());
    let mut skipped = Vec::new();
    for situation in SITUATIONS {
        if let Err(why) = programs.can_be_made(situation) {
            skipped.push(format!("{}: {why}", situation.name));
            rows.extend(kept.row(situation.name).cloned());
            continue;
        }
        match explore(situation, &programs, as_documented, &mut words) {
            Ok(row) => {
                println!("{row}");
                rows.push(row);
            }
            Err(why) => wrong.push(format!("{}: {why}", situation.name)),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    if !as_documented {
        return skip(&format!("the document is about {}, and this is {conditions}", kept.conditions));
    }
    if !skipped.is_empty() {
        let cells = skipped.len() * (SourceName::ALL.len() + 1);
        skip(&format!("{cells} cells are as the document has them:\n    {}", skipped.join("\n    ")));
        // Who can run these may have words that nobody can have here.
        words.extend(kept.words.iter().cloned());
    }
    let found = Document { conditions, rows, words };
    if update {
        assert!(skipped.is_empty(), "it takes root, and namespaces, to write the document anew");
        return found.write();
    }
    let changes = kept.changes(&found);
    assert!(
        changes.is_empty(),
        "docs/linux.md is not what is so here; UPDATE_DOCS=1 writes it anew:\n{}",
        changes.join("\n")
    );
}

/// Past the test harness, which swallows what a passing test prints.
fn skip(what: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {what}");
}

/// With hardly any descriptors left, whatever step they do not suffice for, the advice is about descriptors.
#[test]
fn few_descriptors_are_called_by_name() {
    const FEWEST: usize = 1;
    const MOST: usize = 24;
    let _one = ONE_BY_ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let programs = Programs::gather();
    for &name in SourceName::ALL {
        let mut refused = 0;
        for free in FEWEST..=MOST {
            match programs.observe_with_descriptors(name, free) {
                Observed::Watched(watched) => assert_eq!(watched.broken, [""; 0], "{name}, {free} left"),
                Observed::Refused { tried } => {
                    refused += 1;
                    let Refusal { reason, advice } = &tried[0];
                    let elsewhere =
                        ["not available", "namespace", "permitted"].iter().any(|word| reason.contains(word));
                    let named = match advice {
                        Some(advice) => advice.contains("limit of open files"),
                        // The program's own to start.
                        None => reason.starts_with("starting ") && reason.contains("Too many open files"),
                    };
                    assert!(elsewhere || named, "{name}, {free} left: {tried:?}");
                }
            }
        }
        assert!(refused > 0, "{name} works without descriptors");
    }
}
