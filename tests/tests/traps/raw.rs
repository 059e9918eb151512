//! The kernel's interfaces themselves, read as simply as can be: what a naive reader would see.
#![expect(unsafe_code, reason = "perf_event_open, netlink and mmap have no safe interface")]

use std::io;
use std::mem::zeroed;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use perf_event_open_sys::bindings as abi;
use perf_event_open_sys::perf_event_open;

const PAGE: usize = 4096;
/// A size and two processors' worth of numbers in front of it.
const DATA_HEAD: usize = 1024;

/// What a perf record tells, or a record of the process connector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Fork { parent: u32, child: u32, thread: u32 },
    Exec { process: u32 },
    Exit { process: u32, thread: u32 },
    Lost { count: u64 },
}

/// One event a processor on one thread, inherited by what it starts, each with a ring of its own.
#[derive(Debug)]
pub(crate) struct Perf {
    rings: Vec<Ring>,
}

#[derive(Debug)]
struct Ring {
    fd: OwnedFd,
    base: NonNull<u8>,
    pages: usize,
    read: u64,
}

impl Perf {
    /// On this thread, or on the calling one if it is 0.
    pub(crate) fn open(thread: u32, pages: usize) -> io::Result<Self> {
        // SAFETY: takes a name by value.
        let cpus = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) };
        let rings = (0..cpus as i32).map(|cpu| Ring::open(thread, cpu, pages)).collect::<io::Result<_>>()?;
        Ok(Self { rings })
    }

    /// All that is written, one ring after the other.
    pub(crate) fn drain(&mut self) -> Vec<Seen> {
        self.rings.iter_mut().flat_map(Ring::drain).collect()
    }

    /// What the counters of the events say was lost.
    pub(crate) fn lost(&self) -> u64 {
        self.rings.iter().map(Ring::lost).sum()
    }

    /// How many rings poll readable now.
    pub(crate) fn readable(&self) -> usize {
        self.rings.iter().filter(|ring| poll(&ring.fd, 0) & libc::POLLIN != 0).count()
    }
}

