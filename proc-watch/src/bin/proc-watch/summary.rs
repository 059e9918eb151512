//! The summary at the end, for people.

use std::fmt;

use proc_watch::{ExitStatus, WitnessReport};

use crate::tally::{Life, Tally};
use crate::text::{Seconds, Styles, brief};
use crate::usage::Usage;

/// Of those who were left behind, so many are listed.
pub(crate) const LISTED: usize = 20;

/// What there is to say when the watching ends.
pub(crate) struct Summary<'a> {
    /// The command, as it was asked for.
    pub(crate) program: &'a str,
    /// How it ended, as its parent was told.
    pub(crate) status: ExitStatus,
    pub(crate) tally: &'a Tally,
    /// `None` if the system would not tell.
    pub(crate) usage: Option<Usage>,
    pub(crate) metadata: bool,
    /// What two witnesses agreed on, if there were two.
    pub(crate) witnesses: Option<&'a WitnessReport>,
    pub(crate) styles: &'a Styles,
}

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.heading(f)?;
        self.counts(f)?;
        self.failures(f)?;
        self.longest(f)?;
        self.usage(f)?;
        self.left_behind(f)?;
        self.losses(f)?;
        self.witnesses.map_or(Ok(()), |report| write!(f, "{}", Witnesses { report, styles: self.styles }))
    }
}

impl Summary<'_> {
    fn heading(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { program, status, tally, styles: Styles { heading, .. }, .. } = self;
        write!(f, "{heading}proc-watch: {program}: {status}{heading:#}")?;
        if let Some(leader) = &tally.leader {
            write!(f, " after {} s", Seconds(leader.lasted))?;
        }
        writeln!(f, "; watched for {} s", Seconds(tally.lasted()))
    }

    fn counts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally { processes, execs, execs_with_argv, exits, unknown, .. } = self.tally;
        writeln!(f, "  processes      {processes}, of which {exits} ended")?;
        let of_exits = Share { part: *unknown, of: *exits };
        writeln!(f, "  status unknown {unknown} of {exits} ({of_exits})")?;
        if self.metadata {
            let of_execs = Share { part: *execs_with_argv, of: *execs };
            writeln!(f, "  execs          {execs}, command line known of {execs_with_argv} ({of_execs})")
        } else {
            writeln!(f, "  execs          {execs}, command lines not read")
        }
    }

    fn failures(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failed = self.tally.failed;
        writeln!(f, "  failures       {failed}")?;
        let (first, last) = self.tally.failures();
        first.iter().try_for_each(|life| self.life(f, life))?;
        let last: Vec<_> = last.collect();
        let between = failed.saturating_sub((first.len() + last.len()) as u64);
        if between > 0 {
            writeln!(f, "    ... {between} more, see the events ...")?;
        }
        last.into_iter().try_for_each(|life| self.life(f, life))
    }

    fn longest(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  longest-lived")?;
        self.tally.longest().iter().try_for_each(|life| self.life(f, life))
    }

    /// A line about one process.
    fn life(&self, f: &mut fmt::Formatter<'_>, life: &Life) -> fmt::Result {
        let (pid, lasted, command) = (life.id.pid(), Seconds(life.lasted), brief(life.metadata.as_deref()));
        let (style, status) = match life.status {
            Some(status) => (self.styles.of(status), status.to_string()),
            None => (self.styles.odd, "still runs".to_owned()),
        };
        writeln!(f, "    {pid} {style}{status}{style:#} after {lasted} s: {command}")
    }

    fn usage(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(usage) = self.usage else { return Ok(()) };
        const COVERS: &str = "of the command and what it waited for";
        let (user, system) = (Seconds(usage.user), Seconds(usage.system));
        writeln!(f, "  CPU time       {user} s user, {system} s system ({COVERS})")?;
        if usage.peak > 0 {
            let mebibytes = usage.peak as f64 / f64::from(1 << 20);
            writeln!(f, "  peak memory    {mebibytes:.1} MiB in the largest single process ({COVERS})")?;
        }
        Ok(())
    }

    fn left_behind(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let living = self.tally.tree.len_living();
        if living == 0 {
            return writeln!(f, "  left behind    nobody");
        }
        let known = if self.tally.failure.is_some() { ", as far as was seen" } else { "" };
        writeln!(f, "  left behind    {living}{known}")?;
        self.tally.living().take(LISTED).try_for_each(|life| self.life(f, &life))?;
        if living > LISTED { writeln!(f, "    ... {} more", living - LISTED) } else { Ok(()) }
    }

    fn losses(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally { lost, losses, lost_exactly, missed, gaps, unseen, failure, .. } = self.tally;
        let Styles { bad, .. } = self.styles;
        if *losses == 0 && *gaps == 0 {
            writeln!(f, "  lost           nothing")?;
        }
        if *losses > 0 {
            let at_least = if *lost_exactly { "" } else { "at least " };
            let of_all = "records of the source";
            writeln!(f, "  lost           {bad}{at_least}{lost} {of_all}{bad:#}, in {losses} losses")?;
        }
        if *gaps > 0 {
            writeln!(
                f,
                "  not read       {bad}{missed} events came faster than they were read{bad:#}, in {gaps} gaps"
            )?;
        }
        if *unseen > 0 {
            writeln!(
                f,
                "  out of sight   {bad}{unseen} that may not be looked into{bad:#}, and whom they started"
            )?;
        }
        match failure {
            Some(error) => writeln!(f, "  incomplete     {bad}the source failed: {error}{bad:#}"),
            None => Ok(()),
        }
    }
}

