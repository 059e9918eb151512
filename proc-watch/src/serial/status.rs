//! How services are now.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::serial::VERSION;
use crate::serial::process::{Clock, End, Id};
use crate::supervisor::{Snapshot, State, Status, Verdict};

#[derive(Serialize, Deserialize)]
#[serde(remote = "State", rename_all = "snake_case")]
enum StateWord {
    Down,
    Starting,
    Up,
    Ready,
    Stopping,
    Failed,
}

impl Serialize for State {
    /// One word, `"ready"`.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        StateWord::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for State {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        StateWord::deserialize(deserializer)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Verdict", rename_all = "snake_case")]
enum VerdictWord {
    Asked,
    GaveUp,
    Significant,
    SourceFailed,
}

impl Serialize for Verdict {
    /// One word, `"gave_up"`.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        VerdictWord::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for Verdict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        VerdictWord::deserialize(deserializer)
    }
}

/// The order of the keys is that of the fields.
#[derive(Serialize, Deserialize)]
struct One {
    name: String,
    state: State,
    since: Clock,
    waits_for: Vec<String>,
    wanted: bool,
    id: Option<Id>,
    /// Of `id`: for those who read it.
    #[serde(default, skip_deserializing)]
    pid: Option<u32>,
    starts: u64,
    failures: u32,
    last_end: Option<End>,
    text: Option<String>,
}

impl Serialize for Status {
    /// As docs/json.md has it.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let one = One {
            name: self.name.as_ref().into(),
            state: self.state,
            since: self.since.into(),
            waits_for: self.waits_for.iter().map(|name| name.as_ref().into()).collect(),
            wanted: self.wanted,
            id: self.id.map(Id),
            pid: self.id.map(|id| id.pid()),
            starts: self.starts,
            failures: self.failures,
            last_end: self.last_end.map(End::from),
            text: self.text.clone(),
        };
        one.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Status {
    /// Keys that are not known are passed over. Times have microseconds.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let one = One::deserialize(deserializer)?;
        let since = one.since.time().ok_or_else(|| de::Error::custom("`since` is no time of this system"))?;
        Ok(Self {
            name: one.name.into(),
            state: one.state,
            since,
            waits_for: one.waits_for.into_iter().map(Arc::from).collect(),
            wanted: one.wanted,
            id: one.id.map(|id| id.0),
            starts: one.starts,
            failures: one.failures,
            last_end: one.last_end.map(Into::into),
            text: one.text,
        })
    }
}

#[derive(Serialize)]
struct All<'a> {
    v: u32,
    services: &'a [Status],
    verdict: Option<Verdict>,
}

#[derive(Deserialize)]
struct AllRead {
    v: u32,
    services: Vec<Status>,
    verdict: Option<Verdict>,
}

impl Serialize for Snapshot {
    /// As docs/json.md has it.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        All { v: VERSION, services: &self.services, verdict: self.verdict }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Snapshot {
    /// Keys that are not known are passed over; another version than this is an error.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let all = AllRead::deserialize(deserializer)?;
        if all.v != VERSION {
            return Err(de::Error::custom(format_args!("version {} of the format; want {VERSION}", all.v)));
        }
        Ok(Self { services: all.services, verdict: all.verdict })
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use proc_reactor::{ExitStatus, ProcId};

    use super::*;

    const UP: &str = concat!(
        r#"{"name":"web","state":"up","since":1795867088123456,"waits_for":[],"wanted":true,"id":"27672:77","pid":27672,"#,
        r#""starts":3,"failures":2,"last_end":{"status":{"code":3}},"text":"warming up"}"#
    );
    const STARTING: &str = concat!(
        r#"{"name":"é","state":"starting","since":0,"waits_for":["web","db"],"wanted":true,"id":null,"pid":null,"#,
        r#""starts":0,"failures":0,"last_end":null,"text":null}"#
    );

