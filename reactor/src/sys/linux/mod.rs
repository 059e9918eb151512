//! Linux.

mod cn_proc;
#[cfg(any(test, fuzzing))]
mod cn_proc_model;
#[cfg(test)]
mod cn_proc_tests;
mod epoll;
mod loss;
mod marker;
mod message;
mod netlink;
mod perf;
mod pidfd;
#[cfg(test)]
mod pidfd_tests;
mod procfs;
#[cfg(any(test, fuzzing))]
pub(crate) mod properties;
mod syscall;

pub(crate) use pidfd::Pidfd;
pub(crate) use procfs::has_run;
pub(crate) use syscall::{like_this_thread, monotonic, thread_id};

use super::open::{OpenOptions, SourceName};
use crate::error::SourceError;
use crate::source::Source;

pub(super) fn open(name: SourceName, options: &OpenOptions) -> Result<Box<dyn Source>, SourceError> {
    match name {
        SourceName::CnProc => Ok(Box::new(cn_proc::CnProc::open(options)?)),
        SourceName::Perf => Ok(Box::new(perf::Perf::open(options)?)),
        SourceName::Both => Err(SourceError::Unsupported { source_name: name.as_str() }),
    }
}
