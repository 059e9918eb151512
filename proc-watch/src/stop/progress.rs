//! [`Progress`]: how far a stopping has come.

use std::fmt;
use std::time::Duration;

use crate::stop::plan::Rung;
use crate::stop::survivor::Survivor;

/// How far a stopping has come.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Progress {
    /// How many rungs have been climbed.
    pub rungs: usize,
    /// The last of them.
    pub rung: Option<Rung>,
    /// Since the call.
    pub elapsed: Duration,
    /// How many live.
    pub living: usize,
    /// Who, parents first: the first 32.
    pub survivors: Vec<Survivor>,
}

impl fmt::Display for Progress {
    /// Some lines, for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} s: {} live", self.elapsed.as_secs_f64(), self.living)?;
        if let Some(rung) = self.rung {
            write!(f, " (step {}: {rung})", self.rungs)?;
        }
        self.survivors.iter().try_for_each(|survivor| write!(f, "\n  {survivor}"))?;
        match self.living - self.survivors.len().min(self.living) {
            0 => Ok(()),
            more => write!(f, "\n  and {more} more"),
        }
    }
}
