//! macOS: what a child has used, from what the kernel keeps of a zombie (proc_pid_rusage, libproc.h). waitid(2) has no place for it.
#![expect(unsafe_code, reason = "calls of libproc and of Mach")]

use std::io;
use std::mem::zeroed;
use std::time::Duration;

use super::table;
use crate::status::Usage;

/// How often a child is looked for that is about to become a zombie.
const ATTEMPTS: usize = 64;

/// What the child with this pid has used, if it has ended and has not been reaped: processor time of itself and of those whom it has waited for,
/// and the largest footprint of itself; the kernel keeps no peak of what was resident.
///
/// `None` if it is no zombie yet.
///
/// # Errors
/// `ECHILD`: it has been reaped, or never was a child of this program.
pub(super) fn of_ended(pid: u32) -> io::Result<Option<Usage>> {
    for _ in 0..ATTEMPTS {
        // A living one's figures go up.
        match table::one(pid)? {
            Some(info) if info.pbi_ppid == std::process::id() => {
                if info.pbi_status == libc::SZOMB {
                    return kept(pid).map(Some);
                }
            }
            _ => return Err(io::Error::from_raw_os_error(libc::ECHILD)),
        }
        std::thread::yield_now();
    }
    Ok(None)
}

fn kept(pid: u32) -> io::Result<Usage> {
    // SAFETY: integers, all of which may be zero.
    let mut used: libc::rusage_info_v4 = unsafe { zeroed() };
    // SAFETY: writes the structure of the version that is said, whose address it takes.
    let result = unsafe { libc::proc_pid_rusage(pid as i32, libc::RUSAGE_INFO_V4, (&raw mut used).cast()) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    let unit = unit()?;
    let time = |own: u64, children: u64| {
        let nanos =
            (u128::from(own) + u128::from(children)) * u128::from(unit.numer) / u128::from(unit.denom);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    };
    Ok(Usage {
        user: time(used.ri_user_time, used.ri_child_user_time),
        system: time(used.ri_system_time, used.ri_child_system_time),
        peak_memory: used.ri_lifetime_max_phys_footprint,
    })
}

/// What the kernel counts time in: nanoseconds on Intel, and 125/3 of them on Apple's own processors.
fn unit() -> io::Result<Timebase> {
    let mut unit = Timebase { numer: 0, denom: 0 };
    // SAFETY: `unit` is what is to be written.
    let result = unsafe { mach_timebase_info(&raw mut unit) };
    if result == 0 && unit.denom != 0 { Ok(unit) } else { Err(io::ErrorKind::Unsupported.into()) }
}

/// `struct mach_timebase_info` (mach/mach_time.h), which libc has and calls deprecated.
#[repr(C)]
struct Timebase {
    numer: u32,
    denom: u32,
}

unsafe extern "C" {
    fn mach_timebase_info(unit: *mut Timebase) -> i32;
}
