//! The shapes with threads.
//!
//! Where one thread ends the whole process, no other may be inside of a fork: the child would be
//! born of a call that never returned, and no other observer could tell whose it is. A thread
//! that has been started counts, because clone must have returned in its creator too.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use crate::image::{Action, Image};
use crate::log;
use crate::os;
use crate::process::{Dice, End, finish, fork, fork_raw, reap, sleep_on, vfork};

/// How many children that are not reaped yet `storm` has at most.
pub(crate) const MOST_UNREAPED: u32 = 64;

/// How a process with threads ends.
#[derive(Clone, Copy, Debug)]
enum Close {
    /// A thread that isn't the leader ends all others, of which the leader is gone already.
    ExitGroup(u8),
    /// The same by a signal.
    Signal(i32),
    /// Each thread ends itself. (They agree on the code: kernels don't on whose of them counts.)
    OneByOne(u8),
}

/// Threads fork a child each, after which one of them ends the process.
pub(crate) fn forks(mut dice: Dice, threads: u32) -> ! {
    let code = dice.code().max(1);
    let close = match dice.below(4) {
        0 if os::THREADS_END_ALONE => Close::OneByOne(code),
        1 => Close::Signal([libc::SIGTERM, libc::SIGKILL, libc::SIGSEGV][dice.below(3) as usize]),
        _ => Close::ExitGroup(code),
    };
    let busy = Arc::new(AtomicU32::new(threads + 1));
    for _ in 0..threads {
        let dice = dice.split();
        let busy = Arc::clone(&busy);
        start(move || forker(dice, close, &busy));
    }
    {
        let busy = Arc::clone(&busy);
        start(move || closer(close, &busy));
    }
    busy.fetch_sub(1, Ordering::Release);
    match close {
        Close::OneByOne(code) => os::exit_thread(code),
        // A code that is not the process's in the end.
        Close::ExitGroup(code) => os::exit_thread(code ^ 1),
        Close::Signal(_) => os::exit_thread(0),
    }
}

fn forker(mut dice: Dice, close: Close, busy: &AtomicU32) -> Infallible {
    let mut life = dice.split();
    let child = fork(move || {
        life.nap(3);
        life.end()
    });
    reap(child);
    busy.fetch_sub(1, Ordering::Release);
    match close {
        Close::OneByOne(code) => os::exit_thread(code),
        Close::ExitGroup(_) | Close::Signal(_) => sleep_on(),
    }
}

fn closer(close: Close, busy: &AtomicU32) -> Infallible {
    until_none(busy);
    // For the leader to be gone.
    thread::sleep(Duration::from_millis(2));
    match close {
        Close::ExitGroup(code) => finish(End::Code(code)),
        Close::Signal(signal) => finish(End::Signal(signal)),
        Close::OneByOne(code) => {
            log::end(std::process::id(), End::Code(code));
            os::exit_thread(code)
        }
    }
}

/// A thread that isn't the leader execs, while others sleep and the leader may be gone.
pub(crate) fn exec(mut dice: Dice, threads: u32, tag: &str) -> ! {
    let leader_stays = dice.below(2) == 0;
    let action = if dice.below(2) == 0 { Action::End } else { Action::Fork(1) };
    let image = Image::new(tag, action, dice.split());
    let starting = Arc::new(AtomicU32::new(1));
    for _ in 1..threads {
        start(sleep_on);
    }
    {
        let starting = Arc::clone(&starting);
        start(move || {
            until_none(&starting);
            dice.nap(3);
            image.exec()
        });
    }
    starting.fetch_sub(1, Ordering::Release);
    if leader_stays { match sleep_on() {} } else { os::exit_thread(9) }
}

/// A failed exec leaves the threads alone.
pub(crate) fn failed_exec(image: &Image) -> End {
    thread::scope(|scope| scope.spawn(|| image.argv().exec()).join()).ok();
    End::Code(125)
}

/// Threads make many short-lived children at the same time.
pub(crate) fn storm(mut dice: Dice, threads: u32, count: u32, tag: &str) {
    thread::scope(|scope| {
        for thread in 0..threads {
            let dice = dice.split();
            let share = count / threads + u32::from(thread < count % threads);
            let window = (MOST_UNREAPED / threads) as usize;
            scope.spawn(move || storm_thread(dice, share, window, &format!("{tag}.{thread}")));
        }
    });
}

fn storm_thread(mut dice: Dice, count: u32, window: usize, tag: &str) {
    let mut unreaped = VecDeque::with_capacity(window + 1);
    for number in 0..count {
        unreaped.push_back(storm_child(dice.split(), &format!("{tag}.{number}")));
        if unreaped.len() > window.saturating_sub(1) {
            unreaped.pop_front().into_iter().for_each(reap);
        }
    }
    unreaped.into_iter().for_each(reap);
}

fn storm_child(mut dice: Dice, tag: &str) -> u32 {
    let end = dice.end();
    match dice.below(32) {
        0 => vfork(Some(&Image::new(tag, Action::End, dice)), end),
        1 => Image::unborn(tag, Action::End, dice).argv().spawn(),
        2 => {
            let image = Image::new(tag, Action::End, dice);
            let argv = image.argv();
            fork(|| {
                argv.exec();
                end
            })
        }
        3 => vfork(None, end),
        4 | 5 => fork(move || {
            dice.nap(2);
            end
        }),
        6 => fork(|| {
            reap(fork(|| end));
            end
        }),
        _ => fork(|| end),
    }
}

/// Threads vfork and fork at the same time, in turns: what a kernel that tracks children must not miss one of.
pub(crate) fn race(mut dice: Dice, threads: u32, count: u32) {
    let together = Arc::new(Barrier::new(threads as usize));
    thread::scope(|scope| {
        for thread in 0..threads {
            let mut dice = dice.split();
            let together = Arc::clone(&together);
            let share = count / threads + u32::from(thread < count % threads);
            scope.spawn(move || {
                together.wait();
                for number in 0..share {
                    let end = End::Code(dice.code());
                    reap(match (number + thread) % 3 {
                        0 => fork_raw(end),
                        1 => fork(|| end),
                        _ => vfork(None, end),
                    });
                }
            });
        }
    });
}

/// Starts a thread that never returns, so that it ends as it says and not as std would have it.
fn start(body: impl FnOnce() -> Infallible + Send + 'static) {
    if thread::Builder::new().spawn(body).is_err() {
        os::give_up("cannot start a thread");
    }
}

/// Waits for a count to come down.
fn until_none(count: &AtomicU32) {
    while count.load(Ordering::Acquire) > 0 {
        thread::sleep(Duration::from_micros(200));
    }
}
