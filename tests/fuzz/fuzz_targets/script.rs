//! A machine's processes by a script, and the reactor that follows them.
#![no_main]

#[path = "../../../reactor/tests/random/world.rs"]
mod world;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| world::run(bytes));
