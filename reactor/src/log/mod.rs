//! The log of one tracked tree: what happened in it, bounded in bytes, read by any number of cursors.

mod cursor;

use std::collections::VecDeque;

use slab::Slab;

use crate::event::EventKind;
use crate::source::Loss;
use crate::{Event, ProcId};

use cursor::Cursor;
pub(crate) use cursor::CursorKey;

/// The events of one tracked tree, from the oldest that some reader still has to read. Numbered from 0; `first`
/// is the number of the oldest kept.
#[derive(Debug)]
pub(crate) struct Log {
    events: VecDeque<Event>,
    first: u64,
    bytes: usize,
    limit: usize,
    closed: bool,
    /// The losses among the events that some reader has not read, kept or dropped.
    losses: VecDeque<(u64, Loss)>,
    /// Why the log was closed, if not because all have ended: told to every reader, whatever else it missed.
    failure: Option<Event>,
    cursors: Slab<Cursor>,
}

/// What a reader finds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// Events were handed out.
    Events,
    /// Nothing now.
    Empty,
    /// Events were dropped before this reader came to them. Its place is now the end of the log.
    Gap {
        /// How many events.
        count: u64,
        /// What the losses among them come to.
        lost: Option<Loss>,
    },
    /// Nothing now, and nothing will come.
    End,
}

