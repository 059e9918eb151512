//! Who drives: in each runtime that polls a stream, one task that takes a turn when the reactor has something.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use proc_reactor::{Guard, Reactor, Turned};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime::{Handle, Id};
use tokio::task::AbortHandle;

/// The tasks that drive one reactor, and the guard for when none of them does.
#[derive(Debug)]
pub(crate) struct Drivers {
    tasks: Mutex<HashMap<Id, Driver>>,
    guard: Guard,
}

#[derive(Debug)]
struct Driver {
    task: AbortHandle,
    /// Whether it came so far as to wait for the reactor.
    works: Arc<AtomicBool>,
}

impl Drivers {
    pub(crate) fn new(reactor: &Reactor) -> io::Result<Self> {
        Ok(Self { tasks: Mutex::default(), guard: Guard::start(reactor)? })
    }

    fn tasks(&self) -> MutexGuard<'_, HashMap<Id, Driver>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sees to it that the reactor is driven from where this is called.
    pub(crate) fn ensure(&self, reactor: &Reactor) {
        let Ok(runtime) = Handle::try_current() else {
            self.guard.set_eager(true);
            return;
        };
        let mut tasks = self.tasks();
        match tasks.get(&runtime.id()) {
            Some(driver) if !driver.task.is_finished() => {
                self.guard.set_eager(false);
                return;
            }
            // It ended by itself: this runtime cannot wait for descriptors.
            Some(driver) if !driver.works.load(Ordering::Acquire) => {
                self.guard.set_eager(true);
                return;
            }
            _ => {}
        }
        tasks.retain(|_, driver| !driver.task.is_finished());
        let works = Arc::new(AtomicBool::new(false));
        let driving = drive(reactor.clone(), Arc::clone(&works));
        let task = runtime.spawn(driving).abort_handle();
        tasks.insert(runtime.id(), Driver { task, works });
    }
}

impl Drop for Drivers {
    /// The watcher and all its streams are gone.
    fn drop(&mut self) {
        for (_, driver) in self.tasks().drain() {
            driver.task.abort();
        }
    }
}

/// Takes turns until it is aborted or the runtime shuts down.
async fn drive(reactor: Reactor, works: Arc<AtomicBool>) {
    let fd = match readable(&reactor) {
        Ok(fd) => fd,
        Err(error) => {
            tracing::warn!(%error, "this runtime cannot drive the reactor; the guard thread does");
            return;
        }
    };
    works.store(true, Ordering::Release);
    loop {
        match fd.readable().await {
            Err(error) => {
                tracing::debug!(%error, "the runtime is shutting down");
                return;
            }
            Ok(mut ready) => {
                while reactor.turn() == Turned::More {
                    tokio::task::yield_now().await;
                }
                ready.clear_ready();
            }
        }
    }
}

/// The reactor's descriptor, duplicated: one and the same can be registered once with each runtime only.
#[expect(unsafe_code, reason = "tokio cannot know that a descriptor stays open while it is registered")]
fn readable(reactor: &Reactor) -> io::Result<AsyncFd<OwnedFd>> {
    let fd = reactor.as_fd().try_clone_to_owned()?;
    // SAFETY: an OwnedFd gives the same open descriptor for as long as it lives, and the AsyncFd owns it.
    let registered = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
    registered.map_err(io::Error::from)
}
