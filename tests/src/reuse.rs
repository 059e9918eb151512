//! What the births of a re-used pid are to be told apart by: `reuser` makes them so, and the tests expect them so.

use proc_reactor::ExitStatus;

/// How an owner of a pid comes to be no more; see `reuser`.
pub const MODES: [&str; 4] = ["reap", "spin", "auto", "target"];
/// The code of a child in mode `target` that no signal has reached.
pub const TIME_OVER: u8 = 2;
/// The code of a child in mode `target` that the first real-time signal has reached; the next one's is one more.
pub const HIT: u8 = 100;
/// How many births have different signals meant for them.
pub const SIGNALS: u64 = 30;

/// Prime, so that neighbours on one pid differ however many pids there are.
const CODES: u64 = 251;

/// How a child ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// By itself.
    Code(u8),
    /// By this signal.
    Signal(u8),
}

/// How birth number `birth` ends: unlike any other for some time before and after it, but for one in eight, which is killed.
pub fn plan(birth: u64) -> End {
    const DEADLY: [i32; 4] = [libc::SIGKILL, libc::SIGTERM, libc::SIGHUP, libc::SIGUSR1];
    if birth % 8 == 7 {
        End::Signal(DEADLY[(birth / 8 % 4) as usize] as u8)
    } else {
        End::Code((birth % CODES) as u8)
    }
}

impl End {
    /// As wait(2) gives it, without a core.
    pub fn wait_status(self) -> i32 {
        match self {
            Self::Code(code) => i32::from(code) << 8,
            Self::Signal(signal) => signal.into(),
        }
    }

    /// As a stream gives it.
    pub fn status(self) -> ExitStatus {
        ExitStatus::from_wait_status(self.wait_status())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_differ() {
        for birth in 0..10_000 {
            for later in birth + 1..birth + 16 {
                assert_ne!(plan(birth), plan(later), "{birth} and {later}");
            }
        }
    }
}
