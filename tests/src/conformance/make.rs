//! The ways in which a puppet makes children that end at once.
#![expect(unsafe_code, reason = "fork, exec and raw exits have no safe interface")]

use std::ffi::{CString, c_int};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::{births, puppet};

/// How often a pid is tried that its last owner has not quite left yet.
#[cfg(target_os = "linux")]
const PID_TRIES: u32 = 5_000;

/// A child that ends at once, with this code.
pub(super) fn make(how: &str, code: c_int) -> c_int {
    let child = try_to_make(how, code);
    assert!(child > 0, "{how}: {}", io::Error::last_os_error());
    child
}

/// -1 and the errno where it could not be made.
pub(super) fn try_to_make(how: &str, code: c_int) -> c_int {
    match how {
        "fork" => {
            // SAFETY: the child only exits.
            match unsafe { libc::fork() } {
                0 => exit(code),
                child => child,
            }
        }
        "raw" => births::raw(&mut || exit(code)),
        "vfork" => births::vfork(&mut || exit(code)),
        "by-thread" => {
            std::thread::spawn(move || try_to_make("fork", code)).join().expect("a thread that forks")
        }
        "exec" => {
            let program = puppet::program().as_os_str().as_bytes();
            Argv::new([program, puppet::EXIT.as_bytes(), code.to_string().as_bytes()]).spawn()
        }
        _ => panic!("no such way: {how}"),
    }
}

/// Makes a child in one of the ways, and reaps it.
pub fn make_and_reap(how: &str, code: c_int) -> c_int {
    let child = make(how, code);
    reap(child);
    child
}

/// A child that has this pid.
#[cfg(target_os = "linux")]
pub(super) fn fork_as(pid: c_int) -> c_int {
    let pids = [pid];
    // SAFETY: plain numbers, for which zeros are valid.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.exit_signal = libc::SIGCHLD as u64;
    args.set_tid = pids.as_ptr() as u64;
    args.set_tid_size = 1;
    for _ in 0..PID_TRIES {
        // SAFETY: the arguments live until it returns, and there is no other thread here that could hold a lock.
        let child = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of_val(&args)) };
        if child >= 0 || errno() != libc::EEXIST {
            return child as c_int;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    -1
}

/// The wait status; none where there is no such child, or where nothing is kept of children.
pub(super) fn reap(child: c_int) -> Option<c_int> {
    let mut status = 0;
    loop {
        // SAFETY: the status is this function's.
        let reaped = unsafe { libc::waitpid(child, &mut status, 0) };
        if reaped == child {
            return Some(status);
        }
        if errno() != libc::EINTR {
            return None;
        }
    }
}

pub(super) fn exit(code: c_int) -> ! {
    // SAFETY: it takes any number.
    unsafe { libc::_exit(code) }
}

pub(super) fn errno() -> c_int {
    io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// A program and its arguments, in the form that exec wants.
pub(super) struct Argv(Vec<CString>);

impl Argv {
    pub(super) fn new<'a>(words: impl IntoIterator<Item = &'a [u8]>) -> Self {
        Self(words.into_iter().map(|word| CString::new(word).expect("no null")).collect())
    }

    pub(super) fn puppet(dir: &Path) -> Self {
        let program = puppet::program().as_os_str().as_bytes();
        Self::new([program, puppet::PUPPET.as_bytes(), dir.as_os_str().as_bytes()])
    }

    fn pointers(&self) -> Vec<*const libc::c_char> {
        self.0.iter().map(|word| word.as_ptr()).chain([std::ptr::null()]).collect()
    }

    /// Comes back if it fails.
    pub(super) fn exec(&self) {
        let argv = self.pointers();
        // SAFETY: the list ends with a null, and what it points to lives as long as `self`.
        unsafe { libc::execv(argv[0], argv.as_ptr()) };
    }

    fn spawn(&self) -> c_int {
        let (argv, none) = (self.pointers(), [std::ptr::null_mut()]);
        let mut pid = 0;
        // SAFETY: as for `exec`; null stands for no file actions and the default attributes.
        let error = unsafe {
            libc::posix_spawn(
                &mut pid,
                argv[0],
                std::ptr::null(),
                std::ptr::null(),
                argv.as_ptr().cast(),
                none.as_ptr(),
            )
        };
        if error == 0 { pid } else { -1 }
    }
}
