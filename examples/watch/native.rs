//! The kernel's own kqueue, on systems that have one, with this library's kevents. Filters have FreeBSD's numbers here, as this library's have, and are
//! translated; flags and fflags have the same bits everywhere.
#![expect(unsafe_code, reason = "kqueue and kevent")]

use std::ffi::c_void;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use proc_reactor::Kevent;
use proc_reactor::flags::{EVFILT_PROC, EVFILT_USER};

/// kqueue(2).
#[derive(Debug)]
pub(crate) struct Native(OwnedFd);

impl Native {
    /// A queue of the kernel's, or the errno.
    pub(crate) fn new() -> Result<Self, i32> {
        // SAFETY: it takes nothing.
        let fd = unsafe { libc::kqueue() };
        if fd < 0 {
            return Err(errno());
        }
        // SAFETY: it has just been made, and nobody else has it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// kevent(2), or the errno.
    pub(crate) fn kevent(
        &self,
        changes: &[Kevent],
        events: &mut [Kevent],
        timeout: Option<Duration>,
    ) -> Result<usize, i32> {
        let changes: Vec<libc::kevent> = changes.iter().map(to_kernel).collect();
        // SAFETY: plain data, for which zeros are valid.
        let empty = || unsafe { std::mem::zeroed::<libc::kevent>() };
        let mut list: Vec<libc::kevent> = events.iter().map(|_| empty()).collect();
        let timeout = timeout.map(|timeout| {
            // SAFETY: plain data, for which zeros are valid; on some systems there is more in it than two numbers.
            let mut time: libc::timespec = unsafe { std::mem::zeroed() };
            time.tv_sec = libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX);
            time.tv_nsec = timeout.subsec_nanos() as _;
            time
        });
        let timeout = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: both lists are as long as is said, and what the pointers point to lives until it returns.
        let count = unsafe {
            libc::kevent(
                self.0.as_raw_fd(),
                changes.as_ptr(),
                changes.len() as _,
                list.as_mut_ptr(),
                list.len() as _,
                timeout,
            )
        };
        let count = usize::try_from(count).map_err(|_| errno())?;
        for (event, told) in events.iter_mut().zip(&list[..count]) {
            *event = from_kernel(told);
        }
        Ok(count)
    }
}

fn errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// Ours and the kernel's.
const FILTERS: [(i16, i64); 2] =
    [(EVFILT_PROC, libc::EVFILT_PROC as i64), (EVFILT_USER, libc::EVFILT_USER as i64)];

fn to_kernel(event: &Kevent) -> libc::kevent {
    let filter = FILTERS.iter().find(|(ours, _)| *ours == event.filter);
    // SAFETY: plain data, for which zeros are valid.
    let mut kevent: libc::kevent = unsafe { std::mem::zeroed() };
    kevent.ident = event.ident as _;
    kevent.filter = filter.map_or(event.filter.into(), |(_, theirs)| *theirs) as _;
    kevent.flags = event.flags as _;
    kevent.fflags = event.fflags as _;
    kevent.data = event.data as _;
    kevent.udata = event.udata as usize as *mut c_void;
    kevent
}

fn from_kernel(kevent: &libc::kevent) -> Kevent {
    let filter = FILTERS.iter().find(|(_, theirs)| *theirs == kevent.filter as i64);
    Kevent {
        ident: kevent.ident as _,
        filter: filter.map_or(kevent.filter as _, |(ours, _)| *ours),
        flags: kevent.flags as _,
        fflags: kevent.fflags as _,
        data: kevent.data as _,
        udata: kevent.udata as usize as _,
    }
}
