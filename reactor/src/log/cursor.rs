//! A reader's place in a log.

/// Names a reader of one log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CursorKey(pub(crate) usize);

/// The number of the next event that a reader has not read.
#[derive(Debug)]
pub(crate) struct Cursor {
    pub(crate) next: u64,
}
