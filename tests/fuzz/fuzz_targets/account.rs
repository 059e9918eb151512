//! A message of taskstats, and a record of the kernel's log.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| proc_reactor::fuzz::account(bytes));
