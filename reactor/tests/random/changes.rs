//! Two queues over one scripted machine, that are given the same changes, read at the same moments, one in large lists and one event at
//! a time. What they tell must be the same, whatever the changes are; and by the rules. Run on random bytes by `main.rs`, and by the
//! fuzzing target `changes` on those that the fuzzer thinks of.
//!
//! Steps of six bytes: what is done, to whom, flags, more flags, fflags, and a number for udata.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proc_reactor::flags::*;
use proc_reactor::source::Living;
use proc_reactor::source::sim::{Script, scripted};
use proc_reactor::{Kevent, Queue, QueueError, QueueOptions, Reactor};

const FIRST: u32 = 5_000_000;
const PIDS: u32 = 6;
const ALL: u32 = NOTE_EXIT | NOTE_FORK | NOTE_EXEC | NOTE_TRACK;
const NOW: Option<Duration> = Some(Duration::ZERO);
const STEP: usize = 6;

struct Twins {
    script: Script,
    reactor: Reactor,
    whole: Queue,
    single: Queue,
    living: BTreeSet<u32>,
    /// How often each pid was born, and how often its NOTE_CHILD came.
    born: BTreeMap<u32, usize>,
    told: BTreeMap<u32, usize>,
}

/// Goes through a script, and asserts.
pub(crate) fn run(bytes: &[u8]) {
    let (source, script) = scripted().expect("a pair of sockets");
    script.list(Living { pid: FIRST, parent: 1, start: 0, threads: vec![FIRST], status: None });
    let reactor = Reactor::new(Box::new(source)).expect("a scripted source");
    let mut options = QueueOptions::default();
    if bytes.first().is_some_and(|byte| byte & 1 != 0) {
        (options.max_notes, options.max_unread) = (5, 3);
    }
    let whole = reactor.queue(options).expect("an open reactor");
    let single = reactor.queue(options).expect("an open reactor");
    let mut twins = Twins {
        script,
        reactor,
        whole,
        single,
        living: BTreeSet::from([FIRST]),
        born: BTreeMap::new(),
        told: BTreeMap::new(),
    };
    for step in bytes.get(1..).unwrap_or_default().chunks_exact(STEP) {
        twins.step(step.try_into().expect("as long as a step"));
    }
    twins.end();
}

fn pid(byte: u8) -> u32 {
    FIRST + u32::from(byte) % PIDS
}

impl Twins {
    fn step(&mut self, [what, who, low, high, notes, number]: [u8; STEP]) {
        let process = pid(who);
        match what % 8 {
            0 => {
                let child = pid(number);
                if self.living.contains(&process) && self.living.insert(child) {
                    self.script.fork(process, child);
                    *self.born.entry(child).or_default() += 1;
                }
            }
            1 if self.living.contains(&process) => drop(self.script.exec(process).clone()),
            2 if self.living.remove(&process) => {
                self.script.exit(process, i32::from(number) << 8);
            }
            3 => self.read(),
            4 => drop(self.script.lose(1).clone()),
            5 => {
                self.reactor.turn();
            }
            6 | 7 => {
                let filter = match high >> 5 {
                    0 | 1 => EVFILT_USER,
                    7 => i16::from(number) - 20,
                    _ => EVFILT_PROC,
                };
                let ident = match (filter, number) {
                    (EVFILT_PROC, 255) => u64::MAX - u64::from(who),
                    (EVFILT_PROC, _) => u64::from(process),
                    _ => u64::from(who % 3),
                };
                // What is always refused, only now and then.
                let odd = high & 0x1f == 0x1f;
                let flags = u16::from(low) | if odd { u16::from(number) << 8 } else { 0 };
                // A user event that stays triggered would be told for ever.
                let flags = if filter == EVFILT_USER { flags | EV_CLEAR } else { flags };
                let fflags = u32::from(notes & 0x7) | u32::from(notes & 0xf8) << 24;
                let fflags = fflags & if odd || filter != EVFILT_PROC { u32::MAX } else { ALL };
                let change = Kevent { ident, filter, flags, fflags, data: 3, udata: u64::from(number) };
                self.change(&change);
            }
            _ => {}
        }
    }

