//! Measurements; see the programs in `src/bin`.
