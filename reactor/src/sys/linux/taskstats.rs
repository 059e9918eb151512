//! What processes have used, told as each of their threads ends (taskstats, Documentation/accounting/taskstats.rst).

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::time::Duration;

use super::netlink;
use super::syscall::processors;
use crate::account::{Entry, Ledger};
use crate::status::Usage;

/// Of `<linux/genetlink.h>` and `<linux/taskstats.h>`.
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
const GENL_ID_CTRL: u16 = 16;
const TASKSTATS_CMD_GET: u8 = 1;
const REGISTER_CPUMASK: u16 = 3;
const TYPE_STATS: u16 = 3;
const TYPE_AGGR_PID: u16 = 4;
/// Set of the thread that is the last of its process.
const AGROUP: u8 = 0x20;
/// The first version that tells the process of a thread (kernel 5.19). Later ones have more at the end, and so far in front of
/// nothing that is read here (seen in version 16).
const VERSION: u16 = 12;

const NLMSG_ERROR: u16 = 2;
const HEADER: usize = 16;
const GENERIC: usize = 4;
/// A message has two records of some 600 bytes each.
const DATAGRAM: usize = 16 << 10;
/// What the kernel may keep for us, some 10,000 ends.
const RECEIVE_BUFFER: usize = 32 << 20;
/// Processes some of whose threads have ended. They are forgotten where nobody told of the last.
const UNFINISHED: usize = 65_536;

#[derive(Debug)]
pub(super) struct TaskStats {
    socket: File,
    /// What the ended threads have used of processes that live on.
    unfinished: HashMap<u32, Usage>,
    buffer: Box<[u8; DATAGRAM]>,
}

impl TaskStats {
    pub(super) fn open() -> io::Result<Self> {
        let socket = netlink::generic(RECEIVE_BUFFER)?;
        let mut stats =
            Self { socket: File::from(socket), unfinished: HashMap::new(), buffer: Box::new([0; DATAGRAM]) };
        stats.send(GENL_ID_CTRL, CTRL_CMD_GETFAMILY, CTRL_ATTR_FAMILY_NAME, b"TASKSTATS\0")?;
        let answer = stats.answer()?;
        let family = attributes(&answer).find(|(kind, _)| *kind == CTRL_ATTR_FAMILY_ID);
        let family = family
            .and_then(|(_, id)| number(id, 0))
            .map(u16::from_ne_bytes)
            .ok_or(io::ErrorKind::Unsupported)?;
        let mask = format!("0-{}\0", processors() - 1);
        stats.send(family, TASKSTATS_CMD_GET, REGISTER_CPUMASK, mask.as_bytes())?;
        // The kernel says that it has understood, or why not.
        stats.answer()?;
        Ok(stats)
    }

