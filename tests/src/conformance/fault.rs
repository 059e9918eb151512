//! What may be wrong with a queue, to see whether a case notices. One at a time in the whole program.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::thread::{self, ThreadId};

use proc_reactor::Kevent;
use proc_reactor::flags::{EV_DISPATCH, EVFILT_PROC, NOTE_FORK};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Fault {
    /// Changes that are refused are said to be good.
    Obliging = 1,
    /// Events have another udata.
    Udata,
    /// They have other data.
    Data,
    /// They have other flags.
    Flags,
    /// They have other fflags.
    Fflags,
    /// One is told twice, once.
    Twice,
    /// One is told that was not, once.
    Eager,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Obliging, Self::Udata, Self::Data, Self::Flags, Self::Fflags, Self::Twice, Self::Eager];
}

static FAULT: AtomicU8 = AtomicU8::new(0);
static DONE: AtomicBool = AtomicBool::new(false);

/// Who asks something that is not of the case.
static QUIET: Mutex<Option<ThreadId>> = Mutex::new(None);

/// Nothing is wrong with what this asks: what is not of the case.
pub(crate) fn without<T>(ask: impl FnOnce() -> T) -> T {
    *QUIET.lock().expect("nobody panics with it") = Some(thread::current().id());
    let answer = ask();
    *QUIET.lock().expect("nobody panics with it") = None;
    answer
}

/// From here on, this is wrong with every queue of ours.
pub fn set(fault: Option<Fault>) {
    DONE.store(false, Ordering::SeqCst);
    FAULT.store(fault.map_or(0, |fault| fault as u8), Ordering::SeqCst);
}

fn is(fault: Fault) -> bool {
    FAULT.load(Ordering::SeqCst) == fault as u8
}

fn once(fault: Fault) -> bool {
    is(fault) && !DONE.swap(true, Ordering::SeqCst)
}

/// What comes of a call in place of what came of it.
pub(crate) fn spoil<E>(
    result: Result<usize, E>,
    changes: &[Kevent],
    events: &mut [Kevent],
) -> Result<usize, E> {
    if FAULT.load(Ordering::SeqCst) == 0 {
        return result;
    }
    if *QUIET.lock().expect("nobody panics with it") == Some(thread::current().id()) {
        return result;
    }
    let count = match result {
        Err(_) if is(Fault::Obliging) && !changes.is_empty() => return Ok(0),
        Err(error) => return Err(error),
        Ok(count) => count,
    };
    for event in &mut events[..count] {
        event.udata ^= u64::from(is(Fault::Udata));
        event.data += i64::from(is(Fault::Data));
        event.flags ^= if is(Fault::Flags) { EV_DISPATCH } else { 0 };
        event.fflags ^= if is(Fault::Fflags) { NOTE_FORK } else { 0 };
    }
    if count == events.len() {
        return Ok(count);
    }
    if count > 0 && once(Fault::Twice) {
        events[count] = events[count - 1];
        return Ok(count + 1);
    }
    if once(Fault::Eager) {
        events[count] = Kevent { fflags: NOTE_FORK, ..Kevent::default() };
        (events[count].ident, events[count].filter) = (1, EVFILT_PROC);
        return Ok(count + 1);
    }
    Ok(count)
}
