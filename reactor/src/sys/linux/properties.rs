//! What holds of every text and datagram, whatever is in it: run by the fuzzing targets on what the fuzzer thinks of, and
//! by ordinary tests on what proptest does.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::cn_proc_model;
use super::message::{self, Message, What};
use super::perf::record;
use super::procfs::{self, Stat};
use super::{kernel_log, taskstats};
use crate::account::Entry;
use crate::event::Change;

/// What is read of a datagram is all there in a message made of it, and hangs on nothing that follows the message.
pub(crate) fn datagram(bytes: &[u8]) {
    let Some(message) = message::parse(bytes) else { return };
    let length = u32::from_ne_bytes(bytes[..4].try_into().expect("four bytes")) as usize;
    assert_eq!(message::parse(&bytes[..length]).as_ref(), Some(&message));
    assert_eq!(message::parse(&bytes[..length - 1]), None, "a message cut short");
    let mut longer = bytes.to_vec();
    longer.extend([0xff; 32]);
    assert_eq!(message::parse(&longer).as_ref(), Some(&message));
    assert_eq!(message::parse(&made_of(&message)).as_ref(), Some(&message));
}

/// What stands in a ring of perf events, up to where it is no record any more.
pub(crate) fn perf(mut bytes: &[u8]) {
    while let Some(length) =
        bytes.get(6..8).map(|length| usize::from(u16::from_ne_bytes([length[0], length[1]])))
    {
        let parsed = record::parse(bytes);
        let Some((one, rest)) = bytes.split_at_checked(length).filter(|(one, _)| one.len() >= 8) else {
            assert_eq!(parsed, None, "it is longer than what there is, or shorter than its head");
            return;
        };
        assert_eq!(record::parse(one), parsed, "what follows is none of its");
        if let Some(record) = parsed {
            let again = record::Record { event: record.event.wrapping_add(1), ..record };
            let mut twins = record::Twins::default();
            twins.is_new(&record);
            assert!(twins.is_new(&record), "the same event told it twice");
            assert!(!twins.is_new(&again) && !twins.is_new(&again), "another told no more than the first");
            assert!(twins.is_new(&again), "but now it does");
        }
        bytes = rest;
    }
}

fn made_of(message: &Message) -> Vec<u8> {
    let (what, data) = match message.what {
        What::Change(Change::Fork { parent, thread, child }) => {
            (message::PROC_EVENT_FORK, vec![thread, parent, child, child])
        }
        What::Change(Change::Thread { process, thread }) => {
            assert_ne!(process, thread, "the leader's birth is the process's");
            (message::PROC_EVENT_FORK, vec![0, 0, thread, process])
        }
        What::Change(Change::Exec { process }) => (message::PROC_EVENT_EXEC, vec![0, process]),
        What::Change(Change::Exit { process, thread, status, parent }) => {
            let status = status.expect("the kernel tells it");
            (message::PROC_EVENT_EXIT, vec![thread, process, status as u32, 0, 0, parent])
        }
        What::Change(Change::End { .. } | Change::Unseen { .. }) => unreachable!("it tells of threads"),
        What::Renamed { thread } => (message::PROC_EVENT_COMM, vec![thread]),
        What::Answer { acknowledges, error } => {
            let mut answer = message::encode(message.cpu, message.sequence, message.time, 0, &[error]);
            answer[28..32].copy_from_slice(&acknowledges.to_ne_bytes());
            return answer;
        }
        What::Other => (4, vec![]),
    };
    message::encode(message.cpu, message.sequence, message.time, what, &data)
}

/// See [`cn_proc_model`].
pub(crate) fn sockets(script: &[u8]) {
    cn_proc_model::run(script);
}

/// What is told of an end beside its status is told of what the bytes say and of nothing behind them.
pub(crate) fn account(bytes: &[u8]) {
    let _ = taskstats::parse(bytes);
    let Some(Entry::Killed { pid, kill, .. }) = kernel_log::parse(bytes) else { return };
    let text = String::from_utf8_lossy(bytes);
    assert!(text.contains(&kill.text) && kill.text.contains(&pid.to_string()));
}

/// What is read of /proc/PID/stat does not hang on the command's name, whatever that is.
pub(crate) fn stat(text: &[u8]) {
    let stat = Stat::parse(text);
    if let Some(stat) = stat {
        assert!(stat.exit_code.is_none() || matches!(stat.state, b'Z' | b'X' | b'x'));
    }
    // Half of the text for a name, at most what the kernel keeps of one; the rest for what follows it.
    let (name, rest) = text.split_at(text.len() / 2);
    let named = |name: &[u8]| [b"42 (", name, b") ", rest].concat();
    if !rest.contains(&b')') {
        let name = &name[..name.len().min(15)];
        assert_eq!(Stat::parse(&named(name)), Stat::parse(&named(b"sh")), "named {}", name.escape_ascii());
    }
}

