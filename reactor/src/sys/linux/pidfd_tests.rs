//! Descriptors of processes, with real children: what the kernel tells of the living, of zombies and of the reaped. Where a test
//! is about a trap of the kernel it names it.
#![expect(
    unsafe_code,
    reason = "a process whose first thread ends before the others, and one that ignores its children"
)]

use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::pidfd::{Ended, Pidfd};
use super::procfs;

/// A shell that runs `script`.
fn shell(script: &str) -> (Child, Pidfd) {
    let child = Command::new("sh").args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let child = child.unwrap();
    // It has not been waited for: the pid is its own.
    let pidfd = Pidfd::open(child.id()).unwrap();
    (child, pidfd)
}

/// Waits until the process has ended.
fn ended(pidfd: &Pidfd) {
    assert!(crate::sys::poll([pidfd.as_fd(); 2], None).unwrap());
}

fn errno<T>(result: io::Result<T>) -> Option<i32> {
    result.err().and_then(|error| error.raw_os_error())
}

/// Whether this kernel says how the reaped ended (6.15).
fn tells_the_reaped() -> bool {
    let (mut child, pidfd) = shell("exit 1");
    child.wait().unwrap();
    let tells = pidfd.exit_status().is_some();
    if !tells {
        println!("SKIPPED: this kernel does not say how the reaped ended");
    }
    tells
}

#[test]
fn the_living() {
    let (mut child, pidfd) = shell("read x");
    assert_eq!(pidfd.is_ended().unwrap(), Ended::No);
    assert_eq!(pidfd.exit_status(), None);
    assert_eq!(pidfd.peek().unwrap(), None);
    assert_eq!(pidfd.reap().unwrap(), None);
    pidfd.send_signal(0).unwrap();
    assert_eq!(errno(pidfd.send_signal(1000)), Some(libc::EINVAL));
    drop(child.stdin.take());
    child.wait().unwrap();
}

/// linux-facts: POLLIN of a zombie, POLLHUP besides of the reaped.
#[test]
fn a_zombie_and_then_reaped() {
    let tells = tells_the_reaped();
    let (mut child, pidfd) = shell("exit 42");
    ended(&pidfd);
    assert_eq!(pidfd.is_ended().unwrap(), Ended::Zombie);
    pidfd.send_signal(libc::SIGTERM).unwrap();
    for _ in 0..3 {
        assert_eq!(pidfd.peek().unwrap(), Some(42 << 8), "a look takes nothing");
    }
    assert_eq!(pidfd.is_ended().unwrap(), Ended::Zombie);
    assert_eq!(child.wait().unwrap().code(), Some(42), "K10: it was left for who waits");
    assert_eq!(pidfd.is_ended().unwrap(), Ended::Reaped);
    assert_eq!(pidfd.exit_status(), tells.then_some(42 << 8));
    assert_eq!(pidfd.parent(), None);
    assert_eq!(errno(pidfd.peek()), Some(libc::ECHILD));
    assert_eq!(errno(pidfd.send_signal(0)), Some(libc::ESRCH));
}

#[test]
fn what_is_reaped_by_it_is_gone() {
    let (child, pidfd) = shell("exit 7");
    ended(&pidfd);
    assert_eq!(pidfd.reap().unwrap(), Some(7 << 8));
    assert_eq!(pidfd.is_ended().unwrap(), Ended::Reaped);
    assert_eq!(errno(pidfd.reap()), Some(libc::ECHILD));
    drop(child);
}

/// Exactly what wait(2) gives, for each code and each signal that ends a process.
#[test]
fn the_status_is_that_of_wait() {
    let tells = tells_the_reaped();
    let codes = [0, 1, 2, 127, 128, 200, 255].map(|code| format!("exit {code}"));
    let signals = ["HUP", "INT", "KILL", "USR1", "PIPE", "ALRM", "TERM", "VTALRM"];
    let signals = signals.map(|signal| format!("ulimit -c 0; kill -{signal} $$"));
    for script in codes.iter().chain(&signals) {
        let (mut child, pidfd) = shell(script);
        ended(&pidfd);
        let peeked = pidfd.peek().unwrap();
        let waited = child.wait().unwrap().into_raw();
        assert_eq!(peeked, Some(waited), "{script}");
        assert_eq!(pidfd.exit_status(), tells.then_some(waited), "{script}");
    }
}

/// A directory that goes with this.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("pidfd-{name}-{}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

