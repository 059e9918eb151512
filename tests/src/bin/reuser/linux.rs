//! Makes children that have the same few pids one after the other, each with an end of its own.
//!
//! ```text
//! reuser PROGRESS PIDS COUNT MODE
//! ```
//!
//! With PIDS 0 the kernel chooses. Else first one scout a pid, which ends with 0: its pid is one of those that are used. Then the line `pids P..` is printed, and when a
//! line has come in, COUNT children, of which number `k` has the pid `k % PIDS`, ends as `reuse::plan` says and is made as soon as
//! the owner before is no more. After each birth the number of births so far and the pid are written into the file PROGRESS. At last
//! `met N strangers` is printed: how often a pid was not free though its owner had been reaped, so that somebody else had it.
//!
//! MODE is how an owner comes to be no more: `reap` waits for it, `spin` asks for its end all the time, `auto` ignores SIGCHLD, so that it
//! goes without being waited for. `target` reaps; its children end when a real-time signal comes or their time is over.
#![expect(unsafe_code, reason = "clone3, wait by pid and exits without unwinding have no safe interface")]

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, Write};
use std::mem::size_of_val;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use tests::reuse::{End, HIT, MODES, TIME_OVER, plan};

/// How long a pid may stay somebody else's.
const PATIENCE: Duration = Duration::from_secs(20);
/// A child of four lives this long at most, in rounds of a loop, so that there is something to register with.
const LIFE: u32 = 60_000;

pub(crate) fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [progress, pids, count, mode] = &args[..] else { panic!("usage: reuser PROGRESS PIDS COUNT MODE") };
    let (pids, count): (usize, u64) = (pids.parse().expect("pids"), count.parse().expect("a count"));
    assert!(MODES.contains(&mode.as_str()), "no such mode: {mode}");
    let progress = OpenOptions::new().write(true).open(progress).expect("the file of the progress");
    no_cores();

    let scouts: Vec<u32> = (0..pids).map(|_| clone3(None).unwrap_or_else(|| exit(0))).collect();
    scouts.iter().for_each(|pid| assert_eq!(wait(*pid, 0), Some(0), "a scout's end"));
    if mode == "auto" {
        // SAFETY: to ignore needs no handler.
        unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    }
    if mode == "target" {
        block_real_time_signals();
    }
    let words: Vec<String> = scouts.iter().map(u32::to_string).collect();
    say(&format!("pids {}", words.join(" ")));
    io::stdin().lock().read_line(&mut String::new()).expect("a line");

    let strangers = make(&progress, &scouts, count, mode);
    say(&format!("met {strangers} strangers"));
}

fn make(progress: &File, pids: &[u32], count: u64, mode: &str) -> u64 {
    let mut strangers = 0;
    // Those who have not been seen off: one of each pid at most.
    let mut owners = VecDeque::new();
    let room = pids.len().max(1);
    for birth in 0..count {
        if owners.len() == room {
            let (owner, number) = owners.pop_front().expect("there are some");
            see_off(owner, number, mode);
        }
        let pid = pids.get((birth % room as u64) as usize).copied();
        let begun = Instant::now();
        let (mut met, mut turns) = (false, Turns(0));
        let child = loop {
            match clone3(pid) {
                None => live(birth, mode),
                Some(0) => {
                    met = true;
                    turns.pass();
                    assert!(begun.elapsed() < PATIENCE, "pid {pid:?} does not become free");
                }
                Some(child) => break child,
            }
        };
        assert!(pid.is_none_or(|pid| pid == child));
        // Without being reaped it goes when it goes, and until then it is no stranger.
        strangers += u64::from(met && mode != "auto");
        owners.push_back((child, birth));
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&(birth + 1).to_ne_bytes());
        bytes[8..].copy_from_slice(&u64::from(child).to_ne_bytes());
        progress.write_all_at(&bytes, 0).expect("a file");
    }
    for (owner, number) in owners {
        see_off(owner, number, mode);
    }
    strangers
}

/// Waits until this birth is no more, and holds its wait status against the plan.
fn see_off(pid: u32, birth: u64, mode: &str) {
    let status = match mode {
        "auto" => return,
        "spin" => {
            let mut turns = Turns(0);
            loop {
                match wait(pid, libc::WNOHANG) {
                    Some(status) => break status,
                    None => turns.pass(),
                }
            }
        }
        _ => wait(pid, 0).expect("a child"),
    };
    if mode != "target" {
        assert_eq!(status, plan(birth).wait_status(), "the end of birth {birth}");
    }
}

