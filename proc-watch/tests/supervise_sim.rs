//! Hours of services in no time: the scripted source, and tokio's clock, which goes on by itself when nobody has anything to do. What is decided hangs on no other
//! clock, so that one that jumps changes nothing.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proc_watch::sim::{Living, Script, scripted};
use proc_watch::supervisor::{
    Backoff, Intensity, Ready, Restart, Service, ServiceEventKind, ServiceEvents, State, Strategy,
    Supervisor, Verdict,
};
use proc_watch::{Events, StopPlan, Watcher};
use tokio::time::Instant;

/// A minute of nobody's time: the clock is tokio's.
const MINUTE: Duration = Duration::from_secs(60);

/// A machine that is a script's.
struct Stage {
    script: Script,
    watcher: Watcher,
    pids: Arc<Mutex<HashMap<String, u32>>>,
    /// Somebody else's tree, of which nothing is to be told.
    other: Events,
}

impl Stage {
    fn new() -> Self {
        let (source, script) = scripted().unwrap();
        script.list(Living { pid: 100, parent: 1, start: 0, threads: vec![100], status: None });
        let watcher = Watcher::builder().build_scripted(source).unwrap();
        let other = watcher.attach(100).unwrap();
        Self { script, watcher, pids: Arc::default(), other }
    }

    fn start(&self, builder: proc_watch::supervisor::Builder) -> (Supervisor, ServiceEvents) {
        static NEXT: AtomicU32 = AtomicU32::new(1_000_000);
        let (script, pids) = (self.script.clone(), Arc::clone(&self.pids));
        let supervisor = builder
            .start_with(move |name| {
                let pid = NEXT.fetch_add(1, Ordering::Relaxed);
                script.fork(std::process::id(), pid);
                pids.lock().unwrap().insert(name.to_owned(), pid);
                Ok(pid)
            })
            .start(&self.watcher)
            .unwrap();
        let events = supervisor.events();
        (supervisor, events)
    }

    /// Its process ends with this code.
    fn end(&self, name: &str, code: i32) {
        self.script.exit(self.pids.lock().unwrap()[name], code << 8);
        self.take_in();
    }

    /// Waits until whom it concerns has been woken by all that the script has told. Else the watcher's own thread might be about to do it, and
    /// the runtime, which then has nothing to do, would let the clock go on to the next timer.
    fn take_in(&self) {
        self.other.handle().living();
    }
}

/// The next of those that are wanted, and when. What threads do that know no such clock takes no time of it.
async fn next(events: &mut ServiceEvents, wanted: impl Fn(&ServiceEventKind) -> bool) -> (Instant, String) {
    // A task that blocks keeps the clock where it is until the others have had their say.
    let event = tokio::time::timeout(48 * 60 * MINUTE, async {
        loop {
            let event = events.next().await.expect("it goes on");
            if wanted(&event.kind) {
                return event;
            }
        }
    });
    let event = event.await.expect("within two days");
    (Instant::now(), event.to_string())
}

async fn state(events: &mut ServiceEvents, state: State) -> Instant {
    next(events, |kind| matches!(kind, ServiceEventKind::State(told) if *told == state)).await.0
}

/// A stopping is done by a thread that knows real time only. Its plan is over as soon as nobody is left.
fn service(name: &str) -> Service {
    Service::new(name, "nothing").stop(StopPlan::kill())
}

/// Row 23: each wait is twice the last, a tenth more or less, up to the longest; and the first again once it has been stable.
#[tokio::test(start_paused = true)]
async fn row_23_waits_double_and_begin_anew() {
    let stage = Stage::new();
    let (supervisor, mut events) = stage.start(Supervisor::builder().service(service("web")));
    let mut waits = Vec::new();
    state(&mut events, State::Ready).await;
    for _ in 0..12 {
        stage.end("web", 1);
        let ended = state(&mut events, State::Stopping).await;
        waits.push(state(&mut events, State::Ready).await - ended);
    }
    let usual = Backoff::default();
    for (failures, wait) in waits.iter().enumerate() {
        let plain =
            (usual.first.as_secs_f64() * usual.factor.powi(failures as i32)).min(usual.most.as_secs_f64());
        let told = wait.as_secs_f64();
        assert!(
            (0.89 * plain..=1.1 * plain + 0.1).contains(&told),
            "{failures}: {told} and not {plain}: {waits:?}"
        );
    }
    assert!(waits[11] > 25 * waits[0], "{waits:?}");
    assert_eq!(supervisor.snapshot().services[0].failures, 12);
    tokio::time::sleep(usual.stable_for + Duration::from_secs(1)).await;
    stage.end("web", 1);
    let ended = state(&mut events, State::Stopping).await;
    let wait = state(&mut events, State::Ready).await - ended;
    assert!(wait < 2 * usual.first, "{wait:?}");
    assert_eq!(supervisor.snapshot().services[0].starts, 14);
}

