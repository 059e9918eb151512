//! OpenBSD: what a child has used is told to who reaps it, by wait4(2), and to nobody else: its waitid(2) has no place for it.

use std::io;

use crate::status::Usage;

/// # Errors
/// `Unsupported`.
pub(super) fn of_ended(_pid: u32) -> io::Result<Option<Usage>> {
    Err(io::ErrorKind::Unsupported.into())
}
