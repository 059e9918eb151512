//! What can go wrong.

use std::ffi::OsString;
use std::io;

use proc_reactor::SourceError;

pub use proc_reactor::AttachError;

/// Why a command could not be spawned. Nothing was started, or what was has been reaped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// The system could not start it: no such program (`NotFound`), not executable (`PermissionDenied`), no
    /// processes left (`WouldBlock`), ...
    #[error("{} could not be started: {error}", program.to_string_lossy())]
    Command {
        /// The program that was asked for.
        program: OsString,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// What was to start it in its own way could not.
    #[error("the child could not be started: {0}")]
    Start(#[source] io::Error),
    /// There is no tokio runtime here to wait for the child in.
    #[error("no tokio runtime here: call spawn from a task, or within Runtime::enter")]
    NoRuntime,
    /// The watcher's source has failed.
    #[error(transparent)]
    Source(#[from] SourceError),
}
