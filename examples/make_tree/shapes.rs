//! The shapes that need no threads, and how many of each are made.
//!
//! All but `tree`, `storm`, `race` and `instant` are scenes: a process is forked, which plays one out and
//! reaps what it can. Many scenes run at the same time.

use std::ffi::CStr;

use crate::image::{Action, Image};
use crate::process::{DEADLY, Dice, End, fork, reap, reap_all, vfork};
use crate::threaded;
use crate::{Options, Shape, os};

/// How many scenes run at the same time.
const SCENES_AT_ONCE: usize = 16;

/// The scenes that `mix` takes in turn.
const MIXED: [Shape; 12] = [
    Shape::Tree,
    Shape::DoubleFork,
    Shape::Setsid,
    Shape::Vfork,
    Shape::Threads,
    Shape::ExecByThread,
    Shape::FailedExec,
    Shape::ExecChain,
    Shape::Signals,
    Shape::Orphans,
    Shape::Instant,
    Shape::Storm,
];

/// Makes all that was ordered. Orphans may still be alive thereafter.
pub(crate) fn make(options: &Options) {
    let mut dice = Dice(options.seed);
    let count = options.count.unwrap_or(match options.shape {
        Shape::Storm => 1000,
        Shape::Race => 4800,
        Shape::Mix => 500,
        Shape::Instant => 100,
        _ => 40,
    });
    match options.shape {
        Shape::Tree => tree(dice, options.depth, options.fanout),
        Shape::Instant => instant(dice, count),
        Shape::Storm => threaded::storm(dice, options.threads, count, "storm"),
        Shape::Race => threaded::race(dice, options.threads, count),
        shape => scenes(shape, &mut dice, count, options.threads),
    }
}

fn scenes(shape: Shape, dice: &mut Dice, count: u32, threads: u32) {
    let mut made = 0;
    let mut running = 0;
    for scene in 0.. {
        if made >= count {
            break;
        }
        let shape = if shape == Shape::Mix { MIXED[scene % MIXED.len()] } else { shape };
        let mut dice = dice.split();
        fork(move || {
            dice.nap(2);
            play(shape, dice, threads, &format!("{scene}"))
        });
        made += size(shape, threads);
        running += 1;
        if running > SCENES_AT_ONCE && os::wait(None).is_some() {
            running -= 1;
        }
    }
}

/// About how many processes a scene has.
fn size(shape: Shape, threads: u32) -> u32 {
    match shape {
        Shape::Tree => 15,
        Shape::DoubleFork | Shape::Setsid => 3,
        Shape::Vfork => 8,
        Shape::Threads => threads + 1,
        Shape::ExecByThread | Shape::ExecChain | Shape::Mix => 1,
        Shape::FailedExec => 6,
        Shape::Signals => DEADLY.len() as u32 + 2,
        Shape::Orphans => 7,
        Shape::Instant => 11,
        Shape::Storm | Shape::Race => 41,
    }
}

/// What the process that a scene has been forked for does.
fn play(shape: Shape, mut dice: Dice, threads: u32, tag: &str) -> End {
    match shape {
        Shape::Tree | Shape::Mix => tree(dice.split(), 3, 2),
        Shape::DoubleFork => double_fork(dice.split()),
        Shape::Setsid => sessions(dice.split()),
        Shape::Vfork => vforks(dice.split(), tag),
        Shape::Threads => threaded::forks(dice.split(), threads),
        Shape::ExecByThread => threaded::exec(dice.split(), threads, tag),
        Shape::FailedExec => failed_execs(dice.split(), tag),
        Shape::ExecChain => {
            let times = 1 + dice.below(7);
            Image::new(tag, Action::ExecAgain(times), dice.split()).exec()
        }
        Shape::Signals => signals(dice.split(), tag),
        Shape::Orphans => orphans(dice.split()),
        Shape::Instant => instant(dice.split(), 10),
        Shape::Storm => threaded::storm(dice.split(), threads.min(4), 40, tag),
        Shape::Race => threaded::race(dice.split(), threads.min(4), 40),
    }
    dice.end()
}

