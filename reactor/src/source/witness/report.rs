//! What the audit of two witnesses came to.

use std::fmt;

/// What one witness has told of one pid: of all processes that had it while it was watched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Told {
    /// Births.
    pub births: u32,
    /// Programs begun.
    pub execs: u32,
    /// Ends of whole processes.
    pub ends: u32,
}

impl Told {
    /// All of them.
    pub(super) fn total(self) -> u32 {
        self.births + self.execs + self.ends
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { births, execs, ends } = *self;
        let plural = |count| if count == 1 { "" } else { "s" };
        write!(
            f,
            "{births} birth{}, {execs} exec{}, {ends} end{}",
            plural(births),
            plural(execs),
            plural(ends)
        )
    }
}

/// Two witnesses told different things of one pid.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Disagreement {
    /// The pid.
    pub pid: u32,
    /// The names of the two sources, the first one first.
    pub names: [&'static str; 2],
    /// What the first told, which is what the streams are made of.
    pub first: Told,
    /// What the second told.
    pub second: Told,
    /// When it was found, in nanoseconds of the monotonic clock.
    pub time: u64,
}

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pid, names: [one, other], first, second, .. } = self;
        write!(f, "process {pid}: {one} told of {first}; {other} of {second}")
    }
}

/// What holding two sources against each other has come to so far: [`Reactor::witnesses`](crate::Reactor::witnesses).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WitnessReport {
    /// Births, execs and ends that both told of.
    pub agreed: u64,
    /// Processes whose whole life both told alike.
    pub processes: u64,
    /// Processes of which one has told what the other has not told yet.
    pub open: usize,
    /// Processes that were not compared to their end: one of the two lost records while they lived, could not see into them, was
    /// not let attach to them, or need not have seen what they did while it attached.
    pub exempt: u64,
    /// Records that the second lost. What the first loses the streams tell.
    pub lost_by_second: u64,
    /// What they told differently, the first 1,000.
    pub disagreements: Vec<Disagreement>,
    /// Disagreements beyond those.
    pub further: u64,
    /// Why the second witness is silent, if it broke: nothing is compared since.
    pub silent: Option<String>,
}

impl WitnessReport {
    /// All disagreements.
    pub fn disagreed(&self) -> u64 {
        self.disagreements.len() as u64 + self.further
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_as_a_sentence() {
        let disagreement = Disagreement {
            pid: 123,
            names: ["cn_proc", "perf"],
            first: Told { births: 1, execs: 1, ends: 1 },
            second: Told { births: 1, execs: 0, ends: 2 },
            time: 0,
        };
        let text = "process 123: cn_proc told of 1 birth, 1 exec, 1 end; perf of 1 birth, 0 execs, 2 ends";
        assert_eq!(disagreement.to_string(), text);
    }
}
