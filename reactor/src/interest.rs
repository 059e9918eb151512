//! The typed layer over [`Queue::kevent`]: what to be told of ([`Interest`]), a [`Registration`] that is taken back when it is dropped,
//! and [`Notice`]s that name processes by birth.

use std::time::Duration;

use crate::error::{ChangeError, QueueError};
use crate::flags::{
    EV_ADD, EV_CLEAR, EV_DELETE, EV_DISABLE, EV_ENABLE, EV_EOF, EVFILT_USER, NOTE_CHILD, NOTE_EXEC,
    NOTE_EXIT, NOTE_FORK, NOTE_TRACK, NOTE_TRACKERR, NOTE_TRIGGER,
};
use crate::kevent::Kevent;
use crate::knote::list::NoteKey;
use crate::knote::table::Taken;
use crate::queue::Queue;
use crate::{ExitStatus, ProcId};

bitflags::bitflags! {
    /// What to be told of a process.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Interest: u32 {
        /// Its end, with its status (C18).
        const EXIT = NOTE_EXIT;
        /// That it forked, once or more since the last notice (C24).
        const FORK = NOTE_FORK;
        /// That it runs another program (C23).
        const EXEC = NOTE_EXEC;
        /// Its children too, and theirs: each is told of by [`NoticeKind::Child`] and has the same interest (C25, C26).
        const TRACK = NOTE_TRACK;
    }
}

/// One thing to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Notice {
    /// What the registration gave; that of a child that is tracked is its parent's (C32).
    pub token: u64,
    /// What happened.
    pub kind: NoticeKind,
}

/// What happened since the last notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NoticeKind {
    /// Of one process, what was asked for. Several are one notice, and forks and execs are not counted (C13).
    Process {
        /// The process.
        id: ProcId,
        /// It forked.
        forked: bool,
        /// It runs another program.
        ran: bool,
        /// How it ended, if that was asked for.
        exit: Option<ExitStatus>,
        /// It ended, whether that was asked for or not: this is the last notice of it (C19, C20).
        ended: bool,
        /// Something of it, or a child, may have gone untold: the source lost records, or the queue was full (C30).
        missed: bool,
    },
    /// A tracked process has a child: the first notice of the child (C28).
    Child {
        /// The child.
        id: ProcId,
        /// Who made it.
        parent: ProcId,
    },
    /// A user event was triggered.
    User {
        /// By what it is known.
        ident: u64,
    },
}

/// A process that is watched through a [`Queue`]. Dropping it ends that, with what has not been read; children that are tracked
/// already stay watched.
#[derive(Debug)]
#[must_use = "dropping it ends the watching"]
pub struct Registration {
    queue: Queue,
    key: NoteKey,
    hold: u32,
    id: ProcId,
    interest: Interest,
    token: u64,
    /// Without this handle.
    kept: bool,
}

impl Queue {
    /// Watches process `pid`. `token` comes back with what is told of it. One of its notices may be there at once: that of a
    /// zombie's end (C4).
    ///
    /// A process that the queue watches already, perhaps as a child that is tracked, is taken over with what has not been read
    /// (C7). An older `Registration` of it has no say any more, and ends nothing when it is dropped.
    ///
    /// # Errors
    /// [`QueueError::Change`]: no such process (ESRCH, C3), it may not be followed (C5), or the queue is full (ENOMEM, C17).
    /// Else as for [`Queue::kevent`].
    pub fn register(&self, pid: u32, interest: Interest, token: u64) -> Result<Registration, QueueError> {
        let change = Kevent::process(pid, EV_ADD | EV_ENABLE, interest.bits()).with_udata(token);
        let (key, id, hold) = self.one(&change, |request| {
            self.reactor().shared.pump();
            // Without EV_DELETE there is a note afterwards.
            let (added, hold) = self.add_held(request)?;
            added.note.map(|(key, id)| (key, id, hold)).ok_or(ChangeError::NoSuchNote)
        })?;
        Ok(Registration { queue: self.clone(), key, hold, id, interest, token, kept: false })
    }

