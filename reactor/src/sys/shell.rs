//! For systems without a backend: compiles anywhere, and says that there is none.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::time::Instant;

use super::open::{OpenOptions, SourceName};
use crate::error::SourceError;
use crate::source::Source;
use crate::status::Usage;

pub(super) fn open(name: SourceName, _options: &OpenOptions) -> Result<Box<dyn Source>, SourceError> {
    Err(SourceError::Unsupported { source_name: name.as_str() })
}

/// There are none: no value of it can be.
#[derive(Debug)]
pub(crate) enum Pidfd {}

impl Pidfd {
    pub(crate) fn of(_fd: OwnedFd, _pid: u32) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn open(_pid: u32) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn lives(&self) -> io::Result<bool> {
        match *self {}
    }

    pub(crate) fn usage(&self) -> io::Result<Option<Usage>> {
        match *self {}
    }

    pub(crate) fn used_by(_pid: u32) -> io::Result<Option<Usage>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn send_signal(&self, _signal: i32) -> io::Result<()> {
        match *self {}
    }
}

impl From<Pidfd> for OwnedFd {
    fn from(pidfd: Pidfd) -> Self {
        match pidfd {}
    }
}

impl AsFd for Pidfd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match *self {}
    }
}

pub(crate) fn has_run(_pid: u32) -> io::Result<bool> {
    Ok(true)
}

/// Processes have no identity here that a later program would know.
pub(crate) fn boot() -> io::Result<u128> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(crate) fn mark(_pid: u32, _pidfd: &Pidfd) -> io::Result<Option<crate::persist::Mark>> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(crate) fn thread_id() -> u32 {
    std::process::id()
}

pub(crate) fn monotonic() -> u64 {
    static BEGIN: OnceLock<Instant> = OnceLock::new();
    u64::try_from(BEGIN.get_or_init(Instant::now).elapsed().as_nanos()).unwrap_or(u64::MAX)
}

pub(crate) fn like_this_thread() -> impl FnOnce() + Send + 'static {
    || {}
}
