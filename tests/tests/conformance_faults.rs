//! Each case of the conformance table notices when a queue is wrong in some way: none of them is so whatever happens.

use tests::conformance::fault::{self, Fault};
use tests::conformance::{Outcome, Place, Setting, cases, set_program};

/// What is shown by something else than what a queue tells and refuses.
const OTHERWISE: &[(&str, &str)] = &[
    ("notices_name_births", "the typed layer's notices"),
    ("no_descriptors", "a program of its own"),
    ("closing_wakes", "waiters that return, with an error"),
];

#[test]
#[ignore = "it takes a minute, and looks at the tests: run it when a case has changed"]
fn every_case_notices_a_fault() {
    set_program(env!("CARGO_BIN_EXE_puppet").into());
    // What they notice is no news.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ()));
    let setting = Setting::ours(Place::Script);
    let mut blind = Vec::new();
    assert!(OTHERWISE.iter().all(|(name, _)| cases().any(|case| case.name == *name)));
    for case in cases().filter(|case| case.closed(Place::Script).is_none()) {
        let notices = |fault: &Fault| {
            fault::set(Some(*fault));
            let outcome = case.attempt(&setting, &mut || {});
            fault::set(None);
            matches!(outcome, Outcome::Failed(_))
        };
        // Where threads race, not each time.
        let mut attempts = (0..3).flat_map(|_| Fault::ALL);
        if !attempts.any(|fault| notices(&fault)) && !OTHERWISE.iter().any(|(name, _)| *name == case.name) {
            blind.push(format!("{} {}: {}", case.rule, case.name, case.what));
        }
    }
    std::panic::set_hook(hook);
    assert!(blind.is_empty(), "{} cases notice nothing:\n{}", blind.len(), blind.join("\n"));
}