/// So many restarts within so much time: spread over a longer time they are borne for ever.
#[tokio::test(start_paused = true)]
async fn a_budget_is_of_a_time() {
    let stage = Stage::new();
    let mut backoff = Backoff::none();
    backoff.stable_for = 100 * MINUTE;
    let web = service("web").backoff(backoff).intensity(3, MINUTE);
    let (supervisor, mut events) = stage.start(Supervisor::builder().service(web));
    state(&mut events, State::Ready).await;
    for _ in 0..20 {
        tokio::time::sleep(MINUTE / 2).await;
        stage.end("web", 1);
        state(&mut events, State::Ready).await;
    }
    // Two of them were within the last minute.
    stage.end("web", 1);
    state(&mut events, State::Ready).await;
    stage.end("web", 1);
    state(&mut events, State::Failed).await;
    let web = supervisor.service("web").unwrap();
    assert_eq!(web.status().starts, 22);
    assert!(!web.status().wanted);
    // By hand it has a budget again.
    web.start();
    state(&mut events, State::Ready).await;
    for _ in 0..3 {
        stage.end("web", 1);
        state(&mut events, State::Ready).await;
    }
}

/// The same for all together, and then all are stopped.
#[tokio::test(start_paused = true)]
async fn the_budget_of_all_together() {
    let stage = Stage::new();
    let Intensity { restarts, period } = Intensity { restarts: 4, period: MINUTE };
    let services = ["a", "b"].map(|name| service(name).backoff(Backoff::none()));
    let builder = Supervisor::builder().services(services).intensity(restarts, period);
    let (supervisor, mut events) = stage.start(builder);
    for _ in 0..2 {
        state(&mut events, State::Ready).await;
    }
    for name in ["a", "b", "a", "b"] {
        stage.end(name, 1);
        state(&mut events, State::Ready).await;
    }
    stage.end("a", 1);
    next(&mut events, |kind| matches!(kind, ServiceEventKind::Closing(Verdict::GaveUp))).await;
    stage.end("b", 0);
    assert_eq!(supervisor.wait().await, Verdict::GaveUp);
}

/// One that does not say in time that it is ready has failed, at that time and no other.
#[tokio::test(start_paused = true)]
async fn ready_in_time_or_not() {
    let stage = Stage::new();
    let within = 90 * MINUTE;
    // Nobody can say it for a script's process.
    let web = service("web").ready(Ready::Notify).ready_within(within).restart(Restart::Temporary);
    let (supervisor, mut events) = stage.start(Supervisor::builder().service(web));
    let up = state(&mut events, State::Up).await;
    let (late, _) = next(&mut events, |kind| matches!(kind, ServiceEventKind::NotReady)).await;
    assert_eq!((late - up).as_secs(), within.as_secs());
    stage.end("web", 0);
    state(&mut events, State::Failed).await;
    assert!(supervisor.wait_ready().await.is_err());
}

/// One that is not heard of for longer than it promised is unwell.
#[tokio::test(start_paused = true)]
async fn a_watchdog_that_nobody_feeds() {
    let stage = Stage::new();
    let (_supervisor, mut events) =
        stage.start(Supervisor::builder().service(service("web").watchdog(MINUTE).ready(Ready::AtOnce)));
    let ready = state(&mut events, State::Ready).await;
    let (unwell, why) = next(&mut events, |kind| matches!(kind, ServiceEventKind::Unhealthy(_))).await;
    assert_eq!((unwell - ready).as_secs(), MINUTE.as_secs(), "{why}");
}

/// One deadline for all: those that wait for others to be gone are killed with them.
#[tokio::test(start_paused = true)]
async fn one_deadline_for_all() {
    let stage = Stage::new();
    let services = [service("db"), service("web").needs("db")];
    let (supervisor, mut events) = stage.start(Supervisor::builder().services(services));
    for _ in 0..2 {
        state(&mut events, State::Ready).await;
    }
    let begun = Instant::now();
    let closing = tokio::spawn({
        let supervisor = supervisor.clone();
        async move { supervisor.shutdown(10 * MINUTE).await }
    });
    let web = state(&mut events, State::Stopping).await;
    assert!(web - begun < MINUTE);
    assert_eq!(supervisor.service("db").unwrap().status().state, State::Ready, "it is needed still");
    // Nobody ends until the deadline, and then the first is not waited for any more.
    let db = state(&mut events, State::Stopping).await;
    assert_eq!((db - begun).as_secs(), (10 * MINUTE).as_secs());
    stage.end("web", 0);
    stage.end("db", 0);
    assert_eq!(closing.await.unwrap(), Verdict::Asked);
}

