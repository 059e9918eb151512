//! The notes of one queue: by key, by pid and by a user event's name, and those that are ready.

use rustc_hash::{FxHashMap, FxHashSet};
use slab::Slab;

use crate::ProcId;
use crate::flags::{EVFILT_PROC, EVFILT_USER, NOTE_EXIT};
use crate::kevent::Kevent;
use crate::knote::ready::{Links, NONE, Ready};
use crate::knote::state::{Delivery, Input, Life, State};
use crate::knote::user::User;

/// Whose note: the process's own, or the one that tells of a tracked child (C25). Both can be there at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Role {
    Main,
    Child,
}

/// Stands for the birth number of a process that is being attached to. Younger than all.
pub(crate) const ATTACHING: u64 = u64::MAX;

#[derive(Debug)]
enum Body {
    Process {
        pid: u32,
        role: Role,
        /// A child of this program's, whose end the program may see by wait(2) before it is told here (C41).
        own: bool,
        /// Counted among those that wait for nothing but a reader.
        unread: bool,
        birth: u64,
        /// Birth number of the parent, for the note that tells of a child; else 0.
        parent: u64,
        state: State,
    },
    User {
        ident: u64,
        user: User,
    },
}

#[derive(Debug)]
struct Note {
    serial: u64,
    udata: u64,
    body: Body,
    /// The next note on the same pid, of an older birth or of the other role.
    older: u32,
    /// How often a handle has taken it: the last one has it.
    holds: u32,
    links: Links,
    /// Counted among those that have something to say.
    tells: bool,
}

/// What a scan hands out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) kevent: Kevent,
    /// The process, or with NOTE_CHILD the child.
    pub(crate) id: Option<ProcId>,
    /// With NOTE_CHILD the parent.
    pub(crate) parent: Option<ProcId>,
    /// The note is gone and is still in the list of its living process.
    pub(crate) unlink: Option<u64>,
}

#[derive(Debug)]
pub(crate) struct Notes {
    slots: Slab<Note>,
    /// The youngest note of each pid.
    by_pid: FxHashMap<u32, u32>,
    by_ident: FxHashMap<u64, u32>,
    ready: Ready,
    /// Ready, and there to say something.
    telling: usize,
    /// Notes of the dead, and notes that tell of children: they wait for nothing but a reader.
    unread: usize,
    /// Notes on living children of this program's, but for those whose records did not come.
    own: FxHashSet<u32>,
}

