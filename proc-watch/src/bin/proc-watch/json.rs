//! Events and what `doctor` finds as JSON, for programs: one object a line, as docs/json.md has it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use proc_watch::{
    Event, EventKind, ExitStatus, Member, Metadata, Probe, ProcId, SourceName, Told, WitnessReport,
};
use serde::{Serialize, Serializer};

/// Raised when a key changes its meaning or goes; not when one is added.
const VERSION: u32 = 1;

/// An event. The order of the keys is that of the fields. A key that does not belong to the kind of event is not there
/// (`None`); one that belongs and is unknown is `null` (`Some(None)`).
#[derive(Default, Serialize)]
struct Line<'a> {
    v: u32,
    t: u64,
    id: Option<Id>,
    pid: u32,
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    child: Option<Id>,
    ppid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exe: Option<Option<Bytes<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    argv: Option<Option<Vec<Bytes<'a>>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Option<Status>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exact: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lost: Option<Option<Lost>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    living: Option<Vec<Living>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    found: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exited: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// A pid with its birth number, as text: birth numbers may pass what a double holds.
struct Id(ProcId);

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// Text, or where it is not UTF-8 its bytes in hexadecimal: nothing is lost, and nothing can be taken for another.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
enum Bytes<'a> {
    Text(&'a str),
    Other { hex: String },
}

impl<'a> From<&'a OsStr> for Bytes<'a> {
    fn from(text: &'a OsStr) -> Self {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        text.to_str().map_or_else(|| Self::Other { hex: hex(text.as_bytes()) }, Self::Text)
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum Status {
    Code { code: u8 },
    Signal { signal: u8, core: bool },
}

impl Status {
    fn known(status: ExitStatus) -> Option<Self> {
        match status {
            ExitStatus::Code(code) => Some(Self::Code { code }),
            ExitStatus::Signal { signal, core } => Some(Self::Signal { signal, core }),
            _ => None,
        }
    }
}

#[derive(Serialize)]
struct Lost {
    count: u64,
    exact: bool,
}

#[derive(Serialize)]
struct Living {
    id: Id,
    ppid: Option<u32>,
}

impl From<&Member> for Living {
    fn from(member: &Member) -> Self {
        Self { id: Id(member.id), ppid: member.parent.map(ProcId::pid) }
    }
}

impl<'a> Line<'a> {
    fn new(kind: &'a EventKind) -> Self {
        match kind {
            EventKind::Fork { child } => Self { event: "fork", child: Some(Id(*child)), ..Self::default() },
            EventKind::Exec { metadata } => Self { event: "exec", ..Self::running(metadata) },
            EventKind::Found { metadata } => Self { event: "found", ..Self::running(metadata) },
            EventKind::Exit { status } => {
                Self { event: "exit", status: Some(Status::known(*status)), ..Self::default() }
            }
            EventKind::Gap { count, lost, living } => {
                let lost = lost.map(|lost| Lost { count: lost.count, exact: lost.exact });
                let living = living.iter().map(Living::from).collect();
                let (count, lost, living) = (Some(*count), Some(lost), Some(living));
                Self { event: "gap", count, lost, living, ..Self::default() }
            }
            EventKind::Lost { count, exact } => {
                Self { event: "lost", count: Some(*count), exact: Some(*exact), ..Self::default() }
            }
            EventKind::Resync { found, exited } => {
                Self { event: "resync", found: Some(*found), exited: Some(*exited), ..Self::default() }
            }
            EventKind::Unseen => Self { event: "unseen", ..Self::default() },
            EventKind::Failed { error } => {
                Self { event: "failed", error: Some(error.to_string()), ..Self::default() }
            }
            // A kind that this version of the format has no word for.
            _ => Self { event: "other", ..Self::default() },
        }
    }

    fn running(metadata: &'a Metadata) -> Self {
        let exe = metadata.exe.as_ref().ok().map(|exe| exe.as_os_str().into());
        let argv =
            metadata.argv.as_ref().ok().map(|argv| argv.iter().map(|arg| arg.as_os_str().into()).collect());
        Self { exe: Some(exe), argv: Some(argv), ..Self::default() }
    }
}

/// What two witnesses agreed on.
#[derive(Serialize)]
struct Witnesses<'a> {
    v: u32,
    t: u64,
    id: Id,
    pid: u32,
    event: &'static str,
    ppid: Option<u32>,
    agreed: u64,
    processes: u64,
    open: usize,
    exempt: u64,
    lost_by_second: u64,
    disagreed: u64,
    disagreements: Vec<Differing>,
    error: Option<&'a str>,
}

