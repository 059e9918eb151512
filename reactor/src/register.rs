//! The writing half of a queue: what a change does to its notes.
//!
//! `EV_ADD` of a process without a note is done in steps, for it may take system calls: [`begin`] makes the note, the source is
//! asked, and [`bind`] gives the note its process or takes it back. Meanwhile the note is `Attaching`.

use std::io;

use crate::ProcId;
use crate::error::ChangeError;
use crate::flags::{
    DELIVERY, EV_ADD, EV_DELETE, EV_DISABLE, EV_ENABLE, EV_FORCEONESHOT, EV_SYSFLAGS, EVFILT_PROC,
    EVFILT_USER, INPUT, NOTE_EXIT, PROC_INPUT,
};
use crate::kevent::Kevent;
use crate::knote::list::NoteKey;
use crate::knote::state::{Input, State as NoteState};
use crate::knote::table::ATTACHING;
use crate::knote::user::User;
use crate::process::table::Origin;
use crate::process::threads::Threads;
use crate::queue::QueueShared;
use crate::reactor::state::State;
use crate::reactor::waker::WakeSlot;
use crate::source::{Living, Source};
use crate::sync::{Arc, Mutex};

/// A change that has been looked through: nothing about it is wrong but, perhaps, whom it names.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    pub(crate) change: Kevent,
    enable: Option<bool>,
}

/// What an `EV_ADD` came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begun {
    /// A note was there and has been modified.
    Modified(NoteKey, ProcId),
    /// With `EV_DELETE`: a note was there and is no more.
    Deleted,
    /// A new one, which is being attached.
    Attaching(NoteKey),
}

/// What binding a note came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bound {
    /// It is on its process; none if it was deleted while it was being attached.
    Done(Option<ProcId>),
    /// The process is not in the table: look it up in the system's list, and come again.
    Look,
}

/// What an `EV_ADD` came to, in all.
#[derive(Debug)]
pub(crate) struct Added {
    /// The note and its process; none with `EV_DELETE`, and where another deleted it meanwhile.
    pub(crate) note: Option<(NoteKey, ProcId)>,
    pub(crate) made: bool,
}

impl Request {
    /// Looks a change through. In the order of FreeBSD's checks (C9).
    pub(crate) fn new(change: &Kevent) -> Result<Self, ChangeError> {
        let mut change = *change;
        change.flags &= !EV_SYSFLAGS;
        let flags = change.flags;
        if flags & EV_ENABLE != 0 && flags & EV_DISABLE != 0 {
            return Err(ChangeError::EnableAndDisable);
        }
        match change.filter {
            EVFILT_USER => {}
            EVFILT_PROC => {
                let unknown = change.fflags & !PROC_INPUT;
                // A deletion asks for nothing, and may be an event that is given back as it came.
                let deletes = flags & (EV_ADD | EV_DELETE) == EV_DELETE;
                if unknown != 0 && !deletes {
                    return Err(ChangeError::UnknownNotes { fflags: unknown });
                }
            }
            filter => return Err(ChangeError::UnknownFilter { filter }),
        }
        if flags & EV_FORCEONESHOT != 0 {
            return Err(ChangeError::Unsupported { flag: "EV_FORCEONESHOT" });
        }
        if flags & !INPUT != 0 {
            return Err(ChangeError::UnknownFlags { flags: flags & !INPUT });
        }
        let enable = match (flags & EV_ENABLE != 0, flags & EV_DISABLE != 0) {
            (true, _) => Some(true),
            (_, true) => Some(false),
            _ => None,
        };
        Ok(Self { change, enable })
    }

    pub(crate) fn adds_process(&self) -> bool {
        self.change.filter == EVFILT_PROC && self.change.flags & EV_ADD != 0
    }

    fn deletes(&self) -> bool {
        self.change.flags & EV_DELETE != 0
    }

    /// The pid it is about (C3).
    pub(crate) fn pid(&self) -> Result<u32, ChangeError> {
        let ident = self.change.ident;
        let pid = i32::try_from(ident).map_err(|_| ChangeError::NoSuchProcess { ident })?;
        Ok(pid.unsigned_abs())
    }

