//! Whom the kernel kills because memory is used up, from its log (/dev/kmsg, Documentation/ABI/testing/dev-kmsg).

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::time::Duration;

use crate::account::{Entry, Ledger, OomKill};

/// Longer than any record (`CONSOLE_EXT_LOG_MAX`).
const RECORD: usize = 8192;
/// The inode of the initial pid namespace (`PROC_PID_INIT_INO`), whose pids the log tells.
const INITIAL: u64 = 0xeffffffc;

#[derive(Debug)]
pub(super) struct KernelLog {
    file: File,
    buffer: Box<[u8; RECORD]>,
}

impl KernelLog {
    /// Of what is logged from now on.
    pub(super) fn open() -> io::Result<Self> {
        if std::fs::metadata("/proc/self/ns/pid")?.ino() != INITIAL {
            let why = "its pids are not those of this pid namespace";
            return Err(io::Error::new(io::ErrorKind::Unsupported, why));
        }
        let mut file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open("/dev/kmsg")?;
        file.seek(SeekFrom::End(0))?;
        Ok(Self { file, buffer: Box::new([0; RECORD]) })
    }
}

impl Ledger for KernelLog {
    fn read(&mut self, out: &mut Vec<Entry>) {
        loop {
            match self.file.read(&mut *self.buffer) {
                Ok(0) => return,
                Ok(length) => out.extend(parse(&self.buffer[..length])),
                // Some were overwritten before they were read; the next is the oldest that is left.
                Err(error) if error.raw_os_error() == Some(libc::EPIPE) => out.push(Entry::LogLost),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }
}

/// `priority,sequence,microseconds,flags;text`, and lines about it that begin with a blank.
pub(super) fn parse(record: &[u8]) -> Option<Entry> {
    let text = std::str::from_utf8(record).ok()?;
    let (head, text) = text.split_once(';')?;
    let mut numbers = head.split(',');
    // Anybody who may write there can write this: the kernel's own facility is 0.
    let priority: u32 = numbers.next()?.parse().ok()?;
    let logged = Duration::from_micros(numbers.nth(1)?.parse().ok()?);
    let text = text.lines().next()?;
    let (why, whom) = text.split_once(": Killed process ")?;
    let in_cgroup = why == "Memory cgroup out of memory";
    let by_kernel = priority >> 3 == 0 && (in_cgroup || why.starts_with("Out of memory"));
    let pid = whom.split(' ').next()?.parse().ok()?;
    by_kernel.then(|| Entry::Killed { pid, logged, kill: OomKill { in_cgroup, text: text.to_owned() } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records() {
        let told = b"3,1271,98765432,-;Memory cgroup out of memory: Killed process 4711 (a (b) c) total-vm:1kB, anon-rss:0kB\n SUBSYSTEM=x\n";
        let Some(Entry::Killed { pid, logged, kill }) = parse(told) else { panic!() };
        assert_eq!((pid, logged, kill.in_cgroup), (4711, Duration::from_micros(98_765_432), true));
        assert!(kill.text.ends_with("anon-rss:0kB"), "{kill}");
        let machine = b"3,1,2,-;Out of memory: Killed process 7 (x) total-vm:1kB";
        assert!(matches!(parse(machine), Some(Entry::Killed { pid: 7, .. })));
        for other in [
            &b"11,1,2,-;Out of memory: Killed process 7 (x) by somebody who may write there"[..],
            b"3,1,2,-;oom-kill:constraint=CONSTRAINT_MEMCG,task=x,pid=7,uid=0",
            b"3,1,2,-;Somebody said: Killed process 7 (x)",
            b"3,1,2,-;Out of memory: Killed process x",
            b"3,1;Out of memory: Killed process 7 (x)",
            b"\xff;",
            b"",
        ] {
            assert_eq!(parse(other), None, "{:?}", String::from_utf8_lossy(other));
        }
    }
}
