//! Whether a source works here, found by opening it, and why not.

use super::open::{OpenOptions, SourceName};
use super::system;
use crate::error::SourceError;
use crate::source::Capabilities;

/// What opening a source came to. It has been closed again.
#[derive(Debug)]
#[non_exhaustive]
pub struct Probe {
    /// Which one.
    pub name: SourceName,
    /// What it can do, or why it cannot be used here.
    pub outcome: Result<Usable, SourceError>,
}

/// A source that works here.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usable {
    /// What streams over it can promise.
    pub capabilities: Capabilities,
    /// What else is worth knowing of it, for people ([`Source::details`](crate::Source::details)).
    pub details: Vec<(&'static str, String)>,
}

impl Probe {
    /// The one that [`open`](crate::open) would choose of these, if it could.
    pub fn default_of(probes: &[Self]) -> Option<SourceName> {
        let works =
            |name: &&SourceName| probes.iter().any(|probe| probe.name == **name && probe.outcome.is_ok());
        SourceName::TRIED.iter().find(works).copied()
    }
}

/// Opens the source `name`, whatever `options` say of that, and closes it again.
pub fn probe(name: SourceName, options: &OpenOptions) -> Probe {
    Probe { name, outcome: try_out(name, options) }
}

/// [`probe`] of every source that there is, one after the other, so that none has to share with another.
pub fn probe_all(options: &OpenOptions) -> Vec<Probe> {
    SourceName::ALL.iter().map(|&name| probe(name, options)).collect()
}

fn try_out(name: SourceName, options: &OpenOptions) -> Result<Usable, SourceError> {
    let source = system::open(name, options)?;
    let usable = Usable { capabilities: source.capabilities(), details: source.details() };
    // All of them are of no use where processes cannot be listed, and nobody can follow any with them.
    crate::Reactor::new(source)?;
    Ok(usable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::open;

    #[test]
    fn it_says_what_opening_comes_to() {
        let options = OpenOptions::default();
        let probes = probe_all(&options);
        assert_eq!(probes.iter().map(|probe| probe.name).collect::<Vec<_>>(), SourceName::ALL);
        for probe in &probes {
            let forced = OpenOptions { source: Some(probe.name), ..OpenOptions::default() };
            match (&probe.outcome, open(&forced)) {
                (Ok(usable), Ok(source)) => {
                    assert_eq!(
                        (usable.capabilities, source.name()),
                        (source.capabilities(), probe.name.as_str())
                    );
                    assert_eq!(usable.details, source.details());
                }
                (Err(error), Err(tried)) => {
                    assert_eq!(error.to_string(), tried.tried()[0].to_string());
                    assert!(error.to_string().starts_with(probe.name.as_str()), "{error}");
                }
                (probed, opened) => panic!("{probed:?}, {opened:?}"),
            }
        }
        let chosen = open(&options).ok().map(|source| source.name());
        assert_eq!(Probe::default_of(&probes).map(SourceName::as_str), chosen);
    }

    #[test]
    fn reason_and_advice_are_the_error() {
        for name in SourceName::ALL {
            let error =
                SourceError::Refused { source_name: name.as_str(), reason: "why".into(), advice: "do" };
            assert_eq!(error.to_string(), format!("{name}: {}; {}", error.reason(), error.advice().unwrap()));
            let error = SourceError::Unsupported { source_name: name.as_str() };
            assert_eq!((error.to_string(), error.advice()), (format!("{name}: {}", error.reason()), None));
        }
        let error = std::io::Error::from_raw_os_error(libc::EPERM);
        let error = SourceError::Call { source_name: "perf", call: "opening", error, advice: "do" };
        assert_eq!(error.to_string(), format!("perf: {}; do", error.reason()));
    }
}
