//! Events as text, for people: a line each, indented by the depth in the tree.

use std::env;
use std::fmt;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use proc_watch::{Event, EventKind, ExitStatus, Loss, Metadata};

use crate::tally::Tally;

/// Steps that are shown by indenting; what is deeper stands there too.
const DEEPEST: usize = 24;

/// How what stands out is made to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Styles {
    pub(crate) faint: Style,
    pub(crate) heading: Style,
    pub(crate) bad: Style,
    pub(crate) odd: Style,
}

impl Styles {
    /// Colours, if whoever reads sees them: a terminal that nobody has asked to do without, or one that is said to be
    /// there.
    pub(crate) fn choose(is_terminal: bool) -> Self {
        let set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
        let forced = set("CLICOLOR_FORCE") && env::var_os("CLICOLOR_FORCE").is_some_and(|value| value != "0");
        let dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
        if set("NO_COLOR") || !(forced || is_terminal && !dumb) {
            return Self::default();
        }
        Self {
            faint: Style::new().dimmed(),
            heading: Style::new().bold(),
            bad: AnsiColor::Red.on_default(),
            odd: AnsiColor::Yellow.on_default(),
        }
    }

    pub(crate) fn of(&self, status: ExitStatus) -> Style {
        match status.success() {
            Some(true) => self.faint,
            Some(false) => self.bad,
            None => self.odd,
        }
    }
}

/// An event, once it has been applied to `tally`.
pub(crate) struct Line<'a> {
    pub(crate) event: &'a Event,
    pub(crate) tally: &'a Tally,
    pub(crate) styles: &'a Styles,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { event, tally, styles: Styles { faint, bad, odd, .. } } = self;
        let elapsed = Seconds(tally.elapsed(event.time.monotonic()));
        write!(f, "{faint}{elapsed:>9}{faint:#} ")?;
        let about = if let EventKind::Fork { child } = event.kind { child } else { event.id };
        let mut process = || {
            let depth = tally.tree.get(about).map_or(0, |process| process.depth);
            write!(f, "{:1$}{2} ", "", 2 * depth.min(DEEPEST), about.pid())
        };
        match &event.kind {
            EventKind::Fork { .. } if about == tally.tree.root() => {
                process()?;
                write!(f, "{faint}started by proc-watch{faint:#}")
            }
            EventKind::Fork { .. } => {
                process()?;
                write!(f, "{faint}fork of {}{faint:#}", event.id.pid())
            }
            EventKind::Exec { metadata } => {
                process()?;
                write!(f, "exec {metadata}")
            }
            EventKind::Exit { status } => {
                process()?;
                let style = self.styles.of(*status);
                write!(f, "{style}{status}{style:#}")
            }
            EventKind::Found { metadata } => {
                process()?;
                write!(f, "{odd}found{odd:#} {metadata}")
            }
            EventKind::Gap { count, lost, living } => {
                write!(f, "{odd}gap: {count} events were not read in time")?;
                if let Some(lost) = lost {
                    write!(f, "; {lost} of the source were dropped")?;
                }
                write!(f, "; {} processes live{odd:#}", living.len())
            }
            &EventKind::Lost { count, exact } => {
                let lost = Loss { count, exact };
                write!(f, "{bad}lost: {lost} of the source were dropped{bad:#}")
            }
            EventKind::Resync { found, exited } => {
                write!(f, "{odd}right again: {found} processes found, {exited} found to have ended{odd:#}")
            }
            EventKind::Unseen => {
                process()?;
                write!(
                    f,
                    "{bad}out of sight: it may not be looked into, and only its end will be told{bad:#}"
                )
            }
            EventKind::Failed { error } => {
                write!(f, "{bad}nothing more is seen, the source failed: {error}{bad:#}")
            }
            other => write!(f, "{other:?}"),
        }
    }
}

/// Seconds to the millisecond, as wide as asked.
pub(crate) struct Seconds(pub(crate) Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{}.{:03}", self.0.as_secs(), self.0.subsec_millis());
        f.pad(&text)
    }
}

/// A command line, cut where it is long.
pub(crate) fn brief(metadata: Option<&Metadata>) -> String {
    const LONGEST: usize = 160;
    let Some(metadata) = metadata else { return "(not seen)".to_owned() };
    let text = metadata.to_string();
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proc_watch::Missing;

    #[test]
    fn seconds_are_padded_and_never_rounded_up() {
        assert_eq!(format!("{:>9}", Seconds(Duration::from_micros(1_999_999))), "    1.999");
        assert_eq!(Seconds(Duration::ZERO).to_string(), "0.000");
    }

    #[test]
    fn long_command_lines_are_cut_between_characters() {
        let mut metadata = Metadata::missing(Missing::Off);
        assert_eq!(brief(Some(&metadata)), "(metadata is off)");
        metadata.argv = Ok(vec!["é".repeat(300).into()]);
        assert_eq!(brief(Some(&metadata)), "é".repeat(160) + "...");
        metadata.argv = Ok(vec!["é".repeat(160).into()]);
        assert_eq!(brief(Some(&metadata)), "é".repeat(160));
    }
}
