//! Services that are kept up, over each source that works here.

mod each_source;

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use proc_watch::supervisor::{
    AutoShutdown, Backoff, Health, Main, Output, Ready, Restart, Service, ServiceEvent, ServiceEventKind,
    State, Strategy, Supervisor, Verdict,
};
use proc_watch::{StopPlan, Watcher};

use each_source::watchers;

/// A limit for what is sure to happen soon.
const PATIENCE: Duration = Duration::from_secs(60);

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("in time")
}

fn shell(name: &str, script: &str) -> Service {
    Service::new(name, "sh").args(["-c", script]).backoff(quick())
}

fn quick() -> Backoff {
    let mut backoff = Backoff::default();
    (backoff.first, backoff.most) = (Duration::from_millis(5), Duration::from_millis(20));
    backoff
}

fn start(watcher: &Watcher, services: impl IntoIterator<Item = Service>) -> Supervisor {
    Supervisor::builder().services(services).start(watcher).unwrap()
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn state(supervisor: &Supervisor, name: &str) -> State {
    supervisor.service(name).unwrap().status().state
}

/// All are down, nobody is followed any more, and no child of this program's is a zombie of one of these services.
async fn ends_clean(watcher: &Watcher, supervisor: Supervisor) {
    assert_eq!(in_time(supervisor.shutdown(PATIENCE)).await, Verdict::Asked);
    for service in supervisor.snapshot().services {
        assert!(matches!(service.state, State::Down | State::Failed), "{service:?}");
        assert!(service.id.is_none());
    }
    drop(supervisor);
    until("nothing is followed", || watcher.stats().trees == 0).await;
}

#[tokio::test]
async fn in_order_up_and_down() {
    for watcher in watchers() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("order");
        let line = |name: &str| {
            let log = log.display();
            format!(
                "trap 'echo -{name} >> {log}; exit 0' TERM; echo +{name} >> {log}; echo up; while :; do sleep 0.02; done"
            )
        };
        let service = |name: &str| shell(name, &line(name)).ready(Ready::Line("up".into())).lines(|_| {});
        let supervisor =
            start(&watcher, [service("web").needs("db"), service("db").needs("disk"), service("disk")]);
        in_time(supervisor.wait_ready()).await.unwrap();
        let names: Vec<_> =
            supervisor.snapshot().services.iter().map(|service| service.name.to_string()).collect();
        assert_eq!(names, ["disk", "db", "web"]);
        ends_clean(&watcher, supervisor).await;
        let order = std::fs::read_to_string(&log).unwrap();
        assert_eq!(order.lines().collect::<Vec<_>>(), ["+disk", "+db", "+web", "-web", "-db", "-disk"]);
    }
}

#[tokio::test]
async fn permanent_transient_and_temporary() {
    for watcher in watchers() {
        let services = [
            shell("permanent", "exit 0").intensity(3, PATIENCE),
            shell("transient-well", "exit 0").restart(Restart::Transient),
            shell("transient-badly", "exit 1").restart(Restart::Transient).intensity(2, PATIENCE),
            shell("temporary-well", "exit 0").restart(Restart::Temporary),
            shell("temporary-badly", "exit 3").restart(Restart::Temporary),
        ];
        let supervisor = start(&watcher, services);
        let settled = |service: proc_watch::supervisor::ServiceHandle| {
            let status = service.status();
            status.starts > 0 && !status.wanted && matches!(status.state, State::Down | State::Failed)
        };
        until("all have settled", || supervisor.services().all(settled)).await;
        let told: Vec<_> = supervisor
            .snapshot()
            .services
            .iter()
            .map(|service| (service.name.to_string(), service.starts, service.state))
            .collect();
        let expected = [
            ("permanent", 4, State::Failed),
            ("transient-well", 1, State::Down),
            ("transient-badly", 3, State::Failed),
            ("temporary-well", 1, State::Down),
            ("temporary-badly", 1, State::Failed),
        ];
        assert_eq!(told, expected.map(|(name, starts, state)| (name.to_owned(), starts, state)));
        let failed = supervisor.service("permanent").unwrap();
        assert_eq!(in_time(failed.wait_ready()).await.unwrap_err().state, State::Failed);
        ends_clean(&watcher, supervisor).await;
    }
}

