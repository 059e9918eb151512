//! A process that does as it is told, for tests of what others see of it: `puppet DIR`.
//!
//! It takes orders from a datagram socket, DIR/PID, one each, and answers each by one datagram to DIR/master, `PID WORDS`. What it
//! makes by `fork` does the same at its own pid's socket. It ends by itself when there has been nothing to do for two minutes.
//!
//! `puppet --exit CODE` ends at once. `puppet --flood COUNT HOW CPU` makes and reaps as many children on one processor, from
//! the end of its input on, and ends.
#![expect(unsafe_code, reason = "fork, clone3, exec and raw exits have no safe interface")]

use std::ffi::{CString, c_int, c_void};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Barrier};
use std::time::Duration;

/// Longer than a test waits for anything.
const IDLE: Duration = Duration::from_secs(120);
const NOBODY: libc::uid_t = 65534;
const LOST: c_int = 99;
const VFORK_STACK: usize = 64 * 1024;
/// How often a pid is tried that its last owner has not quite left yet.
const PID_TRIES: u32 = 5_000;

fn main() {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    match &arguments[..] {
        [flag, code] if flag == "--exit" => exit(number(code.to_str().unwrap_or_default())),
        [flag, count, how, cpu] if flag == "--flood" => {
            let [count, how, cpu] = [count, how, cpu].map(|word| word.to_str().unwrap_or_default());
            stay_on(number(cpu));
            io::copy(&mut io::stdin(), &mut io::sink()).expect("an input");
            (0..number::<u32>(count)).for_each(|_| {
                make_and_reap(how, 0);
            });
        }
        [dir] => Puppet::begin(Path::new(dir)),
        _ => panic!("usage: puppet DIR"),
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
        for signal in [libc::SIGSEGV, libc::SIGBUS] {
            // SAFETY: the default action needs no handler. Rust's would live on where a signal was only sent.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
        // A program before this one in the process left it.
        let _ = std::fs::remove_file(&place);
        let socket = UnixDatagram::bind(&place).expect("a socket of its own");
        // From here on it can be answered to whatever user it becomes.
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
            Some(pid) => fork_as(pid),
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
            // SAFETY: three numbers.
            unsafe { libc::setresuid(NOBODY, NOBODY, NOBODY) };
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
            // SAFETY: it takes nothing.
            let thread = unsafe { libc::gettid() };
            puppet.say(&thread.to_string());
            std::thread::sleep(IDLE);
        });
    }

    /// The first thread ends; another goes on obeying.
    fn leader_leaves(&self) {
        let puppet = self.clone();
        std::thread::spawn(move || {
            let stat = format!("/proc/self/task/{}/stat", std::process::id());
            let left = |stat: String| stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z'));
            while !std::fs::read_to_string(&stat).map_or(true, left) {
                std::thread::sleep(Duration::from_millis(1));
            }
            puppet.say("done");
            puppet.obey();
        });
        // SAFETY: nothing on this thread's stack is borrowed by another.
        unsafe { libc::syscall(libc::SYS_exit, 0) };
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

/// A child that ends at once, with this code.
fn make(how: &str, code: c_int) -> c_int {
    let child = try_to_make(how, code);
    assert!(child > 0, "{how}: {}", io::Error::last_os_error());
    child
}

fn try_to_make(how: &str, code: c_int) -> c_int {
    match how {
        "fork" => {
            // SAFETY: the child only exits.
            match unsafe { libc::fork() } {
                0 => exit(code),
                child => child,
            }
        }
        // Past libc, which lets only one thread fork at a time.
        "raw" => {
            // SAFETY: as fork, and the child only exits.
            match unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) } {
                0 => exit(code),
                child => child as c_int,
            }
        }
        "vfork" => vfork(code),
        "by-thread" => {
            std::thread::spawn(move || try_to_make("fork", code)).join().expect("a thread that forks")
        }
        "exec" => {
            Argv::new([own_path().as_os_str().as_bytes(), b"--exit", code.to_string().as_bytes()]).spawn()
        }
        _ => panic!("no such way: {how}"),
    }
}

