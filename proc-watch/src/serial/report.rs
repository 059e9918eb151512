//! What stopping a tree came to.

use proc_reactor::{Doubts, ProcId};
use serde::{Serialize, Serializer};

use crate::serial::process::{Bytes, End, Id, micros};
use crate::stop::{Emptiness, Progress, Refused, Signals, State, StopReport, Stopped, Survivor};

#[derive(Serialize)]
struct Report<'a> {
    root: Id,
    rungs: usize,
    elapsed: u64,
    empty: Empty,
    processes: Vec<Process>,
    survivors: Vec<Left<'a>>,
}

#[derive(Serialize)]
#[serde(tag = "is", rename_all = "snake_case")]
enum Empty {
    Proven,
    Observed { doubts: Doubt },
    No { living: usize },
    Unknown { error: String },
}

#[derive(Serialize)]
struct Doubt {
    lost: Option<Lost>,
    attached: bool,
    birth_unseen: bool,
    unseen: u64,
    inexact: bool,
    failed: bool,
}

#[derive(Serialize)]
struct Lost {
    count: u64,
    exact: bool,
}

#[derive(Serialize)]
struct Process {
    id: Id,
    pid: u32,
    ppid: Option<u32>,
    born_since: bool,
    end: Option<End>,
    ended_after: Option<u64>,
    rung: Option<usize>,
    refused: Option<&'static str>,
}

#[derive(Serialize)]
struct Left<'a> {
    id: Id,
    pid: u32,
    age: Option<u64>,
    argv: Option<Vec<Bytes<'a>>>,
    state: Option<&'static str>,
    ignores: Vec<i32>,
    blocks: Vec<i32>,
}

impl From<&Emptiness> for Empty {
    fn from(empty: &Emptiness) -> Self {
        match empty {
            Emptiness::Proven => Self::Proven,
            Emptiness::Observed(doubts) => Self::Observed { doubts: doubts.into() },
            Emptiness::No { living } => Self::No { living: *living },
            Emptiness::Unknown(error) => Self::Unknown { error: error.to_string() },
        }
    }
}

impl From<&Doubts> for Doubt {
    fn from(doubts: &Doubts) -> Self {
        Self {
            lost: doubts.lost.map(|lost| Lost { count: lost.count, exact: lost.exact }),
            attached: doubts.attached,
            birth_unseen: doubts.birth_unseen,
            unseen: doubts.unseen,
            inexact: doubts.inexact,
            failed: doubts.failed,
        }
    }
}

impl From<&Stopped> for Process {
    fn from(process: &Stopped) -> Self {
        Self {
            id: Id(process.id),
            pid: process.id.pid(),
            ppid: process.parent.map(ProcId::pid),
            born_since: process.born_since,
            end: process.status.map(End::from),
            ended_after: process.ended_after.map(micros),
            rung: process.rung,
            refused: process.refused.map(refused),
        }
    }
}

fn refused(why: Refused) -> &'static str {
    match why {
        Refused::Denied => "denied",
        Refused::Unsettled => "unsettled",
        Refused::Descriptors => "descriptors",
        Refused::Unsupported => "unsupported",
        Refused::SourceFailed => "source_failed",
    }
}

impl<'a> From<&'a Survivor> for Left<'a> {
    fn from(survivor: &'a Survivor) -> Self {
        let argv = || survivor.argv.iter().map(|word| word.as_os_str().into()).collect();
        let numbers = |signals: Signals| signals.iter().collect();
        Self {
            id: Id(survivor.id),
            pid: survivor.id.pid(),
            age: survivor.age.map(micros),
            // Nobody has none: it could not be read.
            argv: (!survivor.argv.is_empty()).then(argv),
            state: survivor.state.map(state),
            ignores: numbers(survivor.ignores),
            blocks: numbers(survivor.blocks),
        }
    }
}

fn state(state: State) -> &'static str {
    match state {
        State::Running => "running",
        State::Sleeping => "sleeping",
        State::Uninterruptible => "uninterruptible",
        State::Stopped => "stopped",
        State::Traced => "traced",
        State::Ending => "ending",
    }
}

/// How far a stopping has come.
#[derive(Serialize)]
struct Coming<'a> {
    rungs: usize,
    elapsed: u64,
    living: usize,
    survivors: Vec<Left<'a>>,
}

