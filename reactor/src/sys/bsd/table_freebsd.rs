//! FreeBSD's process table (sysctl(3); kinfo_proc: sys/user.h; P_EXEC, P_WEXIT and SZOMB: sys/proc.h; the counts of forks: vm/vm_meter.c).
#![expect(unsafe_code, reason = "a sysctl that is found by its name")]

use std::ffi::CStr;
use std::io;
use std::ptr;

use libc::{CTL_KERN, KERN_PROC, kinfo_proc};

use super::super::kqueue::Entry;
use super::sysctl::{self, Plain};
use crate::process::metadata::{Metadata, Missing};

// By sys/user.h of 12 and later, where longs have eight bytes: the kernel says the size, and nothing says where the rest is.
#[cfg(target_pointer_width = "64")]
const _: () = {
    use std::mem::offset_of;
    assert!(size_of::<kinfo_proc>() == 1088);
    assert!(offset_of!(kinfo_proc, ki_pid) == 72 && offset_of!(kinfo_proc, ki_ppid) == 76);
    assert!(offset_of!(kinfo_proc, ki_uid) == 168 && offset_of!(kinfo_proc, ki_xstat) == 304);
    assert!(offset_of!(kinfo_proc, ki_start) == 336 && offset_of!(kinfo_proc, ki_flag) == 368);
    assert!(offset_of!(kinfo_proc, ki_stat) == 388 && offset_of!(kinfo_proc, ki_comm) == 447);
    assert!(offset_of!(kinfo_proc, ki_numthreads) == 596);
    assert!(libc::P_WEXIT == 0x2000 && libc::P_EXEC == 0x4000 && libc::SZOMB == 5);
};

// SAFETY: integers, characters and pointers, which nobody follows.
unsafe impl Plain for kinfo_proc {}
// SAFETY: integers.
unsafe impl Plain for libc::timeval {}

pub(super) fn entry(pid: u32) -> io::Result<Option<Entry>> {
    let boot = boot()?;
    Ok(one(pid)?.map(|info| of(&info, boot)))
}

fn one(pid: u32) -> io::Result<Option<kinfo_proc>> {
    sysctl::one(&[CTL_KERN, KERN_PROC, libc::KERN_PROC_PID, pid as i32])
}

/// Zombies as well, and nobody who is still being made.
pub(super) fn entries() -> io::Result<Vec<Entry>> {
    let boot = boot()?;
    let list: Vec<kinfo_proc> = sysctl::list(|_| vec![CTL_KERN, KERN_PROC, libc::KERN_PROC_PROC])?;
    if let Some(info) = list.first().filter(|info| info.ki_structsize as usize != size_of::<kinfo_proc>()) {
        let said = format!("the kernel's kinfo_proc has {} bytes", info.ki_structsize);
        return Err(io::Error::new(io::ErrorKind::Unsupported, said));
    }
    Ok(list.iter().map(|info| of(info, boot)).collect())
}

fn of(info: &kinfo_proc, boot: u64) -> Entry {
    let zombie = info.ki_stat == libc::SZOMB;
    Entry {
        pid: info.ki_pid as u32,
        parent: info.ki_ppid as u32,
        start: nanos(info.ki_start).saturating_sub(boot),
        threads: if zombie { 0 } else { info.ki_numthreads.max(1) as u32 },
        ending: info.ki_flag & libc::P_WEXIT as libc::c_long != 0,
        status: zombie.then_some(i32::from(info.ki_xstat)),
        executed: info.ki_flag & libc::P_EXEC as libc::c_long != 0,
    }
}

/// What the kernel adds to the start by its monotonic clock, to tell it by the wall clock.
fn boot() -> io::Result<u64> {
    let boot = sysctl::one::<libc::timeval>(&[CTL_KERN, libc::KERN_BOOTTIME])?;
    boot.map(nanos).ok_or_else(|| io::ErrorKind::Unsupported.into())
}

fn nanos(time: libc::timeval) -> u64 {
    time.tv_sec as u64 * 1_000_000_000 + time.tv_usec as u64 * 1_000
}

/// NOTE_TRACK tells of them.
pub(super) fn children(_pid: u32) -> io::Result<Vec<u32>> {
    Err(io::ErrorKind::Unsupported.into())
}

/// fork(2), vfork(2) and rfork(2) that made a process, since the machine started.
pub(super) fn forks() -> Option<u64> {
    let names = [c"vm.stats.vm.v_forks", c"vm.stats.vm.v_vforks", c"vm.stats.vm.v_rforks"];
    names.into_iter().map(counter).sum()
}

fn counter(name: &CStr) -> Option<u64> {
    let mut value = [0_u8; 8];
    let mut length = value.len();
    // SAFETY: the name ends with a NUL, and at most as many bytes are written as `length` says.
    let result = unsafe {
        libc::sysctlbyname(name.as_ptr(), value.as_mut_ptr().cast(), &raw mut length, ptr::null(), 0)
    };
    // Before FreeBSD 12 it has four bytes, which come first where they are read by a processor of this byte order.
    match (result, length) {
        (0, 8) => Some(u64::from_ne_bytes(value)),
        (0, 4) => Some(u64::from(u32::from_ne_bytes([value[0], value[1], value[2], value[3]]))),
        _ => None,
    }
}

pub(super) fn metadata(pid: u32) -> Metadata {
    let mut metadata = Metadata::missing(Missing::Unsupported);
    let kern = |what| sysctl::bytes(&[CTL_KERN, KERN_PROC, what, pid as i32]);
    metadata.exe = kern(libc::KERN_PROC_PATHNAME).map(|path| sysctl::text(&path).into());
    metadata.argv = kern(libc::KERN_PROC_ARGS).map(|argv| sysctl::texts(&argv));
    match one(pid) {
        Ok(Some(info)) if info.ki_stat != libc::SZOMB => {
            (metadata.uid, metadata.comm) = (Ok(info.ki_uid), Ok(sysctl::name(&info.ki_comm)));
        }
        _ => return Metadata::missing(Missing::Gone),
    }
    metadata
}
