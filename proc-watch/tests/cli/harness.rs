//! Starting `proc-watch` in known surroundings, and not waiting for it for ever.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::{OnceLock, mpsc};
use std::thread;
use std::time::Duration;

pub(crate) const PROC_WATCH: &str = env!("CARGO_BIN_EXE_proc-watch");
/// Whoever takes longer hangs.
pub(crate) const TOO_LONG: Duration = Duration::from_secs(180);

/// Past the test harness, which swallows what a passing test prints.
pub(crate) fn skipped(why: &str) {
    let _ = writeln!(io::stderr(), "SKIPPED: {why}");
}

/// Whether processes can be watched here at all; says so if not.
pub(crate) fn works() -> bool {
    static WORKS: OnceLock<Result<(), String>> = OnceLock::new();
    let works = WORKS.get_or_init(|| {
        let output = run(proc_watch(&["-q", "true"]));
        match output.status.code() {
            Some(125) => Err(text(&output.stderr)),
            code => {
                assert_eq!(code, Some(0), "{output:?}");
                Ok(())
            }
        }
    });
    works.as_ref().inspect_err(|why| skipped(why)).is_ok()
}

/// `proc-watch run` with these arguments, in no terminal.
pub(crate) fn proc_watch(args: &[&str]) -> Command {
    let mut command = Command::new(PROC_WATCH);
    command.arg("run").args(args);
    plain(&mut command);
    command
}

/// With nothing that whoever runs the tests has set up: colours, and signals that are ignored in the background.
pub(crate) fn plain(command: &mut Command) {
    command.env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE").env("TERM", "xterm").stdin(Stdio::null());
    let restore = || {
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
            // SAFETY: the default disposition involves no handler.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
        Ok(())
    };
    // SAFETY: the closure makes system calls only.
    unsafe { command.pre_exec(restore) };
}

pub(crate) fn run(mut command: Command) -> Output {
    finish(start(&mut command))
}

pub(crate) fn start(command: &mut Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("a program that is there")
}

pub(crate) fn finish(child: Child) -> Output {
    let pid = child.id();
    in_time(pid, move || child.wait_with_output().expect("a child of ours"))
}

/// What `work` comes to, if it does; else ends `pid`, which has not been waited for then.
pub(crate) fn in_time<T: Send + 'static>(pid: u32, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(work()));
    receiver.recv_timeout(TOO_LONG).unwrap_or_else(|_| {
        send(pid, libc::SIGKILL);
        panic!("proc-watch hangs");
    })
}

/// To a child that has not been waited for.
pub(crate) fn send(pid: u32, signal: i32) {
    // SAFETY: kill(2) takes no pointer.
    assert_eq!(unsafe { libc::kill(pid as i32, signal) }, 0, "{}", io::Error::last_os_error());
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub(crate) fn code(args: &[&str]) -> Option<i32> {
    run(proc_watch(args)).status.code()
}

/// Takes a child's standard output, and returns when `line` has come.
pub(crate) fn wait_for_line(child: &mut Child, line: &str) -> BufReader<ChildStdout> {
    let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
    assert_eq!(next_line(&mut stdout), line);
    stdout
}

pub(crate) fn next_line(from: &mut impl BufRead) -> String {
    let mut line = String::new();
    from.read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}
