//! [`Child::capture`]: what a child wrote, up to a limit, and how it ended, whoever else keeps its pipes open.

use std::fs::File;
use std::future::poll_fn;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::pin::{Pin, pin};
use std::process::ExitStatus;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, ReadBuf};

use crate::command::{Child, Parts};

/// What came of a child: see [`Child::capture`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Captured {
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to its standard output, if that was piped.
    pub stdout: Output,
    /// What it wrote to its standard error, if that was piped.
    pub stderr: Output,
}

/// What came out of one pipe.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Output {
    /// The first of it, up to the limit.
    pub bytes: Vec<u8>,
    /// How many more bytes were read and not kept.
    pub dropped: u64,
    /// The child has ended, and somebody else still has the pipe open and may write to it:
    /// [`pipe_holders`](crate::pipe_holders) names them.
    pub held: bool,
}

impl Child {
    /// Reads its piped output, of each pipe up to `limit` bytes, and waits for it. What is more is read and dropped, so that the child
    /// is never held up by a full pipe.
    ///
    /// It is over when the child has ended and all is read that was in the pipes then. Others who have inherited the pipes are not waited for,
    /// as [`wait_with_output`](Self::wait_with_output) does.
    ///
    /// # Errors
    /// A pipe cannot be read, or somebody else has reaped the child.
    ///
    /// # Cancel safety
    ///
    /// Cancel-safe, but for the closing of standard input: what was read is kept for the next call.
    pub async fn capture(&mut self, limit: usize) -> io::Result<Captured> {
        drop(self.stdin.take());
        let Parts { stdout, stderr, inner, captured } = self.parts();
        let status = {
            let mut wait = pin!(inner.wait());
            poll_fn(|cx| {
                // Before it is asked for its end: what it wrote, it wrote before.
                read(stdout, &mut captured[0], limit, cx)?;
                read(stderr, &mut captured[1], limit, cx)?;
                wait.as_mut().poll(cx)
            })
            .await?
        };
        rest(stdout, &mut captured[0], limit)?;
        rest(stderr, &mut captured[1], limit)?;
        let [stdout, stderr] = std::mem::take(captured);
        Ok(Captured { status, stdout, stderr })
    }
}

/// What most pipes hold.
const CHUNK: usize = 64 << 10;
/// What one may hold at most, unless root has made it larger (`/proc/sys/fs/pipe-max-size`).
const LARGEST: usize = 1 << 20;

/// Reads until there is nothing now. The pipe goes when it is at its end.
fn read<R: AsyncRead + Unpin>(
    pipe: &mut Option<R>,
    into: &mut Output,
    limit: usize,
    cx: &mut Context<'_>,
) -> io::Result<()> {
    let mut chunk = vec![0; if pipe.is_some() { CHUNK } else { 0 }];
    while let Some(open) = pipe {
        let mut buffer = ReadBuf::new(&mut chunk);
        match Pin::new(open).poll_read(cx, &mut buffer) {
            Poll::Pending => break,
            Poll::Ready(result) => result?,
        }
        if buffer.filled().is_empty() {
            *pipe = None;
        }
        into.add(buffer.filled(), limit);
    }
    Ok(())
}

/// What is in the pipe of a child that has ended; the runtime need not have heard of it.
fn rest<R: AsFd>(pipe: &Option<R>, into: &mut Output, limit: usize) -> io::Result<()> {
    let Some(pipe) = pipe else { return Ok(()) };
    // Its runtime has made it one that does not wait.
    let mut pipe = File::from(pipe.as_fd().try_clone_to_owned()?);
    let mut chunk = vec![0; CHUNK];
    // No pipe holds more: who goes on writing is not waited for.
    let mut most = LARGEST;
    while most > 0 {
        most = most.saturating_sub(CHUNK);
        match pipe.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(count) => into.add(&chunk[..count], limit),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                into.held = true;
                return Ok(());
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    into.held = true;
    Ok(())
}

impl Output {
    fn add(&mut self, bytes: &[u8], limit: usize) {
        let room = limit.saturating_sub(self.bytes.len()).min(bytes.len());
        self.bytes.extend_from_slice(&bytes[..room]);
        self.dropped += (bytes.len() - room) as u64;
    }
}
