//! A thread that starts processes, for a source that sees only what that thread starts.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{self, Sender};
use std::thread::JoinHandle;

use crate::sync::Mutex;

type Job = Box<dyn FnOnce() + Send>;

/// Runs jobs one after the other on a thread of its own, which lives until this is dropped.
///
/// What the jobs start has that thread for its parent: a parent-death signal (`PR_SET_PDEATHSIG`) comes when it ends.
pub struct Spawner {
    jobs: Mutex<Option<Sender<Job>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl fmt::Debug for Spawner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spawner").finish_non_exhaustive()
    }
}

impl Spawner {
    /// Starts the thread, and runs `begin` on it; its outcome is returned.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn start<T: Send + 'static>(
        begin: impl FnOnce() -> T + Send + 'static,
    ) -> std::io::Result<(Self, T)> {
        let (jobs, work) = mpsc::channel::<Job>();
        let thread = std::thread::Builder::new()
            .name("proc-spawner".to_owned())
            .spawn(move || work.into_iter().for_each(|job| job()))?;
        let spawner = Self { jobs: Mutex::new(Some(jobs)), thread: Mutex::new(Some(thread)) };
        let begun = spawner.run(begin);
        Ok((spawner, begun))
    }

    /// Runs `job` on the thread and waits for what it returns. A panic of it is passed on to the caller.
    ///
    /// # Panics
    /// The job panicked.
    pub fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, outcome) = mpsc::sync_channel(1);
        let job = Box::new(move || {
            let _ = done.send(catch_unwind(AssertUnwindSafe(job)));
        });
        let jobs = self.jobs.lock();
        jobs.as_ref()
            .expect("the thread ends when this is dropped")
            .send(job)
            .expect("it takes jobs till then");
        drop(jobs);
        match outcome.recv().expect("each job is run") {
            Ok(value) => value,
            Err(panic) => resume_unwind(panic),
        }
    }
}

impl Spawner {
    /// Whether the caller is one of its jobs.
    pub(crate) fn is_this_thread(&self) -> bool {
        let thread = self.thread.lock();
        thread.as_ref().is_some_and(|thread| thread.thread().id() == std::thread::current().id())
    }
}

impl Drop for Spawner {
    fn drop(&mut self) {
        drop(self.jobs.lock().take());
        let thread = self.thread.lock().take();
        if let Some(thread) = thread {
            // It may be dropped by its own last job.
            if thread.thread().id() != std::thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}
