//! Who watches.

/// A watcher, and how it is started.
#[derive(Debug)]
pub(crate) struct Watcher {
    pub(crate) name: &'static str,
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
pub(crate) const BARE: &str = "bare";
pub(crate) const LIBRARY: &str = "proc-watch";
pub(crate) const FORKSTAT: &str = "forkstat";

/// All of them, in the order of the table.
pub(crate) const WATCHERS: &[Watcher] = &[
    Watcher { name: NONE, start: Start::Nobody },
    Watcher { name: BARE, start: Start::Beside(&[SELF, "bare"]) },
    Watcher { name: "bare-batched", start: Start::Beside(&[SELF, "bare-batched"]) },
    // The least that a tokio program can do.
    Watcher { name: "bare-tokio", start: Start::Beside(&[SELF, "bare-tokio"]) },
    Watcher { name: LIBRARY, start: Start::Around(&[SELF, "proc-watch"]) },
    Watcher { name: "proc-watch metadata", start: Start::Around(&[SELF, "proc-watch-metadata"]) },
    Watcher { name: FORKSTAT, start: Start::Beside(&["forkstat", "-e", "fork,exec,exit"]) },
    Watcher {
        name: "strace",
        start: Start::Around(&["strace", "-f", "-e", "trace=process", "-o", "/dev/null"]),
    },
];
