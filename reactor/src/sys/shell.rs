//! For systems without a backend: compiles anywhere, and says that there is none.

use std::sync::OnceLock;
use std::time::Instant;

use super::open::{OpenOptions, SourceName};
use crate::error::SourceError;
use crate::source::Source;

pub(super) fn open(name: SourceName, _options: &OpenOptions) -> Result<Box<dyn Source>, SourceError> {
    Err(SourceError::Unsupported { source_name: name.as_str() })
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