/// With one, those after it: stopped from the last, started from the first.
#[tokio::test(start_paused = true)]
async fn those_after_it_come_again_with_it() {
    let stage = Stage::new();
    let services = ["a", "b", "c"].map(|name| service(name).backoff(Backoff::none()));
    let builder = Supervisor::builder().services(services).strategy(Strategy::RestForOne);
    let (supervisor, mut events) = stage.start(builder);
    for _ in 0..3 {
        state(&mut events, State::Ready).await;
    }
    stage.end("b", 1);
    let told = async |events: &mut ServiceEvents| {
        next(events, |kind| matches!(kind, ServiceEventKind::State(_))).await.1
    };
    let mut order = Vec::new();
    while order.len() < 2 {
        let line = told(&mut events).await;
        if line.contains("stopping") {
            order.push(line);
        }
    }
    assert!(order.contains(&"c: stopping".to_owned()), "{order:?}");
    stage.end("c", 0);
    let mut again = Vec::new();
    while again.len() < 2 {
        let line = told(&mut events).await;
        if line.contains("ready") {
            again.push(line);
        }
    }
    assert_eq!(again, ["b: ready", "c: ready"]);
    let starts: Vec<u64> = supervisor.snapshot().services.iter().map(|service| service.starts).collect();
    assert_eq!(starts, [1, 2, 2]);
}

/// That of one service.
async fn state_of(events: &mut ServiceEvents, name: &str, wanted: &str) -> Instant {
    let told = format!("{name}: {wanted}");
    loop {
        let (time, line) = next(events, |kind| matches!(kind, ServiceEventKind::State(_))).await;
        if line == told {
            return time;
        }
    }
}

/// Those that fail together do not come back together, and none sooner or later than its jitter allows.
#[tokio::test(start_paused = true)]
async fn waits_are_spread() {
    const MANY: usize = 200;
    let stage = Stage::new();
    let (_supervisor, mut events) =
        stage.start(Supervisor::builder().services((0..MANY).map(|at| service(&at.to_string()))));
    for _ in 0..MANY {
        state(&mut events, State::Ready).await;
    }
    (0..MANY).for_each(|at| stage.end(&at.to_string(), 1));
    let mut waits = Vec::new();
    while waits.len() < MANY {
        let event = events.next().await.unwrap();
        if let ServiceEventKind::Again(wait) = event.kind {
            waits.push(wait.as_micros());
        }
    }
    waits.sort_unstable();
    assert!((90_000..95_000).contains(&waits[0]), "{waits:?}");
    assert!((105_000..=110_000).contains(&waits[MANY - 1]), "{waits:?}");
    waits.dedup();
    assert!(waits.len() > MANY / 2, "{waits:?}");
}

