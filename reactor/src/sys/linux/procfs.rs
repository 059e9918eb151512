//! /proc, as far as it is needed to find out who lives and what they run (proc(5)).

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;

use super::pidfd::{Ended, Pidfd};
use super::syscall;
use crate::persist::Mark;
use crate::process::metadata::{Field, Metadata, Missing};
use crate::source::{Living, Reading};

/// Whether the pids in /proc are those of this program's own namespace.
pub(super) fn is_of_this_namespace() -> io::Result<bool> {
    // Dangling where this program has no pid there.
    match fs::read_link("/proc/self") {
        Ok(link) => Ok(link.as_os_str() == std::process::id().to_string().as_str()),
        Err(error) if error.kind() == io::ErrorKind::NotFound && fs::exists("/proc/stat")? => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether a filter looks at this program's system calls (seccomp(2)).
pub(super) fn is_filtered() -> bool {
    fs::read_to_string("/proc/self/status")
        .is_ok_and(|status| status.lines().any(|line| line.split_whitespace().eq(["Seccomp:", "2"])))
}

/// All pids, by the names in /proc.
///
/// # Errors
/// It cannot be read, or is not what it ought to be: without an entry for this program it would tell that everybody has ended.
pub(super) fn pids() -> io::Result<Vec<u32>> {
    let mut pids = Vec::new();
    for entry in fs::read_dir("/proc")? {
        if let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) {
            pids.push(pid);
        }
    }
    if pids.contains(&std::process::id()) {
        Ok(pids)
    } else {
        Err(io::Error::new(io::ErrorKind::NotFound, "this process is not in it"))
    }
}

/// How often one process is looked up anew, whose pid had another owner before all was read.
const LOOKS: usize = 16;

/// Looks up one process. It takes several steps, and between two of them the pid may get another owner: what is told is of one
/// process, whose pidfd shows that it had the pid all the time (K7). Where there are no pidfds to be had it is as it was read.
pub(super) fn look(pid: u32) -> io::Result<Option<Living>> {
    for _ in 0..LOOKS {
        let pidfd = match Pidfd::open(pid) {
            Ok(pidfd) => pidfd,
            Err(error) => match error.raw_os_error() {
                // There is no such process, or it is a thread.
                Some(libc::ESRCH | libc::EINVAL | libc::ENOENT) => return Ok(None),
                _ => return look_once(pid),
            },
        };
        let living = look_once(pid)?;
        if !matches!(pidfd.is_ended(), Ok(Ended::Reaped)) {
            return Ok(living);
        }
    }
    // Whoever has it now was born after this was called.
    Ok(None)
}

fn look_once(pid: u32) -> io::Result<Option<Living>> {
    let text = match fs::read(format!("/proc/{pid}/stat")) {
        // The mount options of /proc may hide others' processes, or what is in their entries.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => {
            None
        }
        read => gone_is_none(read)?,
    };
    let Some(text) = text else {
        let hidden = Living { pid, parent: 0, start: 0, threads: vec![pid], status: None };
        return Ok(syscall::exists(pid).then_some(hidden));
    };
    let Some(stat) = Stat::parse(&text) else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("/proc/{pid}/stat is not as proc(5) says"),
        ));
    };
    // /proc has entries of threads, too, which it does not list.
    if stat.threads > 1 && !syscall::exists(pid) {
        return Ok(None);
    }
    let alone = stat.threads == 1 && !stat.is_dead();
    let threads = if alone { vec![pid] } else { threads(pid)? };
    let threads: Vec<u32> = threads.into_iter().filter(|thread| *thread != pid || !stat.is_dead()).collect();
    // With more threads than one the code may be that of the leader, who left before the others.
    let status = if threads.is_empty() && stat.threads <= 1 {
        stat.exit_code.filter(|code| *code != 0 || may_look_into(pid))
    } else {
        None
    };
    Ok(Some(Living { pid, parent: stat.parent, start: stat.start_monotonic(), threads, status }))
}

