//! `docs/differences.md`, which is made of the table of cases.

use std::fmt::Write as _;
use std::path::Path;

use tests::conformance::{WITHOUT, cases};

const BEFORE: &str = "\
# What the queue does, and where kernels differ

This is made of the table of conformance cases (`tests/tests/conformance`), so every sentence in the second column is one that a test
shows, on a script and on each source that works where the test runs. `UPDATE_DOCS=1 cargo test -p tests --test conformance` writes
it anew.

A source that promises no statuses (`Capabilities::statuses`; `perf` is one) may tell -1 as the status of a process that was reaped
as soon as it had ended. It never tells another's or a wrong one; and it knows that of a process that was watched before it ended, or that
was a zombie until its end was told.

The model is FreeBSD's kqueue(2), with EVFILT_PROC and EVFILT_USER. Where the third column is empty, FreeBSD 12.3 does the same.
What it says of FreeBSD (F) was seen on a running 12.3 kernel; of NetBSD (N), OpenBSD (O), DragonFly (D), macOS (X) and libkqueue
(L) it was read in their code, manuals and tests. A rule is known by its number in the documentation of the crates, in error texts and in
tests.

| rule | here | elsewhere, and why not here |
|---|---|---|
";

fn document() -> String {
    let mut text = BEFORE.to_owned();
    let number = |rule: &str| rule.strip_prefix('C').and_then(|number| number.parse::<u32>().ok());
    let mut rows: Vec<(&str, &str, &str)> =
        cases().map(|case| (case.rule, case.what, case.difference.unwrap_or_default())).collect();
    rows.extend(WITHOUT.iter().map(|(rule, why)| (*rule, "Has no case.", *why)));
    // User events come last. The order within a rule is that of the table.
    rows.sort_by_key(|(rule, ..)| number(rule).unwrap_or(u32::MAX));
    for (rule, here, elsewhere) in rows {
        writeln!(text, "| {rule} | {} | {} |", cell(here), cell(elsewhere)).expect("a string takes all");
    }
    text
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

#[test]
fn the_document_is_that_of_the_table() {
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/differences.md");
    let document = document();
    if std::env::var_os("UPDATE_DOCS").is_some_and(|wanted| wanted == "1") {
        std::fs::write(&place, &document).expect("it can be written");
    }
    let kept = std::fs::read_to_string(&place).expect("docs/differences.md");
    assert!(kept == document, "docs/differences.md is not what the table says: UPDATE_DOCS=1 writes it anew");
}
