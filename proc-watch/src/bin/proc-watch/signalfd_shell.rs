//! No signalfd here, and no source either: `run` is refused before it would listen. Only so that it compiles.

use std::convert::Infallible;
use std::io;

use libc::{c_int, sigset_t};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) signal: c_int,
    pub(crate) from_kernel: bool,
}

#[derive(Debug)]
pub(crate) struct Listener(Infallible);

impl Listener {
    pub(crate) fn new(_signals: &sigset_t) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) async fn next(&self) -> io::Result<Received> {
        match self.0 {}
    }
}
