//! A user event, as a pure machine: kqueue's EVFILT_USER, as it was seen to behave on FreeBSD 12.3.

use crate::flags::{
    EV_CLEAR, EV_DISPATCH, EV_ONESHOT, NOTE_FFAND, NOTE_FFCOPY, NOTE_FFCTRLMASK, NOTE_FFLAGSMASK, NOTE_FFOR,
    NOTE_TRIGGER,
};
use crate::knote::state::Delivery;

/// A note on a user event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct User {
    pub(crate) enabled: bool,
    pub(crate) triggered: bool,
    delivery: u16,
    fflags: u32,
    data: i64,
}

impl User {
    /// A new one keeps `fflags` as they are given, and is not triggered by them.
    pub(crate) fn new(delivery: u16, fflags: u32, data: i64, enabled: bool) -> Self {
        Self { enabled, triggered: false, delivery, fflags, data }
    }

    /// A change of one that is there.
    pub(crate) fn modify(&mut self, flags: u16, fflags: u32, data: i64, enable: Option<bool>) {
        self.triggered |= fflags & NOTE_TRIGGER != 0;
        let own = fflags & NOTE_FFLAGSMASK;
        match fflags & NOTE_FFCTRLMASK {
            NOTE_FFAND => self.fflags &= own,
            NOTE_FFOR => self.fflags |= own,
            NOTE_FFCOPY => self.fflags = own,
            _ => {}
        }
        self.data = data;
        if flags & EV_CLEAR != 0 {
            self.triggered = false;
        }
        self.enabled = enable.unwrap_or(self.enabled);
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.enabled && self.triggered
    }

    /// A scan has come to it. What is told, and whether the note goes with it.
    pub(crate) fn take(&mut self) -> (Delivery, bool) {
        let flags = self.delivery;
        if flags & EV_ONESHOT != 0 {
            return (Delivery { flags, fflags: 0, data: 0 }, true);
        }
        if flags & EV_CLEAR != 0 {
            self.triggered = false;
        }
        if flags & EV_DISPATCH != 0 {
            self.enabled = false;
        }
        (Delivery { flags, fflags: self.fflags, data: self.data }, false)
    }
}
