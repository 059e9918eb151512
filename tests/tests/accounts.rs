//! What processes have used and why the kernel killed them, over each source that works here: of grandchildren, whom no parent here
//! can ask.
#![cfg(target_os = "linux")]

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use proc_watch::{Account, Accounts, EventKind, ExitStatus, SourceName, Watcher};

/// A limit for what is sure to happen soon.
const PATIENCE: Duration = Duration::from_secs(60);

fn watchers() -> Vec<Watcher> {
    let open = |&source| match Watcher::builder().source(source).build() {
        Ok(watcher) => Some(watcher),
        Err(error) => {
            println!("SKIPPED: {error}");
            None
        }
    };
    SourceName::ALL.iter().filter_map(open).collect()
}

fn accounts(wants: fn(&Accounts) -> Option<&std::io::Error>) -> Option<Accounts> {
    match Accounts::open() {
        Ok(accounts) => match wants(&accounts) {
            None => return Some(accounts),
            Some(error) => println!("SKIPPED: {error}"),
        },
        Err(error) => println!("SKIPPED: {error}"),
    }
    None
}

/// The ends of a tree, with what is told of each beside its status. Whoever floods the machine with ends at the same time may have the kernel
/// lose some, which it says: then another tree has to do.
async fn ends(watcher: &Watcher, accounts: &mut Accounts, script: &str) -> Vec<(u32, ExitStatus, Account)> {
    for _ in 0..20 {
        let before = accounts.losses();
        let ends = ends_of_one(watcher, accounts, script).await;
        if accounts.losses() == before {
            return ends;
        }
        println!("accounts were lost, once more");
    }
    panic!("accounts are lost each time");
}

async fn ends_of_one(
    watcher: &Watcher,
    accounts: &mut Accounts,
    script: &str,
) -> Vec<(u32, ExitStatus, Account)> {
    let mut command = proc_watch::Command::new("sh");
    command.args(["-c", script]);
    let (mut child, mut events) = watcher.spawn(command).unwrap();
    let mut ends = Vec::new();
    while let Some(event) = tokio::time::timeout(PATIENCE, events.next()).await.expect("in time") {
        let account = accounts.of(&event);
        match event.kind {
            EventKind::Exit { status } => ends.push((event.id.pid(), status, account)),
            _ => assert_eq!(account, Account::default()),
        }
    }
    child.wait().await.unwrap();
    ends
}

#[tokio::test]
async fn what_a_grandchild_has_used() {
    let Some(mut accounts) = accounts(Accounts::usage_error) else { return };
    for watcher in watchers() {
        // One that takes memory and one that takes time, each below a shell, the latter in two threads.
        let memory = "head -c 50000000 /dev/zero | tail -c 49000000 > /dev/null";
        let time = "python3 -c 'import threading, time\ndef work():\n  end = time.process_time() + 0.15\n  while time.process_time() < end: pass\nt = threading.Thread(target=work); t.start(); work(); t.join()'";
        let ends = ends(&watcher, &mut accounts, &format!("({memory}); ({time}; exit 7); exit 8")).await;
        let source = watcher.source_name();
        assert!(ends.len() >= 4, "{source}: {ends:?}");
        let usages: Vec<_> =
            ends.iter().map(|(_, _, account)| account.usage.expect("it is told of each")).collect();
        let peak = usages.iter().map(|usage| usage.peak_memory).max().unwrap();
        assert!((40 << 20..1 << 30).contains(&peak), "{source}: {usages:?}");
        let cpu = usages.iter().map(|usage| usage.user + usage.system).max().unwrap();
        assert!(cpu >= Duration::from_millis(140) && cpu < PATIENCE, "{source}: {usages:?}");
        assert!(ends.iter().all(|(_, _, account)| account.oom_kill.is_none()));
    }
}

