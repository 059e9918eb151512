//! The queue in the corners where a wake-up, an order or a promise is easily lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use proc_reactor::flags::*;
use proc_reactor::source::sim::{Script, scripted};
use proc_reactor::source::{Living, Source};
use proc_reactor::{
    Change, ChangeError, Guard, Interest, Kevent, Queue, QueueError, QueueOptions, Reactor, TreeOptions,
};

const NOW: Option<Duration> = Some(Duration::ZERO);

fn bench() -> (Queue, Script) {
    let (source, script) = scripted().unwrap();
    let me = std::process::id();
    script.list(living(100, 1)).list(living(200, 1)).list(living(300, 1)).list(living(me, 1));
    let source: Box<dyn Source> = Box::new(source);
    let reactor = Reactor::new(source).unwrap();
    (reactor.queue(QueueOptions::default()).unwrap(), script)
}

fn living(pid: u32, parent: u32) -> Living {
    Living { pid, parent, start: 1, threads: vec![pid], status: None }
}

fn add(queue: &Queue, pid: u32, fflags: u32) {
    assert_eq!(queue.kevent(&[Kevent::process(pid, EV_ADD, fflags)], &mut [], NOW).unwrap(), 0);
}

fn read(queue: &Queue) -> Vec<Kevent> {
    let mut events = [Kevent::default(); 64];
    let count = queue.kevent(&[], &mut events, NOW).unwrap();
    events[..count].to_vec()
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn flag() -> (Arc<Flag>, Waker) {
    let flag = Arc::new(Flag(AtomicBool::new(false)));
    (Arc::clone(&flag), Waker::from(flag))
}

/// A task that was handed an event waits no more until it polls again: what comes then is for those who do wait.
#[test]
fn a_task_that_got_something_takes_no_one_elses_wake_up() {
    let (queue, _script) = bench();
    queue.kevent(&[Kevent::user(1, EV_ADD | EV_CLEAR, 0)], &mut [], None).unwrap();
    let (mut first, mut second) = (queue.waiter(), queue.waiter());
    let ((told_first, first_waker), (_, second_waker)) = (flag(), flag());
    let mut events = [Kevent::default(); 4];
    assert!(first.poll_kevent(&mut Context::from_waker(&first_waker), &mut events).is_pending());
    assert!(second.poll_kevent(&mut Context::from_waker(&second_waker), &mut events).is_pending());
    queue.trigger(1, 0).unwrap();
    // The second, polled for a reason of its own, is faster than the first, who was woken.
    assert!(matches!(
        second.poll_kevent(&mut Context::from_waker(&second_waker), &mut events),
        Poll::Ready(Ok(1))
    ));
    assert!(told_first.0.swap(false, Ordering::SeqCst));
    assert!(first.poll_kevent(&mut Context::from_waker(&first_waker), &mut events).is_pending());
    // The second is busy with what it got.
    queue.trigger(1, 0).unwrap();
    assert!(told_first.0.load(Ordering::SeqCst), "the one that waits was not woken");
}

/// A user event that stays ready must not keep a short list from all else (C33, C41).
#[test]
fn a_level_triggered_event_starves_nobody() {
    let (queue, script) = bench();
    queue.kevent(&[Kevent::user(1, EV_ADD, 0)], &mut [], None).unwrap();
    queue.trigger(1, 0).unwrap();
    add(&queue, 100, NOTE_EXIT);
    script.exit(100, 0x300);
    let mut events = [Kevent::default(); 1];
    let exits = (0..10)
        .filter(|_| queue.kevent(&[], &mut events, NOW).unwrap() == 1 && events[0].filter == EVFILT_PROC)
        .count();
    assert_eq!(exits, 1);
}

/// What a turn drained ahead, to see whether metadata hold, is applied before a call says that there is nothing.
#[test]
fn c41_what_was_drained_ahead_is_not_left_lying() {
    const BATCH: usize = 1024;
    let (queue, script) = bench();
    let _reader = queue.reactor().attach(200, TreeOptions::default()).unwrap();
    add(&queue, 100, NOTE_EXIT);
    // As many batches as a turn takes; the last has an exec to be read, and ends with a record that is younger than the call.
    for _ in 0..BATCH * 16 - 2 {
        script.change(Change::Thread { process: 300, thread: 301 });
    }
    script.exec(200);
    script.change_at(1 << 50, Change::Thread { process: 300, thread: 301 });
    script.exit(100, 0x300);
    assert_eq!(read(&queue).len(), 1);
}

/// After a loss the births of one pid are told in order too, where threads ended with different statuses (C39).
#[test]
fn c39_a_contested_exit_after_a_loss_comes_before_the_next_birth() {
    let (queue, script) = bench();
    add(&queue, 100, NOTE_TRACK | NOTE_EXIT);
    read(&queue);
    let exit = |thread, code: i32| Change::Exit { process: 102, thread, status: Some(code << 8), parent: 0 };
    script.lose(1).fork(100, 102).change(Change::Thread { process: 102, thread: 1_102 });
    script.change(exit(1_102, 0)).change(exit(102, 5));
    script.fork(100, 102).exit(102, 0x700);
    let events = read(&queue);
    let of_102: Vec<_> =
        events.iter().filter(|event| event.ident == 102).map(|event| (event.fflags, event.data)).collect();
    assert_eq!(
        of_102,
        [(NOTE_CHILD, 100), (NOTE_EXIT, 0x500), (NOTE_CHILD, 100), (NOTE_EXIT, 0x700)],
        "{events:?}"
    );
}

/// One registration takes the place of another of the same process: the handle of the old one has no say any more.
#[test]
fn a_registration_that_was_taken_over_ends_nothing() {
    let (queue, script) = bench();
    let mut registration = queue.register(100, Interest::EXEC, 1).unwrap();
    assert_eq!(registration.interest(), Interest::EXEC);
    registration = queue.register(100, Interest::EXIT, 2).unwrap();
    script.exit(100, 0x300);
    let mut notices = Vec::new();
    queue.wait(&mut notices, 8, NOW).unwrap();
    assert_eq!(notices.len(), 1, "{registration:?}");
}

/// A note that has ended with nothing to tell is there until a scan, and can be deleted (C2, C9).
#[test]
fn c2_a_silent_end_can_be_deleted_before_a_scan() {
    let (queue, script) = bench();
    add(&queue, 100, NOTE_FORK);
    script.exit(100, 0);
    queue.reactor().turn();
    assert_eq!((queue.stats().notes, queue.stats().ready), (1, 0));
    assert_eq!(queue.kevent(&[Kevent::process(100, EV_DELETE, 0)], &mut [], None).unwrap(), 0);
    assert_eq!((queue.stats().notes, queue.stats().ready), (0, 0));
    // Nothing is ready: a call waits.
    let begun = Instant::now();
    let timeout = Some(Duration::from_millis(20));
    assert_eq!(queue.kevent(&[], &mut [Kevent::default()], timeout).unwrap(), 0);
    assert!(begun.elapsed() >= Duration::from_millis(20));
}

/// No note by this ident is ENOENT, whatever the ident (C9).
#[test]
fn c9_any_ident_without_a_note_is_enoent() {
    let (queue, _script) = bench();
    for ident in [4_242, u64::from(u32::MAX), 1 << 40, u64::MAX] {
        for flags in [EV_DELETE, EV_ENABLE, EV_DISABLE, 0] {
            let change = Kevent { ident, ..Kevent::process(0, flags, 0) };
            let error = queue.kevent(&[change], &mut [], NOW).unwrap_err();
            assert!(matches!(error, QueueError::Change { error: ChangeError::NoSuchNote, .. }), "{error}");
        }
    }
}

/// The record of a child's end that never comes is waited for once, and not by every call anew.
#[test]
fn a_record_that_never_comes_is_waited_for_once() {
    let (queue, script) = bench();
    script.list(living(500, std::process::id()));
    add(&queue, 500, NOTE_EXIT);
    script.unlist(500);
    let begun = Instant::now();
    for _ in 0..4 {
        assert_eq!(read(&queue), []);
    }
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    // It comes after all.
    script.exit(500, 0);
    assert_eq!(read(&queue).len(), 1);
}

/// Turns that queues take are turns: a guard leaves alone what they drive.
#[test]
fn a_queue_that_drives_is_seen_by_guards() {
    let (queue, script) = bench();
    add(&queue, 100, NOTE_FORK);
    let before = queue.reactor().stats().turns;
    script.fork(100, 101);
    assert_eq!(read(&queue).len(), 1);
    assert!(queue.reactor().stats().turns > before);
}

/// Threads with short lists and tasks, two queues, all at random: nobody sleeps while there is something.
#[test]
fn waiters_of_all_kinds_lose_nothing() {
    const PROCESSES: u32 = 3_000;
    for round in 0..6 {
        let (queue, script) = bench();
        let other = queue.reactor().queue(QueueOptions::default()).unwrap();
        let guard = (round % 2 == 0).then(|| Guard::start(&queue.reactor()).unwrap());
        let counts = [Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0))];
        for queue in [&queue, &other] {
            add(queue, 100, NOTE_TRACK | NOTE_EXIT);
        }
        let mut threads = Vec::new();
        for (number, queue) in [&queue, &other, &queue, &other, &queue].into_iter().enumerate() {
            let (queue, count) = (queue.clone(), Arc::clone(&counts[number % 2]));
            threads.push(std::thread::spawn(move || {
                let mut events = [Kevent::default(); 2];
                let timeout =
                    [None, Some(Duration::from_micros(300)), Some(Duration::from_millis(2))][number % 3];
                loop {
                    match queue.kevent(&[], &mut events[..1 + number % 2], timeout) {
                        Ok(told) => {
                            let exits = events[..told].iter().filter(|event| event.fflags & NOTE_EXIT != 0);
                            count.fetch_add(exits.count(), Ordering::SeqCst);
                        }
                        Err(QueueError::Closed) => return,
                        Err(error) => panic!("{error}"),
                    }
                }
            }));
        }
        for pid in 5_000_000..5_000_000 + PROCESSES {
            script.fork(100, pid).exit(pid, 0);
            if pid % 64 == 0 {
                std::thread::sleep(Duration::from_micros(u64::from(pid % 400)));
            }
        }
        let begun = Instant::now();
        while counts.iter().any(|count| count.load(Ordering::SeqCst) < PROCESSES as usize) {
            assert!(
                begun.elapsed() < Duration::from_secs(30),
                "{counts:?} {:?} {:?}",
                queue.stats(),
                other.stats()
            );
            std::thread::sleep(Duration::from_millis(1));
        }
        queue.close();
        other.close();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        drop(guard);
    }
}

struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Tasks that are given up in the midst of waiting, beside threads: what they were woken for is another's.
#[test]
fn tasks_that_are_dropped_pass_on_what_they_were_woken_for() {
    const PROCESSES: u32 = 4_000;
    let (queue, script) = bench();
    let guard = Guard::start(&queue.reactor()).unwrap();
    guard.set_eager(true);
    add(&queue, 100, NOTE_TRACK | NOTE_EXIT);
    let count = Arc::new(AtomicUsize::new(0));
    let mut threads = Vec::new();
    for number in 0..5_u32 {
        let (queue, count) = (queue.clone(), Arc::clone(&count));
        threads.push(std::thread::spawn(move || {
            let mut events = [Kevent::default(); 1];
            let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
            let mut cx = Context::from_waker(&waker);
            let mut waiter = queue.waiter();
            let mut turn = number;
            loop {
                turn = turn.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let told = if number < 2 {
                    queue.kevent(&[], &mut events, None)
                } else {
                    match waiter.poll_kevent(&mut cx, &mut events) {
                        Poll::Ready(told) => told,
                        Poll::Pending if turn >> 30 == 0 => {
                            waiter = queue.waiter();
                            Ok(0)
                        }
                        Poll::Pending => {
                            std::thread::park();
                            Ok(0)
                        }
                    }
                };
                match told {
                    Ok(1) if events[0].fflags & NOTE_EXIT != 0 => drop(count.fetch_add(1, Ordering::SeqCst)),
                    Ok(_) => {}
                    Err(QueueError::Closed) => return,
                    Err(error) => panic!("{error}"),
                }
            }
        }));
    }
    for pid in 5_000_000..5_000_000 + PROCESSES {
        script.fork(100, pid).exit(pid, 0);
        if pid % 16 == 0 {
            std::thread::sleep(Duration::from_micros(u64::from(pid % 300)));
        }
    }
    let begun = Instant::now();
    while count.load(Ordering::SeqCst) < PROCESSES as usize {
        assert!(begun.elapsed() < Duration::from_secs(30), "{count:?} {:?}", queue.stats());
        std::thread::sleep(Duration::from_millis(1));
    }
    queue.close();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

/// A source that fails fails all who wait, in whatever queue, and nobody spins or sleeps on.
#[test]
fn a_source_that_fails_wakes_all() {
    for _ in 0..50 {
        let (queue, script) = bench();
        let other = queue.reactor().queue(QueueOptions::default()).unwrap();
        add(&queue, 100, NOTE_EXIT);
        let threads: Vec<_> = [&queue, &other, &queue, &other]
            .into_iter()
            .cloned()
            .map(|queue| {
                std::thread::spawn(move || {
                    let mut events = [Kevent::default(); 2];
                    loop {
                        match queue.kevent(&[], &mut events, Some(Duration::from_secs(30))) {
                            Ok(0) => panic!("timed out"),
                            Ok(_) => {}
                            Err(QueueError::Source(_)) => return,
                            Err(error) => panic!("{error}"),
                        }
                    }
                })
            })
            .collect();
        script.exit(100, 0).fail("pulled out");
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}

/// Registering, deleting and closing while births and ends come: nothing is left on anybody, and nobody hangs.
#[test]
fn queues_are_closed_in_a_storm() {
    let (queue, script) = bench();
    let reactor = queue.reactor();
    let over = Arc::new(AtomicBool::new(false));
    let storm = {
        let (script, over) = (script.clone(), Arc::clone(&over));
        std::thread::spawn(move || {
            for pid in (5_000_000..5_030_000).cycle() {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                script.fork(100, pid).exec(pid).exit(pid, 0);
                std::thread::sleep(Duration::from_micros(20));
            }
        })
    };
    for _ in 0..150 {
        let other = reactor.queue(QueueOptions::default()).unwrap();
        add(&other, 100, NOTE_TRACK | NOTE_EXIT | NOTE_EXEC);
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let other = other.clone();
                std::thread::spawn(move || {
                    let mut events = [Kevent::default(); 2];
                    while let Ok(count) = other.kevent(&[], &mut events, None) {
                        for event in &events[..count] {
                            let delete = Kevent::process(event.ident as u32, EV_DELETE, 0);
                            let _ = other.kevent(&[delete], &mut [], None);
                            let _ = other.kevent(
                                &[Kevent { flags: EV_ADD, fflags: NOTE_TRACK, ..delete }],
                                &mut [],
                                None,
                            );
                        }
                    }
                })
            })
            .collect();
        std::thread::sleep(Duration::from_millis(2));
        other.close();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(other.stats().notes, 0);
    }
    over.store(true, Ordering::SeqCst);
    storm.join().unwrap();
    assert_eq!(reactor.stats().queues, 1);
    while reactor.turn() == proc_reactor::Turned::More {}
    assert_eq!(reactor.stats().processes, 4);
}

