//! The rings of all processors, read in causal order (K12).

use std::io;

use super::event::{Event, Purpose};
use super::record::{self, Record, Twins, What};
use super::ring::Ring;
use crate::source::order::DoubleSnapshot;

/// One ring a processor.
#[derive(Debug)]
pub(super) struct Rings {
    rings: Vec<(Ring, Twins)>,
    order: DoubleSnapshot<Record>,
    second: Vec<(u64, Record)>,
    /// How far each is written, by the two looks: kept for its memory.
    heads: [Vec<u64>; 2],
}

/// What a reading came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Read {
    /// Records are held back, whose causes another reading brings.
    pub(super) held: bool,
    /// Records may have found no room.
    pub(super) overrun: bool,
    /// As many say the records that tell of it.
    pub(super) lost: u64,
}

/// Why there are no rings.
#[derive(Debug)]
pub(super) enum OpenError {
    /// No event could be opened.
    Event(io::Error),
    /// It could, and there was no memory for a ring of it.
    Memory(io::Error),
}

impl Rings {
    /// Owned by the calling thread, of `pages` pages each, or of as many as are permitted if that is fewer.
    ///
    /// # Errors
    /// Perf events are not permitted, or not even the smallest rings.
    pub(super) fn open(cpus: &[u32], wanted: usize, fewer: bool) -> Result<(Self, usize), OpenError> {
        let mut pages = wanted;
        loop {
            match Self::map(cpus, pages) {
                Err(OpenError::Memory(error))
                    if fewer && error.raw_os_error() == Some(libc::EPERM) && pages > SMALLEST =>
                {
                    pages /= 2
                }
                rings => return Ok((rings?, pages)),
            }
        }
    }

    fn map(cpus: &[u32], pages: usize) -> Result<Self, OpenError> {
        let mut rings = Vec::new();
        for &cpu in cpus {
            match Event::open(Purpose::Ring, 0, cpu) {
                Ok(owner) => {
                    let ring = Ring::map(owner, cpu, pages).map_err(OpenError::Memory)?;
                    rings.push((ring, Twins::default()));
                }
                // It is offline: nothing happens there.
                Err(error) if error.raw_os_error() == Some(libc::ENODEV) => {}
                Err(error) => return Err(OpenError::Event(error)),
            }
        }
        Ok(Self { rings, order: DoubleSnapshot::new(), second: Vec::new(), heads: [Vec::new(), Vec::new()] })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Ring> {
        self.rings.iter().map(|(ring, _)| ring)
    }

    /// Follows a thread, 0 for the calling one: an event on each processor.
    pub(super) fn follow(&self, thread: u32) -> io::Result<Vec<Event>> {
        let follow = |ring: &Ring| {
            let event = Event::open(Purpose::Follow, thread, ring.cpu())?;
            event.write_to(ring.owner())?;
            Ok(event)
        };
        self.iter().map(follow).collect()
    }

    /// Appends what was written and may be released: two looks at how far all rings are written, back to back, and then all
    /// is read up to there.
    pub(super) fn read(&mut self, out: &mut Vec<Record>) -> Read {
        let Self { rings, order, second: later, heads } = self;
        for heads in heads.iter_mut() {
            heads.clear();
            heads.extend(rings.iter().map(|(ring, _)| ring.head()));
        }
        let [first, second] = heads;
        let mut read = Read::default();
        for (index, (ring, twins)) in rings.iter_mut().enumerate() {
            let tail = ring.tail();
            let mut take = |bytes: &[u8], into: &mut Vec<(u64, Record)>| {
                let Some(record) = record::parse(bytes) else { return };
                match record.what {
                    What::Lost { count } => read.lost += count,
                    What::Other => {}
                    _ if twins.is_new(&record) => into.push((record.time, record)),
                    _ => {}
                }
            };
            ring.read(first[index], |bytes| take(bytes, order.first()));
            ring.read(second[index], |bytes| take(bytes, later));
            // Now that there is room again: what came while this was reading may have found none.
            read.overrun |= ring.was_full(tail);
        }
        read.overrun |= read.lost > 0;
        read.held = order.release(later, out);
        read
    }
}

/// Pages: more than 80 records.
const SMALLEST: usize = 1;
