//! Arguments.

/// Roles begin with this, so that nobody takes one for an option.
const ROLE: &str = "role:";

/// What a program was started for by itself, and the arguments of that; none if by a person.
pub fn role() -> Option<(String, Vec<String>)> {
    let mut arguments = std::env::args().skip(1);
    let role = arguments.next()?.strip_prefix(ROLE)?.to_owned();
    Some((role, arguments.collect()))
}

/// The first argument that gives a role to this program started again.
pub fn as_role(role: &str) -> String {
    format!("{ROLE}{role}")
}

/// What a person may ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Little of everything, to see that it works; the numbers mean nothing.
    pub quick: bool,
    /// Everything on this one processor.
    pub pin: Option<usize>,
    /// Rounds.
    pub rounds: Option<usize>,
    /// Iterations instead of the usual number.
    pub iterations: Option<u64>,
    /// Only the rows whose names are these.
    pub only: Vec<String>,
}

impl Options {
    /// From the command line. Prints how it is used and ends the program if it cannot be understood.
    pub fn from_command_line() -> Self {
        Self::parse(std::env::args().skip(1)).unwrap_or_else(|error| {
            eprintln!(
                "{error}\noptions: --quick, --pin CPU, --rounds N, --iterations N, --only NAME (repeatable)"
            );
            std::process::exit(2);
        })
    }

    fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let mut options = Self::default();
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{argument} takes a value"));
            let number = |text: String| text.parse::<u64>().map_err(|_| format!("{text:?} is not a number"));
            match argument.as_str() {
                "--quick" => options.quick = true,
                "--pin" => options.pin = Some(number(value()?)? as usize),
                "--rounds" => options.rounds = Some(number(value()?)?.max(1) as usize),
                "--iterations" => options.iterations = Some(number(value()?)?.max(1)),
                "--only" => options.only.push(value()?),
                other => return Err(format!("unknown option {other:?}")),
            }
        }
        Ok(options)
    }

    /// Whether a row is asked for.
    pub fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == name)
    }

    /// The number of rounds: as asked, or one of these.
    pub fn rounds(&self, usual: usize, quick: usize) -> usize {
        self.rounds.unwrap_or(if self.quick { quick } else { usual })
    }

    /// The number of iterations: as asked, or one of these.
    pub fn iterations(&self, usual: u64, quick: u64) -> u64 {
        self.iterations.unwrap_or(if self.quick { quick } else { usual })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        Options::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn options() {
        let options = parse("--quick --pin 1 --only none --only bare").unwrap();
        assert!(options.quick && options.wants("bare") && !options.wants("strace"));
        assert_eq!((options.pin, options.rounds(7, 2), options.iterations(9, 3)), (Some(1), 2, 3));
        assert_eq!(parse("--rounds 3").unwrap().rounds(7, 2), 3);
        assert!(parse("--pin").is_err() && parse("--pin x").is_err() && parse("--slow").is_err());
    }
}
