//! The ring of one processor, into which the kernel writes records and from which we read them, in memory that both have.
#![expect(unsafe_code, reason = "memory that is shared with the kernel")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use perf_event_open_sys::bindings::perf_event_mmap_page;

use super::event::Event;

/// The longest record that is written here: a renaming, with 16 bytes of name.
const LONGEST: u64 = 64;

/// A ring and the event that owns it.
#[derive(Debug)]
pub(super) struct Ring {
    owner: Event,
    cpu: u32,
    base: NonNull<u8>,
    page: usize,
    data: usize,
    /// Up to where it has been read.
    tail: u64,
    /// What does not lie in one piece is put together here.
    piece: Vec<u8>,
}

// SAFETY: the memory is mapped for the whole process, and reached through this only.
unsafe impl Send for Ring {}

impl Ring {
    /// Maps a ring of `pages` pages, a power of two, for `owner`, which is on processor `cpu`.
    ///
    /// # Errors
    /// `EPERM`: more memory than may be locked.
    pub(super) fn map(owner: Event, cpu: u32, pages: usize) -> io::Result<Self> {
        // SAFETY: takes a name by value.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
        let data = pages * page;
        let (access, fd) = (libc::PROT_READ | libc::PROT_WRITE, owner.as_fd().as_raw_fd());
        // SAFETY: a new mapping, where the system chooses.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), page + data, access, libc::MAP_SHARED, fd, 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).expect("nothing is mapped at 0");
        Ok(Self { owner, cpu, base, page, data, tail: 0, piece: Vec::new() })
    }

    pub(super) fn owner(&self) -> &Event {
        &self.owner
    }

    pub(super) fn cpu(&self) -> u32 {
        self.cpu
    }

    fn word(&self, offset: usize) -> &AtomicU64 {
        debug_assert!(offset + 8 <= self.page && offset % 8 == 0);
        // SAFETY: within the first page.
        let word = unsafe { self.base.as_ptr().add(offset) };
        // SAFETY: aligned, mapped as long as `self` lives, and written by the kernel as a whole.
        unsafe { AtomicU64::from_ptr(word.cast()) }
    }

    /// Up to where the kernel has written. What lies before may be read.
    pub(super) fn head(&self) -> u64 {
        self.word(std::mem::offset_of!(perf_event_mmap_page, data_head)).load(Ordering::Acquire)
    }

    /// Up to where it has been read.
    pub(super) fn tail(&self) -> u64 {
        self.tail
    }

    /// Whether a record may have found no room since it was read up to `tail` only.
    pub(super) fn was_full(&self, tail: u64) -> bool {
        self.head().wrapping_sub(tail) + LONGEST > self.data as u64
    }

    /// What the kernel has written, from `at` on: between tail and head, where it writes no more.
    fn bytes(&self, at: usize, length: usize) -> &[u8] {
        debug_assert!(at + length <= self.data);
        // SAFETY: behind the first page lie `data` bytes.
        let begin = unsafe { self.base.as_ptr().add(self.page + at) };
        // SAFETY: the kernel does not write these while the tail is not moved past them.
        unsafe { std::slice::from_raw_parts(begin, length) }
    }

    /// Hands the bytes of each record up to `head` to `take`, and gives the room back.
    pub(super) fn read(&mut self, head: u64, mut take: impl FnMut(&[u8])) {
        let size = self.data as u64;
        while self.tail < head {
            let at = (self.tail % size) as usize;
            // Records are multiples of eight bytes long, so that the first eight are in one piece.
            let begin = self.bytes(at, 8);
            let length = usize::from(u16::from_ne_bytes([begin[6], begin[7]]));
            if length < 8 || length % 8 != 0 || length as u64 > head - self.tail {
                // Not what the kernel promises. Nothing can be made of the rest.
                tracing::error!(length, "a perf ring is not as perf_event_open(2) says");
                self.tail = head;
                break;
            }
            let first = length.min(self.data - at);
            if first == length {
                take(self.bytes(at, length));
            } else {
                let mut whole = std::mem::take(&mut self.piece);
                whole.clear();
                whole.extend_from_slice(self.bytes(at, first));
                whole.extend_from_slice(self.bytes(0, length - first));
                take(&whole);
                self.piece = whole;
            }
            self.tail += length as u64;
        }
        self.word(std::mem::offset_of!(perf_event_mmap_page, data_tail)).store(self.tail, Ordering::Release);
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: what was mapped, and nothing refers to it any more.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.page + self.data) };
    }
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.owner.as_fd()
    }
}
