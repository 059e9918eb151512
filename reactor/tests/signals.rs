//! K2: a signal reaches the process that was meant and no other, over every source that works here, with real processes; also
//! when the process ends and its pid is given to another in the midst of it.
#![cfg(target_os = "linux")]
#![expect(unsafe_code, reason = "processes with a pid of our choice")]

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::time::Duration;

use proc_reactor::source::{Drained, Living, Loss, Reading, Spawner};
use proc_reactor::{
    AttachError, Capabilities, Event, EventKind, ExitStatus, OpenOptions, ProcId, Reactor, Reader, Readiness,
    SignalError, Source, SourceError, SourceName, Stamped, TreeOptions, Turned, open,
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

/// A child that does nothing, with this pid if one is named. It blocks SIGUSR1, so that whether it got it can be seen, and
/// inherits no thread. None where the pid is not to be had: in use, or not for us to choose.
fn make(pid: Option<libc::pid_t>) -> io::Result<libc::pid_t> {
    // SAFETY: plain numbers, for which zeros are valid.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is this function's.
    unsafe { libc::sigaddset(&raw mut set, libc::SIGUSR1) };
    // SAFETY: the set is read only; of this thread alone.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
    let pids = [pid.unwrap_or(0)];
    // SAFETY: plain numbers, for which zeros are valid.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.exit_signal = libc::SIGCHLD as u64;
    if pid.is_some() {
        args.set_tid = pids.as_ptr() as u64;
        args.set_tid_size = 1;
    }
    // SAFETY: the arguments live until it returns, and the child only sleeps.
    let child = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of_val(&args)) };
    let error = io::Error::last_os_error();
    if child == 0 {
        // Should the test fail, nobody else ends it.
        // SAFETY: takes a number.
        unsafe { libc::alarm(60) };
        loop {
            // SAFETY: takes nothing.
            unsafe { libc::pause() };
        }
    }
    // SAFETY: as above.
    unsafe { libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, std::ptr::null_mut()) };
    if child > 0 { Ok(child as libc::pid_t) } else { Err(error) }
}

fn kill_and_reap(pid: libc::pid_t) -> libc::c_int {
    let mut status = 0;
    // SAFETY: it takes numbers; the process is an unreaped child of ours.
    unsafe { libc::kill(pid, libc::SIGKILL) };
    // SAFETY: the status is this function's.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    status
}

/// Whether a child of [`make`] got SIGUSR1.
fn was_signalled(pid: libc::pid_t) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let pending = status.lines().find_map(|line| line.strip_prefix("ShdPnd:\t")).unwrap();
    u64::from_str_radix(pending, 16).unwrap() & (1 << (libc::SIGUSR1 - 1)) != 0
}

fn may_choose_pids() -> bool {
    let pid = make(None).unwrap();
    kill_and_reap(pid);
    match make(Some(pid)) {
        Ok(again) => {
            kill_and_reap(again);
            true
        }
        // Somebody else was faster, which also says that it may be chosen.
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => true,
        Err(error) => {
            println!("SKIPPED: no pid can be chosen: {error}");
            false
        }
    }
}

/// What happens around the opening of a pidfd.
type Hook = Box<dyn FnMut() + Send>;
/// Before and after; none where nothing is to happen.
type Hooks = Arc<Mutex<(Option<Hook>, Option<Hook>)>>;

/// A source in whose openings of pidfds something happens.
#[derive(Debug)]
struct Meddled {
    inner: Box<dyn Source>,
    hooks: Meddling,
}

#[derive(Clone, Default)]
struct Meddling(Hooks);

impl std::fmt::Debug for Meddling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Meddling")
    }
}

