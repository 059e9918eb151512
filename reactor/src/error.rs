//! What can go wrong. Texts are fragments that read after "failed to ..." or "...: ".

use std::io;

/// Why a source cannot be used here, or stopped working.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The kernel refused a call that the source needs.
    #[error("{source_name}: {call}: {error}; {advice}")]
    Call {
        /// The source, for instance `cn_proc`.
        source_name: &'static str,
        /// The system call or step that failed.
        call: &'static str,
        /// What the system said.
        #[source]
        error: io::Error,
        /// What to do about it.
        advice: &'static str,
    },
    /// The kernel took the request and never answered it, as it does for programs in other namespaces.
    #[error("{source_name}: {reason}; {advice}")]
    Refused {
        /// The source.
        source_name: &'static str,
        /// What was seen.
        reason: String,
        /// What to do about it.
        advice: &'static str,
    },
    /// This build has no source for this system.
    #[error("{source_name}: not available on this operating system")]
    Unsupported {
        /// The source.
        source_name: &'static str,
    },
}

/// Why a process could not be attached to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttachError {
    /// No process with this pid is visible (ESRCH, C3): never was, has been reaped, or is in another pid
    /// namespace or hidden by the `hidepid` mount option.
    #[error("no process {pid} is visible (it has ended, is in another pid namespace, or /proc hides it)")]
    NoSuchProcess {
        /// The pid that was asked for.
        pid: u32,
    },
    /// The process list could not be read.
    #[error("the process list could not be read: {0}; is /proc mounted?")]
    Census(#[source] io::Error),
    /// The source failed.
    #[error(transparent)]
    Source(#[from] SourceError),
}
