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

/// What this program has in memory, in MiB.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |line: &str| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok();
    status.lines().find_map(field).unwrap_or(0) >> 10
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
            let (begun, before) = (Instant::now(), memory());
            let supervisor = Supervisor::builder().services((0..many).map(service)).start(&watcher).unwrap();
            tokio::time::timeout(PATIENCE, supervisor.wait_ready()).await.expect("in time").unwrap();
            let (started, more) = (begun.elapsed(), memory().saturating_sub(before));
            // Less than 10 KiB each; what the allocator takes at once is more than that of a few.
            assert!(more < 16 + many as u64 / 25, "{more} MiB for {many}");
            assert!(supervisor.snapshot().services.iter().all(|service| service.starts == 1));
            let begun = Instant::now();
            ends(&watcher, supervisor).await;
            println!(
                "{}: {many} services started in {started:?} with {more} MiB, stopped in {:?}",
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
            let mut told = vec![[0_u64; 3]; many];
            let mut failed = 0;
            while failed < many {
                let left = PATIENCE.saturating_sub(begun.elapsed());
                let event = tokio::time::timeout(left, events.next()).await;
                let event = event.unwrap_or_else(|_| panic!("not in time: {failed} of {many} have failed"));
                let event = event.expect("it goes on");
                let Some(at) = event.service.as_deref().and_then(|name| name.parse::<usize>().ok()) else {
                    // This reader is not slow: it has the thread after every 64 events.
                    panic!("{event}");
                };
                match event.kind {
                    ServiceEventKind::Started(_) => told[at][0] += 1,
                    ServiceEventKind::Ended(status) => {
                        assert_eq!(status.success(), Some(false), "{status}");
                        told[at][1] += 1;
                    }
                    ServiceEventKind::Again(_) => told[at][2] += 1,
                    ServiceEventKind::State(State::Failed) => failed += 1,
                    _ => {}
                }
            }
            let took = begun.elapsed();
            // Starts and ends, and a restart for each start but the first.
            let crashes = u64::from(CRASHES);
            assert!(told.iter().all(|told| *told == [crashes + 1, crashes + 1, crashes]), "{told:?}");
            for service in supervisor.snapshot().services {
                assert_eq!((service.starts, service.state), (crashes + 1, State::Failed), "{service:?}");
            }
            println!(
                "{}: {many} services crashed {} times each in {took:?}",
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

/// Tasks that the machine has started so far, processes and threads, in whatever namespace.
#[cfg(target_os = "linux")]
fn born() -> u64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap();
    let field = |line: &str| line.strip_prefix("processes ")?.parse().ok();
    stat.lines().find_map(field).unwrap()
}

/// Nothing happens, and nothing is done: there are no timers here, and the watcher's own thread looks now and then only.
#[test]
#[cfg(target_os = "linux")]
fn idle() {
    let look = Duration::from_secs(if many() < 1_000 { 5 } else { 10 });
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
            let (before, others) = (effort(), born());
            tokio::time::sleep(look).await;
            let (mut spent, others) = (effort(), born() - others);
            for (thread, (wakes, ticks)) in &mut spent {
                let (wakes_before, ticks_before) = before.get(thread).copied().unwrap_or_default();
                (*wakes, *ticks) = (*wakes - wakes_before, *ticks - ticks_before);
            }
            let (wakes, ticks) =
                spent.values().fold((0, 0), |sum, spent| (sum.0 + spent.0, sum.1 + spent.1));
            spent.retain(|_, spent| *spent != (0, 0));
            println!(
                "{}: {many} idle services for {look:?}, {others} tasks begun elsewhere: {wakes} wake-ups, {ticks} ticks of processor time: {spent:?}",
                watcher.source_name()
            );
            // The connector tells of the whole machine: births, programs, ends, each to two threads of ours at most; and of tasks that were there before.
            let for_others = if watcher.source_name() == "perf" { 0 } else { 100 + 8 * others };
            assert!(wakes < 50 + for_others, "{wakes} wake-ups in {look:?}, {others} tasks elsewhere: {spent:?}");
            ends(&watcher, supervisor).await;
        });
        until("no child is left", || children() == 0);
    }
}
