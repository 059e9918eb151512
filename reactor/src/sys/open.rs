//! Choosing a source by trying.

use std::fmt;
use std::str::FromStr;

use super::system;
use crate::error::SourceError;
use crate::source::Source;

/// The kernel has an EVFILT_PROC.
const NATIVE: bool = cfg!(any(
    target_os = "freebsd",
    target_os = "netbsd",
    target_os = "openbsd",
    target_os = "dragonfly",
    target_os = "macos"
));

/// The sources that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SourceName {
    /// Linux: the kernel's process connector. Fork, exec and exit with status of the whole machine. Works in the initial
    /// pid, user and network namespace, as root or on kernel 6.6 and later as anybody.
    CnProc,
    /// Linux: perf events of the trees that are watched, and of nothing else. Fork, exec and exit, in any namespace, as
    /// anybody whom the kernel lets open perf events on his own processes; statuses by pidfd, as far as they can be had.
    Perf,
    /// Both at once, to check one another: what is told is what `cn_proc` tells, and what `perf` says otherwise is
    /// reported. Never chosen by itself.
    Both,
    /// The BSDs and macOS: the kernel's own kqueue, of the trees that are watched and all that this program starts. Fork, exec and exit
    /// with status, as anybody; children by NOTE_TRACK, and on macOS, which has none, as far as they are found.
    Kqueue,
}

impl SourceName {
    /// All that there are on this system.
    pub const ALL: &[Self] = if NATIVE { &[Self::Kqueue] } else { &[Self::CnProc, Self::Perf, Self::Both] };
    /// Those that are chosen by themselves, in the order in which they are tried.
    pub const TRIED: &[Self] = if NATIVE { &[Self::Kqueue] } else { &[Self::CnProc, Self::Perf] };

    /// As `--source` takes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CnProc => "cn_proc",
            Self::Perf => "perf",
            Self::Both => "both",
            Self::Kqueue => "kqueue",
        }
    }
}

impl fmt::Display for SourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for SourceName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().copied().find(|name| name.as_str() == text);
        found.ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|name| name.as_str()).collect();
            format!("no source {text:?}; there is: {}", names.join(", "))
        })
    }
}

/// Which source, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpenOptions {
    /// This one and no other; else the first that works.
    pub source: Option<SourceName>,
    /// Bytes asked of the kernel for each socket's receive buffer, as an unprivileged program may ask (`SO_RCVBUF`).
    /// Else as much as is permitted.
    pub receive_buffer: Option<usize>,
    /// Over how many sockets the records are spread, a power of two up to 64. Else 1 where the buffer is large, and
    /// 16 where it is small.
    pub shards: Option<usize>,
    /// Pages of each processor's ring of `perf`, a power of two. Else 64 (256 KiB), or as many as are permitted.
    pub ring_pages: Option<usize>,
    /// How many pidfds `perf` may hold at once, to learn statuses by. Else a quarter of the soft limit of open files.
    pub pidfds: Option<usize>,
    /// With `perf`: has this program adopt the orphans of all that it starts (`PR_SET_CHILD_SUBREAPER`), as pid 1 does else, so that
    /// they stay until their statuses are known. Those of watched trees are reaped here; others that reach this
    /// program stay zombies unless it waits for them itself. Off by default.
    pub subreaper: bool,
}

/// No source works here.
#[derive(Debug)]
pub struct OpenError {
    tried: Vec<SourceError>,
}

impl OpenError {
    /// Why each that was tried does not.
    pub fn tried(&self) -> &[SourceError] {
        &self.tried
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no source of process events works here")?;
        self.tried.iter().try_for_each(|error| write!(f, "\n  {error}"))
    }
}

impl std::error::Error for OpenError {}

/// Opens the first source that works here, found by trying and not by versions or settings.
///
/// # Errors
/// None works; the error says why not of each.
pub fn open(options: &OpenOptions) -> Result<Box<dyn Source>, OpenError> {
    let mut tried = Vec::new();
    let names = options.source.as_ref().map_or(SourceName::TRIED, std::slice::from_ref);
    for &name in names {
        match system::open(name, options) {
            Ok(source) => {
                tracing::debug!(source = source.name(), capabilities = ?source.capabilities(), "opened");
                return Ok(source);
            }
            Err(error) => tried.push(error),
        }
    }
    Err(OpenError { tried })
}