impl Source for Meddled {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.inner.fd()
    }

    fn drain(&mut self, out: &mut Vec<Stamped>, limit: usize) -> Result<Drained, SourceError> {
        self.inner.drain(out, limit)
    }

    fn settle(&mut self, out: &mut Vec<Stamped>) -> Result<Loss, SourceError> {
        self.inner.settle(out)
    }

    fn pids(&mut self) -> io::Result<Vec<u32>> {
        self.inner.pids()
    }

    fn look(&mut self, pid: u32) -> io::Result<Option<Living>> {
        self.inner.look(pid)
    }

    fn attach(&mut self, pid: u32) -> io::Result<()> {
        self.inner.attach(pid)
    }

    fn attach_tree(&mut self, pid: u32) -> io::Result<Vec<u32>> {
        self.inner.attach_tree(pid)
    }

    fn found(&mut self, living: &Living) {
        self.inner.found(living);
    }

    fn spawner(&self) -> Option<Arc<Spawner>> {
        self.inner.spawner()
    }

    fn recall(&self) -> Option<std::task::Waker> {
        self.inner.recall()
    }

    fn is_gone(&mut self, pid: u32) -> bool {
        self.inner.is_gone(pid)
    }

    fn pidfd(&mut self, pid: u32) -> io::Result<OwnedFd> {
        let (before, after) = std::mem::take(&mut *self.hooks.0.lock().unwrap());
        before.into_iter().for_each(|mut hook| hook());
        let pidfd = self.inner.pidfd(pid);
        after.into_iter().for_each(|mut hook| hook());
        pidfd
    }

    fn inspect(&mut self, pid: u32) -> Reading {
        self.inner.inspect(pid)
    }

    fn now(&self) -> u64 {
        self.inner.now()
    }
}

fn meddled() -> Vec<(Reactor, Meddling)> {
    let meddle = |inner| {
        let hooks = Meddling::default();
        (Reactor::new(Box::new(Meddled { inner, hooks: hooks.clone() })).unwrap(), hooks)
    };
    sources().into_iter().map(meddle).collect()
}

/// A child that is followed, and its reader.
fn followed(reactor: &Reactor) -> (Reader, libc::pid_t) {
    let pid = make(None).unwrap();
    (reactor.attach(pid as u32, options()).unwrap(), pid)
}

/// It ends, and is reaped, between the decision and the opening, or between that and the signal.
#[test]
fn k2_it_ends_between_the_decision_and_the_signal() {
    for (reactor, meddling) in meddled() {
        for round in 0..40 {
            let (reader, pid) = followed(&reactor);
            settled(|| reactor.signal(reader.id(), 0)).unwrap();
            let hook: Hook = Box::new(move || assert_eq!(kill_and_reap(pid), libc::SIGKILL));
            *meddling.0.lock().unwrap() =
                if round % 2 == 0 { (Some(hook), None) } else { (None, Some(hook)) };
            let result = reactor.signal(reader.id(), libc::SIGUSR1);
            assert!(is_gone(&result, reader.id()), "{}: {result:?}", reactor.source_name());
        }
    }
}

/// The same, and another has its pid by the time that it is opened; or by the time of the signal.
#[test]
fn k2_another_has_its_pid_between_the_decision_and_the_signal() {
    if !may_choose_pids() {
        return;
    }
    for (reactor, meddling) in meddled() {
        let mut rounds = 0;
        while rounds < 40 {
            let (reader, pid) = followed(&reactor);
            settled(|| reactor.signal(reader.id(), 0)).unwrap();
            let next = Arc::new(Mutex::new(None));
            let made = Arc::clone(&next);
            let hook: Hook = Box::new(move || {
                kill_and_reap(pid);
                *made.lock().unwrap() = make(Some(pid)).ok();
            });
            *meddling.0.lock().unwrap() =
                if rounds % 2 == 0 { (Some(hook), None) } else { (None, Some(hook)) };
            let result = reactor.signal(reader.id(), libc::SIGUSR1);
            assert!(is_gone(&result, reader.id()), "{}: {result:?}", reactor.source_name());
            // Else somebody else's process got it.
            if let Some(next) = next.lock().unwrap().take() {
                assert!(!was_signalled(next), "{}", reactor.source_name());
                kill_and_reap(next);
                rounds += 1;
            }
        }
    }
}

