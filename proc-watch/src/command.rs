//! What can be spawned, and the child that comes of it.

use std::ffi::OsString;
use std::io;
use std::process::ExitStatus;

use std::sync::{Arc, Mutex, PoisonError};

use proc_reactor::{ChildFd, ProcId, Reactor, Reader, TreeOptions, Usage};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout, Command};

use crate::capture::Output;
use crate::driver::readable;
use crate::error::SpawnError;
use crate::handle::TreeHandle;
use crate::stop::{Stop, StopPlan};

/// A command that [`Watcher::spawn`](crate::Watcher::spawn) takes.
///
/// Implemented for tokio's `Command`, owned or borrowed, and for the standard library's, owned.
pub trait Spawn: sealed::Sealed {
    #[doc(hidden)]
    fn spawn_in(
        self,
        reactor: &Reactor,
        options: TreeOptions,
    ) -> Result<(Reader, tokio::process::Child), SpawnError>;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for tokio::process::Command {}
    impl Sealed for &mut tokio::process::Command {}
    impl Sealed for std::process::Command {}
}

impl Spawn for &mut Command {
    fn spawn_in(
        self,
        reactor: &Reactor,
        options: TreeOptions,
    ) -> Result<(Reader, tokio::process::Child), SpawnError> {
        // It may have to be started by another thread, which cannot borrow it: it goes there and comes back.
        let command = std::mem::replace(self, Command::new(OsString::new()));
        let given_back = Arc::new(Mutex::new(None));
        let giving_back = Arc::clone(&given_back);
        let result = start(reactor, options, command, move |command| {
            *giving_back.lock().unwrap_or_else(PoisonError::into_inner) = Some(command);
        });
        let command = given_back.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(command) = command {
            *self = command;
        }
        result
    }
}

impl Spawn for Command {
    fn spawn_in(
        self,
        reactor: &Reactor,
        options: TreeOptions,
    ) -> Result<(Reader, tokio::process::Child), SpawnError> {
        start(reactor, options, self, drop)
    }
}

impl Spawn for std::process::Command {
    fn spawn_in(
        self,
        reactor: &Reactor,
        options: TreeOptions,
    ) -> Result<(Reader, tokio::process::Child), SpawnError> {
        Command::from(self).spawn_in(reactor, options)
    }
}

/// Starts `command` and gives it to `done`, in any case but a panic.
fn start(
    reactor: &Reactor,
    options: TreeOptions,
    command: Command,
    done: impl FnOnce(Command) + Send + 'static,
) -> Result<(Reader, tokio::process::Child), SpawnError> {
    let mut begun = Begun { command: Some(command), done: Some(done) };
    let runtime = tokio::runtime::Handle::try_current().map_err(|_| SpawnError::NoRuntime)?;
    reactor.spawn(options, move || {
        let _in_the_runtime = runtime.enter();
        let command = begun.command.as_mut().expect("it goes when this does");
        let child = command.spawn().map_err(|error| {
            let program = command.as_std().get_program().to_owned();
            SpawnError::Command { program, error }
        })?;
        let pid = child.id().expect("a child that nobody has waited for has its pid");
        Ok((pid, child))
    })
}

/// A command on its way to be started, and back.
struct Begun<F: FnOnce(Command)> {
    command: Option<Command>,
    done: Option<F>,
}

impl<F: FnOnce(Command)> Drop for Begun<F> {
    fn drop(&mut self) {
        if let (Some(command), Some(done)) = (self.command.take(), self.done.take()) {
            done(command);
        }
    }
}

/// A child of this program whose tree is watched: tokio's [`Child`](tokio::process::Child), with a [`ProcId`].
///
/// Waiting for it is independent of its stream, and may be faster or slower. Dropped, it is reaped by tokio when it
/// ends, and lives on with its tree, unless its command said `kill_on_drop`, or [`kill_tree_on_drop`](Child::kill_tree_on_drop) was
/// called.
#[derive(Debug)]
pub struct Child {
    /// The writing end of its standard input, if piped.
    pub stdin: Option<ChildStdin>,
    /// The reading end of its standard output, if piped.
    pub stdout: Option<ChildStdout>,
    /// The reading end of its standard error, if piped.
    pub stderr: Option<ChildStderr>,
    /// Until it is taken out.
    inner: Option<tokio::process::Child>,
    handle: TreeHandle,
    kill_tree_on_drop: bool,
    /// Known from when it had ended and nobody had waited for it.
    usage: Option<Usage>,
    /// What was read of its pipes by who gave up.
    captured: [Output; 2],
}

/// What capturing has to do with at once.
pub(crate) struct Parts<'a> {
    pub(crate) stdout: &'a mut Option<ChildStdout>,
    pub(crate) stderr: &'a mut Option<ChildStderr>,
    pub(crate) inner: &'a mut tokio::process::Child,
    pub(crate) captured: &'a mut [Output; 2],
}

impl Child {
    pub(crate) fn new(mut inner: tokio::process::Child, handle: TreeHandle) -> Self {
        let (stdin, stdout, stderr) = (inner.stdin.take(), inner.stdout.take(), inner.stderr.take());
        let (kill_tree_on_drop, usage, captured) = (false, None, Default::default());
        Self { stdin, stdout, stderr, inner: Some(inner), handle, kill_tree_on_drop, usage, captured }
    }

