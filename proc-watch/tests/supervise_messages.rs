//! What comes by the socket of a service, from whomever: floods, descriptors, other namespaces. Over each source that works here.
#![cfg(target_os = "linux")]

mod each_source;

use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use proc_watch::supervisor::{
    Backoff, Main, Output, Ready, Service, ServiceEventKind, ServiceEvents, State, Supervisor, Verdict,
};
use proc_watch::{ExitStatus, StopPlan, Watcher};

use each_source::watchers;

/// A limit for what is sure to happen soon.
const PATIENCE: Duration = Duration::from_secs(60);

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("in time")
}

fn works(words: &[&str]) -> bool {
    let tried = Command::new(words[0]).args(&words[1..]).stderr(Stdio::null()).status();
    let works = tried.is_ok_and(|status| status.success());
    if !works {
        println!("SKIPPED: {words:?} does not work here");
    }
    works
}

/// A program that sends messages by `say`, begun by `prefix`.
fn speaker(prefix: &[&str], rest: &str) -> Service {
    let begin = "import os, socket, sys, time\ns = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n\
                 s.connect(os.environ['NOTIFY_SOCKET'])\ndef say(text): s.send(text.encode())\n";
    let script = format!("{begin}{rest}");
    let words: Vec<&str> = prefix.iter().copied().chain(["python3", "-c", &script]).collect();
    let mut backoff = Backoff::default();
    backoff.first = Duration::from_millis(5);
    Service::new("talks", words[0])
        .args(&words[1..])
        .ready(Ready::Notify)
        .stop(StopPlan::kill())
        .output(Output::Null)
        .backoff(backoff)
}

fn start(watcher: &Watcher, service: Service) -> (Supervisor, ServiceEvents) {
    let supervisor = Supervisor::builder().service(service).start(watcher).unwrap();
    let events = supervisor.events();
    (supervisor, events)
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// What this program has in memory, in MiB.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let field = |line: &str| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok();
    status.lines().find_map(field).unwrap() >> 10
}

async fn ends(supervisor: &Supervisor) {
    assert_eq!(in_time(supervisor.shutdown(PATIENCE)).await, Verdict::Asked);
}

/// A reader who comes to them when all is over has missed nothing: neither what the service said, nor that there were strangers. Of those not all are told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_hides_nothing_from_a_slow_reader() {
    // `FLOOD=1000000` for whoever has the time.
    let many = std::env::var("FLOOD").ok().and_then(|many| many.parse().ok()).unwrap_or(10_000_usize);
    if !works(&["python3", "-c", ""]) {
        return;
    }
    for watcher in watchers() {
        let dir = tempfile::tempdir().unwrap();
        let [place, new, go] = ["place", "new", "go"].map(|name| dir.path().join(name));
        let script = "open(sys.argv[2], 'w').write(os.environ['NOTIFY_SOCKET'])\nos.rename(sys.argv[2], sys.argv[1])\n\
                      while not os.path.exists(sys.argv[3]): time.sleep(0.001)\nsay('READY=1\\nSTATUS=up')\ntime.sleep(1000)";
        let (supervisor, mut events) = start(&watcher, speaker(&[], script).args([&place, &new, &go]));
        until("it has a socket", || place.exists()).await;
        let socket = std::fs::read_to_string(&place).unwrap();
        let flood = tokio::task::spawn_blocking(move || {
            let stranger = UnixDatagram::unbound().unwrap();
            for number in 0..many {
                if number == many / 5 {
                    std::fs::write(&go, "").unwrap();
                }
                stranger.send_to(b"READY=1\nSTATUS=all is lost", &socket).unwrap();
            }
        });
        let (begun, before) = (Instant::now(), memory());
        in_time(flood).await.unwrap();
        in_time(supervisor.wait_ready()).await.unwrap();
        let (took, more) = (begun.elapsed(), memory().saturating_sub(before));
        // Nothing of them is kept; the other tests of this program have some, too.
        assert!(more < 16, "{more} MiB");
        ends(&supervisor).await;
        let (mut strangers, mut is_ready) = (0, 0);
        while let Some(event) = in_time(events.next()).await {
            match event.kind {
                ServiceEventKind::Stranger { pid, .. } => {
                    assert_eq!(pid, std::process::id());
                    strangers += 1;
                }
                ServiceEventKind::Status(text) => assert_eq!(text, "up"),
                ServiceEventKind::State(State::Ready) => is_ready += 1,
                ServiceEventKind::Missed(count) => panic!("{count} were missed"),
                _ => {}
            }
        }
        assert_eq!(is_ready, 1);
        let seconds = usize::try_from(took.as_secs()).unwrap() + 2;
        assert!((1..=16 * seconds).contains(&strangers), "{strangers} in {took:?}");
        println!(
            "{}: {many} messages in {took:?}, of which {strangers} are told; {more} MiB more",
            watcher.source_name()
        );
    }
}