    fn send(&mut self, family: u16, command: u8, kind: u16, value: &[u8]) -> io::Result<()> {
        const REQUEST_AND_ACK: u16 = 1 | 4;
        let padded = value.len().next_multiple_of(4);
        let length = (HEADER + GENERIC + 4 + padded) as u32;
        let mut message = Vec::with_capacity(length as usize);
        message.extend(length.to_ne_bytes());
        message.extend(family.to_ne_bytes());
        message.extend(REQUEST_AND_ACK.to_ne_bytes());
        message.extend([0; 8]);
        message.extend([command, 1, 0, 0]);
        message.extend((4 + value.len() as u16).to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend(value);
        message.resize(length as usize, 0);
        self.socket.write_all(&message)
    }

    /// The kernel answers before it returns from what was sent. What it answers to another question than the last is none.
    fn answer(&mut self) -> io::Result<Vec<u8>> {
        let mut payload = Vec::new();
        loop {
            let length = self.socket.read(&mut *self.buffer)?;
            let message = &self.buffer[..length];
            if number::<2>(message, 4).map(u16::from_ne_bytes) != Some(NLMSG_ERROR) {
                payload = message.get(HEADER + GENERIC..).unwrap_or_default().to_vec();
                continue;
            }
            let code = number(message, HEADER).map_or(-libc::EPROTO, i32::from_ne_bytes);
            return if code == 0 { Ok(payload) } else { Err(io::Error::from_raw_os_error(-code)) };
        }
    }

    fn enter(&mut self, thread: &Thread, out: &mut Vec<Entry>) {
        let before = self.unfinished.remove(&thread.process).unwrap_or_default();
        let usage = Usage {
            user: before.user + thread.used.user,
            system: before.system + thread.used.system,
            peak_memory: before.peak_memory.max(thread.used.peak_memory),
        };
        if !thread.is_last {
            if self.unfinished.len() >= UNFINISHED {
                self.lose(out);
            }
            self.unfinished.insert(thread.process, usage);
            return;
        }
        let &Thread { process: pid, status, born, ended, .. } = thread;
        out.push(Entry::Used { pid, status, born, ended, usage });
    }

    /// Which threads were lost nobody says: half of a process is nothing.
    fn lose(&mut self, out: &mut Vec<Entry>) {
        self.unfinished.clear();
        out.push(Entry::UsageLost);
    }
}

impl Ledger for TaskStats {
    fn read(&mut self, out: &mut Vec<Entry>) {
        loop {
            match self.socket.read(&mut *self.buffer) {
                Ok(length) => {
                    if let Some(thread) = parse(self.buffer.get(..length).unwrap_or_default()) {
                        self.enter(&thread, out);
                    }
                }
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => self.lose(out),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }
}

/// What is told of one thread.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Thread {
    process: u32,
    is_last: bool,
    /// Of the process, if it is the last.
    status: i32,
    /// Of the process.
    born: Duration,
    ended: Duration,
    used: Usage,
}

/// One message of the kernel.
pub(super) fn parse(message: &[u8]) -> Option<Thread> {
    let payload = message.get(HEADER + GENERIC..)?;
    let (_, of_thread) = attributes(payload).find(|(kind, _)| *kind == TYPE_AGGR_PID)?;
    let (_, stats) = attributes(of_thread).find(|(kind, _)| *kind == TYPE_STATS)?;
    let long = |at| number(stats, at).map(u64::from_ne_bytes);
    if u16::from_ne_bytes(number(stats, 0)?) < VERSION {
        return None;
    }
    let (elapsed, begun) = (Duration::from_micros(long(144)?), Duration::from_secs(long(344)?));
    let ended = begun.saturating_add(elapsed);
    let age = Duration::from_micros(long(376)?);
    Some(Thread {
        process: u32::from_ne_bytes(number(stats, 368)?),
        is_last: stats[8] & AGROUP != 0,
        status: i32::from_ne_bytes(number(stats, 4)?),
        born: ended.saturating_sub(age),
        ended,
        used: Usage {
            user: Duration::from_micros(long(152)?),
            system: Duration::from_micros(long(160)?),
            peak_memory: long(200)?.saturating_mul(1024),
        },
    })
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// Of a run of attributes, the kind and the value of each (netlink(7)).
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(number(bytes, 0)?));
        let kind = u16::from_ne_bytes(number(bytes, 2)?);
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind & 0x3fff, value))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = (4 + value.len() as u16).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn message(version: u16, process: u32, last: bool, user: u64, peak: u64) -> Vec<u8> {
        let mut stats = vec![0; 560];
        let mut put = |at: usize, bytes: &[u8]| stats[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &version.to_ne_bytes());
        put(4, &0x300_u32.to_ne_bytes());
        put(8, &[if last { AGROUP } else { 0 }]);
        put(144, &2_500_000_u64.to_ne_bytes());
        put(152, &user.to_ne_bytes());
        put(200, &peak.to_ne_bytes());
        put(344, &1_000_u64.to_ne_bytes());
        put(368, &process.to_ne_bytes());
        put(376, &1_500_000_u64.to_ne_bytes());
        let aggregate = [attribute(1, &process.to_ne_bytes()), attribute(TYPE_STATS, &stats)].concat();
        [vec![0; HEADER + GENERIC], attribute(TYPE_AGGR_PID, &aggregate)].concat()
    }

    #[test]
    fn threads_of_one_process_are_added_up() {
        let socket = File::open("/dev/null").unwrap();
        let mut stats = TaskStats { socket, unfinished: HashMap::new(), buffer: Box::new([0; DATAGRAM]) };
        let mut out = Vec::new();
        let mut enter = |bytes: &[u8]| {
            stats.enter(&parse(bytes).unwrap(), &mut out);
            out.pop()
        };
        assert_eq!(enter(&message(16, 7, false, 100, 50)), None);
        assert_eq!(enter(&message(12, 8, false, 1, 1)), None);
        let told = enter(&message(16, 7, true, 10, 40));
        let usage = Usage { user: Duration::from_micros(110), peak_memory: 50 << 10, ..Usage::default() };
        let (born, ended) = (Duration::from_millis(1_001_000), Duration::from_millis(1_002_500));
        assert_eq!(told, Some(Entry::Used { pid: 7, status: 0x300, born, ended, usage }));
        assert_eq!(stats.unfinished.len(), 1);
    }

    #[test]
    fn of_an_older_kernel_nothing_is_told() {
        assert_eq!(parse(&message(11, 7, true, 1, 1)), None);
    }

    proptest! {
        #[test]
        fn any_bytes_will_do(bytes in proptest::collection::vec(any::<u8>(), 0..700), cut in 1..700_usize) {
            parse(&bytes);
            let mut whole = message(16, 7, true, 1, 1);
            prop_assert!(parse(&whole).is_some());
            whole.truncate(whole.len().saturating_sub(cut));
            prop_assert_eq!(parse(&whole), None);
        }
    }
}
