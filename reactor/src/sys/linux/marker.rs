//! Markers: messages of our own, one on each processor, that show up to where each processor's sequence has come.
//!
//! A gap in a processor's sequence shows only with the next message from it, which may never come. So a thread goes to
//! each processor and renames itself to the name it has, which the kernel reports (1.4 us each). It is a thread
//! of its own so that no caller's thread is moved about; it ends at once.

use std::io;
use std::thread;

use super::syscall;

/// Who marked: the thread, and the processors it was on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Marks {
    pub(super) thread: u32,
    pub(super) cpus: Vec<u32>,
}

/// Marks each processor that this program may run on.
pub(super) fn mark_all() -> io::Result<Marks> {
    let marker = thread::Builder::new().name("proc-marker".to_owned()).spawn(|| -> io::Result<Marks> {
        let mut cpus = Vec::new();
        for cpu in syscall::allowed_cpus()? {
            // One may have gone offline; its messages have too.
            if syscall::run_on(cpu).is_ok() {
                syscall::rename_to_own_name()?;
                cpus.push(cpu);
            }
        }
        Ok(Marks { thread: syscall::thread_id(), cpus })
    })?;
    marker.join().unwrap_or_else(|_| Err(io::Error::other("the marking thread panicked")))
}