    pub(crate) fn parts(&mut self) -> Parts<'_> {
        let Self { stdout, stderr, inner, captured, .. } = self;
        let inner = inner.as_mut().expect("it is taken out only when this goes");
        Parts { stdout, stderr, inner, captured }
    }

    fn inner(&mut self) -> &mut tokio::process::Child {
        self.inner.as_mut().expect("it is taken out only when this goes")
    }

    /// Who it is, also after it has ended.
    pub fn id(&self) -> ProcId {
        self.handle.id()
    }

    /// Its pid while it has not been waited for: until then the system gives it to nobody else.
    pub fn pid(&self) -> Option<u32> {
        self.inner.as_ref().and_then(tokio::process::Child::id)
    }

    /// Its tree.
    pub fn handle(&self) -> TreeHandle {
        self.handle.clone()
    }

    /// Stops it and everybody of its tree: [`TreeHandle::stop`]. It is still to be waited for.
    pub fn stop(&self, plan: StopPlan) -> Stop {
        self.handle.stop(plan)
    }

    /// Whether dropping this kills everybody of its tree, whether the child has been waited for or not: no by default.
    ///
    /// Dropping then sends SIGKILL to all who live, which takes some 50 us a process; who is born meanwhile is gone after by a thread of the
    /// watcher's, which also reaps the child. That thread needs no runtime. Dropping the last handle of the watcher waits for it, for
    /// up to 2 s.
    pub fn kill_tree_on_drop(&mut self, kill: bool) -> &mut Self {
        self.kill_tree_on_drop = kill;
        if let Some(error) = kill.then(|| self.handle.prepare().err()).flatten() {
            tracing::warn!(%error, "the thread that stops could not be started, and is tried again when it is needed");
        }
        self
    }

    /// Waits until it has ended, and reaps it. Closes its standard input first.
    ///
    /// # Errors
    /// Somebody else has reaped it.
    ///
    /// # Cancel safety
    ///
    /// Cancel-safe, but for the closing of standard input.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        drop(self.stdin.take());
        self.inner().wait().await
    }

    /// The same, and what it has used: processor time and peak memory, with those of its children that it has waited for.
    ///
    /// The usage is `None` where the child has been reaped by somebody else or by an earlier [`wait`](Self::wait), where no
    /// descriptors are left, and where the system tells it to nobody but who reaps (Linux before 5.4, OpenBSD). Takes a turn when it is called.
    ///
    /// # Errors
    /// Somebody else has reaped it.
    ///
    /// # Cancel safety
    ///
    /// Cancel-safe, but for the closing of standard input.
    pub async fn wait_with_usage(&mut self) -> io::Result<(ExitStatus, Option<Usage>)> {
        drop(self.stdin.take());
        // To wait is to reap: what it has used is asked for between its end and that.
        if let Some(pid) = self.pid() {
            match self.handle.descriptor() {
                // Where it cannot be waited for like this, what it used is not known.
                Ok(process) => {
                    if let Ok(end) = readable(&process) {
                        let _ = end.readable().await;
                        self.usage = process.usage().ok().flatten();
                    }
                }
                // It has ended: who has its pid and lives is somebody else, should it have been reaped behind our back.
                Err(_) => self.usage = ChildFd::usage_of(pid).ok().flatten(),
            }
        }
        Ok((self.inner().wait().await?, self.usage))
    }

    /// Its status if it has ended, and reaps it.
    ///
    /// # Errors
    /// Somebody else has reaped it.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.inner().try_wait()
    }

    /// Kills it alone, not its tree, and does not wait.
    ///
    /// # Errors
    /// It has been waited for already.
    pub fn start_kill(&mut self) -> io::Result<()> {
        self.inner().start_kill()
    }

    /// Reads its piped output to the end, and waits for it. The end comes when every process that has inherited the
    /// pipes has closed them, which may be long after the child has ended.
    ///
    /// # Errors
    /// A pipe cannot be read, or somebody else has reaped the child.
    ///
    /// # Cancel safety
    ///
    /// Not cancel-safe: what was read is lost, and the child is dropped. [`capture`](Self::capture) is.
    pub async fn wait_with_output(mut self) -> io::Result<std::process::Output> {
        // When it is over this is dropped, and before if it is given up: with it goes the tree, if that was asked for.
        let inner = self.take();
        inner.wait_with_output().await
    }

    /// tokio's child. Its tree is not killed by dropping that.
    pub fn into_inner(mut self) -> tokio::process::Child {
        self.kill_tree_on_drop = false;
        self.take()
    }

    fn take(&mut self) -> tokio::process::Child {
        let mut inner = self.inner.take().expect("it is taken out only when this goes");
        (inner.stdin, inner.stdout, inner.stderr) =
            (self.stdin.take(), self.stdout.take(), self.stderr.take());
        inner
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.kill_tree_on_drop {
            self.handle.kill(self.inner.take());
        }
    }
}
