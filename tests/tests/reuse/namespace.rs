//! The same in a pid namespace, where whoever made it may choose pids and make few of them: a part of this program is run in there,
//! as the child of a shell that reaps orphans.

use std::process::Command;

/// What marks the run of a part.
const INSIDE: &str = "REUSE_INSIDE";

/// Runs the ignored test `part` of this program in a pid namespace with so many pids. For a program that is not root, in a user
/// namespace too. False if there is no such name space to be had, which is said.
pub(crate) fn run(part: &str, pid_max: Option<u32>) -> bool {
    let root =
        std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    let mut flags = vec!["--pid", "--fork", "--mount-proc", "--kill-child"];
    if !root {
        flags.extend(["--user", "--map-root-user"]);
    }
    let set = pid_max
        .map_or_else(String::new, |pid_max| format!("echo {pid_max} >/proc/sys/kernel/pid_max || exit 77; "));
    let made = Command::new("unshare").args(&flags).args(["sh", "-c", &format!("{set}exit 0")]).output();
    match made {
        Ok(made) if made.status.success() => {}
        other => {
            println!(
                "SKIPPED: {part}: no pid namespace with pid_max {pid_max:?} can be made here: {other:?}"
            );
            return false;
        }
    }
    let mut command = Command::new("unshare");
    // Not the last command, or the shell would become it, and nobody would reap orphans.
    command.args(&flags).args(["sh", "-c", &format!("{set}\"$@\"; exit $?"), "sh"]);
    command.arg(std::env::current_exe().expect("/proc")).args(["--exact", part, "--ignored", "--nocapture"]);
    let output = command.env(INSIDE, "1").output().expect("unshare");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    println!("{part}, pid_max {pid_max:?}: {text}");
    assert!(output.status.success() && text.contains("1 passed"), "{part}: {}: {errors}", output.status);
    true
}

/// For a part: whether it is run as one.
pub(crate) fn is_inside() -> bool {
    let inside = std::env::var_os(INSIDE).is_some();
    if !inside {
        println!("SKIPPED: a part of another test, run in a pid namespace");
    }
    inside
}
