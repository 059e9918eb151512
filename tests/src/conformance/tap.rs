//! The Test Anything Protocol, version 13, on standard output: a plan, a line for each test, the rest as comments and YAML.

use std::io::{self, Write};

/// Counts what it prints.
#[derive(Debug)]
pub(crate) struct Tap<W: Write> {
    out: W,
    planned: usize,
    printed: usize,
    failed: usize,
}

impl<W: Write> Tap<W> {
    pub(crate) fn begin(mut out: W, planned: usize) -> io::Result<Self> {
        writeln!(out, "TAP version 13")?;
        writeln!(out, "1..{planned}")?;
        Ok(Self { out, planned, printed: 0, failed: 0 })
    }

    fn line(&mut self, what: &str, name: &str, directive: &str) -> io::Result<()> {
        self.printed += 1;
        writeln!(self.out, "{what} {} - {}{directive}", self.printed, plain(name))?;
        self.out.flush()
    }

    pub(crate) fn ok(&mut self, name: &str) -> io::Result<()> {
        self.line("ok", name, "")
    }

    pub(crate) fn skip(&mut self, name: &str, why: &str) -> io::Result<()> {
        self.line("ok", name, &format!(" # SKIP {}", why.replace('\n', " ")))
    }

    /// With what else is to be told of it, by name.
    pub(crate) fn not_ok(&mut self, name: &str, told: &[(&str, &str)]) -> io::Result<()> {
        self.failed += 1;
        self.line("not ok", name, "")?;
        writeln!(self.out, "  ---")?;
        for (key, text) in told {
            writeln!(self.out, "  {key}: |")?;
            for line in text.lines() {
                writeln!(self.out, "    {line}")?;
            }
        }
        writeln!(self.out, "  ...")?;
        self.out.flush()
    }

    pub(crate) fn comment(&mut self, text: &str) -> io::Result<()> {
        for line in text.lines() {
            writeln!(self.out, "# {line}")?;
        }
        self.out.flush()
    }

    /// Whether all was as planned, and good.
    pub(crate) fn end(mut self) -> io::Result<bool> {
        self.comment(&format!("{} planned, {} run, {} failed", self.planned, self.printed, self.failed))?;
        Ok(self.failed == 0 && self.printed == self.planned)
    }
}

/// `#` begins a directive.
fn plain(name: &str) -> String {
    name.replace('#', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(planned: usize, print: impl FnOnce(&mut Tap<&mut Vec<u8>>)) -> (bool, String) {
        let mut out = Vec::new();
        let mut tap = Tap::begin(&mut out, planned).unwrap();
        print(&mut tap);
        let good = tap.end().unwrap();
        (good, String::from_utf8(out).unwrap())
    }

    #[test]
    fn lines() {
        let (good, text) = printed(3, |tap| {
            tap.ok("one").unwrap();
            tap.skip("two", "not\nhere").unwrap();
            tap.not_ok("th#ree", &[("message", "left: 1\nright: 2")]).unwrap();
        });
        assert!(!good);
        assert_eq!(
            text,
            "TAP version 13\n1..3\nok 1 - one\nok 2 - two # SKIP not here\nnot ok 3 - three\n  ---\n  message: |\n    \
             left: 1\n    right: 2\n  ...\n# 3 planned, 3 run, 1 failed\n"
        );
    }

    #[test]
    fn a_plan_that_was_not_kept_is_no_success() {
        assert!(printed(1, |tap| tap.ok("one").unwrap()).0);
        assert!(!printed(2, |tap| tap.ok("one").unwrap()).0);
        assert!(!printed(0, |tap| tap.ok("one").unwrap()).0);
    }
}
