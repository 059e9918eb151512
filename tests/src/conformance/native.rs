//! The kernel's own kqueue, to be asked by the cases.

use std::sync::Arc;
use std::time::Duration;

use proc_reactor::Kevent;

use super::kqueue::Kernel;
use super::queue::Native;

/// A queue of the kernel's.
///
/// # Errors
/// The errno.
pub fn native() -> Result<Arc<dyn Kernel>, i32> {
    Ok(Arc::new(Native::new()?))
}

impl Kernel for Native {
    fn kevent(
        &self,
        changes: &[Kevent],
        events: &mut [Kevent],
        timeout: Option<Duration>,
    ) -> Result<usize, i32> {
        Self::kevent(self, changes, events, timeout)
    }
}
