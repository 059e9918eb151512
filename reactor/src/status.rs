//! How a process ended.

use std::fmt;

/// How a process ended. Known from the kernel, or [`Unknown`](ExitStatus::Unknown); never guessed (K9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ExitStatus {
    /// It called `exit` with this code, 0 to 255.
    Code(u8),
    /// A signal ended it.
    Signal {
        /// The signal's number.
        signal: u8,
        /// Whether a core was dumped.
        core: bool,
    },
    /// It is gone and nobody could say how: the record of its exit was lost, or the source in use does not
    /// tell statuses.
    Unknown,
}

/// What a process has used until its end (getrusage(2)), with those of its children that it has waited for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Processor time in its own code.
    pub user: std::time::Duration,
    /// Processor time in the kernel.
    pub system: std::time::Duration,
    /// The most memory that one of them had resident at once, in bytes; on macOS the largest footprint of the process itself.
    pub peak_memory: u64,
}

impl ExitStatus {
    /// From a wait status as `wait(2)` gives it: the code in bits 8 to 15, or the signal in the low seven
    /// with 0x80 for a core (C18).
    pub const fn from_wait_status(status: i32) -> Self {
        let signal = (status & 0x7f) as u8;
        if signal == 0 {
            Self::Code(((status >> 8) & 0xff) as u8)
        } else {
            Self::Signal { signal, core: status & 0x80 != 0 }
        }
    }

    /// Whether it ended with code 0; `None` if that is unknown.
    pub const fn success(self) -> Option<bool> {
        match self {
            Self::Code(code) => Some(code == 0),
            Self::Signal { .. } => Some(false),
            Self::Unknown => None,
        }
    }

    /// The exit code, if it ended by `exit`.
    pub const fn code(self) -> Option<u8> {
        match self {
            Self::Code(code) => Some(code),
            _ => None,
        }
    }

    /// The signal that ended it, if one did.
    pub const fn signal(self) -> Option<u8> {
        match self {
            Self::Signal { signal, .. } => Some(signal),
            _ => None,
        }
    }

    /// Whether it is known at all.
    pub const fn is_known(self) -> bool {
        !matches!(self, Self::Unknown)
    }

    /// As `wait(2)` gives it (C18); `None` if unknown.
    pub const fn to_wait_status(self) -> Option<i32> {
        match self {
            Self::Code(code) => Some((code as i32) << 8),
            Self::Signal { signal, core } => Some(signal as i32 | if core { 0x80 } else { 0 }),
            Self::Unknown => None,
        }
    }

    /// The same as the standard library's type; `None` if unknown.
    #[cfg(unix)]
    pub fn to_std(self) -> Option<std::process::ExitStatus> {
        use std::os::unix::process::ExitStatusExt;
        self.to_wait_status().map(std::process::ExitStatus::from_raw)
    }
}

#[cfg(unix)]
impl From<std::process::ExitStatus> for ExitStatus {
    fn from(status: std::process::ExitStatus) -> Self {
        use std::os::unix::process::ExitStatusExt;
        Self::from_wait_status(status.into_raw())
    }
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Code(code) => write!(f, "exit {code}"),
            Self::Signal { signal, core } => {
                match signal_name(signal) {
                    Some(name) => write!(f, "killed by {name}")?,
                    None => write!(f, "killed by signal {signal}")?,
                }
                if core { f.write_str(" (core dumped)") } else { Ok(()) }
            }
            Self::Unknown => f.write_str("exit status unknown"),
        }
    }
}

/// The name of a signal on this system, `SIGKILL` for 9; `None` for real-time and unknown ones.
#[cfg(unix)]
pub fn signal_name(signal: u8) -> Option<&'static str> {
    const NAMES: &[(i32, &str)] = &[
        (libc::SIGHUP, "SIGHUP"),
        (libc::SIGINT, "SIGINT"),
        (libc::SIGQUIT, "SIGQUIT"),
        (libc::SIGILL, "SIGILL"),
        (libc::SIGTRAP, "SIGTRAP"),
        (libc::SIGABRT, "SIGABRT"),
        (libc::SIGBUS, "SIGBUS"),
        (libc::SIGFPE, "SIGFPE"),
        (libc::SIGKILL, "SIGKILL"),
        (libc::SIGUSR1, "SIGUSR1"),
        (libc::SIGSEGV, "SIGSEGV"),
        (libc::SIGUSR2, "SIGUSR2"),
        (libc::SIGPIPE, "SIGPIPE"),
        (libc::SIGALRM, "SIGALRM"),
        (libc::SIGTERM, "SIGTERM"),
        (libc::SIGXCPU, "SIGXCPU"),
        (libc::SIGXFSZ, "SIGXFSZ"),
        (libc::SIGVTALRM, "SIGVTALRM"),
        (libc::SIGPROF, "SIGPROF"),
        (libc::SIGCHLD, "SIGCHLD"),
        (libc::SIGCONT, "SIGCONT"),
        (libc::SIGSTOP, "SIGSTOP"),
        (libc::SIGTSTP, "SIGTSTP"),
        (libc::SIGTTIN, "SIGTTIN"),
        (libc::SIGTTOU, "SIGTTOU"),
        (libc::SIGURG, "SIGURG"),
        (libc::SIGWINCH, "SIGWINCH"),
        (libc::SIGIO, "SIGIO"),
        (libc::SIGIO, "SIGIO"),
        (libc::SIGSYS, "SIGSYS"),
    ];
    NAMES.iter().find(|(number, _)| *number == i32::from(signal)).map(|(_, name)| *name)
}

/// No signals where there is no unix.
#[cfg(not(unix))]
pub fn signal_name(_signal: u8) -> Option<&'static str> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c18_wait_status_words() {
        assert_eq!(ExitStatus::from_wait_status(0), ExitStatus::Code(0));
        assert_eq!(ExitStatus::from_wait_status(0x2a00), ExitStatus::Code(42));
        assert_eq!(ExitStatus::from_wait_status(9), ExitStatus::Signal { signal: 9, core: false });
        assert_eq!(ExitStatus::from_wait_status(0x8b), ExitStatus::Signal { signal: 11, core: true });
        assert_eq!(ExitStatus::from_wait_status(0x8b).to_string(), "killed by SIGSEGV (core dumped)");
        assert_eq!(ExitStatus::Signal { signal: 40, core: false }.to_string(), "killed by signal 40");
    }

    #[cfg(unix)]
    #[test]
    fn round_trip_through_std() {
        for raw in [0, 0x100, 0xff00, 9, 0x8b, 0x7e] {
            let status = ExitStatus::from_wait_status(raw);
            assert_eq!(ExitStatus::from(status.to_std().unwrap()), status);
        }
        assert_eq!(ExitStatus::Unknown.to_std(), None);
    }
}
