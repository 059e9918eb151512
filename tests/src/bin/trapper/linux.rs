//! A process that does what traps those who watch processes; see `tests/tests/traps`.
//!
//! ```text
//! trapper end MILLIS CODE           sleeps and ends
//! trapper fork MEGABYTES            says "ready" and at a line forks, with so much memory; the child ends with 7 when the input does
//! trapper leader CODE               its leader ends; another thread ends the process with the code later
//! trapper exec-by-thread CODE       a thread that is not the leader runs `trapper end 20 CODE`
//! trapper many COUNT                says "ready" and at a line makes so many children
//! trapper then PATH ARGS..          says "ready" and at a line runs that program
//! ```
#![expect(unsafe_code, reason = "fork, wait by pid and exits of threads have no safe interface")]

use std::io::{self, BufRead, Write};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

/// How long whoever is left lives on.
const LATER: Duration = Duration::from_millis(60);
const PAGE: usize = 4096;

pub(crate) fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words[..] {
        ["end", millis, code] => {
            std::thread::sleep(Duration::from_millis(millis.parse().expect("a number")));
            exit(code.parse().expect("a code"));
        }
        ["fork", megabytes] => {
            let megabytes: usize = megabytes.parse().expect("a number");
            let mut memory = vec![0_u8; megabytes << 20];
            let place = memory.as_mut_ptr().cast();
            // SAFETY: memory of our own. Small pages make a fork slow, which is wanted here.
            unsafe { libc::madvise(place, memory.len(), libc::MADV_NOHUGEPAGE) };
            memory.iter_mut().step_by(PAGE).for_each(|byte| *byte = 1);
            ready();
            let child = fork(|| {
                await_end_of_input();
                exit(7)
            });
            std::hint::black_box(&memory);
            wait(child);
            exit(0);
        }
        ["leader", code] => {
            let code = code.parse().expect("a code");
            std::thread::spawn(move || {
                std::thread::sleep(LATER);
                exit(code)
            });
            // SAFETY: nothing on this thread's stack is borrowed by another.
            unsafe { libc::syscall(libc::SYS_exit, 0) };
        }
        ["exec-by-thread", code] => {
            let me = std::env::current_exe().expect("/proc");
            let mut command = Command::new(me);
            command.args(["end", "20", code]);
            let error = std::thread::spawn(move || command.exec()).join().expect("it execs");
            panic!("exec: {error}");
        }
        ["many", count] => {
            ready();
            let count: u32 = count.parse().expect("a number");
            for _ in 0..count {
                wait(fork(|| exit(3)));
            }
            exit(0);
        }
        ["then", path, ref args @ ..] => {
            ready();
            let error = Command::new(path).args(args).exec();
            panic!("exec of {path}: {error}");
        }
        _ => panic!("no such order: {args:?}"),
    }
}

fn ready() {
    println!("ready");
    io::stdout().flush().expect("somebody listens");
    io::stdin().lock().read_line(&mut String::new()).expect("a line");
}

fn await_end_of_input() {
    let mut byte = 0_u8;
    // SAFETY: there is room for one byte.
    while unsafe { libc::read(0, (&raw mut byte).cast(), 1) } > 0 {}
}

fn fork(child: impl FnOnce()) -> libc::pid_t {
    // SAFETY: there is no other thread here that could hold a lock.
    match unsafe { libc::fork() } {
        0 => {
            child();
            exit(0)
        }
        -1 => panic!("fork: {}", io::Error::last_os_error()),
        pid => pid,
    }
}

fn wait(pid: libc::pid_t) {
    // SAFETY: the status may be null.
    unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
}

fn exit(code: i32) -> ! {
    // SAFETY: it takes any number.
    unsafe { libc::_exit(code) }
}
