//! What the tests share: oracles.
