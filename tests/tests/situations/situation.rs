//! The situations, and how programs are run in them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use proc_reactor::SourceName;
use serde_json::Value;
use tempfile::TempDir;
use tests::observed::Observed;

/// Whoever takes longer hangs.
const TOO_LONG: Duration = Duration::from_secs(180);
const TREE: &[&str] = &["--shape", "mix", "--count", "150"];
/// More than the smallest buffers hold.
const STORM: &[&str] = &["--shape", "storm", "--count", "600"];

/// Where a program is run.
#[derive(Debug)]
pub(crate) struct Situation {
    /// As it stands in the document.
    pub(crate) name: &'static str,
    pub(crate) user: User,
    /// What runs the program.
    pub(crate) within: &'static [&'static str],
    /// How sources are opened.
    pub(crate) options: &'static [&'static str],
    /// Nothing is read while the tree lives.
    pub(crate) asleep: bool,
    /// What is run may be executed and not read.
    pub(crate) unreadable: bool,
    /// Which source is the right choice.
    pub(crate) default: Option<SourceName>,
    /// What must be said of sources that do not work: the right words.
    pub(crate) says: &'static [(SourceName, &'static str)],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum User {
    Root,
    Nobody,
    /// A nobody with no processes but these: what a user may lock in memory is for all of his.
    Alone,
}

use SourceName::{CnProc, Perf};
use User::{Alone, Nobody, Root};

const fn plain(name: &'static str, user: User, within: &'static [&'static str]) -> Situation {
    Situation {
        name,
        user,
        within,
        options: &[],
        asleep: false,
        unreadable: false,
        default: Some(CnProc),
        says: &[],
    }
}

/// One in which the process connector is out of reach.
const fn inside(
    name: &'static str,
    user: User,
    within: &'static [&'static str],
    default: Option<SourceName>,
    says: &'static [(SourceName, &'static str)],
) -> Situation {
    Situation { name, user, within, options: &[], asleep: false, unreadable: false, default, says }
}

const OUTSIDE: (SourceName, &str) = (CnProc, "run outside of the container");
const FILTERED: (SourceName, &str) = (Perf, "allow perf_event_open in the container's seccomp profile");
const OTHER_PROC: (SourceName, &str) = (Perf, "mount one of this namespace");
const DESCRIPTORS: [(SourceName, &str); 2] = [(CnProc, "ulimit -n"), (Perf, "ulimit -n")];

const HIDING: &[&str] = &[
    "unshare",
    "--mount",
    "sh",
    "-c",
    "mount -t proc -o hidepid=2 proc /proc && exec \"$0\" \"$@\"",
    "setpriv",
    "--reuid=65534",
    "--regid=65534",
    "--clear-groups",
];

const WATCHED: &[&str] = &["proc-watch", "run", "--source=perf", "-q", "-o", "/dev/null", "--"];

pub(crate) const SITUATIONS: &[Situation] = &[
    plain("root", Root, &[]),
    plain("nobody", Nobody, &[]),
    inside(
        "root, pid namespace of its own",
        Root,
        &["unshare", "--pid", "--fork", "--mount-proc"],
        Some(Perf),
        &[OUTSIDE],
    ),
    inside(
        "root, pid namespace of its own, the outer one's /proc",
        Root,
        &["unshare", "--pid", "--fork"],
        None,
        &[OUTSIDE, OTHER_PROC],
    ),
    inside(
        "root, nothing at /proc",
        Root,
        &["unshare", "--mount", "sh", "-c", "umount --lazy /proc && exec \"$0\" \"$@\""],
        None,
        &[(CnProc, "is /proc mounted?"), (Perf, "is /proc mounted?")],
    ),
    plain("nobody, others' processes hidden (/proc with hidepid=2)", Root, HIDING),
    inside("root, network namespace of its own", Root, &["unshare", "--net"], Some(Perf), &[OUTSIDE]),
    inside("nobody, user namespace of its own", Nobody, &["unshare", "--user"], Some(Perf), &[OUTSIDE]),
    inside(
        "nobody, user namespace of its own, as its root",
        Nobody,
        &["unshare", "--user", "--map-root-user"],
        Some(Perf),
        &[OUTSIDE],
    ),
    inside(
        "nobody, pid and user namespace of its own",
        Nobody,
        &["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"],
        Some(Perf),
        &[OUTSIDE],
    ),
    Situation {
        says: &[FILTERED],
        ..plain("root, perf_event_open denied by seccomp", Root, &["confine", "--no-perf"])
    },
    Situation {
        says: &[FILTERED],
        ..plain("nobody, perf_event_open denied by seccomp", Nobody, &["confine", "--no-perf"])
    },
    inside(
        "nobody, pid, user and network namespace of its own, perf_event_open denied by seccomp",
        Nobody,
        &[
            "confine",
            "--no-perf",
            "unshare",
            "--user",
            "--map-root-user",
            "--net",
            "--pid",
            "--fork",
            "--mount-proc",
        ],
        None,
        &[OUTSIDE, FILTERED],
    ),
    plain("nobody, no memory to be locked (RLIMIT_MEMLOCK 0)", Alone, &["confine", "--memlock", "0"]),
    Situation {
        options: &["--receive-buffer", "16777216", "--ring-pages", "4096"],
        says: &[
            (Perf, "locked for rings by all programs of this user"),
            (Perf, "kernel.perf_event_mlock_kb"),
        ],
        ..plain(
            "nobody, no memory to be locked, rings of 16 MiB asked for",
            Alone,
            &["confine", "--memlock", "0"],
        )
    },
    plain("nobody, itself watched over perf", Nobody, WATCHED),
    plain(
        "nobody, no memory to be locked, itself watched over perf",
        Alone,
        &["confine", "--memlock", "0", "proc-watch", "run", "--source=perf", "-q", "-o", "/dev/null", "--"],
    ),
    Situation {
        options: &["--receive-buffer", "4096", "--shards", "1", "--ring-pages", "1"],
        asleep: true,
        ..plain("nobody, the smallest buffers, a storm while the reader sleeps", Nobody, &[])
    },
    Situation { unreadable: true, ..plain("nobody, a program that may be run and not read", Nobody, &[]) },
    plain("nobody, 64 descriptors", Nobody, &["confine", "--files", "64", "--free", "60"]),
    inside(
        "nobody, 64 descriptors, all but two of them taken",
        Nobody,
        &["confine", "--files", "64", "--free", "2"],
        None,
        &DESCRIPTORS,
    ),
];

