//! What is told of services: as it happens, and as it is now.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use proc_reactor::{ExitStatus, ProcId, SourceError};

use crate::stop::{Progress, StopReport};
use crate::supervisor::core::{State, Verdict};

/// Something that happened to a service.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServiceEvent {
    /// When it was taken in.
    pub time: SystemTime,
    /// Which; `None`: it is about all of them.
    pub service: Option<Arc<str>>,
    /// What.
    pub kind: ServiceEventKind,
}

/// What happened to a service.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ServiceEventKind {
    /// It has come to this.
    State(State),
    /// It runs as this process.
    Started(ProcId),
    /// It ran already when this supervisor was started, and was taken over as this process.
    Adopted(ProcId),
    /// It runs already, and cannot be taken over, and why. It has failed: to start it would be to start it twice.
    NotAdopted(String),
    /// Processes of a service that there is no more were stopped.
    Stray {
        /// Its name.
        name: Arc<str>,
        /// What stopping them came to.
        report: Arc<StopReport>,
    },
    /// What a later supervisor is to know cannot be written down.
    StateLost(String),
    /// It could not be started.
    NotStarted(String),
    /// The process that it is of has ended.
    Ended(ExitStatus),
    /// It is started again after this time.
    Again(Duration),
    /// It was not ready in time.
    NotReady,
    /// It is unhealthy, and why.
    Unhealthy(&'static str),
    /// What it says of itself (`STATUS=`).
    Status(String),
    /// It reads its configuration again (`RELOADING=1`).
    Reloading,
    /// It is about to end (`STOPPING=1`).
    Ending,
    /// Somebody sent a message that was not believed, or named a main process that is none. Of a flood, 16 a second are told.
    Stranger {
        /// Who.
        pid: u32,
        /// Why not.
        why: &'static str,
    },
    /// What it writes cannot be kept, and is dropped.
    OutputLost(String),
    /// How far stopping it has come, whenever a rung is climbed and now and then between, with who keeps it busy.
    Stopping(Progress),
    /// What stopping it came to.
    Stopped(Arc<StopReport>),
    /// Some of it are still there though its plan is over; it is not started again before they are gone.
    StillThere(Arc<StopReport>),
    /// The source of the watcher has failed.
    SourceFailed(Arc<SourceError>),
    /// All are being stopped for good.
    Closing(Verdict),
    /// All are down, for good.
    Over(Verdict),
    /// Whoever reads these was too slow, and so many were left out. A [`snapshot`](crate::supervisor::Supervisor::snapshot) tells what came of them.
    Missed(u64),
}

impl fmt::Display for ServiceEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(service) = &self.service {
            write!(f, "{service}: ")?;
        }
        match &self.kind {
            ServiceEventKind::State(state) => write!(f, "{state}"),
            ServiceEventKind::Started(id) => write!(f, "runs as {id}"),
            ServiceEventKind::Adopted(id) => write!(f, "runs already, as {id}"),
            ServiceEventKind::NotAdopted(why) => write!(f, "runs already and cannot be taken over: {why}"),
            ServiceEventKind::Stray { name, report } => {
                write!(f, "{name:?}, which there is no more: {}", report.empty)
            }
            ServiceEventKind::StateLost(why) => write!(f, "the state is not written down: {why}"),
            ServiceEventKind::NotStarted(why) => f.write_str(why),
            ServiceEventKind::Ended(status) => write!(f, "{status}"),
            ServiceEventKind::Again(delay) => write!(f, "again in {delay:.1?}"),
            ServiceEventKind::NotReady => f.write_str("not ready in time"),
            ServiceEventKind::Unhealthy(why) => write!(f, "unhealthy: {why}"),
            ServiceEventKind::Status(text) => write!(f, "says: {text}"),
            ServiceEventKind::Reloading => f.write_str("reads its configuration again"),
            ServiceEventKind::Ending => f.write_str("is about to end"),
            ServiceEventKind::Stranger { pid, why } => {
                write!(f, "a message of process {pid} is not believed: {why}")
            }
            ServiceEventKind::OutputLost(why) => write!(f, "its output is lost: {why}"),
            ServiceEventKind::Stopping(progress) => write!(f, "{progress}"),
            ServiceEventKind::Stopped(report) => write!(f, "{}", report.empty),
            ServiceEventKind::StillThere(report) => {
                write!(f, "{}", report.empty)?;
                report.survivors.iter().try_for_each(|survivor| write!(f, "\n  {survivor}"))
            }
            ServiceEventKind::SourceFailed(error) => write!(f, "{error}"),
            ServiceEventKind::Closing(verdict) => write!(f, "all are stopped: {verdict}"),
            ServiceEventKind::Over(verdict) => write!(f, "all are down: {verdict}"),
            ServiceEventKind::Missed(count) => write!(f, "{count} events were missed"),
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Down => "down",
            Self::Starting => "starting",
            Self::Up => "up",
            Self::Ready => "ready",
            Self::Stopping => "stopping",
            Self::Failed => "failed",
        })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Asked => "somebody asked for it",
            Self::GaveUp => "there were too many restarts",
            Self::Significant => "significant services have ended",
            Self::SourceFailed => "nobody can say any more who runs",
        })
    }
}

/// What there is to know of a service now.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Status {
    /// Its name.
    pub name: Arc<str>,
    /// Where it is.
    pub state: State,
    /// Since when.
    pub since: SystemTime,
    /// The services that it waits for.
    pub waits_for: Vec<Arc<str>>,
    /// Whether it is to be up.
    pub wanted: bool,
    /// The process that was started, while somebody of it lives.
    pub id: Option<ProcId>,
    /// How often it has been started.
    pub starts: u64,
    /// Failures in a row, until it is stable.
    pub failures: u32,
    /// How its last life ended.
    pub last_end: Option<ExitStatus>,
    /// What it says of itself.
    pub text: Option<String>,
}

/// What there is to know of all services now, in the order of starting.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Snapshot {
    /// One after the other.
    pub services: Vec<Status>,
    /// Why all are down or being stopped for good, if they are.
    pub verdict: Option<Verdict>,
}
