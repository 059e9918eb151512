//! The least that watching can be: a reader of the process connector's socket that decodes, counts, and does nothing
//! else. What a watcher adds to it is the watcher's own.
#![expect(unsafe_code, reason = "sockets of a family that the standard library does not know")]

use std::io;
use std::mem::zeroed;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

const NLMSG_DONE: u16 = 3;
/// The connector of processes, and the bit of its group.
const CN_IDX_PROC: u32 = 1;
const RECORD: usize = 36;
const LISTEN: u32 = 1;
const IGNORE: u32 = 2;
/// As much as the watcher under test asks for.
const BUFFER: libc::c_int = 32 << 20;
const DATAGRAM: usize = 128;
const BATCH: usize = 64;

/// What came, by kind, on the whole machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Births of processes.
    pub forks: u64,
    /// Births of threads.
    pub threads: u64,
    /// New programs.
    pub execs: u64,
    /// Ends of processes and threads.
    pub exits: u64,
    /// Everything else.
    pub others: u64,
}

impl Counts {
    /// Births, new programs and ends.
    pub fn changes(&self) -> u64 {
        self.forks + self.threads + self.execs + self.exits
    }

    fn add(&mut self, bytes: &[u8]) {
        let word = |at: usize| {
            bytes.get(at..at + 4).map(|word| u32::from_ne_bytes(word.try_into().expect("4 bytes")))
        };
        if word(16) != Some(CN_IDX_PROC) {
            return;
        }
        match word(RECORD) {
            Some(1) if word(RECORD + 24) == word(RECORD + 28) => self.forks += 1,
            Some(1) => self.threads += 1,
            Some(2) => self.execs += 1,
            Some(0x8000_0000) => self.exits += 1,
            _ => self.others += 1,
        }
    }
}

/// A socket that listens. Blocks.
#[derive(Debug)]
pub struct Listener {
    fd: OwnedFd,
}

impl Listener {
    /// Opens it, as large as permitted.
    ///
    /// # Errors
    /// The connector is not to be had here.
    pub fn open() -> io::Result<Self> {
        let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC;
        // SAFETY: takes integers, gives a descriptor or -1.
        let fd = check(unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_CONNECTOR) })?;
        // SAFETY: the descriptor is new and nobody else's.
        let socket = Self { fd: unsafe { OwnedFd::from_raw_fd(fd) } };
        socket.size(libc::SO_RCVBUFFORCE).or_else(|_| socket.size(libc::SO_RCVBUF))?;
        socket.bind()?;
        socket.say(LISTEN)?;
        Ok(socket)
    }

    fn size(&self, option: libc::c_int) -> io::Result<()> {
        let wanted = BUFFER;
        let length = size_of::<libc::c_int>() as libc::socklen_t;
        // SAFETY: the length is that of the value, which is only read.
        let set = unsafe {
            libc::setsockopt(
                self.fd.as_raw_fd(),
                libc::SOL_SOCKET,
                option,
                (&raw const wanted).cast(),
                length,
            )
        };
        check(set).map(drop)
    }

    fn bind(&self) -> io::Result<()> {
        // SAFETY: an all-zero sockaddr_nl is a valid value: integers.
        let mut address: libc::sockaddr_nl = unsafe { zeroed() };
        address.nl_family = libc::AF_NETLINK as libc::sa_family_t;
        address.nl_groups = CN_IDX_PROC;
        let length = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
        // SAFETY: the length is that of the address.
        check(unsafe { libc::bind(self.fd.as_raw_fd(), (&raw const address).cast(), length) }).map(drop)
    }

    fn say(&self, what: u32) -> io::Result<()> {
        let mut message = [0_u8; RECORD + 4];
        let length = message.len() as u32;
        message[..4].copy_from_slice(&length.to_ne_bytes());
        message[4..6].copy_from_slice(&NLMSG_DONE.to_ne_bytes());
        message[16..20].copy_from_slice(&CN_IDX_PROC.to_ne_bytes());
        message[20..24].copy_from_slice(&1_u32.to_ne_bytes());
        message[32..34].copy_from_slice(&4_u16.to_ne_bytes());
        message[36..].copy_from_slice(&what.to_ne_bytes());
        // SAFETY: the length is that of the buffer.
        let sent = unsafe { libc::send(self.fd.as_raw_fd(), message.as_ptr().cast(), message.len(), 0) };
        if sent == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Waits for a message and counts it.
    ///
    /// # Errors
    /// `Interrupted`, or ENOBUFS: messages were lost.
    pub fn receive(&self, counts: &mut Counts) -> io::Result<()> {
        let mut buffer = [0_u8; DATAGRAM];
        // SAFETY: the length is that of the buffer.
        let got = unsafe { libc::recv(self.fd.as_raw_fd(), buffer.as_mut_ptr().cast(), DATAGRAM, 0) };
        let got = usize::try_from(got).map_err(|_| io::Error::last_os_error())?;
        counts.add(&buffer[..got]);
        Ok(())
    }

    /// Registers it with the tokio runtime that this is called in, to be read without waiting from then on.
    ///
    /// # Errors
    /// The runtime cannot wait for descriptors.
    pub fn in_tokio(self) -> io::Result<AsyncFd<Self>> {
        // SAFETY: a listener gives the same open descriptor for as long as it lives, and the AsyncFd owns it.
        let registered = unsafe { AsyncFd::register_with_interest(self, Interest::READABLE) };
        registered.map_err(io::Error::from)
    }

    /// Waits for a message, if `wait`, and counts it and whatever has come besides, up to 64.
    ///
    /// # Errors
    /// As [`receive`](Self::receive); `WouldBlock` if not to wait and there is none.
    pub fn receive_many(&self, counts: &mut Counts, wait: bool) -> io::Result<()> {
        let mut buffers = [[0_u8; DATAGRAM]; BATCH];
        // SAFETY: an all-zero mmsghdr is a valid value: integers and null pointers.
        let mut headers: [libc::mmsghdr; BATCH] = unsafe { zeroed() };
        let mut vectors = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: DATAGRAM }; BATCH];
        for ((header, vector), buffer) in headers.iter_mut().zip(&mut vectors).zip(&mut buffers) {
            vector.iov_base = buffer.as_mut_ptr().cast();
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
        }
        let flags = if wait { libc::MSG_WAITFORONE } else { libc::MSG_DONTWAIT };
        // SAFETY: each header points at one vector, each vector at a buffer of its length; all outlive the call. No
        // time-out.
        let got = unsafe {
            libc::recvmmsg(
                self.fd.as_raw_fd(),
                headers.as_mut_ptr(),
                BATCH as libc::c_uint,
                flags as _,
                std::ptr::null_mut(),
            )
        };
        let got = usize::try_from(got).map_err(|_| io::Error::last_os_error())?;
        for (header, buffer) in headers.iter().zip(&buffers).take(got) {
            counts.add(&buffer[..(header.msg_len as usize).min(DATAGRAM)]);
        }
        Ok(())
    }
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl Drop for Listener {
    /// The kernel counts who asked to listen and not whose socket is open: without this it would go on making records.
    fn drop(&mut self) {
        if let Err(error) = self.say(IGNORE) {
            eprintln!("the kernel was not told that nobody listens any more: {error}");
        }
    }
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
