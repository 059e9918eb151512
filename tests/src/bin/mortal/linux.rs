//! Processes that end as they are told.
//!
//! `mortal end STATUS` ends with this wait status, `mortal bulk STATUS` with much memory to be given back. `mortal linger` ends with its input.
//! `mortal reap COUNT`, `mortal ignore COUNT` and `mortal orphan COUNT` make that many children that end as
//! [`tests::ends::planned`] says, and write down what they know of it, a line each: `PID STATUS`. The first reaps them as fast as
//! it can, and fails if a status is lost or wrong; the second has the kernel reap them; those of the third lose their parent
//! before they end.
#![expect(unsafe_code, reason = "children that are forks and waits for any of them have no safe interface")]

use std::collections::HashMap;
use std::ffi::c_int;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;

use tests::ends::{CORE, is_as_planned, planned};

/// Children that live at the same time.
const AT_ONCE: usize = 16;
/// Takes the kernel milliseconds to give back.
const BULK: usize = 48 << 20;

pub(crate) fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["end", status] => end(number(status)),
        ["bulk", status] => {
            // Written to, so that it is there.
            let bulk = std::hint::black_box(vec![1_u8; BULK]);
            std::mem::forget(bulk);
            end(number(status));
        }
        ["linger"] => drop(io::stdin().read(&mut [0])),
        ["reap", count] => reap(number(count)),
        ["ignore", count] => ignore(number(count)),
        ["orphan", count] => orphan(number(count)),
        _ => panic!(
            "usage: mortal end STATUS | bulk STATUS | linger | reap COUNT | ignore COUNT | orphan COUNT"
        ),
    }
}

/// Ends with this wait status.
fn end(status: c_int) -> ! {
    let signal = status & 0x7f;
    if signal == 0 {
        // SAFETY: it takes any number.
        unsafe { libc::_exit(status >> 8) };
    }
    let most = if status & CORE == 0 { 0 } else { libc::RLIM_INFINITY };
    let limit = libc::rlimit { rlim_cur: most, rlim_max: libc::RLIM_INFINITY };
    let low = libc::rlimit { rlim_cur: most, rlim_max: most };
    // SAFETY: the limit is only read. Where it may not be raised there is no core, and the wait status says so.
    if unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const limit) } != 0 {
        // SAFETY: as above.
        unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const low) };
    }
    // SAFETY: the default action needs no handler.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
    // SAFETY: it takes any number.
    unsafe { libc::raise(signal) };
    panic!("it lives on");
}

/// A child, of this process that has one thread, that ends so.
fn fork(status: c_int) -> u32 {
    // SAFETY: there is no other thread that could hold a lock.
    let child = unsafe { libc::fork() };
    if child == 0 {
        end(status);
    }
    assert!(child > 0, "fork: {}", io::Error::last_os_error());
    child as u32
}

fn reap(count: usize) {
    let mut children: HashMap<u32, c_int> = HashMap::new();
    let mut truth = Vec::new();
    let mut made = 0;
    while truth.len() < count {
        while made < count && children.len() < AT_ONCE {
            let status = planned(made);
            let before = children.insert(fork(status), status);
            assert_eq!(before, None, "the pid of a zombie is its own");
            made += 1;
        }
        let (pid, status) = wait_for_any();
        let planned =
            children.remove(&pid).unwrap_or_else(|| panic!("{pid} was no child or was reaped before"));
        assert!(
            is_as_planned(status, planned),
            "{pid} was to end with {planned:#x} and did with {status:#x}"
        );
        truth.push((pid, status));
    }
    tell(&truth);
}

/// Of any child, with stops and whatever else there is to be told.
fn wait_for_any() -> (u32, c_int) {
    let mut status = 0;
    let flags = libc::WUNTRACED | libc::WCONTINUED | libc::__WALL;
    // SAFETY: the status is this function's.
    let pid = unsafe { libc::waitpid(-1, &raw mut status, flags) };
    assert!(pid > 0, "a child was reaped by another: {}", io::Error::last_os_error());
    (pid as u32, status)
}

fn ignore(count: usize) {
    // SAFETY: to ignore runs no code.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    let mut truth = Vec::new();
    for number in 0..count {
        let status = planned(number) & !CORE;
        truth.push((fork(status), status));
        if number % AT_ONCE == AT_ONCE - 1 {
            wait_until_none_is_left();
        }
    }
    wait_until_none_is_left();
    tell(&truth);
}

fn wait_until_none_is_left() {
    // SAFETY: no status is asked for.
    let pid = unsafe { libc::waitpid(-1, std::ptr::null_mut(), 0) };
    assert_eq!(pid, -1, "the kernel reaps them");
    assert_eq!(io::Error::last_os_error().raw_os_error(), Some(libc::ECHILD));
}

/// A child between this and the one that ends as planned says who that is, and leaves it alone.
fn orphan(count: usize) {
    let mut truth = Vec::new();
    for number in 0..count {
        let (mut reading, writing) = UnixStream::pair().expect("a pair of sockets");
        let status = planned(number) & !CORE;
        // SAFETY: there is no other thread that could hold a lock.
        let between = unsafe { libc::fork() };
        if between == 0 {
            drop(reading);
            let (mut until, held) = UnixStream::pair().expect("a pair of sockets");
            // SAFETY: as above.
            let child = unsafe { libc::fork() };
            if child == 0 {
                drop((held, writing));
                // Until its parent has gone.
                let _ = until.read(&mut [0]);
                end(status);
            }
            (&writing).write_all(&child.to_ne_bytes()).expect("somebody who reads it");
            end(0);
        }
        drop(writing);
        let mut child = [0; 4];
        reading.read_exact(&mut child).expect("it says so");
        assert_eq!(wait_for_any(), (between as u32, 0));
        truth.push((u32::from_ne_bytes(child), status));
        // It ends before long; the next one may be made meanwhile.
    }
    tell(&truth);
}

fn tell(truth: &[(u32, c_int)]) {
    let lines: Vec<String> = truth.iter().map(|(pid, status)| format!("{pid} {status}\n")).collect();
    io::stdout().write_all(lines.concat().as_bytes()).expect("somebody who reads it");
}

fn number<N: std::str::FromStr>(word: &str) -> N {
    word.parse().unwrap_or_else(|_| panic!("not a number: {word}"))
}