    fn change(&mut self, change: &Kevent) {
        // So that the change itself takes nothing in.
        self.catch_up();
        let mut entries = [[Kevent::default(); 1]; 2];
        let results = [(&self.whole, 0), (&self.single, 1)].map(|(queue, index)| {
            let before = queue.stats();
            // A change without a filter is passed over, and then events would be read.
            let room = usize::from(change.flags & EV_RECEIPT != 0 && change.filter != 0);
            let result = queue.kevent(&[*change], &mut entries[index][..room], NOW);
            let refused = match &result {
                Err(QueueError::Change { .. }) => true,
                Ok(1) => entries[index][0].data != 0,
                Ok(_) => false,
                Err(error) => panic!("{error}"),
            };
            assert!(!refused || queue.stats() == before, "what is refused changes nothing: {change:?}");
            result.map_err(|error| error.errno())
        });
        assert_eq!(results[0], results[1], "{change:?}");
        assert_eq!(entries[0], entries[1], "{change:?}");
    }

    fn catch_up(&self) {
        while self.reactor.turn() == proc_reactor::Turned::More {}
    }

    fn read(&mut self) {
        self.catch_up();
        let mut events = [Kevent::default(); 64];
        let ready = self.whole.stats().ready;
        let count = self.whole.kevent(&[], &mut events, NOW).expect("an open queue");
        let events = &events[..count];
        assert_eq!(count, ready.min(64), "all that was ready, and no more: {events:?}");
        let mut others = Vec::new();
        let mut one = [Kevent::default()];
        while self.single.kevent(&[], &mut one, NOW).expect("an open queue") > 0 {
            others.push(one[0]);
        }
        assert_eq!(events, others, "in one list, and one by one");
        for event in events.iter().filter(|event| event.filter == EVFILT_PROC) {
            self.judge(event);
        }
    }

    /// What the rules say of any event, whatever was asked for.
    fn judge(&mut self, event: &Kevent) {
        let told = |note| event.fflags & note != 0;
        assert!(event.flags & EV_CLEAR != 0, "{event:?}");
        assert!(event.fflags != 0, "an event of nothing: {event:?}");
        assert_eq!(told(NOTE_CHILD), event.fflags == NOTE_CHILD, "alone: {event:?}");
        if told(NOTE_CHILD) {
            assert_eq!(event.flags & (EV_EOF | EV_ONESHOT), EV_ONESHOT, "{event:?}");
            let pid = u32::try_from(event.ident).expect("a pid");
            let born = self.born.get(&pid).copied().unwrap_or(0);
            let told = self.told.entry(pid).or_default();
            *told += 1;
            assert!(*told <= born, "once for each birth: {event:?}");
        }
        if told(NOTE_EXIT) {
            assert_eq!(event.flags & (EV_EOF | EV_ONESHOT), EV_EOF | EV_ONESHOT, "{event:?}");
        } else if event.flags & EV_EOF == 0 && !told(NOTE_CHILD) {
            assert_eq!(event.data, 0, "{event:?}");
        }
        assert_eq!(event.fflags & NOTE_TRACK, 0, "never told: {event:?}");
    }

    /// Everybody ends, everything is enabled and read: nothing is left but user events (C40).
    fn end(&mut self) {
        for process in std::mem::take(&mut self.living) {
            self.script.exit(process, 0);
        }
        self.read();
        for queue in [&self.whole, &self.single] {
            for process in FIRST..FIRST + PIDS {
                // Several notes may be of one pid, each of another birth: delete what is disabled.
                while queue.kevent(&[Kevent::process(process, EV_DELETE, 0)], &mut [], NOW).is_ok() {}
            }
            for ident in 0..3 {
                let _ = queue.kevent(&[Kevent::user(ident, EV_DELETE, 0)], &mut [], NOW);
            }
            let stats = queue.stats();
            assert_eq!((stats.notes, stats.ready, stats.unread), (0, 0, 0));
        }
        assert_eq!(self.reactor.stats().processes, 0);
    }
}
