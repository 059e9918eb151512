//! macOS: argument vectors (sysctl(3), KERN_PROCARGS2), as they are in the memory of the process that they were given to.
#![expect(unsafe_code, reason = "a system call")]

use std::ffi::OsString;
use std::io;
use std::ptr;

use super::super::argv::after_path;
use crate::process::metadata::Missing;

/// The kernel gives the end of the area to who has less room than all of it takes, so there is room for the largest (KERN_ARGMAX).
pub(super) fn argv(pid: u32) -> Result<Vec<OsString>, Missing> {
    let mut most = 0_i32.to_ne_bytes();
    let written = read(&[libc::CTL_KERN, libc::KERN_ARGMAX], &mut most).map_err(|_| Missing::Unsupported)?;
    let most = usize::try_from(i32::from_ne_bytes(most)).ok().filter(|_| written == most.len());
    // The count is told besides.
    let mut area = vec![0_u8; most.ok_or(Missing::Unsupported)? + size_of::<i32>()];
    match read(&[libc::CTL_KERN, libc::KERN_PROCARGS2, pid as i32], &mut area) {
        Ok(written) => after_path(area.get(..written).ok_or(Missing::Unsettled)?).ok_or(Missing::Unsettled),
        Err(error) => Err(match error.raw_os_error() {
            Some(libc::ESRCH) => Missing::Gone,
            // Also of one that is no more, which the process table tells; it is then asked before and after.
            Some(libc::EINVAL | libc::EPERM) => Missing::Denied,
            _ => Missing::Unsettled,
        }),
    }
}

fn read(name: &[i32], room: &mut [u8]) -> io::Result<usize> {
    let mut written = room.len();
    // SAFETY: the name and the room have the lengths that are said, and the kernel changes no name.
    let result = unsafe {
        libc::sysctl(
            name.as_ptr().cast_mut(),
            name.len() as u32,
            room.as_mut_ptr().cast(),
            &raw mut written,
            ptr::null_mut(),
            0,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(written) }
}
