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
