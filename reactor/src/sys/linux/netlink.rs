//! A netlink socket of the kernel connector, and nothing of what is said over it.
#![expect(unsafe_code, reason = "sockets of a family that the standard library does not know")]

use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::message::SEQUENCE;

/// Datagrams taken with one system call where there are many.
const BATCH: usize = 64;
/// Longer than any message that we read; a longer one is cut and then refused by the parser.
const DATAGRAM: usize = 128;
/// The multicast group of process records, and its bit in an address.
const CN_IDX_PROC: u32 = 1;

/// A non-blocking socket that is bound to the group of process records.
#[derive(Debug)]
pub(super) struct Socket {
    fd: OwnedFd,
    /// The kernel counts listeners by what they ask, not by their sockets, and while it counts one it makes a record
    /// of every event of the machine.
    farewell: Option<Vec<u8>>,
}

/// Where datagrams are received: one buffer a datagram, kept between calls.
pub(super) struct Mailbox {
    buffers: Box<[[u8; DATAGRAM]; BATCH]>,
    senders: Box<[libc::sockaddr_nl; BATCH]>,
}

impl std::fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mailbox").finish_non_exhaustive()
    }
}

impl Mailbox {
    pub(super) fn new() -> Self {
        Self { buffers: Box::new([[0; DATAGRAM]; BATCH]), senders: Box::new([no_address(); BATCH]) }
    }
}

fn no_address() -> libc::sockaddr_nl {
    // SAFETY: an all-zero sockaddr_nl is a valid value: it has only integer fields.
    unsafe { zeroed() }
}

/// A non-blocking socket of generic netlink, which reads and writes like a file, with this receive buffer as far as it is granted.
pub(super) fn generic(receive_buffer: usize) -> io::Result<OwnedFd> {
    let socket = Socket::of_protocol(libc::NETLINK_GENERIC)?;
    socket.force_receive_buffer(receive_buffer).or_else(|_| socket.set_receive_buffer(receive_buffer))?;
    socket.fd.try_clone()
}

impl Socket {
    pub(super) fn open() -> io::Result<Self> {
        Self::of_protocol(libc::NETLINK_CONNECTOR)
    }

    fn of_protocol(protocol: libc::c_int) -> io::Result<Self> {
        let kind = libc::SOCK_DGRAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: takes integers, gives a descriptor or -1.
        let fd = unsafe { libc::socket(libc::AF_NETLINK, kind, protocol) };
        let fd = check(fd)?;
        // SAFETY: the descriptor is new and nobody else's.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { fd, farewell: None })
    }

    /// One whose datagrams are what somebody writes at the other end of `fd`.
    #[cfg(any(test, fuzzing))]
    pub(super) fn of(fd: OwnedFd) -> Self {
        Self { fd, farewell: None }
    }

    /// What is sent before the socket is closed.
    pub(super) fn say_when_dropped(&mut self, farewell: Vec<u8>) {
        self.farewell = Some(farewell);
    }

    /// Joins the group. Separate from opening, as it is the first step that a namespace or an old kernel refuses.
    pub(super) fn bind(&self) -> io::Result<()> {
        let mut address = no_address();
        address.nl_family = libc::AF_NETLINK as libc::sa_family_t;
        address.nl_groups = CN_IDX_PROC;
        let length = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
        // SAFETY: the length is that of the address.
        let bound = unsafe { libc::bind(self.fd.as_raw_fd(), (&raw const address).cast(), length) };
        check(bound).map(drop)
    }

