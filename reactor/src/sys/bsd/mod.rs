//! The BSDs and macOS: system calls for the source over the native EVFILT_PROC, whose reasoning is in `sys/kqueue`.

mod calls;
mod native;
#[cfg(target_os = "macos")]
mod procargs;
#[cfg(any(target_os = "freebsd", target_os = "dragonfly"))]
#[cfg_attr(target_os = "freebsd", path = "procctl_freebsd.rs")]
#[cfg_attr(target_os = "dragonfly", path = "procctl_dragonfly.rs")]
mod procctl;
#[cfg(not(target_os = "macos"))]
mod sysctl;
#[cfg_attr(target_os = "freebsd", path = "table_freebsd.rs")]
#[cfg_attr(target_os = "netbsd", path = "table_netbsd.rs")]
#[cfg_attr(target_os = "openbsd", path = "table_openbsd.rs")]
#[cfg_attr(target_os = "dragonfly", path = "table_dragonfly.rs")]
#[cfg_attr(target_os = "macos", path = "table_macos.rs")]
mod table;
mod thread;
#[cfg_attr(target_os = "macos", path = "usage_macos.rs")]
#[cfg_attr(target_os = "openbsd", path = "usage_none.rs")]
#[cfg_attr(not(any(target_os = "macos", target_os = "openbsd")), path = "usage_wait6.rs")]
mod usage;
mod witness;

#[cfg(any(target_os = "freebsd", target_os = "dragonfly"))]
pub(crate) use procctl::reaper;
pub(crate) use thread::{boot, has_run, like_this_thread, mark, monotonic, thread_id};
pub(crate) use witness::Pidfd;

use super::kqueue::{Follower, HERE, Kqueue, NAME, failed};
use super::open::{OpenOptions, SourceName};
use crate::error::SourceError;
use crate::source::Source;

pub(super) fn open(name: SourceName, _options: &OpenOptions) -> Result<Box<dyn Source>, SourceError> {
    if name.as_str() != NAME {
        return Err(SourceError::Unsupported { source_name: name.as_str() });
    }
    let native = native::Native::open(HERE).map_err(failed("kqueue"))?;
    let follower =
        Follower::new(native, HERE, std::process::id()).map_err(failed("following this program"))?;
    Ok(Box::new(Kqueue::new(follower).map_err(failed("making the spawning thread"))?))
}