/// As vfork to the kernel. (The call itself returns twice on one stack, which Rust cannot express.)
fn vfork(code: c_int) -> c_int {
    extern "C" fn child(code: *mut c_void) -> c_int {
        exit(code as usize as c_int)
    }
    let mut stack = vec![0_u128; VFORK_STACK / size_of::<u128>()];
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: the stack is aligned and large enough, and the child's alone until it has ended, before which this does not return.
    unsafe { libc::clone(child, stack.as_mut_ptr_range().end.cast(), flags, code as usize as *mut c_void) }
}

/// Keeps this process, and what it makes, on one processor.
fn stay_on(cpu: usize) {
    // SAFETY: plain numbers, for which zeros are valid.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: checks that the number is within the set.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: the size is that of the set, which is only read.
    let done = unsafe { libc::sched_setaffinity(0, size_of_val(&set), &set) };
    assert_eq!(done, 0, "{}", io::Error::last_os_error());
}

fn make_and_reap(how: &str, code: c_int) -> c_int {
    let child = make(how, code);
    reap(child);
    child
}

/// A child that has this pid.
fn fork_as(pid: c_int) -> c_int {
    let pids = [pid];
    // SAFETY: plain numbers, for which zeros are valid.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.exit_signal = libc::SIGCHLD as u64;
    args.set_tid = pids.as_ptr() as u64;
    args.set_tid_size = 1;
    for _ in 0..PID_TRIES {
        // SAFETY: the arguments live until it returns, and there is no other thread here that could hold a lock.
        let child = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of_val(&args)) };
        if child >= 0 || errno() != libc::EEXIST {
            return child as c_int;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    -1
}

/// The wait status; none where there is no such child, or where nothing is kept of children.
fn reap(child: c_int) -> Option<c_int> {
    let mut status = 0;
    loop {
        // SAFETY: the status is this function's.
        let reaped = unsafe { libc::waitpid(child, &mut status, 0) };
        if reaped == child {
            return Some(status);
        }
        if errno() != libc::EINTR {
            return None;
        }
    }
}

fn exit(code: c_int) -> ! {
    // SAFETY: it takes any number.
    unsafe { libc::_exit(code) }
}

fn errno() -> c_int {
    io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

fn number<N: std::str::FromStr>(word: &str) -> N {
    word.parse().unwrap_or_else(|_| panic!("not a number: {word}"))
}

fn list(numbers: &[c_int]) -> String {
    numbers.iter().map(c_int::to_string).collect::<Vec<_>>().join(" ")
}

fn own_path() -> PathBuf {
    std::env::current_exe().expect("/proc")
}

/// A program and its arguments, in the form that exec wants.
struct Argv(Vec<CString>);

impl Argv {
    fn new<'a>(words: impl IntoIterator<Item = &'a [u8]>) -> Self {
        Self(words.into_iter().map(|word| CString::new(word).expect("no null")).collect())
    }

    fn puppet(dir: &Path) -> Self {
        Self::new([own_path().as_os_str().as_bytes(), dir.as_os_str().as_bytes()])
    }

    fn pointers(&self) -> Vec<*const libc::c_char> {
        self.0.iter().map(|word| word.as_ptr()).chain([std::ptr::null()]).collect()
    }

    /// Comes back if it fails.
    fn exec(&self) {
        let argv = self.pointers();
        // SAFETY: the list ends with a null, and what it points to lives as long as `self`.
        unsafe { libc::execv(argv[0], argv.as_ptr()) };
    }

    fn spawn(&self) -> c_int {
        let (argv, none) = (self.pointers(), [std::ptr::null_mut()]);
        let mut pid = 0;
        // SAFETY: as for `exec`; null stands for no file actions and the default attributes.
        let error = unsafe {
            libc::posix_spawn(
                &mut pid,
                argv[0],
                std::ptr::null(),
                std::ptr::null(),
                argv.as_ptr().cast(),
                none.as_ptr(),
            )
        };
        if error == 0 { pid } else { -1 }
    }
}
