//! Process 1 of a container, or of a pid namespace: the supervisor is its only child, and whoever loses his parent becomes another, whom nobody but it can reap.
//!
//! That is two processes, because a program may wait for any child only if it is sure to know which are its own; this one has made one, and does
//! nothing else. When the supervisor has ended, however it did, so does this, and the kernel kills whoever is left (pid_namespaces(7)).

use std::io;
use std::process::{Command, ExitCode};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, wait};
use tokio::signal::unix::{SignalKind, signal};

/// What is passed on to the supervisor.
const PASSED_ON: [Signal; 6] =
    [Signal::TERM, Signal::INT, Signal::QUIT, Signal::HUP, Signal::USR1, Signal::USR2];

pub(crate) fn run() -> io::Result<ExitCode> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        // Process 1 gets no signal that it has no handler for.
        let mut ended = signal(SignalKind::child())?;
        let (to, mut passed) = tokio::sync::mpsc::unbounded_channel();
        for one in PASSED_ON {
            let (mut signals, to) = (signal(SignalKind::from_raw(one.as_raw()))?, to.clone());
            tokio::spawn(async move {
                while signals.recv().await.is_some() {
                    let _ = to.send(one);
                }
            });
        }
        let rest = std::env::args_os().skip(1).filter(|word| word != "--init");
        let supervisor = Command::new(std::env::current_exe()?).args(rest).spawn()?;
        let pid = Pid::from_child(&supervisor);
        let mut orphans = 0_u64;
        loop {
            while let Ok(Some((who, status))) = wait(WaitOptions::NOHANG) {
                if who == pid {
                    println!("supervise: {orphans} orphans were reaped");
                    let code =
                        status.exit_status().or(status.terminating_signal().map(|signal| 128 + signal));
                    return Ok(ExitCode::from(u8::try_from(code.unwrap_or(1)).unwrap_or(1)));
                }
                orphans += 1;
            }
            tokio::select! {
                _ = ended.recv() => {}
                Some(signal) = passed.recv() => kill_process(pid, signal)?,
            }
        }
    })
}
