//! The whole way: a kernel in memory, the source, a reactor, and what its readers get.

use std::collections::VecDeque;

use super::follow::Follower;
use super::kernels::{FREEBSD, XNU};
use super::machine::{Machine, Missed};
use super::source::{Kqueue, NAME, failed};
use crate::error::SourceError;
use crate::{EventKind, ExitStatus, Reactor, Reader, TreeOptions};

fn reactor(machine: &Machine) -> Reactor {
    let me = std::process::id();
    machine.lock().put(me, 0);
    let follower = Follower::new(machine.clone(), FREEBSD, me).unwrap();
    Reactor::new(Box::new(Kqueue::new(follower).unwrap())).unwrap()
}

/// The pids and what happened, one word each.
fn told(reactor: &Reactor, reader: &mut Reader) -> Vec<(u32, String)> {
    reactor.turn();
    let mut events = VecDeque::new();
    reader.read(&mut events, 100);
    let word = |kind: &EventKind| match kind {
        EventKind::Fork { child } => format!("forks {}", child.pid()),
        EventKind::Exec { .. } => "runs".to_owned(),
        EventKind::Exit { status } => status.to_string(),
        EventKind::Found { .. } => "is found".to_owned(),
        EventKind::Lost { exact, .. } => format!("lost, exact: {exact}"),
        EventKind::Resync { .. } => "resync".to_owned(),
        other => format!("{other:?}"),
    };
    events.iter().map(|event| (event.id.pid(), word(&event.kind))).collect()
}

fn said(words: &[(u32, &str)]) -> Vec<(u32, String)> {
    words.iter().map(|(pid, word)| (*pid, (*word).to_owned())).collect()
}

#[test]
fn a_spawn_is_told_and_nobody_else_s() {
    let machine = Machine::new(FREEBSD);
    let me = std::process::id();
    let reactor = reactor(&machine);
    let child = me + 10;
    let kernel = machine.clone();
    let start = move || {
        let mut kernel = kernel.lock();
        // By another thread, at the same time.
        kernel.fork(me, child + 1);
        kernel.fork(me, child);
        kernel.exec(child);
        Ok::<_, SourceError>((child, ()))
    };
    let (mut reader, ()) = reactor.spawn(TreeOptions::default(), start).unwrap();
    machine.lock().fork(child + 1, child + 2);
    machine.lock().fork(child, child + 3);
    machine.lock().exit(child + 3, 0x700, false);
    machine.lock().exit(child, 0, true);
    let forks = format!("forks {child}");
    let forks_too = format!("forks {}", child + 3);
    assert_eq!(
        told(&reactor, &mut reader),
        said(&[(me, &forks), (child, "runs"), (child, &forks_too), (child + 3, "exit 7"), (child, "exit 0")])
    );
    assert_eq!(reactor.source_name(), NAME);
}

#[test]
fn what_may_be_missing_is_said_before_the_tree_ends() {
    let machine = Machine::new(FREEBSD);
    let reactor = reactor(&machine);
    let pid = std::process::id() + 10;
    machine.lock().put(pid, 1);
    machine.lock().processes.get_mut(&pid).unwrap().threads = 2;
    let mut reader = reactor.attach(pid, TreeOptions::default()).unwrap();
    assert_eq!(told(&reactor, &mut reader), said(&[(pid, "is found")]));
    let mut kernel = machine.lock();
    kernel.fork(pid, pid + 1);
    kernel.fork_badly(pid, pid + 2, Missed { on: [true; 2], memory: None });
    kernel.exit(pid + 2, 0, false);
    kernel.reap(pid + 2);
    drop(kernel);
    let mut all = told(&reactor, &mut reader);
    machine.lock().time += 30_000_000;
    all.extend(told(&reactor, &mut reader));
    let forks = format!("forks {}", pid + 1);
    assert_eq!(all, said(&[(pid, &forks), (pid, "lost, exact: false"), (pid, "resync")]));
    machine.lock().exit(pid + 1, 9, false);
    assert_eq!(told(&reactor, &mut reader), said(&[(pid + 1, "killed by SIGKILL")]));
}

#[test]
fn whom_the_reactor_finds_is_followed() {
    let machine = Machine::new(FREEBSD);
    let reactor = reactor(&machine);
    let pid = std::process::id() + 10;
    machine.lock().put(pid, 1);
    let mut reader = reactor.attach(pid, TreeOptions::default()).unwrap();
    told(&reactor, &mut reader);
    // Neither queue could follow it, for want of memory, and both said so.
    machine.lock().fork_badly(pid, pid + 1, Missed { on: [false; 2], memory: Some(false) });
    let first = told(&reactor, &mut reader);
    assert!(first.contains(&(pid, "lost, exact: false".to_owned())), "{first:?}");
    machine.lock().time += 30_000_000;
    told(&reactor, &mut reader);
    machine.lock().exit(pid + 1, 0x200, false);
    assert!(told(&reactor, &mut reader).contains(&(pid + 1, "exit 2".to_owned())));
    assert_eq!(ExitStatus::from_wait_status(0x200).code(), Some(2));
}

#[test]
fn it_promises_what_the_kernel_can_keep() {
    let machine = Machine::new(XNU);
    machine.lock().put(50, 1);
    let source = Kqueue::new(Follower::new(machine, XNU, 50).unwrap()).unwrap();
    let source: Box<dyn crate::Source> = Box::new(source);
    assert!(!source.capabilities().exact_tree && source.capabilities().statuses);
    assert!(
        source.details().iter().any(|(name, value)| *name == "children" && value.starts_with("best effort"))
    );
    let error = failed("kqueue")(std::io::Error::from_raw_os_error(libc::EMFILE));
    assert!(error.to_string().contains("ulimit -n"), "{error}");
}
