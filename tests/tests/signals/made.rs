//! Children with a pid of our choice, made without a program.
#![expect(unsafe_code, reason = "processes with a pid of our choice")]

use std::io;

/// A child that does nothing, with this pid if one is named. It blocks SIGUSR1, so that whether it got it can be seen, and
/// inherits no thread. None where the pid is not to be had: in use, or not for us to choose.
pub(crate) fn make(pid: Option<libc::pid_t>) -> io::Result<libc::pid_t> {
    // SAFETY: plain numbers, for which zeros are valid.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is this function's.
    unsafe { libc::sigaddset(&raw mut set, libc::SIGUSR1) };
    // SAFETY: the set is read only; of this thread alone.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
    let pids = [pid.unwrap_or(0)];
    // SAFETY: plain numbers, for which zeros are valid.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.exit_signal = libc::SIGCHLD as u64;
    if pid.is_some() {
        args.set_tid = pids.as_ptr() as u64;
        args.set_tid_size = 1;
    }
    // SAFETY: the arguments live until it returns, and the child only sleeps.
    let child = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of_val(&args)) };
    let error = io::Error::last_os_error();
    if child == 0 {
        // Should the test fail, nobody else ends it.
        // SAFETY: takes a number.
        unsafe { libc::alarm(60) };
        loop {
            // SAFETY: takes nothing.
            unsafe { libc::pause() };
        }
    }
    // SAFETY: as above.
    unsafe { libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, std::ptr::null_mut()) };
    if child > 0 { Ok(child as libc::pid_t) } else { Err(error) }
}

pub(crate) fn kill_and_reap(pid: libc::pid_t) -> libc::c_int {
    let mut status = 0;
    // SAFETY: it takes numbers; the process is an unreaped child of ours.
    unsafe { libc::kill(pid, libc::SIGKILL) };
    // SAFETY: the status is this function's.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    status
}

/// Whether a child of [`make`] got SIGUSR1.
pub(crate) fn was_signalled(pid: libc::pid_t) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let pending = status.lines().find_map(|line| line.strip_prefix("ShdPnd:\t")).unwrap();
    u64::from_str_radix(pending, 16).unwrap() & (1 << (libc::SIGUSR1 - 1)) != 0
}

pub(crate) fn may_choose_pids() -> bool {
    let pid = make(None).unwrap();
    kill_and_reap(pid);
    match make(Some(pid)) {
        Ok(again) => {
            kill_and_reap(again);
            true
        }
        // Somebody else was faster, which also says that it may be chosen.
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => true,
        Err(error) => {
            println!("SKIPPED: no pid can be chosen: {error}");
            false
        }
    }
}
