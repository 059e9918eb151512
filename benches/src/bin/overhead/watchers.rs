//! Who watches.

/// A watcher, and how it is started.
#[derive(Debug)]
pub(crate) struct Watcher {
    pub(crate) name: &'static str,
    /// The reader by the same means that does nothing with what it reads.
    pub(crate) bare: Option<&'static str>,
    pub(crate) start: Start,
}

/// How a watcher comes to watch the workload.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Start {
    /// There is none.
    Nobody,
    /// It watches the whole machine. Started first; it watches when its socket listens.
    Beside(&'static [&'static str]),
    /// It starts the workload, whose command follows its own.
    Around(&'static [&'static str]),
}

/// Stands for this program itself, in a role: the next word.
pub(crate) const SELF: &str = "self";

pub(crate) const NONE: &str = "none";
pub(crate) const BARE: &str = "bare cn_proc";
pub(crate) const BARE_PERF: &str = "bare perf";
pub(crate) const CN_PROC: &str = "ours, cn_proc";
pub(crate) const PERF: &str = "ours, perf";
pub(crate) const FORKSTAT: &str = "forkstat";

impl Watcher {
    const fn new(name: &'static str, bare: Option<&'static str>, start: Start) -> Self {
        Self { name, bare, start }
    }
}

/// All of them, in the order of the table.
pub(crate) const WATCHERS: &[Watcher] = &[
    Watcher::new(NONE, None, Start::Nobody),
    Watcher::new(BARE, None, Start::Beside(&[SELF, "bare"])),
    Watcher::new("bare cn_proc, batched", Some(BARE), Start::Beside(&[SELF, "bare-batched"])),
    // The least that a tokio program can do.
    Watcher::new("bare cn_proc, tokio", Some(BARE), Start::Beside(&[SELF, "bare-tokio"])),
    Watcher::new(CN_PROC, Some(BARE), Start::Around(&[SELF, "proc-watch", "cn_proc"])),
    Watcher::new(
        "ours, cn_proc, metadata",
        Some(BARE),
        Start::Around(&[SELF, "proc-watch-metadata", "cn_proc"]),
    ),
    Watcher::new(BARE_PERF, None, Start::Around(&[SELF, "bare-perf"])),
    // The least that statuses of others' children can cost.
    Watcher::new("bare perf, pidfds", Some(BARE_PERF), Start::Around(&[SELF, "bare-perf-pidfds"])),
    Watcher::new(PERF, Some(BARE_PERF), Start::Around(&[SELF, "proc-watch", "perf"])),
    // Without the statuses of others' children.
    Watcher::new(
        "ours, perf, no pidfds",
        Some(BARE_PERF),
        Start::Around(&[SELF, "proc-watch-no-pidfds", "perf"]),
    ),
    Watcher::new(
        "ours, perf, metadata",
        Some(BARE_PERF),
        Start::Around(&[SELF, "proc-watch-metadata", "perf"]),
    ),
    Watcher::new("ours, both", Some(BARE), Start::Around(&[SELF, "proc-watch", "both"])),
    Watcher::new(FORKSTAT, None, Start::Beside(&["forkstat", "-e", "fork,exec,exit"])),
    Watcher::new("strace", None, Start::Around(&["strace", "-f", "-e", "trace=process", "-o", "/dev/null"])),
];
