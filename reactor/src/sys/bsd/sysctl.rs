//! sysctl(3): whole lists that grow while they are read, and texts.
#![expect(unsafe_code, reason = "a system call")]

use std::ffi::{OsStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::ptr;

use crate::process::metadata::Missing;

/// How often a list is asked for anew because it has grown.
const ATTEMPTS: usize = 16;

/// A structure of integers and pointers, which any bytes are.
///
/// # Safety
/// Every pattern of bits is a value of it.
pub(super) unsafe trait Plain: Copy {}

/// How many bytes were written to `room`; how many there would be, without room.
fn read(name: &[i32], room: *mut libc::c_void, length: usize) -> io::Result<usize> {
    let mut written = length;
    // SAFETY: the name has the length that is said, and the room too, or is null. The kernel changes no name; the casts are for
    // systems whose headers leave the const out.
    let result = unsafe {
        libc::sysctl(name.as_ptr().cast_mut(), name.len() as _, room, &raw mut written, ptr::null_mut(), 0)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(written) }
}

/// A list of structures. `name` is told for how many there is room, where the system wants to know.
pub(super) fn list<T: Plain>(name: impl Fn(usize) -> Vec<i32>) -> io::Result<Vec<T>> {
    let mut count = read(&name(0), ptr::null_mut(), 0)? / size_of::<T>() + 16;
    for _ in 0..ATTEMPTS {
        let mut list: Vec<T> = Vec::with_capacity(count);
        match read(&name(count), list.as_mut_ptr().cast(), count * size_of::<T>()) {
            Ok(written) => {
                let written = (written / size_of::<T>()).min(count);
                // Full: there may be more that found no room, on systems that do not say so.
                if written < count {
                    // SAFETY: so many were written, of the size that was asked for, and any bytes are one.
                    unsafe { list.set_len(written) };
                    return Ok(list);
                }
            }
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) => {}
            Err(error) => return Err(error),
        }
        count += count / 2;
    }
    Err(io::ErrorKind::WouldBlock.into())
}

/// One structure; `None` if there is no such process.
pub(super) fn one<T: Plain>(name: &[i32]) -> io::Result<Option<T>> {
    let mut room = MaybeUninit::<T>::uninit();
    match read(name, room.as_mut_ptr().cast(), size_of::<T>()) {
        // SAFETY: all of it was written.
        Ok(written) if written == size_of::<T>() => Ok(Some(unsafe { room.assume_init() })),
        Ok(0) => Ok(None),
        Ok(_) => {
            Err(io::Error::new(io::ErrorKind::Unsupported, "the kernel's process table has another layout"))
        }
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Bytes of a variable length, up to the largest that an argument list may have. They are where they were written.
pub(super) fn bytes(name: &[i32]) -> Result<Vec<u8>, Missing> {
    let mut room = vec![0_u8; 4096];
    while room.len() <= 1 << 20 {
        match read(name, room.as_mut_ptr().cast(), room.len()) {
            Ok(written) => {
                room.truncate(written);
                return Ok(room);
            }
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) => room.resize(room.len() * 4, 0),
            Err(error) => {
                return Err(match error.raw_os_error() {
                    Some(libc::ESRCH | libc::ENOENT) => Missing::Gone,
                    Some(libc::EPERM | libc::EACCES) => Missing::Denied,
                    // It is about to run another program (OpenBSD).
                    Some(libc::EBUSY) => Missing::Unsettled,
                    _ => Missing::Unsupported,
                });
            }
        }
    }
    Err(Missing::Unsupported)
}

/// Up to the first NUL.
pub(super) fn text(bytes: &[u8]) -> OsString {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    OsStr::from_bytes(&bytes[..end]).to_owned()
}

/// The same of the system's own characters.
pub(super) fn name(characters: &[libc::c_char]) -> OsString {
    let bytes: Vec<u8> = characters.iter().map(|character| *character as u8).collect();
    text(&bytes)
}

/// Strings that each end with a NUL.
#[cfg_attr(target_os = "openbsd", expect(dead_code, reason = "there are only pointers to be had there"))]
pub(super) fn texts(bytes: &[u8]) -> Vec<OsString> {
    let whole = bytes.strip_suffix(&[0]).unwrap_or(bytes);
    if whole.is_empty() && bytes.is_empty() {
        return Vec::new();
    }
    whole.split(|byte| *byte == 0).map(|part| OsStr::from_bytes(part).to_owned()).collect()
}
