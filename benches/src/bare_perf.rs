//! The least that watching one tree can be: a ring for each processor, whose records of births, new programs and ends are
//! counted, and nothing else. What a watcher by perf adds to it is the watcher's own.
#![expect(unsafe_code, reason = "rings that are shared with the kernel")]

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

use perf_event_open_sys as sys;
use perf_event_open_sys::bindings as abi;

use crate::bare::Counts;

/// As large as the watcher under test has them: with the page of the head, what one processor allows anybody.
const PAGES: usize = 128;
const PAGE: usize = 4096;
const DATA: u64 = (PAGES * PAGE) as u64;
const MAPPED: usize = (1 + PAGES) * PAGE;

/// The events of one processor, and the ring they are written to.
#[derive(Debug)]
struct Ring {
    event: File,
    head: &'static AtomicU64,
    tail: &'static AtomicU64,
    data: *const u64,
    mapped: *mut libc::c_void,
}

// SAFETY: the mapping is the ring's own, and whoever has the ring may read it.
unsafe impl Send for Ring {}

/// The rings of all processors.
#[derive(Debug)]
pub struct Rings {
    rings: Vec<Ring>,
    epoll: OwnedFd,
    /// How many have anybody left whom they could tell of.
    open: usize,
    pidfds: Option<Pidfds>,
}

/// One of each process, from the record of its birth to that of its end.
type Pidfds = HashMap<u32, OwnedFd>;

impl Rings {
    /// For everybody whom the calling thread starts from now on, and all their descendants. Not for that thread's process:
    /// let the thread end when it has started somebody.
    ///
    /// # Errors
    /// The kernel lets nobody, or not us, open events; or no memory may be locked.
    pub fn of_this_thread() -> io::Result<Self> {
        // SAFETY: takes a flag, gives a descriptor or -1.
        let epoll = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: the descriptor is new and nobody else's.
        let epoll = unsafe { OwnedFd::from_raw_fd(epoll) };
        // SAFETY: takes an integer.
        let cpus = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) };
        let rings = (0..cpus as libc::c_int).map(Ring::open).collect::<io::Result<Vec<_>>>()?;
        for (index, ring) in rings.iter().enumerate() {
            // By edge: told once of what came, which is then read whole. By level each wait would look a second time.
            let events = (libc::EPOLLIN | libc::EPOLLET) as u32;
            let mut wanted = libc::epoll_event { events, u64: index as u64 };
            let (epoll, event) = (epoll.as_raw_fd(), ring.event.as_raw_fd());
            // SAFETY: both descriptors are open, and `wanted` is only read.
            check(unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, event, &raw mut wanted) })?;
        }
        Ok(Self { open: rings.len(), rings, epoll, pidfds: None })
    }

    /// Opens a pidfd at each birth as well, and closes it at the end: the least without which no status can be had.
    pub fn with_pidfds(self) -> Self {
        Self { pidfds: Some(Pidfds::new()), ..self }
    }

    /// Waits for records, and counts all that are there, but for those about `except`. False when nobody is left who is watched.
    ///
    /// # Errors
    /// `Interrupted`.
    pub fn receive(&mut self, counts: &mut Counts, except: &[u32]) -> io::Result<bool> {
        const MOST: usize = 8;
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; MOST];
        let epoll = self.epoll.as_raw_fd();
        // SAFETY: the count is that of the array.
        let got = check(unsafe { libc::epoll_wait(epoll, events.as_mut_ptr(), MOST as libc::c_int, -1) })?;
        for event in &events[..got as usize] {
            if event.events & libc::EPOLLHUP as u32 != 0 {
                let gone = self.rings[event.u64 as usize].event.as_raw_fd();
                // SAFETY: both descriptors are open; no event is needed to remove one.
                check(unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_DEL, gone, ptr::null_mut()) })?;
                self.open -= 1;
            }
        }
        for ring in &self.rings {
            ring.drain(counts, except, &mut self.pidfds);
        }
        Ok(self.open > 0)
    }

    /// Records that did not fit so far.
    ///
    /// # Errors
    /// The kernel does not count them (before 6.0).
    pub fn lost(&self) -> io::Result<u64> {
        self.rings.iter().map(Ring::lost).sum()
    }
}