#[test]
fn the_core_flag() {
    let directory = Directory::new("core");
    let tells = tells_the_reaped();
    for (limit, flag) in [("unlimited", 0x80), ("0", 0)] {
        let mut command = Command::new("sh");
        command.current_dir(&directory.0).args(["-c", &format!("ulimit -c {limit} && kill -QUIT $$")]);
        let mut child = command.spawn().unwrap();
        let pidfd = Pidfd::open(child.id()).unwrap();
        ended(&pidfd);
        let peeked = pidfd.peek().unwrap();
        let waited = child.wait().unwrap().into_raw();
        assert_eq!(peeked, Some(waited));
        assert_eq!(pidfd.exit_status(), tells.then_some(waited));
        if waited != libc::SIGQUIT | flag {
            println!("SKIPPED: core dumps are not to be had here as asked: {waited:#x}");
        }
    }
}

/// Who is nobody's child of ours.
#[test]
fn another_parents_child() {
    let tells = tells_the_reaped();
    let (mut child, _) =
        shell("exec 3<&0; sh -c 'read x; exit 9' <&3 & echo $!; wait $!; echo reaped; read y");
    let mut lines = io::BufRead::lines(io::BufReader::new(child.stdout.take().unwrap()));
    let pid = lines.next().unwrap().unwrap().parse().unwrap();
    let pidfd = Pidfd::open(pid).unwrap();
    if tells {
        assert_eq!(pidfd.parent(), Some(child.id()));
    }
    assert_eq!(errno(pidfd.peek()), Some(libc::ECHILD));
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"\n").unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "reaped");
    assert_eq!(pidfd.is_ended().unwrap(), Ended::Reaped);
    assert_eq!(pidfd.exit_status(), tells.then_some(9 << 8), "anybody who holds one is told");
    drop(stdin);
    child.wait().unwrap();
}

/// Trap 7: of a zombie there is no PIDFD_INFO_EXIT, it is in /proc/PID/stat; of the reaped there is, as long as a descriptor is
/// open that was opened before, if only on the zombie.
#[test]
fn trap_7_info_exit_is_not_there_before_the_reaping() {
    let tells = tells_the_reaped();
    for _ in 0..20 {
        let (mut child, early) = shell("exit 5");
        ended(&early);
        let late = Pidfd::open(child.id()).unwrap();
        assert_eq!((early.exit_status(), late.exit_status()), (None, None));
        let zombie = procfs::look(child.id()).unwrap().unwrap();
        assert!(zombie.is_zombie());
        assert_eq!(zombie.status, Some(5 << 8));
        child.wait().unwrap();
        assert_eq!(early.exit_status(), tells.then_some(5 << 8));
        assert_eq!(late.exit_status(), tells.then_some(5 << 8), "opened on the zombie is early enough");
        drop(early);
        assert_eq!(late.exit_status(), tells.then_some(5 << 8));
        assert_eq!(errno(Pidfd::open(child.id())), Some(libc::ESRCH), "after the reaping it is too late");
    }
}

/// A thread of a process whose first thread has gone with 3 ends it, when the pipe's other end is closed.
extern "C" fn outlive(reading: *mut libc::c_void) -> libc::c_int {
    let mut byte = 0_u8;
    // SAFETY: one byte for one byte; the descriptor is that of the process.
    unsafe { libc::read(reading as usize as libc::c_int, (&raw mut byte).cast(), 1) };
    // SAFETY: takes an integer, and ends the process.
    unsafe { libc::_exit(5) }
}

/// The leader's own code is nobody's status: not of the zombie, not of the reaped.
#[test]
fn the_leader_left_first() {
    const STACK: usize = 64 << 10;
    let tells = tells_the_reaped();
    let (reading, writing) = io::pipe().unwrap();
    let mut stack = vec![0_u128; STACK / size_of::<u128>()];
    let (top, argument) = (stack.as_mut_ptr_range().end, reading.as_raw_fd() as usize);
    let thread =
        libc::CLONE_VM | libc::CLONE_FS | libc::CLONE_FILES | libc::CLONE_SIGHAND | libc::CLONE_THREAD;
    // SAFETY: the child calls nothing that takes a lock or allocates.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        // Its copy, so that the end of the parent's is the end of the pipe.
        // SAFETY: nobody uses it here.
        unsafe { libc::close(writing.as_raw_fd()) };
        // SAFETY: the stack is aligned, large enough, and the new thread's alone as long as the process lives.
        unsafe { libc::clone(outlive, top.cast(), thread, argument as *mut libc::c_void) };
        // SAFETY: ends this thread; nothing on its stack is used by the other.
        unsafe { libc::syscall(libc::SYS_exit, 3) };
    }
    assert!(pid > 0);
    let pidfd = Pidfd::open(pid as u32).unwrap();
    drop(reading);
    let gone = |stat: &[u8]| procfs::Stat::parse(stat).unwrap().state == b'Z';
    while !gone(&std::fs::read(format!("/proc/{pid}/stat")).unwrap()) {
        std::thread::yield_now();
    }
    assert_eq!(pidfd.is_ended().unwrap(), Ended::No, "a thread of it lives");
    assert_eq!(pidfd.peek().unwrap(), None);
    drop(writing);
    ended(&pidfd);
    assert_eq!(pidfd.is_ended().unwrap(), Ended::Zombie);
    assert_eq!(procfs::look(pid as u32).unwrap().unwrap().status, Some(5 << 8));
    assert_eq!(pidfd.peek().unwrap(), Some(5 << 8));
    assert_eq!(pidfd.reap().unwrap(), Some(5 << 8));
    assert_eq!(pidfd.exit_status(), tells.then_some(5 << 8));
}