/// When the process that has this pid started, on the monotonic clock; 0 if it is hidden.
pub(super) fn start(pid: u32) -> io::Result<Option<u64>> {
    let mut text = [0; 1024];
    let file = fs::File::open(format!("/proc/{pid}/stat"));
    // Written in one go, and shorter than this.
    match file.and_then(|mut file| read_some(&mut file, &mut text)) {
        Ok(length) => match Stat::parse(&text[..length]) {
            Some(stat) => Ok(Some(stat.start_monotonic())),
            None => Ok(look(pid)?.map(|living| living.start)),
        },
        Err(error) if is_shortage(&error) => Err(error),
        Err(_) => Ok(look(pid)?.map(|living| living.start)),
    }
}

/// In which boot this is (proc_sys_kernel(5)).
pub(crate) fn boot() -> io::Result<u128> {
    static BOOT: OnceLock<u128> = OnceLock::new();
    if let Some(boot) = BOOT.get() {
        return Ok(*boot);
    }
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    let digits = text.trim().replace('-', "");
    let boot = u128::from_str_radix(&digits, 16).map_err(|_| io::ErrorKind::InvalidData)?;
    Ok(*BOOT.get_or_init(|| boot))
}

/// What no other process of this pid has. `None`: there is none of it any more. It is that of the descriptor's if that lives afterwards.
pub(crate) fn mark(pid: u32, pidfd: &Pidfd) -> io::Result<Option<Mark>> {
    let Some(text) = gone_is_none(fs::read(format!("/proc/{pid}/stat")))? else { return Ok(None) };
    let Some(stat) = Stat::parse(&text) else { return Ok(None) };
    Ok(Some(Mark { start: stat.start, inode: pidfd.inode()? }))
}

/// The wait status of a zombie, by one reading: for when it is known already that it is one. `None` where it is hidden, or
/// there is no such process.
pub(super) fn zombie_status(pid: u32) -> Option<i32> {
    let mut text = [0; 1024];
    // Written in one go, and shorter than this.
    let length = read_some(&mut fs::File::open(format!("/proc/{pid}/stat")).ok()?, &mut text).ok()?;
    let stat = Stat::parse(&text[..length])?;
    if stat.threads > 1 {
        return None;
    }
    stat.exit_code.filter(|code| *code != 0 || stat.is_shown || may_look_into(pid))
}

/// Whether the kernel shows us what it hides from strangers, of a zombie, by the same check that decides whether its
/// exit code is shown: to others it shows 0.
fn may_look_into(pid: u32) -> bool {
    matches!(fs::read_link(format!("/proc/{pid}/exe")), Err(error) if error.kind() == io::ErrorKind::NotFound)
}

