//! Descriptors that are kept for when there are no others left: a program that has run out of them wants its children stopped all the more.

use std::fs::File;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What stopping one process takes at once: its pidfd, and two to look at it; and what the thread that stops takes to begin: an epoll, and
/// a bell.
const MANY: usize = 5;

/// Descriptors of /dev/null.
#[derive(Debug, Default)]
pub(crate) struct Reserve(Mutex<Vec<File>>);

impl Reserve {
    /// As many as are to be had.
    pub(crate) fn fill(&self) {
        let mut files = self.files();
        while files.len() < MANY {
            match File::open("/dev/null") {
                Ok(file) => files.push(file),
                Err(_) => return,
            }
        }
    }

    /// Frees them, for whoever comes first. False if there were none.
    pub(crate) fn spend(&self) -> bool {
        !std::mem::take(&mut *self.files()).is_empty()
    }

    fn files(&self) -> MutexGuard<'_, Vec<File>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
