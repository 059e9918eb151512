//! The process connector's messages: a netlink header, a connector header, a record. Fields are in host order and
//! unaligned (linux/cn_proc.h, linux/connector.h).

use crate::event::Change;

const NETLINK_HEADER: usize = 16;
const CONNECTOR_HEADER: usize = 20;
const RECORD: usize = NETLINK_HEADER + CONNECTOR_HEADER;
const DATA: usize = RECORD + 16;
/// Where the per-processor sequence number stands: what sockets are sharded by.
pub(super) const SEQUENCE: u32 = NETLINK_HEADER as u32 + 8;

const NLMSG_DONE: u16 = 3;
const CN_IDX_PROC: u32 = 1;
const CN_VAL_PROC: u32 = 1;

const PROC_EVENT_NONE: u32 = 0;
pub(super) const PROC_EVENT_FORK: u32 = 1;
pub(super) const PROC_EVENT_EXEC: u32 = 2;
pub(super) const PROC_EVENT_COMM: u32 = 0x200;
pub(super) const PROC_EVENT_EXIT: u32 = 0x8000_0000;

/// What a listener asks of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Request {
    Listen = 1,
    Ignore = 2,
}

/// One message of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// The processor that sent it.
    pub(super) cpu: u32,
    /// Counts the messages of that processor.
    pub(super) sequence: u32,
    /// Nanoseconds of the monotonic clock.
    pub(super) time: u64,
    pub(super) what: What,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    Change(Change),
    /// A thread was renamed: our marker, if it is ours.
    Renamed {
        thread: u32,
    },
    /// The kernel's answer to a request whose number was one less than this.
    Answer {
        acknowledges: u32,
        error: u32,
    },
    /// Something that we do not follow (user ids, sessions, tracing, core dumps). It still counts in the sequence.
    Other,
}

/// The message that asks `request` of the kernel, numbered `number` so that the answer can be told from another
/// listener's.
pub(super) fn request(request: Request, number: u32) -> [u8; RECORD + 4] {
    let mut bytes = [0; RECORD + 4];
    let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
    put(0, &(RECORD as u32 + 4).to_ne_bytes());
    put(4, &NLMSG_DONE.to_ne_bytes());
    put(12, &std::process::id().to_ne_bytes());
    put(16, &CN_IDX_PROC.to_ne_bytes());
    put(20, &CN_VAL_PROC.to_ne_bytes());
    put(24, &number.to_ne_bytes());
    put(28, &number.to_ne_bytes());
    put(32, &4_u16.to_ne_bytes());
    put(36, &(request as u32).to_ne_bytes());
    bytes
}

/// Reads one datagram; `None` if it is not a whole message of the process connector.
pub(super) fn parse(bytes: &[u8]) -> Option<Message> {
    let length = u32::from_ne_bytes(*bytes.first_chunk()?) as usize;
    let bytes = bytes.get(..length)?;
    let word = |at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    if length < DATA || word(16)? != CN_IDX_PROC || word(20)? != CN_VAL_PROC {
        return None;
    }
    let data = |index: usize| word(DATA + 4 * index);
    let what = match word(RECORD)? {
        PROC_EVENT_FORK => {
            let (thread, parent, child, child_group) = (data(0)?, data(1)?, data(2)?, data(3)?);
            What::Change(if child == child_group {
                Change::Fork { parent, thread, child }
            } else {
                Change::Thread { process: child_group, thread: child }
            })
        }
        PROC_EVENT_EXEC => What::Change(Change::Exec { process: data(1)? }),
        PROC_EVENT_EXIT => What::Change(Change::Exit {
            process: data(1)?,
            thread: data(0)?,
            status: Some(data(2)? as i32),
            // Absent before Linux 4.18.
            parent: data(5).unwrap_or(0),
        }),
        PROC_EVENT_COMM => What::Renamed { thread: data(0)? },
        PROC_EVENT_NONE => What::Answer { acknowledges: word(28)?, error: data(0)? },
        _ => What::Other,
    };
    let time = u64::from_ne_bytes(bytes.get(RECORD + 8..RECORD + 16)?.try_into().ok()?);
    Some(Message { cpu: word(RECORD + 4)?, sequence: word(SEQUENCE as usize)?, time, what })
}

