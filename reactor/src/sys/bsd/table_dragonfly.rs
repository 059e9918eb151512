//! DragonFly's process table (sysctl(3); kinfo_proc: sys/kinfo.h; its states: sys/proc_common.h; AFORK: sys/acct.h; P_WEXIT: sys/proc.h; who
//! is told of: kern/kern_proc.c).
#![expect(
    unsafe_code,
    reason = "what the kernel writes is taken for a structure, and a sysctl is found by its name"
)]

use std::ffi::CString;
use std::io;
use std::mem::{MaybeUninit, offset_of};
use std::ptr;

use libc::{CTL_KERN, KERN_PROC, kinfo_proc};

use super::super::kqueue::Entry;
use super::super::vmmeter;
use super::sysctl::{self, Plain};
use super::thread::offset;
use crate::process::metadata::{Metadata, Missing};

/// It has forked off and run no program since.
const AFORK: i32 = 0x01;
const P_WEXIT: i32 = 0x2000;
/// Of `enum procstat`.
const SZOMB: u32 = 4;

// By sys/kinfo.h, on the only processors that it runs on.
const _: () = {
    assert!(offset_of!(kinfo_proc, kp_flags) == 8 && offset_of!(kinfo_proc, kp_stat) == 12);
    assert!(offset_of!(kinfo_proc, kp_acflag) == 20 && offset_of!(kinfo_proc, kp_start) == 96);
    assert!(offset_of!(kinfo_proc, kp_comm) == 112 && offset_of!(kinfo_proc, kp_uid) == 132);
    assert!(offset_of!(kinfo_proc, kp_pid) == 220 && offset_of!(kinfo_proc, kp_ppid) == 224);
    assert!(offset_of!(kinfo_proc, kp_exitstat) == 292 && offset_of!(kinfo_proc, kp_nthreads) == 296);
};

/// The structure as bytes: of who has no thread any more, and of the kernel's own, its enumerations have no value that Rust knows.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Info(MaybeUninit<kinfo_proc>);

// SAFETY: nothing is asked of the bytes.
unsafe impl Plain for Info {}

/// One of its fields that are no enumerations.
macro_rules! field {
    ($info:expr, $name:ident) => {{
        // SAFETY: the structure is there.
        let field = unsafe { &raw const (*$info.0.as_ptr()).$name };
        // SAFETY: the kernel has written all of it, and the field is an integer, or some.
        unsafe { field.read() }
    }};
}

impl Info {
    fn state(&self) -> u32 {
        // SAFETY: the structure is there.
        let state = unsafe { &raw const (*self.0.as_ptr()).kp_stat };
        // SAFETY: the kernel has written all of it, and an enumeration has four bytes.
        unsafe { state.cast::<u32>().read() }
    }

    fn is_zombie(&self) -> bool {
        self.state() == SZOMB
    }

    /// None of the kernel's own threads, which have no pid and come at the end of the list.
    fn pid(&self) -> Option<u32> {
        u32::try_from(field!(self, kp_pid)).ok()
    }
}

pub(super) fn entry(pid: u32) -> io::Result<Option<Entry>> {
    Ok(one(pid)?.and_then(|info| of(&info, offset())))
}

/// KERN_PROC_PID finds no zombies, and says of them what it says of nobody.
fn one(pid: u32) -> io::Result<Option<Info>> {
    let found: Option<Info> = sysctl::one(&[CTL_KERN, KERN_PROC, libc::KERN_PROC_PID, pid as i32])?;
    if found.is_some() {
        return Ok(found);
    }
    Ok(list()?.into_iter().find(|info| info.pid() == Some(pid)))
}

fn list() -> io::Result<Vec<Info>> {
    sysctl::list(|_| vec![CTL_KERN, KERN_PROC, libc::KERN_PROC_ALL])
}

pub(super) fn entries() -> io::Result<Vec<Entry>> {
    let offset = offset();
    Ok(list()?.iter().filter_map(|info| of(info, offset)).collect())
}

fn of(info: &Info, offset: u64) -> Option<Entry> {
    let zombie = info.is_zombie();
    let start = field!(info, kp_start);
    let start = start.tv_sec as u64 * 1_000_000_000 + start.tv_usec as u64 * 1_000;
    Some(Entry {
        pid: info.pid()?,
        parent: field!(info, kp_ppid) as u32,
        start: start.saturating_sub(offset),
        threads: if zombie { 0 } else { field!(info, kp_nthreads).max(1) as u32 },
        ending: field!(info, kp_flags) & P_WEXIT != 0,
        status: zombie.then_some(i32::from(field!(info, kp_exitstat))),
        executed: field!(info, kp_acflag) & AFORK == 0,
    })
}

/// NOTE_TRACK tells of them.
pub(super) fn children(_pid: u32) -> io::Result<Vec<u32>> {
    Err(io::ErrorKind::Unsupported.into())
}

/// fork(2), vfork(2) and rfork(2) that made a process, since the machine started. Counted before the note is set off (fork1 of
/// kern_fork.c), by each processor for itself.
pub(super) fn forks() -> Option<u64> {
    let mut forks = 0;
    for processor in 0.. {
        let mut meter = [0_u8; vmmeter::SIZE];
        let mut length = meter.len();
        let name = CString::new(format!("vm.cpu{processor}.vmmeter")).ok()?;
        // SAFETY: the name ends with a NUL, and at most as many bytes are written as `length` says.
        let result = unsafe {
            libc::sysctlbyname(name.as_ptr(), meter.as_mut_ptr().cast(), &raw mut length, ptr::null_mut(), 0)
        };
        if result == 0 {
            forks += vmmeter::forks(meter.get(..length)?)?;
        } else if processor > 0 && io::Error::last_os_error().raw_os_error() == Some(libc::ENOENT) {
            return Some(forks);
        } else {
            // Also where the structure has grown (ENOMEM).
            return None;
        }
    }
    None
}

pub(super) fn metadata(pid: u32) -> Metadata {
    let mut metadata = Metadata::missing(Missing::Unsupported);
    let kern = |what| sysctl::bytes(&[CTL_KERN, KERN_PROC, what, pid as i32]);
    metadata.exe = kern(libc::KERN_PROC_PATHNAME).map(|path| sysctl::text(&path).into());
    metadata.argv = kern(libc::KERN_PROC_ARGS).map(|argv| sysctl::texts(&argv));
    match one(pid) {
        Ok(Some(info)) if !info.is_zombie() => {
            (metadata.uid, metadata.comm) =
                (Ok(field!(info, kp_uid)), Ok(sysctl::name(&field!(info, kp_comm))));
        }
        _ => return Metadata::missing(Missing::Gone),
    }
    metadata
}
