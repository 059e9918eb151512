//! What stands in a ring (perf_event_open(2)), with times and events' numbers behind each record.

use perf_event_open_sys::bindings as abi;

/// A record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// Nanoseconds of `CLOCK_MONOTONIC`.
    pub(crate) time: u64,
    /// The event that wrote it, or the one that was inherited.
    pub(crate) event: u64,
    pub(crate) what: What,
}

/// What a record tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// Thread `by` of process `parent` made process `process`, or if that is `parent`, thread `thread` of it.
    Fork { process: u32, thread: u32, parent: u32, by: u32 },
    /// A process runs a new program.
    Exec { process: u32 },
    /// A thread ended.
    Exit { process: u32, thread: u32 },
    /// So many records found no room before this one.
    Lost { count: u64 },
    /// Nothing that matters here.
    Other,
}

/// Reads one record; `None` if it is none.
pub(crate) fn parse(bytes: &[u8]) -> Option<Record> {
    let kind = word(bytes, 0)?;
    let misc = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
    let length = usize::from(u16::from_ne_bytes(bytes.get(6..8)?.try_into().ok()?));
    if length < 8 + 16 || length > bytes.len() {
        return None;
    }
    let (body, sample) = bytes[8..length].split_at(length - 8 - 16);
    let what = match kind {
        abi::PERF_RECORD_FORK => What::Fork {
            process: word(body, 0)?,
            parent: word(body, 4)?,
            thread: word(body, 8)?,
            by: word(body, 12)?,
        },
        abi::PERF_RECORD_EXIT => What::Exit { process: word(body, 0)?, thread: word(body, 8)? },
        abi::PERF_RECORD_COMM if u32::from(misc) & abi::PERF_RECORD_MISC_COMM_EXEC != 0 => {
            What::Exec { process: word(body, 0)? }
        }
        abi::PERF_RECORD_LOST => What::Lost { count: long(body, 8)? },
        _ => What::Other,
    };
    Some(Record { time: long(sample, 0)?, event: long(sample, 8)?, what })
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// Drops what several events tell of one and the same thing: a thread may be followed by an event of its own and by one that
/// it inherited. They write one after the other into the ring of the processor where it happens, and nothing comes
/// between.
#[derive(Debug, Default)]
pub(crate) struct Twins {
    last: Option<What>,
    /// How often it happened in a row, as far as told on.
    told: usize,
    /// How often each event said so.
    by: Vec<(u64, usize)>,
}

impl Twins {
    /// Whether `record` tells something new.
    pub(crate) fn is_new(&mut self, record: &Record) -> bool {
        if self.last != Some(record.what) {
            self.last = Some(record.what);
            self.told = 1;
            self.by.clear();
            self.by.push((record.event, 1));
            return true;
        }
        let count = match self.by.iter_mut().find(|(event, _)| *event == record.event) {
            Some((_, count)) => {
                *count += 1;
                *count
            }
            None => {
                self.by.push((record.event, 1));
                1
            }
        };
        let new = count > self.told;
        self.told = self.told.max(count);
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(kind: u32, misc: u16, body: &[u32], time: u64, event: u64) -> Vec<u8> {
        let length = 8 + 4 * body.len() + 16;
        let mut bytes = kind.to_ne_bytes().to_vec();
        bytes.extend(misc.to_ne_bytes());
        bytes.extend((length as u16).to_ne_bytes());
        body.iter().for_each(|word| bytes.extend(word.to_ne_bytes()));
        bytes.extend(time.to_ne_bytes());
        bytes.extend(event.to_ne_bytes());
        bytes
    }

    #[test]
    fn records() {
        let fork = bytes(abi::PERF_RECORD_FORK, 0, &[20, 10, 21, 11, 0, 0], 7, 3);
        let what = What::Fork { process: 20, thread: 21, parent: 10, by: 11 };
        assert_eq!(parse(&fork), Some(Record { time: 7, event: 3, what }));
        let exec = abi::PERF_RECORD_MISC_COMM_EXEC as u16;
        let comm = [20, 21, u32::from_ne_bytes(*b"name"), 0];
        assert_eq!(
            parse(&bytes(abi::PERF_RECORD_COMM, exec, &comm, 7, 3)).unwrap().what,
            What::Exec { process: 20 }
        );
        assert_eq!(parse(&bytes(abi::PERF_RECORD_COMM, 0, &comm, 7, 3)).unwrap().what, What::Other);
        let lost = bytes(abi::PERF_RECORD_LOST, 0, &[3, 0, 9, 0], 7, 3);
        assert_eq!(parse(&lost).unwrap().what, What::Lost { count: 9 });
        for cut in 0..fork.len() {
            assert_eq!(parse(&fork[..cut]), None, "cut to {cut}");
        }
    }

    proptest::proptest! {
        #[test]
        fn whatever_stands_in_a_ring(
            records in proptest::collection::vec((0_u32..9, proptest::prelude::any::<u16>(), proptest::collection::vec(0_u32..4, 0..9)), 0..20),
            cut in 0_usize..700,
        ) {
            let mut ring: Vec<u8> =
                records.iter().flat_map(|(kind, misc, body)| bytes(*kind, *misc, body, 1, 2)).collect();
            ring.truncate(cut);
            super::super::super::properties::perf(&ring);
        }
    }

    #[test]
    fn what_two_events_tell_is_told_once() {
        let mut twins = Twins::default();
        let exec = What::Exec { process: 1 };
        let mut new = |event, what| twins.is_new(&Record { time: 0, event, what });
        let exit = What::Exit { process: 1, thread: 1 };
        assert_eq!([new(1, exec), new(2, exec), new(1, exit), new(2, exit)], [true, false, true, false]);
        assert_eq!(
            [new(1, exec), new(2, exec), new(1, exec), new(2, exec), new(1, exec)],
            [true, false, true, false, true],
            "a process may run one program after the other"
        );
    }
}
