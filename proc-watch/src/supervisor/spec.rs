//! [`Service`]: what is to be kept up, and how.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::stop::StopPlan;
use crate::supervisor::policy::{Backoff, Intensity, Restart};

/// What is to be kept up, and how.
///
/// ```
/// use std::time::Duration;
/// use proc_watch::supervisor::{Ready, Restart, Service};
///
/// let web = Service::new("web", "/usr/bin/web-server")
///     .args(["--port", "8080"])
///     .env("MODE", "production")
///     .needs("database")
///     .ready(Ready::Connect(([127, 0, 0, 1], 8080).into()))
///     .ready_within(Duration::from_secs(20))
///     .restart(Restart::Permanent);
/// ```
#[derive(Clone, Debug)]
#[must_use = "give it to a supervisor's builder"]
pub struct Service {
    pub(crate) name: Arc<str>,
    pub(crate) program: OsString,
    pub(crate) args: Vec<OsString>,
    pub(crate) env: BTreeMap<OsString, Option<OsString>>,
    pub(crate) clear_env: bool,
    pub(crate) dir: Option<PathBuf>,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    pub(crate) output: Output,
    pub(crate) main: Main,
    pub(crate) ready: Ready,
    pub(crate) ready_within: Option<Duration>,
    pub(crate) health: Option<Health>,
    pub(crate) watchdog: Option<Duration>,
    pub(crate) stop: StopPlan,
    pub(crate) reload: Option<i32>,
    pub(crate) needs: Vec<String>,
    pub(crate) restart: Restart,
    pub(crate) backoff: Backoff,
    pub(crate) intensity: Option<Intensity>,
    pub(crate) significant: bool,
    pub(crate) autostart: bool,
}

/// Which process's end is the end of the service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Main {
    /// That of the one that was started; or of the one that it has named as `MAINPID` ([`Ready::Notify`]). Who is left of its tree then is stopped.
    #[default]
    Child,
    /// That of the last of its tree: for daemons that fork twice and let the one that was started end. That one has to end with code 0.
    Tree,
}

/// When a service is ready.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum Ready {
    /// As soon as it has been started.
    #[default]
    AtOnce,
    /// When it says so: `READY=1`, sent to the socket that `NOTIFY_SOCKET` names (sd_notify(3)). Believed of processes of its own tree only. Linux.
    Notify,
    /// When it has written a line that has this in it. Its output must not be [`Output::Inherit`] or [`Output::Null`].
    Line(String),
    /// When a connection can be made to this address.
    Connect(SocketAddr),
    /// When this program ends with code 0. It is run again until it does.
    Command(Vec<OsString>),
}

/// How a service is looked after while it is ready. A check is one as [`Ready::Connect`] and [`Ready::Command`] make them; with others there is none.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Health {
    /// What has to succeed.
    pub check: Ready,
    /// How often.
    pub every: Duration,
    /// After how many failures in a row it is unhealthy, and started again.
    pub failures: u32,
}

impl Health {
    /// Every so often, and three failures in a row are too many.
    pub fn new(check: Ready, every: Duration) -> Self {
        Self { check, every, failures: 3 }
    }
}

/// What becomes of what a service writes.
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum Output {
    /// It goes where this program's goes.
    #[default]
    Inherit,
    /// It goes nowhere.
    Null,
    /// It is appended to this file, standard output and error alike. Where there is to be no more than `limit` bytes, it is renamed to
    /// `FILE.1`, that to `FILE.2`, and so on, up to `keep` of them.
    File {
        /// Which.
        path: PathBuf,
        /// Bytes of one file; `None`: there is no limit, and the service writes to it by itself.
        limit: Option<u64>,
        /// How many old ones are kept.
        keep: u32,
    },
    /// Each line is given to this, without its end.
    Lines(Arc<dyn Fn(&Line<'_>) + Send + Sync>),
}

/// A line of output.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Line<'a> {
    /// Whose.
    pub service: &'a str,
    /// Whether it was written to standard error.
    pub is_error: bool,
    /// What was written; 64 KiB of it at most, and the rest as further lines.
    pub bytes: &'a [u8],
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inherit => f.write_str("Inherit"),
            Self::Null => f.write_str("Null"),
            Self::File { path, limit, keep } => {
                f.debug_struct("File").field("path", path).field("limit", limit).field("keep", keep).finish()
            }
            Self::Lines(_) => f.write_str("Lines(..)"),
        }
    }
}

