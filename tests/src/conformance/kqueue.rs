//! What a case speaks to: a queue of ours, or a kernel's own kqueue.

use std::fmt::{self, Debug};
use std::sync::Arc;
use std::time::Duration;

use proc_reactor::{Kevent, Queue, QueueError};

use super::fault;

/// kevent(2), and nothing else: what cases ask of a kernel.
pub trait Kernel: Debug + Send + Sync {
    /// Makes the changes, and waits for events; how many there are.
    ///
    /// # Errors
    /// The errno.
    fn kevent(
        &self,
        changes: &[Kevent],
        events: &mut [Kevent],
        timeout: Option<Duration>,
    ) -> Result<usize, i32>;
}

/// Makes queues of one kernel, each a descriptor of its own there; an errno where it may not.
pub type Kernels = fn() -> Result<Arc<dyn Kernel>, i32>;

/// A queue.
#[derive(Clone, Debug)]
pub(crate) enum Kqueue {
    Ours(Queue),
    Kernel(Arc<dyn Kernel>),
}

/// Why a call failed. A kernel has only an errno to tell.
#[derive(Debug)]
pub(crate) enum Refused {
    Ours(QueueError),
    Kernel(i32),
}

impl Refused {
    pub(crate) fn errno(&self) -> i32 {
        match self {
            Self::Ours(error) => error.errno(),
            Self::Kernel(errno) => *errno,
        }
    }

    /// Whether it is this error, where there is more to it than an errno.
    pub(crate) fn is(&self, expected: impl FnOnce(&QueueError) -> bool) -> bool {
        match self {
            Self::Ours(error) => expected(error),
            Self::Kernel(_) => true,
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ours(error) => write!(f, "{error}"),
            Self::Kernel(errno) => write!(f, "kevent: {}", std::io::Error::from_raw_os_error(*errno)),
        }
    }
}

impl Kqueue {
    pub(crate) fn kevent(
        &self,
        changes: &[Kevent],
        events: &mut [Kevent],
        timeout: Option<Duration>,
    ) -> Result<usize, Refused> {
        match self {
            Self::Ours(queue) => {
                let result = queue.kevent(changes, events, timeout).map_err(Refused::Ours);
                fault::spoil(result, changes, events)
            }
            Self::Kernel(kernel) => kernel.kevent(changes, events, timeout).map_err(Refused::Kernel),
        }
    }

    /// For what no kernel has. Cases that use it are gated.
    pub(crate) fn ours(&self) -> &Queue {
        match self {
            Self::Ours(queue) => queue,
            Self::Kernel(_) => panic!("a case asks a kernel for what only this library has; it needs a gate"),
        }
    }

    /// It has so many notes; what a kernel has cannot be seen.
    #[track_caller]
    pub(crate) fn has_notes(&self, count: usize) {
        if let Self::Ours(queue) = self {
            assert_eq!(queue.stats().notes, count, "notes");
        }
    }

    /// So many of them have something to tell.
    #[track_caller]
    pub(crate) fn has_ready(&self, count: usize) {
        if let Self::Ours(queue) = self {
            assert_eq!(queue.stats().ready, count, "notes that are ready");
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        match self {
            Self::Ours(queue) => {
                matches!(queue.kevent(&[], &mut [], Some(Duration::ZERO)), Err(QueueError::Closed))
            }
            Self::Kernel(_) => false,
        }
    }
}
