//! [`Builder::from_toml`], and the same of a file.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::supervisor::config::document::Document;
use crate::supervisor::config::fault::{ConfigError, FaultKind, Faults};
use crate::supervisor::handle::Builder;

/// The largest file that is read. A larger one is none of these.
const LARGEST: u64 = 1 << 20;

impl Builder {
    /// What a TOML text says, with everything in it that can be said in code but for callbacks ([`Output::Lines`](crate::supervisor::Output::Lines)) and
    /// [`StopPlan::cgroup`](crate::StopPlan::cgroup). More can be said in code then, and services can be added that need those of the text.
    ///
    /// Each service is a table `[service.NAME]`; they are started after those that they need, and else in the order of the text. Nothing of it is looked up: no
    /// names of users or hosts, no variables in texts, no shell.
    ///
    /// ```
    /// use proc_watch::supervisor::{Builder, ConfigError};
    ///
    /// let builder = Builder::from_toml("[service.web]\ncommand = [\"web-server\", \"--port\", \"8080\"]\nready_within = \"20s\"")?;
    ///
    /// let error = Builder::from_toml("[service.web]\ncommand = [\"web\"]\nready_within = \"5 parsecs\"").unwrap_err();
    /// let ConfigError::Wrong { faults, .. } = &error else { unreachable!() };
    /// assert_eq!((faults[0].line, faults[0].column, &*faults[0].key), (3, 16, "service.web.ready_within"));
    /// # Ok::<(), ConfigError>(())
    /// ```
    ///
    /// A text with every key that there is:
    ///
    /// ```toml
    #[doc = include_str!("whole.toml")]
    /// ```
    ///
    /// What each key means, with its unit and default, is in `docs/guide/supervise-toml.md`.
    ///
    /// # Errors
    /// All that is wrong with the text, with lines, columns and keys: what is no TOML, or else keys that there are not, values that cannot be, and
    /// services that make no sense together.
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        let Document { services, strategy, auto_shutdown, intensity, state_file, on_death } =
            Document::parse(text)?;
        let mut builder = Self::default()
            .services(services)
            .strategy(strategy)
            .auto_shutdown(auto_shutdown)
            .on_death(on_death);
        if let Some(intensity) = intensity {
            builder = builder.intensity(intensity.restarts, intensity.period);
        }
        if let Some(state_file) = state_file {
            builder = builder.state_file(state_file);
        }
        Ok(builder)
    }

    /// What a TOML file says, as [`from_toml`](Self::from_toml). Paths in it are relative to where this program is, not to the file. It must not have more than
    /// 1 MiB.
    ///
    /// # Errors
    /// It cannot be read, or what it says is wrong: `FILE:LINE:COLUMN: KEY: ..`.
    pub fn from_toml_file(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let path = path.as_ref();
        let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
        let bytes = read(path).map_err(unreadable)?;
        let text = match std::str::from_utf8(&bytes) {
            Ok(text) => Self::from_toml(text),
            Err(error) => Err(not_text(&bytes, error.valid_up_to())),
        };
        text.map_err(|error| match error {
            ConfigError::Wrong { faults, more, .. } => {
                ConfigError::Wrong { path: Some(path.to_owned()), faults, more }
            }
            other => other,
        })
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it has more than 1 MiB"));
    }
    Ok(bytes)
}

/// It is text up to there.
fn not_text(bytes: &[u8], end: usize) -> ConfigError {
    let mut faults = Faults::default();
    let why = format!("byte 0x{:02x} is not UTF-8", bytes[end]);
    faults.add(end, "", FaultKind::Syntax { why });
    faults.tell(&String::from_utf8_lossy(&bytes[..end]))
}
