//! [`Reaping`]: this program as the reaper of its descendants, for as long as it lives.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::collector::Collector;
use super::error::ReapingError;
use super::kernel::{Kernel, collect, read};
use super::subtree::Subtree;
use crate::ident::ProcId;

/// This program is the reaper of its descendants (procctl(2), FreeBSD and DragonFly): their orphans become its children, and not init's, and the
/// kernel says who all of them are. [`Subtree`] is what that is good for.
///
/// It is a property of the whole program, and is taken on by this and by nothing else: whoever acquires it wants that. It begins for
/// children that are started from then on, those who were there before are not under it, and it ends with the last clone and the last [`Subtree`].
/// A second `acquire` gives the same.
///
/// FreeBSD: orphans that have ended are reaped here, by a thread that waits for nobody else: the program's own children are left to who started
/// them (K10). A program that waits for whatever child there is (`wait4(-1)`) may see orphans' statuses, which it would not see without this.
///
/// DragonFly has no list: what it can say is whether anybody at all is left, and orphans are nobody's to tell from children, so that they have
/// to be waited for by the program, as by an init.
///
/// ```no_run
/// use proc_reactor::{ProcId, Reaping, Standing};
///
/// # fn spawn() -> ProcId { ProcId::new(1, 1) }
/// let reaping = Reaping::acquire()?;
/// let child: ProcId = spawn();
/// let subtree = reaping.subtree(child)?;
/// // ...
/// let is_gone = matches!(subtree.look(|_| false)?, Standing::Empty);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Reaping(Arc<Held>);

#[derive(Debug)]
struct Held {
    kernel: Arc<dyn Kernel>,
    /// By the monotonic clock, in nanoseconds.
    since: u64,
    /// It is the system's, of which the program has one.
    is_system: bool,
    collector: Option<Collector>,
}

/// That of the system. Locked for as long as it is taken on and given up, so that the one is not taken for the other. (Of the standard
/// library, since it is no part of what the model checkers look at.)
static SYSTEM: Mutex<Weak<Held>> = Mutex::new(Weak::new());

/// Whether orphans may have come to this program: it is or was a reaper, by this or by its own doing.
static ADOPTS: AtomicBool = AtomicBool::new(false);

/// The same. Never false again: who has come stays.
#[cfg(any(
    target_os = "freebsd",
    target_os = "netbsd",
    target_os = "openbsd",
    target_os = "dragonfly",
    target_os = "macos"
))]
pub(crate) fn adopts_orphans() -> bool {
    ADOPTS.load(Ordering::Acquire)
}

impl Reaping {
    /// Makes this program a reaper, if it is none yet.
    ///
    /// # Errors
    /// There is none on this system, or this program has made itself one by another way. No thread or no descriptors are left.
    pub fn acquire() -> Result<Self, ReapingError> {
        let mut system = SYSTEM.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = system.upgrade() {
            return Ok(Self(held));
        }
        let kernel = crate::sys::reaper().map_err(|_| ReapingError::Unsupported)?;
        ADOPTS.store(true, Ordering::Release);
        let reaping = Self::begin(kernel, true)?;
        *system = Arc::downgrade(&reaping.0);
        Ok(reaping)
    }

    /// Over a kernel of one's own.
    #[cfg(any(test, feature = "sim"))]
    pub(super) fn over(kernel: Arc<dyn Kernel>) -> Result<Self, ReapingError> {
        Self::begin(kernel, false)
    }

    /// The same, with no thread besides: orphans stay.
    #[cfg(test)]
    pub(super) fn alone(kernel: Arc<dyn Kernel>) -> Self {
        kernel.acquire().unwrap();
        let since = kernel.now();
        Self(Arc::new(Held { kernel, since, is_system: false, collector: None }))
    }

    fn begin(kernel: Arc<dyn Kernel>, is_system: bool) -> Result<Self, ReapingError> {
        kernel.acquire().map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => ReapingError::Taken,
            io::ErrorKind::Unsupported => ReapingError::Unsupported,
            _ => ReapingError::Call { call: "PROC_REAP_ACQUIRE", error },
        })?;
        let since = kernel.now();
        let collector = match read(&*kernel) {
            // Without a list nobody knows who is an orphan.
            Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(None),
            _ => Collector::start(Arc::clone(&kernel)).map(Some),
        };
        match collector {
            Ok(collector) => Ok(Self(Arc::new(Held { kernel, since, is_system, collector }))),
            Err(error) => {
                let _ = kernel.release();
                Err(ReapingError::Thread(error))
            }
        }
    }

    /// The subtree of a child that has been started since, and has not been waited for: it and all its descendants.
    ///
    /// Until then its pid is nobody else's, so call it when the child has been started, and before it is waited for.
    ///
    /// # Errors
    /// It is no such child, or a call failed.
    pub fn subtree(&self, child: ProcId) -> Result<Subtree, ReapingError> {
        let kernel = &*self.0.kernel;
        let pid = child.pid();
        let is_listed = match read(kernel) {
            Ok(list) => {
                Some(list.iter().any(|listed| listed.pid == pid && listed.child && listed.subtree == pid))
            }
            Err(error) if error.kind() == io::ErrorKind::Unsupported => None,
            Err(error) => return Err(ReapingError::of("PROC_REAP_GETPIDS")(error)),
        };
        let looked = kernel.look(pid).map_err(ReapingError::of("the process table"))?;
        match (is_listed, looked) {
            (Some(true), Some(looked)) => Ok(Subtree::new(self.clone(), child, looked.start)),
            // Who is under it the list would say; the time of its birth does.
            (None, Some(looked)) if looked.parent == std::process::id() && looked.start >= self.0.since => {
                Ok(Subtree::new(self.clone(), child, looked.start))
            }
            _ => Err(ReapingError::NotUnder(child)),
        }
    }

    /// Whether nobody is left who descends from a child that was started since: on DragonFly zombies do not count, on FreeBSD they do until they
    /// have been reaped.
    ///
    /// # Errors
    /// What procctl(2) says.
    pub fn is_deserted(&self) -> io::Result<bool> {
        Ok(self.0.kernel.count()? == 0)
    }

    pub(super) fn kernel(&self) -> &dyn Kernel {
        &*self.0.kernel
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let system = self.is_system.then(|| SYSTEM.lock().unwrap_or_else(PoisonError::into_inner));
        if self.collector.take().is_some() {
            // Those who have ended and are not told yet would be zombies for good.
            let _ = collect(&*self.kernel);
        }
        if let Err(error) = self.kernel.release() {
            tracing::debug!(%error, "this program remains a reaper");
        }
        drop(system);
    }
}