/// What is read of the other texts of /proc/PID does not hang on the command's name either, and names and arguments come
/// out as they went in.
pub(crate) fn status(text: &[u8]) {
    let _ = procfs::status_name(text);
    let _ = procfs::status_uid(text);
    let (file, text_of_file) = text.split_at(text.len() / 2);
    settled(text, file);
    settled(file, text_of_file);

    let argv = procfs::split_argv(text.to_vec());
    let mut joined = argv.join(&OsString::from_vec(vec![0])).into_vec();
    if text.last() == Some(&0) {
        joined.push(0);
    }
    assert_eq!(joined, text);

    let name = &text[..text.len().min(15)];
    if !name.contains(&0) {
        let status = status_of(name, b"1000", b"S");
        assert_eq!(procfs::status_name(&status).expect("there is a name").as_bytes(), name);
        assert_eq!(procfs::status_uid(&status), Ok(1000));
        assert!(procfs::is_settled(&status, |file| panic!("nobody asked for {file}")));
        // Uids are numbers; whatever else stands there is none.
        if !name.is_empty() && !name.iter().any(u8::is_ascii_whitespace) {
            let uid = std::str::from_utf8(name).ok().and_then(|uid| uid.parse::<u32>().ok());
            assert_eq!(procfs::status_uid(&status_of(b"sh", name, b"S")).ok(), uid);
        }
    }
}

/// Nobody is taken for settled whose state does not say so, by numbers that are ones.
fn settled(status: &[u8], file: &[u8]) {
    let _ = procfs::is_settled(status, |_| Ok(file.to_vec()));
    let number = |place| {
        let text = file.split(|byte| *byte == b' ').nth(place)?;
        std::str::from_utf8(text).ok()?.parse::<i128>().ok()
    };
    let running = |tracer| format!("Name:\tsh\nState:\tR (running)\nTracerPid:\t{tracer}\n").into_bytes();
    let untraced = procfs::is_settled(&running(0), |_| Ok(file.to_vec()));
    assert!(!untraced || number(2).is_some_and(|pages| pages > 0), "{}", file.escape_ascii());
    let traced = procfs::is_settled(&running(7), |_| Ok(file.to_vec()));
    assert!(!traced || number(0).is_some_and(|call| call >= 0), "{}", file.escape_ascii());
    for status in [running(0), running(7)] {
        assert!(!procfs::is_settled(&status, |_| Err(std::io::Error::other("gone"))));
    }
}

/// As the kernel writes it: backslash and newline of a name are escaped.
fn status_of(name: &[u8], uid: &[u8], state: &[u8]) -> Vec<u8> {
    let mut text = b"Name:\t".to_vec();
    for byte in name {
        match byte {
            b'\n' => text.extend(b"\\n"),
            b'\\' => text.extend(b"\\\\"),
            plain => text.push(*plain),
        }
    }
    text.extend(
        [b"\nUmask:\t0022\nState:\t", state, b" (sleeping)\nTgid:\t42\nTracerPid:\t0\nUid:\t0\t"].concat(),
    );
    text.extend([uid, b"\t0\t0\n"].concat());
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Bytes of texts, with those that parsers look for more often than others.
    fn text() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            any::<u8>().prop_map(|byte| vec![byte]),
            "[ )(\\n\\t\\\\:0-9-]".prop_map(String::into_bytes),
            "[0-9]{1,20} ".prop_map(String::into_bytes),
            "(Name|State|Uid|TracerPid):\t[A-Z0-9]?".prop_map(String::into_bytes),
        ];
        prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn of_datagrams(bytes: Vec<u8>, what in 0_u32..5, data: [u32; 6], cut in 0_usize..80, change: (u8, u8)) {
            datagram(&bytes);
            let what = [what, 1 << 31, 0x200][usize::from(change.0) % 3];
            let mut message = message::encode(1, 2, 3, what, &data);
            let place = usize::from(change.1) % message.len();
            datagram(&message);
            datagram(&message[..cut.min(message.len())]);
            message[place] = change.0;
            datagram(&message);
        }

        #[test]
        fn of_stat(text in text()) {
            stat(&text);
        }

        #[test]
        fn of_status(text in text()) {
            status(&text);
        }

        #[test]
        fn of_accounts(text in text(), pid: u32, name in text()) {
            account(&text);
            let head = format!("{},1,2,-;Out of memory: Killed process {pid} (", text.len() % 12);
            account(&[head.into_bytes(), name].concat());
        }

        #[test]
        fn of_sockets(script: Vec<u8>) {
            sockets(&script);
        }
    }
}