/// The pids of a process's children (proc(5), `CONFIG_PROC_CHILDREN`), or by a walk through all processes.
pub(super) fn children(pid: u32) -> io::Result<Vec<u32>> {
    let mut children = Vec::new();
    for thread in threads(pid)? {
        match children_of_thread(pid, thread) {
            Ok(pids) => children.extend(pids),
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
            // The thread is gone, or the kernel has no such file.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if std::path::Path::new("/proc/thread-self/children").exists() {
                    continue;
                }
                for other in pids()? {
                    if look(other)?.is_some_and(|living| living.parent == pid) {
                        children.push(other);
                    }
                }
                return Ok(children);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(children)
}

/// The pids of those that this thread has made and that are not reaped; where some are meanwhile, others may lack.
pub(super) fn children_of_thread(pid: u32, thread: u32) -> io::Result<Vec<u32>> {
    let text = fs::read(format!("/proc/{pid}/task/{thread}/children"))?;
    let pids = text.split(|byte| *byte == b' ').filter_map(|pid| std::str::from_utf8(pid).ok());
    Ok(pids.filter_map(|pid| pid.parse().ok()).collect())
}

/// Whether the leader of a process is on its way out, when the process started, and whose child it is.
pub(super) struct Exiting {
    pub(super) is_exiting: bool,
    pub(super) start: u64,
    pub(super) parent: u32,
}

/// `None` if there is no such process, or nothing to be seen of it.
pub(super) fn exiting(pid: u32) -> Option<Exiting> {
    /// `PF_EXITING` in the kernel's include/linux/sched.h, where it has been since Linux 2.4.
    const PF_EXITING: u32 = 0x4;
    let stat = Stat::parse(&fs::read(format!("/proc/{pid}/stat")).ok()?)?;
    let is_exiting = stat.is_dead() || stat.flags & PF_EXITING != 0;
    Some(Exiting { is_exiting, start: stat.start_monotonic(), parent: stat.parent })
}

/// Living threads; a dead leader is among them as long as others live, and the caller knows better.
pub(super) fn threads(pid: u32) -> io::Result<Vec<u32>> {
    let Some(entries) = gone_is_none(fs::read_dir(format!("/proc/{pid}/task")))? else {
        return Ok(Vec::new());
    };
    let mut threads = Vec::new();
    for entry in entries {
        let Some(entry) = gone_is_none(entry)? else { break };
        if let Some(thread) = entry.file_name().to_str().and_then(|name| name.parse().ok()) {
            threads.push(thread);
        }
    }
    Ok(threads)
}

fn gone_is_none<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error)
            if error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// What is wanted of /proc/PID/stat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) state: u8,
    pub(super) parent: u32,
    /// Of the leader.
    pub(super) flags: u32,
    pub(super) threads: u32,
    /// Ticks since boot.
    pub(super) start: u64,
    /// Wait status of a zombie; 0 too where the kernel hides it.
    pub(super) exit_code: Option<i32>,
    /// What is hidden from strangers was shown: where the process sleeps, by the same check in the same reading as its exit code.
    /// Of one that runs it is 0 to anybody, and a zombie may still be on its way off the processor.
    pub(super) is_shown: bool,
}

impl Stat {
    /// The command name stands in parentheses and may hold anything, parentheses too.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let after_name = text.iter().rposition(|byte| *byte == b')')? + 2;
        let fields = std::str::from_utf8(text.get(after_name..)?).ok()?;
        let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
        // Fields are numbered from 1 in proc(5), and the first two are behind us.
        let field = |number: usize| fields.get(number - 3).copied();
        let state = *field(3)?.as_bytes().first()?;
        let dead = matches!(state, b'Z' | b'X' | b'x');
        let exit_code = field(52).and_then(|code| code.parse().ok()).filter(|_| dead);
        Some(Self {
            state,
            parent: field(4)?.parse().ok()?,
            flags: field(9)?.parse().ok()?,
            threads: field(20)?.parse().ok()?,
            start: field(22)?.parse().ok()?,
            exit_code,
            is_shown: field(35).is_some_and(|wait_channel| wait_channel != "0"),
        })
    }

    fn is_dead(&self) -> bool {
        matches!(self.state, b'Z' | b'X' | b'x')
    }

    /// The kernel counts start times on the clock that runs on in suspend.
    fn start_monotonic(&self) -> u64 {
        let boot = self.start.saturating_mul(1_000_000_000 / syscall::ticks_per_second());
        let suspended = syscall::boottime().saturating_sub(syscall::monotonic());
        boot.saturating_sub(suspended)
    }
}

/// Whether the process has been given a processor since it was made, and with that whether its maker has sent the record of
/// its birth, which comes before it is woken. True where the kernel does not say.
///
/// # Errors
/// No descriptors are left to ask by.
pub(crate) fn has_run(pid: u32) -> io::Result<bool> {
    // Its third number: how often it was given one.
    let times = |process: &str| -> io::Result<Option<u64>> {
        match fs::read_to_string(format!("/proc/{process}/schedstat")) {
            Ok(text) => Ok(text.split_ascii_whitespace().nth(2).and_then(|times| times.parse().ok())),
            Err(error) if is_shortage(&error) => Err(error),
            Err(_) => Ok(None),
        }
    };
    // A kernel that does not count shows 0, also of us.
    Ok(times(&pid.to_string())? != Some(0) || times("self")?.is_none_or(|times| times == 0))
}

