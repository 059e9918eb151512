//! [`Cgroup`]: a control group for a tree, where one may be made: another witness of who is left, and a kill that nobody outruns.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// A control group (cgroups(7), version 2) of its own for a tree, made here and removed with the last handle.
///
/// What is begun in it stays in it with all descendants, whatever they call, but for those who are privileged to move themselves. With
/// [`StopPlan::cgroup`](crate::StopPlan::cgroup) a stopping has the kernel kill all of it at once (`cgroup.kill`, Linux 5.14), and asks the kernel whether
/// anybody is left, also where records were lost or the source has failed.
///
/// It takes root, or a part of the hierarchy that was delegated to this user. Nothing else of this crate needs one.
///
/// ```no_run
/// use proc_watch::{Cgroup, Command, StopPlan, Watcher};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let watcher = Watcher::new()?;
/// let cgroup = Cgroup::create()?;
/// let mut command = Command::new("make");
/// cgroup.enter(command.as_std_mut());
/// let (child, events) = watcher.spawn(command)?;
/// let report = child.stop(StopPlan::default().cgroup(&cgroup)).await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Cgroup(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    /// `cgroup.procs`, kept open so that entering takes one system call of the child.
    door: File,
}

/// Why a control group cannot be made or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CgroupError {
    /// There is no hierarchy of version 2 here, or this program is not in it.
    #[error(
        "no cgroup of version 2 is mounted here that this program is in; do without, or mount one (cgroups(7))"
    )]
    None,
    /// It could not be made.
    #[error("{} could not be made: {error}; run as root, or have this part of the hierarchy delegated (systemd: Delegate=yes)", path.display())]
    Create {
        /// Where.
        path: PathBuf,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// One of its files could not be read or written.
    #[error("{}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said: `NotFound` where the kernel is too old for it, or the controller is not enabled there.
        #[source]
        error: io::Error,
    },
    /// The program that outlives this one could not be started.
    #[error("sh, which is to outlive this program, could not be started: {0}")]
    Guardian(#[source] io::Error),
}

impl Cgroup {
    /// A new one below that of this program.
    ///
    /// # Errors
    /// There are none here, or it may not be made.
    pub fn create() -> Result<Self, CgroupError> {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let (mounts, own) = (read("/proc/self/mountinfo"), read("/proc/self/cgroup"));
        Self::create_in(own_path(&mounts, &own).ok_or(CgroupError::None)?)
    }

    /// A new one below `parent`, a directory of the hierarchy.
    ///
    /// # Errors
    /// It may not be made.
    pub fn create_in(parent: impl AsRef<Path>) -> Result<Self, CgroupError> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        loop {
            let name = format!("proc-watch-{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
            let path = parent.as_ref().join(name);
            match fs::create_dir(&path) {
                Ok(()) => {}
                // Another program of that pid has left it, or made it in another pid namespace.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(CgroupError::Create { path, error }),
            }
            return match OpenOptions::new().write(true).open(path.join("cgroup.procs")) {
                Ok(door) => Ok(Self(Arc::new(Inner { path, door }))),
                Err(error) => {
                    let _ = fs::remove_dir(&path);
                    Err(CgroupError::Create { path, error })
                }
            };
        }
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Has what `command` starts begin in it, from before its first instruction; `as_std_mut` gives that of a tokio command. A command that
    /// cannot enter is not started, which spawning it then says.
    ///
    /// It keeps the group until the command is dropped.
    #[expect(unsafe_code, reason = "only the child itself can enter before it runs")]
    pub fn enter(&self, command: &mut Command) {
        let group = Arc::clone(&self.0);
        // SAFETY: between fork and exec it makes one write(2) of a descriptor that is open, and allocates nothing.
        unsafe { command.pre_exec(move || (&group.door).write_all(b"0")) };
    }

    /// Kills everybody in it and below, also who is being born (`cgroup.kill`).
    ///
    /// # Errors
    /// `NotFound`: the kernel is older than 5.14.
    pub fn kill(&self) -> Result<(), CgroupError> {
        let path = self.0.path.join("cgroup.kill");
        // It is there or it is not: nothing is to be made.
        let written = OpenOptions::new().write(true).open(&path).and_then(|mut file| file.write_all(b"1"));
        written.map_err(|error| CgroupError::File { path, error })
    }

    /// Whether nobody lives in it or below. Zombies do not count.
    ///
    /// # Errors
    /// Somebody else has removed it.
    pub fn is_empty(&self) -> Result<bool, CgroupError> {
        let (path, text) = self.read("cgroup.events")?;
        number(&text, "populated").map(|populated| populated == 0).ok_or_else(|| unreadable(path))
    }

    /// The pids of those who live in it and not below it, as this program sees them.
    ///
    /// # Errors
    /// Somebody else has removed it.
    pub fn pids(&self) -> Result<Vec<u32>, CgroupError> {
        let (_, text) = self.read("cgroup.procs")?;
        // 0: whoever is not visible in this program's pid namespace.
        Ok(text.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid != 0).collect())
    }

