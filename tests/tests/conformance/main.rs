//! The conformance table: each rule of kqueue's EVFILT_PROC, as this project keeps it, shown by cases on a script and by the same
//! cases on real processes with each source that works here. `docs/differences.md` is made of the table.
//!
//! `CONFORMANCE=word` runs only the cases of that rule, or with the word in their names; `CONFORMANCE_SOURCE=name` only that source;
//! `UPDATE_DOCS=1` writes the document anew.
#![cfg(target_os = "linux")]

mod case;
mod changing;
mod differences;
mod events;
mod identity;
mod kq;
mod limits;
mod os;
mod races;
mod real;
mod registration;
mod stage;
mod tracking;
mod user;
mod waiting;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use proc_reactor::SourceName;

use case::Case;
use world::World;

const TABLE: &[&[Case]] = &[
    registration::CASES,
    changing::CASES,
    identity::CASES,
    limits::CASES,
    events::CASES,
    tracking::CASES,
    waiting::CASES,
    races::CASES,
    user::CASES,
];

/// The number of the last rule.
const RULES: u32 = 41;
/// Rules without a case, and why.
const WITHOUT: &[(&str, &str)] =
    &[("C38", "it is about debuggers, and no source that there is sees an exit before its tracer does")];
/// How often a case is tried on a machine that makes the kernel lose records, which the source then says.
const ATTEMPTS: u32 = 5;

fn cases() -> impl Iterator<Item = &'static Case> {
    TABLE.iter().copied().flatten()
}

enum Outcome {
    Good,
    Skipped(String),
    Failed(String),
}

fn attempt(case: &Case, make: &dyn Fn() -> World) -> (Outcome, bool) {
    let mut world = Some(make());
    let result = catch_unwind(AssertUnwindSafe(|| {
        let here = world.as_mut().expect("it has just been made");
        (case.run)(here);
        let skipped = here.skipped.take();
        if skipped.is_none() {
            world.take().expect("it is still here").finish();
        }
        skipped
    }));
    // One that was taken has been read to its end without a complaint.
    let lost =
        world.as_mut().is_some_and(|world| catch_unwind(AssertUnwindSafe(|| world.lost())).unwrap_or(false));
    let outcome = match result {
        Ok(None) => Outcome::Good,
        Ok(Some(why)) => Outcome::Skipped(why),
        Err(panic) => Outcome::Failed(match panic.downcast::<String>() {
            Ok(text) => *text,
            Err(panic) => {
                panic.downcast::<&str>().map_or_else(|_| "a panic".to_owned(), |text| text.to_string())
            }
        }),
    };
    (outcome, lost)
}

fn run_all(on: Option<SourceName>, make: &dyn Fn() -> World) {
    let place = on.map_or("a script", SourceName::as_str);
    let wanted = std::env::var("CONFORMANCE").unwrap_or_default();
    let mut failures = Vec::new();
    let begun = Instant::now();
    let mut count = 0;
    for case in cases().filter(|case| case.name.contains(&wanted) || case.rule == wanted) {
        let line = format!("{} {}", case.rule, case.name);
        if let Some(why) = case.gates.iter().find_map(|gate| gate.closed(on)) {
            println!("{line}: gated on {place}: {why}");
            continue;
        }
        count += 1;
        let begun = Instant::now();
        let mut outcome = attempt(case, make);
        for _ in 1..ATTEMPTS {
            if !matches!(outcome, (Outcome::Failed(_), true)) {
                break;
            }
            println!("{line}: records were lost, once more");
            outcome = attempt(case, make);
        }
        match outcome.0 {
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
    run_all(None, &World::scripted);
}

#[test]
fn on_each_real_source() {
    let only = std::env::var("CONFORMANCE_SOURCE").unwrap_or_default();
    for &name in SourceName::ALL.iter().filter(|name| only.is_empty() || name.as_str() == only) {
        match World::real(name) {
            Ok(_) => run_all(Some(name), &|| World::real(name).expect("it could be opened before")),
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
        let runs = |on| !case.gates.iter().any(|gate| gate.closed(on).is_some());
        let somewhere = runs(None) || SourceName::ALL.iter().any(|&name| runs(Some(name)));
        assert!(somewhere, "{} runs nowhere", case.name);
    }
    println!("{} cases of {RULES} rules", cases().count());
}
