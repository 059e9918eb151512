//! Linux.

mod cn_proc;
#[cfg(any(test, fuzzing))]
mod cn_proc_model;
#[cfg(test)]
mod cn_proc_tests;
mod epoll;
mod kernel_log;
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
mod taskstats;

pub(crate) use pidfd::Pidfd;
pub(crate) use procfs::{boot, has_run, mark};
pub(crate) use syscall::{like_this_thread, monotonic, thread_id};

use std::io;

use super::open::{OpenOptions, SourceName};
use crate::account::Ledger;
use crate::error::SourceError;
use crate::source::{Source, Witnesses};

pub(super) fn open(name: SourceName, options: &OpenOptions) -> Result<Box<dyn Source>, SourceError> {
    match name {
        SourceName::CnProc => Ok(Box::new(cn_proc::CnProc::open(options)?)),
        SourceName::Perf => Ok(Box::new(perf::Perf::open(options)?)),
        SourceName::Both => Ok(Box::new(both(options)?)),
        SourceName::Kqueue => Err(SourceError::Unsupported { source_name: name.as_str() }),
    }
}

/// What processes use, and whom the kernel kills for want of memory.
pub(crate) fn ledgers() -> [io::Result<Box<dyn Ledger>>; 2] {
    fn boxed(ledger: impl Ledger + 'static) -> Box<dyn Ledger> {
        Box::new(ledger)
    }
    [taskstats::TaskStats::open().map(boxed), kernel_log::KernelLog::open().map(boxed)]
}

/// The process connector, which has the statuses and the whole machine, held against perf events, which no loss of a socket's
/// touches.
fn both(options: &OpenOptions) -> Result<Witnesses<cn_proc::CnProc, perf::Perf>, SourceError> {
    let of_both = |name: SourceName| {
        move |error: SourceError| error.of_a_part(SourceName::Both.as_str(), name.as_str())
    };
    let first = cn_proc::CnProc::open(options).map_err(of_both(SourceName::CnProc))?;
    // Statuses are the first's to know.
    let without_pidfds = OpenOptions { pidfds: Some(0), ..options.clone() };
    let second = perf::Perf::open(&without_pidfds).map_err(of_both(SourceName::Perf))?;
    let joined = epoll::Epoll::new().and_then(|epoll| {
        epoll.add(first.fd(), 0)?;
        epoll.add(second.fd(), 1)?;
        Ok(epoll.into())
    });
    let joined = joined.map_err(|error| SourceError::Call {
        source_name: SourceName::Both.as_str(),
        call: "epoll",
        error,
        advice: "raise the limit of open files (ulimit -n)",
    })?;
    Ok(Witnesses::new(first, second, joined))
}
