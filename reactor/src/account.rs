//! [`Accounts`]: what the kernel tells of ended processes beside their statuses.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io;
use std::time::Duration;

use crate::event::{Event, EventKind, Time};
use crate::status::{ExitStatus, Usage};

/// What the kernel tells of ended processes beside their statuses: what each has used (taskstats, Linux 5.19, CAP_NET_ADMIN in the
/// initial namespaces), and whom it killed because memory was used up (the kernel's log, /dev/kmsg, CAP_SYSLOG or `kernel.dmesg_restrict=0`).
///
/// Of any process whose birth is seen, this program's child or not. Open it before the processes are started, and give it all events of their
/// streams as they come. It waits for nothing, and costs nothing while it is not asked; what the kernel has no more room for meanwhile is
/// lost, and then not known of.
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
#[cfg_attr(not(any(target_os = "linux", test)), expect(dead_code, reason = "nobody tells"))]
pub(crate) enum Entry {
    Used {
        pid: u32,
        status: i32,
        /// Wall time of its birth and of its end: no later than [`PRECISION`] after these.
        born: Duration,
        ended: Duration,
        usage: Usage,
    },
    Killed {
        pid: u32,
        /// By the clock of the kernel's log, which nobody sets: it runs apart from the monotonic one.
        logged: Duration,
        kill: OomKill,
    },
    /// There was no room for some: from threads on that have ended before now nothing is whole.
    UsageLost,
    /// There was no room for some of the log.
    LogLost,
}