/// The programs, where everybody may run them.
pub(crate) struct Programs {
    dir: TempDir,
}

impl Programs {
    pub(crate) fn gather() -> Self {
        let dir = tempfile::Builder::new().prefix("situations-").tempdir().expect("a directory");
        let permit = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("our own");
        };
        permit(dir.path(), 0o755);
        for (name, program) in [
            ("situation", env!("CARGO_BIN_EXE_situation")),
            ("make_tree", env!("CARGO_BIN_EXE_make_tree")),
            ("confine", env!("CARGO_BIN_EXE_confine")),
            ("proc-watch", env!("CARGO_BIN_EXE_proc-watch-command")),
        ] {
            fs::copy(program, dir.path().join(name)).expect("it has been built");
            permit(&dir.path().join(name), 0o755);
        }
        let temporary = dir.path().join("tmp");
        fs::create_dir(&temporary).expect("our own");
        permit(&temporary, 0o1777);
        Self { dir }
    }

    fn path(&self, program: &str) -> PathBuf {
        self.dir.path().join(program)
    }

    /// Whether it can be made here, and by whoever this is.
    pub(crate) fn can_be_made(&self, situation: &Situation) -> Result<(), String> {
        if situation.user != Nobody && !is_root() {
            return Err("it takes root".to_owned());
        }
        let output = self.run(situation, Path::new("true"), &[]);
        if output.status.success() {
            return Ok(());
        }
        Err(format!("it cannot be made here: {}", String::from_utf8_lossy(&output.stderr).trim()))
    }

    /// Tries a source there.
    pub(crate) fn observe(&self, situation: &Situation, source: Option<SourceName>) -> Observed {
        let forced: &[&str] = match source {
            Some(name) => &["--source", name.as_str()],
            None => &[],
        };
        let tree = if situation.asleep { STORM } else { TREE };
        let asleep: &[&str] = if situation.asleep { &["--asleep"] } else { &[] };
        let unreadable: &[&str] = if situation.unreadable { &["--unreadable"] } else { &[] };
        let args = [forced, situation.options, asleep, unreadable, &["--"], tree].concat();
        let output = self.run(situation, &self.path("situation"), &args);
        assert!(output.status.success(), "{}, {source:?}: {output:?}", situation.name);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
    }

    /// Tries a source with no more than so many descriptors to be had.
    pub(crate) fn observe_with_descriptors(&self, source: SourceName, free: usize) -> Observed {
        let free = free.to_string();
        let mut command = Command::new(self.path("confine"));
        command.args(["--files", "64", "--free", &free]).arg(self.path("situation"));
        command.args(["--source", source.as_str(), "--", "--shape", "tree", "--depth", "1", "--fanout", "3"]);
        let output = self.finish(command);
        assert!(output.status.success(), "{source}, {free} left: {output:?}");
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
    }

    /// What doctor says there, and how it ends.
    pub(crate) fn doctor(&self, situation: &Situation) -> (Value, Option<i32>) {
        let output = self.run(situation, &self.path("proc-watch"), &["doctor", "--json"]);
        let found = serde_json::from_slice(&output.stdout);
        (found.unwrap_or_else(|error| panic!("{error}: {output:?}")), output.status.code())
    }

    fn run(&self, situation: &Situation, program: &Path, args: &[&str]) -> Output {
        let id = if situation.user == Alone { 100_000 + std::process::id() } else { 65534 };
        let nobody =
            ["setpriv".into(), format!("--reuid={id}"), "--regid=65534".into(), "--clear-groups".into()];
        let user = if situation.user != Root && is_root() { &nobody[..] } else { &[] };
        let mut words: Vec<PathBuf> =
            user.iter().map(PathBuf::from).chain(situation.within.iter().map(PathBuf::from)).collect();
        for word in &mut words {
            if ["confine", "proc-watch"].iter().any(|ours| word == Path::new(ours)) {
                *word = self.dir.path().join(&*word);
            }
        }
        words.push(program.to_owned());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).args(args);
        self.finish(command)
    }

    fn finish(&self, mut command: Command) -> Output {
        command.env("TMPDIR", self.path("tmp")).current_dir(self.dir.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let pid = child.id();
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || sender.send(child.wait_with_output()));
        match receiver.recv_timeout(TOO_LONG) {
            Ok(output) => output.expect("a child of ours"),
            Err(_) => {
                // It has not been waited for, so that the pid is still its own.
                let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).status();
                panic!("{command:?} hangs");
            }
        }
    }
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|metadata| std::os::unix::fs::MetadataExt::uid(&metadata) == 0)
}
