//! The guide's programs do what the guide says.

use std::process::{Command, Output};

fn run(program: &str, args: &[&str]) -> (Output, String) {
    let output = Command::new(program).args(args).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    println!("{text}{}", String::from_utf8_lossy(&output.stderr));
    (output, text)
}

/// Whether there is a source at all.
fn works() -> bool {
    let works = proc_watch::Watcher::new();
    if let Err(error) = &works {
        println!("SKIPPED: {error}");
    }
    works.is_ok()
}

#[test]
fn list_failed() {
    if !works() {
        return;
    }
    let script = "sh -c 'sleep 0.05; exit 3'; (setsid sh -c 'sleep 0.1; exit 4' &); exit 0";
    let (output, text) = run(env!("CARGO_BIN_EXE_guide-list_failed"), &["sh", "-c", script]);
    assert_eq!(output.status.code(), Some(0));
    // Statuses of others' children are not always known over perf.
    let whole = proc_watch::Watcher::new().unwrap().capabilities().statuses;
    assert!(!whole || (text.contains("exit 3") && text.contains("exit 4")), "{text}");
    assert!(!whole || text.contains("sleep 0.05"), "{text}");
}

#[test]
fn time_limit() {
    if !works() {
        return;
    }
    let program = env!("CARGO_BIN_EXE_guide-time_limit");
    let (output, text) = run(program, &["60", "sh", "-c", "exit 5"]);
    assert_eq!(output.status.code(), Some(5));
    assert!(text.contains("in time: nobody is left"), "{text}");
    let (_, text) =
        run(program, &["0.2", "sh", "-c", "(setsid sleep 1000 &); trap '' TERM; while :; do sleep 1; done"]);
    assert!(text.contains("too long: nobody is left"), "{text}");
}

#[test]
fn daemon() {
    if !works() {
        return;
    }
    let (_, text) = run(env!("CARGO_BIN_EXE_guide-daemon"), &[]);
    assert!(text.contains("the program: exit status: 0") && text.contains("its leader: exit 0"), "{text}");
    assert!(text.matches("one of its processes").count() >= 2, "{text}");
}

#[test]
fn pipe_holder() {
    if !works() {
        return;
    }
    let (_, text) = run(env!("CARGO_BIN_EXE_guide-pipe_holder"), &[]);
    assert!(text.contains("exit status: 0: \"done") && text.contains("still open in"), "{text}");
}

#[test]
fn exit_of() {
    if !works() {
        return;
    }
    let mut child = Command::new("sh").args(["-c", "sleep 0.2; exit 6"]).spawn().unwrap();
    let pid = child.id().to_string();
    // Linux gives no pid above 4,194,304.
    let (_, text) = run(env!("CARGO_BIN_EXE_guide-exit_of"), &[&pid, "4194305"]);
    assert!(text.contains(&format!("{pid}: exit 6")) || text.contains(&format!("{pid}: unknown")), "{text}");
    assert!(text.contains("4194305: nobody has this pid"), "{text}");
    assert_eq!(child.wait().unwrap().code(), Some(6));
}

#[test]
fn leak_check() {
    if !works() {
        return;
    }
    let (output, text) = run(env!("CARGO_BIN_EXE_guide-leak_check"), &[]);
    assert!(output.status.success() && text.contains("1 processes were left behind"), "{text}");
    assert!(text.contains("s old, started by "), "{text}");
}

#[test]
fn living() {
    if !works() {
        return;
    }
    let (output, text) = run(env!("CARGO_BIN_EXE_guide-living"), &["sh", "-c", "sleep 1; :"]);
    assert!(output.status.success() && text.contains("sleep 1") && text.contains("2 processes"), "{text}");
}

#[test]
fn scope() {
    if !works() {
        return;
    }
    let (output, text) = run(env!("CARGO_BIN_EXE_guide-scope"), &[]);
    assert!(output.status.success() && text.contains("nobody is left"), "{text}");
}

#[test]
fn stop_tree() {
    if !works() {
        return;
    }
    let (output, text) = run(env!("CARGO_BIN_EXE_guide-stop_tree"), &[]);
    assert!(output.status.success() && text.contains("nobody is left"), "{text}");
    assert!(text.contains("ignores SIGINT SIGQUIT SIGTERM"), "{text}");
    assert!(text.contains("after 3 steps"), "{text}");
}

