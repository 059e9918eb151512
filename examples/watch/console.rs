//! Where the first process of a machine says what it has to say. A kernel may start it with no descriptor open, as FreeBSD's does; std then puts
//! /dev/null in the place of the three, and all that is printed is lost.
#![expect(unsafe_code, reason = "dup2 and tcdrain have no safe interface in std")]

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;

fn is_first() -> bool {
    std::process::id() == 1
}

/// Takes the console for what is printed, if this is the first process and nothing else was given to it. If there is no console there is nobody
/// to be told of that.
pub(crate) fn open() {
    if !is_first() || !prints_to_null().unwrap_or(true) {
        return;
    }
    let Ok(console) = OpenOptions::new().read(true).write(true).open("/dev/console") else { return };
    for number in [libc::STDIN_FILENO, libc::STDOUT_FILENO, libc::STDERR_FILENO] {
        // SAFETY: takes integers; the first is open. Nobody holds the others but std's streams, which print to whatever they are.
        unsafe { libc::dup2(console.as_raw_fd(), number) };
    }
}

fn prints_to_null() -> io::Result<bool> {
    let printed = std::fs::File::from(std::os::fd::AsFd::as_fd(&io::stdout()).try_clone_to_owned()?);
    let (printed, null) = (printed.metadata()?, std::fs::metadata("/dev/null")?);
    Ok(printed.rdev() == null.rdev() && printed.rdev() != 0)
}

/// Before the first process ends, with which the machine does: says with what, for nobody else sees it, and waits until all has been printed.
pub(crate) fn close(code: u8) {
    if !is_first() {
        return;
    }
    let mut out = io::stdout();
    // There is nobody left to be told.
    let _ = writeln!(out, "# the first process ends with {code}").and_then(|()| out.flush());
    // SAFETY: takes an integer; what is no terminal has nothing to wait for.
    unsafe { libc::tcdrain(libc::STDOUT_FILENO) };
}
