//! Who lives: processes with birth numbers, parents and threads, and which trees follow them.

pub(crate) mod ends;
pub(crate) mod metadata;
pub(crate) mod pids;
pub(crate) mod table;
pub(crate) mod threads;
pub(crate) mod track;
