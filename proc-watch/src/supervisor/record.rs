//! What a supervisor writes down, so that one that comes after it knows who runs already.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use proc_reactor::PersistentId;

use crate::supervisor::marker::Marker;

/// What is written down of a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    /// Somebody stopped it by hand.
    pub(crate) is_stopped: bool,
    pub(crate) is_ready: bool,
    /// The process that was started.
    pub(crate) leader: Option<PersistentId>,
    /// The one that was named as its main process.
    pub(crate) main: Option<PersistentId>,
}

pub(crate) type Records = BTreeMap<String, Record>;

/// Why the file of a supervisor's state cannot be used. Nothing was started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// Another supervisor has it.
    #[error("{}: another supervisor has it; give each a file of its own", path.display())]
    InUse {
        /// Which.
        path: PathBuf,
    },
    /// It cannot be read or written.
    #[error("{}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// It is not what a supervisor has written.
    #[error(
        "{}, line {line}: not what a supervisor has written; look whether anything of its services still runs, and remove it", path.display()
    )]
    Malformed {
        /// Which.
        path: PathBuf,
        /// From 1.
        line: usize,
    },
    /// Who runs cannot be found out.
    #[error("who still runs of its services cannot be found out: {0}; it takes /proc (Linux)")]
    Blind(#[source] io::Error),
}

/// The file, which is this supervisor's as long as this is there.
#[derive(Debug)]
pub(crate) struct StateFile {
    path: PathBuf,
    marker: Marker,
    /// Locked. The file itself is replaced at each change.
    _lock: File,
}

const HEAD: &str = "proc-watch supervisor 1 ";
/// A child of a supervisor that was killed has its lock until it runs its own program.
const PATIENCE: Duration = Duration::from_secs(1);

impl StateFile {
    /// Takes it, with what its last owner wrote.
    pub(crate) fn open(path: &Path) -> Result<(Self, Records), StateError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |error| StateError::File { path, error }
        };
        let beside = beside(path, ".lock");
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&beside);
        let lock = lock.map_err(failed(&beside))?;
        lock_for_us(&lock).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => StateError::InUse { path: path.to_owned() },
            _ => StateError::File { path: beside.clone(), error },
        })?;
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(failed(path)(error)),
        };
        let parsed = parse(&text).map_err(|line| StateError::Malformed { path: path.to_owned(), line })?;
        let (marker, records) = parsed.unwrap_or_else(|| (Marker::fresh(), Records::new()));
        let file = Self { path: path.to_owned(), marker, _lock: lock };
        // Whoever is started carries the marker, and is to be found by it from the first on.
        file.write(&records).map_err(failed(path))?;
        Ok((file, records))
    }

    pub(crate) fn marker(&self) -> Marker {
        self.marker
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// All of it or nothing: whoever reads it has the last or the one before. It is for after a death of this program, and not of the
    /// machine: nothing that it tells of outlives that.
    pub(crate) fn write(&self, records: &Records) -> io::Result<()> {
        let new = beside(&self.path, ".new");
        let mut file = File::create(&new)?;
        file.write_all(print(self.marker, records).as_bytes())?;
        std::fs::rename(&new, &self.path)
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.to_owned().into_os_string();
    name.push(suffix);
    name.into()
}

#[cfg(target_os = "linux")]
fn lock_for_us(file: &File) -> io::Result<()> {
    use rustix::fs::{FlockOperation, flock};
    let begun = std::time::Instant::now();
    loop {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) if begun.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(10));
            }
            result => return result.map_err(Into::into),
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn lock_for_us(_file: &File) -> io::Result<()> {
    let _ = PATIENCE;
    Err(io::ErrorKind::Unsupported.into())
}

fn print(marker: Marker, records: &Records) -> String {
    let mut text = format!("{HEAD}{marker}\n");
    for (name, record) in records {
        let id = |id: Option<PersistentId>| id.map_or_else(|| "-".to_owned(), |id| id.to_string());
        let stands = match record {
            Record { is_stopped: true, .. } => "stopped",
            Record { is_ready: true, .. } => "ready",
            _ => "up",
        };
        let line = format!("{stands} {} {} {}\n", id(record.leader), id(record.main), name.escape_default());
        text.push_str(&line);
    }
    text
}