/// Asks again at once a few times, and then lets others have the processor first: who is waited for may be waiting for it.
struct Turns(u32);

impl Turns {
    const AT_ONCE: u32 = 20;

    fn pass(&mut self) {
        self.0 += 1;
        if self.0 > Self::AT_ONCE {
            std::thread::yield_now();
        }
    }
}

/// The life of a child.
fn live(birth: u64, mode: &str) -> ! {
    if mode == "target" {
        await_signal(birth);
    }
    if birth % 4 == 1 {
        let rounds = (birth.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33) as u32 % LIFE;
        for round in 0..rounds {
            std::hint::black_box(round);
        }
    }
    match plan(birth) {
        End::Code(code) => exit(code.into()),
        End::Signal(signal) => {
            // SAFETY: it takes nothing.
            let me = unsafe { libc::getpid() };
            // SAFETY: two numbers, and the default action needs no handler.
            unsafe { libc::kill(me, signal.into()) };
            exit(255)
        }
    }
}

/// Ends with the number of the signal that came, or with [`TIME_OVER`].
fn await_signal(birth: u64) -> ! {
    let set = real_time_signals();
    let nanos = birth.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
    let time = libc::timespec { tv_sec: 0, tv_nsec: (nanos % 400_000) as libc::c_long };
    // SAFETY: the set and the time are this function's, and nothing is to be told of the signal but its number.
    let signal = unsafe { libc::sigtimedwait(&set, std::ptr::null_mut(), &time) };
    if signal < 0 { exit(TIME_OVER.into()) } else { exit(i32::from(HIT) + signal - libc::SIGRTMIN()) }
}

/// A fork; by this pid, if there is one. 0 says that somebody has it, or that there is none to be had. None in the child.
fn clone3(pid: Option<u32>) -> Option<u32> {
    let pids = [pid.unwrap_or(0)];
    // SAFETY: plain numbers, for which zeros are valid.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.exit_signal = libc::SIGCHLD as u64;
    if pid.is_some() {
        args.set_tid = pids.as_ptr() as u64;
        args.set_tid_size = 1;
    }
    // SAFETY: the arguments live until it returns, and there is no other thread here that could hold a lock.
    let child = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of_val(&args)) };
    match child {
        0 => None,
        1.. => Some(child as u32),
        _ => {
            let error = io::Error::last_os_error();
            let taken = if pid.is_some() { libc::EEXIST } else { libc::EAGAIN };
            assert_eq!(error.raw_os_error(), Some(taken), "clone3: {error}");
            Some(0)
        }
    }
}

/// The wait status; none if it lives.
fn wait(pid: u32, flags: libc::c_int) -> Option<i32> {
    let mut status = 0;
    // SAFETY: the status is this function's.
    let reaped = unsafe { libc::waitpid(pid as libc::pid_t, &mut status, flags) };
    assert!(reaped >= 0, "wait for {pid}: {}", io::Error::last_os_error());
    (reaped > 0).then_some(status)
}

fn real_time_signals() -> libc::sigset_t {
    // SAFETY: a signal set is plain data, for which zeros are valid.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is this function's.
    unsafe { libc::sigemptyset(&mut set) };
    for signal in libc::SIGRTMIN()..=libc::SIGRTMAX() {
        // SAFETY: the set is this function's, and the signal is one.
        unsafe { libc::sigaddset(&mut set, signal) };
    }
    set
}

fn block_real_time_signals() {
    let set = real_time_signals();
    // SAFETY: the set is initialized, and the old one isn't wanted.
    let refused = unsafe { libc::sigprocmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()) };
    assert_eq!(refused, 0);
}

fn no_cores() {
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the limit is only read.
    unsafe { libc::setrlimit(libc::RLIMIT_CORE, &none) };
}

fn exit(code: i32) -> ! {
    // SAFETY: it takes any number.
    unsafe { libc::_exit(code) }
}

fn say(line: &str) {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}").expect("somebody listens");
    stdout.flush().expect("somebody listens");
}