#[cfg(any(test, fuzzing))]
pub(super) fn encode(cpu: u32, sequence: u32, time: u64, what: u32, data: &[u32]) -> Vec<u8> {
    let mut bytes = vec![0; DATA];
    bytes[16..20].copy_from_slice(&CN_IDX_PROC.to_ne_bytes());
    bytes[20..24].copy_from_slice(&CN_VAL_PROC.to_ne_bytes());
    bytes[24..28].copy_from_slice(&sequence.to_ne_bytes());
    bytes[36..40].copy_from_slice(&what.to_ne_bytes());
    bytes[40..44].copy_from_slice(&cpu.to_ne_bytes());
    bytes[44..52].copy_from_slice(&time.to_ne_bytes());
    data.iter().for_each(|word| bytes.extend(word.to_ne_bytes()));
    bytes.resize(DATA + 24, 0);
    let length = bytes.len() as u32;
    bytes[..4].copy_from_slice(&length.to_ne_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn what(bytes: &[u8]) -> What {
        parse(bytes).unwrap().what
    }

    #[test]
    fn each_kind() {
        let fork = encode(1, 7, 99, PROC_EVENT_FORK, &[11, 10, 20, 20]);
        let change = Change::Fork { parent: 10, thread: 11, child: 20 };
        assert_eq!(parse(&fork), Some(Message { cpu: 1, sequence: 7, time: 99, what: What::Change(change) }));
        let thread = encode(0, 0, 0, PROC_EVENT_FORK, &[10, 10, 21, 10]);
        assert_eq!(what(&thread), What::Change(Change::Thread { process: 10, thread: 21 }));
        let exit = encode(0, 0, 0, PROC_EVENT_EXIT, &[21, 10, 0x2a00, u32::MAX, 0, 5]);
        let change = Change::Exit { process: 10, thread: 21, status: Some(0x2a00), parent: 5 };
        assert_eq!(what(&exit), What::Change(change));
        assert_eq!(
            what(&encode(0, 0, 0, PROC_EVENT_EXEC, &[10, 10])),
            What::Change(Change::Exec { process: 10 })
        );
        assert_eq!(what(&encode(0, 0, 0, PROC_EVENT_COMM, &[10, 10])), What::Renamed { thread: 10 });
        assert_eq!(what(&encode(0, 0, 0, 4, &[10, 10])), What::Other);
    }

    #[test]
    fn what_follows_a_message_is_none_of_it() {
        let mut bytes = encode(0, 0, 0, PROC_EVENT_EXIT, &[21, 10, 0x2a00, 0, 0, 5]);
        let short = DATA + 12;
        bytes[..4].copy_from_slice(&(short as u32).to_ne_bytes());
        let change = Change::Exit { process: 10, thread: 21, status: Some(0x2a00), parent: 0 };
        assert_eq!(what(&bytes), What::Change(change));
        assert_eq!(parse(&bytes), parse(&bytes[..short]));
    }

    #[test]
    fn a_request_is_one_whole_message() {
        let bytes = request(Request::Listen, 0x1234);
        assert_eq!(u32::from_ne_bytes(bytes[..4].try_into().unwrap()) as usize, bytes.len());
        assert_eq!(parse(&bytes), None, "our own request is no record");
    }

    proptest! {
        #[test]
        fn never_panics(bytes: Vec<u8>) {
            parse(&bytes);
        }

        #[test]
        fn never_panics_on_a_message_cut_short(cut in 0_usize..76, what: u32, data: [u32; 6]) {
            let bytes = encode(0, 0, 0, what, &data);
            parse(&bytes[..cut.min(bytes.len())]);
        }
    }
}
