//! The texts of /proc/PID/cmdline, status, statm and syscall.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| proc_reactor::fuzz::status(bytes));
