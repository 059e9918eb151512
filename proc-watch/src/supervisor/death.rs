//! What becomes of services when their supervisor's program dies without a word, by SIGKILL or a crash.
//!
//! `PR_SET_PDEATHSIG` is not used: it comes with the end of the thread that made the child and not of the program, reaches that child and nobody
//! whom it made, and is gone when it runs a setuid program.

use std::io;
use std::path::Path;
use std::process::Child;

use crate::cgroup::{self, Cgroup, CgroupError, Guardian};
use crate::supervisor::marker::Marker;

/// What becomes of services when their supervisor's program dies without a word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OnDeath {
    /// They go on. A supervisor with the same [`state_file`](crate::supervisor::Builder::state_file) takes them over.
    #[default]
    Leave,
    /// They are killed: by a cgroup where one may be made, else by their environment.
    Kill,
    /// They are killed in this way.
    KillBy(Guard),
}

/// How services are killed when their supervisor's program dies: in both ways by a small process (`sh`, deaf to signals that can be ignored)
/// that waits for that and for nothing else. Who kills both, or all of a container, has to see to the rest himself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Guard {
    /// They are in a cgroup, each in one of its own below it, and the kernel kills all of it at once ([`Cgroup`]). Nobody escapes who is not privileged to.
    Cgroup,
    /// Whoever has a variable in his environment that they were given is killed, until there is nobody any more. It needs nothing but /proc. Who
    /// clears his environment escapes, and who forks faster than one can look.
    Environment,
}

/// It watches over them as long as it is there.
#[derive(Debug)]
pub(crate) struct Ward {
    pub(crate) guard: Guard,
    /// In which each has its own.
    pub(crate) group: Option<Cgroup>,
    /// What each has in its environment. Not that of the state file, which the next program's services have too: this one may still be
    /// looking when they are started.
    pub(crate) marker: Option<Marker>,
    _guardian: Guardian,
}

impl Ward {
    /// `None`: they are left.
    pub(crate) fn begin(wish: OnDeath) -> Result<Option<Self>, CgroupError> {
        match wish {
            OnDeath::Leave => Ok(None),
            OnDeath::KillBy(Guard::Cgroup) => Self::by_cgroup().map(Some),
            OnDeath::KillBy(Guard::Environment) => Self::by_environment().map(Some),
            OnDeath::Kill => Self::by_cgroup().or_else(|_| Self::by_environment()).map(Some),
        }
    }

    fn by_cgroup() -> Result<Self, CgroupError> {
        let group = Cgroup::create()?;
        let guardian = group.die_with_this_program()?;
        Ok(Self { guard: Guard::Cgroup, group: Some(group), marker: None, _guardian: guardian })
    }

    fn by_environment() -> Result<Self, CgroupError> {
        // Where there is no such file nobody would ever be found.
        let environ = Path::new("/proc/self/environ");
        std::fs::metadata(environ).map_err(|error| CgroupError::File { path: environ.into(), error })?;
        let marker = Marker::fresh();
        let child = by_environment(marker).map_err(CgroupError::Guardian)?;
        let _guardian = Guardian::of(child, None);
        Ok(Self { guard: Guard::Environment, group: None, marker: Some(marker), _guardian })
    }
}

fn by_environment(marker: Marker) -> io::Result<Child> {
    cgroup::guardian(GUARDIAN, format!("{}=", marker.variable()))
}

/// Three looks in a row that find nobody: a process that is being born has the environment of its parent, who is there until then. Who has
/// ended and was not waited for has none any more.
const GUARDIAN: &str = r#"n=0; quiet=0
while [ $quiet -lt 3 ] && [ $n -lt 500 ]; do
  n=$((n + 1)); quiet=$((quiet + 1))
  for file in $(grep -lsF -e "$1" /proc/[0-9]*/environ); do
    pid=${file#/proc/}
    kill -KILL "${pid%/environ}" && quiet=0
  done
  [ $quiet -eq 0 ] || sleep 0.05
done"#;
