//! Binding a process of the table to a descriptor (K2): a pid alone names whoever has it.
//!
//! The steps, in an order that matters:
//!
//! 1. The birth that is meant lives in the table, as the youngest of its pid.
//! 2. Its pid is opened. The descriptor is that of whoever has the pid now: of the process that is meant, or of a later one.
//! 3. Whoever has the pid now has run. A process is woken when the record of its birth has been sent, and not before.
//! 4. What is queued is taken in. If the descriptor is that of a later process, its birth is among it; the end of the
//!    one that is meant need not be, for the kernel may send it late.
//! 5. That birth still lives in the table as the youngest of its pid, so that nobody was born after it up to step 2.
//! 6. The descriptor does not say that its process has ended. So it had the pid all the time, and steps 3 to 5 were about it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use crate::ProcId;
use crate::error::SignalError;
use crate::persist::PersistentId;
use crate::process::table::same_start;
use crate::reactor::handle::Shared;
use crate::reactor::turn::{FIRST_PAUSE, LAST_PAUSE, Turn};
use crate::source::Source;
use crate::status::Usage;
use crate::sys::{self, Pidfd};

/// What the steps are made of.
pub(crate) trait Witness {
    type Descriptor;

    /// Whether this birth lives in the table, and none after it has its pid.
    fn lives(&mut self, id: ProcId) -> bool;

    /// Opens its pid. `None`: nobody has it.
    fn open(&mut self, id: ProcId) -> Result<Option<Self::Descriptor>, SignalError>;

    /// Whether who has its pid now has run.
    fn has_run(&mut self, id: ProcId) -> Result<bool, SignalError>;

    /// Lets them run who have not. False if they have had time enough.
    fn pause(&mut self) -> bool;

    /// Takes in what is queued.
    fn drain(&mut self) -> Drained;

    /// Whether who has its pid now started when it did, as far as the system tells.
    fn starts_alike(&mut self, id: ProcId) -> Result<bool, SignalError>;

    /// Whether the process of the descriptor lives.
    fn is_alive(&mut self, descriptor: &Self::Descriptor) -> Result<bool, SignalError>;

    /// The steps after the draining.
    fn is_alive_still(&mut self, id: ProcId, descriptor: &Self::Descriptor) -> Result<bool, SignalError> {
        Ok(self.starts_alike(id)? && self.lives(id) && self.is_alive(descriptor)?)
    }
}

/// What draining came to.
#[derive(Debug)]
pub(crate) enum Drained {
    Settled,
    /// After a loss only the process list knows who lives, and it could not be read.
    Unsettled,
    Failed,
}

/// Descriptors of these processes, and of no others. Each step is done for all before the next, so that they share the pauses and the
/// draining.
pub(crate) fn attest<W: Witness>(ids: &[ProcId], witness: &mut W) -> Vec<Result<W::Descriptor, SignalError>> {
    let open = |&id: &ProcId| {
        if !witness.lives(id) {
            return Err(SignalError::Gone { id });
        }
        witness.open(id)?.ok_or(SignalError::Gone { id })
    };
    let mut results: Vec<_> = ids.iter().map(open).collect();
    let mut idle: Vec<usize> = (0..ids.len()).filter(|&at| results[at].is_ok()).collect();
    loop {
        idle.retain(|&at| match witness.has_run(ids[at]) {
            Ok(run) => !run,
            Err(error) => {
                results[at] = Err(error);
                false
            }
        });
        if idle.is_empty() || !witness.pause() {
            break;
        }
    }
    let drained = witness.drain();
    for (at, (result, &id)) in results.iter_mut().zip(ids).enumerate() {
        let Ok(descriptor) = result else { continue };
        let error = match drained {
            Drained::Failed => Some(SignalError::Gone { id }),
            Drained::Unsettled => Some(SignalError::Unsettled { id }),
            Drained::Settled => match witness.is_alive_still(id, descriptor) {
                Err(error) => Some(error),
                Ok(false) => Some(SignalError::Gone { id }),
                Ok(true) => idle.binary_search(&at).is_ok().then_some(SignalError::Unsettled { id }),
            },
        };
        if let Some(error) = error {
            *result = Err(error);
        }
    }
    results
}

/// A descriptor of one process and of no other, whoever has its pid by now (a pidfd). It is good for as long as it is open, and
/// needs the reactor no more.
///
/// On the BSDs and macOS it is a kqueue with one note, on the end of the process. It is exact about the end, and a signal goes to the pid
/// right after a look that there was none: a process that ends, is reaped, and whose pid is given out anew between these two calls is
/// a window of microseconds.
#[derive(Debug)]
pub struct ProcFd {
    id: ProcId,
    pidfd: Pidfd,
}

impl ProcFd {
    /// Whose it is.
    pub fn id(&self) -> ProcId {
        self.id
    }

    /// Sends it a signal. Signal 0 sends none, and tells whether one could be sent. A zombie takes it like the living.
    ///
    /// # Errors
    /// It has been reaped, or may not be signalled, or there is no such signal.
    pub fn signal(&self, signal: i32) -> Result<(), SignalError> {
        send(&self.pidfd, self.id, signal)
    }

