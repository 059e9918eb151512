//! OpenBSD's process table (sysctl(2); kinfo_proc, and what is told of whom: sys/sysctl.h; the states and PS_ flags: sys/proc.h).
#![expect(unsafe_code, reason = "what the kernel writes is taken for a structure")]

use std::io;

use libc::{CTL_KERN, KERN_PROC, kinfo_proc};

use super::super::argv::behind_pointers;
use super::super::kqueue::Entry;
use super::sysctl::{self, Plain};
use super::thread::offset;
use crate::process::metadata::{Metadata, Missing};

/// It has run a program since it was born.
const PS_EXEC: u32 = 0x2;
const PS_EXITING: u32 = 0x8;
/// It may be waited for.
const PS_ZOMBIE: u32 = 0x4_0000;
/// Of its first thread, which is the last to go: it has ended, and is yet to be made a zombie.
const SDEAD: i8 = 6;

// By sys/sysctl.h, which gives every field a size that is the same on all machines. The size is told to the kernel.
const _: () = {
    use std::mem::offset_of;
    assert!(offset_of!(kinfo_proc, p_pid) == 108 && offset_of!(kinfo_proc, p_ppid) == 112);
    assert!(offset_of!(kinfo_proc, p_uid) == 128 && offset_of!(kinfo_proc, p_stat) == 304);
    assert!(offset_of!(kinfo_proc, p_xstat) == 308 && offset_of!(kinfo_proc, p_comm) == 312);
    assert!(offset_of!(kinfo_proc, p_ustart_sec) == 408 && offset_of!(kinfo_proc, p_psflags) == 560);
};

// SAFETY: integers, characters and addresses as integers.
unsafe impl Plain for kinfo_proc {}

const SIZE: i32 = size_of::<kinfo_proc>() as i32;

pub(super) fn entry(pid: u32) -> io::Result<Option<Entry>> {
    Ok(one(pid)?.map(|info| of(&info, offset())))
}

fn one(pid: u32) -> io::Result<Option<kinfo_proc>> {
    sysctl::one(&[CTL_KERN, KERN_PROC, libc::KERN_PROC_PID, pid as i32, SIZE, 1])
}

pub(super) fn entries() -> io::Result<Vec<Entry>> {
    let offset = offset();
    let name = |room: usize| vec![CTL_KERN, KERN_PROC, libc::KERN_PROC_ALL, 0, SIZE, room as i32];
    let list: Vec<kinfo_proc> = sysctl::list(name)?;
    Ok(list.iter().map(|info| of(info, offset)).collect())
}

fn is_zombie(info: &kinfo_proc) -> bool {
    info.p_psflags & PS_ZOMBIE != 0 || info.p_stat == SDEAD
}

fn of(info: &kinfo_proc, offset: u64) -> Entry {
    let zombie = is_zombie(info);
    // None of a zombie.
    let start = info.p_ustart_sec * 1_000_000_000 + u64::from(info.p_ustart_usec) * 1_000;
    Entry {
        pid: info.p_pid as u32,
        parent: info.p_ppid as u32,
        start: start.saturating_sub(offset),
        // Not told. Nobody is missed here for having several.
        threads: u32::from(!zombie),
        ending: info.p_psflags & PS_EXITING != 0,
        status: zombie.then_some(i32::from(info.p_xstat)),
        executed: info.p_psflags & PS_EXEC != 0,
    }
}

/// NOTE_TRACK tells of them.
pub(super) fn children(_pid: u32) -> io::Result<Vec<u32>> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Not asked for: nobody is missed.
pub(super) fn forks() -> Option<u64> {
    None
}

/// The path of a program is not to be had, and its arguments as pointers that are right where they were written.
pub(super) fn metadata(pid: u32) -> Metadata {
    let mut metadata = Metadata::missing(Missing::Unsupported);
    let area = sysctl::bytes(&[CTL_KERN, libc::KERN_PROC_ARGS, pid as i32, libc::KERN_PROC_ARGV]);
    metadata.argv =
        area.and_then(|area| behind_pointers(&area, area.as_ptr().addr()).ok_or(Missing::Unsettled));
    match one(pid) {
        Ok(Some(info)) if !is_zombie(&info) => {
            (metadata.uid, metadata.comm) = (Ok(info.p_uid), Ok(sysctl::name(&info.p_comm)));
        }
        _ => return Metadata::missing(Missing::Gone),
    }
    metadata
}
