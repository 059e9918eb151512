//! Perf events that count nothing and tell of tasks (perf_event_open(2)).
#![expect(unsafe_code, reason = "system calls")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use perf_event_open_sys::bindings::{self as abi, perf_event_attr};
use perf_event_open_sys::{ioctls, perf_event_open};

/// What a record carries behind its own fields: when it was written, and by which event.
const SAMPLE: u32 = abi::PERF_SAMPLE_TIME | abi::PERF_SAMPLE_ID;

/// An open event.
#[derive(Debug)]
pub(super) struct Event {
    fd: OwnedFd,
}

/// What an event is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// It owns a ring, and tells nothing itself.
    Ring,
    /// It tells the forks, execs and ends of a thread and of all that it makes from now on.
    Follow,
}

impl Event {
    /// On thread `thread`, 0 for the calling one, while it runs on processor `cpu`.
    ///
    /// # Errors
    /// `ESRCH`: no such thread. `EACCES`, `EPERM`: not permitted. `ENODEV`: the processor is offline. `EMFILE`.
    pub(super) fn open(purpose: Purpose, thread: u32, cpu: u32) -> io::Result<Self> {
        match Self::open_with(purpose, thread, cpu, u64::from(abi::PERF_FORMAT_LOST)) {
            // Before Linux 6.0 nobody counts what is lost; the records that tell of it have to do.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                Self::open_with(purpose, thread, cpu, 0)
            }
            opened => opened,
        }
    }

    fn open_with(purpose: Purpose, thread: u32, cpu: u32, read_format: u64) -> io::Result<Self> {
        let mut attr = perf_event_attr {
            size: size_of::<perf_event_attr>() as u32,
            type_: abi::PERF_TYPE_SOFTWARE,
            config: u64::from(abi::PERF_COUNT_SW_DUMMY),
            sample_type: u64::from(SAMPLE),
            read_format,
            clockid: libc::CLOCK_MONOTONIC,
            ..Default::default()
        };
        attr.set_sample_id_all(1);
        attr.set_exclude_kernel(1);
        attr.set_exclude_hv(1);
        attr.set_use_clockid(1);
        // Each record wakes: counted in bytes, for a count in events looks at samples only.
        attr.set_watermark(1);
        attr.__bindgen_anon_2.wakeup_watermark = 1;
        if purpose == Purpose::Follow {
            attr.set_inherit(1);
            attr.set_task(1);
            attr.set_comm(1);
            attr.set_comm_exec(1);
        }
        let flags = u64::from(abi::PERF_FLAG_FD_CLOEXEC);
        // SAFETY: the attributes are initialized, of the size they say, and live as long as the call.
        let fd = unsafe {
            perf_event_open(
                &raw mut attr,
                thread as libc::pid_t,
                cpu as libc::c_int,
                -1,
                flags as libc::c_ulong,
            )
        };
        if fd == -1 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new and nobody else's.
        Ok(Self { fd: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    /// Writes into the ring of `owner`, which is on the same processor, from now on.
    pub(super) fn write_to(&self, owner: &Self) -> io::Result<()> {
        // SAFETY: two open descriptors.
        let set = unsafe { ioctls::SET_OUTPUT(self.fd.as_raw_fd(), owner.fd.as_raw_fd()) };
        if set == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Whether its thread has ended, and all who inherited it. Takes from its ring that it polls readable.
    pub(super) fn is_over(&self) -> bool {
        let mut polled = libc::pollfd { fd: self.fd.as_raw_fd(), events: 0, revents: 0 };
        // SAFETY: one entry, which lives as long as the call.
        let result = unsafe { libc::poll(&raw mut polled, 1, 0) };
        result == 1 && polled.revents & libc::POLLHUP != 0
    }

    /// How many records it, and those who inherited it, could not write for want of room; `None` before Linux 6.0.
    pub(super) fn lost(&self) -> io::Result<Option<u64>> {
        let mut words = [0_u64; 2];
        // SAFETY: as many bytes as the array has.
        let length =
            unsafe { libc::read(self.fd.as_raw_fd(), words.as_mut_ptr().cast(), size_of_val(&words)) };
        match length {
            -1 => Err(io::Error::last_os_error()),
            16 => Ok(Some(words[1])),
            // An event whose thread could not be followed any more reads as nothing.
            _ => Ok(None),
        }
    }
}

impl AsFd for Event {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
