//! Lists of changes to two queues that must agree.
#![no_main]

#[path = "../../../reactor/tests/random/changes.rs"]
mod changes;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| changes::run(bytes));
