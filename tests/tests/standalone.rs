//! The conformance program, which has no harness: its TAP holds what it plans, its exit code is what its TAP says, and a case that is
//! not so, or hangs, ends it with 1.

use std::process::{Command, Output};

fn conformance(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_conformance"));
    // As the first process of a machine has it.
    command.args(arguments).env_clear();
    if let Some(place) = std::env::var_os("TMPDIR") {
        command.env("TMPDIR", place);
    }
    command.output().expect("the program runs")
}

/// What a TAP reader makes of it.
#[derive(Debug, Default)]
struct Tap {
    planned: usize,
    good: Vec<String>,
    skipped: Vec<String>,
    bad: Vec<String>,
}

/// Reads TAP; panics at anything that is none.
fn read(output: &Output) -> Tap {
    let text = std::str::from_utf8(&output.stdout).expect("text");
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("TAP version 13"), "{output:?}");
    let plan = lines.next().and_then(|line| line.strip_prefix("1..")).expect("a plan");
    let mut tap = Tap { planned: plan.parse().expect("a number"), ..Tap::default() };
    for line in lines {
        if line.starts_with('#') || line.starts_with("  ") {
            continue;
        }
        let number = 1 + tap.good.len() + tap.skipped.len() + tap.bad.len();
        let (list, rest) = match (line.strip_prefix("ok "), line.strip_prefix("not ok ")) {
            (Some(rest), _) if rest.contains(" # SKIP ") => (&mut tap.skipped, rest),
            (Some(rest), _) => (&mut tap.good, rest),
            (_, Some(rest)) => (&mut tap.bad, rest),
            _ => panic!("no TAP: {line}\nof {text}"),
        };
        let name = rest.strip_prefix(&format!("{number} - "));
        list.push(name.unwrap_or_else(|| panic!("not number {number}: {line}")).to_owned());
    }
    assert_eq!(tap.planned, tap.good.len() + tap.skipped.len() + tap.bad.len(), "{tap:?}");
    tap
}

/// On a script and on one source: the harness has the others.
#[test]
fn every_case_on_a_script_and_on_a_source() {
    let first = proc_reactor::open(&proc_reactor::OpenOptions::default()).map(|source| source.name());
    let output = match first {
        Ok(name) => conformance(&["--source", "script", "--source", name]),
        Err(_) => conformance(&[]),
    };
    let tap = read(&output);
    let text = String::from_utf8_lossy(&output.stdout);
    for case in tests::conformance::cases() {
        let name = format!("{} {}", case.rule, case.name);
        assert!(tap.good.iter().chain(&tap.skipped).any(|line| line.starts_with(&name)), "{name}: {text}");
        let summary = format!("# {name}: native: ");
        assert!(text.lines().any(|line| line.starts_with(&summary) && line.ends_with(case.what)), "{name}");
    }
    // Where no source works it must not be a success that nothing was shown.
    let works = tap.good.iter().any(|line| line == "a source of events works here");
    assert_eq!(tap.bad.len(), usize::from(!works), "{text}");
    assert_eq!(output.status.code(), Some(i32::from(!works)), "{text}");
}

#[test]
fn a_broken_case() {
    let output = conformance(&["--source", "script", "--only", "C23", "--break", "exec"]);
    let tap = read(&output);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(tap.bad, ["C23 exec on a script"]);
    assert!(tap.good.iter().any(|line| line == "C23 an_exec_by_a_thread on a script"), "{tap:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    for told in ["  message: |", "left: []", "right: [Kevent", "program.rs:", "ours: a script NOT OK"] {
        assert!(text.contains(told), "{told}: {text}");
    }
}

#[test]
fn a_case_that_hangs() {
    let output = conformance(&["--source", "script", "--only", "C23", "--time-limit", "1", "--hang", "exec"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().last().expect("a line");
    assert!(last.starts_with("Bail out! C23 exec on a script hung: "), "{text}");
    assert!(last.ends_with("its last step: a thread that never ends is joined"), "{text}");
}

#[test]
fn wrong_options() {
    for wrong in [&["--break", "nothing"][..], &["--only", "C99"], &["--source", "nothing"]] {
        let output = conformance(wrong);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{output:?}");
    }
}

#[test]
fn called_by_a_relative_name() {
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_conformance"));
    let (dir, name) = (program.parent().expect("a directory"), program.file_name().expect("a name"));
    let output = Command::new(std::path::Path::new(".").join(name))
        .args(["--source", "script", "--only", "no_descriptors"])
        .current_dir(dir)
        .output()
        .expect("the program runs");
    let tap = read(&output);
    assert_eq!((output.status.code(), tap.bad.len()), (Some(0), 0), "{output:?}");
    assert!(tap.good.iter().any(|line| line == "C17 no_descriptors on a script"), "{tap:?}");
}

/// As the first process of a machine whose kernel opens nothing for it (FreeBSD's does not), and gives it `--` for an argument.
#[cfg(target_os = "linux")]
#[test]
fn the_first_process_speaks_on_the_console() {
    // As nobody there can be no such machine.
    if !std::fs::read_to_string("/proc/self/status").is_ok_and(|text| text.contains("\nUid:\t0\t")) {
        return;
    }
    let dev = tempfile::tempdir().expect("a directory");
    let console = dev.path().join("console");
    for name in ["null", "console"] {
        std::fs::write(dev.path().join(name), "").expect("a file");
    }
    let script = "mount --make-rprivate / && mount --bind /dev/null $0/null && mount --rbind $0 /dev && exec $1 -- \
                  --source script --only C18 <&- >&- 2>&-";
    let status = Command::new("unshare")
        .args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-c", script])
        .args([dev.path(), env!("CARGO_BIN_EXE_conformance").as_ref()])
        .status();
    match status {
        // Not even root may, in some containers.
        Ok(status) if !status.success() && std::fs::read(&console).is_ok_and(|said| said.is_empty()) => {
            let may = Command::new("unshare").args(["--mount", "--pid", "--fork", "true"]).status();
            assert!(!may.is_ok_and(|status| status.success()), "{status}, and nothing was said");
        }
        Ok(status) => {
            let said = std::fs::read_to_string(&console).expect("text");
            assert!(status.success() && said.starts_with("TAP version 13\n"), "{status}: {said}");
            assert!(said.ends_with("# the first process ends with 0\n"), "{said}");
        }
        // Without that program it is not to be had.
        Err(_) => {}
    }
}
