//! Runs a program with less than it is used to:
//!
//! ```text
//! confine [--no-perf] [--memlock BYTES] [--files N --free M] PROGRAM [ARGUMENT]...
//! ```
//!
//! `--no-perf`: perf_event_open(2) is EPERM for it and all that it starts, by a seccomp filter, as container engines have it.
//! `--files`: no more than N descriptors, of which all but M are taken.
#![expect(unsafe_code, reason = "limits, descriptors and seccomp, which the standard library has not")]

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use clap::Parser;

#[derive(Debug, Parser)]
struct Options {
    #[arg(long)]
    no_perf: bool,
    #[arg(long, value_name = "BYTES")]
    memlock: Option<u64>,
    #[arg(long, value_name = "N", requires = "free")]
    files: Option<u64>,
    #[arg(long, value_name = "M", requires = "files")]
    free: Option<usize>,
    #[arg(required = true, trailing_var_arg = true)]
    program: Vec<OsString>,
}

pub(crate) fn main() -> ExitCode {
    let options = Options::parse();
    let error = match confine(&options) {
        Ok(()) => Command::new(&options.program[0]).args(&options.program[1..]).exec(),
        Err(error) => error,
    };
    eprintln!("confine: {error}");
    ExitCode::FAILURE
}

fn confine(options: &Options) -> io::Result<()> {
    if let Some(bytes) = options.memlock {
        limit(libc::RLIMIT_MEMLOCK, bytes)?;
    }
    if options.no_perf {
        deny_perf()?;
    }
    match (options.files, options.free) {
        (Some(files), Some(free)) => take_descriptors(files, free),
        _ => Ok(()),
    }
}

fn limit(what: libc::__rlimit_resource_t, most: u64) -> io::Result<()> {
    let limits = libc::rlimit { rlim_cur: most, rlim_max: most };
    // SAFETY: the limits are read only.
    check(unsafe { libc::setrlimit(what, &raw const limits) }).map(drop)
}

/// Leaves `free` of `files` descriptors.
fn take_descriptors(files: u64, free: usize) -> io::Result<()> {
    limit(libc::RLIMIT_NOFILE, files)?;
    let mut taken = Vec::new();
    loop {
        // SAFETY: dup(2) takes no pointer; what it makes stays open in the program to come.
        match check(unsafe { libc::dup(0) }) {
            Ok(fd) => taken.push(fd),
            Err(error) if error.raw_os_error() == Some(libc::EMFILE) => break,
            Err(error) => return Err(error),
        }
    }
    for fd in taken.into_iter().rev().take(free) {
        // SAFETY: made above, and nobody else's.
        check(unsafe { libc::close(fd) })?;
    }
    Ok(())
}

/// The architectures whose calls a process may make here, each with its number of perf_event_open(2) (linux/audit.h).
#[cfg(target_arch = "x86_64")]
const CALLS: [(u32, u32); 2] = [(0xc000_003e, libc::SYS_perf_event_open as u32), (0x4000_0003, 336)];
#[cfg(target_arch = "aarch64")]
const CALLS: [(u32, u32); 2] = [(0xc000_00b7, libc::SYS_perf_event_open as u32), (0x4000_0028, 364)];
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const CALLS: [(u32, u32); 0] = [];
/// x32's calls are those of x86-64, with this bit.
const NOT_X32: u32 = !0x4000_0000;

fn deny_perf() -> io::Result<()> {
    if CALLS.is_empty() {
        return Err(io::Error::other("the numbers of this architecture's calls are not known here"));
    }
    let statement = |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter { code: code as u16, jt, jf, k };
    let load = |at: u32| statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, at);
    let skip_unless =
        |k: u32, skipped: u8| statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, skipped, k);
    let answer = |k: u32| statement(libc::BPF_RET | libc::BPF_K, 0, 0, k);
    // struct seccomp_data: the number at 0, the architecture at 4.
    let mut program = Vec::new();
    for (architecture, number) in CALLS {
        program.extend([
            load(4),
            skip_unless(architecture, 4),
            load(0),
            statement(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, 0, 0, NOT_X32),
            skip_unless(number, 1),
            answer(libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
        ]);
    }
    program.push(answer(libc::SECCOMP_RET_ALLOW));
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: takes integers only. Without it a filter takes a privilege.
    check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })?;
    // SAFETY: the filter and its program outlive the call, which copies them.
    check(unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter) })?;
    Ok(())
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
