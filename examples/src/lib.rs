//! Programs that use the crates; see the `[[example]]` targets.