/// Whether it says of this program that it has run out of something, and nothing of what was asked for.
fn is_shortage(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM))
}

/// Reads what `pid` runs. Its state comes last and tells whether the rest can be of an exec whose record is not queued
/// yet: see [`is_settled`].
pub(super) fn inspect(pid: u32) -> Reading {
    let nothing = |reason| Reading { metadata: Metadata::missing(reason), settled: true };
    let argv = match read_cmdline(pid) {
        // A zombie, a thread of the kernel, or a program that is being replaced: then the links below may be those of
        // the next one, and reading them may wait for it.
        Ok(text) if text.is_empty() => return nothing(Missing::Gone),
        Ok(text) => Ok(split_argv(text)),
        Err(error) => Err(missing(&error)),
    };
    let exe = field(fs::read_link(format!("/proc/{pid}/exe")));
    let cwd = field(fs::read_link(format!("/proc/{pid}/cwd")));
    let status = match fs::read(format!("/proc/{pid}/status")) {
        Ok(text) => text,
        Err(error) => return nothing(missing(&error)),
    };
    let (comm, uid) = (status_name(&status), status_uid(&status));
    let settled = is_settled(&status, |file| fs::read(format!("/proc/{pid}/{file}")));
    Reading { metadata: Metadata { exe, argv, cwd, uid, comm }, settled }
}

/// Whether no exec of the process was between the moment when its arguments can be read and the one when its record is
/// queued. What lies between is the end of execve(2) in the kernel, where nothing sleeps that a signal could wake, but for
/// a tracer's sake. So it is past it, or before it, if it sleeps so or is stopped by job control; or if pages of files are
/// mapped, since a new program has none before its first instruction has been fetched. A tracer can hold it there and look
/// at its text. `read` reads a file of the process.
pub(super) fn is_settled(status: &[u8], read: impl FnOnce(&str) -> io::Result<Vec<u8>>) -> bool {
    let value = |key| status_line(status, key).map(<[u8]>::trim_ascii_start).unwrap_or_default();
    match value(b"State").first() {
        Some(b'S' | b'T') => true,
        Some(b'Z' | b'X') | None => false,
        // Read after the rest, of the program that is there by then.
        Some(_) if value(b"TracerPid") == b"0" => read("statm").is_ok_and(|text| has_file_pages(&text)),
        Some(_) => read("syscall").is_ok_and(|text| is_in_another_call(&text)),
    }
}

/// Whether pages of files are mapped, by a process's /proc/PID/statm: its third number.
pub(super) fn has_file_pages(text: &[u8]) -> bool {
    let pages = text.split(|byte| *byte == b' ').nth(2).and_then(|pages| std::str::from_utf8(pages).ok());
    pages.and_then(|pages| pages.parse::<u64>().ok()).is_some_and(|pages| pages > 0)
}

/// Whether a process is held in a system call that is no exec, by its /proc/PID/syscall: the call's number first, or
/// `running`, or -1 outside of calls.
pub(super) fn is_in_another_call(text: &[u8]) -> bool {
    /// execve and execveat as programs of x86, Arm, RISC-V, PowerPC and s390 know them, of 64 bits and of 32.
    const EXECS: [libc::c_long; 12] =
        [libc::SYS_execve, libc::SYS_execveat, 11, 59, 221, 281, 354, 358, 362, 387, 520, 545];
    /// Marks the calls of x32 programs.
    const X32: libc::c_long = 0x4000_0000;
    let number = text.split(|byte| *byte == b' ').next().and_then(|number| std::str::from_utf8(number).ok());
    let number = number.and_then(|number| number.parse::<libc::c_long>().ok());
    number.is_some_and(|number| number >= 0 && !EXECS.contains(&(number & !X32)))
}

