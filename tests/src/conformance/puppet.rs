//! A process that does as it is told, for tests of what others see of it: `--puppet DIR`.
//!
//! It takes orders from a datagram socket, DIR/PID, one each, and answers each by one datagram to DIR/master, `PID WORDS`. What it
//! makes by `fork` does the same at its own pid's socket. It ends by itself when there has been nothing to do for two minutes.
//!
//! `--exit CODE` ends at once.
#![expect(unsafe_code, reason = "fork, exec and raw exits have no safe interface")]

use std::ffi::{OsString, c_int};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Barrier, OnceLock};
use std::time::Duration;

use super::limits;
use super::make::{Argv, errno, exit, make, make_and_reap, reap, try_to_make};
use super::os;

/// Longer than a test waits for anything.
const IDLE: Duration = Duration::from_secs(120);
const NOBODY: libc::uid_t = 65534;
const LOST: c_int = 99;

/// Begins the arguments of a puppet.
pub(crate) const PUPPET: &str = "--puppet";
/// Those of a process that ends at once.
pub(crate) const EXIT: &str = "--exit";
/// The one of a process for the case `no_descriptors`.
pub(crate) const WITHOUT_DESCRIPTORS: &str = "--without-descriptors";

static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// Says which program plays the puppets, by calling [`play`]. The first call counts.
pub fn set_program(path: PathBuf) {
    PROGRAM.get_or_init(|| path);
}

/// The program that plays the puppets.
pub(crate) fn program() -> &'static Path {
    PROGRAM.get().expect("a program that plays the puppets has been named")
}

/// Plays a part, if these are the arguments of one (without the program's name).
pub fn play(arguments: &[OsString]) {
    let words: Vec<&str> = arguments.iter().filter_map(|argument| argument.to_str()).collect();
    match (&words[..], arguments) {
        ([EXIT, code], _) => exit(number(code)),
        ([WITHOUT_DESCRIPTORS], _) => {
            limits::without_descriptors();
            std::process::exit(0);
        }
        ([PUPPET, ..], [_, dir]) => {
            Puppet::begin(Path::new(dir));
            exit(0)
        }
        _ => {}
    }
}

/// Some systems let a socket hold a few kilobytes only; lists of pids are longer.
pub(crate) fn make_room(socket: &UnixDatagram) {
    if cfg!(target_os = "linux") {
        return;
    }
    for which in [libc::SO_SNDBUF, libc::SO_RCVBUF] {
        let room: c_int = 128 * 1024;
        // SAFETY: the number is as long as is said. Where it is not permitted the socket is as it was, which is enough for most.
        unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                which,
                (&raw const room).cast(),
                size_of::<c_int>() as libc::socklen_t,
            )
        };
    }
}

#[derive(Clone)]
struct Puppet {
    dir: PathBuf,
    socket: Arc<UnixDatagram>,
}