/// Hours pass at once, as for a machine that slept: what became due is done, each of it once, and what had a time to be forgotten in is forgotten.
#[tokio::test(start_paused = true)]
async fn a_clock_that_jumps_hours() {
    let stage = Stage::new();
    let mut backoff = Backoff::default();
    (backoff.first, backoff.stable_for) = (10 * MINUTE, 6_000 * MINUTE);
    let services = [
        service("web").backoff(backoff).intensity(1, 60 * MINUTE),
        service("late").ready(Ready::Notify).ready_within(20 * MINUTE).restart(Restart::Temporary),
        service("dog").watchdog(30 * MINUTE).ready(Ready::AtOnce).restart(Restart::Temporary),
    ];
    let (supervisor, mut events) = stage.start(Supervisor::builder().services(services));
    state_of(&mut events, "dog", "ready").await;
    let begun = Instant::now();
    stage.end("web", 1);
    state_of(&mut events, "web", "starting").await;
    assert_eq!(begun.elapsed(), Duration::ZERO);
    tokio::time::advance(300 * MINUTE).await;
    let mut told = Vec::new();
    while ["web: ready", "late: stopping", "dog: stopping"]
        .iter()
        .any(|line| !told.contains(&(*line).to_owned()))
    {
        told.push(next(&mut events, |_| true).await.1);
    }
    // A timer's tick is a millisecond.
    assert!(begun.elapsed() < 301 * MINUTE, "{told:?}");
    for once in ["web: ready", "late: not ready in time", "late: stopping", "dog: stopping"] {
        assert_eq!(told.iter().filter(|line| *line == once).count(), 1, "{once}: {told:?}");
    }
    stage.end("late", 0);
    state_of(&mut events, "late", "failed").await;
    stage.end("dog", 0);
    state_of(&mut events, "dog", "failed").await;
    let starts = || supervisor.snapshot().services.iter().map(|service| service.starts).collect::<Vec<_>>();
    assert_eq!(starts(), [2, 1, 1]);
    // Its budget of one an hour was used up, and is whole again; but now there are two within the hour.
    stage.end("web", 1);
    state_of(&mut events, "web", "starting").await;
    tokio::time::advance(25 * MINUTE).await;
    state_of(&mut events, "web", "ready").await;
    stage.end("web", 1);
    state_of(&mut events, "web", "failed").await;
    assert_eq!(starts(), [3, 1, 1]);
    // A year later nothing is owed.
    tokio::time::advance(365 * 24 * 60 * MINUTE).await;
    assert_eq!(starts(), [3, 1, 1]);
    assert_eq!(supervisor.shutdown(MINUTE).await, Verdict::Asked);
}

/// The source fails while one waits to come again, one is being stopped, and two run: all is over, and nobody is started any more.
#[tokio::test(start_paused = true)]
async fn the_source_fails_in_mid_flight() {
    let stage = Stage::new();
    let mut backoff = Backoff::default();
    (backoff.first, backoff.most) = (60 * MINUTE, 60 * MINUTE);
    let services = ["waits", "stops", "runs", "crashes"].map(|name| service(name).backoff(backoff));
    let (supervisor, mut events) = stage.start(Supervisor::builder().services(services));
    state_of(&mut events, "crashes", "ready").await;
    stage.end("waits", 1);
    state_of(&mut events, "waits", "starting").await;
    let stops = supervisor.service("stops").unwrap();
    let stopping = tokio::spawn(async move { stops.stop().await });
    state_of(&mut events, "stops", "stopping").await;
    stage.end("crashes", 1);
    stage.script.fail("for this test");
    stage.take_in();
    assert_eq!(supervisor.wait().await, Verdict::SourceFailed);
    assert_eq!(stopping.await.unwrap().state, State::Down);
    // Longer than any wait.
    tokio::time::sleep(600 * MINUTE).await;
    let (mut failed, mut started) = (0, 0);
    // It ends though there is a handle still.
    while let Some(event) = events.next().await {
        failed += u32::from(matches!(event.kind, ServiceEventKind::SourceFailed(_)));
        started += u32::from(matches!(event.kind, ServiceEventKind::Started(_)));
    }
    assert!(failed > 0 && started == 0, "{failed} {started}");
    assert!(supervisor.events().next().await.is_none());
    for service in supervisor.snapshot().services {
        assert!(matches!(service.state, State::Down | State::Failed), "{service:?}");
        assert_eq!((service.starts, service.id), (1, None), "{service:?}");
    }
}

/// A thousand, each of which needs the one before it: stopped from the last to the first, each as soon as nobody who needs it is left.
#[tokio::test(start_paused = true)]
async fn a_thousand_in_a_chain() {
    const MANY: usize = 1_000;
    let stage = Stage::new();
    let link = |at: usize| {
        let link = service(&at.to_string());
        if at == 0 { link } else { link.needs((at - 1).to_string()) }
    };
    let begun = std::time::Instant::now();
    let (supervisor, mut events) = stage.start(Supervisor::builder().services((0..MANY).map(link)));
    supervisor.wait_ready().await.unwrap();
    let up = begun.elapsed();
    let closing = tokio::spawn({
        let supervisor = supervisor.clone();
        async move { supervisor.shutdown(600 * MINUTE).await }
    });
    let asked = Instant::now();
    for at in (0..MANY).rev() {
        state_of(&mut events, &at.to_string(), "stopping").await;
        stage.end(&at.to_string(), 0);
    }
    assert_eq!(closing.await.unwrap(), Verdict::Asked);
    assert!(asked.elapsed() < MINUTE, "nobody was waited for: {:?}", asked.elapsed());
    println!("{MANY} in a chain: up after {up:?}, down after {:?} of real time", begun.elapsed() - up);
}