/// The argument vector, whole. Each read looks the process's memory up anew, so that a reading in several goes may end
/// early because the process has ended: one that went on is followed by a look whether the beginning is still there.
fn read_cmdline(pid: u32) -> io::Result<Vec<u8>> {
    let mut file = fs::File::open(format!("/proc/{pid}/cmdline"))?;
    let mut text = vec![0; 32 << 10];
    let mut length = read_some(&mut file, &mut text)?;
    if length == text.len() {
        loop {
            if length == text.len() {
                text.resize(length * 2, 0);
            }
            let more = read_some(&mut file, &mut text[length..])?;
            if more == 0 {
                break;
            }
            length += more;
        }
        if file.read_at(&mut [0], 0)? == 0 {
            return Ok(Vec::new());
        }
    }
    text.truncate(length);
    Ok(text)
}

fn read_some(file: &mut fs::File, into: &mut [u8]) -> io::Result<usize> {
    loop {
        match file.read(into) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}

fn field<T>(result: io::Result<T>) -> Field<T> {
    result.map_err(|error| missing(&error))
}

fn missing(error: &io::Error) -> Missing {
    match error.kind() {
        io::ErrorKind::PermissionDenied => Missing::Denied,
        _ => Missing::Gone,
    }
}

/// Arguments end in a NUL each; one that the process has overwritten may lack it.
pub(super) fn split_argv(mut text: Vec<u8>) -> Vec<OsString> {
    if text.last() == Some(&0) {
        text.pop();
    }
    text.split(|byte| *byte == 0).map(|arg| OsString::from_vec(arg.to_vec())).collect()
}

fn status_line<'a>(text: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    text.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(key)?.strip_prefix(b":\t"))
}

/// The name, in which the kernel has escaped backslash and newline.
pub(super) fn status_name(text: &[u8]) -> Field<OsString> {
    let escaped = status_line(text, b"Name").ok_or(Missing::Unsupported)?;
    let mut name = Vec::with_capacity(escaped.len());
    let mut bytes = escaped.iter().copied();
    while let Some(byte) = bytes.next() {
        name.push(match byte {
            b'\\' => match bytes.next() {
                Some(b'n') => b'\n',
                Some(other) => other,
                None => b'\\',
            },
            plain => plain,
        });
    }
    Ok(std::ffi::OsStr::from_bytes(&name).to_owned())
}