/// The same while nobody waits for anybody: signals race with the end, and with the next of the same pid.
#[test]
fn k2_k7_signals_race_with_forced_reuse() {
    const ROUNDS: usize = 300;
    if !may_choose_pids() {
        return;
    }
    for reactor in reactors() {
        let (mut sent, mut gone, mut unsettled, mut reused) = (0, 0, 0, 0);
        for round in 0..ROUNDS {
            let (reader, pid) = followed(&reactor);
            let together = Barrier::new(2);
            let next = std::thread::scope(|scope| {
                let next = scope.spawn(|| {
                    together.wait();
                    kill_and_reap(pid);
                    make(Some(pid)).ok()
                });
                together.wait();
                // From the beginning of it to past its end.
                let pause = Duration::from_micros(round as u64 % 30 * 10);
                let until = std::time::Instant::now() + pause;
                while std::time::Instant::now() < until {
                    std::hint::spin_loop();
                }
                match reactor.signal(reader.id(), libc::SIGUSR1) {
                    Ok(()) => sent += 1,
                    Err(SignalError::Gone { .. }) => gone += 1,
                    Err(SignalError::Unsettled { .. }) => unsettled += 1,
                    Err(error) => panic!("{error}"),
                }
                next.join().unwrap()
            });
            if let Some(next) = next {
                reused += 1;
                assert!(
                    !was_signalled(next),
                    "{}: the next of this pid was signalled",
                    reactor.source_name()
                );
                kill_and_reap(next);
            }
        }
        println!(
            "{}: {reused} pids used again; {sent} signals sent, {gone} gone, {unsettled} not settled",
            reactor.source_name()
        );
        assert!(reused > ROUNDS / 2);
    }
}

/// K9: a child ends and is reaped before anybody could look, and its pid is given to a child of another thread of this program, which
/// has the same parent and of which a source need not be told. How that one ends is not how the first did.
#[test]
fn k9_k7_a_status_of_the_next_of_the_same_pid_and_parent() {
    if !may_choose_pids() {
        return;
    }
    // Not made by whoever runs `start`, from whom it would inherit that its children are told of.
    let (ask, asked) = mpsc::channel::<libc::pid_t>();
    let (answer, answers) = mpsc::channel();
    let other =
        std::thread::spawn(move || asked.iter().for_each(|pid| answer.send(make(Some(pid)).ok()).unwrap()));
    let answers = Arc::new(Mutex::new(answers));
    for reactor in reactors() {
        let (mut rounds, mut share) = (0, [0, 0]);
        while rounds < 40 {
            let (ask, answers_of) = (ask.clone(), Arc::clone(&answers));
            let start = move || -> Result<(u32, Option<libc::pid_t>), AnyError> {
                let mut child = Command::new("sh").args(["-c", "exit 3"]).spawn()?;
                let pid = child.id();
                assert_eq!(child.wait()?.code(), Some(3));
                ask.send(pid as libc::pid_t)?;
                // Only then is it looked for.
                Ok((pid, answers_of.lock().unwrap().recv()?))
            };
            let (mut reader, next) = reactor.spawn(options(), start).unwrap();
            let Some(next) = next else { continue };
            while reactor.turn() == Turned::More {}
            assert_eq!(kill_and_reap(next), libc::SIGKILL);
            let mut events = VecDeque::new();
            loop {
                while reactor.turn() == Turned::More {}
                match reader.read(&mut events, 64) {
                    Readiness::End => break,
                    Readiness::Pending => ended(&reactor),
                    Readiness::Ready => {}
                }
            }
            let status = |event: &Event| match event.kind {
                EventKind::Exit { status } if event.id == reader.id() => Some(status),
                _ => None,
            };
            let statuses: Vec<ExitStatus> = events.iter().filter_map(status).collect();
            assert!(
                matches!(statuses[..], [ExitStatus::Code(3) | ExitStatus::Unknown]),
                "{}: {events:#?}",
                reactor.source_name()
            );
            share[usize::from(statuses[0].is_known())] += 1;
            rounds += 1;
        }
        println!("{}: {} statuses unknown, {} known", reactor.source_name(), share[0], share[1]);
    }
    drop(ask);
    other.join().unwrap();
}