impl Accounts {
    /// Begins to listen.
    ///
    /// # Errors
    /// Neither can be had here; for one alone see [`usage_error`](Self::usage_error) and [`oom_error`](Self::oom_error).
    pub fn open() -> Result<Self, AccountsError> {
        match ledgers() {
            [Err(usage), Err(oom_kills)] => Err(AccountsError { usage, oom_kills }),
            ledgers => Ok(Self { ledgers, book: Book { whole_since: now(), ..Book::default() } }),
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
    /// It was told before the end was, and is told here once. The kernel tells it by pid, and in seconds: where more than one process
    /// fits it is nobody's. Of a process whose birth was not among the events nothing is told, as there is too little to know it by.
    pub fn of(&mut self, event: &Event) -> Account {
        let status = match event.kind {
            EventKind::Fork { child } => {
                self.book.births.insert(child.pid(), event.time);
                return Account::default();
            }
            EventKind::Exit { status } => status,
            _ => return Account::default(),
        };
        let mut told = Vec::new();
        for ledger in self.ledgers.iter_mut().flatten() {
            ledger.read(&mut told);
        }
        told.into_iter().for_each(|entry| self.book.enter(entry));
        self.book.of(event.id.pid(), status, event.time)
    }
}

/// By the clock of events.
fn now() -> Duration {
    Duration::from_nanos(crate::sys::monotonic())
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
/// How far the clock of the kernel's log may have run from the monotonic one. Where it has run further nothing is told.
const DRIFT: Duration = Duration::from_secs(10);
/// Ends of the whole machine that are kept for who asks late.
const KEPT: usize = 4096;

/// Entries that nobody has asked for yet.
#[derive(Debug, Default)]
struct Book {
    used: VecDeque<Used>,
    killed: VecDeque<(u32, Duration, OomKill)>,
    /// When those were born who live, as far as was seen.
    births: HashMap<u32, Time>,
    /// Who was born before may have had threads whose ends were not told.
    whole_since: Duration,
    losses: u64,
}

#[derive(Debug)]
struct Used {
    pid: u32,
    status: i32,
    born: Duration,
    ended: Duration,
    usage: Usage,
}

impl Book {
    fn enter(&mut self, entry: Entry) {
        match entry {
            Entry::Used { pid, status, born, ended, usage } => {
                keep(&mut self.used, Used { pid, status, born, ended, usage });
            }
            Entry::Killed { pid, logged, kill } => keep(&mut self.killed, (pid, logged, kill)),
            Entry::UsageLost => {
                // What is there may be that of an earlier owner of a pid whose own was lost.
                self.used.clear();
                self.whole_since = now();
                self.losses += 1;
            }
            Entry::LogLost => {
                self.killed.clear();
                self.losses += 1;
            }
        }
    }

    fn of(&mut self, pid: u32, status: ExitStatus, time: Time) -> Account {
        let Some(birth) = self.births.remove(&pid) else { return Account::default() };
        let wall = |time: Time| time.wall().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let (born, ended, known) = (wall(birth), wall(time), status.to_wait_status());
        let used = take(&mut self.used, |used| {
            let is_end = ended + PRECISION >= used.ended && ended <= used.ended + PRECISION + ENDING;
            let is_birth = born + PRECISION >= used.born && born <= used.born + 2 * PRECISION;
            used.pid == pid && is_end && is_birth && known.is_none_or(|status| status == used.status)
        });
        // Who was killed by the kernel ended by SIGKILL, if that is known.
        let by_kill = known.is_none() || status.signal() == Some(9);
        let killed = take(&mut self.killed, |(of, logged, _)| {
            let lived = birth.monotonic().saturating_sub(DRIFT)..=time.monotonic() + DRIFT;
            *of == pid && by_kill && lived.contains(logged)
        });
        let is_whole = birth.monotonic() >= self.whole_since;
        let usage = used.filter(|_| is_whole).map(|used| used.usage);
        Account { usage, oom_kill: killed.map(|(.., kill)| kill) }
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

    fn wall(second: u64) -> Duration {
        Duration::from_nanos(WALL as u64) + Duration::from_secs(second)
    }

    fn used(pid: u32, status: i32, (born, ended): (u64, u64), peak: u64) -> Entry {
        let usage = Usage { peak_memory: peak, ..Usage::default() };
        Entry::Used { pid, status, born: wall(born), ended: wall(ended), usage }
    }

    fn peak(book: &mut Book, pid: u32, status: ExitStatus, (born, ended): (u64, u64)) -> Option<u64> {
        book.births.insert(pid, at(born));
        book.of(pid, status, at(ended)).usage.map(|usage| usage.peak_memory)
    }

    #[test]
    fn by_pid_status_and_times_and_once() {
        let mut book = Book::default();
        book.enter(used(7, 0x300, (90, 100), 1));
        book.enter(used(7, 0x300, (4_000, 5_000), 2));
        book.enter(used(8, 0, (90, 100), 3));
        assert_eq!(peak(&mut book, 7, ExitStatus::Code(4), (90, 100)), None);
        assert_eq!(peak(&mut book, 7, ExitStatus::Code(3), (90, 95)), None);
        assert_eq!(peak(&mut book, 7, ExitStatus::Code(3), (95, 100)), None);
        assert_eq!(peak(&mut book, 7, ExitStatus::Code(3), (91, 101)), Some(1));
        assert_eq!(peak(&mut book, 7, ExitStatus::Code(3), (91, 101)), None);
        // It took its time to end, and nobody knows how it did.
        assert_eq!(peak(&mut book, 7, ExitStatus::Unknown, (4_000, 5_030)), Some(2));
        // Nobody saw its birth.
        assert_eq!(book.of(8, ExitStatus::Code(0), at(100)), Account::default());
        assert_eq!(peak(&mut book, 8, ExitStatus::Code(0), (90, 99)), Some(3));
    }

    #[test]
    fn k9_of_two_that_fit_none_is_given() {
        let mut book = Book::default();
        (1..=2).for_each(|peak| book.enter(used(7, 0, (100, 100), peak)));
        assert_eq!(peak(&mut book, 7, ExitStatus::Code(0), (100, 100)), None);
        // The other is the second one's.
        assert_eq!(peak(&mut book, 7, ExitStatus::Code(0), (100, 100)), Some(2));
    }

    /// The one that was told is that of an earlier owner, and the other was lost.
    #[test]
    fn k9_after_a_loss_nothing_is_told_of_who_lived_then() {
        let mut book = Book::default();
        book.enter(used(7, 0, (100, 100), 1));
        book.enter(Entry::UsageLost);
        assert_eq!(peak(&mut book, 7, ExitStatus::Code(0), (100, 101)), None);
        // Half of its threads may have ended before.
        let born = book.whole_since.as_secs();
        book.enter(used(9, 0, (born - 1, born + 5), 2));
        assert_eq!(peak(&mut book, 9, ExitStatus::Code(0), (born - 1, born + 5)), None);
        book.enter(used(9, 0, (born + 3, born + 5), 3));
        assert_eq!(peak(&mut book, 9, ExitStatus::Code(0), (born + 3, born + 5)), Some(3));
    }

    #[test]
    fn killed_is_who_lived_then_and_ended_by_it() {
        let kill = OomKill { in_cgroup: true, text: "Memory cgroup out of memory".to_owned() };
        let mut book = Book::default();
        let killed = Entry::Killed { pid: 7, logged: Duration::from_secs(95), kill: kill.clone() };
        book.enter(killed.clone());
        let mut told = |status, (born, ended)| {
            book.births.insert(7, at(born));
            book.of(7, status, at(ended)).oom_kill
        };
        let sigkill = ExitStatus::from_wait_status(9);
        assert_eq!(told(ExitStatus::Code(0), (90, 100)), None);
        assert_eq!(told(ExitStatus::from_wait_status(15), (90, 100)), None);
        // The next owner of its pid, whom somebody else killed; and one before.
        assert_eq!(told(sigkill, (110, 120)), None);
        assert_eq!(told(sigkill, (50, 80)), None);
        assert_eq!(told(sigkill, (90, 100)), Some(kill.clone()));
        book.enter(killed);
        book.births.insert(7, at(90));
        assert_eq!(book.of(7, ExitStatus::Unknown, at(100)).oom_kill, Some(kill));
    }

    #[test]
    fn what_nobody_asks_for_takes_no_more_room() {
        let mut book = Book::default();
        (0..10_000).for_each(|pid| book.enter(used(pid, 0, (100, 100), 1)));
        book.enter(Entry::LogLost);
        assert_eq!((book.used.len(), book.losses), (KEPT, 1));
        assert_eq!(peak(&mut book, 9_999, ExitStatus::Code(0), (100, 100)), Some(1));
        assert_eq!(peak(&mut book, 0, ExitStatus::Code(0), (100, 100)), None);
    }
}