/// Numbers that look random.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }
}

/// A machine with few pids, of which every record may be lost; what is told of it must be true in every case.
#[test]
fn what_is_told_of_a_random_machine_is_true() {
    for seed in 0..3_000 {
        for lossy in [false, true] {
            machine(seed, lossy);
        }
    }
}

fn machine(seed: u64, lossy: bool) {
    use proc_reactor::{ExitStatus, NoticeKind, ProcId};
    use std::collections::{BTreeMap, HashMap, HashSet};
    let mut dice = Dice(seed);
    let (queue, script) = bench();
    queue.register(100, Interest::all(), 0).unwrap().keep();
    // Living: pid to extra threads.
    let mut living: BTreeMap<u32, Vec<u32>> = BTreeMap::from([(100, Vec::new())]);
    let (mut births, mut status, mut next_thread) = (1_usize, 1_i32, 10_000_u32);
    let mut zombies: HashSet<u32> = HashSet::new();
    let mut told: HashMap<ProcId, (usize, bool, bool)> = HashMap::new();
    let mut order: Vec<String> = Vec::new();
    let (mut statuses, mut known, mut exits, mut missed) = (HashSet::new(), HashSet::new(), 0, false);
    let mut log: Vec<String> = Vec::new();
    let check = |queue: &Queue,
                 most: usize,
                 log: &Vec<String>,
                 known: &HashSet<i32>,
                 statuses: &mut HashSet<i32>,
                 told: &mut HashMap<ProcId, (usize, bool, bool)>,
                 exits: &mut usize,
                 missed: &mut bool,
                 order: &mut Vec<String>| {
        let mut notices = Vec::new();
        queue.wait(&mut notices, most, NOW).unwrap();
        for notice in &notices {
            order.push(format!("{:?}", notice.kind));
            let why = || format!("seed {seed} lossy {lossy}\n{log:#?}\n{order:#?}");
            match notice.kind {
                NoticeKind::Child { id, parent } => {
                    assert!(parent.pid() == 100 || told.contains_key(&parent), "child of nobody {}", why());
                    assert!(told.insert(id, (1, false, false)).is_none(), "told twice or late {}", why());
                }
                NoticeKind::Process { id, exit, missed: lost, .. } => {
                    *missed |= lost;
                    let entry = told.entry(id).or_default();
                    assert!(
                        entry.0 == 1 || id.pid() == 100 && id.birth() == queue_root(),
                        "not told of {}",
                        why()
                    );
                    assert!(!entry.1, "after its end {}", why());
                    if let Some(exit) = exit {
                        entry.1 = true;
                        *exits += 1;
                        match exit {
                            ExitStatus::Code(code) => {
                                assert!(known.contains(&i32::from(code)), "whose? {}", why());
                                assert!(statuses.insert(i32::from(code)), "another's {}", why());
                            }
                            _ => assert!(lossy && *missed, "unknown {}", why()),
                        }
                    }
                }
                _ => unreachable!(),
            }
        }
    };
    fn queue_root() -> u64 {
        1
    }
    let mut started: HashMap<u32, u64> = HashMap::new();
    let steps = 10 + dice.roll(60);
    let (mut losing, mut lost, mut clock) = (0_u64, false, 1_000_000_000);
    for _ in 0..steps {
        // One loss between two reads: where two fall together, a source does not say what lay between.
        if lossy && losing == 0 && !lost && dice.roll(12) == 0 {
            lost = true;
            losing = 1 + dice.roll(6) as u64;
        }
        // Slower than the precision of start times, so that births of one pid are told apart.
        clock += 100_000_000;
        let say = |change: Change, losing: &mut u64, log: &mut Vec<String>| {
            let lost = *losing > 0;
            log.push(format!("{}{change:?}", if lost { "LOST " } else { "" }));
            if lost {
                *losing -= 1;
                if *losing == 0 {
                    script.lose(1);
                }
            } else {
                script.change_at(clock, change);
            }
        };
        let pids: Vec<u32> = living.keys().copied().collect();
        let Some(&pid) = pids.get(dice.roll(pids.len().max(1))) else { break };
        match dice.roll(9) {
            0..=2 if births < 120 => {
                let child = 101 + dice.roll(12) as u32;
                if living.contains_key(&child) || zombies.contains(&child) {
                    continue;
                }
                births += 1;
                living.insert(child, Vec::new());
                started.insert(child, clock);
                script.list(Living {
                    pid: child,
                    parent: pid,
                    start: clock,
                    threads: vec![child],
                    status: None,
                });
                say(Change::Fork { parent: pid, thread: pid, child }, &mut losing, &mut log);
            }
            3 => {
                // Threads but the leader go with it, in silence here.
                if living[&pid].is_empty() {
                    say(Change::Exec { process: pid }, &mut losing, &mut log);
                }
            }
            4 => {
                next_thread += 1;
                let threads = living.get_mut(&pid).unwrap();
                if !threads.is_empty() || pid == 100 {
                    continue;
                }
                threads.push(next_thread);
                let start = started.get(&pid).copied().unwrap_or(1);
                script.list(Living {
                    pid,
                    parent: 100,
                    start,
                    threads: vec![pid, next_thread],
                    status: None,
                });
                say(Change::Thread { process: pid, thread: next_thread }, &mut losing, &mut log);
            }
            5..=7 if pid != 100 || dice.roll(6) == 0 => {
                let threads = living.remove(&pid).unwrap();
                status += 1;
                let wait_status = (status & 0xff) << 8;
                known.insert(status & 0xff);
                if dice.roll(2) == 0 {
                    script.unlist(pid);
                } else {
                    zombies.insert(pid);
                    let start = started.get(&pid).copied().unwrap_or(1);
                    script.list(Living { pid, parent: 1, start, threads: vec![], status: Some(wait_status) });
                }
                for thread in threads.into_iter().chain([pid]) {
                    let code = if thread == pid { wait_status } else { 0 };
                    let change = Change::Exit { process: pid, thread, status: Some(code), parent: 0 };
                    say(change, &mut losing, &mut log);
                }
            }
            _ if losing > 0 => {}
            _ => {
                log.push("read".to_owned());
                lost = false;
                if let Some(&zombie) = zombies.iter().next() {
                    zombies.remove(&zombie);
                    script.unlist(zombie);
                }
                let most = 1 + dice.roll(5);
                check(
                    &queue,
                    most,
                    &log,
                    &known,
                    &mut statuses,
                    &mut told,
                    &mut exits,
                    &mut missed,
                    &mut order,
                );
            }
        }
    }
    if losing > 0 {
        script.lose(1);
    }
    clock += 100_000_000;
    for (pid, threads) in std::mem::take(&mut living) {
        script.unlist(pid);
        status += 1;
        known.insert(status & 0xff);
        for thread in threads.into_iter().chain([pid]) {
            let code = (status & 0xff) << 8;
            log.push(format!("end {pid} {thread}"));
            script.change_at(clock, Change::Exit { process: pid, thread, status: Some(code), parent: 0 });
        }
    }
    for _ in 0..20 {
        check(&queue, 64, &log, &known, &mut statuses, &mut told, &mut exits, &mut missed, &mut order);
    }
    let why = || format!("seed {seed} lossy {lossy}\n{log:#?}\n{order:#?} {:?}", queue.stats());
    assert!(
        told.iter().all(|(id, entry)| entry.1 || id.pid() == 100 && missed && !lossy),
        "no end {}",
        why()
    );
    if !lossy {
        assert_eq!(exits, births, "{}", why());
        assert!(!missed);
    }
    assert_eq!(queue.stats().notes, 0, "{}", why());
}