fn tree(mut dice: Dice, depth: u32, fanout: u32) {
    for _ in 0..fanout {
        let mut dice = dice.split();
        fork(move || {
            if depth > 1 {
                tree(dice.split(), depth - 1, fanout);
            }
            dice.end()
        });
    }
    reap_all();
}

/// The daemon is no one's child by the time that it ends.
fn double_fork(mut dice: Dice) {
    let middle = fork(move || {
        os::setsid();
        let mut daemon = dice.split();
        fork(move || {
            daemon.nap(20);
            End::Code(daemon.code())
        });
        End::Code(dice.code())
    });
    reap(middle);
}

fn sessions(mut dice: Dice) {
    let leader = fork(move || {
        os::setsid();
        let mut member = dice.split();
        let member = fork(move || {
            os::setpgid();
            member.nap(5);
            member.end()
        });
        reap(member);
        dice.end()
    });
    reap(leader);
}

fn vforks(mut dice: Dice, tag: &str) {
    let mut number = 0;
    let mut next = || {
        number += 1;
        format!("{tag}.v{number}")
    };
    let plain = Image::new(&next(), Action::End, dice.split());
    let forking = Image::new(&next(), Action::Fork(2), dice.split());
    let spawned = Image::unborn(&next(), Action::End, dice.split());
    let spawned_chain = Image::unborn(&next(), Action::ExecAgain(1), dice.split());
    let unused = dice.end();
    vfork(Some(&plain), unused);
    vfork(None, dice.end());
    vfork(Some(&forking), unused);
    spawned.argv().spawn();
    spawned_chain.argv().spawn();
    reap_all();
}

fn failed_execs(mut dice: Dice, tag: &str) {
    const MISSING: &CStr = c"/no/such/program";
    const NOT_EXECUTABLE: &CStr = c"/dev/null";
    let missing = Image::broken(MISSING);
    let not_executable = Image::broken(NOT_EXECUTABLE);
    let found = Image::new(&format!("{tag}.found"), Action::End, dice.split());
    fork(|| {
        missing.argv().exec();
        End::Code(127)
    });
    vfork(Some(&missing), End::Code(127));
    fork(|| {
        not_executable.argv().exec();
        End::Code(126)
    });
    // As a shell goes through PATH.
    fork(|| {
        missing.argv().exec();
        missing.argv().exec();
        found.exec()
    });
    fork(|| threaded::failed_exec(&missing));
    reap_all();
}

fn signals(mut dice: Dice, tag: &str) {
    for signal in DEADLY {
        fork(|| End::Signal(signal));
    }
    // Whatever the dice say, after an exec the log has to be right as well.
    let image = Image::new(&format!("{tag}.image"), Action::End, dice.split());
    vfork(Some(&image), End::Code(127));
    reap_all();
}

/// A chain in which each process ends as soon as it has a child, and siblings without a parent.
fn orphans(mut dice: Dice) {
    let chain = dice.split();
    fork(move || chain_of_orphans(chain, 3));
    let mut siblings = dice.split();
    fork(move || {
        for _ in 0..2 {
            let mut dice = siblings.split();
            fork(move || {
                dice.nap(15);
                dice.end()
            });
        }
        siblings.end()
    });
    // Not reaped either: these are orphans in their turn if this scene's process is the first to go.
}

fn chain_of_orphans(mut dice: Dice, left: u32) -> End {
    if left > 0 {
        let next = dice.split();
        fork(move || chain_of_orphans(next, left - 1));
    } else {
        dice.nap(15);
    }
    dice.end()
}

/// The shortest lives there are.
fn instant(mut dice: Dice, count: u32) {
    for made in 0..count {
        let code = dice.code();
        fork(|| End::Code(code));
        if made >= threaded::MOST_UNREAPED && os::wait(None).is_none() {
            process_is_missing();
        }
    }
    reap_all();
}

fn process_is_missing() -> ! {
    os::give_up("there was no child to reap")
}
