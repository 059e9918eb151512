//! What a process runs, as far as it could be read in time.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;

/// A field of [`Metadata`]: its value, or why there is none (K9).
pub type Field<T> = Result<T, Missing>;

/// Why a field of [`Metadata`] is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Missing {
    /// Reading metadata was switched off.
    #[error("metadata is off")]
    Off,
    /// The process had ended, or was a zombie, before it was read.
    #[error("ended before it was read")]
    Gone,
    /// It ran another program before the reading was over, so that what was read may be of that one.
    #[error("replaced by a later exec before it was read")]
    Superseded,
    /// It was about to begin a program, or stopped by a tracer, when it was read, so that what was read may be of a
    /// later exec than this one.
    #[error("not settled when it was read")]
    Unsettled,
    /// The system denied it: another user's process, or one that is not dumpable.
    #[error("permission denied")]
    Denied,
    /// The event was taken in after a loss, too late to be read for that program.
    #[error("read too late, after a loss")]
    Late,
    /// This source or system cannot tell it.
    #[error("not supported by this source")]
    Unsupported,
}

/// What a process runs. Each field is known or says why not, and none is ever that of a later exec (K9).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Metadata {
    /// The program's file.
    pub exe: Field<PathBuf>,
    /// The argument vector. The process itself may have changed it.
    pub argv: Field<Vec<OsString>>,
    /// The working directory.
    pub cwd: Field<PathBuf>,
    /// The effective user id.
    pub uid: Field<u32>,
    /// The command name, at most 15 bytes on Linux.
    pub comm: Field<OsString>,
}

impl Metadata {
    /// All fields missing for the same reason.
    pub fn missing(reason: Missing) -> Self {
        Self { exe: Err(reason), argv: Err(reason), cwd: Err(reason), uid: Err(reason), comm: Err(reason) }
    }

    /// Bytes on the heap, roughly: what a log charges for keeping it.
    pub(crate) fn weight(&self) -> usize {
        let path = |field: &Field<PathBuf>| field.as_ref().map_or(0, |path| path.as_os_str().len());
        size_of::<Self>()
            + path(&self.exe)
            + path(&self.cwd)
            + self.comm.as_ref().map_or(0, |comm| comm.len())
            + self
                .argv
                .as_ref()
                .map_or(0, |argv| argv.iter().map(|arg| arg.len() + size_of::<OsString>()).sum::<usize>())
    }
}

impl fmt::Display for Metadata {
    /// The argument vector, or else the program, or why neither is known.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.argv, &self.exe) {
            (Ok(argv), _) => {
                let mut words = argv.iter();
                if let Some(word) = words.next() {
                    f.write_str(&quoted(word))?;
                }
                words.try_for_each(|word| write!(f, " {}", quoted(word)))
            }
            (Err(_), Ok(exe)) => f.write_str(&quoted(exe.as_os_str())),
            (Err(reason), Err(_)) => write!(f, "({reason})"),
        }
    }
}

/// As a shell would take it, with control characters made visible.
fn quoted(word: &OsStr) -> String {
    let text = word.to_string_lossy();
    let plain = |c: char| c.is_alphanumeric() || "-_./=:,+@%^".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.into_owned();
    }
    let visible: String = text
        .chars()
        .flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] })
        .collect();
    format!("'{}'", visible.replace('\'', "'\\''"))
}