/// A fork has no queue, and can make none over what it inherited: it would take the records from under its parent (C34).
#[test]
#[expect(unsafe_code, reason = "fork and _exit")]
fn c34_a_fork_can_make_no_queue_either() {
    let (queue, _script) = bench();
    add(&queue, 100, NOTE_EXIT);
    let reactor = queue.reactor();
    // SAFETY: the child calls what takes no lock that another thread may hold, and _exit.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let forked = |error| matches!(error, QueueError::Forked { .. });
        let refused = queue.kevent(&[], &mut [Kevent::default()], NOW).is_err_and(forked)
            && reactor.queue(QueueOptions::default()).is_err_and(forked)
            && queue.stats().notes == 0;
        // SAFETY: ends the process, and nothing else.
        unsafe { libc::_exit(i32::from(!refused)) };
    }
    let mut status = 0;
    // SAFETY: a pid of our own and a place for a number.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(status, 0);
}

/// Records are lost again before the first loss has been settled: what lies between is as doubtful as what was before (K9).
#[test]
fn k9_a_second_loss_gives_nobody_the_status_of_another() {
    let (queue, script) = bench();
    add(&queue, 100, NOTE_TRACK | NOTE_EXIT);
    script.lose(1).fork(100, 109);
    // It ends with 4, unseen.
    script.unlist(109).lose(1);
    script.fork(100, 109).exit(109, 0x700);
    let events = read(&queue);
    let children = events.iter().filter(|event| event.fflags == NOTE_CHILD).count();
    assert_eq!(children, 2, "{events:?}");
    let exits: Vec<_> =
        events.iter().filter(|event| event.fflags & NOTE_EXIT != 0).map(|event| event.data).collect();
    // Whether the end that was seen is the second's, nobody can say who does not know what was lost.
    assert_eq!(exits, [-1, -1], "{events:?}");
}