impl Puppet {
    /// What a new process does, and a new program.
    fn begin(dir: &Path) {
        let place = dir.join(std::process::id().to_string());
        // Rust's handlers of the first two would live on where a signal was only sent. The others whoever started all this may have ignored,
        // as shells do for what they start in the background, and then they end nobody.
        let handled = [libc::SIGSEGV, libc::SIGBUS];
        let inherited =
            [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM, libc::SIGUSR1, libc::SIGABRT];
        for signal in handled.into_iter().chain(inherited) {
            // SAFETY: the default action needs no handler.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
        // A program before this one in the process left it.
        let _ = std::fs::remove_file(&place);
        let socket = UnixDatagram::bind(&place).expect("a socket of its own");
        // From here on it can be answered to whatever user it becomes.
        make_room(&socket);
        socket.connect(dir.join("master")).expect("the master's socket");
        socket.set_read_timeout(Some(IDLE)).expect("a time-out");
        let puppet = Self { dir: dir.to_owned(), socket: Arc::new(socket) };
        puppet.say("ready");
        puppet.obey();
    }

    fn say(&self, words: &str) {
        let text = format!("{} {words}", std::process::id());
        if self.socket.send(text.as_bytes()).is_err() {
            exit(LOST);
        }
    }

    fn obey(&self) {
        let mut buffer = [0; 256];
        loop {
            let length = match self.socket.recv(&mut buffer) {
                Ok(length) => length,
                // It was stopped meanwhile.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => exit(LOST),
            };
            let order = std::str::from_utf8(&buffer[..length]).expect("orders are words");
            let words: Vec<&str> = order.split(' ').collect();
            match words[..] {
                ["fork"] => self.fork(None),
                ["fork-as", pid] => self.fork(Some(number(pid))),
                ["fork-exec"] => self.fork_exec(),
                ["once", how, code] => self.say(&make(how, number(code)).to_string()),
                ["many", count, how, code] => {
                    let pids: Vec<c_int> =
                        (0..number(count)).map(|_| make_and_reap(how, number(code))).collect();
                    self.say(&list(&pids));
                }
                ["storm", threads, each, how] => self.storm(number(threads), number(each), how),
                ["fork-fails"] => self.fork_fails(),
                ["exec"] => self.exec(),
                ["exec-by-thread"] => self.exec_by_thread(),
                ["exec-fails"] => self.exec_fails(),
                ["threads", count] => {
                    let threads: Vec<_> = (0..number(count)).map(|_| std::thread::spawn(|| ())).collect();
                    threads.into_iter().for_each(|thread| thread.join().expect("it does nothing"));
                    self.say("done");
                }
                ["thread"] => self.lasting_thread(),
                ["leader-leaves"] => self.leader_leaves(),
                ["ignore-children"] => {
                    // SAFETY: to ignore needs no handler.
                    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
                    self.say("done");
                }
                ["ended", pid] => self.say(if os::has_ended(number(pid)) { "yes" } else { "no" }),
                ["reap", pid] => self.say(&reap(number(pid)).unwrap_or(-1).to_string()),
                ["dump-core"] => self.dump_core(),
                ["exit", code] => exit(number(code)),
                _ => panic!("no such order: {order}"),
            }
        }
    }

    /// A child that obeys too; by this pid, if there is one.
    fn fork(&self, pid: Option<c_int>) {
        let child = match pid {
            // SAFETY: there is no other thread here that could hold a lock of the allocator's.
            None => unsafe { libc::fork() },
            #[cfg(target_os = "linux")]
            Some(pid) => super::make::fork_as(pid),
            #[cfg(not(target_os = "linux"))]
            Some(_) => return self.say(&format!("refused {}", libc::ENOSYS)),
        };
        match child {
            -1 => self.say(&format!("refused {}", errno())),
            0 => {
                Self::begin(&self.dir);
                exit(0);
            }
            child => self.say(&child.to_string()),
        }
    }

    /// A child that runs this program anew before anything else.
    fn fork_exec(&self) {
        let argv = Argv::puppet(&self.dir);
        // SAFETY: the child only execs.
        match unsafe { libc::fork() } {
            0 => {
                argv.exec();
                exit(LOST);
            }
            child => self.say(&child.to_string()),
        }
    }

    /// Children by several threads at once, each reaped by its maker.
    fn storm(&self, threads: usize, each: usize, how: &str) {
        let together = Arc::new(Barrier::new(threads));
        let makers: Vec<_> = (0..threads)
            .map(|_| {
                let (together, how) = (Arc::clone(&together), how.to_owned());
                std::thread::spawn(move || {
                    together.wait();
                    (0..each).map(|_| make_and_reap(&how, 0)).collect::<Vec<_>>()
                })
            })
            .collect();
        let pids: Vec<c_int> =
            makers.into_iter().flat_map(|maker| maker.join().expect("it makes children")).collect();
        self.say(&list(&pids));
    }

    /// Tries to fork with no process left to this user, who is not root from here on.
    fn fork_fails(&self) {
        // SAFETY: it takes nothing.
        if unsafe { libc::geteuid() } == 0 {
            // SAFETY: a number. Of root it takes all ids.
            unsafe { libc::setuid(NOBODY) };
        }
        let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: the limit is only read.
        unsafe { libc::setrlimit(libc::RLIMIT_NPROC, &none) };
        let refusals: Vec<c_int> = ["fork", "vfork", "raw"]
            .map(|how| match try_to_make(how, 0) {
                -1 => errno(),
                child => {
                    reap(child);
                    0
                }
            })
            .into();
        self.say(&list(&refusals));
    }

    fn exec(&self) {
        Argv::puppet(&self.dir).exec();
        self.say("refused");
    }

    fn exec_by_thread(&self) {
        let dir = self.dir.clone();
        std::thread::spawn(move || Argv::puppet(&dir).exec()).join().expect("it execs");
        self.say("refused");
    }

    fn exec_fails(&self) {
        use std::os::unix::fs::PermissionsExt;
        let garbage = self.dir.join(format!("garbage-{}", std::process::id()));
        std::fs::write(&garbage, "\u{1}no program").expect("a file");
        std::fs::set_permissions(&garbage, PermissionsExt::from_mode(0o755)).expect("a mode");
        let refusals = [Path::new("/no/such/program"), &self.dir, &garbage].map(|path| {
            Argv::new([path.as_os_str().as_bytes()]).exec();
            errno()
        });
        self.say(&list(&refusals));
    }

    /// A thread that stays as long as the process; says its id.
    fn lasting_thread(&self) {
        let puppet = self.clone();
        std::thread::spawn(move || {
            puppet.say(&thread_number().map_or_else(|| "none".to_owned(), |number| number.to_string()));
            std::thread::sleep(IDLE);
        });
    }

    /// The first thread ends; another goes on obeying.
    #[cfg(any(target_os = "linux", target_os = "freebsd"))]
    fn leader_leaves(&self) {
        let puppet = self.clone();
        std::thread::spawn(move || {
            until_the_first_thread_has_left();
            puppet.say("done");
            puppet.obey();
        });
        #[cfg(target_os = "linux")]
        // SAFETY: nothing on this thread's stack is borrowed by another.
        unsafe {
            libc::syscall(libc::SYS_exit, 0)
        };
        #[cfg(target_os = "freebsd")]
        {
            /// thr_exit(2), sys/syscall.h
            const SYS_THR_EXIT: c_int = 431;
            // SAFETY: nothing on this thread's stack is borrowed by another, and nobody waits for a word to change.
            unsafe { libc::syscall(SYS_THR_EXIT, std::ptr::null_mut::<libc::c_long>()) };
        }
    }

    #[cfg(not(any(target_os = "linux", target_os = "freebsd")))]
    fn leader_leaves(&self) {
        self.say("refused");
    }

    /// Lets a signal that dumps core do so, where nobody minds.
    fn dump_core(&self) {
        let all = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
        // SAFETY: the limit is only read. Where it may not be raised there is no core, and the wait status says so.
        unsafe { libc::setrlimit(libc::RLIMIT_CORE, &all) };
        std::env::set_current_dir(&self.dir).expect("a directory");
        self.say("done");
    }
}

fn number<N: std::str::FromStr>(word: &str) -> N {
    word.parse().unwrap_or_else(|_| panic!("not a number: {word}"))
}

fn list(numbers: &[c_int]) -> String {
    numbers.iter().map(c_int::to_string).collect::<Vec<_>>().join(" ")
}

#[cfg(target_os = "linux")]
fn until_the_first_thread_has_left() {
    let stat = format!("/proc/self/task/{}/stat", std::process::id());
    let left = |stat: String| stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z'));
    while !std::fs::read_to_string(&stat).map_or(true, left) {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// It leaves no trace by which one could wait for it.
#[cfg(target_os = "freebsd")]
fn until_the_first_thread_has_left() {
    std::thread::sleep(Duration::from_millis(50));
}

/// The calling thread's, where threads have numbers of the same kind as pids.
fn thread_number() -> Option<u32> {
    #[cfg(target_os = "linux")]
    // SAFETY: it takes nothing.
    let number = unsafe { libc::gettid() };
    #[cfg(target_os = "freebsd")]
    // SAFETY: it takes nothing.
    let number = unsafe { libc::pthread_getthreadid_np() };
    #[cfg(target_os = "openbsd")]
    // SAFETY: it takes nothing.
    let number = unsafe { libc::getthrid() };
    #[cfg(not(any(target_os = "linux", target_os = "freebsd", target_os = "openbsd")))]
    let number = -1;
    u32::try_from(number).ok()
}