#[test]
fn names_of_no_process() {
    for pid in [0, u32::MAX, i32::MAX as u32] {
        assert_eq!(errno(Pidfd::open(pid)), Some(libc::ESRCH), "{pid}");
    }
    let (ask, asked) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        ask.send(super::syscall::thread_id()).unwrap();
        std::thread::park();
    });
    let error = errno(Pidfd::open(asked.recv().unwrap()));
    thread.thread().unpark();
    thread.join().unwrap();
    assert!(matches!(error, Some(libc::EINVAL | libc::ENOENT)), "{error:?}");
}

/// linux-facts: one number for a process, whoever opens it.
#[test]
fn the_inode_is_the_process() {
    let (mut one, first) = shell("read x");
    let (mut other, second) = shell("read x");
    let again = Pidfd::open(one.id()).unwrap();
    if first.inode().unwrap().is_none() {
        println!("SKIPPED: all pidfds of this kernel have one inode");
    } else {
        assert_eq!(first.inode().unwrap(), again.inode().unwrap());
        assert_ne!(first.inode().unwrap(), second.inode().unwrap());
    }
    drop((one.stdin.take(), other.stdin.take()));
    assert!(!one.wait().unwrap().success() && !other.wait().unwrap().success());
    assert_eq!(first.inode().unwrap(), again.inode().unwrap(), "also when it is gone");
}

/// linux-facts: who is reaped by the kernel itself, since its parent ignores SIGCHLD, polls as reaped, and its status is told.
#[test]
fn reaped_by_the_kernel() {
    let tells = tells_the_reaped();
    let mut command = Command::new(std::env::current_exe().unwrap());
    let (_, module) = module_path!().split_once("::").unwrap();
    command.args(["--exact", &format!("{module}::ignores_its_children"), "--ignored", "--nocapture"]);
    command.env(PART, "").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut parent = command.spawn().unwrap();
    let lines = io::BufRead::lines(io::BufReader::new(parent.stdout.take().unwrap()));
    let mut pids = lines.map_while(Result::ok).filter_map(|line| line.strip_prefix(PART)?.parse().ok());
    let pidfds: Vec<Pidfd> = (0..2).map(|_| Pidfd::open(pids.next().unwrap()).unwrap()).collect();
    assert_eq!(pidfds[1].is_ended().unwrap(), Ended::No);
    pidfds[1].send_signal(libc::SIGKILL).unwrap();
    parent.stdin.take().unwrap().write_all(b"\n").unwrap();
    for (pidfd, status) in pidfds.iter().zip([3 << 8, libc::SIGKILL]) {
        ended(pidfd);
        assert_eq!(pidfd.is_ended().unwrap(), Ended::Reaped, "nobody has ever seen it as a zombie");
        assert_eq!(pidfd.exit_status(), tells.then_some(status));
        assert_eq!(pidfd.parent(), None);
    }
    pids.for_each(drop);
    assert!(parent.wait().unwrap().success());
}

const PART: &str = "PIDFD_PART";

/// Says who its children are, which inherit its input.
#[test]
#[ignore = "a part of `reaped_by_the_kernel`"]
fn ignores_its_children() {
    if std::env::var_os(PART).is_none() {
        return;
    }
    // SAFETY: ignoring runs no code; this process is the test's alone.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    let child = || Command::new("sh").args(["-c", "read x; exit 3"]).stdout(Stdio::null()).spawn().unwrap();
    let mut children = [child(), child()];
    // libtest has begun a line of its own.
    children.iter().for_each(|child| println!("\n{PART}{}", child.id()));
    for child in &mut children {
        assert_eq!(errno(child.wait()), Some(libc::ECHILD), "it waits until they are gone");
    }
}
