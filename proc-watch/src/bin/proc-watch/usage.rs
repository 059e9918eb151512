//! What the children of this program have used of the machine.
#![expect(unsafe_code, reason = "getrusage(2)")]

use std::io;
use std::mem::MaybeUninit;
use std::time::Duration;

/// Resources used by children that have been waited for, and by what they themselves waited for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) user: Duration,
    pub(crate) system: Duration,
    /// Bytes that the largest single process had in memory at once.
    pub(crate) peak: u64,
}

/// Bytes in a unit of `ru_maxrss`.
const PEAK_UNIT: u64 = if cfg!(target_vendor = "apple") { 1 } else { 1024 };

impl Usage {
    /// Up to now.
    pub(crate) fn of_children() -> io::Result<Self> {
        let mut usage = MaybeUninit::<libc::rusage>::uninit();
        // SAFETY: getrusage(2) writes one rusage, for which there is room.
        let result = unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, usage.as_mut_ptr()) };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call succeeded, and so has written all of it.
        let usage = unsafe { usage.assume_init() };
        Ok(Self {
            user: duration(usage.ru_utime),
            system: duration(usage.ru_stime),
            peak: u64::try_from(usage.ru_maxrss).unwrap_or(0) * PEAK_UNIT,
        })
    }

    /// What has come since `before`. A peak that was there before hides a lower one since, of which then nothing is
    /// known.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            user: self.user.saturating_sub(before.user),
            system: self.system.saturating_sub(before.system),
            peak: if self.peak > before.peak { self.peak } else { 0 },
        }
    }
}

fn duration(time: libc::timeval) -> Duration {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let micros = u64::try_from(time.tv_usec).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_micros(micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_counts_when_it_has_been_waited_for() {
        let before = Usage::of_children().unwrap();
        std::process::Command::new("sh")
            .args(["-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"])
            .status()
            .unwrap();
        let now = Usage::of_children().unwrap();
        assert!(now.user + now.system > before.user + before.system);
        assert!(now.peak > 100_000, "a shell takes more: {}", now.peak);
    }

    #[test]
    fn a_former_peak_hides_a_lower_one() {
        let before = Usage { user: Duration::from_secs(2), system: Duration::ZERO, peak: 10 };
        let after = Usage { user: Duration::from_secs(3), system: Duration::from_secs(1), peak: 10 };
        let second = Duration::from_secs(1);
        assert_eq!(after.since(before), Usage { user: second, system: second, peak: 0 });
        assert_eq!(Usage { peak: 11, ..after }.since(before).peak, 11);
    }
}