/// Whoever attaches descriptors to messages has them closed, however many.
#[tokio::test]
async fn descriptors_are_not_kept() {
    if !works(&["python3", "-c", "import socket; socket.send_fds"]) {
        return;
    }
    for watcher in watchers() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("attached");
        std::fs::write(&file, "").unwrap();
        let script = "fd = os.open(sys.argv[1], os.O_RDONLY)\nfor n in range(200):\n    \
                      socket.send_fds(s, [f'STATUS={n}'.encode()], [fd] * (1 + n))\nsay('READY=1')\ntime.sleep(1000)";
        let (supervisor, _events) = start(&watcher, speaker(&[], script).arg(&file));
        in_time(supervisor.wait_ready()).await.unwrap();
        let status = supervisor.service("talks").unwrap().status();
        assert_eq!((status.text.as_deref(), status.starts), (Some("199"), 1));
        let kept = || {
            let fds = std::fs::read_dir("/proc/self/fd").unwrap().map_while(Result::ok);
            fds.filter(|fd| std::fs::read_link(fd.path()).is_ok_and(|to| to == file)).count()
        };
        assert_eq!(kept(), 0);
        ends(&supervisor).await;
    }
}

/// One in a namespace of processes below is known by its pid here. It does not know that one, and names as its main process who it is there: that is not
/// believed, and what else it says is.
#[tokio::test]
async fn from_a_namespace_below() {
    let unshare = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child"];
    let python = ["python3", "-c", ""];
    if !works(&[&unshare[..], &python[..]].concat()) {
        return;
    }
    for watcher in watchers() {
        let script = "assert os.getpid() == 1\nsay('READY=1\\nSTATUS=below\\nMAINPID=1')\ntime.sleep(1000)";
        let (supervisor, mut events) = start(&watcher, speaker(&unshare, script));
        in_time(supervisor.wait_ready()).await.unwrap();
        let talks = supervisor.service("talks").unwrap();
        assert_eq!(talks.status().text.as_deref(), Some("below"));
        let stranger = async {
            loop {
                if let ServiceEventKind::Stranger { pid, why } = events.next().await.unwrap().kind {
                    return (pid, why);
                }
            }
        };
        let (pid, why) = in_time(stranger).await;
        assert!(pid != 1 && why.contains("main process"), "{pid}: {why}");
        let lives = || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            !stat.is_empty() && !stat.contains(") Z ") && !stat.contains(") X ")
        };
        assert!(lives());
        ends(&supervisor).await;
        // Whoever inherited it may be slow to wait for it.
        assert!(!lives());
        assert_eq!(talks.status().starts, 1);
    }
}

/// Its main process is not the one that was started, which says so and ends at once: that is not the end of the service, however late it is heard.
#[tokio::test]
async fn the_main_process_is_another() {
    if !works(&["python3", "-c", ""]) {
        return;
    }
    for watcher in watchers() {
        let script = "pid = os.fork()\nif pid == 0:\n    time.sleep(0.3)\n    os._exit(9)\nsay(f'MAINPID={pid}\\nREADY=1')\n\
                      os._exit(0)";
        let service = speaker(&[], script).main(Main::Child);
        let (supervisor, mut events) =
            start(&watcher, service.restart(proc_watch::supervisor::Restart::Temporary));
        let ended = async {
            loop {
                if let ServiceEventKind::Ended(status) = events.next().await.unwrap().kind {
                    return status;
                }
            }
        };
        let told = in_time(ended).await;
        // Nobody here can wait for it; some sources tell of its end all the same.
        let is_known = matches!(told, ExitStatus::Code(9) | ExitStatus::Unknown);
        assert!(is_known, "{}: {told}", watcher.source_name());
        println!("{}: {told}", watcher.source_name());
        ends(&supervisor).await;
    }
}
