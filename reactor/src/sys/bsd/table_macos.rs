//! macOS's process table (libproc; the structures and PROC_FLAG_: sys/proc_info.h).
#![expect(unsafe_code, reason = "calls of libproc")]

use std::ffi::{OsStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;

use super::super::kqueue::Entry;
use super::thread::offset;
use crate::process::metadata::{Metadata, Missing};

const PROC_FLAG_INEXIT: u32 = 0x4;
/// It has run a program since it was born.
const PROC_FLAG_EXEC: u32 = 0x4000;
/// proc_pidinfo(3): zombies too.
const ZOMBIES_TOO: u64 = 1;
/// How often a list is asked for anew because it has grown.
const ATTEMPTS: usize = 16;

// By sys/proc_info.h.
const _: () = {
    use std::mem::offset_of;
    assert!(size_of::<libc::proc_bsdinfo>() == 136 && size_of::<libc::proc_bsdshortinfo>() == 64);
    assert!(
        offset_of!(libc::proc_bsdinfo, pbi_status) == 4 && offset_of!(libc::proc_bsdinfo, pbi_xstatus) == 8
    );
    assert!(offset_of!(libc::proc_bsdinfo, pbi_ppid) == 16 && offset_of!(libc::proc_bsdinfo, pbi_comm) == 48);
    assert!(offset_of!(libc::proc_bsdinfo, pbi_start_tvsec) == 120);
    assert!(offset_of!(libc::proc_bsdshortinfo, pbsi_flags) == 32);
};

pub(super) fn entry(pid: u32) -> io::Result<Option<Entry>> {
    looked_up(pid, offset())
}

/// Who has become another user's (a child that runs sudo or ps, say) is still told of, without start and status.
fn looked_up(pid: u32, offset: u64) -> io::Result<Option<Entry>> {
    match one(pid) {
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
            // SAFETY: integers and characters.
            let info = unsafe { info::<libc::proc_bsdshortinfo>(pid, libc::PROC_PIDT_SHORTBSDINFO) }?;
            Ok(info.map(|info| in_short(&info)))
        }
        looked => Ok(looked?.map(|info| of(&info, offset))),
    }
}

pub(super) fn one(pid: u32) -> io::Result<Option<libc::proc_bsdinfo>> {
    // SAFETY: integers and characters.
    unsafe { info(pid, libc::PROC_PIDTBSDINFO) }
}

/// A structure about a process; `None` if there is no such process.
///
/// # Safety
/// Every pattern of bits is a `T`.
unsafe fn info<T>(pid: u32, flavor: libc::c_int) -> io::Result<Option<T>> {
    let mut info = MaybeUninit::<T>::uninit();
    let size = size_of::<T>() as i32;
    // SAFETY: at most as many bytes are written as are said, which is what there is room for.
    let written =
        unsafe { libc::proc_pidinfo(pid as i32, flavor, ZOMBIES_TOO, info.as_mut_ptr().cast(), size) };
    if written == size {
        // SAFETY: all of it was written, and any bytes are one.
        return Ok(Some(unsafe { info.assume_init() }));
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::ESRCH) | Some(0) => Ok(None),
        _ => Err(error),
    }
}

pub(super) fn entries() -> io::Result<Vec<Entry>> {
    let offset = offset();
    // SAFETY: at most as many bytes are written as there is room for.
    let pids = pids(|room, size| unsafe { libc::proc_listallpids(room.cast(), size) })?;
    // libproc says 0 where the call has failed. There is always somebody.
    if pids.is_empty() {
        return Err(io::Error::last_os_error());
    }
    let mut entries = Vec::with_capacity(pids.len());
    for pid in pids {
        // Who has gone since, and who may not be looked at, is not there.
        entries.extend(looked_up(pid, offset).ok().flatten());
    }
    Ok(entries)
}

