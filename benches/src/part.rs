//! Processes that measuring programs start for the parts they do not play themselves.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::{options, sockets, sys};

/// Something is wrong if a start or an end takes longer.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// The same for the measured part, which strace and a busy machine make long.
pub const LONG_PATIENCE: Duration = Duration::from_secs(300);

/// The command by which this program starts itself again, to play a part.
///
/// # Errors
/// This program cannot be found.
pub fn command(role: &str) -> io::Result<Vec<String>> {
    let program = std::env::current_exe()?.into_os_string().into_string();
    let program = program.map_err(|_| io::Error::other("the path of this program is not UTF-8"))?;
    Ok(vec![program, options::as_role(role)])
}

/// A process of ours, and the lines it writes. It is ended if anything goes wrong.
#[derive(Debug)]
pub struct Part {
    child: Child,
    lines: Receiver<String>,
    name: String,
}

impl Part {
    /// Starts it.
    ///
    /// # Errors
    /// There is no such program.
    pub fn start(command: &[String]) -> io::Result<Self> {
        let name = command.join(" ");
        let mut child = Command::new(&command[0])
            .args(&command[1..])
            .stdin(Stdio::piped())
            // forkstat writes for people: that goes where it costs the least.
            .stdout(if name.starts_with("forkstat") { Stdio::null() } else { Stdio::piped() })
            .spawn()
            .map_err(|error| io::Error::other(format!("{}: {error}", command[0])))?;
        let (send, lines) = mpsc::channel();
        if let Some(out) = child.stdout.take() {
            std::thread::spawn(move || {
                BufReader::new(out).lines().map_while(Result::ok).try_for_each(|line| send.send(line))
            });
        }
        Ok(Self { child, lines, name })
    }

    fn failed(&self, what: &str) -> io::Error {
        io::Error::other(format!("{what}: {}", self.name))
    }

    /// Its pid.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line that begins with a word; gives its numbers.
    ///
    /// # Errors
    /// It ended without one, or says that it failed (see [`workload::say_failed`](crate::workload::say_failed)), or was not heard in time.
    pub fn line(&mut self, word: &str, patience: Duration) -> io::Result<Vec<u64>> {
        let deadline = Instant::now() + patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self
                .lines
                .recv_timeout(left)
                .map_err(|_| self.failed(&format!("it did not say {word:?}")))?;
            if let Some(reason) = line.strip_prefix("failed ") {
                return Err(io::Error::other(reason.to_owned()));
            }
            let mut words = line.split(' ');
            if words.next() == Some(word) {
                return Ok(words.filter_map(|number| number.parse().ok()).collect());
            }
        }
    }

    /// Lets it go on that waits for a byte.
    ///
    /// # Errors
    /// It is gone.
    ///
    /// # Panics
    /// Never: its input is a pipe.
    pub fn go(&mut self) -> io::Result<()> {
        self.child.stdin.as_mut().expect("its input is a pipe").write_all(b".")
    }

    /// Waits until it has a socket that listens.
    ///
    /// # Errors
    /// It ended, or does not.
    pub fn listens(&mut self) -> io::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            sleep(Duration::from_millis(10));
            if let Some(status) = self.child.try_wait()? {
                return Err(self.failed(&format!("it ended with {status}")));
            }
            if sockets::dropped(self.child.id()).is_some() {
                // Bound; what it does from there on until it waits takes no longer than this.
                sleep(Duration::from_millis(50));
                return Ok(());
            }
        }
        Err(self.failed("it does not listen"))
    }

    /// Asks it to end, more than once: the first may come between its looking and its waiting.
    ///
    /// # Errors
    /// It does not.
    pub fn terminate(&mut self) -> io::Result<()> {
        for _ in 0..50 {
            if self.child.try_wait()?.is_some() {
                return Ok(());
            }
            sys::terminate(self.child.id())?;
            sleep(Duration::from_millis(20));
        }
        Err(self.failed("it does not end"))
    }

    /// Waits for its end, and gives what it said it saw and missed.
    ///
    /// # Errors
    /// It does not end.
    pub fn end(mut self) -> io::Result<Option<[u64; 2]>> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if self.child.try_wait()?.is_some() {
                let said = self.line("saw", Duration::from_millis(500)).unwrap_or_default();
                return Ok(said.try_into().ok());
            }
            sleep(Duration::from_millis(5));
        }
        Err(self.failed("it did not end"))
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // Both do nothing to one that has been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
