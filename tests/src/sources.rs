//! The sources that tests are run over, each forced.

use proc_watch::{SourceName, Watcher};

/// `net.core.rmem_max` as the kernel has it without further ado.
pub const STOCK_BUFFER: usize = 212_992;

/// A source, and how it is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forced {
    /// The source.
    pub name: SourceName,
    /// Bytes of each socket's buffer, if not as many as are permitted.
    pub buffer: Option<usize>,
}

impl Forced {
    /// A watcher over it.
    ///
    /// # Panics
    ///
    /// It does not open, though it did before.
    pub fn watcher(self) -> Watcher {
        let builder = Watcher::builder().source(self.name);
        let builder = match self.buffer {
            Some(bytes) => builder.receive_buffer(bytes),
            None => builder,
        };
        builder.build().unwrap_or_else(|error| panic!("{self:?}: {error}"))
    }
}

/// All sources that work here. Of those that do not it is said that they are skipped, and why.
///
/// # Panics
///
/// None works here.
pub fn sources() -> Vec<Forced> {
    let mut sources = Vec::new();
    for &name in SourceName::ALL {
        match Watcher::builder().source(name).build() {
            Ok(_) => sources.push(Forced { name, buffer: None }),
            Err(error) => println!("SKIPPED: source {name}: {error}"),
        }
    }
    assert!(!sources.is_empty(), "no source works here");
    sources
}

/// The same, and those with a receive buffer once more with that of a stock distribution, where records are spread over several
/// sockets.
pub fn sources_and_buffers() -> Vec<Forced> {
    let mut sources = sources();
    let stock = |forced: &Forced| match forced.name {
        SourceName::CnProc => Some(Forced { buffer: Some(STOCK_BUFFER), ..*forced }),
        _ => None,
    };
    sources.extend(sources.clone().iter().filter_map(stock));
    sources
}
