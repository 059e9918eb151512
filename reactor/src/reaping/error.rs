//! [`ReapingError`].

use std::io;

use crate::ident::ProcId;

/// Why this program is not made the reaper of its descendants, or cannot say which of them are a child's.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReapingError {
    /// This system has no procctl(2) with a reaper.
    #[error("there is no reaper to be had on this system; on Linux a cgroup does more")]
    Unsupported,
    /// The program is one already, by a call of its own: it then reaps orphans itself, and nobody else may.
    #[error(
        "this program has made itself a reaper already (PROC_REAP_ACQUIRE); leave that to Reaping, or do without"
    )]
    Taken,
    /// The child is none of this program, has been waited for, or was started before this program was a reaper.
    #[error("{0} is no child that was started since this program is a reaper and has not been waited for")]
    NotUnder(ProcId),
    /// A call failed.
    #[error("{call}: {error}")]
    Call {
        /// Which.
        call: &'static str,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// The thread that reaps orphans could not be started.
    #[error(
        "the thread that reaps orphans could not be started: {0}; raise the limits of processes and open files (ulimit -u, -n)"
    )]
    Thread(#[source] io::Error),
}

impl ReapingError {
    /// For `map_err`.
    pub(super) fn of(call: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::Call { call, error }
    }
}
