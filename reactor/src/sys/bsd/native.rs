//! The kernel that this runs on.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use super::super::kqueue::{Entry, Kernel, NOTE_EXITSTATUS, Note, Queue, System};
use super::calls::{self, blank, change};
use super::table;
use super::thread::monotonic;
use super::witness::Pidfd;
use crate::flags::{
    EV_ADD, EV_DELETE, EV_EOF, EV_ERROR, EV_ONESHOT, NOTE_EXEC, NOTE_EXIT, NOTE_FORK, NOTE_TRACK,
};
use crate::source::Reading;

/// Events of one call: what is comfortable on a stack.
const AT_ONCE: usize = 64;
/// The timer's name among the fuller queue's.
const ALARM: usize = 1;

/// Both queues, nested in one whose descriptor is polled.
#[derive(Debug)]
pub(super) struct Native {
    kernel: Kernel,
    full: calls::Queue,
    ends: calls::Queue,
    outer: calls::Queue,
}

impl Native {
    pub(super) fn open(kernel: Kernel) -> io::Result<Self> {
        let (full, ends, outer) = (calls::Queue::new()?, calls::Queue::new()?, calls::Queue::new()?);
        for inner in [&full, &ends] {
            let inner = inner.as_fd().as_raw_fd() as usize;
            outer.change(change(inner, libc::EVFILT_READ as i32, EV_ADD, 0, 0))?;
        }
        Ok(Self { kernel, full, ends, outer })
    }

    fn queue(&self, queue: Queue) -> &calls::Queue {
        match queue {
            Queue::Full => &self.full,
            Queue::Ends => &self.ends,
        }
    }

    /// What is asked of a note. Not NOTE_FORK where NOTE_CHILD tells: the less is unread while a process ends, the less is lost.
    fn asked(&self, queue: Queue) -> u32 {
        let children = if self.kernel.tracks { NOTE_TRACK } else { NOTE_FORK };
        let status = if self.kernel.asks_status { NOTE_EXITSTATUS } else { 0 };
        let execs = if queue == Queue::Full { NOTE_EXEC } else { 0 };
        NOTE_EXIT | children | status | execs
    }
}

impl System for Native {
    fn read(&mut self, queue: Queue, out: &mut Vec<Note>, room: usize) -> io::Result<usize> {
        let mut events = [blank(); AT_ONCE];
        let mut read = 0;
        while read < room {
            let wanted = AT_ONCE.min(room - read);
            let count = self.queue(queue).take(&mut events[..wanted])?;
            for event in &events[..count] {
                // The types of the fields differ from system to system.
                let (filter, flags): (i32, u16) = (event.filter as _, event.flags as _);
                let (fflags, data): (u32, i64) = (event.fflags as _, event.data as _);
                if filter != libc::EVFILT_PROC as i32 {
                    // The alarm: that the queue was read is all that it is for.
                    continue;
                }
                if flags & EV_ERROR != 0 && data != 0 {
                    return Err(io::Error::from_raw_os_error(data as i32));
                }
                out.push(Note { pid: event.ident as u32, fflags, eof: flags & EV_EOF != 0, data });
            }
            read += count;
            if count < wanted {
                break;
            }
        }
        Ok(read)
    }

    /// A queue that was readable stays in the outer one's list until that is read, and then says nothing new to who waits for edges.
    fn rest(&mut self) -> io::Result<bool> {
        Ok(self.outer.take(&mut [blank(); 2])? > 0)
    }

    fn add(&mut self, queue: Queue, pid: u32) -> io::Result<()> {
        let add = |asked| {
            let note = change(pid as usize, libc::EVFILT_PROC as i32, EV_ADD, asked, 0);
            self.queue(queue).change(note)
        };
        let asked = self.asked(queue);
        match add(asked) {
            // The statuses of others are not for everybody (C5). That they end is.
            Err(error) if self.kernel.asks_status && error.raw_os_error() == Some(libc::EACCES) => {
                add(asked & !NOTE_EXITSTATUS)
            }
            result => result,
        }
    }

    fn delete(&mut self, queue: Queue, pid: u32) -> io::Result<bool> {
        let note = change(pid as usize, libc::EVFILT_PROC as i32, EV_DELETE, 0, 0);
        match self.queue(queue).change(note) {
            Ok(()) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
            // Where the process itself is looked for first.
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn entry(&mut self, pid: u32) -> io::Result<Option<Entry>> {
        table::entry(pid)
    }

    fn entries(&mut self) -> io::Result<Vec<Entry>> {
        table::entries()
    }

    fn children(&mut self, pid: u32) -> io::Result<Vec<u32>> {
        table::children(pid)
    }

    fn forks(&mut self) -> Option<u64> {
        table::forks()
    }

    fn adopts_orphans(&self) -> bool {
        crate::reaping::adopts_orphans()
    }

    fn alarm(&mut self, after: u64) -> io::Result<()> {
        let timer = libc::EVFILT_TIMER as i32;
        // Older kernels do not wind up a timer that is there already.
        match self.full.change(change(ALARM, timer, EV_DELETE, 0, 0)) {
            Err(error) if error.raw_os_error() != Some(libc::ENOENT) => return Err(error),
            _ => {}
        }
        let millis = after.div_ceil(1_000_000) as i64;
        self.full.change(change(ALARM, timer, EV_ADD | EV_ONESHOT, 0, millis))
    }

    fn witness(&mut self, pid: u32) -> io::Result<OwnedFd> {
        Pidfd::watch(pid)
    }

    /// The note of an exec is set off under the lock that the new program's name is written under, so that who reads the name could have read
    /// the note (FreeBSD; for the others it is taken to be so).
    fn inspect(&mut self, pid: u32) -> Reading {
        Reading { metadata: table::metadata(pid), settled: true }
    }

    fn now(&self) -> u64 {
        monotonic()
    }
}

impl AsFd for Native {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.outer.as_fd()
    }
}
