//! The program's command line. Read by hand: the program has nothing but std and this project's crates.

use std::ffi::OsString;
use std::time::Duration;

use proc_reactor::SourceName;

use super::case::{Case, Place};
use super::table::cases;

pub(crate) const HELP: &str = "\
usage: conformance [OPTIONS]

Runs the rules of kqueue's EVFILT_PROC, as this project keeps them, on the kernel's own kqueue (where there is one), and on
this project's queue over a script and over each source that works here. Prints TAP, and for each case a line
`# RULE CASE: native: ... | ours: ... | profile: ...`. What the kernel does otherwise is no failure.
Exit code 0: all is so; 1: something is not, or hung; 2: the options are wrong.

  --source NAME         this source only (may be repeated); `script` is one
  --only WORD           the cases of this rule, or with this word in their names (may be repeated)
  --no-native           do not ask the kernel's own kqueue
  --time-limit SECONDS  how long one case may take (300)
  --break CASE          falsify this case: what it expects is not what there is
  --hang CASE           let this case hang
";
/// The one argument before a case's name of a process that asks the kernel.
pub(crate) const NATIVE_CASE: &str = "--native-case";
/// Longer than any step of a case may take.
const TIME_LIMIT: Duration = Duration::from_secs(300);

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// Empty: all that there are.
    pub(crate) places: Vec<Place>,
    pub(crate) only: Vec<String>,
    pub(crate) native: bool,
    pub(crate) time_limit: Duration,
    pub(crate) broken: Option<String>,
    pub(crate) hanging: Option<String>,
    /// Nothing but this case, on the kernel's own queue.
    pub(crate) native_case: Option<&'static str>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            places: Vec::new(),
            only: Vec::new(),
            native: true,
            time_limit: TIME_LIMIT,
            broken: None,
            hanging: None,
            native_case: None,
        }
    }
}

impl Options {
    /// # Errors
    /// What is wrong; [`HELP`] says how it should be.
    pub(crate) fn parse(arguments: &[OsString]) -> Result<Self, String> {
        let mut options = Self::default();
        let mut words = arguments.iter().map(|argument| argument.to_string_lossy());
        while let Some(option) = words.next() {
            let mut value = || words.next().ok_or(format!("{option} wants a value"));
            match &*option {
                "--source" => options.places.push(place(&value()?)?),
                "--only" => options.only.push(value()?.into_owned()),
                "--no-native" => options.native = false,
                "--time-limit" => {
                    let seconds = value()?.parse().map_err(|error| format!("{option}: {error}"))?;
                    options.time_limit = Duration::from_secs(seconds);
                }
                "--break" => options.broken = Some(named(&value()?)?.name.to_owned()),
                "--hang" => options.hanging = Some(named(&value()?)?.name.to_owned()),
                NATIVE_CASE => options.native_case = Some(named(&value()?)?.name),
                // What FreeBSD's kernel gives to the first process.
                "--" => {}
                _ => return Err(format!("no option {option}")),
            }
        }
        let any = |word: &String| cases().any(|case| matches(case, word));
        match options.only.iter().find(|word| !any(word)) {
            Some(word) => Err(format!("--only {word}: no case is of that rule, or has that in its name")),
            None => Ok(options),
        }
    }

    pub(crate) fn wants(&self, case: &Case) -> bool {
        match self.native_case {
            Some(name) => case.name == name,
            None => self.only.is_empty() || self.only.iter().any(|word| matches(case, word)),
        }
    }
}

fn matches(case: &Case, word: &str) -> bool {
    case.rule == word || case.name.contains(word)
}

fn named(name: &str) -> Result<&'static Case, String> {
    cases().find(|case| case.name == name).ok_or(format!("no case {name}"))
}

fn place(name: &str) -> Result<Place, String> {
    match name {
        "script" => Ok(Place::Script),
        _ => name.parse::<SourceName>().map(Place::Source),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Options, String> {
        Options::parse(&words.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn as_the_help_says() {
        assert_eq!(parse(&[]), Ok(Options::default()));
        let words = ["--source", "script", "--source", "perf", "--only", "C18", "--time-limit", "7"];
        let options = parse(&words).unwrap();
        assert_eq!(options.places, [Place::Script, Place::Source(SourceName::Perf)]);
        assert_eq!((options.time_limit, options.native), (Duration::from_secs(7), true));
        let wanted: Vec<&str> = cases().filter(|case| options.wants(case)).map(|case| case.rule).collect();
        assert!(!wanted.is_empty() && wanted.iter().all(|rule| *rule == "C18"), "{wanted:?}");
        assert_eq!(parse(&["--break", "exec"]).unwrap().broken.as_deref(), Some("exec"));
    }

    #[test]
    fn wrong_ones() {
        for words in [
            &["--sauce"][..],
            &["--source"],
            &["--source", "sauce"],
            &["--only", "C99"],
            &["--break", "C18"],
            &["--time-limit", "soon"],
        ] {
            assert!(parse(words).is_err(), "{words:?}");
        }
    }
}
