//! [`StopReport`]: what stopping a tree came to.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use proc_reactor::{Doubts, ExitStatus, ProcId, SourceError, TreeHandle};

use crate::stop::survivor::Survivor;

/// What stopping a tree came to.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StopReport {
    /// The process that it is the tree of.
    pub root: ProcId,
    /// Everybody who lived when it began, parents first, and who was born since.
    pub processes: Vec<Stopped>,
    /// Who still lives: empty, but where the plan's time was over before.
    pub survivors: Vec<Survivor>,
    /// Whether nobody lives any more, and what that rests on.
    pub empty: Emptiness,
    /// How many rungs of the plan were climbed.
    pub rungs: usize,
    /// From the call until nobody lived, or the plan's time was over.
    pub elapsed: Duration,
}

/// One process of a tree that was stopped.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Stopped {
    /// Who it was.
    pub id: ProcId,
    /// Its parent, where known.
    pub parent: Option<ProcId>,
    /// Whether it was born after the stopping had begun.
    pub born_since: bool,
    /// How it ended, `Unknown` where that is not known; `None` if it lives.
    pub status: Option<ExitStatus>,
    /// When it was known to have ended, from the call.
    pub ended_after: Option<Duration>,
    /// The rung, counted from 0, whose signal was the last that it got. `None`: it got none, and ended by itself or with another.
    pub rung: Option<usize>,
    /// Why it got no signal that was meant for it, if so.
    pub refused: Option<Refused>,
}

/// Why a process got no signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refused {
    /// It is not for this user to signal it (EPERM): it runs as another, as setuid programs do.
    Denied,
    /// It could not be told from another that might have its pid.
    Unsettled,
    /// No descriptors were left (EMFILE, ENFILE).
    Descriptors,
    /// There are no descriptors of processes here, or no such signal.
    Unsupported,
    /// The source had failed, and it was not among those whose descriptors had been kept.
    SourceFailed,
}

/// Whether a tree is empty, and what is known of that.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Emptiness {
    /// Nobody is left: the tree was followed from the birth of its leader, the source tells of every birth before the child runs, each
    /// of them was told to have ended, and nothing was lost on the way. Or: it began in a [`Cgroup`](crate::Cgroup) of its own
    /// ([`StopPlan::cgroup`](crate::StopPlan::cgroup)), and the kernel says that nobody is in that; or it is a [`Subtree`](crate::Subtree) of which the kernel
    /// says that nobody lives ([`StopPlan::subtree`](crate::StopPlan::subtree)).
    Proven,
    /// Everybody who is known of has ended. There may be others, for the reasons given.
    Observed(Doubts),
    /// Somebody still lives.
    No {
        /// How many.
        living: usize,
    },
    /// Nobody can say: the source failed.
    Unknown(Arc<SourceError>),
}

impl Emptiness {
    /// Of a tree in which nobody lives who is known of.
    pub(crate) fn of(handle: &TreeHandle) -> Self {
        let doubts = handle.doubts();
        match handle.source_error() {
            Some(error) if doubts.failed => Self::Unknown(error),
            _ if doubts.is_none() => Self::Proven,
            _ => Self::Observed(doubts),
        }
    }

    /// Whether nobody is known to live.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Proven | Self::Observed(_))
    }
}

impl fmt::Display for Emptiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Proven => f.write_str("nobody is left"),
            Self::Observed(doubts) => {
                f.write_str("nobody who is known of is left; there may be others, for ")?;
                let mut reasons = Vec::new();
                reasons.extend(doubts.lost.map(|lost| format!("{lost} of the source were lost")));
                reasons
                    .extend(doubts.attached.then(|| "the tree had been there before it was watched".into()));
                reasons.extend(doubts.birth_unseen.then(|| "its birth was not seen".into()));
                reasons.extend((doubts.unseen > 0).then(|| format!("{} went out of sight", doubts.unseen)));
                reasons.extend(doubts.inexact.then(|| "the source does not see every birth".into()));
                f.write_str(&reasons.join(", and "))
            }
            Self::No { living } => write!(f, "{living} still live"),
            Self::Unknown(error) => write!(f, "nobody can say who lives: {error}"),
        }
    }
}

impl fmt::Display for StopReport {
    /// Some lines, for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ended = self.processes.iter().filter(|process| process.status.is_some()).count();
        writeln!(
            f,
            "{} of {} processes ended in {:?}, after {} steps: {}",
            ended,
            self.processes.len(),
            self.elapsed,
            self.rungs,
            self.empty
        )?;
        for process in &self.processes {
            let how = process.status.map_or("lives".to_owned(), |status| status.to_string());
            let when = process.ended_after.map_or(String::new(), |after| format!(" after {after:?}"));
            let by = process.rung.map_or(String::new(), |rung| format!(", signalled in step {}", rung + 1));
            let refused =
                process.refused.map_or(String::new(), |refused| format!(", not signalled: {refused:?}"));
            writeln!(f, "  {} {how}{when}{by}{refused}", process.id)?;
        }
        self.survivors.iter().try_for_each(|survivor| writeln!(f, "  still there: {survivor}"))
    }
}
