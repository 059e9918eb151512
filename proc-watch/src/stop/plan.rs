//! [`StopPlan`]: which signals, to whom, and how long to wait after each.

use std::time::Duration;

use proc_reactor::{Subtree, signal_name};

use crate::cgroup::Cgroup;

/// A ladder of signals. Each rung is climbed when the time of the one before is over and somebody still lives; whether the leader does
/// makes no difference to that, but to rungs that are for the leader alone.
///
/// ```
/// # use std::time::Duration;
/// use proc_watch::StopPlan;
///
/// // The leader first, then everybody, then by force: the default.
/// let plan = StopPlan::default();
/// // SIGINT to all, ten seconds, SIGKILL.
/// let plan = StopPlan::empty().tree(2, Duration::from_secs(10)).tree(9, Duration::from_secs(10));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StopPlan {
    pub(crate) rungs: Vec<Rung>,
    pub(crate) follow: Duration,
    pub(crate) resume: bool,
    pub(crate) every: Duration,
    pub(crate) cgroup: Option<Cgroup>,
    pub(crate) subtree: Option<Subtree>,
}

/// One step of a [`StopPlan`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rung {
    /// Who gets the signal.
    pub whom: Whom,
    /// Its number.
    pub signal: i32,
    /// How long everybody has to be gone by, before the next rung is climbed.
    pub grace: Duration,
}

/// Whom a [`Rung`] is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whom {
    /// The process that the tree is of, which may see to its children itself.
    Leader,
    /// Everybody who lives, and who is born while the rung's time is not over: all of them if the signal is SIGKILL, else those whose parents
    /// had not had the signal when they were.
    Tree,
}

const SIGTERM: i32 = 15;
const SIGKILL: i32 = 9;
/// What a program has to end by itself: enough to flush what it has, and not so long that whoever waits gives up first.
const GRACE: Duration = Duration::from_secs(5);
/// What the kernel has to end who was killed. Who takes longer waits for a device or a file system.
const KILLED: Duration = Duration::from_secs(10);

impl Default for StopPlan {
    /// SIGTERM to the leader, 5 s; SIGTERM to everybody, 5 s; SIGKILL to everybody, 10 s.
    fn default() -> Self {
        Self::empty().leader(SIGTERM, GRACE).tree(SIGTERM, GRACE).tree(SIGKILL, KILLED)
    }
}

impl StopPlan {
    /// No rung: waits for nobody, and tells who lives.
    pub fn empty() -> Self {
        let (follow, every) = (Duration::from_millis(200), Duration::from_secs(1));
        Self { rungs: Vec::new(), follow, resume: true, every, cgroup: None, subtree: None }
    }

    /// SIGKILL to everybody at once, 10 s.
    pub fn kill() -> Self {
        Self::empty().tree(SIGKILL, KILLED)
    }

    /// SIGTERM to everybody, `grace`, SIGKILL, 10 s.
    pub fn terminate(grace: Duration) -> Self {
        Self::empty().tree(SIGTERM, grace).tree(SIGKILL, KILLED)
    }

    /// Then a signal to the leader, and `grace` for all to be gone.
    pub fn leader(self, signal: i32, grace: Duration) -> Self {
        self.then(Rung { whom: Whom::Leader, signal, grace })
    }

    /// Then a signal to everybody, and `grace` for all to be gone.
    ///
    /// Whoever is born meanwhile gets it too; but for SIGKILL, not who is started by one that has had it already, as a handler starts
    /// what it cleans up with.
    pub fn tree(self, signal: i32, grace: Duration) -> Self {
        self.then(Rung { whom: Whom::Tree, signal, grace })
    }

    fn then(mut self, rung: Rung) -> Self {
        self.rungs.push(rung);
        self
    }

    /// How long those whom an ended leader has left behind have to follow it by themselves, before the next rung is climbed ahead of its
    /// time: 200 ms by default.
    pub fn follow(mut self, time: Duration) -> Self {
        self.follow = time;
        self
    }

    /// Whether SIGCONT follows each signal but SIGKILL, SIGSTOP and SIGCONT, so that who is stopped gets to see it: yes by default.
    pub fn resume(mut self, resume: bool) -> Self {
        self.resume = resume;
        self
    }

    /// How often [`Stop::progress`](crate::Stop::progress) has news while nothing else happens: each second by default.
    pub fn progress_every(mut self, time: Duration) -> Self {
        self.every = time;
        self
    }

    /// The tree began in this [`Cgroup`], and nobody else is in it. Then SIGKILL for everybody is also sent by the kernel to all who are in it, known here or not, and
    /// the tree is empty when the kernel says that the group is, whatever was lost on the way.
    pub fn cgroup(mut self, cgroup: &Cgroup) -> Self {
        self.cgroup = Some(cgroup.clone());
        self
    }

    /// The tree's leader is the child of this [`Subtree`], by which the kernel says who its descendants are (FreeBSD; DragonFly in part). Then SIGKILL for everybody is also
    /// sent by the kernel to all who are in it, known here or not, and the tree is empty when the kernel says that the subtree is, whatever was lost on the
    /// way. For a tree that is another's it does nothing.
    pub fn subtree(mut self, subtree: &Subtree) -> Self {
        self.subtree = Some(subtree.clone());
        self
    }

    /// The rungs, in their order.
    pub fn rungs(&self) -> &[Rung] {
        &self.rungs
    }
}

impl std::fmt::Display for Rung {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let whom = match self.whom {
            Whom::Leader => "the leader",
            Whom::Tree => "everybody",
        };
        match u8::try_from(self.signal).ok().and_then(signal_name) {
            Some(name) => write!(f, "{name} to {whom}, {:?}", self.grace),
            None => write!(f, "signal {} to {whom}, {:?}", self.signal, self.grace),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Row 9 of what users of other tools ask for: nobody is killed who was not asked before, and given time.
    #[test]
    fn the_default_asks_first() {
        let plan = StopPlan::default();
        let (last, before) = plan.rungs().split_last().unwrap();
        assert_eq!((last.whom, last.signal), (Whom::Tree, SIGKILL));
        assert!(before.iter().all(|rung| rung.signal == SIGTERM && rung.grace >= Duration::from_secs(1)));
        assert!(before.iter().any(|rung| rung.whom == Whom::Tree));
        // Row 8: the leader first.
        assert_eq!(before[0].whom, Whom::Leader);
    }

    #[test]
    fn a_rung_in_words() {
        let plan = StopPlan::empty().leader(2, Duration::from_millis(1_500)).tree(34, Duration::ZERO);
        let words: Vec<_> = plan.rungs().iter().map(Rung::to_string).collect();
        assert_eq!(words, ["SIGINT to the leader, 1.5s", "signal 34 to everybody, 0ns"]);
    }
}
