//! What the fuzzing targets reach of the crate's inside (`tests/fuzz`, which set `--cfg fuzzing`).

use crate::sys::properties;

/// One datagram of the process connector.
pub fn netlink(datagram: &[u8]) {
    properties::datagram(datagram);
}

/// A script of what a kernel sends over several sockets.
pub fn sockets(script: &[u8]) {
    properties::sockets(script);
}

/// The text of /proc/PID/stat.
pub fn stat(text: &[u8]) {
    properties::stat(text);
}

/// The texts of /proc/PID/cmdline, status, statm and syscall.
pub fn status(text: &[u8]) {
    properties::status(text);
}

/// What stands in a ring of perf events.
pub fn perf(bytes: &[u8]) {
    properties::perf(bytes);
}

/// A message of taskstats, and a record of the kernel's log.
pub fn account(bytes: &[u8]) {
    properties::account(bytes);
}