#[test]
fn usage() {
    if !works() {
        return;
    }
    let script = "head -c 30000000 /dev/zero | tail -c 29000000 >/dev/null; exit 3";
    let (_, text) = run(env!("CARGO_BIN_EXE_guide-usage"), &["sh", "-c", script]);
    assert!(text.contains("all that were waited for: ") && text.contains("exit status: 3"), "{text}");
    let first = text.lines().next().unwrap();
    let told = first.contains("tail -c 29000000") && first.contains("exit 0");
    assert!(told || text.contains("only of the command itself: "), "{text}");
}

#[test]
fn cgroup() {
    if !works() {
        return;
    }
    if let Err(error) = proc_watch::Cgroup::create() {
        return println!("SKIPPED: {error}");
    }
    let script = "setsid sleep 1000 & setsid sleep 1000 & exit 4";
    let (_, text) = run(env!("CARGO_BIN_EXE_guide-cgroup"), &["sh", "-c", script]);
    assert!(text.contains("exit status: 4; 2 are left\nnobody is left\n"), "{text}");
}

/// The example's services, with a port that nobody has.
fn services(dir: &std::path::Path) -> std::path::PathBuf {
    let text =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/supervise/services.toml"));
    let free = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    let file = dir.join("services.toml");
    std::fs::write(&file, text.unwrap().replace("18080", &free.to_string())).unwrap();
    file
}

#[test]
fn supervise() {
    if !works() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let file = services(dir.path());
    let args = [file.to_str().unwrap(), "--stop-after", "2.5", "--within", "30"];
    let (output, text) = run(env!("CARGO_BIN_EXE_guide-supervise"), &args);
    assert!(output.status.success());
    assert!(text.contains("web: ready") && text.contains("daemon: ready"), "{text}");
    for (service, at_least) in [("web", 1), ("worker", 1), ("daemon", 1), ("deaf", 1), ("leaky", 1)] {
        let told = text.matches(&format!("{service}: nobody is left")).count();
        assert!(told >= at_least, "{service}: {told}: {text}");
    }
    assert!(text.matches("worker: runs as").count() >= 2, "it came again: {text}");
    assert!(text.contains("deaf: killed by SIGKILL") && text.contains("all are down"), "{text}");

    let (output, _) = run(env!("CARGO_BIN_EXE_guide-supervise"), &["/nonexistent/services.toml"]);
    assert_eq!(output.status.code(), Some(1));
    std::fs::write(&file, "[service.web]\ncomand = \"x\"\n").unwrap();
    let (output, _) = run(env!("CARGO_BIN_EXE_guide-supervise"), &[file.to_str().unwrap()]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("services.toml:2:1: service.web.comand"), "{error}");
}

/// As process 1 of a pid namespace: signals are passed on, and whoever loses his parent is reaped.
#[test]
#[cfg(target_os = "linux")]
fn supervise_as_process_1() {
    use std::io::{BufRead, BufReader};
    use std::process::Stdio;
    // A user namespace is for those who may not make the other alone.
    let mut within = vec!["--pid", "--fork", "--kill-child", "--mount-proc"];
    if !rustix::process::geteuid().is_root() {
        within.extend(["--user", "--map-root-user"]);
    }
    let may = Command::new("unshare").args(&within).arg("true").status();
    if !may.as_ref().is_ok_and(|status| status.success()) {
        println!("SKIPPED: no pid namespace may be made here: {may:?}");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut unshare = Command::new("unshare")
        .args(&within)
        .arg(env!("CARGO_BIN_EXE_guide-supervise"))
        .arg("--init")
        .arg(services(dir.path()))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(unshare.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut text = String::new();
    let mut until = |text: &mut String, wanted: &str| {
        for line in lines.by_ref() {
            println!("{line}");
            text.push_str(&line);
            text.push('\n');
            if line.contains(wanted) {
                return true;
            }
        }
        false
    };
    if !until(&mut text, "leaky: again") {
        // Another test has the reasons why there may be no source in a namespace.
        assert!(!unshare.wait().unwrap().success());
        return println!("SKIPPED: no source in a pid namespace here");
    }
    let children = format!("/proc/{0}/task/{0}/children", unshare.id());
    let init = std::fs::read_to_string(children).unwrap().trim().parse().unwrap();
    let term = rustix::process::Signal::TERM;
    rustix::process::kill_process(rustix::process::Pid::from_raw(init).unwrap(), term).unwrap();
    assert!(until(&mut text, "orphans were reaped"), "{text}");
    assert!(text.contains("all are down: somebody asked for it"), "{text}");
    let orphans = text.lines().last().unwrap().split_whitespace().nth(1).unwrap().parse::<u32>().unwrap();
    assert!(orphans >= 3, "the daemon and the two of leaky: {text}");
    assert!(unshare.wait().unwrap().success());
}
