//! K2: a signal reaches the process that was meant and no other, over every source that works here, with real processes; also
//! when the process ends and its pid is given to another in the midst of it.
#![cfg(target_os = "linux")]
#![expect(unsafe_code, reason = "poll and geteuid")]

mod made;
mod reuse;

use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};

use proc_reactor::{
    AttachError, OpenOptions, ProcId, Reactor, Reader, SignalError, Source, SourceName, TreeOptions, open,
};

/// How often a call is made again that is told to try again.
const PATIENCE: usize = 2_000;

fn sources() -> Vec<Box<dyn Source>> {
    let mut sources = Vec::new();
    for &name in SourceName::ALL {
        let mut options = OpenOptions::default();
        options.source = Some(name);
        match open(&options) {
            Ok(source) => sources.push(source),
            Err(error) => println!("SKIPPED: {error}"),
        }
    }
    sources
}

fn reactors() -> impl Iterator<Item = Reactor> {
    sources().into_iter().map(|source| Reactor::new(source).unwrap())
}

fn options() -> TreeOptions {
    let mut options = TreeOptions::default();
    options.metadata = false;
    options
}

type AnyError = Box<dyn std::error::Error + Send + Sync>;

fn spawn(reactor: &Reactor, program: &'static str, args: &'static [&str]) -> (Reader, Child) {
    let start = move || -> Result<(u32, Child), AnyError> {
        let child = Command::new(program).args(args).stdin(Stdio::piped()).spawn()?;
        Ok((child.id(), child))
    };
    reactor.spawn(options(), start).unwrap()
}

/// Tries again as long as it is told to.
fn settled<T>(mut call: impl FnMut() -> Result<T, SignalError>) -> Result<T, SignalError> {
    for _ in 0..PATIENCE {
        match call() {
            Err(SignalError::Unsettled { .. }) => std::thread::yield_now(),
            result => return result,
        }
    }
    panic!("it does not pass");
}

fn is_gone<T>(result: &Result<T, SignalError>, id: ProcId) -> bool {
    matches!(result, Err(SignalError::Gone { id: gone }) if *gone == id)
}

/// Waits until a descriptor is readable: that of a process, when it has ended.
fn ended(pidfd: impl AsFd) {
    let mut polled = libc::pollfd { fd: pidfd.as_fd().as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one entry, which lives as long as the call.
    assert_eq!(unsafe { libc::poll(&raw mut polled, 1, 30_000) }, 1, "it goes on");
}

/// Signalled as soon as it is there, and when it has been there for a while.
#[test]
fn k2_a_living_child() {
    for reactor in reactors() {
        for _ in 0..20 {
            let (reader, mut child) = spawn(&reactor, "sleep", &["60"]);
            settled(|| reactor.signal(reader.id(), 0)).unwrap();
            let wrong = settled(|| reactor.signal(reader.id(), 1000));
            assert!(matches!(wrong, Err(SignalError::NoSuchSignal { signal: 1000 })), "{wrong:?}");
            assert!(child.try_wait().unwrap().is_none());
            settled(|| reactor.signal(reader.id(), libc::SIGTERM)).unwrap();
            assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGTERM));
        }
    }
}

/// Gone as a zombie, before anybody has waited for it, and gone after.
#[test]
fn k2_a_zombie_and_one_that_was_reaped() {
    for reactor in reactors() {
        for _ in 0..20 {
            let (reader, mut child) = spawn(&reactor, "cat", &[]);
            let id = reader.id();
            let pidfd = settled(|| reactor.pidfd(id)).unwrap();
            drop(child.stdin.take());
            ended(&pidfd);
            assert!(is_gone(&reactor.signal(id, libc::SIGKILL), id), "it is a zombie");
            assert!(is_gone(&reactor.pidfd(id), id));
            assert!(child.wait().unwrap().success(), "K10: its status was left alone");
            assert!(is_gone(&reactor.signal(id, libc::SIGKILL), id));
        }
    }
}

/// A pid is no identity: it takes the birth as well.
#[test]
fn k2_nobody_of_that_birth() {
    for reactor in reactors() {
        let (reader, mut child) = spawn(&reactor, "cat", &[]);
        let id = reader.id();
        for (pid, birth) in [(id.pid(), id.birth() + 1), (id.pid(), 0), (u32::MAX, 1), (0, 0)] {
            let other = ProcId::new(pid, birth);
            assert!(is_gone(&reactor.signal(other, libc::SIGKILL), other), "{other}");
        }
        drop(child.stdin.take());
        assert!(child.wait().unwrap().success());
    }
}

/// Many at once from several threads, each its own.
#[test]
fn k2_several_threads() {
    for reactor in reactors() {
        let children: Vec<(Reader, Child)> = (0..24).map(|_| spawn(&reactor, "sleep", &["60"])).collect();
        std::thread::scope(|scope| {
            for (number, (reader, _)) in children.iter().enumerate() {
                let signal = [libc::SIGTERM, libc::SIGKILL, libc::SIGUSR1][number % 3];
                let reactor = &reactor;
                scope.spawn(move || settled(|| reactor.signal(reader.id(), signal)).unwrap());
            }
        });
        for (number, (_, mut child)) in children.into_iter().enumerate() {
            let signal = [libc::SIGTERM, libc::SIGKILL, libc::SIGUSR1][number % 3];
            assert_eq!(child.wait().unwrap().signal(), Some(signal));
        }
    }
}

/// Another user's process. Root may signal everybody, and has somebody else try.
#[test]
fn another_users_process_is_denied() {
    // SAFETY: takes nothing.
    if unsafe { libc::geteuid() } != 0 {
        return denied_the_first_process();
    }
    let run = Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "denied_the_first_process", "--ignored", "--nocapture"])
        .output();
    match run {
        Ok(output) if output.status.success() => print!("{}", String::from_utf8_lossy(&output.stdout)),
        Ok(output) if String::from_utf8_lossy(&output.stderr).starts_with("setpriv: ") => {
            println!("SKIPPED: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(output) => panic!("{}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => println!("SKIPPED: setpriv: {error}"),
    }
}

#[test]
#[ignore = "a part of `another_users_process_is_denied`"]
fn denied_the_first_process() {
    // SAFETY: takes nothing.
    if unsafe { libc::geteuid() } == 0 {
        return;
    }
    for reactor in reactors() {
        match reactor.attach(1, options()) {
            Ok(reader) => {
                let denied = settled(|| reactor.signal(reader.id(), 0));
                assert!(
                    matches!(&denied, Err(SignalError::Denied { id, signal: 0, error })
                        if *id == reader.id() && error.raw_os_error() == Some(libc::EPERM)),
                    "{denied:?}"
                );
                let told = denied.unwrap_err().to_string();
                assert!(told.contains("not permitted"), "{told}");
            }
            Err(AttachError::Denied { .. }) => {
                println!("SKIPPED: {} lets nobody attach to it", reactor.source_name());
            }
            Err(error) => panic!("{error}"),
        }
    }
}