    /// Makes a user event that [`trigger`](Queue::trigger) sets off, once for any number of triggers before it is read.
    ///
    /// # Errors
    /// As for [`Queue::kevent`].
    pub fn add_user(&self, ident: u64, token: u64) -> Result<(), QueueError> {
        self.kevent(&[Kevent::user(ident, EV_ADD | EV_CLEAR, 0).with_udata(token)], &mut [], None).map(|_| ())
    }

    /// Sets a user event off; wakes a thread that waits.
    ///
    /// # Errors
    /// There is none by this `ident` (ENOENT), or as for [`Queue::kevent`].
    pub fn trigger(&self, ident: u64, token: u64) -> Result<(), QueueError> {
        self.kevent(&[Kevent::user(ident, 0, NOTE_TRIGGER).with_udata(token)], &mut [], None).map(|_| ())
    }

    /// Appends up to `most` notices, waiting for the first of them as [`Queue::kevent`] does. Returns how many.
    ///
    /// # Errors
    /// As for [`Queue::kevent`].
    pub fn wait(
        &self,
        notices: &mut Vec<Notice>,
        most: usize,
        timeout: Option<Duration>,
    ) -> Result<usize, QueueError> {
        self.usable()?;
        if most == 0 {
            return Ok(0);
        }
        self.take(most, timeout, |taken| notices.push(Notice::of(&taken)))
    }
}

impl Notice {
    fn of(taken: &Taken) -> Self {
        let Taken { kevent, id, parent, .. } = taken;
        let told = |note| kevent.fflags & note != 0;
        let kind = match (kevent.filter, id, parent) {
            (EVFILT_USER, ..) | (_, None, _) => NoticeKind::User { ident: kevent.ident },
            (_, &Some(id), &Some(parent)) if told(NOTE_CHILD) => NoticeKind::Child { id, parent },
            (_, &Some(id), _) => {
                let status = i32::try_from(kevent.data).ok().filter(|status| *status >= 0);
                let status = status.map_or(ExitStatus::Unknown, ExitStatus::from_wait_status);
                NoticeKind::Process {
                    id,
                    forked: told(NOTE_FORK),
                    ran: told(NOTE_EXEC),
                    exit: told(NOTE_EXIT).then_some(status),
                    ended: kevent.flags & EV_EOF != 0,
                    missed: told(NOTE_TRACKERR),
                }
            }
        };
        Self { token: kevent.udata, kind }
    }
}

impl Registration {
    /// The process, by birth.
    pub fn id(&self) -> ProcId {
        self.id
    }

    /// What is asked for now.
    pub fn interest(&self) -> Interest {
        self.interest
    }

    /// Asks for something else from now on. What was collected stays (C7).
    ///
    /// # Errors
    /// ENOENT after the process's last notice has been read, or when another registration of it has taken over; else as for
    /// [`Queue::kevent`].
    pub fn set_interest(&mut self, interest: Interest) -> Result<(), QueueError> {
        self.change(0, interest)?;
        self.interest = interest;
        Ok(())
    }

    /// Tells nothing until [`enable`](Self::enable), and goes on collecting (C12).
    ///
    /// # Errors
    /// As for [`set_interest`](Self::set_interest).
    pub fn disable(&self) -> Result<(), QueueError> {
        self.change(EV_DISABLE, self.interest)
    }

    /// Tells what was collected meanwhile, and goes on.
    ///
    /// # Errors
    /// As for [`set_interest`](Self::set_interest).
    pub fn enable(&self) -> Result<(), QueueError> {
        self.change(EV_ENABLE, self.interest)
    }

    /// Stays registered without this handle: until its last notice has been read, or the queue is closed.
    pub fn keep(mut self) {
        self.kept = true;
    }

    /// Each change restates what is asked for, for it would be replaced (C7).
    fn change(&self, flags: u16, interest: Interest) -> Result<(), QueueError> {
        let change = Kevent::process(self.id.pid(), flags, interest.bits()).with_udata(self.token);
        self.queue.one(&change, |request| self.queue.modify(request, self.key, self.hold))
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if !self.kept {
            // Its last notice may have been read, the queue closed: then there is nothing to take back.
            let _ = self.change(EV_DELETE, self.interest);
        }
    }
}
