//! How children are to end, each otherwise than those before and after it, and what is seen of it.

use std::collections::HashMap;

use proc_watch::{EventKind, ExitStatus, ProcId};

/// Set in a wait status if a core was dumped.
pub const CORE: i32 = 0x80;

/// The wait status that the child of this number is to end with: all codes, signals, and now and then a core.
pub fn planned(number: usize) -> i32 {
    const SIGNALS: [i32; 8] = [
        libc::SIGHUP,
        libc::SIGINT,
        libc::SIGKILL,
        libc::SIGUSR1,
        libc::SIGTERM,
        libc::SIGALRM,
        libc::SIGSEGV,
        libc::SIGUSR2,
    ];
    if number % 100 == 50 {
        libc::SIGQUIT | CORE
    } else if number % 4 == 3 {
        SIGNALS[number / 4 % SIGNALS.len()]
    } else {
        (number % 256) as i32 * 256
    }
}

/// Whether a wait status is as planned. Whether there is a core is for the system to say.
pub fn is_as_planned(status: i32, planned: i32) -> bool {
    status == planned || (planned & CORE != 0 && status == planned & !CORE)
}

/// What streams told of ends.
#[derive(Clone, Debug, Default)]
pub struct Ends {
    /// By pid, in order.
    pub by_pid: HashMap<u32, Vec<ExitStatus>>,
    /// Records that were lost.
    pub lost: u64,
}

impl Ends {
    /// Takes in one event.
    ///
    /// # Panics
    ///
    /// The source has failed.
    pub fn take(&mut self, id: ProcId, kind: &EventKind) {
        match kind {
            EventKind::Exit { status } => self.by_pid.entry(id.pid()).or_default().push(*status),
            EventKind::Lost { count, .. } => self.lost += count,
            EventKind::Gap { .. } => panic!("a log of unread events was too small"),
            EventKind::Failed { error } => panic!("{error}"),
            _ => {}
        }
    }

    /// Holds what was told against the truth, `(pid, wait status)` in the order of the lives of each pid: each end once,
    /// and each status right or unknown.
    ///
    /// # Errors
    ///
    /// What is wrong.
    pub fn judge(&self, truth: &[(u32, i32)]) -> Result<Share, String> {
        let mut lives: HashMap<u32, Vec<i32>> = HashMap::new();
        for (pid, status) in truth {
            lives.entry(*pid).or_default().push(*status);
        }
        let mut share = Share { known: 0, all: truth.len() };
        for (pid, statuses) in lives {
            let told = self.by_pid.get(&pid).map_or(&[][..], Vec::as_slice);
            if told.len() != statuses.len() {
                return Err(format!("{pid} ended with {statuses:x?}, told {told:?}"));
            }
            for (status, told) in statuses.into_iter().zip(told) {
                match told.to_wait_status() {
                    None => {}
                    Some(known) if known == status => share.known += 1,
                    Some(_) => return Err(format!("{pid} ended with {status:#x}, told {told:?}")),
                }
            }
        }
        Ok(share)
    }
}

/// Of how many it is known how they ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Of so many,
    pub known: usize,
    /// of so many.
    pub all: usize,
}

impl Share {
    /// Whether of everybody.
    pub fn is_whole(self) -> bool {
        self.known == self.all
    }
}

impl std::fmt::Display for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} statuses known", self.known, self.all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(ends: &[(u32, ExitStatus)]) -> Ends {
        let mut all = Ends::default();
        ends.iter()
            .for_each(|(pid, status)| all.take(ProcId::new(*pid, 1), &EventKind::Exit { status: *status }));
        all
    }

    #[test]
    fn what_is_unknown_is_counted_and_what_is_wrong_is_found() {
        let truth = [(7, 1 << 8), (8, 9), (7, 2 << 8)];
        let killed = ExitStatus::Signal { signal: 9, core: false };
        let right = [(7, ExitStatus::Code(1)), (8, killed), (7, ExitStatus::Unknown)];
        assert_eq!(told(&right).judge(&truth), Ok(Share { known: 2, all: 3 }));
        let swapped = [(7, ExitStatus::Code(2)), (8, killed), (7, ExitStatus::Code(1))];
        assert!(told(&swapped).judge(&truth).is_err());
        assert!(told(&right[..2]).judge(&truth).is_err(), "one is missing");
        let core = ExitStatus::Signal { signal: 9, core: true };
        assert!(told(&[(8, core)]).judge(&[(8, 9)]).is_err());
    }

    #[test]
    fn neighbours_differ() {
        let statuses: Vec<i32> = (0..1000).map(planned).collect();
        assert!(statuses.windows(2).all(|pair| pair[0] != pair[1]));
        assert!(statuses.iter().any(|status| status & CORE != 0));
        assert!(is_as_planned(3, 3 | CORE) && !is_as_planned(3 | CORE, 3) && !is_as_planned(256, 0));
    }
}
