//! [`Accounts`]: what the kernel tells of ended processes beside their statuses.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::time::Duration;

use crate::event::{Event, EventKind, Time};
use crate::status::{ExitStatus, Usage};

/// What the kernel tells of ended processes beside their statuses: what each has used (taskstats, Linux 5.19, CAP_NET_ADMIN in the
/// initial namespaces), and whom it killed because memory was used up (the kernel's log, /dev/kmsg, CAP_SYSLOG or `kernel.dmesg_restrict=0`).
///
/// Of any process, this program's child or not. Open it before the processes are started, and give it the events of their streams as
/// they come. It waits for nothing, and costs nothing while it is not asked; what the kernel has no more room for meanwhile is lost, and
/// then not known of.
///
/// ```no_run
/// use proc_reactor::{Accounts, Event};
///
/// # fn events() -> Vec<Event> { Vec::new() }
/// let mut accounts = Accounts::open()?;
/// for event in events() {
///     let account = accounts.of(&event);
///     if let Some(usage) = account.usage {
///         println!("{}: {:?} of processor time, {} bytes at most", event.id, usage.user + usage.system, usage.peak_memory);
///     }
///     if let Some(kill) = account.oom_kill {
///         println!("{}: killed for want of memory, {kill}", event.id);
///     }
/// }
/// # Ok::<(), proc_reactor::AccountsError>(())
/// ```
#[derive(Debug)]
pub struct Accounts {
    ledgers: [io::Result<Box<dyn Ledger>>; 2],
    book: Book,
}

/// What is known of one end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Account {
    /// What it had used, all its threads together, and no others: processor time in ticks (4 ms and the like), and the peak of the memory of the
    /// last program that it ran. `None`: nobody told, or what was told may be another's.
    pub usage: Option<Usage>,
    /// That the kernel killed it because memory was used up.
    pub oom_kill: Option<OomKill>,
}

/// That the kernel killed a process because memory was used up.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OomKill {
    /// Whether it was the memory of a control group, and not that of the machine.
    pub in_cgroup: bool,
    /// What the kernel logged of it: how much it had.
    pub text: String,
}

impl fmt::Display for OomKill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Why nothing can be told.
#[derive(Debug, thiserror::Error)]
#[error(
    "neither what processes use nor why they are killed can be had: taskstats: {usage}; the kernel's log: {oom_kills}; run as root, in no container"
)]
#[non_exhaustive]
pub struct AccountsError {
    /// Why not what they use.
    pub usage: io::Error,
    /// Why not whom the kernel kills.
    #[source]
    pub oom_kills: io::Error,
}

/// One place where the kernel tells of ended processes.
pub(crate) trait Ledger: Send + fmt::Debug {
    /// Appends what is queued now.
    fn read(&mut self, out: &mut Vec<Entry>);
}

/// What is told of one end, by pid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    Used {
        pid: u32,
        status: i32,
        /// Wall time: no later than [`PRECISION`] after this.
        ended: Duration,
        usage: Usage,
    },
    Killed {
        pid: u32,
        /// By the clock of the kernel's log, which nobody sets: it runs apart from the monotonic one.
        logged: Duration,
        kill: OomKill,
    },
    /// There was no room for some.
    Lost,
}

impl Accounts {
    /// Begins to listen.
    ///
    /// # Errors
    /// Neither can be had here; for one alone see [`usage_error`](Self::usage_error) and [`oom_error`](Self::oom_error).
    pub fn open() -> Result<Self, AccountsError> {
        match ledgers() {
            [Err(usage), Err(oom_kills)] => Err(AccountsError { usage, oom_kills }),
            ledgers => Ok(Self { ledgers, book: Book::default() }),
        }
    }

    /// Why it is not told what processes use, if it is not.
    pub fn usage_error(&self) -> Option<&io::Error> {
        self.ledgers[0].as_ref().err()
    }

    /// Why it is not told whom the kernel kills for want of memory, if it is not.
    pub fn oom_error(&self) -> Option<&io::Error> {
        self.ledgers[1].as_ref().err()
    }

    /// How often the kernel had no room for what it had to tell.
    pub fn losses(&self) -> u64 {
        self.book.losses
    }

    /// What is known of the end that an event tells; nothing of other events.
    ///
    /// It was told before the end was, and is told here once. The kernel tells it by pid: where two processes that had the same
    /// pid and the same status ended within the same second, it is nobody's.
    pub fn of(&mut self, event: &Event) -> Account {
        let EventKind::Exit { status } = event.kind else { return Account::default() };
        let mut told = Vec::new();
        for ledger in self.ledgers.iter_mut().flatten() {
            ledger.read(&mut told);
        }
        told.into_iter().for_each(|entry| self.book.enter(entry));
        self.book.of(event.id.pid(), status, event.time)
    }
}

#[cfg(target_os = "linux")]
fn ledgers() -> [io::Result<Box<dyn Ledger>>; 2] {
    crate::sys::ledgers()
}

#[cfg(not(target_os = "linux"))]
fn ledgers() -> [io::Result<Box<dyn Ledger>>; 2] {
    [Err(io::ErrorKind::Unsupported.into()), Err(io::ErrorKind::Unsupported.into())]
}

/// The kernel counts the beginning of a process in whole seconds.
const PRECISION: Duration = Duration::from_secs(1);
/// Between the account and the end lies what the kernel has to do to end a process: closing files on slow devices, mostly.
const ENDING: Duration = Duration::from_secs(60);
/// How far the clock of the kernel's log may have run from the monotonic one.
const DRIFT: Duration = Duration::from_secs(600);
/// Ends of the whole machine that are kept for who asks late.
const KEPT: usize = 4096;