/// Row 3 of what users of other tools ask for: the leader's end is not the end, and nobody of it is left before it is started again.
#[tokio::test]
async fn nothing_is_started_beside_what_an_earlier_life_left() {
    for watcher in watchers() {
        let dir = tempfile::tempdir().unwrap();
        let lock = dir.path().join("lock");
        // One that leaves a daemon behind, in a session of its own, which has what the next one needs.
        let script = format!(
            "mkdir {lock} || exit 99; setsid sh -c 'trap \"rmdir {lock}; exit\" TERM; : > {up}; while :; do sleep 0.01; done' & \
             while [ ! -e {up} ]; do sleep 0.01; done; rm {up}; exit 1",
            lock = lock.display(),
            up = dir.path().join("up").display()
        );
        let plan = StopPlan::terminate(PATIENCE);
        let supervisor = start(&watcher, [shell("leaky", &script).stop(plan).intensity(4, PATIENCE)]);
        let service = supervisor.service("leaky").unwrap();
        until("it has failed", || service.status().state == State::Failed).await;
        let status = service.status();
        // 99 would be one that came while somebody of the life before was there.
        assert_eq!((status.starts, status.last_end.unwrap().code()), (5, Some(1)), "{status:?}");
        assert!(!lock.exists());
        ends_clean(&watcher, supervisor).await;
    }
}

