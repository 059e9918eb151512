//! [`Refusal`]: why the command was not started, with the exit status that says so.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use proc_watch::{SpawnError, WatcherError};

/// Nothing was started, because of this.
#[derive(Debug)]
pub(crate) enum Refusal {
    NoSource(WatcherError),
    NoOutput {
        path: PathBuf,
        error: io::Error,
    },
    /// Something that every program may do was refused by the system.
    Own {
        step: &'static str,
        error: io::Error,
    },
    NoSuchCommand {
        program: OsString,
    },
    NotExecutable {
        program: OsString,
        error: io::Error,
    },
    Spawn(SpawnError),
}

impl Refusal {
    /// As `env(1)`, `timeout(1)` and the shells have it.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::NoSource(_) | Self::NoOutput { .. } | Self::Own { .. } | Self::Spawn(_) => 125,
            Self::NotExecutable { .. } => 126,
            Self::NoSuchCommand { .. } => 127,
        }
    }

    pub(crate) fn own(step: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::Own { step, error }
    }
}

impl From<SpawnError> for Refusal {
    fn from(error: SpawnError) -> Self {
        match error {
            SpawnError::Command { program, error } => {
                of_command(program, error, &env::var_os("PATH").unwrap_or_default())
            }
            other => Self::Spawn(other),
        }
    }
}

fn of_command(program: OsString, error: io::Error, path: &OsStr) -> Refusal {
    match error.raw_os_error() {
        Some(libc::ENOENT) => Refusal::NoSuchCommand { program },
        // One directory of PATH that may not be searched makes this of a command that is nowhere.
        Some(libc::EACCES) if !is_there(&program, path) => Refusal::NoSuchCommand { program },
        // Not the command's fault: processes, memory or descriptors are used up.
        Some(libc::EAGAIN | libc::ENOMEM | libc::EMFILE | libc::ENFILE) => {
            Refusal::Spawn(SpawnError::Command { program, error })
        }
        _ => Refusal::NotExecutable { program, error },
    }
}

/// Whether there is a file of that name where it would be looked for. What cannot be seen counts as not there, but for
/// a path that was given in full.
fn is_there(program: &OsStr, path: &OsStr) -> bool {
    program.as_bytes().contains(&b'/')
        || env::split_paths(path).any(|directory| directory.join(program).exists())
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSource(error) => write!(f, "{error}"),
            Self::NoOutput { path, error } => {
                write!(
                    f,
                    "cannot write to {}: {error}; name another file with -o. Nothing was started",
                    path.display()
                )
            }
            Self::Own { step, error } => write!(f, "{step}: {error}. Nothing was started"),
            Self::NoSuchCommand { program } => {
                let why = match (program.as_bytes().contains(&b'/'), Path::new(program).exists()) {
                    (true, true) => "the interpreter that its first line or its header names does not exist",
                    (true, false) => "no such file; check the path",
                    (false, _) => "no such command in PATH; check its name, or give its path",
                };
                write!(f, "{}: {why}", program.to_string_lossy())
            }
            Self::NotExecutable { program, error } => {
                let advice = match error.kind() {
                    ErrorKind::PermissionDenied if Path::new(program).is_dir() => "; it is a directory",
                    ErrorKind::PermissionDenied => "; chmod +x it, or run it by its interpreter",
                    _ => "",
                };
                write!(f, "{} cannot be executed: {error}{advice}", program.to_string_lossy())
            }
            Self::Spawn(error) => write!(f, "{error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(program: &str, errno: i32) -> u8 {
        of_command(program.into(), io::Error::from_raw_os_error(errno), OsStr::new("/nowhere:/usr/bin:/bin"))
            .code()
    }

    #[test]
    fn whose_fault_it_is() {
        assert_eq!(code("no-such-command", libc::ENOENT), 127);
        assert_eq!(code("./no-such-command", libc::ENOENT), 127);
        assert_eq!(code("no-such-command", libc::EACCES), 127, "some directory of PATH may not be searched");
        assert_eq!(code("sh", libc::EACCES), 126);
        assert_eq!(code("/etc/passwd", libc::EACCES), 126);
        assert_eq!(code("/bin/sh", libc::E2BIG), 126);
        assert_eq!(code("/bin/sh", libc::EAGAIN), 125);
    }
}
