//! The text of /proc/PID/stat.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| proc_reactor::fuzz::stat(bytes));
