//! Where the events go: standard error, or a file. What cannot be written ends the output, and nothing else.

use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use crate::writable;

/// Bytes that are kept back at most while more events are ready.
const FULL: usize = 64 * 1024;

/// Takes lines and writes them in large pieces.
#[derive(Debug)]
pub(crate) struct Output {
    to: To,
    buffer: Vec<u8>,
    /// Whether all that was written so far arrived.
    open: bool,
}

#[derive(Debug)]
enum To {
    Stderr,
    File { file: File, path: PathBuf },
}

impl Output {
    /// To `path`, or else to standard error.
    pub(crate) fn open(path: Option<&Path>) -> io::Result<Self> {
        let to = match path {
            Some(path) => To::File { file: File::create(path)?, path: path.to_owned() },
            None => To::Stderr,
        };
        Ok(Self { to, buffer: Vec::new(), open: true })
    }

    pub(crate) fn is_terminal(&self) -> bool {
        match &self.to {
            To::Stderr => io::stderr().is_terminal(),
            To::File { file, .. } => file.is_terminal(),
        }
    }

    /// Whether there is any use in giving it more.
    pub(crate) fn is_open(&self) -> bool {
        self.open
    }

    /// Hands out the buffer to append whole lines to.
    pub(crate) fn append(&mut self, lines: impl FnOnce(&mut Vec<u8>)) {
        if self.open {
            lines(&mut self.buffer);
            if self.buffer.len() >= FULL {
                self.flush();
            }
        }
    }

    /// Writes what was kept back. Waits as long as whoever reads takes; meanwhile the kernel's buffer is emptied by the
    /// watcher's guard thread.
    pub(crate) fn flush(&mut self) {
        if self.buffer.is_empty() || !self.open {
            return;
        }
        let result = match &self.to {
            To::Stderr => write_all(&mut io::stderr(), io::stderr().as_fd(), &self.buffer),
            To::File { file, .. } => write_all(&mut &*file, file.as_fd(), &self.buffer),
        };
        self.buffer.clear();
        if let Err(error) = result {
            self.open = false;
            // Whom standard error does not reach cannot be told either.
            if let To::File { path, .. } = &self.to {
                let path = path.display();
                tell(&format!(
                    "proc-watch: writing to {path}: {error}; it ends here, and the command goes on\n"
                ));
            }
        }
    }
}

/// Says something to whoever reads standard error, if anybody does.
pub(crate) fn tell(text: &str) {
    let _nobody_reads = write_all(&mut io::stderr(), io::stderr().as_fd(), text.as_bytes());
}

/// As [`Write::write_all`], and also where the descriptor is non-blocking: a child that shares the terminal may have
/// made it so.
fn write_all(to: &mut impl Write, fd: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match to.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => match writable::wait(fd) {
                Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
                _ => {}
            },
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_nonblocking_descriptor_is_waited_for() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut before = 0;
        while let Ok(written) = (&ours).write(&[b'x'; 4096]) {
            before += written;
        }
        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            theirs.read_to_end(&mut all).unwrap();
            all.len()
        });
        let more = vec![b'y'; 1 << 20];
        write_all(&mut &ours, ours.as_fd(), &more).unwrap();
        drop(ours);
        assert_eq!(reader.join().unwrap(), before + more.len());
    }

    #[test]
    fn a_full_device_ends_it() {
        let mut output = Output::open(Some(Path::new("/dev/full"))).unwrap();
        output.append(|lines| lines.extend(b"a line\n"));
        assert!(output.is_open(), "it is kept back");
        output.flush();
        assert!(!output.is_open());
        output.append(|_| panic!("of no use"));
    }
}