/// What was printed; `None` of an empty file. Or the line that is none of ours.
fn parse(text: &str) -> Result<Option<(Marker, Records)>, usize> {
    let mut lines = text.lines();
    let Some(head) = lines.next() else { return Ok(None) };
    let marker = head.strip_prefix(HEAD).and_then(Marker::parse).ok_or(1_usize)?;
    let records: Result<Records, usize> =
        lines.zip(2..).map(|(line, number)| record(line).ok_or(number)).collect();
    Ok(Some((marker, records?)))
}

fn record(line: &str) -> Option<(String, Record)> {
    let mut words = line.splitn(4, ' ');
    let stands = words.next()?;
    let mut id = || match words.next()? {
        "-" => Some(None),
        text => text.parse().ok().map(Some),
    };
    let (leader, main) = (id()?, id()?);
    let name = unescape(words.next()?)?;
    let is = |word| stands == word;
    let known = is("up") || is("ready") || is("stopped");
    known.then_some((name, Record { is_stopped: is("stopped"), is_ready: is("ready"), leader, main }))
}

/// What `escape_default` makes of a name.
fn unescape(text: &str) -> Option<String> {
    let mut name = String::new();
    let mut rest = text.chars();
    while let Some(next) = rest.next() {
        if next != '\\' {
            name.push(next);
            continue;
        }
        name.push(match rest.next()? {
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                let digits: String = rest.by_ref().skip(1).take_while(|digit| *digit != '}').collect();
                char::from_u32(u32::from_str_radix(&digits, 16).ok()?)?
            }
            plain => plain,
        });
    }
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(pid: u32) -> PersistentId {
        format!("{}/{pid}/77/99", "5".repeat(32)).parse().unwrap()
    }

    #[test]
    fn what_is_written_is_read() {
        let one = Record { is_ready: true, leader: Some(id(7)), main: Some(id(8)), is_stopped: false };
        let names = ["web", "", "two words", "lines\n\r\t", "\\ \" '", "größe 漢", "}{"];
        let mut records: Records = names.iter().map(|name| ((*name).to_owned(), one)).collect();
        records.insert("stopped".into(), Record { is_stopped: true, ..Record::default() });
        records.insert("up".into(), Record { leader: Some(id(1)), ..Record::default() });
        let marker = Marker::fresh();
        let text = print(marker, &records);
        assert_eq!(parse(&text), Ok(Some((marker, records))));
        assert_eq!(parse(""), Ok(None));
    }

    #[test]
    fn what_is_not_ours_is_told_by_its_line() {
        let head = format!("{HEAD}{}\n", Marker::fresh());
        assert_eq!(parse("something else\n"), Err(1));
        assert_eq!(parse(&format!("{HEAD}12\n")), Err(1));
        for bad in
            ["up - -", "gone - - web", "up x - web", "up - 1/2/3 web", "", "up - - a\\u{110000}", "up - - \\"]
        {
            assert_eq!(parse(&format!("{head}up - - a\n{bad}\nup - - b\n")), Err(3), "{bad:?}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn it_has_one_owner() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        let (file, records) = StateFile::open(&path).unwrap();
        assert!(records.is_empty());
        let error = StateFile::open(&path).unwrap_err().to_string();
        assert!(error.contains("another supervisor has it"), "{error}");
        let records =
            Records::from([("web".to_owned(), Record { leader: Some(id(3)), ..Record::default() })]);
        file.write(&records).unwrap();
        let marker = file.marker();
        drop(file);
        let (file, again) = StateFile::open(&path).unwrap();
        assert_eq!((file.marker(), again), (marker, records));
        drop(file);
        std::fs::write(&path, "nonsense").unwrap();
        let error = StateFile::open(&path).unwrap_err();
        assert!(matches!(error, StateError::Malformed { line: 1, .. }), "{error}");
        let error = StateFile::open(Path::new("/nonexistent/state")).unwrap_err();
        assert!(matches!(error, StateError::File { .. }), "{error}");
    }
}