#[derive(Serialize)]
struct Differing {
    pid: u32,
    first: Facts,
    second: Facts,
}

#[derive(Serialize)]
struct Facts {
    births: u32,
    execs: u32,
    ends: u32,
}

impl From<Told> for Facts {
    fn from(Told { births, execs, ends }: Told) -> Self {
        Self { births, execs, ends }
    }
}

/// Appends what two witnesses agreed on, as the last line: about the command, at the time of the last event.
pub(crate) fn write_witnesses(report: &WitnessReport, id: ProcId, last: Duration, out: &mut Vec<u8>) {
    let differing = report.disagreements.iter().map(|one| Differing {
        pid: one.pid,
        first: one.first.into(),
        second: one.second.into(),
    });
    let line = Witnesses {
        v: VERSION,
        t: nanoseconds(last),
        id: Id(id),
        pid: id.pid(),
        event: "witnesses",
        ppid: None,
        agreed: report.agreed,
        processes: report.processes,
        open: report.open,
        exempt: report.exempt,
        lost_by_second: report.lost_by_second,
        disagreed: report.disagreed(),
        disagreements: differing.collect(),
        error: report.silent.as_deref(),
    };
    serde_json::to_writer(&mut *out, &line).expect("text keys, and a Vec takes everything");
    out.push(b'\n');
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).expect("the clock counts in 64 bits")
}

/// Appends an event and the end of its line.
pub(crate) fn write(event: &Event, out: &mut Vec<u8>) {
    let t = nanoseconds(event.time.monotonic());
    let (id, pid, ppid) = (Some(Id(event.id)), event.id.pid(), event.parent.map(ProcId::pid));
    let line = Line { v: VERSION, t, id, pid, ppid, ..Line::new(&event.kind) };
    serde_json::to_writer(&mut *out, &line).expect("text keys, and a Vec takes everything");
    out.push(b'\n');
}

/// What `doctor` finds.
#[derive(Serialize)]
struct Findings<'a> {
    v: u32,
    default: Option<&'static str>,
    sources: Vec<Finding<'a>>,
}

#[derive(Serialize)]
struct Finding<'a> {
    source: &'static str,
    usable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    promises: Option<Promises>,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<BTreeMap<&'static str, &'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<Option<&'static str>>,
}

#[derive(Serialize)]
struct Promises {
    exact_tree: bool,
    statuses: bool,
    counts_losses: bool,
    attach: bool,
    whole_machine: bool,
}

impl<'a> From<&'a Probe> for Finding<'a> {
    fn from(probe: &'a Probe) -> Self {
        let source = probe.name.as_str();
        match &probe.outcome {
            Ok(found) => {
                let of = &found.capabilities;
                let promises = Promises {
                    exact_tree: of.exact_tree,
                    statuses: of.statuses,
                    counts_losses: of.counts_losses,
                    attach: of.attach,
                    whole_machine: of.whole_machine,
                };
                let details = found.details.iter().map(|(name, value)| (*name, value.as_str())).collect();
                let (promises, details) = (Some(promises), Some(details));
                Self { source, usable: true, promises, details, reason: None, advice: None }
            }
            Err(error) => {
                let (reason, advice) = (Some(error.reason()), Some(error.advice()));
                Self { source, usable: false, promises: None, details: None, reason, advice }
            }
        }
    }
}

