//! A descriptor of a process (pidfd_open(2)): it names one process for as long as it is open, whoever gets the pid after.
#![expect(unsafe_code, reason = "system calls that the standard library does not have")]

use std::fs::File;
use std::io;
use std::mem::zeroed;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::status::Usage;

/// What the kernel tells by [`PIDFD_GET_INFO`]: its first version, which all later ones begin with.
#[repr(C)]
struct Info {
    /// What is asked for, and then what was told.
    mask: u64,
    cgroup: u64,
    pid: u32,
    process: u32,
    parent: u32,
    credentials: [u32; 8],
    exit_code: i32,
}
const _: () = assert!(size_of::<Info>() == 64 && std::mem::offset_of!(Info, exit_code) == 60);

const PIDFD_INFO_PID: u64 = 1 << 0;
/// Kernel 6.15, and of who has been reaped only.
const PIDFD_INFO_EXIT: u64 = 1 << 3;
/// `_IOWR(0xff, 11, struct pidfd_info)`, kernel 6.13.
const PIDFD_GET_INFO: u32 = READ_AND_WRITE | (size_of::<Info>() as u32) << 16 | 0xff << 8 | 11;
/// The direction of an ioctl has its own bits on some processors.
#[cfg(any(
    target_arch = "mips",
    target_arch = "mips64",
    target_arch = "powerpc",
    target_arch = "powerpc64",
    target_arch = "sparc",
    target_arch = "sparc64"
))]
const READ_AND_WRITE: u32 = 6 << 29;
#[cfg(not(any(
    target_arch = "mips",
    target_arch = "mips64",
    target_arch = "powerpc",
    target_arch = "powerpc64",
    target_arch = "sparc",
    target_arch = "sparc64"
)))]
const READ_AND_WRITE: u32 = 3 << 30;

/// The kernel has been seen to know [`PIDFD_GET_INFO`], so that it also hangs up on who has been reaped (kernel 6.9).
static HANGS_UP: AtomicBool = AtomicBool::new(false);

/// The kernel has been seen not to tell the status of who has been reaped (before 6.15).
static FORGETS_THE_REAPED: AtomicBool = AtomicBool::new(false);

/// How far a process has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It lives: a thread of it, at least.
    No,
    /// It has ended, and nobody has reaped it.
    Zombie,
    /// It has ended and has been reaped: its pid may be another's.
    Reaped,
}

/// An open descriptor of one process. It holds back neither its end nor its pid.
#[derive(Debug)]
pub(crate) struct Pidfd(OwnedFd);