impl Service {
    /// `program` under a name of its own, with everything else as usual: started again whenever it ends, ready as soon as it is started, and stopped by the default plan.
    pub fn new(name: impl Into<String>, program: impl Into<OsString>) -> Self {
        Self {
            name: name.into().into(),
            program: program.into(),
            args: Vec::new(),
            env: BTreeMap::new(),
            clear_env: false,
            dir: None,
            uid: None,
            gid: None,
            output: Output::default(),
            main: Main::default(),
            ready: Ready::default(),
            ready_within: None,
            health: None,
            watchdog: None,
            stop: StopPlan::default(),
            reload: None,
            needs: Vec::new(),
            restart: Restart::default(),
            backoff: Backoff::default(),
            intensity: None,
            significant: false,
            autostart: true,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// One more argument.
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// More arguments.
    pub fn args(mut self, args: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// A variable of its environment, which is else that of this program.
    pub fn env(mut self, key: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.insert(key.into(), Some(value.into()));
        self
    }

    /// A variable that it does not inherit.
    pub fn env_remove(mut self, key: impl Into<OsString>) -> Self {
        self.env.insert(key.into(), None);
        self
    }

    /// It inherits none.
    pub fn env_clear(mut self) -> Self {
        self.clear_env = true;
        self
    }

    /// Where it is started; else where this program is.
    pub fn current_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = Some(dir.into());
        self
    }

    /// The user that it is; else that of this program. Takes root.
    pub fn uid(mut self, uid: u32) -> Self {
        self.uid = Some(uid);
        self
    }

    /// The group that it is of; else that of this program. Takes root.
    pub fn gid(mut self, gid: u32) -> Self {
        self.gid = Some(gid);
        self
    }

    /// What becomes of what it writes.
    pub fn output(mut self, output: Output) -> Self {
        self.output = output;
        self
    }

    /// Its lines are given to this.
    pub fn lines(self, take: impl Fn(&Line<'_>) + Send + Sync + 'static) -> Self {
        self.output(Output::Lines(Arc::new(take)))
    }

    /// Which process's end is its end.
    pub fn main(mut self, main: Main) -> Self {
        self.main = main;
        self
    }

    /// When it is ready.
    pub fn ready(mut self, ready: Ready) -> Self {
        self.ready = ready;
        self
    }

    /// How long it may take to be ready. One that takes longer has failed. Else it may take for ever.
    pub fn ready_within(mut self, time: Duration) -> Self {
        self.ready_within = Some(time);
        self
    }

    /// How it is looked after while it is ready.
    pub fn health(mut self, health: Health) -> Self {
        self.health = Some(health);
        self
    }

    /// It has to send `WATCHDOG=1` at least this often, or has failed (`WATCHDOG_USEC`, sd_watchdog_enabled(3)). Linux.
    pub fn watchdog(mut self, time: Duration) -> Self {
        self.watchdog = Some(time);
        self
    }

    /// How it is stopped.
    pub fn stop(mut self, plan: StopPlan) -> Self {
        self.stop = plan;
        self
    }

    /// The signal that makes it read its configuration again: SIGHUP (1), mostly. Without one it cannot be reloaded.
    pub fn reload(mut self, signal: i32) -> Self {
        self.reload = Some(signal);
        self
    }

    /// It is started when this one is ready, or has ended well and for good, and stopped before it.
    pub fn needs(mut self, name: impl Into<String>) -> Self {
        self.needs.push(name.into());
        self
    }

    /// When it is started again.
    pub fn restart(mut self, restart: Restart) -> Self {
        self.restart = restart;
        self
    }

    /// How long it waits before it is.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// How many restarts within how much time are borne of it, before it is given up. Else any number.
    pub fn intensity(mut self, restarts: u32, period: Duration) -> Self {
        self.intensity = Some(Intensity { restarts, period });
        self
    }

    /// Its end for good may be that of all: [`AutoShutdown`](crate::supervisor::AutoShutdown).
    pub fn significant(mut self, significant: bool) -> Self {
        self.significant = significant;
        self
    }

    /// Whether it is started with the supervisor, and not by hand only: yes by default.
    pub fn autostart(mut self, autostart: bool) -> Self {
        self.autostart = autostart;
        self
    }

    /// Whether it says things over a socket.
    pub(crate) fn notifies(&self) -> bool {
        matches!(self.ready, Ready::Notify) || self.watchdog.is_some()
    }
}

/// Why a set of services makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpecError {
    /// Two have one name.
    #[error("there are two services {name:?}; give each a name of its own")]
    Twice {
        /// Which.
        name: String,
    },
    /// One needs another that there is not.
    #[error("service {name:?} needs {needs:?}, and there is none of that name")]
    Unknown {
        /// Which.
        name: String,
        /// What it needs.
        needs: String,
    },
    /// Some need each other.
    #[error("these services need each other, so that none can be the first: {}", names.join(" -> "))]
    Cycle {
        /// Each needs the next, and the last the first.
        names: Vec<String>,
    },
    /// It could never be ready.
    #[error("service {name:?} would never be ready: {why}")]
    NeverReady {
        /// Which.
        name: String,
        /// Why not.
        why: &'static str,
    },
}

/// The services in the order of starting: each after those that it needs, and else as they were given; with the places of those.
pub(crate) fn in_order(services: Vec<Service>) -> Result<Vec<(Service, Vec<usize>)>, SpecError> {
    for (at, service) in services.iter().enumerate() {
        if services[..at].iter().any(|other| other.name == service.name) {
            return Err(SpecError::Twice { name: service.name.to_string() });
        }
        let unknown = |needs: &&String| !services.iter().any(|other| *other.name == ***needs);
        if let Some(needs) = service.needs.iter().find(unknown) {
            return Err(SpecError::Unknown { name: service.name.to_string(), needs: needs.clone() });
        }
        let never = |why| Err(SpecError::NeverReady { name: service.name.to_string(), why });
        match (&service.ready, &service.output) {
            (Ready::Line(_), Output::Inherit | Output::Null) => {
                return never("nobody reads its output; give it a file or a callback");
            }
            (Ready::Command(words), _) if words.is_empty() => return never("its command is empty"),
            _ if service.notifies() && !cfg!(target_os = "linux") => {
                return never("this system does not tell who sent a message");
            }
            _ => {}
        }
    }
    let mut ordered: Vec<(Service, Vec<usize>)> = Vec::new();
    let mut left = services;
    while !left.is_empty() {
        let placed = |name: &String| ordered.iter().position(|(service, _)| *service.name == **name);
        let next = left.iter().position(|service| service.needs.iter().all(|name| placed(name).is_some()));
        let Some(next) = next else { return Err(SpecError::Cycle { names: cycle(&left) }) };
        let mut needs: Vec<usize> = left[next].needs.iter().filter_map(placed).collect();
        needs.sort_unstable();
        needs.dedup();
        ordered.push((left.remove(next), needs));
    }
    Ok(ordered)
}

/// One of services each of which needs another of them.
fn cycle(left: &[Service]) -> Vec<String> {
    let mut path: Vec<&Service> = vec![&left[0]];
    loop {
        let last = path[path.len() - 1];
        let next = left.iter().find(|other| last.needs.iter().any(|name| **name == *other.name));
        let next = next.expect("whoever is left needs another who is");
        if let Some(from) = path.iter().position(|service| service.name == next.name) {
            return path[from..].iter().map(|service| service.name.to_string()).collect();
        }
        path.push(next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(name: &str, needs: &[&str]) -> Service {
        needs.iter().fold(Service::new(name, "true"), |service, need| service.needs(*need))
    }

    #[test]
    fn each_after_those_that_it_needs() {
        let given = vec![
            service("web", &["db", "cache"]),
            service("cache", &[]),
            service("db", &["disk"]),
            service("disk", &[]),
        ];
        let ordered = in_order(given).unwrap();
        let names: Vec<_> = ordered.iter().map(|(service, needs)| (service.name(), &needs[..])).collect();
        assert_eq!(names, [("cache", &[][..]), ("disk", &[]), ("db", &[1]), ("web", &[0, 2])]);
    }

    #[test]
    fn what_makes_no_sense_says_why() {
        let error = |services| in_order(services).unwrap_err().to_string();
        let twice = error(vec![service("a", &[]), service("a", &[])]);
        assert!(twice.contains("two services \"a\""), "{twice}");
        let unknown = error(vec![service("a", &["b"])]);
        assert!(unknown.contains("\"a\" needs \"b\""), "{unknown}");
        let cycle = error(vec![
            service("z", &["a"]),
            service("a", &["b"]),
            service("b", &["c"]),
            service("c", &["a"]),
        ]);
        assert!(cycle.contains("a -> b -> c"), "{cycle}");
        let itself = error(vec![service("a", &["a"])]);
        assert!(itself.ends_with(": a"), "{itself}");
        let never = error(vec![service("a", &[]).ready(Ready::Line("up".into()))]);
        assert!(never.contains("never be ready: nobody reads its output"), "{never}");
        let never = error(vec![service("a", &[]).ready(Ready::Command(Vec::new()))]);
        assert!(never.contains("command is empty"), "{never}");
    }
}
