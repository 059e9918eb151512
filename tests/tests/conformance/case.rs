//! What a case is, and how the table of them is written.

use proc_reactor::SourceName;

use crate::world::World;

/// One thing that a rule says, shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// `C1` to `C41`, or `USER` for user events.
    pub(crate) rule: &'static str,
    /// What is so, in one sentence; stands in `docs/differences.md`.
    pub(crate) what: &'static str,
    pub(crate) run: fn(&mut World),
    pub(crate) gates: &'static [Gate],
    /// What other kernels do, and why it is otherwise here.
    pub(crate) difference: Option<&'static str>,
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
}

impl Gate {
    /// Why not on this source; on the scripted one, if there is none.
    pub(crate) fn closed(self, on: Option<SourceName>) -> Option<&'static str> {
        match (self, on) {
            (Self::Scripted(why), None) | (Self::Real(why), Some(_)) => Some(why),
            (Self::Source(name, why), Some(on)) if name == on => Some(why),
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

impl Case {
    pub(crate) const fn differs(self, difference: &'static str) -> Self {
        Self { difference: Some(difference), ..self }
    }

    pub(crate) const fn gated(self, gates: &'static [Gate]) -> Self {
        Self { gates, ..self }
    }
}