impl Log {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            events: VecDeque::new(),
            first: 0,
            bytes: 0,
            limit,
            closed: false,
            losses: VecDeque::new(),
            failure: None,
            cursors: Slab::new(),
        }
    }

    fn end(&self) -> u64 {
        self.first + self.events.len() as u64
    }

    /// Appends; where the limit is passed, the oldest go first, read or not.
    pub(crate) fn push(&mut self, event: Event) {
        self.bytes += weight(&event);
        if let EventKind::Lost { count, exact } = event.kind {
            self.losses.push_back((self.end(), Loss { count, exact }));
            self.merge_losses();
        }
        self.events.push_back(event);
        while self.bytes > self.limit && !self.events.is_empty() {
            self.drop_first();
        }
    }

    /// Keeps some of the events, of a log that nobody reads yet.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&Event) -> bool) {
        debug_assert!(self.cursors.is_empty());
        let Self { events, bytes, losses, first, .. } = self;
        let (mut number, mut dropped) = (*first, Vec::new());
        events.retain(|event| {
            let kept = keep(event);
            if !kept {
                *bytes -= weight(event);
                dropped.push(number);
            }
            number += 1;
            kept
        });
        for (number, _) in losses {
            *number -= dropped.partition_point(|other| *other < *number) as u64;
        }
    }

    /// Events about `old` are about `new`.
    pub(crate) fn rename(&mut self, old: ProcId, new: ProcId) {
        let events = self.events.iter_mut().chain(&mut self.failure);
        events.filter(|event| event.id == old).for_each(|event| event.id = new);
    }

    pub(crate) fn close(&mut self) {
        self.closed = true;
    }

    /// Ends the log with a last event.
    pub(crate) fn fail(&mut self, failure: Event) {
        if !self.closed {
            self.failure = Some(failure);
            self.closed = true;
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    /// A reader at the beginning; what has been dropped already is a gap to it.
    pub(crate) fn subscribe(&mut self) -> CursorKey {
        CursorKey(self.cursors.insert(Cursor::at(0)))
    }

    /// A reader of what comes from now on.
    pub(crate) fn subscribe_at_end(&mut self) -> CursorKey {
        CursorKey(self.cursors.insert(Cursor::at(self.end())))
    }

    /// A reader at the place of another.
    pub(crate) fn subscribe_like(&mut self, other: CursorKey) -> CursorKey {
        let cursor = self.cursors[other.0];
        CursorKey(self.cursors.insert(cursor))
    }

    pub(crate) fn unsubscribe(&mut self, key: CursorKey) {
        self.cursors.remove(key.0);
        self.trim();
    }

    pub(crate) fn readers(&self) -> usize {
        self.cursors.len()
    }

    /// Hands up to `most` events to a reader.
    pub(crate) fn read(&mut self, key: CursorKey, out: &mut VecDeque<Event>, most: usize) -> Read {
        let end = self.end();
        let cursor = &mut self.cursors[key.0];
        if cursor.next < self.first {
            let count = end - cursor.next;
            let missed = self.losses.iter().filter(|(number, _)| *number >= cursor.next);
            let lost = missed.map(|(_, loss)| *loss).reduce(plus);
            cursor.next = end;
            self.trim();
            return Read::Gap { count, lost };
        }
        if cursor.next == end {
            if let Some(failure) = self.failure.as_ref().filter(|_| !cursor.knows_failure) {
                cursor.knows_failure = true;
                out.push_back(failure.clone());
                return Read::Events;
            }
            return if self.closed { Read::End } else { Read::Empty };
        }
        let from = usize::try_from(cursor.next - self.first).expect("an index into what is kept");
        let count = most.min(self.events.len() - from);
        cursor.next += count as u64;
        if from == 0 && self.cursors.len() == 1 {
            for event in self.events.drain(..count) {
                self.bytes -= weight(&event);
                out.push_back(event);
            }
            self.first += count as u64;
            self.trim_losses();
        } else {
            out.extend(self.events.range(from..from + count).cloned());
            self.trim();
        }
        Read::Events
    }

    /// Drops what every reader has read; all, if there is none.
    pub(crate) fn trim(&mut self) {
        let needed = self.needed();
        while self.first < needed && !self.events.is_empty() {
            self.drop_first();
        }
        self.trim_losses();
    }

    fn trim_losses(&mut self) {
        if !self.losses.is_empty() {
            let needed = self.needed();
            self.losses.retain(|(number, _)| *number >= needed);
        }
    }

    /// Two losses whose events are gone, and that no reader's place lies between, are as good as one.
    fn merge_losses(&mut self) {
        let [Some(&(older, sum)), Some(&(newer, loss))] = [self.losses.front(), self.losses.get(1)] else {
            return;
        };
        let between = |cursor: &Cursor| older < cursor.next && cursor.next <= newer;
        if newer < self.first && !self.cursors.iter().any(|(_, cursor)| between(cursor)) {
            self.losses.pop_front();
            self.losses[0].1 = plus(sum, loss);
        }
    }

    /// The number of the first event that some reader has not read.
    fn needed(&self) -> u64 {
        self.cursors.iter().map(|(_, cursor)| cursor.next).min().unwrap_or(self.end())
    }

    fn drop_first(&mut self) {
        if let Some(event) = self.events.pop_front() {
            self.bytes -= weight(&event);
            self.first += 1;
        }
    }
}

fn plus(sum: Loss, loss: Loss) -> Loss {
    Loss { count: sum.count + loss.count, exact: sum.exact && loss.exact }
}

fn weight(event: &Event) -> usize {
    size_of::<Event>()
        + match &event.kind {
            EventKind::Exec { metadata } | EventKind::Found { metadata } => metadata.weight(),
            _ => 0,
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ExitStatus;
    use crate::event::Time;

    fn exit(birth: u64) -> Event {
        Event {
            id: ProcId::new(1, birth),
            parent: None,
            time: Time::new(0, 0),
            kind: EventKind::Exit { status: ExitStatus::Code(0) },
        }
    }

    fn births(out: &mut VecDeque<Event>) -> Vec<u64> {
        out.drain(..).map(|event| event.id.birth()).collect()
    }

    #[test]
    fn readers_have_places_of_their_own() {
        let mut log = Log::new(usize::MAX);
        let a = log.subscribe();
        for birth in 0..3 {
            log.push(exit(birth));
        }
        let mut out = VecDeque::new();
        assert_eq!(log.read(a, &mut out, 2), Read::Events);
        assert_eq!(births(&mut out), [0, 1]);
        let b = log.subscribe_like(a);
        assert_eq!(log.read(a, &mut out, 9), Read::Events);
        assert_eq!(births(&mut out), [2]);
        assert_eq!(log.events.len(), 1, "kept for the other");
        assert_eq!(log.read(b, &mut out, 9), Read::Events);
        assert_eq!(births(&mut out), [2]);
        assert_eq!((log.events.len(), log.bytes), (0, 0));
        assert_eq!(log.read(b, &mut out, 9), Read::Empty);
        log.close();
        assert_eq!(log.read(b, &mut out, 9), Read::End);
    }

    #[test]
    fn the_slow_reader_gets_the_number_it_missed() {
        let mut log = Log::new(2 * size_of::<Event>());
        let slow = log.subscribe();
        for birth in 0..5 {
            log.push(exit(birth));
        }
        let mut out = VecDeque::new();
        let gap = Read::Gap { count: 5, lost: None };
        assert_eq!(log.read(slow, &mut out, 9), gap, "a snapshot stands for all up to now");
        assert_eq!(log.read(slow, &mut out, 9), Read::Empty);
        log.push(exit(5));
        assert_eq!(log.read(slow, &mut out, 9), Read::Events);
        assert_eq!(births(&mut out), [5]);
    }

    #[test]
    fn k8_a_gap_tells_the_losses_in_it() {
        let mut log = Log::new(2 * size_of::<Event>());
        let (slow, fast) = (log.subscribe(), log.subscribe());
        let mut out = VecDeque::new();
        let lose = |log: &mut Log, count, exact| {
            log.push(Event { kind: EventKind::Lost { count, exact }, ..exit(0) });
            assert_eq!(log.read(fast, &mut VecDeque::new(), 9), Read::Events);
        };
        lose(&mut log, 3, true);
        assert_eq!(log.read(slow, &mut VecDeque::new(), 9), Read::Events);
        lose(&mut log, 4, true);
        lose(&mut log, 5, false);
        log.push(exit(1));
        log.push(exit(2));
        let lost = Some(Loss { count: 9, exact: false });
        assert_eq!(log.read(slow, &mut out, 9), Read::Gap { count: 4, lost });
        assert!(log.losses.is_empty());
        for birth in 3..8 {
            log.push(exit(birth));
        }
        assert_eq!(log.read(slow, &mut out, 9), Read::Gap { count: 5, lost: None });
        assert!(matches!(log.read(fast, &mut out, 9), Read::Gap { .. }));
        for count in 1..=100 {
            lose(&mut log, count, true);
        }
        assert!(log.losses.len() <= 4, "merged: {}", log.losses.len());
        assert_eq!(
            log.read(slow, &mut out, 9),
            Read::Gap { count: 100, lost: Some(Loss { count: 5050, exact: true }) }
        );
    }

    #[test]
    fn nothing_is_kept_for_nobody() {
        let mut log = Log::new(usize::MAX);
        let a = log.subscribe();
        log.push(exit(0));
        log.unsubscribe(a);
        assert_eq!((log.events.len(), log.bytes, log.readers()), (0, 0, 0));
    }
}
