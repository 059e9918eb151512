//! One datagram of the process connector.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| proc_reactor::fuzz::netlink(bytes));
