//! DragonFly's process table (sysctl(3), kinfo_proc; AFORK: sys/acct.h, P_WEXIT: sys/proc.h).
#![expect(unsafe_code, reason = "what the kernel writes is taken for a structure")]

use std::io;

use libc::{CTL_KERN, KERN_PROC, kinfo_proc};

use super::super::kqueue::Entry;
use super::sysctl::{self, Plain};
use super::thread::offset;
use crate::process::metadata::{Metadata, Missing};

/// It has forked off and run no program since.
const AFORK: i32 = 0x01;
const P_WEXIT: i32 = 0x2000;
/// Of `enum procstat`.
const SZOMB: u32 = 4;

/// The structure as bytes that need not be what Rust takes for an enumeration.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Info(kinfo_proc);

// SAFETY: integers, characters and addresses as integers. Its only enumeration, `kp_stat`, is a C one, which the kernel writes with its own
// values only.
unsafe impl Plain for Info {}

pub(super) fn entry(pid: u32) -> io::Result<Option<Entry>> {
    Ok(one(pid)?.map(|info| of(&info.0, offset())))
}

fn one(pid: u32) -> io::Result<Option<Info>> {
    sysctl::one(&[CTL_KERN, KERN_PROC, libc::KERN_PROC_PID, pid as i32])
}

pub(super) fn entries() -> io::Result<Vec<Entry>> {
    let offset = offset();
    let list: Vec<Info> = sysctl::list(|_| vec![CTL_KERN, KERN_PROC, libc::KERN_PROC_ALL])?;
    Ok(list.iter().map(|info| of(&info.0, offset)).collect())
}

fn is_zombie(info: &kinfo_proc) -> bool {
    info.kp_stat as u32 == SZOMB
}

fn of(info: &kinfo_proc, offset: u64) -> Entry {
    let zombie = is_zombie(info);
    let start = info.kp_start.tv_sec as u64 * 1_000_000_000 + info.kp_start.tv_usec as u64 * 1_000;
    Entry {
        pid: info.kp_pid as u32,
        parent: info.kp_ppid as u32,
        start: start.saturating_sub(offset),
        threads: if zombie { 0 } else { info.kp_nthreads.max(1) as u32 },
        ending: info.kp_flags & P_WEXIT != 0,
        status: zombie.then_some(i32::from(info.kp_exitstat)),
        executed: info.kp_acflag & AFORK == 0,
    }
}

/// NOTE_TRACK tells of them.
pub(super) fn children(_pid: u32) -> io::Result<Vec<u32>> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Not looked for.
pub(super) fn forks() -> Option<u64> {
    None
}

pub(super) fn metadata(pid: u32) -> Metadata {
    let mut metadata = Metadata::missing(Missing::Unsupported);
    let kern = |what| sysctl::bytes(&[CTL_KERN, KERN_PROC, what, pid as i32]);
    metadata.exe = kern(libc::KERN_PROC_PATHNAME).map(|path| sysctl::text(&path).into());
    metadata.argv = kern(libc::KERN_PROC_ARGS).map(|argv| sysctl::texts(&argv));
    match one(pid) {
        Ok(Some(Info(info))) if !is_zombie(&info) => {
            (metadata.uid, metadata.comm) = (Ok(info.kp_uid), Ok(sysctl::name(&info.kp_comm)));
        }
        _ => return Metadata::missing(Missing::Gone),
    }
    metadata
}
