//! `proc-watch doctor`: which sources work here, what to do about those that do not, and what streams can promise.

use std::fmt;
use std::io::{self, ErrorKind, IsTerminal, Write};

use proc_watch::{Capabilities, OpenOptions, Probe, SourceName, Usable, probe_all};

use crate::args;
use crate::json;
use crate::refusal::Refusal;
use crate::text::Styles;

/// Returns the exit status to end with.
pub(crate) fn doctor(asked: &args::Doctor) -> Result<u8, Refusal> {
    let probes = probe_all(&OpenOptions::default());
    let mut out = Vec::new();
    if asked.json {
        json::write_probes(&probes, &mut out);
    } else {
        let styles = Styles::choose(io::stdout().is_terminal());
        write!(out, "{}", Findings { probes: &probes, styles: &styles }).expect("a Vec takes everything");
    }
    match io::stdout().write_all(&out) {
        // Whoever reads has seen enough.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            return Err(Refusal::own("writing to standard output")(error));
        }
        _ => {}
    }
    Ok(u8::from(Probe::default_of(&probes).is_none()))
}

/// All of it, for people.
struct Findings<'a> {
    probes: &'a [Probe],
    styles: &'a Styles,
}

impl fmt::Display for Findings<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Styles { heading, bad, .. } = self.styles;
        let default = Probe::default_of(self.probes);
        for Probe { name, outcome, .. } in self.probes {
            write!(f, "{heading}{:<8}{heading:#}", name.as_str())?;
            match outcome {
                Ok(usable) => {
                    let chosen = if default == Some(*name) { ", the default" } else { "" };
                    writeln!(f, "works{chosen}{}", Details(usable))?;
                }
                Err(error) => {
                    writeln!(f, "{bad}does not work{bad:#}: {}", error.reason())?;
                    error.advice().map_or(Ok(()), |advice| writeln!(f, "{:8}{advice}", ""))?;
                }
            }
        }
        let chosen = self.probes.iter().find(|probe| default == Some(probe.name));
        match chosen.and_then(|probe| probe.outcome.as_ref().ok()) {
            Some(usable) => Promises { of: &usable.capabilities, default, styles: self.styles }.fmt(f),
            None => writeln!(f, "\n{bad}No source works here: no processes can be watched.{bad:#}"),
        }
    }
}

struct Details<'a>(&'a Usable);

impl fmt::Display for Details<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (name, value)) in self.0.details.iter().enumerate() {
            write!(f, "{} {}: {value}", if number == 0 { ";" } else { "," }, name.replace('_', " "))?;
        }
        Ok(())
    }
}

/// What streams over the default can promise, in plain words.
struct Promises<'a> {
    of: &'a Capabilities,
    default: Option<SourceName>,
    styles: &'a Styles,
}

impl fmt::Display for Promises<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Styles { heading, .. } = self.styles;
        let name = self.default.map_or("", SourceName::as_str);
        writeln!(f, "\n{heading}Streams over {name}{heading:#}")?;
        for (what, said) in promises(self.of) {
            writeln!(f, "  {what:<10}{said}")?;
        }
        Ok(())
    }
}

fn promises(of: &Capabilities) -> [(&'static str, &'static str); 5] {
    let either = |is: bool, yes, no| if is { yes } else { no };
    [
        (
            "tree",
            either(
                of.exact_tree,
                "nobody of it is missed in silence",
                "processes of it may be missed in silence",
            ),
        ),
        (
            "statuses",
            either(
                of.statuses,
                "of every process",
                "of own children; of others where they can be read in time, else unknown",
            ),
        ),
        (
            "losses",
            either(
                of.counts_losses,
                "told, with how many records were lost, and repaired as far as can be",
                "told, without a number, and repaired as far as can be",
            ),
        ),
        (
            "attach",
            match (of.attach, of.whole_machine) {
                (true, true) => "to any process that runs already, with all that descend from it",
                (true, false) => "to processes that run already and that this user may look into",
                (false, _) => "no: only what is started through proc-watch can be watched",
            },
        ),
        (
            "scope",
            either(
                of.whole_machine,
                "the kernel tells of every process of the machine",
                "the kernel tells of the watched trees only",
            ),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_promise_is_worded_both_ways() {
        let all = Capabilities::all();
        let mut none = all;
        none.exact_tree = false;
        none.statuses = false;
        none.counts_losses = false;
        none.attach = false;
        none.whole_machine = false;
        for (yes, no) in promises(&all).iter().zip(promises(&none)) {
            assert_eq!(yes.0, no.0);
            assert_ne!(yes.1, no.1);
        }
    }
}
