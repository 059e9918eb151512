//! NetBSD's process table (sysctl(7); kinfo_proc2: sys/sysctl.h; the states: sys/proc.h; AFORK: sys/acct.h).
#![expect(unsafe_code, reason = "what the kernel writes is taken for a structure")]

use std::io;

use libc::{CTL_KERN, KERN_PROC_ARGS, KERN_PROC2, kinfo_proc2};

use super::super::kqueue::Entry;
use super::sysctl::{self, Plain};
use super::thread::offset;
use crate::process::metadata::{Metadata, Missing};

/// It has forked off and run no program since.
const AFORK: u16 = 0x01;
/// States of the process, not of a thread: about to die, waited for, and almost so.
const SDYING: u64 = 3;
const SZOMB: u64 = 5;
const SDEAD: u64 = 6;

// By sys/sysctl.h, which gives every field a size that is the same on all machines.
const _: () = {
    use std::mem::offset_of;
    assert!(size_of::<kinfo_proc2>() == 680);
    assert!(offset_of!(kinfo_proc2, p_pid) == 116 && offset_of!(kinfo_proc2, p_ppid) == 120);
    assert!(offset_of!(kinfo_proc2, p_uid) == 136 && offset_of!(kinfo_proc2, p_xstat) == 364);
    assert!(offset_of!(kinfo_proc2, p_acflag) == 366 && offset_of!(kinfo_proc2, p_comm) == 368);
    assert!(offset_of!(kinfo_proc2, p_ustart_sec) == 456 && offset_of!(kinfo_proc2, p_nlwps) == 616);
    assert!(offset_of!(kinfo_proc2, p_realstat) == 632);
};

// SAFETY: integers, characters and addresses as integers.
unsafe impl Plain for kinfo_proc2 {}

const SIZE: i32 = size_of::<kinfo_proc2>() as i32;

pub(super) fn entry(pid: u32) -> io::Result<Option<Entry>> {
    Ok(one(pid)?.map(|info| of(&info, offset())))
}

fn one(pid: u32) -> io::Result<Option<kinfo_proc2>> {
    sysctl::one(&[CTL_KERN, KERN_PROC2, libc::KERN_PROC_PID, pid as i32, SIZE, 1])
}

pub(super) fn entries() -> io::Result<Vec<Entry>> {
    let offset = offset();
    let name = |room: usize| vec![CTL_KERN, KERN_PROC2, libc::KERN_PROC_ALL, 0, SIZE, room as i32];
    let list: Vec<kinfo_proc2> = sysctl::list(name)?;
    Ok(list.iter().map(|info| of(info, offset)).collect())
}

fn is_zombie(info: &kinfo_proc2) -> bool {
    matches!(info.p_realstat, SZOMB | SDEAD)
}

fn of(info: &kinfo_proc2, offset: u64) -> Entry {
    let zombie = is_zombie(info);
    // None of who has ended or is about to: it is told with what the first thread does.
    let start = u64::from(info.p_ustart_sec) * 1_000_000_000 + u64::from(info.p_ustart_usec) * 1_000;
    Entry {
        pid: info.p_pid as u32,
        parent: info.p_ppid as u32,
        start: start.saturating_sub(offset),
        threads: if zombie { 0 } else { u32::try_from(info.p_nlwps).unwrap_or(1).max(1) },
        ending: info.p_realstat == SDYING,
        status: zombie.then_some(i32::from(info.p_xstat)),
        executed: info.p_acflag & AFORK == 0,
    }
}

/// NOTE_TRACK tells of them.
pub(super) fn children(_pid: u32) -> io::Result<Vec<u32>> {
    Err(io::ErrorKind::Unsupported.into())
}

/// `vm.uvmexp2` has a count (`forks`), but as of up to a tick of the clock ago (cpu_count_sync of kern_cpu.c): by it a birth that was missed
/// would be taken for one that has not been.
pub(super) fn forks() -> Option<u64> {
    None
}

pub(super) fn metadata(pid: u32) -> Metadata {
    let mut metadata = Metadata::missing(Missing::Unsupported);
    let args = |what| sysctl::bytes(&[CTL_KERN, KERN_PROC_ARGS, pid as i32, what]);
    metadata.exe = args(libc::KERN_PROC_PATHNAME).map(|path| sysctl::text(&path).into());
    metadata.argv = args(libc::KERN_PROC_ARGV).map(|argv| sysctl::texts(&argv));
    match one(pid) {
        Ok(Some(info)) if !is_zombie(&info) => {
            (metadata.uid, metadata.comm) = (Ok(info.p_uid), Ok(sysctl::name(&info.p_comm)));
        }
        _ => return Metadata::missing(Missing::Gone),
    }
    metadata
}