    fn up() -> Status {
        Status {
            name: "web".into(),
            state: State::Up,
            since: UNIX_EPOCH + Duration::from_micros(1_795_867_088_123_456),
            waits_for: Vec::new(),
            wanted: true,
            id: Some(ProcId::new(27672, 77)),
            starts: 3,
            failures: 2,
            last_end: Some(ExitStatus::Code(3)),
            text: Some("warming up".into()),
        }
    }

    fn starting() -> Status {
        Status {
            name: "é".into(),
            state: State::Starting,
            since: UNIX_EPOCH,
            waits_for: vec!["web".into(), "db".into()],
            id: None,
            starts: 0,
            failures: 0,
            last_end: None,
            text: None,
            ..up()
        }
    }

    #[test]
    fn a_status_and_back() {
        for (status, json) in [(up(), UP), (starting(), STARTING)] {
            assert_eq!(serde_json::to_string(&status).unwrap(), json);
            let read: Status = serde_json::from_str(json).unwrap();
            assert_eq!(format!("{read:?}"), format!("{status:?}"));
        }
        for end in [ExitStatus::Unknown, ExitStatus::Signal { signal: 11, core: true }] {
            let json = serde_json::to_string(&Status { last_end: Some(end), ..up() }).unwrap();
            let read: Status = serde_json::from_str(&json).unwrap();
            assert_eq!(read.last_end, Some(end), "{json}");
        }
    }

    #[test]
    fn a_snapshot_and_back() {
        let snapshot = Snapshot { services: vec![up(), starting()], verdict: Some(Verdict::GaveUp) };
        let json = serde_json::to_string(&snapshot).unwrap();
        assert_eq!(json, format!(r#"{{"v":1,"services":[{UP},{STARTING}],"verdict":"gave_up"}}"#));
        let read: Snapshot = serde_json::from_str(&json).unwrap();
        assert_eq!(format!("{read:?}"), format!("{snapshot:?}"));
        let none = Snapshot { services: Vec::new(), verdict: None };
        assert_eq!(serde_json::to_string(&none).unwrap(), r#"{"v":1,"services":[],"verdict":null}"#);
    }

    #[test]
    fn what_others_may_send() {
        // A key that is new is passed over, and a pid is that of the id.
        let newer =
            UP.replace(r#""wanted""#, r#""colour":"red","wanted""#).replace("\"pid\":27672", "\"pid\":1");
        let read: Status = serde_json::from_str(&newer).unwrap();
        assert_eq!(read.id, Some(ProcId::new(27672, 77)));
        let error = |json: &str| serde_json::from_str::<Snapshot>(json).unwrap_err().to_string();
        let version = error(r#"{"v":2,"services":[],"verdict":null}"#);
        assert!(version.starts_with("version 2 of the format; want 1"), "{version}");
        let state =
            error(&format!(r#"{{"v":1,"services":[{}],"verdict":null}}"#, UP.replace("\"up\"", "\"UP\"")));
        assert!(state.contains("unknown variant `UP`"), "{state}");
        let id =
            error(&format!(r#"{{"v":1,"services":[{}],"verdict":null}}"#, UP.replace("27672:77", "27672")));
        assert!(id.contains("want PID:BIRTH"), "{id}");
    }

    #[test]
    fn every_state_and_verdict_is_a_word() {
        let states = [State::Down, State::Starting, State::Up, State::Ready, State::Stopping, State::Failed];
        let json = serde_json::to_string(&states).unwrap();
        assert_eq!(json, r#"["down","starting","up","ready","stopping","failed"]"#);
        assert_eq!(serde_json::from_str::<[State; 6]>(&json).unwrap(), states);
        let verdicts = [Verdict::Asked, Verdict::GaveUp, Verdict::Significant, Verdict::SourceFailed];
        let json = serde_json::to_string(&verdicts).unwrap();
        assert_eq!(json, r#"["asked","gave_up","significant","source_failed"]"#);
        assert_eq!(serde_json::from_str::<[Verdict; 4]>(&json).unwrap(), verdicts);
    }
}