pub(super) fn children(pid: u32) -> io::Result<Vec<u32>> {
    // SAFETY: at most as many bytes are written as there is room for.
    pids(|room, size| unsafe { libc::proc_listchildpids(pid as i32, room.cast(), size) })
}

/// `call` writes pids and returns how many.
fn pids(call: impl Fn(*mut i32, i32) -> i32) -> io::Result<Vec<u32>> {
    let mut room = vec![0_i32; 512];
    for _ in 0..ATTEMPTS {
        let size = i32::try_from(size_of_val(&*room)).unwrap_or(i32::MAX);
        let count = usize::try_from(call(room.as_mut_ptr(), size)).map_err(|_| io::Error::last_os_error())?;
        // Full: there may be more that found no room.
        if count < room.len() {
            room.truncate(count);
            return Ok(room.into_iter().filter_map(|pid| u32::try_from(pid).ok()).collect());
        }
        room.resize(room.len() * 2, 0);
    }
    Err(io::ErrorKind::WouldBlock.into())
}

fn of(info: &libc::proc_bsdinfo, offset: u64) -> Entry {
    let zombie = info.pbi_status == libc::SZOMB;
    let start = info.pbi_start_tvsec * 1_000_000_000 + info.pbi_start_tvusec * 1_000;
    Entry {
        pid: info.pbi_pid,
        parent: info.pbi_ppid,
        start: start.saturating_sub(offset),
        // How many is not asked: nobody is missed here for having several who would not be anyway.
        threads: u32::from(!zombie),
        ending: info.pbi_flags & PROC_FLAG_INEXIT != 0,
        status: zombie.then_some(info.pbi_xstatus as i32),
        executed: info.pbi_flags & PROC_FLAG_EXEC != 0,
    }
}

fn in_short(info: &libc::proc_bsdshortinfo) -> Entry {
    Entry {
        pid: info.pbsi_pid,
        parent: info.pbsi_ppid,
        start: 0,
        threads: u32::from(info.pbsi_status != libc::SZOMB),
        ending: info.pbsi_flags & PROC_FLAG_INEXIT != 0,
        status: None,
        executed: info.pbsi_flags & PROC_FLAG_EXEC != 0,
    }
}

/// Not asked for: what was not found is not told anyway.
pub(super) fn forks() -> Option<u64> {
    None
}

pub(super) fn metadata(pid: u32) -> Metadata {
    let info = match one(pid) {
        Ok(Some(info)) if info.pbi_status != libc::SZOMB => info,
        Ok(_) => return Metadata::missing(Missing::Gone),
        Err(_) => return Metadata::missing(Missing::Denied),
    };
    let mut metadata = Metadata::missing(Missing::Unsupported);
    metadata.exe = path(pid).map(Into::into);
    metadata.argv = super::procargs::argv(pid);
    let lives = || matches!(one(pid), Ok(Some(info)) if info.pbi_status != libc::SZOMB);
    if metadata.argv == Err(Missing::Denied) && !lives() {
        return Metadata::missing(Missing::Gone);
    }
    metadata.uid = Ok(info.pbi_uid);
    let comm: Vec<u8> = info.pbi_comm.iter().map(|byte| *byte as u8).take_while(|byte| *byte != 0).collect();
    metadata.comm = Ok(OsStr::from_bytes(&comm).to_owned());
    metadata
}

fn path(pid: u32) -> Result<OsString, Missing> {
    let mut room = vec![0_u8; libc::PROC_PIDPATHINFO_MAXSIZE as usize];
    // SAFETY: at most as many bytes are written as there is room for.
    let written = unsafe { libc::proc_pidpath(pid as i32, room.as_mut_ptr().cast(), room.len() as u32) };
    match usize::try_from(written) {
        Ok(written) if written > 0 => Ok(OsStr::from_bytes(&room[..written]).to_owned()),
        _ if io::Error::last_os_error().raw_os_error() == Some(libc::ESRCH) => Err(Missing::Gone),
        _ => Err(Missing::Denied),
    }
}
