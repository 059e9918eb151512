//! What happens to services.

use serde::{Serialize, Serializer};

use crate::serial::VERSION;
use crate::serial::process::{Clock, Id, Known, micros};
use crate::stop::{Progress, StopReport};
use crate::supervisor::{ServiceEvent, ServiceEventKind, State, Verdict};

/// The order of the keys is that of the fields.
#[derive(Serialize)]
struct Line<'a> {
    v: u32,
    time: Clock,
    service: Option<&'a str>,
    #[serde(flatten)]
    kind: Kind<'a>,
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Kind<'a> {
    State { state: State },
    Started { id: Id, pid: u32 },
    Adopted { id: Id, pid: u32 },
    NotAdopted { error: &'a str },
    Stray { name: &'a str, report: &'a StopReport },
    StateLost { error: &'a str },
    NotStarted { error: &'a str },
    Ended { status: Option<Known> },
    Again { after: u64 },
    NotReady,
    Unhealthy { why: &'a str },
    Status { text: &'a str },
    Reloading,
    Ending,
    Stranger { pid: u32, why: &'a str },
    OutputLost { error: &'a str },
    Stopping { progress: &'a Progress },
    Stopped { report: &'a StopReport },
    StillThere { report: &'a StopReport },
    SourceFailed { error: String },
    Closing { verdict: Verdict },
    Over { verdict: Verdict },
    Missed { count: u64 },
}

impl<'a> From<&'a ServiceEventKind> for Kind<'a> {
    fn from(kind: &'a ServiceEventKind) -> Self {
        match kind {
            ServiceEventKind::State(state) => Self::State { state: *state },
            ServiceEventKind::Started(id) => Self::Started { id: Id(*id), pid: id.pid() },
            ServiceEventKind::Adopted(id) => Self::Adopted { id: Id(*id), pid: id.pid() },
            ServiceEventKind::NotAdopted(error) => Self::NotAdopted { error },
            ServiceEventKind::Stray { name, report } => Self::Stray { name, report },
            ServiceEventKind::StateLost(error) => Self::StateLost { error },
            ServiceEventKind::NotStarted(error) => Self::NotStarted { error },
            ServiceEventKind::Ended(status) => Self::Ended { status: Known::of(*status) },
            ServiceEventKind::Again(delay) => Self::Again { after: micros(*delay) },
            ServiceEventKind::NotReady => Self::NotReady,
            ServiceEventKind::Unhealthy(why) => Self::Unhealthy { why },
            ServiceEventKind::Status(text) => Self::Status { text },
            ServiceEventKind::Reloading => Self::Reloading,
            ServiceEventKind::Ending => Self::Ending,
            ServiceEventKind::Stranger { pid, why } => Self::Stranger { pid: *pid, why },
            ServiceEventKind::OutputLost(error) => Self::OutputLost { error },
            ServiceEventKind::Stopping(progress) => Self::Stopping { progress },
            ServiceEventKind::Stopped(report) => Self::Stopped { report },
            ServiceEventKind::StillThere(report) => Self::StillThere { report },
            ServiceEventKind::SourceFailed(error) => Self::SourceFailed { error: error.to_string() },
            ServiceEventKind::Closing(verdict) => Self::Closing { verdict: *verdict },
            ServiceEventKind::Over(verdict) => Self::Over { verdict: *verdict },
            ServiceEventKind::Missed(count) => Self::Missed { count: *count },
        }
    }
}

impl Serialize for ServiceEventKind {
    /// As docs/json.md has it, without what every event has.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Kind::from(self).serialize(serializer)
    }
}

impl Serialize for ServiceEvent {
    /// As docs/json.md has it.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (time, service) = (self.time.into(), self.service.as_deref());
        Line { v: VERSION, time, service, kind: (&self.kind).into() }.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, UNIX_EPOCH};

    use proc_reactor::{ExitStatus, ProcId, SourceError};

    use super::*;
    use crate::stop::Emptiness;

    #[test]
    fn each_kind_has_its_keys_in_order() {
        let error = Arc::new(SourceError::Refused {
            source_name: "sim",
            reason: "it is gone".into(),
            advice: "start anew",
        });
        let report = Arc::new(StopReport {
            root: ProcId::new(7, 70),
            processes: Vec::new(),
            survivors: Vec::new(),
            empty: Emptiness::Proven,
            rungs: 1,
            elapsed: Duration::ZERO,
        });
        let in_json =
            r#"{"root":"7:70","rungs":1,"elapsed":0,"empty":{"is":"proven"},"processes":[],"survivors":[]}"#;
        use ServiceEventKind as Of;
        let table = [
            (Of::State(State::Ready), r#"{"event":"state","state":"ready"}"#.to_owned()),
            (Of::Started(ProcId::new(7, 70)), r#"{"event":"started","id":"7:70","pid":7}"#.into()),
            (Of::Adopted(ProcId::new(7, 70)), r#"{"event":"adopted","id":"7:70","pid":7}"#.into()),
            (Of::NotAdopted("no".into()), r#"{"event":"not_adopted","error":"no"}"#.into()),
            (Of::StateLost("full".into()), r#"{"event":"state_lost","error":"full"}"#.into()),
            (
                Of::Stray { name: "old".into(), report: Arc::clone(&report) },
                format!(r#"{{"event":"stray","name":"old","report":{in_json}}}"#),
            ),
            (Of::NotStarted("no".into()), r#"{"event":"not_started","error":"no"}"#.into()),
            (Of::Ended(ExitStatus::Code(1)), r#"{"event":"ended","status":{"code":1}}"#.into()),
            (Of::Ended(ExitStatus::Unknown), r#"{"event":"ended","status":null}"#.into()),
            (
                Of::Ended(ExitStatus::Signal { signal: 9, core: false }),
                r#"{"event":"ended","status":{"signal":9,"core":false}}"#.into(),
            ),
            (Of::Again(Duration::from_millis(100)), r#"{"event":"again","after":100000}"#.into()),
            (Of::NotReady, r#"{"event":"not_ready"}"#.into()),
            (Of::Unhealthy("it says so"), r#"{"event":"unhealthy","why":"it says so"}"#.into()),
            (Of::Status("a\"b".into()), r#"{"event":"status","text":"a\"b"}"#.into()),
            (Of::Reloading, r#"{"event":"reloading"}"#.into()),
            (Of::Ending, r#"{"event":"ending"}"#.into()),
            (Of::Stranger { pid: 5, why: "who" }, r#"{"event":"stranger","pid":5,"why":"who"}"#.into()),
            (Of::OutputLost("full".into()), r#"{"event":"output_lost","error":"full"}"#.into()),
            (
                Of::Stopping(Progress { living: 2, rungs: 1, ..Progress::default() }),
                r#"{"event":"stopping","progress":{"rungs":1,"elapsed":0,"living":2,"survivors":[]}}"#.into(),
            ),
            (Of::Stopped(Arc::clone(&report)), format!(r#"{{"event":"stopped","report":{in_json}}}"#)),
            (Of::StillThere(report), format!(r#"{{"event":"still_there","report":{in_json}}}"#)),
            (
                Of::SourceFailed(error),
                r#"{"event":"source_failed","error":"sim: it is gone; start anew"}"#.into(),
            ),
            (Of::Closing(Verdict::Significant), r#"{"event":"closing","verdict":"significant"}"#.into()),
            (Of::Over(Verdict::Asked), r#"{"event":"over","verdict":"asked"}"#.into()),
            (Of::Missed(3), r#"{"event":"missed","count":3}"#.into()),
        ];
        for (kind, json) in table {
            assert_eq!(serde_json::to_string(&kind).unwrap(), json);
        }
    }

    #[test]
    fn every_event_has_its_time_and_service() {
        let time = UNIX_EPOCH + Duration::from_nanos(1_795_867_088_123_456_789);
        let event = |service: Option<&str>, kind| {
            serde_json::to_string(&ServiceEvent { time, service: service.map(Into::into), kind }).unwrap()
        };
        assert_eq!(
            event(Some("web"), ServiceEventKind::State(State::Up)),
            r#"{"v":1,"time":1795867088123456,"service":"web","event":"state","state":"up"}"#
        );
        assert_eq!(
            event(None, ServiceEventKind::Over(Verdict::GaveUp)),
            r#"{"v":1,"time":1795867088123456,"service":null,"event":"over","verdict":"gave_up"}"#
        );
    }
}