impl Serialize for Progress {
    /// As docs/json.md has it.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let survivors = self.survivors.iter().map(Left::from).collect();
        let elapsed = micros(self.elapsed);
        Coming { rungs: self.rungs, elapsed, living: self.living, survivors }.serialize(serializer)
    }
}

impl Serialize for StopReport {
    /// As docs/json.md has it.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let report = Report {
            root: Id(self.root),
            rungs: self.rungs,
            elapsed: micros(self.elapsed),
            empty: (&self.empty).into(),
            processes: self.processes.iter().map(Process::from).collect(),
            survivors: self.survivors.iter().map(Left::from).collect(),
        };
        report.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use proc_reactor::{ExitStatus, Loss, SourceError};

    use super::*;

    fn report(empty: Emptiness) -> StopReport {
        let elapsed = Duration::from_micros(1_500_250);
        StopReport {
            root: ProcId::new(7, 70),
            processes: Vec::new(),
            survivors: Vec::new(),
            empty,
            rungs: 2,
            elapsed,
        }
    }

    fn json(value: &impl Serialize) -> String {
        serde_json::to_string(value).unwrap()
    }

    #[test]
    fn whether_it_is_empty() {
        let empty = |empty| json(&report(empty));
        assert_eq!(
            empty(Emptiness::Proven),
            r#"{"root":"7:70","rungs":2,"elapsed":1500250,"empty":{"is":"proven"},"processes":[],"survivors":[]}"#
        );
        assert!(empty(Emptiness::No { living: 3 }).contains(r#""empty":{"is":"no","living":3},"#));
        let mut doubts = Doubts::default();
        (doubts.lost, doubts.unseen) = (Some(Loss { count: 4, exact: false }), 1);
        let expected = concat!(
            r#""empty":{"is":"observed","doubts":{"lost":{"count":4,"exact":false},"attached":false,"birth_unseen":false,"#,
            r#""unseen":1,"inexact":false,"failed":false}},"#
        );
        let observed = empty(Emptiness::Observed(doubts));
        assert!(observed.contains(expected), "{observed}");
        let error = Arc::new(SourceError::Refused {
            source_name: "sim",
            reason: "it is gone".into(),
            advice: "start anew",
        });
        let unknown = empty(Emptiness::Unknown(error));
        let expected = r#""empty":{"is":"unknown","error":"sim: it is gone; start anew"},"#;
        assert!(unknown.contains(expected), "{unknown}");
    }

    #[test]
    fn who_was_there_and_who_is() {
        let process = |status, refused| Stopped {
            id: ProcId::new(8, 80),
            parent: Some(ProcId::new(7, 70)),
            born_since: true,
            status,
            ended_after: status.map(|_| Duration::from_millis(3)),
            rung: Some(0),
            refused,
        };
        assert_eq!(
            json(&Process::from(&process(Some(ExitStatus::Signal { signal: 15, core: false }), None))),
            concat!(
                r#"{"id":"8:80","pid":8,"ppid":7,"born_since":true,"end":{"status":{"signal":15,"core":false}},"#,
                r#""ended_after":3000,"rung":0,"refused":null}"#
            )
        );
        let unknown = json(&Process::from(&process(Some(ExitStatus::Unknown), None)));
        assert!(unknown.contains(r#""end":{"status":null},"#), "{unknown}");
        let lives = json(&Process::from(&process(None, Some(Refused::Denied))));
        assert!(lives.contains(r#""end":null,"ended_after":null,"rung":0,"refused":"denied"}"#), "{lives}");
        let survivor = Survivor {
            id: ProcId::new(8, 80),
            age: Some(Duration::from_secs(2)),
            argv: vec!["sleep".into(), "9".into()],
            state: Some(State::Uninterruptible),
            ignores: Signals::default(),
            blocks: Signals::default(),
        };
        assert_eq!(
            json(&Left::from(&survivor)),
            concat!(
                r#"{"id":"8:80","pid":8,"age":2000000,"argv":["sleep","9"],"state":"uninterruptible","#,
                r#""ignores":[],"blocks":[]}"#
            )
        );
        let unread = json(&Left::from(&Survivor { argv: Vec::new(), age: None, state: None, ..survivor }));
        assert!(unread.contains(r#""age":null,"argv":null,"state":null"#), "{unread}");
    }
}