impl Pidfd {
    /// Of the process that has this pid now, a zombie too (kernel 5.3).
    ///
    /// # Errors
    /// `ESRCH`: there is none. `EINVAL`, by newer kernels `ENOENT`: it is a thread's id. `EMFILE`, `ENFILE`: no
    /// descriptors are left. `ENOSYS`, or `EPERM` by a filter of system calls: there are none here.
    pub(crate) fn open(pid: u32) -> io::Result<Self> {
        let pid = libc::pid_t::try_from(pid).ok().filter(|pid| *pid > 0);
        let pid = pid.ok_or_else(|| io::Error::from_raw_os_error(libc::ESRCH))?;
        // SAFETY: takes integers, gives a descriptor (close-on-exec) or -1.
        let fd = check(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
        // SAFETY: the descriptor is new and nobody else's.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// A descriptor that another [`open`](Self::open) has given.
    ///
    /// # Errors
    /// None here; where there are no such descriptors, `Unsupported`.
    pub(crate) fn of(fd: OwnedFd, _pid: u32) -> io::Result<Self> {
        Ok(Self(fd))
    }

    /// Whether it lives: a thread of it, at least.
    ///
    /// # Errors
    /// As for [`is_ended`](Self::is_ended).
    pub(crate) fn lives(&self) -> io::Result<bool> {
        Ok(self.is_ended()? == Ended::No)
    }

    /// How far the process has come; does not wait.
    ///
    /// # Errors
    /// `ENOMEM`; never about the process.
    pub(crate) fn is_ended(&self) -> io::Result<Ended> {
        let mut polled = libc::pollfd { fd: self.0.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        loop {
            // SAFETY: one entry, which lives as long as the call.
            if check(unsafe { libc::poll(&raw mut polled, 1, 0) }.into()).is_ok() {
                break;
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
        if polled.revents & libc::POLLHUP != 0 {
            return Ok(Ended::Reaped);
        }
        if polled.revents & libc::POLLIN == 0 {
            return Ok(Ended::No);
        }
        if HANGS_UP.load(Ordering::Relaxed) {
            return Ok(Ended::Zombie);
        }
        // Before kernel 6.9 this polls as a zombie does also when it has been reaped. No signal reaches who is gone.
        match self.send_signal(0) {
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(Ended::Reaped),
            _ => Ok(Ended::Zombie),
        }
    }

    /// Whether the kernel tells the status of who has been reaped, as far as is known: it is believed to until it was seen not to.
    pub(crate) fn outlives_reaping() -> bool {
        !FORGETS_THE_REAPED.load(Ordering::Relaxed)
    }

    /// The wait status of this one, which has been reaped.
    pub(crate) fn status_of_reaped(&self) -> Option<i32> {
        let status = self.exit_status();
        if status.is_none() {
            FORGETS_THE_REAPED.store(true, Ordering::Relaxed);
        }
        status
    }

    /// The wait status of who has been reaped (kernel 6.15), whosever child it was. `None` before it is reaped, and
    /// where the kernel does not tell.
    pub(crate) fn exit_status(&self) -> Option<i32> {
        self.info(PIDFD_INFO_EXIT).map(|info| info.exit_code)
    }

    /// The parent's pid as of now, 0 where it is not visible here (kernel 6.13). `None` of who has been reaped.
    pub(crate) fn parent(&self) -> Option<u32> {
        self.info(PIDFD_INFO_PID).map(|info| info.parent)
    }

    /// What the kernel tells, if it tells `what`.
    fn info(&self, what: u64) -> Option<Info> {
        let (credentials, exit_code) = ([0; 8], 0);
        let mut info = Info { mask: what, cgroup: 0, pid: 0, process: 0, parent: 0, credentials, exit_code };
        // SAFETY: the request's number has the size of what is read and written.
        let told = unsafe { libc::ioctl(self.0.as_raw_fd(), PIDFD_GET_INFO as _, &raw mut info) };
        if told == 0 {
            HANGS_UP.store(true, Ordering::Relaxed);
        }
        (told == 0 && info.mask & what == what).then_some(info)
    }

    /// The wait status of a child of this program that has ended, if it has; the child remains to be waited for (kernel 5.4).
    ///
    /// # Errors
    /// `ECHILD`: it is no child of ours, or has been reaped.
    pub(crate) fn peek(&self) -> io::Result<Option<i32>> {
        self.wait(libc::WNOWAIT)
    }

    /// The same, and reaps it.
    ///
    /// # Errors
    /// As for [`peek`](Self::peek).
    pub(crate) fn reap(&self) -> io::Result<Option<i32>> {
        self.wait(0)
    }

    fn wait(&self, more: libc::c_int) -> io::Result<Option<i32>> {
        // SAFETY: all zeroes is a siginfo_t.
        let mut info: libc::siginfo_t = unsafe { zeroed() };
        let fd = self.0.as_raw_fd() as libc::id_t;
        // Children whose end sends no SIGCHLD too.
        let flags = libc::WEXITED | libc::WNOHANG | libc::__WALL | more;
        // SAFETY: `info` is a siginfo_t to be written.
        check(unsafe { libc::waitid(libc::P_PIDFD, fd, &raw mut info, flags) }.into())?;
        // SAFETY: the call filled it in as for SIGCHLD, or left it zero.
        let pid = unsafe { info.si_pid() };
        // SAFETY: as above.
        let status = unsafe { info.si_status() };
        Ok((pid != 0).then(|| wait_status(info.si_code, status)))
    }

    /// What a child of this program that has ended has used, with its children that it has waited for; the child remains to be waited
    /// for (kernel 5.4).
    ///
    /// # Errors
    /// As for [`peek`](Self::peek).
    pub(crate) fn usage(&self) -> io::Result<Option<Usage>> {
        // SAFETY: all zeroes is a siginfo_t.
        let mut info: libc::siginfo_t = unsafe { zeroed() };
        // SAFETY: all zeroes is a rusage.
        let mut used: libc::rusage = unsafe { zeroed() };
        let fd = self.0.as_raw_fd();
        let flags = libc::WEXITED | libc::WNOHANG | libc::__WALL | libc::WNOWAIT;
        // SAFETY: `info` and `used` are what is to be written; the C library's call has no place for the latter.
        check(unsafe {
            libc::syscall(libc::SYS_waitid, libc::P_PIDFD, fd, &raw mut info, flags, &raw mut used)
        })?;
        // SAFETY: the call filled it in as for SIGCHLD, or left it zero.
        let pid = unsafe { info.si_pid() };
        let time = |time: libc::timeval| {
            Duration::new(time.tv_sec.unsigned_abs(), (time.tv_usec.unsigned_abs() * 1_000) as u32)
        };
        let peak = used.ru_maxrss.unsigned_abs() * 1_024;
        let usage = Usage { user: time(used.ru_utime), system: time(used.ru_stime), peak_memory: peak };
        Ok((pid != 0).then_some(usage))
    }

    /// The same of the child that has this pid.
    ///
    /// # Errors
    /// As for [`usage`](Self::usage); or no descriptors are left.
    pub(crate) fn used_by(pid: u32) -> io::Result<Option<Usage>> {
        Self::open(pid)?.usage()
    }

    /// Sends a signal to the process, and to no other. Signal 0 sends none, and tells whether one could be sent. A
    /// zombie takes it like the living.
    ///
    /// # Errors
    /// `ESRCH`: it has been reaped. `EPERM`: it is not for us to do so. `EINVAL`: there is no such signal.
    pub(crate) fn send_signal(&self, signal: i32) -> io::Result<()> {
        let (fd, info) = (self.0.as_raw_fd(), std::ptr::null::<libc::siginfo_t>());
        // SAFETY: takes integers, and for the siginfo_t nothing.
        check(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, info, 0) })?;
        Ok(())
    }

    /// The same for all descriptors of this process, and for none of another as long as the machine is up. `None` before kernel 6.9, where
    /// all descriptors have one.
    ///
    /// # Errors
    /// No descriptors are left.
    pub(crate) fn inode(&self) -> io::Result<Option<u64>> {
        /// The file system that they are of since then (linux/magic.h).
        const PID_FS_MAGIC: u32 = 0x5049_4446;
        // SAFETY: plain numbers, for which zeros are valid.
        let mut system: libc::statfs = unsafe { zeroed() };
        // SAFETY: a descriptor that is open, and room for what is told.
        check(unsafe { libc::fstatfs(self.0.as_raw_fd(), &raw mut system) }.into())?;
        // The type's width and sign differ from one C library to another.
        if system.f_type as u32 != PID_FS_MAGIC {
            return Ok(None);
        }
        Ok(Some(File::from(self.0.try_clone()?).metadata()?.ino()))
    }
}

impl AsFd for Pidfd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<Pidfd> for OwnedFd {
    fn from(pidfd: Pidfd) -> Self {
        pidfd.0
    }
}

/// As wait(2) gives it, from what waitid(2) does.
fn wait_status(code: libc::c_int, status: libc::c_int) -> i32 {
    match code {
        libc::CLD_EXITED => (status & 0xff) << 8,
        libc::CLD_DUMPED => (status & 0x7f) | 0x80,
        _ => status & 0x7f,
    }
}

fn check(result: libc::c_long) -> io::Result<libc::c_int> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result as libc::c_int) }
}