/// What two witnesses came to.
struct Witnesses<'a> {
    report: &'a WitnessReport,
    styles: &'a Styles,
}

impl fmt::Display for Witnesses<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Styles { bad, .. } = self.styles;
        let WitnessReport { agreed, processes, open, exempt, lost_by_second, disagreements, silent, .. } =
            self.report;
        write!(f, "  witnesses      agree on {agreed} births, execs and ends of {processes} processes")?;
        let disagreed = self.report.disagreed();
        if disagreed > 0 {
            write!(f, "; {bad}disagree on {disagreed}{bad:#}")?;
        }
        if *open > 0 {
            write!(f, "; {bad}one has yet to tell what the other has told of {open}{bad:#}")?;
        }
        if *exempt > 0 {
            write!(f, "; {exempt} not compared")?;
        }
        if *lost_by_second > 0 {
            write!(f, "; the second lost {lost_by_second} records")?;
        }
        if let Some(error) = silent {
            write!(f, "; {bad}the second failed: {error}{bad:#}")?;
        }
        writeln!(f)?;
        disagreements.iter().take(LISTED).try_for_each(|one| writeln!(f, "    {one}"))?;
        let more = disagreed.saturating_sub(LISTED.min(disagreements.len()) as u64);
        if more > 0 { writeln!(f, "    ... {more} more") } else { Ok(()) }
    }
}

/// A percentage that is 0 or 100 only if it is exactly that.
struct Share {
    part: u64,
    of: u64,
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { part, of } = *self;
        if of == 0 {
            return f.write_str("of none");
        }
        let percent = 100.0 * part as f64 / of as f64;
        match part {
            0 => f.write_str("0%"),
            _ if part == of => f.write_str("100%"),
            _ => write!(f, "{:.1}%", percent.clamp(0.1, 99.9)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_witnesses_came_to_is_one_line_and_those_that_differ() {
        let styles = Styles::default();
        let mut report = WitnessReport::default();
        let said = |report: &WitnessReport| Witnesses { report, styles: &styles }.to_string();
        let agree = "  witnesses      agree on 0 births, execs and ends of 0 processes";
        assert_eq!(said(&report), format!("{agree}\n"));
        (report.further, report.open, report.exempt, report.lost_by_second) = (3, 4, 5, 6);
        report.silent = Some("it broke".to_owned());
        let all = "; disagree on 3; one has yet to tell what the other has told of 4; 5 not compared; the second \
                   lost 6 records; the second failed: it broke\n    ... 3 more\n";
        assert_eq!(said(&report), format!("{agree}{all}"));
    }

    #[test]
    fn a_share_is_never_rounded_to_all_or_nothing() {
        let share = |part, of| Share { part, of }.to_string();
        assert_eq!(share(0, 0), "of none");
        assert_eq!(share(0, 7), "0%");
        assert_eq!(share(7, 7), "100%");
        assert_eq!(share(1, 1_000_000), "0.1%");
        assert_eq!(share(999_999, 1_000_000), "99.9%");
        assert_eq!(share(1, 3), "33.3%");
    }
}