/// Row 13: a service that was let go of leaves no zombie and nobody behind.
#[test]
fn a_runtime_that_goes_takes_them_with_it() {
    for watcher in watchers() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let supervisor = runtime.block_on(async {
            let supervisor =
                start(&watcher, [shell("deaf", "trap '' TERM; setsid sleep 1000 & sleep 1000; exit 1")]);
            in_time(supervisor.wait_ready()).await.unwrap();
            supervisor
        });
        let pid = supervisor.snapshot().services[0].id.unwrap().pid();
        drop(runtime);
        let begun = Instant::now();
        while watcher.stats().trees > 0 || Path::new(&format!("/proc/{pid}")).exists() {
            assert!(begun.elapsed() < PATIENCE, "{:?}", watcher.stats());
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

#[tokio::test]
async fn the_last_handle_stops_them() {
    for watcher in watchers() {
        let supervisor = start(&watcher, [shell("one", "exec sleep 1000")]);
        in_time(supervisor.wait_ready()).await.unwrap();
        drop(supervisor);
        until("nobody is left", || watcher.stats().trees == 0).await;
    }
}

/// Row 23: a manual stop is sticky.
#[tokio::test]
async fn by_hand() {
    for watcher in watchers() {
        let up = shell("up", "exec sleep 1000");
        let supervisor = start(
            &watcher,
            [
                up,
                shell("needs", "exec sleep 1000").needs("up"),
                shell("later", "exec sleep 1000").autostart(false),
            ],
        );
        in_time(supervisor.wait_ready()).await.unwrap();
        let (up, needs, later) = (
            supervisor.service("up").unwrap(),
            supervisor.service("needs").unwrap(),
            supervisor.service("later").unwrap(),
        );
        in_time(needs.wait_ready()).await.unwrap();
        assert_eq!(later.status().state, State::Down);
        let first = up.status().id.unwrap();
        // What needs it goes too, and waits for it.
        assert_eq!(in_time(up.stop()).await.state, State::Down);
        until("it waits", || needs.status().state == State::Starting).await;
        assert_eq!(needs.status().waits_for, [up.status().name]);
        // Longer than any of its delays: were it started again, it would be by now.
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!((up.status().state, up.status().starts), (State::Down, 1));
        up.start();
        in_time(needs.wait_ready()).await.unwrap();
        assert_ne!(up.status().id.unwrap(), first);
        up.restart();
        until("it is another", || up.status().starts == 3 && up.status().state == State::Ready).await;
        later.start();
        assert_eq!(in_time(later.wait_ready()).await.unwrap().starts, 1);
        ends_clean(&watcher, supervisor).await;
    }
}

#[tokio::test]
async fn each_strategy() {
    for watcher in watchers() {
        for (strategy, expected) in [
            (Strategy::OneForOne, [1, 2, 1]),
            (Strategy::OneForAll, [2, 2, 2]),
            (Strategy::RestForOne, [1, 2, 2]),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let flag = dir.path().join("fail");
            let script = format!("while [ ! -e {0} ]; do sleep 0.01; done; rm {0}; exit 1", flag.display());
            let services = [
                shell("first", "exec sleep 1000"),
                shell("second", &script),
                shell("third", "exec sleep 1000"),
            ];
            let supervisor =
                Supervisor::builder().services(services).strategy(strategy).start(&watcher).unwrap();
            in_time(supervisor.wait_ready()).await.unwrap();
            std::fs::write(&flag, "").unwrap();
            let starts =
                || supervisor.snapshot().services.iter().map(|service| service.starts).collect::<Vec<_>>();
            until("those that are to be are started again", || starts() == expected).await;
            in_time(supervisor.wait_ready()).await.unwrap();
            // As above: nobody else is started again.
            tokio::time::sleep(Duration::from_millis(30)).await;
            assert_eq!(starts(), expected, "{strategy:?}");
            ends_clean(&watcher, supervisor).await;
        }
    }
}

#[tokio::test]
async fn too_many_restarts_and_significant_ends_are_the_end_of_all() {
    for watcher in watchers() {
        let services = || [shell("other", "exec sleep 1000"), shell("crashes", "exit 1")];
        let supervisor =
            Supervisor::builder().services(services()).intensity(5, PATIENCE).start(&watcher).unwrap();
        assert_eq!(in_time(supervisor.wait()).await, Verdict::GaveUp);
        let snapshot = supervisor.snapshot();
        assert_eq!((snapshot.services[0].state, snapshot.services[1].state), (State::Down, State::Failed));
        assert_eq!((snapshot.services[1].starts, snapshot.verdict), (6, Some(Verdict::GaveUp)));
        let [other, crashes] = services();
        let main = crashes.restart(Restart::Temporary).significant(true);
        let builder =
            Supervisor::builder().services([other, main]).auto_shutdown(AutoShutdown::AnySignificant);
        assert_eq!(in_time(builder.start(&watcher).unwrap().wait()).await, Verdict::Significant);
        until("nobody is left", || watcher.stats().trees == 0).await;
    }
}

/// A deadline for all: who does not go is killed, in whatever order.
#[tokio::test]
async fn one_deadline_for_all() {
    for watcher in watchers() {
        let deaf = |name: &str| {
            let script = "trap '' TERM; echo up; while :; do sleep 0.05; done";
            shell(name, script)
                .stop(StopPlan::terminate(PATIENCE))
                .ready(Ready::Line("up".into()))
                .lines(|_| {})
        };
        let supervisor = start(&watcher, [deaf("one"), deaf("two").needs("one"), deaf("three").needs("two")]);
        in_time(supervisor.wait_ready()).await.unwrap();
        let begun = Instant::now();
        in_time(supervisor.shutdown(Duration::from_millis(200))).await;
        assert!(begun.elapsed() >= Duration::from_millis(200) && begun.elapsed() < PATIENCE / 2);
        until("nobody is left", || watcher.stats().trees == 0).await;
    }
}

/// Whether `python3` is there, to speak over sockets.
fn python() -> bool {
    let there = std::process::Command::new("python3").arg("-c").arg("").stderr(Stdio::null()).status();
    let there = there.is_ok_and(|status| status.success());
    if !there {
        println!("SKIPPED: no python3");
    }
    there
}

/// A program that sends messages to `NOTIFY_SOCKET` by `say`.
fn speaker(name: &str, rest: &str) -> Service {
    let script = format!(
        "import os, socket, time, sys, signal\ns = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n\
         def say(text): s.sendto(text.encode() if isinstance(text, str) else text, os.environ['NOTIFY_SOCKET'])\n{rest}"
    );
    Service::new(name, "python3").args(["-c", &script]).ready(Ready::Notify).backoff(quick())
}

async fn heard(
    events: &mut proc_watch::supervisor::ServiceEvents,
    wanted: impl Fn(&ServiceEventKind) -> bool,
) -> ServiceEvent {
    in_time(async {
        loop {
            let event = events.next().await.expect("it goes on");
            if wanted(&event.kind) {
                return event;
            }
        }
    })
    .await
}

#[tokio::test]
async fn it_says_that_it_is_ready_and_how_it_is() {
    if !python() {
        return;
    }
    for watcher in watchers() {
        let service = speaker(
            "talks",
            "say('STATUS=warming up'); time.sleep(0.1); say('READY=1\\nSTATUS=all is well'); time.sleep(1000)",
        );
        let supervisor = start(&watcher, [service]);
        let mut events = supervisor.events();
        let first = heard(&mut events, |kind| {
            matches!(kind, ServiceEventKind::Status(_) | ServiceEventKind::State(State::Ready))
        });
        let first = first.await;
        assert!(matches!(&first.kind, ServiceEventKind::Status(text) if text == "warming up"), "{first}");
        in_time(supervisor.wait_ready()).await.unwrap();
        assert_eq!(supervisor.snapshot().services[0].text.as_deref(), Some("all is well"));
        ends_clean(&watcher, supervisor).await;
    }
}

/// Who says that he needs longer to end well has it, up to the time for all.
#[tokio::test]
async fn one_that_needs_longer_to_stop() {
    if !python() {
        return;
    }
    let rest = "def end(*_):\n    for _ in range(8):\n        say('EXTEND_TIMEOUT_USEC=3000000')\n        time.sleep(0.4)\n    \
                sys.exit(int(sys.argv[1]))\nsignal.signal(signal.SIGTERM, end)\nsay('READY=1')\nwhile True: signal.pause()";
    let plan = StopPlan::empty().tree(15, Duration::from_secs(2)).tree(9, PATIENCE);
    for watcher in watchers() {
        let supervisor = start(&watcher, [speaker("slow", rest).arg("7").stop(plan.clone())]);
        let service = supervisor.service("slow").unwrap();
        in_time(service.wait_ready()).await.unwrap();
        let status = in_time(service.stop()).await;
        assert_eq!(status.last_end, Some(proc_watch::ExitStatus::Code(7)), "it was not killed");
        service.start();
        in_time(service.wait_ready()).await.unwrap();
        // The deadline for all is no service's to extend.
        in_time(supervisor.shutdown(Duration::from_millis(500))).await;
        assert_eq!(
            service.status().last_end.unwrap().to_string(),
            proc_watch::ExitStatus::Signal { signal: 9, core: false }.to_string()
        );
    }
}

/// Anybody can send to the socket. Nobody is believed who is none of the service's processes, and nothing that is no message.
#[tokio::test]
async fn strangers_and_nonsense_are_not_believed() {
    if !python() {
        return;
    }
    for watcher in watchers() {
        let script = "print(os.environ['NOTIFY_SOCKET'], flush=True)\nsay(b'=' * 5000)\nsay(b'nonsense')\nsay('MAINPID=1')\n\
                      say(b'')\nsys.stdin.close()\nwhile not os.path.exists(sys.argv[1]): time.sleep(0.01)\nsay('READY=1')\ntime.sleep(1000)";
        let dir = tempfile::tempdir().unwrap();
        let flag = dir.path().join("go");
        let (tell, mut path) = tokio::sync::mpsc::unbounded_channel();
        let service = speaker("talks", script).arg(&flag).lines(move |line| {
            let _ = tell.send(String::from_utf8_lossy(line.bytes).into_owned());
        });
        let supervisor = start(&watcher, [service]);
        let mut events = supervisor.events();
        let mut reasons = Vec::new();
        while reasons.len() < 3 {
            let event = heard(&mut events, |kind| matches!(kind, ServiceEventKind::Stranger { .. })).await;
            reasons.push(event.to_string());
        }
        for why in ["it is too long", "lines of NAME=value", "names is none of the service's"] {
            assert!(reasons.iter().any(|reason| reason.contains(why)), "{why}: {reasons:?}");
        }
        // This test's own process is a stranger.
        let stranger = std::os::unix::net::UnixDatagram::unbound().unwrap();
        stranger.send_to(b"READY=1", in_time(path.recv()).await.unwrap()).unwrap();
        let event = heard(
            &mut events,
            |kind| matches!(kind, ServiceEventKind::Stranger { pid, .. } if *pid == std::process::id()),
        )
        .await;
        assert!(event.to_string().contains("none of the service's processes"), "{event}");
        assert_eq!(state(&supervisor, "talks"), State::Up);
        std::fs::write(&flag, "").unwrap();
        in_time(supervisor.wait_ready()).await.unwrap();
        ends_clean(&watcher, supervisor).await;
    }
}

/// One of its grandchildren says so for it, and is gone by the time that it is heard.
#[tokio::test]
async fn a_member_that_has_ended_since_is_believed() {
    if !python() {
        return;
    }
    for watcher in watchers() {
        let script = "import subprocess\ncode = 'import os, socket; socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b\"READY=1\", os.environ[\"NOTIFY_SOCKET\"])'\n\
                      subprocess.run([sys.executable, '-c', code])\ntime.sleep(1000)";
        let supervisor = start(&watcher, [speaker("talks", script)]);
        in_time(supervisor.wait_ready()).await.unwrap();
        ends_clean(&watcher, supervisor).await;
    }
}

#[tokio::test]
async fn a_watchdog_that_is_not_fed() {
    if !python() {
        return;
    }
    for watcher in watchers() {
        let script =
            "say('READY=1')\nfor i in range(5): time.sleep(0.02); say('WATCHDOG=1')\ntime.sleep(1000)";
        let service = speaker("hangs", script).watchdog(Duration::from_millis(400)).stop(StopPlan::kill());
        let supervisor = start(&watcher, [service]);
        let mut events = supervisor.events();
        let event = heard(&mut events, |kind| matches!(kind, ServiceEventKind::Unhealthy(_))).await;
        assert!(event.to_string().contains("not been heard of"), "{event}");
        until("it is started again", || supervisor.snapshot().services[0].starts == 2).await;
        ends_clean(&watcher, supervisor).await;
    }
}

/// A daemon that forks twice is followed, and the process that it names is its main one.
#[tokio::test]
async fn daemons() {
    if !python() {
        return;
    }
    for watcher in watchers() {
        let fork = "if os.fork(): sys.exit(0)\nos.setsid()\nif os.fork(): os._exit(0)\n";
        let by_tree = speaker("tree", &format!("{fork}time.sleep(0.2); say('READY=1'); time.sleep(1000)"))
            .main(Main::Tree);
        let by_name = speaker(
            "name",
            "pid = os.fork()\nif pid: say('MAINPID=%d\\nREADY=1' % pid); time.sleep(0.3); sys.exit(0)\n\
                                                time.sleep(0.6); os._exit(7)",
        )
        .restart(Restart::Temporary);
        let supervisor = start(&watcher, [by_tree, by_name]);
        in_time(supervisor.service("tree").unwrap().wait_ready()).await.unwrap();
        until("the other has ended", || state(&supervisor, "name") == State::Failed).await;
        // Not 0, which is how the one ended that was started.
        let end = supervisor.service("name").unwrap().status().last_end.unwrap();
        assert!(end.code() == Some(7) || !watcher.capabilities().statuses && !end.is_known(), "{end:?}");
        let tree = supervisor.service("tree").unwrap().status();
        assert_eq!((tree.state, tree.starts), (State::Ready, 1));
        ends_clean(&watcher, supervisor).await;
    }
}

#[tokio::test]
async fn ready_when_asked() {
    for watcher in watchers() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let flag = dir.path().join("ready");
        let check = ["test", "-e", flag.to_str().unwrap()].map(Into::into).to_vec();
        let supervisor = start(
            &watcher,
            [
                shell("connects", "exec sleep 1000").ready(Ready::Connect(address)),
                shell("commands", "exec sleep 1000").ready(Ready::Command(check)),
                shell("never", "exec sleep 1000")
                    .ready(Ready::Line("up".into()))
                    .lines(|_| {})
                    .ready_within(Duration::from_millis(50))
                    .restart(Restart::Temporary),
            ],
        );
        in_time(supervisor.service("connects").unwrap().wait_ready()).await.unwrap();
        assert_eq!(state(&supervisor, "commands"), State::Up);
        std::fs::write(&flag, "").unwrap();
        in_time(supervisor.service("commands").unwrap().wait_ready()).await.unwrap();
        assert_eq!(
            in_time(supervisor.service("never").unwrap().wait_ready()).await.unwrap_err().state,
            State::Failed
        );
        ends_clean(&watcher, supervisor).await;
    }
}

#[tokio::test]
async fn one_that_is_not_well_any_more() {
    for watcher in watchers() {
        let dir = tempfile::tempdir().unwrap();
        let flag = dir.path().join("well");
        std::fs::write(&flag, "").unwrap();
        let check = Ready::Command(["test", "-e", flag.to_str().unwrap()].map(Into::into).to_vec());
        let mut health = Health::new(check, Duration::from_millis(5));
        health.failures = 2;
        let supervisor = start(&watcher, [shell("checked", "exec sleep 1000").health(health)]);
        in_time(supervisor.wait_ready()).await.unwrap();
        std::fs::remove_file(&flag).unwrap();
        until("it is started again", || supervisor.snapshot().services[0].starts > 1).await;
        std::fs::write(&flag, "").unwrap();
        in_time(supervisor.wait_ready()).await.unwrap();
        ends_clean(&watcher, supervisor).await;
    }
}

#[tokio::test]
async fn reloaded_and_not() {
    for watcher in watchers() {
        let dir = tempfile::tempdir().unwrap();
        let (out, flag) = (dir.path().join("log"), dir.path().join("reloaded"));
        let script = format!("trap 'touch {}' HUP; echo up; while :; do sleep 0.01; done", flag.display());
        let output = |path: &Path| {
            // Kept in a file, which is read for the line as well.
            Output::File { path: path.to_owned(), limit: Some(1 << 20), keep: 1 }
        };
        let service = shell("one", &script).ready(Ready::Line("up".into())).output(output(&out)).reload(1);
        let supervisor = start(&watcher, [service, shell("other", "exec sleep 1000")]);
        in_time(supervisor.wait_ready()).await.unwrap();
        in_time(supervisor.service("one").unwrap().reload()).await.unwrap();
        until("it has reloaded", || flag.exists()).await;
        let error = in_time(supervisor.service("other").unwrap().reload()).await.unwrap_err();
        assert!(error.to_string().contains("no signal"), "{error}");
        assert_eq!(std::fs::read_to_string(&out).unwrap(), "up\n");
        ends_clean(&watcher, supervisor).await;
    }
}

#[tokio::test]
async fn what_cannot_be_started_is_tried_again() {
    for watcher in watchers() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("program");
        let supervisor = start(&watcher, [Service::new("late", &program).backoff(quick())]);
        let mut events = supervisor.events();
        let event = heard(&mut events, |kind| matches!(kind, ServiceEventKind::NotStarted(_))).await;
        assert!(event.to_string().contains("could not be started"), "{event}");
        std::os::unix::fs::symlink("/bin/cat", &program).unwrap();
        in_time(supervisor.wait_ready()).await.ok();
        until("it has been started", || supervisor.snapshot().services[0].starts > 0).await;
        ends_clean(&watcher, supervisor).await;
    }
}

#[test]
fn without_a_runtime_and_without_sense() {
    let Some(watcher) = watchers().pop() else { return };
    let error = Supervisor::builder().start(&watcher).unwrap_err().to_string();
    assert!(error.contains("no tokio runtime"), "{error}");
    let error =
        Supervisor::builder().service(shell("a", "").needs("b")).start(&watcher).unwrap_err().to_string();
    assert!(error.contains("needs \"b\""), "{error}");
}