impl Ring {
    fn open(thread: u32, cpu: i32, pages: usize) -> io::Result<Self> {
        let mut attr = abi::perf_event_attr {
            type_: abi::PERF_TYPE_SOFTWARE,
            size: size_of::<abi::perf_event_attr>() as u32,
            config: u64::from(abi::PERF_COUNT_SW_DUMMY),
            read_format: u64::from(abi::PERF_FORMAT_LOST),
            ..Default::default()
        };
        attr.set_task(1);
        attr.set_comm(1);
        attr.set_comm_exec(1);
        attr.set_inherit(1);
        attr.set_exclude_kernel(1);
        attr.set_exclude_hv(1);
        attr.set_watermark(1);
        attr.__bindgen_anon_2.wakeup_watermark = 1;
        let flags = u64::from(abi::PERF_FLAG_FD_CLOEXEC) as libc::c_ulong;
        // SAFETY: the attributes are of the size they say and live as long as the call.
        let fd = unsafe { perf_event_open(&raw mut attr, thread as libc::pid_t, cpu, -1, flags) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new and nobody else's.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let (length, protection) = ((pages + 1) * PAGE, libc::PROT_READ | libc::PROT_WRITE);
        // SAFETY: a new mapping of an open event, wherever there is room.
        let base = unsafe {
            libc::mmap(std::ptr::null_mut(), length, protection, libc::MAP_SHARED, fd.as_raw_fd(), 0)
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).expect("a mapping is somewhere");
        Ok(Self { fd, base, pages, read: 0 })
    }

    /// A word of the page in front: 0 is how far it is written, 1 how far it has been read.
    fn word(&self, number: usize) -> &AtomicU64 {
        // SAFETY: within the first page of the mapping.
        let place = unsafe { self.base.add(DATA_HEAD + number * 8) };
        // SAFETY: aligned, mapped as long as `self` lives, and the kernel too only uses it atomically.
        unsafe { AtomicU64::from_ptr(place.cast().as_ptr()) }
    }

    fn bytes(&self, from: u64, length: usize) -> Vec<u8> {
        let size = self.pages * PAGE;
        let byte = |at: usize| {
            // SAFETY: within the data pages of the mapping.
            let place = unsafe { self.base.add(PAGE + (from as usize + at) % size) };
            // SAFETY: mapped, and the kernel writes nothing there before it is told that this has been read.
            unsafe { place.read() }
        };
        (0..length).map(byte).collect()
    }

    fn drain(&mut self) -> Vec<Seen> {
        let mut seen = Vec::new();
        let head = self.word(0).load(Ordering::Acquire);
        while self.read < head {
            let header = self.bytes(self.read, 8);
            let kind = u32::from_ne_bytes(header[..4].try_into().expect("four bytes"));
            let misc = u16::from_ne_bytes(header[4..6].try_into().expect("two bytes"));
            let length = u16::from_ne_bytes(header[6..].try_into().expect("two bytes"));
            let body = self.bytes(self.read + 8, usize::from(length) - 8);
            let word = |at: usize| u32::from_ne_bytes(body[at..at + 4].try_into().expect("four bytes"));
            match kind {
                abi::PERF_RECORD_FORK => {
                    seen.push(Seen::Fork { child: word(0), parent: word(4), thread: word(8) })
                }
                abi::PERF_RECORD_EXIT => seen.push(Seen::Exit { process: word(0), thread: word(8) }),
                abi::PERF_RECORD_COMM if u32::from(misc) & abi::PERF_RECORD_MISC_COMM_EXEC != 0 => {
                    seen.push(Seen::Exec { process: word(0) });
                }
                abi::PERF_RECORD_LOST => seen.push(Seen::Lost { count: u64::from(word(8)) }),
                _ => {}
            }
            self.read += u64::from(length);
        }
        self.word(1).store(self.read, Ordering::Release);
        seen
    }

    fn lost(&self) -> u64 {
        let mut words = [0_u64; 2];
        // SAFETY: as many bytes as the array has.
        let length = unsafe { libc::read(self.fd.as_raw_fd(), words.as_mut_ptr().cast(), 16) };
        if length == 16 { words[1] } else { 0 }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: the mapping is this one's, and nothing refers to it any more.
        unsafe { libc::munmap(self.base.as_ptr().cast(), (self.pages + 1) * PAGE) };
    }
}

/// What polls ready within so many milliseconds.
pub(crate) fn poll(fd: &impl AsRawFd, millis: i32) -> i16 {
    let mut polled = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one entry, which lives as long as the call.
    let ready = unsafe { libc::poll(&raw mut polled, 1, millis) };
    if ready > 0 { polled.revents } else { 0 }
}

const CN_IDX_PROC: u32 = 1;
const LISTEN: u32 = 1;
/// Where the messages of the connector begin: netlink's header and the connector's.
const EVENT: usize = 16 + 20;

/// A socket of the process connector.
#[derive(Debug)]
pub(crate) struct Connector(OwnedFd);

impl Connector {
    pub(crate) fn open() -> io::Result<Self> {
        let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC;
        // SAFETY: takes integers.
        let fd = check(unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_CONNECTOR) })?;
        // SAFETY: the descriptor is new and nobody else's.
        let socket = Self(unsafe { OwnedFd::from_raw_fd(fd) });
        // SAFETY: plain numbers, for which zeros are valid.
        let mut address: libc::sockaddr_nl = unsafe { zeroed() };
        address.nl_family = libc::AF_NETLINK as u16;
        address.nl_groups = CN_IDX_PROC;
        let length = size_of_val(&address) as u32;
        // SAFETY: the address is of the length that is said.
        check(unsafe { libc::bind(socket.0.as_raw_fd(), (&raw const address).cast(), length) })?;
        Ok(socket)
    }

    /// Asks for all events, or for those of a mask only.
    pub(crate) fn listen(&self, mask: Option<u32>) -> io::Result<()> {
        let mut body = LISTEN.to_ne_bytes().to_vec();
        body.extend(mask.iter().flat_map(|mask| mask.to_ne_bytes()));
        let mut message = Vec::new();
        let length = (EVENT + body.len()) as u32;
        // SAFETY: takes nothing.
        let me = unsafe { libc::getpid() };
        message.extend(length.to_ne_bytes());
        message.extend((libc::NLMSG_DONE as u16).to_ne_bytes());
        message.extend(0_u16.to_ne_bytes());
        message.extend(0_u32.to_ne_bytes());
        message.extend(me.to_ne_bytes());
        [CN_IDX_PROC, 1, 77, 0].iter().for_each(|word: &u32| message.extend(word.to_ne_bytes()));
        message.extend((body.len() as u16).to_ne_bytes());
        message.extend(0_u16.to_ne_bytes());
        message.extend(body);
        // SAFETY: the pointer and the length are those of a slice.
        let sent = unsafe { libc::send(self.0.as_raw_fd(), message.as_ptr().cast(), message.len(), 0) };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// The next message: its number, its processor and what it is; none if none comes within so many milliseconds.
    pub(crate) fn next(&self, millis: i32) -> io::Result<Option<(u32, u32, u32)>> {
        if poll(&self.0, millis) == 0 {
            return Ok(None);
        }
        let mut bytes = [0_u8; 256];
        // SAFETY: the pointer and the length are those of a slice.
        let length = unsafe { libc::recv(self.0.as_raw_fd(), bytes.as_mut_ptr().cast(), bytes.len(), 0) };
        if length < 0 {
            return Err(io::Error::last_os_error());
        }
        let word = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        Ok(Some((word(24), word(EVENT + 4), word(EVENT))))
    }

    /// Asks for so many bytes of buffer, as anybody may.
    pub(crate) fn buffer(&self, bytes: i32) -> io::Result<()> {
        let length = size_of_val(&bytes) as u32;
        let place = (&raw const bytes).cast();
        // SAFETY: an integer of the length that is said.
        let set =
            unsafe { libc::setsockopt(self.0.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVBUF, place, length) };
        check(set).map(drop)
    }
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Whether a child can be reaped now; it remains.
pub(crate) fn waitable(pid: u32) -> bool {
    // SAFETY: all zeroes is a siginfo_t.
    let mut info: libc::siginfo_t = unsafe { zeroed() };
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: `info` is to be written.
    let result = unsafe { libc::waitid(libc::P_PID, pid, &raw mut info, flags) };
    // SAFETY: the call filled it in, or left it zero.
    result == 0 && unsafe { info.si_pid() } != 0
}

/// Whether this program is root.
pub(crate) fn is_root() -> bool {
    // SAFETY: takes nothing.
    unsafe { libc::geteuid() == 0 }
}