/// As the parent is told by waitid(2), but that the peak there is also that of the program before the exec.
#[tokio::test]
async fn it_is_what_the_parent_is_told() {
    let Some(mut accounts) = accounts(Accounts::usage_error) else { return };
    for watcher in watchers() {
        let (status, usage, told) = loop {
            let before = accounts.losses();
            let mut command = proc_watch::Command::new("sh");
            command.args(["-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; exit 3"]);
            let (mut child, mut events) = watcher.spawn(command).unwrap();
            let (status, usage) = child.wait_with_usage().await.unwrap();
            let mut told = None;
            while let Some(event) = tokio::time::timeout(PATIENCE, events.next()).await.expect("in time") {
                told = told.or(accounts.of(&event).usage);
            }
            if accounts.losses() == before {
                break (status, usage.unwrap(), told.unwrap());
            }
        };
        let apart = |one: Duration, other: Duration| one.abs_diff(other) < Duration::from_millis(20);
        assert!(apart(told.user, usage.user) && apart(told.system, usage.system), "{told:?}, {usage:?}");
        assert!(told.peak_memory > 0 && told.peak_memory <= usage.peak_memory, "{told:?}, {usage:?}");
        assert_eq!(status.code(), Some(3));
    }
}

/// A control group with 16 MiB, of either version, and what a process writes its pid into to be in it.
struct Small {
    path: PathBuf,
}

impl Small {
    fn make() -> Option<Self> {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        for line in mounts.lines() {
            let (mount, kind) = line.split_once(" - ")?;
            let point = PathBuf::from(mount.split(' ').nth(4)?);
            let (limit, old) = match kind {
                kind if kind.starts_with("cgroup2 ") => ("memory.max", false),
                kind if kind.starts_with("cgroup ") && kind.ends_with("memory") => {
                    ("memory.limit_in_bytes", true)
                }
                _ => continue,
            };
            let path = point.join(format!("proc-watch-test-{}", std::process::id()));
            if std::fs::create_dir(&path).is_err() {
                continue;
            }
            let small = Self { path };
            if std::fs::write(small.path.join(limit), "16777216").is_ok() {
                // Else it may be swapped instead.
                let swap = if old { "memory.swappiness" } else { "memory.swap.max" };
                let _ = std::fs::write(small.path.join(swap), "0");
                return Some(small);
            }
        }
        None
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        for _ in 0..100 {
            if std::fs::remove_dir(&self.path).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        eprintln!("{} was left behind", self.path.display());
    }
}

#[tokio::test]
async fn killed_because_its_memory_was_used_up() {
    let Some(mut accounts) = accounts(Accounts::oom_error) else { return };
    for watcher in watchers() {
        let Some(small) = Small::make() else {
            println!("SKIPPED: no control group with a limit of memory can be made here");
            return;
        };
        // One is killed by the kernel, and one by another who sends the same signal.
        let script = format!(
            "sh -c 'echo $$ > {}/cgroup.procs && exec tail /dev/zero'; sh -c 'kill -9 $$'; exit 0",
            small.path.display()
        );
        let ends = ends(&watcher, &mut accounts, &script).await;
        let killed: Vec<_> = ends.iter().filter(|(.., account)| account.oom_kill.is_some()).collect();
        let source = watcher.source_name();
        assert_eq!((killed.len(), ends.len()), (1, 3), "{source}: {ends:?}");
        let (pid, status, account) = killed[0];
        let kill = account.oom_kill.as_ref().unwrap();
        assert!(kill.in_cgroup && kill.to_string().contains(&format!("process {pid} (tail)")), "{kill}");
        let sigkill = ExitStatus::Signal { signal: 9, core: false };
        assert!(*status == sigkill || *status == ExitStatus::Unknown, "{ends:?}");
    }
}

/// Where it is not permitted it says what is, and by whom.
#[test]
fn it_says_why_not() {
    match Accounts::open() {
        Err(error) => {
            let text = error.to_string();
            assert!(
                text.contains("taskstats: ") && text.contains("kernel's log: ") && text.contains("root"),
                "{text}"
            );
        }
        Ok(accounts) => {
            let errors = [accounts.usage_error(), accounts.oom_error()];
            assert!(errors.iter().flatten().count() < 2, "{errors:?}");
        }
    }
    // The test's own child, so that it is not the only thing.
    assert!(Command::new("true").status().unwrap().success());
}
