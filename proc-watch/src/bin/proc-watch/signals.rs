//! SIGINT, SIGTERM and SIGHUP: taken as they come instead of dying of them, and for the child as if nothing were.
#![expect(unsafe_code, reason = "signal masks, dispositions and kill(2)")]

use std::io;
use std::mem::MaybeUninit;

use libc::{c_int, sigset_t};
use proc_watch::Command;

use crate::signalfd::{Listener, Received};

/// Those that ask a program to end.
const ENDING: [c_int; 3] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP];

/// Held back from this program, until somebody listens.
#[derive(Clone, Copy)]
pub(crate) struct Signals {
    held: sigset_t,
    /// The mask that this program was started with, and the child is.
    before: sigset_t,
}

impl Signals {
    /// Holds them back from all threads that are made from now on. Those that this program was told to ignore (by
    /// `nohup`, or a shell for a job in the background) stay ignored, by it and by the child.
    pub(crate) fn hold_back() -> io::Result<Self> {
        let mut held = empty();
        for signal in ENDING {
            if !is_ignored(signal)? {
                // SAFETY: sigaddset(3) on an initialized set, with a signal that exists.
                unsafe { libc::sigaddset(&raw mut held, signal) };
            }
        }
        let before = mask(libc::SIG_BLOCK, &held)?;
        Ok(Self { held, before })
    }

    /// Does something that may take forever with the signals as they were, so that they end it, and this program.
    pub(crate) fn let_through<T>(&self, work: impl FnOnce() -> T) -> io::Result<T> {
        mask(libc::SIG_SETMASK, &self.before)?;
        let result = work();
        mask(libc::SIG_BLOCK, &self.held)?;
        Ok(result)
    }

    /// The child starts with the mask that this program was started with. The standard library hands on what the
    /// spawning thread has.
    pub(crate) fn restore_in(&self, command: &mut Command) {
        let before = self.before;
        let restore = move || mask(libc::SIG_SETMASK, &before).map(drop);
        // SAFETY: the closure makes one system call, by a function that is async-signal-safe, and allocates nothing.
        unsafe { command.pre_exec(restore) };
    }

    /// Takes them in from now on.
    pub(crate) fn listen(&self) -> io::Result<Listener> {
        Listener::new(&self.held)
    }
}

/// Whether a signal is to be passed on to the child because it has not reached it by itself.
///
/// A terminal sends SIGINT to all of its foreground group, and the kernel says that it comes from it. What a process
/// sent is taken to have come to this program alone: whether it went to a group nobody says. A terminal that hangs up
/// sends SIGHUP to the leader of its session only.
pub(crate) fn is_to_be_passed_on(received: Received, leads_session: bool) -> bool {
    !received.from_kernel || (received.signal == libc::SIGHUP && leads_session)
}

/// Whether this program is the leader of its session.
pub(crate) fn leads_session() -> bool {
    // SAFETY: getsid(2) takes no pointer; 0 is the caller.
    let session = unsafe { libc::getsid(0) };
    u32::try_from(session) == Ok(std::process::id())
}

/// Sends a signal to a child that has not been waited for, so that its pid is nobody else's.
pub(crate) fn send(pid: u32, signal: c_int) -> io::Result<()> {
    let pid = libc::pid_t::try_from(pid).map_err(io::Error::other)?;
    // SAFETY: kill(2) takes no pointer.
    done(unsafe { libc::kill(pid, signal) })
}

/// A parent that ignores SIGCHLD hands that on, and with it a child's status would be lost.
pub(crate) fn keep_statuses() -> io::Result<()> {
    if is_ignored(libc::SIGCHLD)? {
        // SAFETY: the default disposition involves no handler.
        let before = unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
        if before == libc::SIG_ERR {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

fn is_ignored(signal: c_int) -> io::Result<bool> {
    let mut action = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: with no new action, sigaction(2) only writes the present one, for which there is room.
    done(unsafe { libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) })?;
    // SAFETY: the call succeeded, and so has written all of it.
    let action = unsafe { action.assume_init() };
    Ok(action.sa_sigaction == libc::SIG_IGN)
}

fn empty() -> sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset(3) writes a set, for which there is room.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: initialized by the call, which cannot fail.
    unsafe { set.assume_init() }
}

/// Changes the mask of this thread; returns what it was.
fn mask(how: c_int, set: &sigset_t) -> io::Result<sigset_t> {
    let mut before = MaybeUninit::uninit();
    // SAFETY: pthread_sigmask(3) reads one set and writes another, and both are there.
    match unsafe { libc::pthread_sigmask(how, set, before.as_mut_ptr()) } {
        // SAFETY: the call succeeded, and so has written all of it.
        0 => Ok(unsafe { before.assume_init() }),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

fn done(result: c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_not_reached_the_child_is_passed_on() {
        for signal in ENDING {
            let by_a_process = Received { signal, from_kernel: false };
            let by_the_terminal = Received { signal, from_kernel: true };
            for leads in [false, true] {
                assert!(is_to_be_passed_on(by_a_process, leads));
                assert_eq!(is_to_be_passed_on(by_the_terminal, leads), leads && signal == libc::SIGHUP);
            }
        }
    }
}