    /// How many in it and below were killed since it was made because its memory, or the machine's, was used up.
    ///
    /// # Errors
    /// `NotFound`: the memory controller is not enabled for it (`cgroup.subtree_control` of the one above). The kernel's log may know:
    /// [`Accounts`](crate::Accounts).
    pub fn oom_kills(&self) -> Result<u64, CgroupError> {
        let (path, text) = self.read("memory.events")?;
        number(&text, "oom_kill").ok_or_else(|| unreadable(path))
    }

    /// From now on whoever lives in it is killed when this program ends, however it does, SIGKILL included: by a process (`sh`, in a process
    /// group of its own, deaf to signals that can be ignored) that waits for that and for nothing else.
    ///
    /// Dropping what is returned ends that, and kills nobody. Its limits: who kills both programs, or all of a container, or this
    /// program's whole cgroup, has to see to the rest himself.
    ///
    /// # Errors
    /// There is no `sh`, or no process to be had, or the kernel has no `cgroup.kill`.
    pub fn die_with_this_program(&self) -> Result<Guardian, CgroupError> {
        let kill = self.0.path.join("cgroup.kill");
        fs::metadata(&kill).map_err(|error| CgroupError::File { path: kill, error })?;
        let child = guardian(GUARDIAN, &self.0.path).map_err(CgroupError::Guardian)?;
        Ok(Guardian::of(child, Some(self.clone())))
    }

    fn read(&self, file: &str) -> Result<(PathBuf, String), CgroupError> {
        let path = self.0.path.join(file);
        match fs::read_to_string(&path) {
            Ok(text) => Ok((path, text)),
            Err(error) => Err(CgroupError::File { path, error }),
        }
    }
}

/// Starts what waits for the end of this program, and then does this with this argument. The end of its input says that this program is
/// no more.
pub(crate) fn guardian(then: &str, argument: impl AsRef<OsStr>) -> io::Result<Child> {
    let wait = "trap '' HUP INT QUIT TERM USR1 USR2 PIPE; read -r line";
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(format!("{wait}\n{then}")).arg("sh").arg(argument);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    command.spawn()
}

const GUARDIAN: &str = r#"echo 1 > "$1/cgroup.kill"
n=0
while [ $n -lt 100 ] && { rmdir "$1"/*/; ! rmdir "$1"; }; do n=$((n + 1)); sleep 0.1; done"#;

/// The process that kills when this program ends; dropped, it does not.
#[derive(Debug)]
#[must_use = "dropped, it guards nothing"]
pub struct Guardian {
    child: Child,
    /// Its directory stays while somebody may want to kill by it.
    _group: Option<Cgroup>,
}

impl Guardian {
    pub(crate) fn of(child: Child, group: Option<Cgroup>) -> Self {
        Self { child, _group: group }
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        // Before its input ends, so that it does not come to what it is there for. It may be stopped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl PartialEq for Cgroup {
    fn eq(&self, other: &Self) -> bool {
        self.0.path == other.0.path
    }
}

impl Eq for Cgroup {}

impl Drop for Inner {
    fn drop(&mut self) {
        // Whose end has been told may be about to leave it.
        for pause in [100, 1000, 3000] {
            match fs::remove_dir(&self.path) {
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                    std::thread::sleep(Duration::from_micros(pause));
                }
                _ => return,
            }
        }
        tracing::debug!(path = %self.path.display(), "a cgroup was left behind: somebody is in it");
    }
}

fn unreadable(path: PathBuf) -> CgroupError {
    CgroupError::File { path, error: io::ErrorKind::InvalidData.into() }
}

/// Of a file with a name and a number on each line.
fn number(text: &str, name: &str) -> Option<u64> {
    let value = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok();
    text.lines().find_map(value)
}

/// Where the cgroup of this program is, of what /proc says of mounts and of cgroups (proc_pid_mountinfo(5), cgroups(7)).
fn own_path(mounts: &str, own: &str) -> Option<PathBuf> {
    let own = own.lines().find_map(|line| line.strip_prefix("0::"))?;
    mounts.lines().find_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        // What is mounted may be a part of the hierarchy only.
        let below = Path::new(own).strip_prefix(root).ok()?;
        kind.starts_with("cgroup2 ").then(|| Path::new(&unescape(point)).join(below))
    })
}

/// Blanks and backslashes are told in octal there.
fn unescape(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_this_program_is() {
        let unified = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        let own = "0::/user.slice/a b\n";
        assert_eq!(own_path(unified, own), Some("/sys/fs/cgroup/user.slice/a b".into()));
        // Beside the old hierarchies, in a container that sees a part, and under a name with a blank.
        let hybrid = "31 23 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                      40 23 0:28 /user.slice /sys/fs/c\\040g rw - cgroup2 cgroup2 rw\n";
        let both = format!("4:cpu:/elsewhere\n{own}");
        assert_eq!(own_path(hybrid, &both), Some("/sys/fs/c g/a b".into()));
        assert_eq!(own_path(hybrid, "0::/system.slice\n"), None);
        assert_eq!(own_path(hybrid, "4:cpu:/\n"), None);
        assert_eq!(own_path("", own), None);
    }

    #[test]
    fn numbers_by_name() {
        let text = "low 0\noom 3\noom_kill 2\noom_group_kill x\n";
        assert_eq!((number(text, "oom_kill"), number(text, "oom")), (Some(2), Some(3)));
        assert_eq!((number(text, "oom_group_kill"), number(text, "max")), (None, None));
    }
}