    /// What it has used, if it is a child of this program that has ended and has not been waited for. It remains to be (waitid(2)
    /// with WNOWAIT, Linux 5.4; K10). `None` while it lives.
    ///
    /// # Errors
    /// `ECHILD`: it is nobody's that this program could wait for, or has been waited for.
    pub fn usage(&self) -> io::Result<Option<Usage>> {
        self.pidfd.usage()
    }

    /// What names it to a later program. `None`: it has ended.
    ///
    /// # Errors
    /// As for [`PersistentId::of`].
    pub fn persistent_id(&self) -> io::Result<Option<PersistentId>> {
        PersistentId::of_descriptor(self.id.pid(), &self.pidfd)
    }

    /// Whether it has ended, be it reaped or not. Does not wait.
    ///
    /// # Errors
    /// The system is out of memory.
    pub fn has_ended(&self) -> Result<bool, SignalError> {
        self.pidfd.lives().map(|lives| !lives).map_err(SignalError::Descriptors)
    }
}

impl AsFd for ProcFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

impl From<ProcFd> for OwnedFd {
    fn from(process: ProcFd) -> Self {
        process.pidfd.into()
    }
}

fn send(pidfd: &Pidfd, id: ProcId, signal: i32) -> Result<(), SignalError> {
    pidfd.send_signal(signal).map_err(|error| match error.raw_os_error() {
        Some(libc::ESRCH) => SignalError::Gone { id },
        Some(libc::EINVAL) => SignalError::NoSuchSignal { signal },
        Some(libc::ENOSYS) => SignalError::Unsupported(error),
        _ => SignalError::Denied { id, signal, error },
    })
}

/// Processes as the turn, the table and the system know them.
struct Known<'a> {
    turn: &'a mut Turn,
    shared: &'a Shared,
    pause: Duration,
}

impl Turn {
    pub(crate) fn attest(&mut self, shared: &Shared, ids: &[ProcId]) -> Vec<Result<ProcFd, SignalError>> {
        attest(ids, &mut Known { turn: self, shared, pause: FIRST_PAUSE })
    }
}

impl Known<'_> {
    /// Where no descriptors are left the source gives up what it can: who is to be signalled comes first. It might else take each that
    /// somebody frees for this.
    fn with_room<T>(&mut self, call: impl Fn(&mut dyn Source) -> io::Result<T>) -> io::Result<T> {
        loop {
            match call(&mut *self.turn.source) {
                Err(error) if is_shortage(&error) && self.turn.source.shed() => {}
                result => return result,
            }
        }
    }
}

/// Whether it says of this program that it has run out of something, and nothing of what was asked for.
fn is_shortage(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM))
}

impl Witness for Known<'_> {
    type Descriptor = ProcFd;

    fn lives(&mut self, id: ProcId) -> bool {
        let state = self.shared.state.lock();
        state.table.newest(id.pid()).is_some_and(|slot| state.table.get(slot).id == id)
    }

    fn open(&mut self, id: ProcId) -> Result<Option<ProcFd>, SignalError> {
        match self.with_room(|source| source.pidfd(id.pid())).and_then(|fd| Pidfd::of(fd, id.pid())) {
            Ok(pidfd) => Ok(Some(ProcFd { id, pidfd })),
            Err(error) => match error.raw_os_error() {
                // The latter two: it is the id of a thread of another process.
                Some(libc::ESRCH | libc::ENOENT | libc::EINVAL) => Ok(None),
                Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM) => Err(SignalError::Descriptors(error)),
                _ => Err(SignalError::Unsupported(error)),
            },
        }
    }

    fn has_run(&mut self, id: ProcId) -> Result<bool, SignalError> {
        // Where ends are told early the model finds nothing wrong without this step.
        if self.turn.source.tells_ends_early() {
            return Ok(true);
        }
        self.with_room(|_| sys::has_run(id.pid())).map_err(SignalError::Descriptors)
    }

    fn pause(&mut self) -> bool {
        if self.pause > LAST_PAUSE {
            return false;
        }
        std::thread::sleep(self.pause);
        self.pause *= 2;
        true
    }

    fn drain(&mut self) -> Drained {
        self.turn.catch_up(self.shared);
        match self.shared.failure() {
            Err(_) => Drained::Failed,
            Ok(()) if self.turn.repair_due => Drained::Unsettled,
            Ok(()) => Drained::Settled,
        }
    }

    /// What the table was not told, because it was lost or is not for this source to see, the start may give away.
    fn starts_alike(&mut self, id: ProcId) -> Result<bool, SignalError> {
        let start = match self.turn.source.start(id.pid()) {
            Ok(start) => start,
            // That is no news of the process.
            Err(error)
                if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM)) =>
            {
                return Err(SignalError::Descriptors(error));
            }
            Err(_) => None,
        };
        let state = self.shared.state.lock();
        let known = state.table.find(id).map(|slot| state.table.get(slot));
        Ok(known.zip(start).is_some_and(|(process, start)| same_start(process, start)))
    }

    fn is_alive(&mut self, process: &ProcFd) -> Result<bool, SignalError> {
        process.has_ended().map(|ended| !ended)
    }
}
