//! It ends, and its pid is given to another, between the decision to signal it and the signal.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::process::Command;
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::time::Duration;

use proc_reactor::{Event, EventKind, ExitStatus, Reactor, Reader, Readiness, SignalError, Source, Turned};
use tests::around::{Around, Meddle};

use crate::made::{kill_and_reap, make, may_choose_pids, was_signalled};
use crate::{AnyError, ended, is_gone, options, reactors, settled, sources};

/// What happens around the opening of a pidfd.
type Hook = Box<dyn FnMut() + Send>;
/// Before and after; none where nothing is to happen.
type Hooks = Arc<Mutex<(Option<Hook>, Option<Hook>)>>;

/// Happens once.
#[derive(Clone, Default)]
struct Hooked(Hooks);

impl fmt::Debug for Hooked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hooked")
    }
}

impl Meddle for Hooked {
    fn pidfd(&mut self, source: &mut dyn Source, pid: u32) -> io::Result<OwnedFd> {
        let (before, after) = std::mem::take(&mut *self.0.lock().unwrap());
        before.into_iter().for_each(|mut hook| hook());
        let pidfd = source.pidfd(pid);
        after.into_iter().for_each(|mut hook| hook());
        pidfd
    }
}

fn hooked() -> Vec<(Reactor, Hooked)> {
    let hook = |source| {
        let hooks = Hooked::default();
        (Reactor::new(Box::new(Around::new(source, hooks.clone()))).unwrap(), hooks)
    };
    sources().into_iter().map(hook).collect()
}

/// A child that is followed, and its reader.
fn followed(reactor: &Reactor) -> (Reader, libc::pid_t) {
    let pid = make(None).unwrap();
    (reactor.attach(pid as u32, options()).unwrap(), pid)
}

/// It ends, and is reaped, between the decision and the opening, or between that and the signal.
#[test]
fn k2_it_ends_between_the_decision_and_the_signal() {
    for (reactor, hooks) in hooked() {
        for round in 0..40 {
            let (reader, pid) = followed(&reactor);
            settled(|| reactor.signal(reader.id(), 0)).unwrap();
            let hook: Hook = Box::new(move || assert_eq!(kill_and_reap(pid), libc::SIGKILL));
            *hooks.0.lock().unwrap() = if round % 2 == 0 { (Some(hook), None) } else { (None, Some(hook)) };
            let result = reactor.signal(reader.id(), libc::SIGUSR1);
            assert!(is_gone(&result, reader.id()), "{}: {result:?}", reactor.source_name());
        }
    }
}

/// Row 6 of what users of other tools ask for: a whole stopping, in which another gets the pid of a member between the decision to signal it and
/// the signal.
#[test]
fn k2_a_stopping_spares_who_has_its_pid_by_now() {
    if !may_choose_pids() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for source in sources() {
        let hooks = Hooked::default();
        let watcher = proc_watch::Watcher::builder();
        let watcher = watcher.build_over(Box::new(Around::new(source, hooks.clone()))).unwrap();
        let mut rounds = 0;
        while rounds < 20 {
            let pid = make(None).unwrap();
            let events = watcher.attach(pid as u32).unwrap();
            let next = Arc::new(Mutex::new(None));
            let made = Arc::clone(&next);
            let hook: Hook = Box::new(move || {
                kill_and_reap(pid);
                *made.lock().unwrap() = make(Some(pid)).ok();
            });
            *hooks.0.lock().unwrap() = if rounds % 2 == 0 { (Some(hook), None) } else { (None, Some(hook)) };
            let plan = proc_watch::StopPlan::empty().tree(libc::SIGUSR1, Duration::from_secs(60));
            let report = runtime.block_on(events.stop(plan)).unwrap();
            assert!(report.empty.is_empty() && report.processes.len() == 1, "{report}");
            assert_eq!(report.processes[0].rung, None, "{report}");
            if let Some(next) = next.lock().unwrap().take() {
                assert!(!was_signalled(next), "{}: {report}", watcher.source_name());
                kill_and_reap(next);
                rounds += 1;
            }
        }
    }
}

/// The same, and another has its pid by the time that it is opened; or by the time of the signal.
#[test]
fn k2_another_has_its_pid_between_the_decision_and_the_signal() {
    if !may_choose_pids() {
        return;
    }
    for (reactor, hooks) in hooked() {
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
            *hooks.0.lock().unwrap() = if rounds % 2 == 0 { (Some(hook), None) } else { (None, Some(hook)) };
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
