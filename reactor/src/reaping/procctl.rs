//! The structures of FreeBSD's procctl(2) (sys/procctl.h; the same since 10.2), which libc has not, and what they say.

use std::io;

use super::kernel::{Listed, Struck};

const REAPER_PIDINFO_VALID: u32 = 0x1;
const REAPER_PIDINFO_CHILD: u32 = 0x2;
/// Later than the rest: of kernels that do not tell (12.3 among them) the bit is zero.
const REAPER_PIDINFO_ZOMBIE: u32 = 0x8;
/// `REAPER_KILL_SUBTREE`: only those of one subtree.
const KILL_SUBTREE: u32 = 0x2;
const ESRCH: i32 = 3;
const EPERM: i32 = 1;

/// `struct procctl_reaper_status`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(crate) struct Status {
    pub(crate) flags: u32,
    pub(crate) children: u32,
    pub(crate) descendants: u32,
    pub(crate) reaper: i32,
    pub(crate) pid: i32,
    pad: [u32; 15],
}

/// `struct procctl_reaper_pidinfo`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(crate) struct PidInfo {
    pub(crate) pid: i32,
    pub(crate) subtree: i32,
    pub(crate) flags: u32,
    pad: [u32; 15],
}

/// `struct procctl_reaper_pids`.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Pids {
    pub(crate) count: u32,
    pad: [u32; 15],
    pub(crate) pids: *mut PidInfo,
}

/// `struct procctl_reaper_kill`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(crate) struct Kill {
    pub(crate) signal: i32,
    pub(crate) flags: u32,
    pub(crate) subtree: i32,
    pub(crate) killed: u32,
    /// -1: nobody.
    pub(crate) first_failed: i32,
    pad: [u32; 15],
}

const _: () = assert!(size_of::<Status>() == 80);
const _: () = assert!(size_of::<PidInfo>() == 72);
const _: () = assert!(size_of::<Pids>() == 64 + size_of::<usize>());
const _: () = assert!(std::mem::offset_of!(Pids, pids) == 64);
const _: () = assert!(size_of::<Kill>() == 80);

#[cfg_attr(not(target_os = "freebsd"), expect(dead_code, reason = "there is no such call here"))]
impl Kill {
    pub(crate) fn of(subtree: i32, signal: i32) -> Self {
        Self { signal, flags: KILL_SUBTREE, subtree, first_failed: -1, ..Self::default() }
    }
}

#[cfg_attr(not(target_os = "freebsd"), expect(dead_code, reason = "there is no such call here"))]
impl Pids {
    pub(crate) fn over(room: &mut [PidInfo]) -> Self {
        let count = u32::try_from(room.len()).unwrap_or(u32::MAX);
        Self { count, pad: [0; 15], pids: room.as_mut_ptr() }
    }
}

/// What of a room that was zero has been written.
pub(crate) fn listed(room: &[PidInfo]) -> Vec<Listed> {
    let written = room.iter().take_while(|info| info.flags & REAPER_PIDINFO_VALID != 0);
    let listed = written.filter_map(|info| {
        Some(Listed {
            pid: u32::try_from(info.pid).ok()?,
            subtree: u32::try_from(info.subtree).ok()?,
            child: info.flags & REAPER_PIDINFO_CHILD != 0,
            ended: info.flags & REAPER_PIDINFO_ZOMBIE != 0,
        })
    });
    listed.collect()
}

/// What PROC_REAP_KILL came to, of its result and of what it wrote, which it does in each case.
///
/// ESRCH: there was nobody to be signalled, which is no failure of who wants that. EPERM (or another that is a process's): nobody could be, and
/// this is the first. With 0 some were, and `first_failed` is one who could not be and came before them.
pub(crate) fn struck(result: Result<(), io::Error>, kill: &Kill) -> io::Result<Struck> {
    let denied = u32::try_from(kill.first_failed).ok().filter(|pid| *pid > 0);
    match result {
        Ok(()) => Ok(Struck { reached: kill.killed, denied }),
        Err(error) if error.raw_os_error() == Some(ESRCH) => Ok(Struck::default()),
        Err(error) if error.raw_os_error() == Some(EPERM) && denied.is_some() => {
            Ok(Struck { reached: 0, denied })
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(pid: i32, subtree: i32, flags: u32) -> PidInfo {
        PidInfo { pid, subtree, flags, ..PidInfo::default() }
    }

    #[test]
    fn a_list_ends_where_nothing_was_written() {
        let room = [info(10, 10, 3), info(12, 10, 1), info(13, 10, 0xb), info(0, 0, 0), info(99, 99, 3)];
        let of = |pid, subtree, child, ended| Listed { pid, subtree, child, ended };
        let list = listed(&room);
        assert_eq!(list, [of(10, 10, true, false), of(12, 10, false, false), of(13, 10, true, true)]);
        assert_eq!(list.iter().map(|listed| listed.is_adopted()).collect::<Vec<_>>(), [false, false, true]);
        assert_eq!(listed(&[info(-1, 10, 1), info(11, -2, 1), info(12, 10, 1)]), [of(12, 10, false, false)]);
        assert_eq!(listed(&[]), []);
    }

    #[test]
    fn what_a_kill_came_to() {
        let kill = |killed, first_failed| Kill { killed, first_failed, ..Kill::default() };
        let failed = |error| Err(io::Error::from_raw_os_error(error));
        let of = |reached, denied| Struck { reached, denied };
        assert_eq!(struck(Ok(()), &kill(3, -1)).unwrap(), of(3, None));
        assert_eq!(struck(Ok(()), &kill(3, 77)).unwrap(), of(3, Some(77)));
        // Nobody is there; nobody may be.
        assert_eq!(struck(failed(ESRCH), &kill(0, -1)).unwrap(), of(0, None));
        assert_eq!(struck(failed(EPERM), &kill(0, 77)).unwrap(), of(0, Some(77)));
        // The call itself was refused: to a jail, say.
        assert_eq!(struck(failed(EPERM), &kill(0, -1)).unwrap_err().raw_os_error(), Some(EPERM));
        assert_eq!(struck(failed(22), &kill(0, -1)).unwrap_err().raw_os_error(), Some(22));
    }
}
