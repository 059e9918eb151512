//! [`Kevent`]: what goes into a queue as a change and comes out as an event.

use std::fmt;

use crate::flags::{EVFILT_PROC, EVFILT_USER, FLAG_NAMES, PROC_NAMES};

/// FreeBSD's `struct kevent`, without its extensions `ext[]`, which EVFILT_PROC and EVFILT_USER do not use.
///
/// `Debug` prints flags by name: `Kevent(4242 PROC CLEAR|EOF EXIT data 0x100 udata 0x7)`.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Kevent {
    /// A pid, or whatever a user event is known by.
    pub ident: u64,
    /// [`EVFILT_PROC`] or [`EVFILT_USER`]; a change with 0 is passed over.
    pub filter: i16,
    /// `EV_*`.
    pub flags: u16,
    /// `NOTE_*`.
    pub fflags: u32,
    /// With NOTE_EXIT the wait status, -1 if that is unknown; with NOTE_CHILD the parent's pid; with EV_ERROR an errno; of
    /// a user event what the program put there.
    pub data: i64,
    /// Given back as it was given; children that are followed have their parent's (C32).
    pub udata: u64,
}

impl Kevent {
    /// About process `pid`, with `data` and `udata` 0.
    pub const fn process(pid: u32, flags: u16, fflags: u32) -> Self {
        Self { ident: pid as u64, filter: EVFILT_PROC, flags, fflags, data: 0, udata: 0 }
    }

    /// About user event `ident`, with `data` and `udata` 0.
    pub const fn user(ident: u64, flags: u16, fflags: u32) -> Self {
        Self { ident, filter: EVFILT_USER, flags, fflags, data: 0, udata: 0 }
    }

    /// The same with this `udata`.
    pub const fn with_udata(self, udata: u64) -> Self {
        Self { udata, ..self }
    }
}

impl fmt::Debug for Kevent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kevent({} ", self.ident)?;
        match self.filter {
            EVFILT_PROC => write!(f, "PROC ")?,
            EVFILT_USER => write!(f, "USER ")?,
            other => write!(f, "filter {other} ")?,
        }
        let flags = FLAG_NAMES.iter().map(|&(bit, name)| (u32::from(bit), name));
        names(f, u32::from(self.flags), flags)?;
        write!(f, " ")?;
        match self.filter {
            EVFILT_PROC => names(f, self.fflags, PROC_NAMES.iter().copied())?,
            _ => write!(f, "{:#x}", self.fflags)?,
        }
        write!(f, " data {:#x} udata {:#x})", self.data, self.udata)
    }
}

fn names(
    f: &mut fmt::Formatter<'_>,
    mut bits: u32,
    names: impl Iterator<Item = (u32, &'static str)>,
) -> fmt::Result {
    let mut separator = "";
    for (bit, name) in names {
        if bits & bit != 0 {
            bits &= !bit;
            write!(f, "{separator}{name}")?;
            separator = "|";
        }
    }
    if bits != 0 || separator.is_empty() { write!(f, "{separator}{bits:#x}") } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::*;

    #[test]
    fn flags_print_by_name() {
        let event =
            Kevent { data: 0x100, udata: 7, ..Kevent::process(42, EV_CLEAR | EV_EOF, NOTE_EXIT | 0x10) };
        assert_eq!(format!("{event:?}"), "Kevent(42 PROC CLEAR|EOF EXIT|0x10 data 0x100 udata 0x7)");
        let event = Kevent::user(1, 0, NOTE_TRIGGER);
        assert_eq!(format!("{event:?}"), "Kevent(1 USER 0x0 0x1000000 data 0x0 udata 0x0)");
    }
}