impl Notes {
    pub(crate) fn new() -> Self {
        Self {
            slots: Slab::new(),
            by_pid: FxHashMap::default(),
            by_ident: FxHashMap::default(),
            ready: Ready::new(),
            telling: 0,
            unread: 0,
            own: FxHashSet::default(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn unread(&self) -> usize {
        self.unread
    }

    /// How many have something to say now.
    pub(crate) fn telling(&self) -> usize {
        self.telling
    }

    /// A key of this table's; none if its note is gone.
    pub(crate) fn find(&self, slot: u32, serial: u64) -> Option<u32> {
        self.slots.get(slot as usize).filter(|note| note.serial == serial).map(|_| slot)
    }

    /// A handle takes the note, from whichever had it. Returns what it proves that by.
    pub(crate) fn hold(&mut self, slot: u32) -> u32 {
        let note = &mut self.slots[slot as usize];
        note.holds = note.holds.wrapping_add(1);
        note.holds
    }

    /// Whether it is still the handle's that took it at `hold`.
    pub(crate) fn is_held(&self, slot: u32, hold: u32) -> bool {
        self.slots[slot as usize].holds == hold
    }

    /// The process that a note is on.
    pub(crate) fn id(&self, slot: u32) -> ProcId {
        match self.slots[slot as usize].body {
            Body::Process { pid, birth, .. } => ProcId::new(pid, birth),
            Body::User { .. } => unreachable!("a note on a process"),
        }
    }

    pub(crate) fn serial(&self, slot: u32) -> u64 {
        self.slots[slot as usize].serial
    }

    /// Of a note on a process.
    pub(crate) fn state(&self, slot: u32) -> &State {
        match &self.slots[slot as usize].body {
            Body::Process { state, .. } => state,
            Body::User { .. } => unreachable!("a note on a process"),
        }
    }

    /// The note on a pid that a change without `EV_ADD` means: the process's own before the one that tells of a child
    /// (C25), and the youngest birth's before all others (C8).
    pub(crate) fn named(&self, pid: u32) -> Option<u32> {
        self.on_pid(pid).max_by_key(|&slot| match self.slots[slot as usize].body {
            Body::Process { role, birth, .. } => (role == Role::Main, birth),
            Body::User { .. } => unreachable!("a note on a process"),
        })
    }

    /// The note that an `EV_ADD` modifies where nobody lives under the pid: the youngest that is still to tell of an end.
    pub(crate) fn ended(&self, pid: u32) -> Option<u32> {
        self.named(pid).filter(|&slot| match self.slots[slot as usize].body {
            Body::Process { role: Role::Main, ref state, .. } => {
                state.life == Life::Ended && !state.is_silent()
            }
            _ => false,
        })
    }

    /// The process's own note on this birth of a pid.
    pub(crate) fn on(&self, pid: u32, birth: u64) -> Option<u32> {
        self.on_pid(pid).find(|&slot| match self.slots[slot as usize].body {
            Body::Process { role: Role::Main, birth: of, .. } => of == birth,
            _ => false,
        })
    }

    fn on_pid(&self, pid: u32) -> impl Iterator<Item = u32> {
        let mut next = self.by_pid.get(&pid).copied().unwrap_or(NONE);
        std::iter::from_fn(move || {
            let slot = (next != NONE).then_some(next)?;
            next = self.slots[slot as usize].older;
            Some(slot)
        })
    }

    pub(crate) fn user(&self, ident: u64) -> Option<u32> {
        self.by_ident.get(&ident).copied()
    }

    /// Puts a note on a process in.
    pub(crate) fn insert(&mut self, id: ProcId, serial: u64, udata: u64, state: State) -> u32 {
        self.insert_as(id, Role::Main, 0, serial, udata, state)
    }

    /// The notes of a child of whom `slot`'s process is the parent: one that tells of it, and one on it. Whoever registered the child
    /// meanwhile keeps what was asked for. Returns the one on it, if it was made.
    pub(crate) fn inherit(
        &mut self,
        slot: u32,
        parent: ProcId,
        child: ProcId,
        is_own: bool,
        [tells, follows]: [u64; 2],
    ) -> Option<u32> {
        let (state, udata) = (*self.state(slot), self.slots[slot as usize].udata);
        let told = state.child(parent.pid());
        self.insert_as(child, Role::Child, parent.birth(), tells, udata, told);
        if self.on(child.pid(), child.birth()).is_some() {
            return None;
        }
        let slot = self.insert(child, follows, udata, state.inherited());
        self.bind(slot, child.birth(), is_own);
        Some(slot)
    }

    fn insert_as(
        &mut self,
        id: ProcId,
        role: Role,
        parent: u64,
        serial: u64,
        udata: u64,
        state: State,
    ) -> u32 {
        let pid = id.pid();
        let older = self.by_pid.get(&pid).copied().unwrap_or(NONE);
        let unread = role == Role::Child;
        let body = Body::Process { pid, role, own: false, unread, birth: id.birth(), parent, state };
        let note = Note { serial, udata, body, older, holds: 0, links: Links::default(), tells: false };
        let slot = self.slots.insert(note) as u32;
        self.by_pid.insert(pid, slot);
        self.unread += usize::from(unread);
        self.relist(slot);
        slot
    }

    pub(crate) fn insert_user(&mut self, ident: u64, udata: u64, user: User) -> u32 {
        let body = Body::User { ident, user };
        let note =
            Note { serial: 0, udata, body, older: NONE, holds: 0, links: Links::default(), tells: false };
        let slot = self.slots.insert(note) as u32;
        self.by_ident.insert(ident, slot);
        self.relist(slot);
        slot
    }

    /// The process of a note that was being attached is known.
    pub(crate) fn bind(&mut self, slot: u32, to: u64, is_own: bool) {
        if let Body::Process { birth, own, .. } = &mut self.slots[slot as usize].body {
            (*birth, *own) = (to, is_own);
            if is_own {
                self.own.insert(slot);
            }
        }
    }

    /// The notes that are on a living process's list, by serial.
    pub(crate) fn linked(&self) -> Vec<(ProcId, u64)> {
        let linked = |note: &Note| match &note.body {
            Body::Process { role: Role::Main, pid, birth, state, .. } if state.life == Life::Live => {
                Some((ProcId::new(*pid, *birth), note.serial))
            }
            _ => None,
        };
        self.slots.iter().filter_map(|(_, note)| linked(note)).collect()
    }

    /// The pids of this program's own children that are not known to have ended.
    pub(crate) fn own_children(&self) -> Vec<u32> {
        // Whose end would be told now.
        let pid = |slot: &u32| match self.slots[*slot as usize].body {
            Body::Process { pid, ref state, .. } if state.enabled && state.asked & NOTE_EXIT != 0 => {
                Some(pid)
            }
            _ => None,
        };
        self.own.iter().filter_map(pid).collect()
    }

    /// The ends of these children are awaited no more.
    pub(crate) fn disown(&mut self, pids: &[u32]) {
        let Self { slots, own, .. } = self;
        own.retain(|&slot| match &mut slots[slot as usize].body {
            Body::Process { pid, own, .. } if pids.contains(pid) => {
                *own = false;
                false
            }
            _ => true,
        });
    }

    /// One step of a note on a process. True if it has become ready to say something.
    pub(crate) fn step(&mut self, slot: u32, input: Input) -> bool {
        if input == Input::Delete {
            // As it stands: whether it had something to tell is asked when it is taken off the list.
            self.remove(slot);
            return false;
        }
        let Body::Process { state, own, unread, .. } = &mut self.slots[slot as usize].body else {
            unreachable!("a note on a process")
        };
        let told = state.step(input);
        debug_assert!(told.is_none(), "only a scan takes");
        match state.life {
            Life::Attaching | Life::Live | Life::Gone => {}
            Life::Ended => {
                self.unread += usize::from(!std::mem::replace(unread, true));
                if std::mem::take(own) {
                    self.own.remove(&slot);
                }
            }
        }
        self.relist(slot)
    }

    /// A change of a user event. True if it has become ready.
    pub(crate) fn modify_user(&mut self, slot: u32, change: &Kevent, enable: Option<bool>) -> bool {
        let note = &mut self.slots[slot as usize];
        note.udata = change.udata;
        if let Body::User { user, .. } = &mut note.body {
            user.modify(change.flags, change.fflags, change.data, enable);
        }
        self.relist(slot)
    }

    pub(crate) fn set_udata(&mut self, slot: u32, udata: u64) {
        self.slots[slot as usize].udata = udata;
    }

    /// Takes a note away, with what it has to say.
    pub(crate) fn remove(&mut self, slot: u32) {
        if self.slots[slot as usize].links.listed {
            self.unlist(slot);
        }
        let note = self.slots.remove(slot as usize);
        match note.body {
            Body::User { ident, .. } => {
                self.by_ident.remove(&ident);
            }
            Body::Process { pid, own, unread, .. } => {
                self.unread -= usize::from(unread);
                if own {
                    self.own.remove(&slot);
                }
                self.unchain(pid, slot, note.older);
            }
        }
    }

    fn unchain(&mut self, pid: u32, slot: u32, older: u32) {
        let head = self.by_pid[&pid];
        if head == slot {
            match older {
                NONE => self.by_pid.remove(&pid),
                older => self.by_pid.insert(pid, older),
            };
            return;
        }
        let mut before = head;
        while self.slots[before as usize].older != slot {
            before = self.slots[before as usize].older;
        }
        self.slots[before as usize].older = older;
    }

    /// How many are on the ready list. A scan takes so many at most: what it put back itself is for the next one.
    pub(crate) fn ready(&self) -> usize {
        self.ready.len()
    }

    /// Takes the first note that is ready. None if there is none; `Some(None)` if it went without a word.
    pub(crate) fn take(&mut self) -> Option<Option<Taken>> {
        let slot = self.ready.first()?;
        self.unlist(slot);
        let Note { serial, udata, ref mut body, .. } = self.slots[slot as usize];
        let mut taken =
            Taken { kevent: Kevent { udata, ..Kevent::default() }, id: None, parent: None, unlink: None };
        let (delivery, gone) = match body {
            Body::User { ident, user } => {
                (taken.kevent.ident, taken.kevent.filter) = (*ident, EVFILT_USER);
                let (delivery, gone) = user.take();
                (Some(delivery), gone)
            }
            Body::Process { pid, role, birth, parent, state, .. } => {
                (taken.kevent.ident, taken.kevent.filter) = (u64::from(*pid), EVFILT_PROC);
                taken.id = Some(ProcId::new(*pid, *birth));
                let lived = state.life == Life::Live;
                let delivery = state.step(Input::Take);
                let gone = state.life == Life::Gone;
                match role {
                    Role::Main => taken.unlink = (gone && lived).then_some(serial),
                    Role::Child => {
                        let pid = delivery.map_or(0, |told| told.data as u32);
                        taken.parent = Some(ProcId::new(pid, *parent));
                    }
                }
                (delivery, gone)
            }
        };
        if gone {
            self.remove(slot);
        } else {
            self.relist(slot);
        }
        Some(delivery.map(|Delivery { flags, fflags, data }| {
            let kevent = Kevent { flags, fflags, data, ..taken.kevent };
            Taken { kevent, ..taken }
        }))
    }

    /// Puts a note that is ready on the list, and takes one that is not off. True if it has come on it to say something.
    fn relist(&mut self, slot: u32) -> bool {
        let note = &self.slots[slot as usize];
        let ready = match &note.body {
            Body::Process { state, .. } => state.is_ready(),
            Body::User { user, .. } => user.is_ready(),
        };
        match (note.links.listed, ready) {
            (false, true) => self.list(slot),
            (true, false) => {
                self.unlist(slot);
                false
            }
            _ => false,
        }
    }

    fn is_silent(&self, slot: u32) -> bool {
        matches!(&self.slots[slot as usize].body, Body::Process { state, .. } if state.is_silent())
    }

    fn list(&mut self, slot: u32) -> bool {
        self.ready.push(&mut self.slots, slot, links);
        let tells = !self.is_silent(slot);
        self.slots[slot as usize].tells = tells;
        self.telling += usize::from(tells);
        tells
    }

    fn unlist(&mut self, slot: u32) {
        // As it was when it was listed: it may be gone by now, and was silent then.
        self.telling -= usize::from(std::mem::take(&mut self.slots[slot as usize].tells));
        self.ready.remove(&mut self.slots, slot, links);
    }
}

fn links(slots: &mut Slab<Note>, slot: u32) -> &mut Links {
    &mut slots[slot as usize].links
}

#[cfg(all(test, not(proc_reactor_loom)))]
#[path = "table_tests.rs"]
mod tests;
