//! What can go wrong. Texts are fragments that read after "failed to ..." or "...: ".

use std::io;
use std::sync::Arc;

use crate::{Kevent, ProcId};

/// Why a source cannot be used here, or stopped working.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The kernel refused a call that the source needs.
    #[error("{source_name}: {call}: {error}; {advice}")]
    Call {
        /// The source, for instance `cn_proc`.
        source_name: &'static str,
        /// The system call or step that failed.
        call: &'static str,
        /// What the system said.
        #[source]
        error: io::Error,
        /// What to do about it.
        advice: &'static str,
    },
    /// The kernel took the request and never answered it, as it does for programs in other namespaces.
    #[error("{source_name}: {reason}; {advice}")]
    Refused {
        /// The source.
        source_name: &'static str,
        /// What was seen.
        reason: String,
        /// What to do about it.
        advice: &'static str,
    },
    /// This build has no source for this system.
    #[error("{source_name}: not available on this operating system")]
    Unsupported {
        /// The source.
        source_name: &'static str,
    },
}

impl SourceError {
    /// What was seen, without the name of the source and without the advice.
    pub fn reason(&self) -> String {
        match self {
            Self::Call { call, error, .. } => format!("{call}: {error}"),
            Self::Refused { reason, .. } => reason.clone(),
            Self::Unsupported { .. } => "not available on this operating system".to_owned(),
        }
    }

    /// The same as the error of a source that is made of others.
    #[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "there is none"))]
    pub(crate) fn of_a_part(self, whole: &'static str, part: &str) -> Self {
        match self.advice() {
            Some(advice) => {
                let reason = format!("{part}: {}", self.reason());
                Self::Refused { source_name: whole, reason, advice }
            }
            None => Self::Unsupported { source_name: whole },
        }
    }

    /// What to do about it, if there is anything.
    pub fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Call { advice, .. } | Self::Refused { advice, .. } => Some(advice),
            Self::Unsupported { .. } => None,
        }
    }
}

/// Why a process could not be attached to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttachError {
    /// No process with this pid is visible (ESRCH, C3): never was, has been reaped, or is in another pid
    /// namespace or hidden by the `hidepid` mount option.
    #[error("no process {pid} is visible (it has ended, is in another pid namespace, or /proc hides it)")]
    NoSuchProcess {
        /// The pid that was asked for.
        pid: u32,
    },
    /// The source may not follow it.
    #[error("process {pid} cannot be followed: {error}; it takes the process's own user, or CAP_PERFMON")]
    Denied {
        /// The pid that was asked for.
        pid: u32,
        /// What the system said.
        #[source]
        error: std::io::Error,
    },
    /// The process list could not be read.
    #[error("the process list could not be read: {0}; {advice}", advice = census_advice(.0))]
    Census(#[source] io::Error),
    /// The source failed.
    #[error(transparent)]
    Source(#[from] SourceError),
}

/// What to do where the process list cannot be read.
pub(crate) fn census_advice(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE) => "raise the limit of open files (ulimit -n)",
        _ => "is /proc mounted?",
    }
}

