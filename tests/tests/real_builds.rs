//! Real programs at work: what a stream tells of a build is what strace saw of it.
//!
//! These start others by vfork, posix_spawn and clone3, from several threads, and end with
//! threads still alive.
#![cfg(target_os = "linux")]

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use proc_watch::Watcher;
use tests::compare::{End, Life, compare};
use tests::seen::Seen;
use tests::strace;

/// Whether a program runs here, and as this user.
fn runs(program: &OsStr, env: &[(&str, PathBuf)]) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").envs(env.iter().cloned()).stdout(Stdio::null()).stderr(Stdio::null());
    let runs = command.status().is_ok_and(|status| status.success());
    if !runs {
        println!("SKIPPED: {program:?} does not run here");
    }
    runs
}

/// Runs a build under strace, in a directory `work` below `dir` that `set_up` fills. Returns strace's account of it,
/// when ours has proved to be the same.
fn build(dir: &Path, set_up: impl Fn(&Path), argv: &[&OsStr], env: &[(&'static str, PathBuf)]) -> Vec<Life> {
    let work = dir.join("work");
    let command = || {
        // Of an attempt before; what has been built is not built again.
        if work.exists() {
            fs::remove_dir_all(&work).expect("an old directory can go");
        }
        fs::create_dir(&work).expect("a directory");
        set_up(&work);
        let mut command = Command::new("strace");
        command
            .args(["-f", "-q", "-s", "65535", "-e", "trace=process", "-o"])
            .arg(dir.join("strace"))
            .args(argv)
            .current_dir(&work)
            .stdout(fs::File::create(dir.join("stdout")).expect("a file"))
            .stderr(fs::File::create(dir.join("stderr")).expect("a file"))
            .envs(env.iter().cloned());
        // This test may itself be part of a build.
        for inherited in ["MAKEFLAGS", "MFLAGS", "MAKELEVEL", "CARGO_MAKEFLAGS"] {
            command.env_remove(inherited);
        }
        command.into()
    };
    let watcher = Watcher::new().expect("the process connector works here");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (seen, status) = runtime.block_on(Seen::of(&watcher, command));
    let stderr = fs::read_to_string(dir.join("stderr")).unwrap_or_default();
    assert_eq!(status.success(), Some(true), "{argv:?}: {status}\n{stderr}");

    let text = fs::read(dir.join("strace")).expect("strace's output");
    let text = String::from_utf8_lossy(&text);
    let top = text.split(' ').next().and_then(|pid| pid.parse().ok()).expect("lines begin with a pid");
    let mut strace = strace::parse(&text, top);
    let seen = seen.lives_below_root(top);
    // The comparison is to have an eye on the top's execs too.
    strace[0].parent = seen.first().and_then(|top| top.parent);
    let differences = compare(&strace, &seen);
    eprintln!("{argv:?}: {} processes, {differences}", strace.len());
    if !differences.is_empty() {
        let kept = dir.with_extension("kept");
        fs::copy(dir.join("strace"), &kept).expect("a copy of strace's output");
        panic!("{argv:?}: {differences}See {}", kept.display());
    }
    strace
}

fn ended(lives: &[Life], how: End) -> usize {
    lives.iter().filter(|life| life.end == how).count()
}

/// The programs that were run, by the last part of their first argument.
fn programs(lives: &[Life]) -> HashSet<String> {
    let argvs = lives.iter().flat_map(|life| &life.execs).flatten();
    let names = argvs.filter_map(|argv| Path::new(argv.first()?).file_name());
    names.map(|name| name.to_string_lossy().into_owned()).collect()
}

#[test]
fn make_with_cc() {
    if !["strace", "make", "cc"].iter().all(|program| runs(OsStr::new(program), &[])) {
        return;
    }
    const FILES: usize = 10;
    let dir = tempfile::Builder::new().prefix("make-").tempdir().expect("a directory");
    let set_up = |work: &Path| {
        let write = |name: &str, text: &str| fs::write(work.join(name), text).expect("a file");
        for file in 0..FILES {
            let main = if file == 0 { "int main(void) { return 0; }" } else { "" };
            write(&format!("f{file}.c"), &format!("int f{file}(int x) {{ return x + {file}; }}\n{main}\n"));
        }
        let objects: String = (0..FILES).map(|file| format!("f{file}.o ")).collect();
        write(
            "Makefile",
            &format!(
                "all: optional program\n\
             program: {objects}\n\tcc -o $@ {objects}\n\t./$@\n\
             %.o: %.c\n\tcc -O1 -c -o $@ $<\n\
             optional:\n\t-exit 3\n\t-kill -KILL $$$$\n\t-cc -c no-such-file.c\n\t-./no-such-program\n"
            ),
        );
    };
    let lives = build(dir.path(), set_up, &[OsStr::new("make"), OsStr::new("-j4")], &[]);
    assert!(dir.path().join("work/program").exists());
    assert!(lives.len() > 2 * FILES, "each file takes a compiler, and an assembler at least");
    assert_eq!((ended(&lives, End::Code(3)), ended(&lives, End::Signal(libc::SIGKILL))), (1, 1));
    assert!(programs(&lives).is_superset(&["make", "cc", "program"].map(String::from).into()));
}

#[test]
fn cargo_with_a_build_script() {
    let dir = tempfile::Builder::new().prefix("cargo-").tempdir().expect("a directory");
    let cargo = Path::new(env!("CARGO"));
    // A home of its own: this user's may not be writable, or not exist.
    let mut env = vec![
        ("HOME", dir.path().to_owned()),
        ("CARGO_HOME", dir.path().join("home")),
        ("CARGO_TARGET_DIR", dir.path().join("work/target")),
    ];
    if let (None, Some(home)) = (std::env::var_os("RUSTUP_HOME"), std::env::home_dir()) {
        env.push(("RUSTUP_HOME", home.join(".rustup")));
    }
    let works = runs(OsStr::new("strace"), &[]) && runs(OsStr::new("cc"), &[]);
    if !works || !runs(cargo.as_os_str(), &env) || !runs(OsStr::new("rustc"), &env) {
        return;
    }
    let set_up = |work: &Path| {
        let write = |name: &str, text: &str| fs::write(work.join(name), text).expect("a file");
        fs::create_dir(work.join("src")).expect("a directory");
        write(
            "Cargo.toml",
            "[package]\nname = \"generated\"\nversion = \"0.0.0\"\nedition = \"2021\"\n[workspace]\n",
        );
        write("src/main.rs", "fn main() { println!(\"{}\", env!(\"FROM_SCRIPT\")); }\n");
        write(
            "build.rs",
            "use std::process::Command;\n\
         fn main() {\n    let mut threads = Vec::new();\n    for code in 21..25 {\n        \
         threads.push(std::thread::spawn(move || {\n            \
         let status = Command::new(\"sh\").args([\"-c\", &format!(\"exit {code}\")]).status().unwrap();\n            \
         assert_eq!(status.code(), Some(code));\n        }));\n    }\n    \
         for thread in threads { thread.join().unwrap(); }\n    \
         println!(\"cargo:rustc-env=FROM_SCRIPT=yes\");\n}\n",
        );
    };
    let argv = [cargo.as_os_str(), OsStr::new("build"), OsStr::new("--offline")];
    let lives = build(dir.path(), set_up, &argv, &env);
    assert!(dir.path().join("work/target/debug/generated").exists());
    for code in 21..25 {
        assert_eq!(ended(&lives, End::Code(code)), 1);
    }
    assert!(programs(&lives).contains("build-script-build"));
}
