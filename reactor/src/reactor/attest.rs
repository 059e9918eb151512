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

use std::time::Duration;

use crate::ProcId;
use crate::error::SignalError;
use crate::process::table::same_start;
use crate::reactor::handle::Shared;
use crate::reactor::turn::{FIRST_PAUSE, LAST_PAUSE, Turn};
use crate::sys::{self, Pidfd};

/// What the steps are made of.
pub(crate) trait Witness {
    type Descriptor;

    /// Whether the birth that is meant lives in the table, and none after it has its pid.
    fn lives(&mut self) -> bool;

    /// Opens its pid. `None`: nobody has it.
    fn open(&mut self) -> Result<Option<Self::Descriptor>, SignalError>;

    /// Whether who has its pid now has run.
    fn has_run(&mut self) -> bool;

    /// Lets it run. False if it has had time enough.
    fn pause(&mut self) -> bool;

    /// Takes in what is queued.
    fn drain(&mut self) -> Result<(), SignalError>;

    /// Whether the process of the descriptor lives.
    fn is_alive(&mut self, descriptor: &Self::Descriptor) -> Result<bool, SignalError>;
}

/// A descriptor of the process `id`, and of no other.
pub(crate) fn attest<W: Witness>(id: ProcId, witness: &mut W) -> Result<W::Descriptor, SignalError> {
    if !witness.lives() {
        return Err(SignalError::Gone { id });
    }
    let Some(descriptor) = witness.open()? else { return Err(SignalError::Gone { id }) };
    let mut run = witness.has_run();
    while !run && witness.pause() {
        run = witness.has_run();
    }
    witness.drain()?;
    if !witness.lives() || !witness.is_alive(&descriptor)? {
        return Err(SignalError::Gone { id });
    }
    if run { Ok(descriptor) } else { Err(SignalError::Unsettled { id }) }
}

/// Signals a process that was attested.
pub(crate) fn signal(pidfd: &Pidfd, id: ProcId, signal: i32) -> Result<(), SignalError> {
    pidfd.send_signal(signal).map_err(|error| match error.raw_os_error() {
        Some(libc::ESRCH) => SignalError::Gone { id },
        Some(libc::EINVAL) => SignalError::NoSuchSignal { signal },
        Some(libc::ENOSYS) => SignalError::Unsupported(error),
        _ => SignalError::Denied { id, signal, error },
    })
}

/// The process as the turn, the table and the system know it.
struct Known<'a> {
    turn: &'a mut Turn,
    shared: &'a Shared,
    id: ProcId,
    pause: Duration,
}

impl Turn {
    pub(crate) fn attest(&mut self, shared: &Shared, id: ProcId) -> Result<Pidfd, SignalError> {
        attest(id, &mut Known { turn: self, shared, id, pause: FIRST_PAUSE })
    }
}

impl Witness for Known<'_> {
    type Descriptor = Pidfd;

    fn lives(&mut self) -> bool {
        let state = self.shared.state.lock();
        state.table.newest(self.id.pid()).is_some_and(|slot| state.table.get(slot).id == self.id)
    }

    fn open(&mut self) -> Result<Option<Pidfd>, SignalError> {
        match self.turn.source.pidfd(self.id.pid()).and_then(Pidfd::of) {
            Ok(pidfd) => Ok(Some(pidfd)),
            Err(error) => match error.raw_os_error() {
                // The latter two: it is the id of a thread of another process.
                Some(libc::ESRCH | libc::ENOENT | libc::EINVAL) => Ok(None),
                Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM) => Err(SignalError::Descriptors(error)),
                _ => Err(SignalError::Unsupported(error)),
            },
        }
    }

    fn has_run(&mut self) -> bool {
        sys::has_run(self.id.pid())
    }

    fn pause(&mut self) -> bool {
        if self.pause > LAST_PAUSE {
            return false;
        }
        std::thread::sleep(self.pause);
        self.pause *= 2;
        true
    }

    fn drain(&mut self) -> Result<(), SignalError> {
        self.turn.catch_up(self.shared);
        self.shared.failure()?;
        // After a loss only the process list knows who lives.
        if self.turn.repair_due {
            return Err(SignalError::Unsettled { id: self.id });
        }
        // What the table was not told, because it was lost or is not for this source to see, the start may give away.
        let start = self.turn.source.look(self.id.pid()).ok().flatten().map(|living| living.start);
        let state = self.shared.state.lock();
        let known = state.table.find(self.id).map(|slot| state.table.get(slot));
        match (known, start) {
            (Some(process), Some(start)) if same_start(process, start) => Ok(()),
            _ => Err(SignalError::Gone { id: self.id }),
        }
    }

    fn is_alive(&mut self, pidfd: &Pidfd) -> Result<bool, SignalError> {
        pidfd.lives().map_err(SignalError::Descriptors)
    }
}
