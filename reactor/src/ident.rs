//! Who a process is: [`ProcId`], a pid with the number of its birth.

use std::fmt;
use std::str::FromStr;

/// A process as it was born: its pid and a birth number that is never given twice by one reactor (K2).
///
/// A pid alone is re-used by the kernel and is only ever an input. Two `ProcId`s of one reactor are equal
/// exactly if they are the same process. Birth numbers rise in the order in which the reactor learnt of the
/// processes; they say nothing to another reactor or to a later run of the program.
///
/// Printed and parsed as `PID:BIRTH`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcId {
    pid: u32,
    birth: u64,
}

impl ProcId {
    /// For sources and tests: whoever makes up birth numbers answers for their being unique.
    pub const fn new(pid: u32, birth: u64) -> Self {
        Self { pid, birth }
    }

    /// The process id, in the pid namespace of this program.
    pub const fn pid(self) -> u32 {
        self.pid
    }

    /// The birth number.
    pub const fn birth(self) -> u64 {
        self.birth
    }
}

impl fmt::Display for ProcId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.pid, self.birth)
    }
}

/// The text was not `PID:BIRTH`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a process identity: want PID:BIRTH, two decimal numbers")]
pub struct ParseProcIdError;

impl FromStr for ProcId {
    type Err = ParseProcIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (pid, birth) = text.split_once(':').ok_or(ParseProcIdError)?;
        Ok(Self {
            pid: pid.parse().map_err(|_| ParseProcIdError)?,
            birth: birth.parse().map_err(|_| ParseProcIdError)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_and_parses() {
        let id = ProcId::new(4242, 17);
        assert_eq!(id.to_string(), "4242:17");
        assert_eq!("4242:17".parse(), Ok(id));
        for bad in ["", "1", ":", "1:", ":1", "a:1", "1:b", "-1:1", "4294967296:1"] {
            assert_eq!(bad.parse::<ProcId>(), Err(ParseProcIdError), "{bad:?}");
        }
    }
}