/// Why a process was not signalled, or why there is no descriptor of it to be had. No other process was signalled either.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignalError {
    /// It has ended, as a zombie too, or was never known to this reactor.
    #[error("process {id} has ended")]
    Gone {
        /// Who was meant.
        id: ProcId,
    },
    /// Just now it cannot be told from another that may have got its pid. It passes.
    #[error(
        "process {id} cannot be told from another that may have its pid (it has not begun to run, or records were lost and \
         the process list cannot be read); try again"
    )]
    Unsettled {
        /// Who was meant.
        id: ProcId,
    },
    /// The system does not permit it (EPERM): it is another user's, or runs a program with more privileges.
    #[error("signal {signal} to process {id} is not permitted: {error}")]
    Denied {
        /// Who was meant.
        id: ProcId,
        /// The signal.
        signal: i32,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// EINVAL.
    #[error("there is no signal {signal}")]
    NoSuchSignal {
        /// What was given.
        signal: i32,
    },
    /// There are no descriptors of processes here: another system, a kernel before 5.3, a filter of system calls, or a
    /// source whose processes are not this system's.
    #[error("descriptors of processes are not to be had here: {0}")]
    Unsupported(#[source] io::Error),
    /// EMFILE, ENFILE, ENOMEM.
    #[error("no descriptor for a process: {0}; raise the limit of open files (ulimit -n)")]
    Descriptors(#[source] io::Error),
    /// The source has failed: nobody can say any more who lives.
    #[error(transparent)]
    Source(#[from] SourceError),
}

/// What is wrong with a change. Nothing was done by it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// EINVAL (C9): only `EVFILT_PROC` and `EVFILT_USER` are there.
    #[error("no filter {filter}; there are EVFILT_PROC (-5) and EVFILT_USER (-11)")]
    UnknownFilter {
        /// What was asked for.
        filter: i16,
    },
    /// EINVAL (C9).
    #[error("EV_ENABLE and EV_DISABLE contradict each other; give one of them")]
    EnableAndDisable,
    /// EINVAL.
    #[error("unknown flags {flags:#x}")]
    UnknownFlags {
        /// Those that are unknown.
        flags: u16,
    },
    /// EINVAL (C6): only told and never asked for (NOTE_CHILD, NOTE_TRACKERR), or unknown.
    #[error("fflags {fflags:#x} cannot be asked for; NOTE_EXIT, NOTE_FORK, NOTE_EXEC and NOTE_TRACK can")]
    UnknownNotes {
        /// Those that cannot.
        fflags: u32,
    },
    /// EINVAL (C16).
    #[error("{flag} is not supported")]
    Unsupported {
        /// Its name.
        flag: &'static str,
    },
    /// ESRCH (C3, C4): there is none that is visible, or its zombie has nothing to tell that was asked for.
    #[error("no process {ident} is visible (it has ended, is in another pid namespace, or /proc hides it)")]
    NoSuchProcess {
        /// What was given for a pid.
        ident: u64,
    },
    /// The source may not or cannot follow the process (C5): the errno of its call.
    #[error("process {ident} cannot be followed: {error}")]
    Denied {
        /// The pid.
        ident: u64,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// ENOENT (C9): nothing is registered that could be changed or deleted.
    #[error("nothing is registered by this ident and filter")]
    NoSuchNote,
    /// ENOMEM (C17): the queue has as many notes as its options allow.
    #[error("the queue is full (QueueOptions::max_notes)")]
    NoMemory,
    /// EIO: the source of events has failed; nothing can be registered any more.
    #[error("the source failed: {0}")]
    Source(#[source] Arc<SourceError>),
    /// EBADF: the queue has been closed.
    #[error("the queue is closed")]
    Closed,
}

impl ChangeError {
    /// The errno that kqueue gives for it.
    pub fn errno(&self) -> i32 {
        match self {
            Self::UnknownFilter { .. }
            | Self::EnableAndDisable
            | Self::UnknownFlags { .. }
            | Self::UnknownNotes { .. }
            | Self::Unsupported { .. } => libc::EINVAL,
            Self::NoSuchProcess { .. } => libc::ESRCH,
            Self::Denied { error, .. } => error.raw_os_error().unwrap_or(libc::EACCES),
            Self::NoSuchNote => libc::ENOENT,
            Self::NoMemory => libc::ENOMEM,
            Self::Source(_) => libc::EIO,
            Self::Closed => libc::EBADF,
        }
    }
}

/// Why a call of a queue failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueueError {
    /// EBADF: [`Queue::close`](crate::Queue::close) was called, perhaps while this call waited (C35).
    #[error("the queue is closed")]
    Closed,
    /// EBADF: a queue is not inherited by a fork (C34). Make a new reactor and a new queue.
    #[error(
        "the queue belongs to process {maker}, of which this one is a fork; make a reactor and a queue of its own"
    )]
    Forked {
        /// Who made it.
        maker: u32,
    },
    /// EINVAL: fewer entries than changes that ask for one by `EV_RECEIPT` (C10). Nothing was changed.
    #[error("{needed} changes ask for a receipt, and the event list has room for {room}")]
    EventListTooSmall {
        /// How many ask for one.
        needed: usize,
        /// How many there is room for.
        room: usize,
    },
    /// A change failed, and the event list has no room to say so (C10). Those before it were done, those after it
    /// not.
    #[error("change {index}, {change:?}: {error}")]
    Change {
        /// Its place in the list.
        index: usize,
        /// The change.
        change: Kevent,
        /// What is wrong with it.
        #[source]
        error: ChangeError,
    },
    /// EIO: the source of events has failed, and nothing is left to be read.
    #[error("the source failed: {0}")]
    Source(#[source] Arc<SourceError>),
    /// EMFILE, ENFILE: no descriptor for what wakes a waiting thread (C17).
    #[error("no descriptors for a queue: {0}; raise the limit of open files (ulimit -n)")]
    Descriptors(#[source] io::Error),
    /// The system refused a call that waiting needs.
    #[error("waiting for events: {0}")]
    Wait(#[source] io::Error),
}

impl QueueError {
    /// The errno that kqueue gives for it, or the nearest there is.
    pub fn errno(&self) -> i32 {
        match self {
            Self::Closed | Self::Forked { .. } => libc::EBADF,
            Self::EventListTooSmall { .. } => libc::EINVAL,
            Self::Change { error, .. } => error.errno(),
            Self::Source(_) => libc::EIO,
            Self::Descriptors(error) | Self::Wait(error) => error.raw_os_error().unwrap_or(libc::EIO),
        }
    }
}
