//! How long it takes to stop a tree, with proof that it is gone, against a plain loop of `kill -9`.
//!
//! The tree is a shell with sleeping children. The plain loop has their pids, kills each, and is over when all have ended, which it is
//! told by pidfds that were opened before. Ours finds out who there is, kills, and is over when it can say that nobody is left.
//! They take turns, so that a machine which becomes slower favours nobody.
#![expect(unsafe_code, reason = "system calls that the standard library does not have")]

use std::error::Error;
use std::io::{self, BufRead, BufReader};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

use benches::machine;
use benches::options::Options;
use benches::spread::Spread;
use benches::table::{Table, goal};
use proc_watch::{Command, Emptiness, SourceName, StopPlan, Watcher};

fn main() -> ExitCode {
    match measure(&Options::from_command_line()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("stop: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(options: &Options) -> Result<(), Box<dyn Error>> {
    let size = options.iterations(1_000, 50);
    let rounds = options.rounds(9, 1);
    println!(
        "# Stop\n\n{}\n\nA shell and {size} sleeping children; {rounds} rounds, in turns.\n",
        machine::describe()
    );
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let mut plain = Vec::new();
    let mut ours: Vec<(SourceName, Vec<f64>)> =
        SourceName::ALL.iter().map(|name| (*name, Vec::new())).collect();
    for _ in 0..rounds {
        plain.push(by_loop(size)?.as_secs_f64() * 1e3);
        for (source, times) in &mut ours {
            let Ok(watcher) = Watcher::builder().source(*source).metadata(false).build() else { continue };
            times.push(runtime.block_on(by_us(&watcher, size))?.as_secs_f64() * 1e3);
        }
    }
    let mut table = Table::new(["by", "ms", "to the loop"]);
    table.row(vec![
        "kill -9 in a loop".into(),
        format!("{:.1}", Spread::of(plain.iter().copied())),
        String::new(),
    ]);
    let mut goals = String::new();
    for (source, times) in ours {
        if times.len() < plain.len() {
            println!("SKIPPED: {source} does not work here");
            continue;
        }
        let ratio = Spread::pairwise(&times, &plain, |ours, plain| ours / plain);
        let name = format!("stop, {source}");
        table.row(vec![name.clone(), format!("{:.1}", Spread::of(times)), format!("{ratio:.2}")]);
        goals += &goal(&format!("{name}: to the loop"), ratio.median, 2.0, "");
        goals.push('\n');
    }
    println!("{table}\n{goals}\n{}", machine::at_the_end());
    Ok(())
}

fn script(size: u64) -> String {
    format!("for i in $(seq {size}); do sleep 1000 & done; echo ready; wait")
}

fn by_loop(size: u64) -> io::Result<Duration> {
    let mut shell = std::process::Command::new("sh")
        .args(["-c", &script(size)])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    BufReader::new(shell.stdout.as_mut().expect("piped")).read_line(&mut String::new())?;
    let id = shell.id();
    let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children"))?;
    let pids: Vec<i32> =
        children.split_whitespace().filter_map(|pid| pid.parse().ok()).chain([id as i32]).collect();
    let pidfds = pids.iter().map(|&pid| pidfd_open(pid)).collect::<io::Result<Vec<_>>>()?;
    let begun = Instant::now();
    for &pid in &pids {
        // SAFETY: takes integers.
        unsafe { libc::kill(pid, libc::SIGKILL) };
    }
    for pidfd in &pidfds {
        let mut polled = libc::pollfd { fd: pidfd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one entry, which lives as long as the call.
        if unsafe { libc::poll(&raw mut polled, 1, 60_000) } != 1 {
            return Err(io::Error::other("a process does not end"));
        }
    }
    let elapsed = begun.elapsed();
    shell.wait()?;
    Ok(elapsed)
}

fn pidfd_open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: takes integers, gives a descriptor or -1.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as libc::c_int) })
}

async fn by_us(watcher: &Watcher, size: u64) -> Result<Duration, Box<dyn Error>> {
    let mut command = Command::new("sh");
    command.args(["-c", &script(size)]).stdin(Stdio::null()).stdout(Stdio::piped());
    let (mut child, events) = watcher.spawn(command)?;
    drop(events);
    let mut lines = tokio::io::BufReader::new(child.stdout.take().expect("piped"));
    tokio::io::AsyncBufReadExt::read_line(&mut lines, &mut String::new()).await?;
    let begun = Instant::now();
    let report = child.stop(StopPlan::kill()).await?;
    let elapsed = begun.elapsed();
    child.wait().await?;
    if !matches!(report.empty, Emptiness::Proven) || report.processes.len() as u64 != size + 1 {
        return Err(format!("{report}").into());
    }
    Ok(elapsed)
}
