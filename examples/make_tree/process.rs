//! Lives that log themselves, and the dice that decide what happens in them.

use std::convert::Infallible;
use std::time::Duration;

use crate::image::Image;
use crate::log;
use crate::os::{self, Fork};

/// No process lives longer than this.
pub(crate) const TIME_LIMIT: Duration = Duration::from_secs(300);

/// How a process ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    /// `_exit` with this.
    Code(u8),
    /// By a signal that it sends itself.
    Signal(i32),
}

/// Signals that kill. There's one for each way in which a status may be misread: 1 and 2 look like
/// codes, SIGSEGV and SIGABRT come with a core flag, and the last is in the realtime range.
pub(crate) const DEADLY: [i32; 12] = [
    libc::SIGKILL,
    libc::SIGTERM,
    libc::SIGSEGV,
    libc::SIGABRT,
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGPIPE,
    libc::SIGALRM,
    libc::SIGUSR1,
    libc::SIGSYS,
    REALTIME,
];

/// Where there are none, one that is like the others.
const REALTIME: i32 = if cfg!(any(target_os = "macos", target_os = "openbsd")) { libc::SIGUSR2 } else { 37 };

/// Reproducible chance (splitmix64). It is passed by value: two processes never share it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: u32) -> u32 {
        u32::try_from(self.roll() % u64::from(limit)).unwrap_or(0)
    }

    /// Dice for a child.
    pub(crate) fn split(&mut self) -> Self {
        Self(self.roll())
    }

    /// Any exit code.
    pub(crate) fn code(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap_or(0)
    }

    /// Mostly a code, else a signal.
    pub(crate) fn end(&mut self) -> End {
        match self.below(8) {
            0 => End::Signal(DEADLY[self.below(DEADLY.len() as u32) as usize]),
            _ => End::Code(self.code()),
        }
    }

    /// Sleeps a few milliseconds.
    pub(crate) fn nap(&mut self, most: u32) {
        std::thread::sleep(Duration::from_micros(u64::from(self.below(most * 1000))));
    }

    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// Forks a process that does `life` and ends as that says. In a process with threads, `life` must
/// not allocate.
pub(crate) fn fork(life: impl FnOnce() -> End) -> u32 {
    let parent = std::process::id();
    match os::fork() {
        Fork::Parent(child) => child,
        Fork::Child => {
            log::birth(std::process::id(), parent);
            // A life may wait for others; this keeps a mistake from leaving it behind for ever.
            os::give_up_after(TIME_LIMIT);
            finish(life())
        }
    }
}

/// Forks as vfork does. The child execs `image`, and ends with `otherwise` if there's none or it
/// does not exist.
pub(crate) fn vfork(image: Option<&Image>, otherwise: End) -> u32 {
    let parent = std::process::id();
    os::vfork(&mut || {
        log::birth(std::process::id(), parent);
        if let Some(image) = image {
            image.argv().exec();
        }
        finish(otherwise);
    })
}

/// Forks past libc, so that threads do so at the same time. `life` must not allocate, and takes no time.
pub(crate) fn fork_raw(end: End) -> u32 {
    let parent = std::process::id();
    os::fork_raw(&mut || {
        log::birth(std::process::id(), parent);
        finish(end);
    })
}

/// Logs the end and makes it come true.
pub(crate) fn finish(end: End) -> ! {
    log::end(std::process::id(), end);
    match end {
        End::Code(code) => os::exit(code.into()),
        End::Signal(signal) => os::raise(signal),
    }
    // A signal that a process sends itself comes before kill(2) returns, unless another thread
    // gets it: then that one's death is this one's.
    std::thread::sleep(Duration::from_secs(5));
    os::give_up("a deadly signal did not kill")
}

/// Reaps a child.
pub(crate) fn reap(child: u32) {
    if os::wait(Some(child)).is_none() {
        os::give_up("a child was not there to be reaped");
    }
}

/// Reaps all children there are.
pub(crate) fn reap_all() {
    while os::wait(None).is_some() {}
}

/// Sleeps much longer than anything here takes; for threads that others end.
pub(crate) fn sleep_on() -> Infallible {
    std::thread::sleep(TIME_LIMIT);
    os::give_up("no one ended this process")
}
