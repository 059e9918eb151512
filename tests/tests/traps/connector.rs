//! Traps of the process connector.

use std::collections::HashMap;
use std::process::Command;

use proc_reactor::SourceName;
use tests::sources::STOCK_BUFFER;

use crate::perf::ends_in_a_loss;
use crate::raw::Connector;
use crate::rig::{self, read_to_end, spawn, trapper};

const EXIT: u32 = 0x8000_0000;
/// The answer to LISTEN.
const ANSWER: u32 = 0;

/// A socket that listens, if the kernel has it; unfiltered, and then by a mask.
fn connector(mask: Option<u32>) -> Option<Connector> {
    let socket = Connector::open().ok()?;
    socket.listen(None).ok()?;
    match socket.next(200) {
        Ok(Some((_, _, ANSWER))) => {}
        // Of another listener's, before the answer.
        Ok(Some(_)) => {}
        _ => {
            println!("SKIPPED: how the kernel does it: LISTEN is not answered here");
            return None;
        }
    }
    if mask.is_some() {
        socket.listen(mask).ok()?;
    }
    Some(socket)
}

fn drain(socket: &Connector) -> Vec<(u32, u32, u32)> {
    std::iter::from_fn(|| socket.next(20).ok().flatten()).collect()
}

/// How many numbers are missing.
fn holes(messages: &[(u32, u32, u32)]) -> u64 {
    let mut last: HashMap<u32, u32> = HashMap::new();
    let mut holes = 0;
    for &(number, cpu, what) in messages.iter().filter(|(.., what)| *what != ANSWER) {
        let _ = what;
        if let Some(before) = last.insert(cpu, number) {
            holes += u64::from(number.wrapping_sub(before).wrapping_sub(1));
        }
    }
    holes
}

fn make(count: u32) {
    for _ in 0..count {
        Command::new("true").status().expect("true");
    }
}

#[test]
fn trap_0_8_a_filter_leaves_holes_in_the_numbers() {
    if let Some(socket) = connector(Some(EXIT)) {
        drain(&socket);
        make(20);
        let messages = drain(&socket);
        let (kept, holes) = (messages.len(), holes(&messages));
        println!("a filter kept {kept} messages, and {holes} numbers are missing though nothing was lost");
        assert!(holes > 0, "{messages:?}");
    }
    // Whatever others filter: what we are told has no holes.
    let _other = connector(Some(EXIT));
    let Some(reactor) = rig::reactor(SourceName::CnProc, |_| ()) else { return };
    let (mut child, mut reader) = spawn(&reactor, trapper(&["end", "0", "3"]));
    make(20);
    let events = read_to_end(&reactor, &mut reader);
    assert_eq!(rig::lost(&events), 0, "{events:#?}");
    child.wait().expect("it can be waited for");
}

#[test]
fn trap_13_a_stock_buffer_is_small() {
    let Some(reference) = connector(None) else { return };
    drain(&reference);
    let small = Connector::open().expect("as before");
    small.buffer(STOCK_BUFFER as i32).expect("anybody may");
    small.listen(None).expect("as before");
    make(400);
    let mut kept = 0;
    let overrun = loop {
        match small.next(20) {
            Ok(Some(_)) => kept += 1,
            Ok(None) => break false,
            Err(error) => break error.raw_os_error() == Some(libc::ENOBUFS),
        }
    };
    println!("a buffer of {STOCK_BUFFER} bytes asked for, overrun {overrun} after {kept} messages");
    assert!(overrun, "{kept} messages");
    // Nobody reads for as long: with as much in each of sixteen sockets all of it is kept.
    let Some(reactor) =
        rig::reactor(SourceName::CnProc, |options| options.receive_buffer = Some(STOCK_BUFFER))
    else {
        return;
    };
    let (mut child, mut reader) = spawn(&reactor, trapper(&["many", "400"]));
    rig::await_ready(&mut child);
    drop(rig::go(&mut child));
    child.wait().expect("it can be waited for");
    let events = read_to_end(&reactor, &mut reader);
    let births = rig::ends(&events).len() as u64;
    let lost = rig::lost(&events);
    println!("{births} of 401 ends told, {lost} records lost");
    assert!(births == 401 || lost > 0, "{births} ends, and nothing lost");
}

#[test]
fn trap_13_numbers_show_a_loss_late() {
    let Some(reference) = connector(None) else { return };
    drain(&reference);
    let small = Connector::open().expect("as before");
    small.buffer(1).expect("anybody may");
    small.listen(None).expect("as before");
    make(50);
    let mut messages = Vec::new();
    let mut overruns = 0;
    loop {
        match small.next(20) {
            Ok(Some(message)) => messages.push(message),
            Ok(None) => break,
            Err(_) => overruns += 1,
        }
    }
    println!(
        "{} messages, {overruns} overruns, and {} numbers missing so far",
        messages.len(),
        holes(&messages)
    );
    assert!(overruns > 0);
}

#[test]
fn trap_13_a_tree_that_ends_in_a_loss() {
    ends_in_a_loss(SourceName::CnProc, 2000, |options| {
        options.receive_buffer = Some(4096);
        options.shards = Some(1);
    });
}

#[test]
fn trap_13_a_filtered_listen_is_not_answered() {
    let Some(reference) = connector(None) else { return };
    drain(&reference);
    let socket = Connector::open().expect("as before");
    socket.listen(Some(EXIT)).expect("it can be sent");
    let answers =
        std::iter::from_fn(|| socket.next(50).ok().flatten()).take(64).filter(|(.., what)| *what == ANSWER);
    println!("{} answers to a LISTEN with a filter", answers.count());
    // Ours asks without one first, and so it opens.
    assert!(rig::reactor(SourceName::CnProc, |_| ()).is_some());
}
