//! The reactor over scripts that nobody wrote.

use proptest::prelude::*;

mod changes;
mod world;

/// Steps as `world.rs` reads them, those that make processes more often than those that end them.
fn script() -> impl Strategy<Value = String> {
    let steps = "(f[0-9][0-9]|[ftsleExzdrpoaq!][0-9:;<=>?][0-9:;<=>?]){0,80}";
    ("[01234567]", steps).prop_map(|(mode, steps)| mode + &steps)
}

proptest! {
    #[test]
    fn k7_k8_k11_of_any_script(script in script()) {
        world::run(script.as_bytes());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn changes_of_any_kind(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        changes::run(&bytes);
    }
}