/// Appends what `doctor` finds, and the end of its line.
pub(crate) fn write_probes(probes: &[Probe], out: &mut Vec<u8>) {
    let default = Probe::default_of(probes).map(SourceName::as_str);
    let findings = Findings { v: VERSION, default, sources: probes.iter().map(Finding::from).collect() };
    serde_json::to_writer(&mut *out, &findings).expect("text keys, and a Vec takes everything");
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proc_watch::{Loss, Missing};
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;
    use std::sync::Arc;

    /// Without what every event has.
    fn own(kind: EventKind) -> String {
        let line = serde_json::to_string(&Line::new(&kind)).unwrap();
        line.replace(r#""v":0,"t":0,"id":null,"pid":0,"#, "").replace(r#""ppid":null"#, "..")
    }

    #[test]
    fn each_kind_has_its_keys_in_order() {
        let child = ProcId::new(7, 70);
        assert_eq!(own(EventKind::Fork { child }), r#"{"event":"fork","child":"7:70",..}"#);
        let status = |status| own(EventKind::Exit { status });
        assert_eq!(status(ExitStatus::Code(3)), r#"{"event":"exit",..,"status":{"code":3}}"#);
        let segv = ExitStatus::Signal { signal: 11, core: true };
        assert_eq!(status(segv), r#"{"event":"exit",..,"status":{"signal":11,"core":true}}"#);
        assert_eq!(status(ExitStatus::Unknown), r#"{"event":"exit",..,"status":null}"#);
        let parent = Some(ProcId::new(6, 60));
        let living =
            Arc::from([Member { id: child, parent: None }, Member { id: ProcId::new(8, 80), parent }]);
        assert_eq!(
            own(EventKind::Gap { count: 9, lost: None, living }),
            r#"{"event":"gap",..,"count":9,"lost":null,"living":[{"id":"7:70",..},{"id":"8:80","ppid":6}]}"#
        );
        let lost = Some(Loss { count: 5, exact: true });
        assert_eq!(
            own(EventKind::Gap { count: 9, lost, living: Arc::default() }),
            r#"{"event":"gap",..,"count":9,"lost":{"count":5,"exact":true},"living":[]}"#
        );
        assert_eq!(
            own(EventKind::Lost { count: 2, exact: true }),
            r#"{"event":"lost",..,"count":2,"exact":true}"#
        );
        assert_eq!(
            own(EventKind::Resync { found: 1, exited: 4 }),
            r#"{"event":"resync",..,"found":1,"exited":4}"#
        );
        assert_eq!(own(EventKind::Unseen), r#"{"event":"unseen",..}"#);
    }

    #[test]
    fn the_witnesses_line_has_its_keys_in_order() {
        let mut out = Vec::new();
        let report = WitnessReport::default();
        write_witnesses(&report, ProcId::new(7, 70), Duration::from_nanos(5), &mut out);
        let line = concat!(
            r#"{"v":1,"t":5,"id":"7:70","pid":7,"event":"witnesses","ppid":null,"agreed":0,"processes":0,"open":0,"#,
            r#""exempt":0,"lost_by_second":0,"disagreed":0,"disagreements":[],"error":null}"#,
            "\n"
        );
        assert_eq!(String::from_utf8(out).unwrap(), line);
        let told = Told { births: 1, execs: 0, ends: 2 };
        let facts = serde_json::to_string(&Facts::from(told)).unwrap();
        assert_eq!(facts, r#"{"births":1,"execs":0,"ends":2}"#);
    }

    #[test]
    fn what_runs_is_text_bytes_or_null() {
        let mut metadata = Metadata::missing(Missing::Gone);
        let exec = |metadata: &Metadata| own(EventKind::Exec { metadata: Arc::new(metadata.clone()) });
        assert_eq!(exec(&metadata), r#"{"event":"exec",..,"exe":null,"argv":null}"#);
        metadata.exe = Ok("/bin/é\"\n".into());
        metadata.argv = Ok(vec!["".into(), OsString::from_vec(vec![b'a', 0xff, 0x07])]);
        assert_eq!(exec(&metadata), r#"{"event":"exec",..,"exe":"/bin/é\"\n","argv":["",{"hex":"61ff07"}]}"#);
    }
}
