//! Where what a service writes goes: files that are kept small, or lines for a callback; and the line that says that it is ready.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{ChildStderr, ChildStdout, Command};

use crate::supervisor::spec::{Line, Output};

/// The most that is taken for one line.
const LONGEST: usize = 64 << 10;

/// Gives a command what it is to write to.
pub(crate) fn prepare(command: &mut Command, output: &Output, wants_line: bool) -> io::Result<()> {
    let (out, err) = match output {
        Output::Inherit => (Stdio::inherit(), Stdio::inherit()),
        Output::Null => (Stdio::null(), Stdio::null()),
        // Nothing stands between the service and its file: it goes on when this program does not.
        Output::File { path, limit: None, .. } if !wants_line => {
            let file = append(path)?;
            (Stdio::from(file.try_clone()?), Stdio::from(file))
        }
        Output::File { .. } | Output::Lines(_) => (Stdio::piped(), Stdio::piped()),
    };
    command.stdin(Stdio::null()).stdout(out).stderr(err);
    Ok(())
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// What comes of what is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// The line that was waited for.
    Line,
    /// The file cannot be written; what was read is dropped. Told once, and again after it has worked.
    Trouble { path: PathBuf, error: String },
}

/// Reads what a service writes until nobody can write any more, whoever has the pipes.
pub(crate) async fn pump(
    service: String,
    out: Option<ChildStdout>,
    err: Option<ChildStderr>,
    output: Output,
    wanted: Option<String>,
    tell: impl Fn(Heard) + Clone + Send + 'static,
) {
    let log = match &output {
        Output::File { path, limit, keep } => {
            let (path, limit, keep) = (path.clone(), *limit, *keep);
            let log = Log { path, limit, keep, file: None, stuck: false, troubled: false };
            Some(std::sync::Arc::new(std::sync::Mutex::new(log)))
        }
        _ => None,
    };
    let one = |is_error| Pipe {
        service: service.clone(),
        is_error,
        output: output.clone(),
        log: log.clone(),
        wanted: wanted.clone(),
    };
    tokio::join!(one(false).read(out, tell.clone()), one(true).read(err, tell));
}

/// One of the two pipes.
struct Pipe {
    service: String,
    is_error: bool,
    output: Output,
    log: Option<std::sync::Arc<std::sync::Mutex<Log>>>,
    wanted: Option<String>,
}

impl Pipe {
    async fn read(mut self, pipe: Option<impl AsyncRead + Unpin>, tell: impl Fn(Heard)) {
        let Some(mut pipe) = pipe else { return };
        let mut lines = Lines::default();
        let mut chunk = vec![0; 16 << 10];
        // One that cannot be read is at its end.
        while let Ok(count @ 1..) = pipe.read(&mut chunk).await {
            if let Some(log) = &self.log {
                let (log, bytes) = (std::sync::Arc::clone(log), chunk[..count].to_vec());
                // Disks may take their time; this thread may not.
                let written = tokio::task::spawn_blocking(move || {
                    log.lock().unwrap_or_else(std::sync::PoisonError::into_inner).write(&bytes)
                });
                if let Ok(Some(trouble)) = written.await {
                    tell(trouble);
                }
            }
            lines.take(&chunk[..count], |line| self.line(line, &tell));
        }
        lines.end(|line| self.line(line, &tell));
    }

    fn line(&mut self, bytes: &[u8], tell: &impl Fn(Heard)) {
        if let Output::Lines(take) = &self.output {
            take(&Line { service: &self.service, is_error: self.is_error, bytes });
        }
        let found =
            |wanted: &String| bytes.windows(wanted.len().max(1)).any(|part| part == wanted.as_bytes());
        if self.wanted.as_ref().is_some_and(found) {
            self.wanted = None;
            tell(Heard::Line);
        }
    }
}

/// Bytes cut into lines.
#[derive(Debug, Default)]
struct Lines(Vec<u8>);

impl Lines {
    fn take(&mut self, mut bytes: &[u8], mut each: impl FnMut(&[u8])) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.0.extend_from_slice(&bytes[..end]);
            self.give(&mut each);
            bytes = &bytes[end + 1..];
        }
        self.0.extend_from_slice(bytes);
        if self.0.len() >= LONGEST {
            self.give(&mut each);
        }
    }

    fn give(&mut self, each: &mut impl FnMut(&[u8])) {
        if self.0.len() <= LONGEST {
            each(&self.0);
        } else {
            self.0.chunks(LONGEST).for_each(each);
        }
        self.0.clear();
    }

    fn end(&mut self, mut each: impl FnMut(&[u8])) {
        if !self.0.is_empty() {
            self.give(&mut each);
        }
    }
}

/// A file that is kept small.
#[derive(Debug)]
struct Log {
    path: PathBuf,
    limit: Option<u64>,
    keep: u32,
    file: Option<(File, u64)>,
    /// It is too long, and could not be moved out of the way. What would fit still is dropped with the rest, or each such line would be a recovery.
    stuck: bool,
    troubled: bool,
}

