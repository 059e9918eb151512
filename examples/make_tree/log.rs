//! The truth file: one line, one write, so that the lines of all processes stay whole.
//!
//! A child of a process with threads may be stopped for ever by an allocation, so that all but
//! [`exec`] (which runs in a fresh image) format on the stack.

use std::ffi::OsString;
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicI32, Ordering};

use crate::os;
use crate::process::End;

/// Inherited by all processes; opened for appending.
static FD: AtomicI32 = AtomicI32::new(-1);

/// Sets the descriptor that this process and its children log to.
pub(crate) fn to(fd: RawFd) {
    FD.store(fd, Ordering::Relaxed);
}

/// The descriptor that is logged to.
pub(crate) fn fd() -> RawFd {
    FD.load(Ordering::Relaxed)
}

/// This process is the top.
pub(crate) fn top(pid: u32) {
    Line::new(b"top").number(pid).write();
}

/// This process was forked by `parent`, which may be dead by now.
pub(crate) fn birth(pid: u32, parent: u32) {
    Line::new(b"birth").number(pid).number(parent).write();
}

/// This process has become a new program.
pub(crate) fn exec(pid: u32, argv: &[OsString]) {
    let joined: Vec<&[u8]> = argv.iter().map(|arg| arg.as_bytes()).collect();
    let hex: String = joined.join(&0).iter().map(|byte| format!("{byte:02x}")).collect();
    write(format!("exec {pid} {hex}\n").as_bytes());
}

/// This process is about to end.
pub(crate) fn end(pid: u32, end: End) {
    let line = Line::new(b"end").number(pid);
    match end {
        End::Code(code) => line.word(b"code").number(code.into()).write(),
        End::Signal(signal) => line.word(b"signal").number(signal.unsigned_abs()).write(),
    }
}

/// An account with holes is worse than none.
fn write(line: &[u8]) {
    if os::write(fd(), line) != Some(line.len()) {
        os::give_up("cannot write the truth");
    }
}

/// A line under construction; the longest is "end 4294967295 signal 4294967295\n".
struct Line {
    bytes: [u8; 64],
    len: usize,
}

impl Line {
    fn new(word: &[u8]) -> Self {
        let mut line = Self { bytes: [0; 64], len: 0 };
        line.push(word);
        line
    }

    fn push(&mut self, bytes: &[u8]) {
        self.bytes[self.len..][..bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    fn word(mut self, word: &[u8]) -> Self {
        self.push(b" ");
        self.push(word);
        self
    }

    fn number(self, mut number: u32) -> Self {
        let mut digits = [b'0'; 10];
        let mut first = digits.len() - 1;
        for (at, digit) in digits.iter_mut().enumerate().rev() {
            *digit = b'0' + u8::try_from(number % 10).unwrap_or(0);
            first = at;
            number /= 10;
            if number == 0 {
                break;
            }
        }
        self.word(&digits[first..])
    }

    fn write(mut self) {
        self.push(b"\n");
        write(&self.bytes[..self.len]);
    }
}
