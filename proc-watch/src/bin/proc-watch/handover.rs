//! Standard input and output, which are the child's alone once it has started.
#![expect(unsafe_code, reason = "dup2(2) over descriptors that the standard library never closes")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// Lets go of this program's own. Else a pipe would stay open when all of the tree have closed it, and whoever is at its
/// other end would wait for this program.
pub(crate) fn let_go_of_input_and_output() -> io::Result<()> {
    let nothing = File::options().read(true).write(true).open("/dev/null")?;
    for standard in [libc::STDIN_FILENO, libc::STDOUT_FILENO] {
        // SAFETY: both are open (the runtime of the standard library sees to it at the start), nobody here has their
        // own use for what they were open to, and they stay open.
        if unsafe { libc::dup2(nothing.as_raw_fd(), standard) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}