impl Log {
    /// Nothing that goes wrong here stops the service: what cannot be written is dropped.
    fn write(&mut self, bytes: &[u8]) -> Option<Heard> {
        match self.try_write(bytes) {
            Ok(()) => {
                self.troubled = false;
                None
            }
            Err(error) => {
                self.file = None;
                let was_troubled = std::mem::replace(&mut self.troubled, true);
                let (path, error) = (self.path.clone(), error.to_string());
                (!was_troubled).then_some(Heard::Trouble { path, error })
            }
        }
    }

    fn try_write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (file, length) = match self.file.take() {
            Some(open) => open,
            None => {
                let file = append(&self.path)?;
                let length = file.metadata()?.len();
                (file, length)
            }
        };
        let more = bytes.len() as u64;
        let full = self.limit.is_some_and(|limit| length > 0 && (self.stuck || length + more > limit));
        let (mut file, length) = if full {
            drop(file);
            self.stuck = true;
            self.rotate()?;
            (append(&self.path)?, 0)
        } else {
            (file, length)
        };
        self.stuck = false;
        file.write_all(bytes)?;
        self.file = Some((file, length + more));
        Ok(())
    }

    fn rotate(&self) -> io::Result<()> {
        let old = |number: u32| {
            let mut name = self.path.clone().into_os_string();
            name.push(format!(".{number}"));
            PathBuf::from(name)
        };
        if self.keep == 0 {
            return std::fs::remove_file(&self.path);
        }
        for number in (1..self.keep).rev() {
            match std::fs::rename(old(number), old(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        std::fs::rename(&self.path, old(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(path: PathBuf, limit: u64, keep: u32) -> Log {
        Log { path, limit: Some(limit), keep, file: None, stuck: false, troubled: false }
    }

    #[test]
    fn files_are_kept_small_and_few() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = log(path.clone(), 10, 2);
        for number in 0..9 {
            assert_eq!(log.write(format!("line{number}\n").as_bytes()), None);
        }
        let text = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
        assert_eq!(
            (text("log"), text("log.1"), text("log.2")),
            ("line8\n".into(), "line7\n".into(), "line6\n".into())
        );
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 3);
        // What was there before counts.
        drop(log);
        let mut again = super::tests::log(path, 10, 0);
        again.write(b"more\n");
        assert_eq!(text("log"), "more\n");
    }

    /// /dev/full is full.
    #[test]
    fn a_full_disk_is_told_once_and_holds_up_nobody() {
        let mut log = log("/dev/full".into(), 1 << 30, 1);
        assert!(matches!(log.write(b"x"), Some(Heard::Trouble { .. })));
        assert_eq!(log.write(b"x"), None);
        log.path = "/dev/null".into();
        assert_eq!(log.write(b"x"), None);
        log.path = "/dev/full".into();
        log.file = None;
        assert!(matches!(log.write(b"x"), Some(Heard::Trouble { .. })));
    }

    /// Be what is written long or short.
    #[test]
    fn a_file_that_cannot_be_moved_is_told_once() {
        let dir = tempfile::tempdir().unwrap();
        let (path, old) = (dir.path().join("log"), dir.path().join("log.1"));
        std::fs::create_dir_all(old.join("full")).unwrap();
        let mut log = log(path.clone(), 10, 1);
        assert_eq!(log.write(b"seven..\n"), None);
        assert!(matches!(log.write(b"long\n"), Some(Heard::Trouble { .. })));
        for text in ["x\n", "long\n", "x\n"] {
            assert_eq!(log.write(text.as_bytes()), None);
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "seven..\n");
        std::fs::remove_dir_all(&old).unwrap();
        assert_eq!(log.write(b"x\n"), None);
        let text = |path| std::fs::read_to_string(path).unwrap();
        assert_eq!((text(&path), text(&old)), ("x\n".into(), "seven..\n".into()));
        // It works again, and is told of again.
        std::fs::remove_file(&old).unwrap();
        std::fs::create_dir_all(old.join("full")).unwrap();
        assert!(matches!(log.write(b"nine......\n"), Some(Heard::Trouble { .. })));
        // Somebody else has moved it.
        std::fs::remove_file(&path).unwrap();
        assert_eq!(log.write(b"x\n"), None);
        assert_eq!(log.write(b"x\n"), None);
    }

    #[test]
    fn lines() {
        let mut lines = Lines::default();
        let mut told = Vec::new();
        for part in [&b"one\ntw"[..], b"o\n\nth", b"ree"] {
            lines.take(part, |line| told.push(String::from_utf8_lossy(line).into_owned()));
        }
        lines.end(|line| told.push(String::from_utf8_lossy(line).into_owned()));
        assert_eq!(told, ["one", "two", "", "three"]);
        let mut lengths = Vec::new();
        let long = vec![b'x'; LONGEST + 5];
        lines.take(&long, |line| lengths.push(line.len()));
        lines.take(b"\n", |line| lengths.push(line.len()));
        assert_eq!(lengths, [LONGEST, 5, 0]);
    }
}