    pub(super) fn send(&self, bytes: &[u8]) -> io::Result<()> {
        // SAFETY: the length is that of the buffer. A netlink socket without a peer sends to the kernel.
        let sent = unsafe { libc::send(self.fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0) };
        if usize::try_from(sent) == Ok(bytes.len()) { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Sends to everybody in the group of process records, as only the kernel ought to.
    #[cfg(test)]
    pub(super) fn forge(&self, bytes: &[u8]) -> io::Result<()> {
        let mut address = no_address();
        address.nl_family = libc::AF_NETLINK as libc::sa_family_t;
        address.nl_groups = CN_IDX_PROC;
        let length = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
        // SAFETY: the lengths are those of the buffer and of the address, which are only read.
        let sent = unsafe {
            let address = (&raw const address).cast();
            libc::sendto(self.fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0, address, length)
        };
        if usize::try_from(sent) == Ok(bytes.len()) { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Asks for a receive buffer as anybody may; the kernel caps it at net.core.rmem_max and doubles it.
    pub(super) fn set_receive_buffer(&self, bytes: usize) -> io::Result<()> {
        self.set_option(libc::SO_RCVBUF, &clamp(bytes))
    }

    /// The same beyond the cap, which takes CAP_NET_ADMIN.
    pub(super) fn force_receive_buffer(&self, bytes: usize) -> io::Result<()> {
        self.set_option(libc::SO_RCVBUFFORCE, &clamp(bytes))
    }

    /// What the kernel has granted, its doubling included.
    pub(super) fn receive_buffer(&self) -> io::Result<usize> {
        let mut value: libc::c_int = 0;
        let mut length = size_of::<libc::c_int>() as libc::socklen_t;
        // SAFETY: value and length are those of an int.
        let got = unsafe {
            libc::getsockopt(
                self.fd.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_RCVBUF,
                (&raw mut value).cast(),
                &raw mut length,
            )
        };
        check(got)?;
        Ok(usize::try_from(value).unwrap_or(0))
    }

    /// From now on receives only messages whose sequence number is `shard` modulo `shards`, a power of two. Decided by
    /// the kernel before they take up buffer.
    pub(super) fn keep_shard(&self, shard: u8, shards: u8) -> io::Result<()> {
        // The sequence number's least significant byte, in memory order.
        let low = if cfg!(target_endian = "little") { SEQUENCE } else { SEQUENCE + 3 };
        let statement =
            |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter { code: code as u16, jt, jf, k };
        let mut program = [
            statement(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, 0, low),
            statement(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, 0, 0, u32::from(shards - 1)),
            statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, u32::from(shard)),
            statement(libc::BPF_RET | libc::BPF_K, 0, 0, u32::MAX),
            statement(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
        ];
        let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
        self.set_option(libc::SO_ATTACH_FILTER, &program)
    }

    fn set_option<T>(&self, name: libc::c_int, value: &T) -> io::Result<()> {
        let length = size_of::<T>() as libc::socklen_t;
        // SAFETY: the length is that of the value, which the kernel only reads; a filter's pointer is to an array
        // that outlives the call.
        let set = unsafe {
            libc::setsockopt(self.fd.as_raw_fd(), libc::SOL_SOCKET, name, (&raw const *value).cast(), length)
        };
        check(set).map(drop)
    }

    /// Receives the next datagram and hands it to `take` if it is the kernel's.
    ///
    /// # Errors
    /// `WouldBlock` if nothing is queued. `ENOBUFS` once for each time that the buffer was full; what was queued
    /// before comes after the error.
    pub(super) fn receive_one(&self, mailbox: &mut Mailbox, take: impl FnOnce(&[u8])) -> io::Result<()> {
        let buffer = &mut mailbox.buffers[0];
        let mut sender = no_address();
        let mut length = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
        // SAFETY: the lengths are those of the buffer and of the address, and nothing else has them meanwhile.
        let received = unsafe {
            libc::recvfrom(
                self.fd.as_raw_fd(),
                buffer.as_mut_ptr().cast(),
                DATAGRAM,
                libc::MSG_DONTWAIT,
                (&raw mut sender).cast(),
                &raw mut length,
            )
        };
        let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
        if is_kernel(&sender) {
            take(&buffer[..received.min(DATAGRAM)]);
        }
        Ok(())
    }

    /// The same for up to one mailbox full with one system call, whose preparation costs as much as some. Returns how
    /// many it received; fewer than a mailbox holds does not mean that there are no more.
    ///
    /// # Errors
    /// As [`receive_one`](Self::receive_one).
    pub(super) fn receive_many(
        &self,
        mailbox: &mut Mailbox,
        mut take: impl FnMut(&[u8]),
    ) -> io::Result<usize> {
        // SAFETY: an all-zero mmsghdr is a valid value: integers and null pointers.
        let mut headers: [libc::mmsghdr; BATCH] = unsafe { zeroed() };
        let mut vectors = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; BATCH];
        let slots = headers
            .iter_mut()
            .zip(&mut vectors)
            .zip(mailbox.buffers.iter_mut().zip(mailbox.senders.iter_mut()));
        for ((header, vector), (buffer, sender)) in slots {
            vector.iov_base = buffer.as_mut_ptr().cast();
            vector.iov_len = DATAGRAM;
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_name = (&raw mut *sender).cast();
            header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
        }
        // SAFETY: each header points at one vector and one address, each vector at a buffer of its length; all outlive
        // the call, and nothing else has them meanwhile. No time-out.
        let received = unsafe {
            libc::recvmmsg(
                self.fd.as_raw_fd(),
                headers.as_mut_ptr(),
                BATCH as libc::c_uint,
                libc::MSG_DONTWAIT as _,
                std::ptr::null_mut(),
            )
        };
        let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
        for ((header, buffer), sender) in
            headers.iter().zip(mailbox.buffers.iter()).zip(mailbox.senders.iter()).take(received)
        {
            if is_kernel(sender) {
                take(&buffer[..(header.msg_len as usize).min(DATAGRAM)]);
            }
        }
        Ok(received)
    }
}

/// Anybody may send to a netlink socket. The kernel's own address is 0.
fn is_kernel(sender: &libc::sockaddr_nl) -> bool {
    sender.nl_pid == 0
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Some(farewell) = self.farewell.take() {
            if let Err(error) = self.send(&farewell) {
                tracing::debug!(%error, "the kernel was not told that nobody listens any more");
            }
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// One descriptor that polls readable when any of several sockets does: an epoll that nobody waits on.
#[derive(Debug)]
pub(super) struct Gate {
    fd: OwnedFd,
}

impl Gate {
    pub(super) fn over(sockets: &[Socket]) -> io::Result<Self> {
        // SAFETY: takes a flag, gives a descriptor or -1.
        let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: the descriptor is new and nobody else's.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        for socket in sockets {
            let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: 0 };
            let socket = socket.fd.as_raw_fd();
            // SAFETY: both descriptors are open, the event is only read.
            let added =
                unsafe { libc::epoll_ctl(fd.as_raw_fd(), libc::EPOLL_CTL_ADD, socket, &raw mut event) };
            check(added)?;
        }
        Ok(Self { fd })
    }
}

impl AsFd for Gate {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn clamp(bytes: usize) -> libc::c_int {
    libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX)
}
