//! A watcher over each source that works here.

use proc_watch::{Builder, SourceName, Watcher};

pub(crate) fn watchers() -> Vec<Watcher> {
    watchers_with(|builder| builder)
}

pub(crate) fn watchers_with(with: impl Fn(Builder) -> Builder) -> Vec<Watcher> {
    let open = |source| match with(Watcher::builder().source(source)).build() {
        Ok(watcher) => Some(watcher),
        Err(error) => {
            println!("SKIPPED: {source}: {error}");
            None
        }
    };
    SourceName::ALL.iter().copied().filter_map(open).collect()
}
