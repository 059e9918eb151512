//! How much processor time a workload and its watcher take together.
//!
//! A control group (version 2) of their own is charged to the nanosecond for everything that runs in them. That
//! includes the last of a process, after its parent was told of its end: there the kernel makes the exit's record
//! and wakes the watcher, and if the parent is quick to reap, no resource usage ever has it.
//!
//! The second account is by clocks: the workload's own resource usage with its children's, and the watcher's process
//! clock. This kernel counts user and system time by ticks (`TICK_CPU_ACCOUNTING`), but only to divide the
//! total between the two: their sum is scaled to the scheduler's run time, which is exact (`cputime_adjust` in the
//! kernel's `kernel/sched/cputime.c`; the test here shows it).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use crate::sys;

/// A control group that this program is in while it starts something, and else not.
#[derive(Debug)]
pub struct Group {
    path: PathBuf,
    home: PathBuf,
}

impl Group {
    /// A new one below our own.
    ///
    /// # Errors
    /// There are no control groups of version 2 here, or none that may be written to.
    pub fn create() -> io::Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mounts")?;
        let mount = mounts.lines().find_map(|line| {
            let mut fields = line.split(' ').skip(1);
            let path = fields.next()?;
            (fields.next()? == "cgroup2").then_some(path)
        });
        let mount = mount.ok_or_else(|| io::Error::other("cgroup2 is not mounted"))?;
        let own = fs::read_to_string("/proc/self/cgroup")?;
        let own = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
        let home = Path::new(mount).join(own);
        let path = home.join(format!("proc-watch-bench-{}", std::process::id()));
        fs::create_dir(&path)?;
        let group = Self { path, home };
        group.used()?;
        group.within(|| ())?;
        Ok(group)
    }

    /// What `work` starts is in the group from its first instruction on, whoever it is started by in turn.
    ///
    /// # Errors
    /// The system does not let us in or out.
    pub fn within<T>(&self, work: impl FnOnce() -> T) -> io::Result<T> {
        fs::write(self.path.join("cgroup.procs"), "0")?;
        let result = work();
        fs::write(self.home.join("cgroup.procs"), "0")?;
        Ok(result)
    }

    /// Nanoseconds used so far (known to the microsecond).
    ///
    /// # Errors
    /// The system does not tell.
    pub fn used(&self) -> io::Result<u64> {
        let stat = fs::read_to_string(self.path.join("cpu.stat"))?;
        let micros = stat.lines().find_map(|line| line.strip_prefix("usage_usec ")?.parse::<u64>().ok());
        micros.map(|micros| micros * 1_000).ok_or_else(|| io::Error::other("no usage_usec in cpu.stat"))
    }
}

impl Drop for Group {
    /// It can be removed when the last that was in it is reaped and gone.
    fn drop(&mut self) {
        for _ in 0..50 {
            if fs::remove_dir(&self.path).is_ok() {
                return;
            }
            sleep(Duration::from_millis(20));
        }
        eprintln!("{} could not be removed", self.path.display());
    }
}

/// Both accounts at one moment, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// Of the control group, if there is one.
    pub group: Option<u64>,
    /// Of the watcher's process clock.
    pub watcher: u64,
}

impl Reading {
    fn take(group: Option<&Group>, watcher: Option<u32>) -> io::Result<Self> {
        let group = group.map(Group::used).transpose()?;
        let watcher = watcher.map_or(Ok(0), sys::process_cpu)?;
        Ok(Self { group, watcher })
    }

    /// When everything that was to be done is done: less than 1 % of a processor for 20 ms. Or after 300 ms, where
    /// others keep the watcher busy.
    ///
    /// # Errors
    /// The system does not tell, or the watcher is gone.
    pub fn when_quiet(group: Option<&Group>, watcher: Option<u32>) -> io::Result<Self> {
        const PAUSE: Duration = Duration::from_millis(20);
        let mut before = Self::take(group, watcher)?;
        for _ in 0..15 {
            sleep(PAUSE);
            let now = Self::take(group, watcher)?;
            let used =
                now.group.map_or(now.watcher - before.watcher, |used| used - before.group.unwrap_or(0));
            before = now;
            if u128::from(used) * 100 < PAUSE.as_nanos() {
                break;
            }
        }
        Ok(before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Resource usage is exact though the kernel samples by ticks: bursts far shorter than a tick (1 to 10 ms) add
    /// up to what the process clock says.
    #[test]
    fn resource_usage_is_not_sampled() {
        let (usage, clock) = (sys::own_cpu(), sys::process_cpu(std::process::id()).unwrap());
        for _ in 0..100 {
            let begin = std::time::Instant::now();
            while begin.elapsed() < Duration::from_micros(200) {
                std::hint::spin_loop();
            }
            sleep(Duration::from_micros(300));
        }
        let usage = sys::own_cpu() - usage;
        let clock = sys::process_cpu(std::process::id()).unwrap() - clock;
        assert!(clock > 1_000_000, "{clock}");
        assert!(usage.abs_diff(clock) < clock / 20, "usage {usage}, clock {clock}");
    }
}
