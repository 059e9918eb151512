//! What a case is, and how the table of them is written.

use std::fmt;

use proc_reactor::SourceName;

use super::world::World;

/// One thing that a rule says, shown.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Its own.
    pub name: &'static str,
    /// `C1` to `C41`, or `USER` for user events.
    pub rule: &'static str,
    /// What is so, in one sentence; stands in `docs/differences.md`.
    pub what: &'static str,
    pub(crate) run: fn(&mut World),
    pub(crate) gates: &'static [Gate],
    /// What other kernels do, and why it is otherwise here.
    pub difference: Option<&'static str>,
}

/// Over what a case runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Our queue, over a script.
    Script,
    /// Our queue, over this source and real processes.
    Source(SourceName),
    /// The kernel's own kqueue, and real processes.
    Kernel,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Script => "a script",
            Self::Source(name) => name.as_str(),
            Self::Kernel => "the kernel",
        })
    }
}

/// Where a case does not run, and why.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Gate {
    /// Not by a script.
    Scripted(&'static str),
    /// Not with real processes.
    Real(&'static str),
    /// Not on this source.
    Source(SourceName, &'static str),
    /// Not on a kernel's own queue.
    Kernel(&'static str),
}

impl Case {
    /// Why it does not run there, if it does not.
    pub fn closed(&self, place: Place) -> Option<&'static str> {
        self.gates.iter().find_map(|gate| gate.closed(place))
    }

    pub(crate) const fn differs(self, difference: &'static str) -> Self {
        Self { difference: Some(difference), ..self }
    }

    pub(crate) const fn gated(self, gates: &'static [Gate]) -> Self {
        Self { gates, ..self }
    }
}

impl Gate {
    fn closed(self, place: Place) -> Option<&'static str> {
        match (self, place) {
            (Self::Scripted(why), Place::Script)
            | (Self::Real(why), Place::Source(_) | Place::Kernel)
            | (Self::Kernel(why), Place::Kernel) => Some(why),
            (Self::Source(name, why), Place::Source(on)) if name == on => Some(why),
            _ => None,
        }
    }
}

/// A case that runs everywhere, and where no kernel differs.
pub(crate) const fn case(
    rule: &'static str,
    name: &'static str,
    what: &'static str,
    run: fn(&mut World),
) -> Case {
    Case { name, rule, what, run, gates: &[], difference: None }
}
