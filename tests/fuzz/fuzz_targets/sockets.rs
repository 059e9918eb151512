//! What a machine's processors send over several sockets, what of it is lost, and when the source looks.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| proc_reactor::fuzz::sockets(bytes));
