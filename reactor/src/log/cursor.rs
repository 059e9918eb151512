//! A reader's place in a log.

/// Names a reader of one log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CursorKey(pub(crate) usize);

/// The number of the next event that a reader has not read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor {
    pub(crate) next: u64,
    /// Whether it has been told why the log was closed.
    pub(crate) knows_failure: bool,
}

impl Cursor {
    pub(crate) fn at(next: u64) -> Self {
        Self { next, knows_failure: false }
    }
}
