//! A thousand services: started at once, crashing ten times each, and idle. Over each source that works here.

mod each_source;

#[cfg(target_os = "linux")]
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

#[cfg(target_os = "linux")]
use proc_watch::SourceName;
use proc_watch::Watcher;
use proc_watch::supervisor::{
    Backoff, Output, Restart, Service, ServiceEventKind, State, Supervisor, Verdict,
};

use each_source::watchers_with;

/// A limit for what is sure to happen soon.
const PATIENCE: Duration = Duration::from_secs(120);

/// How many services, and how often each crashes. `MANY=1000` for as many as the name says; by default what a check has time for.
fn many() -> usize {
    std::env::var("MANY").ok().and_then(|many| many.parse().ok()).unwrap_or(200)
}

const CRASHES: u32 = 10;

/// They count this program's children and threads.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Children of this program, zombies too.
fn children() -> usize {
    std::fs::read_dir("/proc/self/task")
        .map(|tasks| {
            let of = |task: std::io::Result<std::fs::DirEntry>| {
                let text = std::fs::read_to_string(task.ok()?.path().join("children")).ok()?;
                Some(text.split_whitespace().count())
            };
            tasks.filter_map(of).sum()
        })
        .unwrap_or(0)
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Metadata is for people who look, and costs half of everything.
fn watchers() -> Vec<Watcher> {
    watchers_with(|builder| builder.metadata(false))
}

async fn ends(watcher: &Watcher, supervisor: Supervisor) {
    let verdict = tokio::time::timeout(PATIENCE, supervisor.shutdown(PATIENCE)).await.expect("in time");
    assert_eq!(verdict, Verdict::Asked);
    assert!(supervisor.snapshot().services.iter().all(|service| service.id.is_none()));
    drop(supervisor);
    until("nothing is followed", || watcher.stats().trees == 0);
}

#[test]
fn all_at_once() {
    let _alone = alone();
    for watcher in watchers() {
        let many = many();
        let service = |at: usize| Service::new(format!("{at}"), "sleep").arg("1000").output(Output::Null);
        runtime().block_on(async {
            let begun = Instant::now();
            let supervisor = Supervisor::builder().services((0..many).map(service)).start(&watcher).unwrap();
            tokio::time::timeout(PATIENCE, supervisor.wait_ready()).await.expect("in time").unwrap();
            let started = begun.elapsed();
            assert!(supervisor.snapshot().services.iter().all(|service| service.starts == 1));
            let begun = Instant::now();
            ends(&watcher, supervisor).await;
            println!(
                "{}: {many} services started in {started:?}, stopped in {:?}",
                watcher.source_name(),
                begun.elapsed()
            );
        });
        until("no child is left", || children() == 0);
    }
}

/// Each is started eleven times, each start and each end is told, and nobody is left.
#[test]
fn each_crashes_ten_times() {
    let _alone = alone();
    for watcher in watchers() {
        let many = many();
        let mut backoff = Backoff::none();
        (backoff.first, backoff.most) = (Duration::from_millis(1), Duration::from_millis(1));
        // Never stable, so that the budget is not refilled.
        backoff.stable_for = PATIENCE;
        let service = |at: usize| {
            Service::new(format!("{at}"), "false")
                .output(Output::Null)
                .restart(Restart::Transient)
                .backoff(backoff)
                .intensity(CRASHES, 10 * PATIENCE)
        };
        runtime().block_on(async {
            let begun = Instant::now();
            let supervisor = Supervisor::builder().services((0..many).map(service)).start(&watcher).unwrap();
            let mut events = supervisor.events();
            let (mut started, mut ended, mut failed, mut missed) = (vec![0_u32; many], vec![0_u32; many], 0, 0);
            let all_failed =
                || supervisor.snapshot().services.iter().all(|service| service.state == State::Failed);
            while failed < many {
                let next = tokio::time::timeout(Duration::from_secs(1), events.next()).await;
                assert!(begun.elapsed() < PATIENCE, "not in time: {failed} of {many} have failed");
                let Ok(event) = next.map(Option::unwrap) else {
                    if missed > 0 && all_failed() {
                        break;
                    }
                    continue;
                };
                let at = event.service.as_deref().and_then(|name| name.parse::<usize>().ok());
                match (at, event.kind) {
                    (Some(at), ServiceEventKind::Started(_)) => started[at] += 1,
                    (Some(at), ServiceEventKind::Ended(status)) => {
                        assert_eq!(status.success(), Some(false), "{status}");
                        ended[at] += 1;
                    }
                    (Some(_), ServiceEventKind::State(State::Failed)) => failed += 1,
                    (_, ServiceEventKind::Missed(count)) => missed += count,
                    _ => {}
                }
            }
            let took = begun.elapsed();
            let expected = u64::from(CRASHES) + 1;
            for service in supervisor.snapshot().services {
                assert_eq!((service.starts, service.state), (expected, State::Failed), "{service:?}");
            }
            if missed == 0 {
                assert!(started.iter().chain(&ended).all(|count| u64::from(*count) == expected));
            }
            println!(
                "{}: {many} services crashed {} times each in {took:?}; {missed} events were missed by a slow reader",
                watcher.source_name(),
                CRASHES + 1
            );
            ends(&watcher, supervisor).await;
        });
        until("no child is left", || children() == 0);
    }
}

/// How often each thread of this program has given up the processor, and what time it has used, in clock ticks.
#[cfg(target_os = "linux")]
fn effort() -> BTreeMap<String, (u64, u64)> {
    let of = |task: std::fs::DirEntry| {
        let read = |file| std::fs::read_to_string(task.path().join(file)).unwrap_or_default();
        let field = |line: &str| line.strip_prefix("voluntary_ctxt_switches:")?.trim().parse::<u64>().ok();
        let wakes = read("status").lines().find_map(field).unwrap_or(0);
        let stat = read("stat");
        let after_name = stat.rsplit(')').next().unwrap_or_default();
        let ticks = after_name.split_whitespace().skip(11).take(2);
        let ticks = ticks.filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
        (format!("{} {}", read("comm").trim(), task.file_name().to_string_lossy()), (wakes, ticks))
    };
    std::fs::read_dir("/proc/self/task").unwrap().map_while(Result::ok).map(of).collect()
}

/// Nothing happens, and nothing is done: there are no timers here, and the watcher's own thread looks now and then only.
#[test]
#[cfg(target_os = "linux")]
fn idle() {
    const LOOK: Duration = Duration::from_secs(3);
    let _alone = alone();
    let sources: Vec<SourceName> =
        watchers().iter().map(|watcher| watcher.source_name().parse().unwrap()).collect();
    for source in sources {
        // One at a time: another's thread may be woken by what the whole machine does.
        let watcher = Watcher::builder().source(source).metadata(false).build().unwrap();
        let many = many();
        let mut backoff = Backoff::default();
        backoff.stable_for = Duration::from_millis(500);
        let service = |at: usize| {
            Service::new(format!("{at}"), "sleep").arg("1000").output(Output::Null).backoff(backoff)
        };
        runtime().block_on(async {
            let supervisor = Supervisor::builder().services((0..many).map(service)).start(&watcher).unwrap();
            tokio::time::timeout(PATIENCE, supervisor.wait_ready()).await.expect("in time").unwrap();
            // Until all are stable, which is a timer of each.
            tokio::time::sleep(2 * backoff.stable_for).await;
            let before = effort();
            tokio::time::sleep(LOOK).await;
            let mut spent = effort();
            for (thread, (wakes, ticks)) in &mut spent {
                let (wakes_before, ticks_before) = before.get(thread).copied().unwrap_or_default();
                (*wakes, *ticks) = (*wakes - wakes_before, *ticks - ticks_before);
            }
            let (wakes, ticks) =
                spent.values().fold((0, 0), |sum, spent| (sum.0 + spent.0, sum.1 + spent.1));
            spent.retain(|_, spent| *spent != (0, 0));
            println!(
                "{}: {many} idle services for {LOOK:?}: {wakes} wake-ups, {ticks} ticks of processor time: {spent:?}",
                watcher.source_name()
            );
            // The connector tells of the whole machine, and who else is busy there is nobody's to say.
            assert!(watcher.source_name() != "perf" || wakes < 50, "{wakes} wake-ups in {LOOK:?}: {spent:?}");
            ends(&watcher, supervisor).await;
        });
        until("no child is left", || children() == 0);
    }
}