/// Entries that nobody has asked for yet.
#[derive(Debug, Default)]
struct Book {
    used: VecDeque<(u32, i32, Duration, Usage)>,
    killed: VecDeque<(u32, Duration, OomKill)>,
    losses: u64,
}

impl Book {
    fn enter(&mut self, entry: Entry) {
        match entry {
            Entry::Used { pid, status, ended, usage } => keep(&mut self.used, (pid, status, ended, usage)),
            Entry::Killed { pid, logged, kill } => keep(&mut self.killed, (pid, logged, kill)),
            Entry::Lost => self.losses += 1,
        }
    }

    fn of(&mut self, pid: u32, status: ExitStatus, time: Time) -> Account {
        let wall = time.wall().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let known = status.to_wait_status();
        let used = take(&mut self.used, |(of, told, ended, _)| {
            let within = wall + PRECISION >= *ended && wall <= *ended + PRECISION + ENDING;
            *of == pid && within && known.is_none_or(|status| status == *told)
        });
        // Who was killed by the kernel ended by SIGKILL, if that is known.
        let by_kill = known.is_none() || status.signal() == Some(9);
        let killed = take(&mut self.killed, |(of, logged, _)| {
            *of == pid && by_kill && time.monotonic().abs_diff(*logged) <= DRIFT
        });
        Account { usage: used.map(|(.., usage)| usage), oom_kill: killed.map(|(.., kill)| kill) }
    }
}

fn keep<T>(entries: &mut VecDeque<T>, entry: T) {
    if entries.len() == KEPT {
        entries.pop_front();
    }
    entries.push_back(entry);
}

/// The one that fits. Of several none: whose is whose nobody can say.
fn take<T>(entries: &mut VecDeque<T>, fits: impl Fn(&T) -> bool) -> Option<T> {
    let mut places = (0..entries.len()).filter(|at| fits(&entries[*at]));
    let (place, more) = (places.next()?, places.next().is_some());
    let entry = entries.remove(place);
    entry.filter(|_| !more)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WALL: i64 = 1_000_000_000_000_000_000;

    fn at(seconds: u64) -> Time {
        Time::new(seconds * 1_000_000_000, WALL)
    }

    fn used(pid: u32, status: i32, second: u64, peak: u64) -> Entry {
        let usage = Usage { peak_memory: peak, ..Usage::default() };
        Entry::Used {
            pid,
            status,
            ended: Duration::from_nanos(WALL as u64) + Duration::from_secs(second),
            usage,
        }
    }

    fn peak(book: &mut Book, pid: u32, status: ExitStatus, second: u64) -> Option<u64> {
        book.of(pid, status, at(second)).usage.map(|usage| usage.peak_memory)
    }

    #[test]
    fn by_pid_status_and_time_and_once() {
        let mut book = Book::default();
        book.enter(used(7, 0x300, 100, 1));
        book.enter(used(7, 0x300, 5_000, 2));
        book.enter(used(8, 0, 100, 3));
        assert_eq!(peak(&mut book, 7, ExitStatus::Code(4), 100), None);
        assert_eq!(peak(&mut book, 7, ExitStatus::Code(3), 90), None);
        assert_eq!(peak(&mut book, 7, ExitStatus::Code(3), 101), Some(1));
        assert_eq!(peak(&mut book, 7, ExitStatus::Code(3), 101), None);
        // It took its time to end, and nobody knows how it did.
        assert_eq!(peak(&mut book, 7, ExitStatus::Unknown, 5_030), Some(2));
        assert_eq!(peak(&mut book, 8, ExitStatus::Code(0), 99), Some(3));
    }

    #[test]
    fn k9_of_two_that_fit_none_is_given() {
        let mut book = Book::default();
        (1..=2).for_each(|peak| book.enter(used(7, 0, 100, peak)));
        assert_eq!(peak(&mut book, 7, ExitStatus::Code(0), 100), None);
        // The other is the second one's.
        assert_eq!(peak(&mut book, 7, ExitStatus::Code(0), 100), Some(2));
    }

    #[test]
    fn killed_is_who_ended_by_it() {
        let kill = OomKill { in_cgroup: true, text: "Memory cgroup out of memory".to_owned() };
        let mut book = Book::default();
        let killed = Entry::Killed { pid: 7, logged: Duration::from_secs(95), kill: kill.clone() };
        book.enter(killed.clone());
        assert_eq!(book.of(7, ExitStatus::Code(0), at(100)).oom_kill, None);
        assert_eq!(book.of(7, ExitStatus::from_wait_status(15), at(100)).oom_kill, None);
        assert_eq!(book.of(7, ExitStatus::from_wait_status(9), at(2_000)).oom_kill, None);
        assert_eq!(book.of(7, ExitStatus::from_wait_status(9), at(100)).oom_kill, Some(kill.clone()));
        book.enter(killed);
        assert_eq!(book.of(7, ExitStatus::Unknown, at(100)).oom_kill, Some(kill));
    }

    #[test]
    fn what_nobody_asks_for_takes_no_more_room() {
        let mut book = Book::default();
        (0..10_000).for_each(|pid| book.enter(used(pid, 0, 100, 1)));
        book.enter(Entry::Lost);
        assert_eq!((book.used.len(), book.losses), (KEPT, 1));
        assert_eq!(peak(&mut book, 9_999, ExitStatus::Code(0), 100), Some(1));
        assert_eq!(peak(&mut book, 0, ExitStatus::Code(0), 100), None);
    }
}
