//! How much memory the calling thread has.
#![expect(unsafe_code, reason = "an allocator")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ops::Sub;

/// As asked for: what the allocator adds to a block is not in it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    pub(crate) bytes: i64,
    pub(crate) blocks: i64,
}

impl Sub for Memory {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self { bytes: self.bytes - other.bytes, blocks: self.blocks - other.blocks }
    }
}

thread_local! {
    static MEMORY: Cell<Memory> = const { Cell::new(Memory { bytes: 0, blocks: 0 }) };
}

/// What the calling thread allocated and has not given back; meaningful as a difference.
pub(crate) fn now() -> Memory {
    MEMORY.get()
}

fn add(bytes: i64, blocks: i64) {
    let Memory { bytes: had, blocks: had_blocks } = MEMORY.get();
    MEMORY.set(Memory { bytes: had + bytes, blocks: had_blocks + blocks });
}

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

// SAFETY: everything is the system allocator's; counting neither allocates nor panics, as the counter is a constant at
// its thread's start and has no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size() as i64, 1);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        add(-(layout.size() as i64), -1);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        add(size as i64 - layout.size() as i64, 0);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(block, layout, size) }
    }
}