impl Ring {
    fn open(cpu: libc::c_int) -> io::Result<Self> {
        let mut wanted = abi::perf_event_attr {
            type_: abi::PERF_TYPE_SOFTWARE,
            config: u64::from(abi::PERF_COUNT_SW_DUMMY),
            size: size_of::<abi::perf_event_attr>() as u32,
            read_format: u64::from(abi::PERF_FORMAT_LOST),
            ..Default::default()
        };
        wanted.__bindgen_anon_2.wakeup_watermark = 1;
        wanted.set_watermark(1);
        wanted.set_inherit(1);
        wanted.set_task(1);
        wanted.set_comm(1);
        wanted.set_comm_exec(1);
        wanted.set_exclude_kernel(1);
        wanted.set_exclude_hv(1);
        let flags = u64::from(abi::PERF_FLAG_FD_CLOEXEC);
        // SAFETY: the attributes have their size in them, and are only read but for that.
        let fd = check(unsafe { sys::perf_event_open(&raw mut wanted, 0, cpu, -1, flags as _) })?;
        // SAFETY: the descriptor is new and nobody else's.
        let event = unsafe { File::from_raw_fd(fd) };
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at a place of the kernel's choice; nothing else is there.
        let mapped = unsafe { libc::mmap(ptr::null_mut(), MAPPED, access, libc::MAP_SHARED, fd, 0) };
        if mapped == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let page = mapped.cast::<abi::perf_event_mmap_page>();
        // SAFETY: the first page of the mapping is this struct, and stays mapped as long as the ring.
        let head = unsafe { &raw mut (*page).data_head };
        // SAFETY: likewise.
        let tail = unsafe { &raw mut (*page).data_tail };
        // SAFETY: in the mapping and aligned; the kernel writes it, atomically.
        let head = unsafe { AtomicU64::from_ptr(head) };
        // SAFETY: in the mapping and aligned; only we write it.
        let tail = unsafe { AtomicU64::from_ptr(tail) };
        // SAFETY: the data begin with the second page.
        let data = unsafe { mapped.cast::<u8>().add(PAGE) };
        Ok(Self { event, head, tail, data: data.cast(), mapped })
    }

    /// The 8 bytes at a position, which is a multiple of 8.
    fn word(&self, at: u64) -> u64 {
        // SAFETY: within the data, whose size is a power of two.
        let place = unsafe { self.data.add((at % DATA) as usize / 8) };
        // SAFETY: the kernel has written it and leaves it alone until the tail has passed it.
        unsafe { place.read() }
    }

    fn drain(&self, counts: &mut Counts, except: &[u32], pidfds: &mut Option<Pidfds>) {
        let head = self.head.load(Ordering::Acquire);
        let begin = self.tail.load(Ordering::Relaxed);
        let mut at = begin;
        while at < head {
            // Type, flags and size; then the process, and its parent if it is a birth or an end; then the thread.
            let header = self.word(at);
            let (kind, flags) = (header as u32, (header >> 32) as u32 & 0xffff);
            let process = self.word(at + 8) as u32;
            let slot = match kind {
                _ if except.contains(&process) => None,
                abi::PERF_RECORD_FORK if self.word(at + 16) as u32 == process => Some(&mut counts.forks),
                abi::PERF_RECORD_FORK => Some(&mut counts.threads),
                abi::PERF_RECORD_COMM if flags & abi::PERF_RECORD_MISC_COMM_EXEC != 0 => {
                    Some(&mut counts.execs)
                }
                abi::PERF_RECORD_EXIT => Some(&mut counts.exits),
                // The kernel's count of what was lost is read at the end.
                abi::PERF_RECORD_LOST => None,
                _ => Some(&mut counts.others),
            };
            match pidfds {
                Some(pidfds) if kind == abi::PERF_RECORD_FORK => {
                    pidfds.extend(pidfd_open(process).map(|pidfd| (process, pidfd)))
                }
                Some(pidfds) if kind == abi::PERF_RECORD_EXIT => drop(pidfds.remove(&process)),
                _ => {}
            }
            slot.into_iter().for_each(|slot| *slot += 1);
            at += header >> 48;
        }
        if at != begin {
            self.tail.store(at, Ordering::Release);
        }
    }

    fn lost(&self) -> io::Result<u64> {
        // What a dummy counts, which is nothing, and what was lost.
        let mut values = [0; 16];
        (&self.event).read_exact(&mut values)?;
        Ok(u64::from_ne_bytes(values[8..].try_into().expect("8 bytes")))
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: mapped by `open`, and nothing refers to it after this.
        unsafe { libc::munmap(self.mapped, MAPPED) };
    }
}

/// None of who has been reaped.
fn pidfd_open(pid: u32) -> Option<OwnedFd> {
    // SAFETY: takes integers, gives a descriptor or -1.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    // SAFETY: the descriptor is new and nobody else's.
    (fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd as libc::c_int) })
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
