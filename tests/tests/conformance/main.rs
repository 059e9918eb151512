//! The conformance table: each rule of kqueue's EVFILT_PROC, as this project keeps it, shown by cases on a script and by the same
//! cases on real processes with each source that works here. `docs/differences.md` is made of the table.
//!
//! The cases are in `tests/src/conformance`, and have a program of their own, too.
//!
//! `CONFORMANCE=word` runs only the cases of that rule, or with the word in their names; `CONFORMANCE_SOURCE=name` only that source;
//! `UPDATE_DOCS=1` writes the document anew.

mod differences;
mod kernel;
mod kq;

use std::time::Instant;

use proc_reactor::{OpenOptions, SourceName, open};
use tests::conformance::{Outcome, Place, RULES, Setting, WITHOUT, cases, set_program};

fn run_all(setting: &Setting) {
    set_program(env!("CARGO_BIN_EXE_puppet").into());
    let place = setting.place;
    let wanted = std::env::var("CONFORMANCE").unwrap_or_default();
    let mut failures = Vec::new();
    let begun = Instant::now();
    let mut count = 0;
    for case in cases().filter(|case| case.name.contains(&wanted) || case.rule == wanted) {
        let line = format!("{} {}", case.rule, case.name);
        if let Some(why) = case.closed(place) {
            println!("{line}: gated on {place}: {why}");
            continue;
        }
        count += 1;
        let begun = Instant::now();
        match case.attempt(setting, &mut || println!("{line}: records were lost, once more")) {
            Outcome::Good => println!("{line}: ok on {place}, {:?}", begun.elapsed()),
            Outcome::Skipped(why) => println!("{line}: SKIPPED on {place}: {why}"),
            Outcome::Failed(why) => {
                println!("{line}: FAILED on {place}: {why}");
                failures.push(format!("{line}: {why}"));
            }
        }
    }
    println!("{count} cases on {place} in {:?}", begun.elapsed());
    assert!(failures.is_empty(), "{} cases failed on {place}:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn on_a_script() {
    run_all(&Setting::ours(Place::Script));
}

#[test]
fn on_each_real_source() {
    let only = std::env::var("CONFORMANCE_SOURCE").unwrap_or_default();
    for &name in SourceName::ALL.iter().filter(|name| only.is_empty() || name.as_str() == only) {
        let mut options = OpenOptions::default();
        options.source = Some(name);
        match open(&options) {
            Ok(_) => run_all(&Setting::ours(Place::Source(name))),
            Err(why) => println!("SKIPPED: {name}: {why}"),
        }
    }
}

#[test]
fn every_rule_has_a_case_or_a_reason() {
    let rules: Vec<String> = (1..=RULES).map(|number| format!("C{number}")).collect();
    for rule in &rules {
        let count = cases().filter(|case| case.rule == rule).count();
        let reason = WITHOUT.iter().find(|(without, _)| without == rule);
        assert!((count > 0) != reason.is_some(), "{rule}: {count} cases, {reason:?}");
    }
    let known = |rule: &str| rule == "USER" || rules.iter().any(|other| other == rule);
    for case in cases() {
        assert!(known(case.rule), "{case:?}");
        assert_eq!(cases().filter(|other| other.name == case.name).count(), 1, "{}", case.name);
        let places = SourceName::ALL.iter().map(|name| Place::Source(*name));
        let somewhere = [Place::Script].into_iter().chain(places).any(|place| case.closed(place).is_none());
        assert!(somewhere, "{} runs nowhere", case.name);
    }
    println!("{} cases of {RULES} rules", cases().count());
}