    fn modification(&self) -> Input {
        Input::Modify { asked: self.change.fflags, enable: self.enable }
    }

    /// A change of a user event. Returns whom to wake, and whether a note was made.
    pub(crate) fn user(&self, queue: &QueueShared) -> Result<(Option<Arc<WakeSlot>>, bool), ChangeError> {
        let change = &self.change;
        let mut inbox = queue.open()?;
        let news = match inbox.notes.user(change.ident) {
            Some(slot) if self.deletes() => {
                inbox.notes.remove(slot);
                false
            }
            Some(slot) => inbox.notes.modify_user(slot, change, self.enable),
            None if change.flags & EV_ADD == 0 => return Err(ChangeError::NoSuchNote),
            None if !inbox.has_room() => return Err(ChangeError::NoMemory),
            None => {
                let delivery = change.flags & DELIVERY;
                let user = User::new(delivery, change.fflags, change.data, self.enable != Some(false));
                inbox.notes.insert_user(change.ident, change.udata, user);
                return Ok((None, true));
            }
        };
        Ok((if news { inbox.next_waiter() } else { None }, false))
    }

    /// A change without `EV_ADD` of a note on a process: of the one that the pid names, or of that which a handle has.
    pub(crate) fn process(
        &self,
        state: &Mutex<State>,
        queue: &QueueShared,
        held: Option<(NoteKey, u32)>,
    ) -> Result<Option<Arc<WakeSlot>>, ChangeError> {
        let pid = self.pid().map_err(|_| ChangeError::NoSuchNote)?;
        // Only a deletion has anything to do with the process's list.
        let mut state = self.deletes().then(|| state.lock());
        let mut inbox = queue.open()?;
        let slot = match held {
            Some((key, hold)) => {
                let slot = inbox.notes.find(key.slot, key.serial);
                slot.filter(|slot| inbox.notes.is_held(*slot, hold))
            }
            None => inbox.notes.named(pid),
        };
        let slot = slot.ok_or(ChangeError::NoSuchNote)?;
        if let Some(state) = &mut state {
            let (id, serial) = (inbox.notes.id(slot), inbox.notes.serial(slot));
            inbox.notes.step(slot, Input::Delete);
            state.unlink(id, serial);
            return Ok(None);
        }
        inbox.notes.set_udata(slot, self.change.udata);
        let news = inbox.notes.step(slot, self.modification());
        Ok(if news { inbox.next_waiter() } else { None })
    }

    /// An `EV_ADD` of a process: all its steps, by whoever has the baton and with it the source. Returns whom to wake, too.
    pub(crate) fn add(
        &self,
        state: &Mutex<State>,
        queue: &QueueShared,
        source: &mut dyn Source,
    ) -> Result<(Added, Option<Arc<WakeSlot>>), ChangeError> {
        let pid = self.pid()?;
        let (begun, news) = self.begin(state, queue)?;
        let key = match begun {
            Begun::Modified(key, id) => return Ok((Added { note: Some((key, id)), made: false }, news)),
            Begun::Deleted => return Ok((Added { note: None, made: false }, news)),
            Begun::Attaching(key) => key,
        };
        let denied = |error: io::Error| {
            Self::give_up(queue, key);
            let ident = u64::from(pid);
            // It has been reaped, and the record of its end is on its way.
            let gone = error.raw_os_error() == Some(libc::ESRCH);
            if gone { ChangeError::NoSuchProcess { ident } } else { ChangeError::Denied { ident, error } }
        };
        source.attach(pid).map_err(denied)?;
        // The table has it until the record of its end comes, which may be late: to be watched it is too late already.
        if source.is_gone(pid) {
            Self::give_up(queue, key);
            return Err(ChangeError::NoSuchProcess { ident: u64::from(pid) });
        }
        let mut looked = None;
        loop {
            let (bound, news) = self.bind(state, queue, key, looked.take())?;
            if let Bound::Done(id) = bound {
                return Ok((Added { note: id.map(|id| (key, id)), made: true }, news));
            }
            looked = Some(source.look(pid).map_err(denied)?);
        }
    }

