//! What the halves about ours share: a queue over a script or over the kernel, and the line that is printed.

use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::{Duration, Instant};

use proc_reactor::flags::*;
use proc_reactor::source::Living;
use proc_reactor::source::sim::{Script, scripted};
use proc_reactor::{Kevent, Queue, QueueOptions, Reactor, Source, open};

use crate::algorithm::Found;

/// Lives in every script, and is nobody's child who matters.
pub(crate) const ROOT: u32 = 100;
pub(crate) const ALL: u32 = NOTE_EXIT | NOTE_FORK | NOTE_EXEC | NOTE_TRACK;
pub(crate) const NOW: Option<Duration> = Some(Duration::ZERO);
/// Nothing here takes as long: who waits for it has lost something.
pub(crate) const LONG: Duration = Duration::from_secs(60);

pub(crate) fn scripted_queue() -> (Queue, Script) {
    let (source, script) = scripted().expect("two descriptors");
    script.list(Living { pid: ROOT, parent: 1, start: 1, threads: vec![ROOT], status: None });
    let source: Box<dyn Source> = Box::new(source);
    let reactor = Reactor::new(source).expect("a reactor");
    (reactor.queue(QueueOptions::default()).expect("a queue"), script)
}

/// Over the kernel's own records. None where these are not to be had.
pub(crate) fn kernel_queue() -> Option<Queue> {
    match open(&Default::default()) {
        Ok(source) => {
            let reactor = Reactor::new(source).expect("a reactor");
            Some(reactor.queue(QueueOptions::default()).expect("a queue"))
        }
        Err(error) => {
            println!("SKIPPED: with real processes: {error}");
            None
        }
    }
}

pub(crate) fn change(queue: &Queue, pid: u32, flags: u16, fflags: u32, udata: u64) -> i32 {
    match queue.kevent(&[Kevent::process(pid, flags, fflags).with_udata(udata)], &mut [], NOW) {
        Ok(_) => 0,
        Err(error) => error.errno(),
    }
}

pub(crate) fn add(queue: &Queue, pid: u32, fflags: u32, udata: u64) {
    assert_eq!(change(queue, pid, EV_ADD, fflags, udata), 0, "pid {pid}");
}

pub(crate) fn read(queue: &Queue) -> Vec<Kevent> {
    read_for(queue, Duration::ZERO)
}

fn read_for(queue: &Queue, timeout: Duration) -> Vec<Kevent> {
    let mut events = [Kevent::default(); 16];
    let count = queue.kevent(&[], &mut events, Some(timeout)).expect("the queue is open");
    events[..count].to_vec()
}

/// Reads until `enough` says so of an event.
pub(crate) fn read_until(queue: &Queue, mut enough: impl FnMut(&Kevent) -> bool) -> Vec<Kevent> {
    let begun = Instant::now();
    let mut all = Vec::new();
    loop {
        let some = read_for(queue, LONG);
        let done = some.iter().filter(|event| enough(event)).count() > 0;
        all.extend(some);
        if done {
            return all;
        }
        assert!(begun.elapsed() < LONG, "it does not come: {all:?}");
    }
}

pub(crate) fn exits(event: &Kevent) -> bool {
    event.filter == EVFILT_PROC && event.fflags & NOTE_EXIT != 0
}

/// A child that ends when its standard input is closed, with `code`.
pub(crate) fn child(code: u8) -> Child {
    let script = format!("read line; exit {code}");
    Command::new("sh").args(["-c", &script]).stdin(Stdio::piped()).spawn().expect("sh")
}

/// Waits until a child is a zombie, without reaping it.
pub(crate) fn until_zombie(child: &Child) {
    let begun = Instant::now();
    let path = format!("/proc/{}/stat", child.id());
    loop {
        let stat = std::fs::read_to_string(&path).expect("nobody else reaps it");
        if stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" Z")) {
            return;
        }
        assert!(begun.elapsed() < LONG, "it does not end: {stat}");
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// Says so when it goes, also by a panic: threads that go on until then would be waited for for ever.
pub(crate) struct Done<'a>(pub(crate) &'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs both, the one as nearly as possible at the time of the other: starting a thread takes longer than what is to be raced.
pub(crate) fn at_once<A: Send, B>(first: impl FnOnce() -> A + Send, second: impl FnOnce() -> B) -> (A, B) {
    let here = AtomicU8::new(0);
    let meet = || {
        here.fetch_add(1, Ordering::SeqCst);
        while here.load(Ordering::SeqCst) < 2 {
            std::thread::yield_now();
        }
    };
    std::thread::scope(|scope| {
        let first = scope.spawn(|| {
            meet();
            first()
        });
        meet();
        let second = second();
        (first.join().expect("it does not panic"), second)
    })
}

/// A row of the museum: asserts that the fault was found before, and prints what was run of ours.
pub(crate) fn row(name: &str, before: Found, ours: &str) {
    let Found::Yes { steps } = before else {
        panic!("{name}: not found in what was done before: {before:?}")
    };
    println!("{name:52} | before: found in {steps:2} steps | ours: {ours}");
}
