//! [`PersistentId`]: who a process is to another program, or to this one when it is started again (K2).

use std::fmt;
use std::io;
use std::str::FromStr;

use crate::sys::{self, Pidfd};

/// A process, named so that a later program can tell it from whoever has its pid by then: by the boot that it lives in, its pid, when it
/// started, and the number that the kernel gives to processes and never gives twice (Linux 6.9).
///
/// Before Linux 6.9 two are taken for one if they had the same pid and started within the same clock tick of the same boot (10 ms).
/// Pids count in the pid namespace of the program that asks: programs in different ones do not know each other's.
///
/// Printed and parsed as `BOOT/PID/START` or `BOOT/PID/START/INODE`, for files. Linux.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PersistentId {
    boot: u128,
    pid: u32,
    mark: Mark,
}

/// What a system tells of a process that no other process of the same pid has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Mark {
    /// In units of the system's, since the boot.
    pub(crate) start: u64,
    pub(crate) inode: Option<u64>,
}

impl PersistentId {
    /// That of whoever has this pid now. `None`: nobody living has it.
    ///
    /// A bare pid is all that this rests on; [`Reactor::persistent_id`](crate::Reactor::persistent_id) asks for one whose birth is known.
    ///
    /// # Errors
    /// No descriptors are left, /proc is not mounted, or this is not Linux 5.3 or later.
    pub fn of(pid: u32) -> io::Result<Option<Self>> {
        match Pidfd::open(pid) {
            Ok(pidfd) => Self::of_descriptor(pid, &pidfd),
            // The latter two: it is the id of a thread.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ESRCH | libc::ENOENT | libc::EINVAL)) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// `None`: it has ended.
    pub(crate) fn of_descriptor(pid: u32, pidfd: &Pidfd) -> io::Result<Option<Self>> {
        let boot = sys::boot()?;
        let mark = sys::mark(pid, pidfd)?;
        // It lives, so that what was read by its pid was of it.
        Ok(mark.filter(|_| pidfd.lives().unwrap_or(false)).map(|mark| Self { boot, pid, mark }))
    }

    /// Its pid.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether it lives: not ended, and not another that has its pid.
    ///
    /// # Errors
    /// As for [`of`](Self::of).
    pub fn is_alive(&self) -> io::Result<bool> {
        Ok(Self::of(self.pid)? == Some(*self))
    }
}

impl fmt::Display for PersistentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}/{}/{}", self.boot, self.pid, self.mark.start)?;
        match self.mark.inode {
            Some(inode) => write!(f, "/{inode}"),
            None => Ok(()),
        }
    }
}

/// The text was not `BOOT/PID/START` or `BOOT/PID/START/INODE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a persistent process identity: want BOOT/PID/START or BOOT/PID/START/INODE, the first in hexadecimal"
)]
pub struct ParsePersistentIdError;

impl FromStr for PersistentId {
    type Err = ParsePersistentIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        fn number<T: FromStr>(text: Option<&str>) -> Result<T, ParsePersistentIdError> {
            text.and_then(|text| text.parse().ok()).ok_or(ParsePersistentIdError)
        }
        let mut parts = text.split('/');
        let boot = parts.next().filter(|boot| boot.len() == 32).ok_or(ParsePersistentIdError)?;
        let boot = u128::from_str_radix(boot, 16).map_err(|_| ParsePersistentIdError)?;
        let (pid, start) = (number(parts.next())?, number(parts.next())?);
        let inode = parts.next().map(|inode| number(Some(inode))).transpose()?;
        match parts.next() {
            None => Ok(Self { boot, pid, mark: Mark { start, inode } }),
            Some(_) => Err(ParsePersistentIdError),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_and_parses() {
        for inode in [None, Some(7)] {
            let id = PersistentId { boot: 0xa1, pid: 42, mark: Mark { start: 99, inode } };
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        let zeros = "0".repeat(32);
        for bad in [
            "",
            "1/2/3",
            &zeros,
            &format!("{zeros}/1"),
            &format!("{zeros}/1/2/3/4"),
            &format!("{zeros}/-1/2"),
        ] {
            assert_eq!(bad.parse::<PersistentId>(), Err(ParsePersistentIdError), "{bad:?}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn it_is_the_same_to_whoever_asks_and_no_others() {
        let own = std::process::id();
        let id = PersistentId::of(own).unwrap().unwrap();
        assert_eq!(PersistentId::of(own).unwrap(), Some(id));
        assert!(id.is_alive().unwrap());
        let mut child = std::process::Command::new("sleep").arg("100").spawn().unwrap();
        let of_child = PersistentId::of(child.id()).unwrap().unwrap();
        assert_ne!(of_child, id);
        // Who has the pid of another is not that one.
        let other = PersistentId { pid: own, ..of_child };
        assert!(!other.is_alive().unwrap());
        child.kill().unwrap();
        // A zombie lives no more, and has its pid still.
        while of_child.is_alive().unwrap() {
            std::thread::yield_now();
        }
        assert_eq!(PersistentId::of(child.id()).unwrap(), None);
        child.wait().unwrap();
        assert_eq!(PersistentId::of(child.id()).unwrap(), None);
    }
}
