//! Processes, how they ended, and when: as the command has them.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proc_reactor::{ExitStatus, ProcId};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A pid with its birth number, as text: birth numbers may pass what a double holds.
#[derive(Clone, Copy)]
pub(super) struct Id(pub(super) ProcId);

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(de::Error::custom)
    }
}

/// How a process ended, where that is known.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Known {
    Code { code: u8 },
    Signal { signal: u8, core: bool },
}

impl Known {
    pub(super) fn of(status: ExitStatus) -> Option<Self> {
        match status {
            ExitStatus::Code(code) => Some(Self::Code { code }),
            ExitStatus::Signal { signal, core } => Some(Self::Signal { signal, core }),
            _ => None,
        }
    }
}

/// That it has ended: who has not is `null`, and has no status that could be.
#[derive(Serialize, Deserialize)]
pub(super) struct End {
    status: Option<Known>,
}

impl From<ExitStatus> for End {
    fn from(status: ExitStatus) -> Self {
        Self { status: Known::of(status) }
    }
}

impl From<End> for ExitStatus {
    fn from(end: End) -> Self {
        match end.status {
            Some(Known::Code { code }) => Self::Code(code),
            Some(Known::Signal { signal, core }) => Self::Signal { signal, core },
            None => Self::Unknown,
        }
    }
}

/// Text, or where it is not UTF-8 its bytes in hexadecimal.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Bytes<'a> {
    Text(&'a str),
    Other { hex: String },
}

impl<'a> From<&'a OsStr> for Bytes<'a> {
    fn from(text: &'a OsStr) -> Self {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        text.to_str().map_or_else(|| Self::Other { hex: hex(text.as_bytes()) }, Self::Text)
    }
}

/// Microseconds: as far as a double goes, that is until the year 2255 and for as long a time.
pub(super) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// A point of time in microseconds since 1970 (UTC).
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Clock(i64);

impl From<SystemTime> for Clock {
    fn from(time: SystemTime) -> Self {
        let signed = |time: Duration| i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
        Self(match time.duration_since(UNIX_EPOCH) {
            Ok(since) => signed(since),
            Err(before) => -signed(before.duration()),
        })
    }
}

impl Clock {
    /// `None`: the system has no such time.
    pub(super) fn time(self) -> Option<SystemTime> {
        let distance = Duration::from_micros(self.0.unsigned_abs());
        if self.0 < 0 { UNIX_EPOCH.checked_sub(distance) } else { UNIX_EPOCH.checked_add(distance) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_either_side_of_1970() {
        let clock = |micros: i64| Clock(micros).time().map(|time| Clock::from(time).0);
        assert_eq!([0, 1, -1, 1_795_867_088_123_456].map(clock), [0, 1, -1, 1_795_867_088_123_456].map(Some));
        // No panic, whatever the system holds.
        let _ = (clock(i64::MIN), clock(i64::MAX));
    }

    #[test]
    fn what_is_not_text() {
        let json = |bytes: &[u8]| serde_json::to_string(&Bytes::from(OsStr::from_bytes(bytes))).unwrap();
        assert_eq!(json(b"a\xff\x07"), r#"{"hex":"61ff07"}"#);
        assert_eq!(json("é\"".as_bytes()), r#""é\"""#);
    }
}
