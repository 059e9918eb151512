//! A watcher over each source that works here.

use proc_watch::{Builder, SourceName, Watcher};

#[allow(dead_code, reason = "some of those who have this module want others")]
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
