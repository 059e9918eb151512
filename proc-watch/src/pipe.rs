//! [`pipe_holders`]: who keeps a pipe open.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Who has a pipe open, and who may have.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct PipeHolders {
    /// Processes that have it open, this program too, by pid.
    pub holders: Vec<PipeHolder>,
    /// Processes whose descriptors may not be looked at: other users', and programs that are not to be looked into. Any of them may have it
    /// open as well.
    pub unreadable: Vec<u32>,
}

/// A process that has a pipe open.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PipeHolder {
    /// Its pid, as of when it was looked at. It may have ended since.
    pub pid: u32,
    /// Its argument vector; empty where it could not be read.
    pub argv: Vec<OsString>,
    /// By which descriptors.
    pub descriptors: Vec<i32>,
    /// It can read from it by some of them.
    pub reads: bool,
    /// It can write to it by some of them: as long as somebody can, its reader does not come to the end.
    pub writes: bool,
}

/// Why nobody can be named.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PipeError {
    /// It is no pipe, no FIFO and no socket.
    #[error("descriptor {fd} is no pipe, FIFO or socket")]
    NotAPipe {
        /// The descriptor that was given.
        fd: i32,
    },
    /// /proc cannot be read.
    #[error("{} cannot be read: {error}; is /proc mounted?", path.display())]
    Proc {
        /// What was to be read.
        path: PathBuf,
        /// What the system said.
        #[source]
        error: io::Error,
    },
}

/// Who keeps this pipe open (proc_pid_fd(5)): to be asked where the output of a child does not end though the child has.
///
/// Either end will do. Of a socket only this end is looked for, for the other has a name of its own. Reads the descriptors of all processes
/// that may be looked at: some 20 us a process and 2 us a descriptor; blocks meanwhile. What is opened or closed while it reads may
/// be in it or not.
///
/// # Errors
/// It is no pipe, or /proc cannot be read. That a process may not be looked at is none: see [`PipeHolders::unreadable`].
pub fn pipe_holders(pipe: impl AsFd) -> Result<PipeHolders, PipeError> {
    let fd = pipe.as_fd().as_raw_fd();
    let path = PathBuf::from(format!("/proc/self/fd/{fd}"));
    let own = fs::metadata(&path).map_err(|error| PipeError::Proc { path, error })?;
    let kind = own.file_type();
    if !kind.is_fifo() && !kind.is_socket() {
        return Err(PipeError::NotAPipe { fd });
    }
    let failed = |error| PipeError::Proc { path: "/proc".into(), error };
    let mut found = PipeHolders::default();
    let mut by_pid = BTreeMap::new();
    for entry in fs::read_dir("/proc").map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let pid = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse::<u32>().ok());
        let Some(pid) = pid else { continue };
        match descriptors(&path, (own.dev(), own.ino())) {
            Ok(descriptors) if descriptors.is_empty() => {}
            Ok(descriptors) => drop(by_pid.insert(pid, holder(&path, pid, descriptors))),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => found.unreadable.push(pid),
            // It has ended.
            Err(error) if is_gone(&error) => {}
            // That is no news of the process.
            Err(error) => return Err(PipeError::Proc { path, error }),
        }
    }
    found.holders = by_pid.into_values().collect();
    found.unreadable.sort_unstable();
    Ok(found)
}

/// Whether it says that the process, or what was asked of it, is there no more.
fn is_gone(error: &io::Error) -> bool {
    const ENOENT: i32 = 2;
    const ESRCH: i32 = 3;
    matches!(error.raw_os_error(), Some(ENOENT | ESRCH))
}

/// Of a process; of its threads, if it has those and its leader has ended.
fn descriptors(process: &Path, pipe: (u64, u64)) -> io::Result<Vec<i32>> {
    match of_task(process, pipe) {
        Err(error) if is_gone(&error) => {}
        result => return result,
    }
    for thread in fs::read_dir(process.join("task"))? {
        match of_task(&thread?.path(), pipe) {
            Err(error) if is_gone(&error) => {}
            result => return result,
        }
    }
    Ok(Vec::new())
}

fn of_task(task: &Path, pipe: (u64, u64)) -> io::Result<Vec<i32>> {
    let mut descriptors = Vec::new();
    for entry in fs::read_dir(task.join("fd"))? {
        let path = entry?.path();
        // One that was closed meanwhile is none.
        let same = fs::metadata(&path).is_ok_and(|file| (file.dev(), file.ino()) == pipe);
        let number = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
        descriptors.extend(number.filter(|_: &i32| same));
    }
    descriptors.sort_unstable();
    Ok(descriptors)
}

fn holder(process: &Path, pid: u32, descriptors: Vec<i32>) -> PipeHolder {
    let (mut reads, mut writes) = (false, false);
    for number in &descriptors {
        match access(&fs::read_to_string(process.join("fdinfo").join(number.to_string())).unwrap_or_default())
        {
            Some(READ) => reads = true,
            Some(WRITE) => writes = true,
            _ => (reads, writes) = (true, true),
        }
    }
    let argv = words(fs::read(process.join("cmdline")).unwrap_or_default());
    PipeHolder { pid, argv, descriptors, reads, writes }
}

/// `O_RDONLY` and `O_WRONLY`, on every system that has a /proc like this.
const READ: u32 = 0;
const WRITE: u32 = 1;

/// How a descriptor was opened, by the text of its fdinfo (proc_pid_fdinfo(5)).
fn access(text: &str) -> Option<u32> {
    let flags = text.lines().find_map(|line| line.strip_prefix("flags:"))?;
    Some(u32::from_str_radix(flags.trim(), 8).ok()? & 3)
}

/// The words of `/proc/PID/cmdline`.
pub(crate) fn words(mut text: Vec<u8>) -> Vec<OsString> {
    if text.last() == Some(&0) {
        text.pop();
    }
    if text.is_empty() {
        return Vec::new();
    }
    text.split(|byte| *byte == 0).map(|word| OsString::from_vec(word.to_vec())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_of_a_descriptor() {
        assert_eq!(access("pos:\t0\nflags:\t0100001\nmnt_id:\t9\n"), Some(WRITE));
        assert_eq!(access("pos:\t0\nflags:\t02000000\n"), Some(READ));
        assert_eq!(access("flags:\t02\n"), Some(2));
        assert_eq!(access("flags:\tx\n"), None);
        assert_eq!(access(""), None);
    }

    #[test]
    fn words_of_a_command_line() {
        assert_eq!(words(b"sh\0-c\0\0".to_vec()), ["sh", "-c", ""]);
        assert!(words(Vec::new()).is_empty());
    }
}