/// The effective user id, the second of four.
pub(super) fn status_uid(text: &[u8]) -> Field<u32> {
    let line = status_line(text, b"Uid").and_then(|line| std::str::from_utf8(line).ok());
    let uid = line.and_then(|line| line.split_ascii_whitespace().nth(1)?.parse().ok());
    uid.ok_or(Missing::Unsupported)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_spaces() {
        let text = b"42 (a) R (b) 7) S 7 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 3 0 123456 0 0";
        let stat = Stat::parse(text).unwrap();
        assert_eq!(
            stat,
            Stat {
                state: b'S',
                parent: 7,
                threads: 3,
                start: 123_456,
                flags: 4_194_560,
                exit_code: None,
                is_shown: false
            }
        );
    }

    #[test]
    fn the_status_of_a_zombie() {
        for code in [0, 7] {
            let mut child =
                std::process::Command::new("sh").args(["-c", &format!("exit {code}")]).spawn().unwrap();
            let pidfd = crate::sys::system::pidfd::Pidfd::open(child.id()).unwrap();
            while pidfd.is_ended().unwrap() == crate::sys::system::pidfd::Ended::No {
                std::thread::yield_now();
            }
            assert_eq!(zombie_status(child.id()), Some(code << 8));
            child.wait().unwrap();
            assert_eq!(zombie_status(child.id()), None);
        }
        // What is hidden reads as 0 everywhere: then the code is not shown either.
        let zombie = |wait_channel| {
            let middle = "0 ".repeat(35 - 23);
            let rest = "0 ".repeat(51 - 35);
            let text = format!(
                "42 (a) Z 7 42 42 0 -1 4227084 1 0 0 0 0 0 0 0 20 0 1 0 123456 {middle}{wait_channel} {rest}0"
            );
            Stat::parse(text.as_bytes()).unwrap()
        };
        assert_eq!((zombie(0).exit_code, zombie(0).is_shown), (Some(0), false));
        assert_eq!((zombie(1).exit_code, zombie(1).is_shown), (Some(0), true));
    }

    #[test]
    fn a_thread_is_no_process() {
        let (send, receive) = std::sync::mpsc::channel();
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            send.send(syscall::thread_id()).unwrap();
            let _ = stopped.recv();
        });
        let id = receive.recv().unwrap();
        assert!(std::path::Path::new(&format!("/proc/{id}/stat")).exists());
        assert_eq!(look(id).unwrap(), None);
        assert!(look(std::process::id()).unwrap().is_some());
        drop(stop);
        thread.join().unwrap();
    }

    #[test]
    fn our_own_entry() {
        let me = look(std::process::id()).unwrap().unwrap();
        assert!(me.threads.contains(&syscall::thread_id()));
        let age = syscall::monotonic().saturating_sub(me.start);
        assert!(age < 3_600_000_000_000, "started {age} ns ago");
        assert_eq!(look(u32::MAX).unwrap(), None);
        assert!(pids().unwrap().contains(&std::process::id()));
    }

    #[test]
    fn our_own_program() {
        let Reading { metadata, settled } = inspect(std::process::id());
        assert!(settled);
        assert_eq!(metadata.exe.unwrap(), std::env::current_exe().unwrap());
        assert_eq!(metadata.argv.unwrap(), std::env::args_os().collect::<Vec<_>>());
        assert_eq!(metadata.cwd.unwrap(), std::env::current_dir().unwrap());
        assert!(metadata.comm.unwrap().len() <= 15);
        assert_eq!(inspect(u32::MAX).metadata, Metadata::missing(Missing::Gone));
    }

    /// Longer than one read takes. The spawn returns before the new argument vector can be read.
    #[test]
    fn a_long_argument_vector() {
        let long = "x".repeat(100_000);
        let mut child = std::process::Command::new("sh")
            .args(["-c", "echo; read x", &long])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        let Reading { metadata, settled } = inspect(child.id());
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(metadata.argv.unwrap()[3], *long);
        assert!(settled);
    }

    #[test]
    fn escaped_names() {
        assert_eq!(status_name(b"Name:\ta\\\\b\\nc\nUid:\t1\t2\t3\t4\n").unwrap(), "a\\b\nc");
        assert_eq!(status_uid(b"Name:\ta\nUid:\t1\t2\t3\t4\n"), Ok(2));
        assert_eq!(status_uid(b"Uid:\t1\n"), Err(Missing::Unsupported));
    }

    #[test]
    fn system_calls() {
        assert!(is_in_another_call(b"0 0x0 0x7ffd 0x1 0x0 0x0 0x0 0x7ffd 0x7f01\n"));
        for exec in [&b"59 0x0 0x0"[..], b"1073742344 0x0", b"running\n", b"-1 0x7ffd 0x7f01\n", b""] {
            assert!(!is_in_another_call(exec));
        }
        assert!(has_file_pages(b"104 19 16 4 0 39 0\n") && !has_file_pages(b"104 3 0 4 0 39 0\n"));
    }

    #[test]
    fn what_is_no_number_of_pages_settles_nothing() {
        for text in [&b""[..], b"104 19", b"104 19 ", b"104 19 0\n", b"104 19 -1 4", b"104 19 x 4"] {
            assert!(!has_file_pages(text), "{}", text.escape_ascii());
        }
    }

    #[test]
    fn empty_arguments_count() {
        assert_eq!(split_argv(b"sh\0\0-c\0".to_vec()), ["sh", "", "-c"]);
        assert_eq!(split_argv(b"title".to_vec()), ["title"]);
    }
}
