//! What stands in a ring of perf events.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| proc_reactor::fuzz::perf(bytes));
