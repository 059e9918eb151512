//! The process connector without a kernel: a script says what the processors of a machine send, what of it is lost and
//! when the source looks, over pairs of sockets. What the source hands out must be what was sent and not lost, each once and
//! in order (K12), and what it says it lost must be exact (K8).

use std::io;
use std::os::unix::net::UnixDatagram;

use super::cn_proc::CnProc;
use super::marker::Marks;
use super::message;
use super::netlink::Socket;
use crate::event::{Change, Stamped};
use crate::source::{Drained, Source};

/// The thread that sets marks.
const MARKER: u32 = u32::MAX;

/// A machine that sends.
struct Machine {
    /// The kernel's ends.
    ends: Vec<UnixDatagram>,
    /// The next number of each processor.
    sequences: Vec<u32>,
    /// What was sent and told of a process, by the number in the record.
    sent: Vec<Stamped>,
    lost: u64,
    /// How many of `sent` were so before the first loss that is not settled.
    intact: Option<usize>,
    time: u64,
}

impl Machine {
    /// A processor sends a record, which may be lost on the way.
    fn send(&mut self, cpu: u8, what: u32, data: &[u32], lost: bool, everywhere: bool) -> bool {
        let cpu = usize::from(cpu) % self.sequences.len();
        let sequence = self.sequences[cpu];
        self.sequences[cpu] = sequence.wrapping_add(1);
        let record = message::encode(cpu as u32, sequence, self.time, what, data);
        let shard = sequence as usize % self.ends.len();
        if lost || self.ends[shard].send(&record).is_err() {
            self.lost += 1;
            self.intact.get_or_insert(self.sent.len());
            return false;
        }
        if everywhere {
            let others = self.ends.iter().enumerate().filter(|(other, _)| *other != shard);
            others.for_each(|(_, end)| drop(end.send(&record)));
        }
        true
    }

    /// A record of a process, each its own.
    fn exec(&mut self, cpu: u8, lost: bool, everywhere: bool) {
        let process = self.sent.len() as u32;
        if self.send(cpu, message::PROC_EVENT_EXEC, &[process, process], lost, everywhere) {
            self.sent.push(Stamped { time: self.time, change: Change::Exec { process } });
        }
    }

    fn mark(&mut self) -> Marks {
        let cpus = 0..self.sequences.len() as u32;
        for cpu in cpus.clone() {
            self.send(cpu as u8, message::PROC_EVENT_COMM, &[MARKER, MARKER], false, false);
        }
        Marks { thread: MARKER, cpus: cpus.collect() }
    }
}

/// The first two bytes are the numbers of sockets and processors; then two bytes a step.
///
/// # Panics
/// If the source does not do what it promises.
pub(super) fn run(script: &[u8]) {
    let [shards, cpus, steps @ ..] = script else { return };
    let (sockets, ends): (Vec<_>, Vec<_>) = (0..1 << (shards % 4))
        .map(|_| {
            let (ours, theirs) = UnixDatagram::pair().expect("a pair of sockets");
            [&ours, &theirs].into_iter().for_each(|end| end.set_nonblocking(true).expect("a flag"));
            (Socket::of(ours.into()), theirs)
        })
        .unzip();
    // Close before the numbers wrap.
    let sequences: Vec<u32> = (0..u32::from(cpus % 4) + 1).map(|cpu| u32::MAX - 3 * cpu).collect();
    let mut source = CnProc::over(sockets).expect("an epoll");
    for (cpu, sequence) in sequences.iter().enumerate() {
        source.ledger.begin_after(cpu as u32, sequence.wrapping_sub(1));
    }
    let mut machine = Machine { ends, sequences, sent: Vec::new(), lost: 0, intact: None, time: 1 };
    let (mut out, mut counted) = (Vec::new(), 0);
    let mut settle = |source: &mut CnProc, machine: &mut Machine, out: &mut Vec<Stamped>| {
        let loss = source.settle_by(out, || Ok::<_, io::Error>(machine.mark())).expect("sockets");
        counted += loss.count;
        assert!(loss.exact, "every mark came through");
        assert_eq!(counted, machine.lost);
        machine.intact = None;
    };
    for step in steps.chunks_exact(2) {
        let &[what, which] = step else { unreachable!("chunks of two") };
        match what % 10 {
            0 | 1 => machine.exec(which, false, false),
            2 => machine.exec(which, true, false),
            3 => machine.exec(which, false, true),
            4 => drop(machine.send(which, 4, &[], which & 0x80 != 0, false)),
            5 => drop(machine.send(which, message::PROC_EVENT_COMM, &[1, 1], false, true)),
            6 => {
                // Nothing of the process connector's, or cut short.
                let end = &machine.ends[usize::from(which) % machine.ends.len()];
                let whole = message::encode(0, 0, 0, message::PROC_EVENT_EXEC, &[7, 7]);
                drop(end.send(&whole[..usize::from(which) % whole.len()]));
            }
            7 => machine.time += u64::from(which),
            8 => {
                let drained = source.drain(&mut out, usize::from(which).max(1)).expect("sockets");
                // A queue of one processor's records shows each loss by itself; else the kernel must say it.
                let alone = machine.ends.len() == 1 && machine.sequences.len() == 1;
                let intact = machine.intact.filter(|_| alone);
                assert!(intact.is_none_or(|intact| out.len() <= intact), "told before the loss was");
                if drained == Drained::Overrun {
                    settle(&mut source, &mut machine, &mut out);
                }
            }
            _ => {
                // As when the kernel says that a buffer was full.
                source.overrun = true;
                settle(&mut source, &mut machine, &mut out);
            }
        }
    }
    while source.drain(&mut out, 3).expect("sockets") == Drained::More {}
    settle(&mut source, &mut machine, &mut out);
    assert_eq!(source.drain(&mut out, 3).expect("sockets"), Drained::All, "what is settled stays so");
    assert!(out.is_sorted_by_key(|stamped| stamped.time));
    if shards % 4 > 0 {
        // Records of one stamp have no order among several sockets.
        let process = |stamped: &Stamped| match stamped.change {
            Change::Exec { process } => process,
            _ => unreachable!("only execs were sent"),
        };
        out.sort_by_key(process);
    }
    assert_eq!(out, machine.sent);
}