    /// First step of an `EV_ADD` of a process. All that has ended by now must have been applied (C8, K7).
    pub(crate) fn begin(
        &self,
        state: &Mutex<State>,
        queue: &QueueShared,
    ) -> Result<(Begun, Option<Arc<WakeSlot>>), ChangeError> {
        let pid = self.pid()?;
        let mut state = state.lock();
        let mut inbox = queue.open()?;
        let notes = &mut inbox.notes;
        let attaching = notes.on(pid, ATTACHING);
        let there = match state.table.newest(pid) {
            Some(process) => attaching.or_else(|| notes.on(pid, state.table.get(process).id.birth())),
            None => {
                let ended = notes.ended(pid).filter(|&slot| state.table.ends.is_last(notes.id(slot)));
                attaching.or(ended)
            }
        };
        if let Some(slot) = there {
            let key = NoteKey { queue: queue.place(), slot, serial: notes.serial(slot) };
            let id = notes.id(slot);
            if self.deletes() {
                notes.step(slot, Input::Delete);
                state.unlink(id, key.serial);
                return Ok((Begun::Deleted, None));
            }
            notes.set_udata(slot, self.change.udata);
            let news = notes.step(slot, self.modification());
            return Ok((Begun::Modified(key, id), if news { inbox.next_waiter() } else { None }));
        }
        if !inbox.has_room() {
            return Err(ChangeError::NoMemory);
        }
        let enabled = self.enable != Some(false);
        let note = NoteState::new(self.change.flags & DELIVERY, self.change.fflags, enabled);
        let serial = state.queues.serial();
        let slot = inbox.notes.insert(ProcId::new(pid, ATTACHING), serial, self.change.udata, note);
        Ok((Begun::Attaching(NoteKey { queue: queue.place(), slot, serial }), None))
    }

    /// Last step: the source follows the process. `looked` is what the system's list said of it, if it was asked.
    pub(crate) fn bind(
        &self,
        state: &Mutex<State>,
        queue: &QueueShared,
        key: NoteKey,
        looked: Option<Option<Living>>,
    ) -> Result<(Bound, Option<Arc<WakeSlot>>), ChangeError> {
        let pid = self.pid()?;
        let mut state = state.lock();
        let mut inbox = queue.open()?;
        // Deleted meanwhile: it was accepted, and is no more.
        let Some(slot) = inbox.notes.find(key.slot, key.serial) else { return Ok((Bound::Done(None), None)) };
        let mut ended = None;
        let process = match (state.table.newest(pid), looked) {
            (Some(process), _) => process,
            (None, None) => return Ok((Bound::Look, None)),
            (None, Some(Some(living))) if !living.is_zombie() => {
                let parent = state.table.newest(living.parent).map(|slot| state.table.get(slot).id);
                let threads = Threads::read(pid, &living.threads);
                state.table.insert(pid, parent, Origin::Found, living.start, threads)
            }
            (None, Some(Some(zombie))) if inbox.notes.state(slot).asked & NOTE_EXIT != 0 => {
                ended = Some(zombie.status);
                0
            }
            (None, Some(_)) => {
                inbox.notes.step(slot, Input::Delete);
                return Err(ChangeError::NoSuchProcess { ident: u64::from(pid) });
            }
        };
        let (id, news) = match ended {
            Some(status) => {
                let id = state.table.number(pid);
                inbox.notes.bind(slot, id.birth(), false);
                let status = status.map_or(-1, i64::from);
                state.table.ends.put(id);
                (id, inbox.notes.step(slot, Input::AttachedTooLate(status)))
            }
            None => {
                let own = state.is_own_child(process);
                let process = state.table.get_mut(process);
                inbox.notes.bind(slot, process.id.birth(), own);
                process.notes.push(key);
                (process.id, inbox.notes.step(slot, Input::Attached))
            }
        };
        Ok((Bound::Done(Some(id)), if news { inbox.next_waiter() } else { None }))
    }

    /// Instead of [`bind`](Self::bind): the source does not follow the process.
    pub(crate) fn give_up(queue: &QueueShared, key: NoteKey) {
        let mut inbox = queue.lock();
        if let Some(slot) = inbox.notes.find(key.slot, key.serial) {
            inbox.notes.step(slot, Input::Delete);
        }
    }
}
