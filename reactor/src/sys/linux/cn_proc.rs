//! The process connector as a source: every fork, exec and exit of the machine, with exit statuses.
//!
//! One socket is one queue, in causal order, and is never sorted again. Where its buffer may not be made large, the
//! records are spread over several sockets by their sequence number, which the kernel does before they take up
//! buffer, and put in order again by the double snapshot (K12).
//!
//! Loss: when a buffer is full, the kernel drops records until the queue has been emptied, and says ENOBUFS once.
//! How many it dropped is known exactly when each processor has sent one more record, which markers make it do.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::loss::Ledger;
use super::marker;
use super::message::{self, Message, Request, What};
use super::netlink::{Gate, Mailbox, Socket};
use super::pidfd::Pidfd;
use super::{procfs, syscall};
use crate::error::SourceError;
use crate::event::Stamped;
use crate::source::order::DoubleSnapshot;
use crate::source::{Capabilities, Drained, Living, Loss, Reading, Source};
use crate::sys::OpenOptions;

const NAME: &str = "cn_proc";
/// Asked for where it is permitted to go beyond the system's cap: some 80,000 records. Memory is taken only for what is
/// queued.
const FORCED_BUFFER: usize = 32 << 20;
/// Asked for elsewhere; the cap is usually lower.
const WANTED_BUFFER: usize = 16 << 20;
/// With less than this granted, records are spread over several sockets.
const ENOUGH_BUFFER: usize = 4 << 20;
const SHARDS: usize = 16;
const MAX_SHARDS: usize = 64;
/// Records received one by one before many are asked for at once: a wake-up usually has one or two.
const SINGLY: usize = 4;
/// How often something is tried that a flood of records can thwart.
const ATTEMPTS: usize = 5;

/// An open process connector.
#[derive(Debug)]
pub(super) struct CnProc {
    sockets: Vec<Socket>,
    gate: Option<Gate>,
    mailbox: Mailbox,
    pub(super) ledger: Ledger,
    order: DoubleSnapshot<Stamped>,
    second: Vec<(u64, Stamped)>,
    /// A buffer was full, and what came after has not been asked for yet.
    pub(super) overrun: bool,
    /// Received after the loss.
    after: Vec<Stamped>,
}

impl CnProc {
    /// Opens it and makes sure that it works: the kernel answers, and what it then tells is about us.
    pub(super) fn open(options: &OpenOptions) -> Result<Self, SourceError> {
        let first = listen(options, || {})?;
        let granted = first.receive_buffer().map_err(failed("asking for the buffer's size", ""))?;
        let enough = granted >= ENOUGH_BUFFER;
        let shards = options
            .shards
            .unwrap_or(if enough { 1 } else { SHARDS })
            .clamp(1, MAX_SHARDS)
            .next_power_of_two();
        let mut sockets = vec![first];
        while sockets.len() < shards {
            sockets.push(listen(options, || {})?);
        }
        if shards > 1 {
            for (shard, socket) in sockets.iter().enumerate() {
                socket
                    .keep_shard(shard as u8, shards as u8)
                    .map_err(failed("filtering by sequence number", ""))?;
            }
        }
        let mut source = Self::over(sockets)?;
        source.find_base_line(marker::mark_all)?;
        tracing::debug!(granted, shards, "listening to the process connector");
        Ok(source)
    }

    /// Over sockets that listen already, a power of two of them.
    pub(super) fn over(sockets: Vec<Socket>) -> Result<Self, SourceError> {
        let sharded = sockets.len() > 1;
        let gate =
            if sharded { Some(Gate::over(&sockets).map_err(failed("epoll", OPEN_FILES))?) } else { None };
        Ok(Self {
            sockets,
            gate,
            mailbox: Mailbox::new(),
            ledger: Ledger::default(),
            order: DoubleSnapshot::new(),
            second: Vec::new(),
            overrun: false,
            after: Vec::new(),
        })
    }

    /// Drops everything up to a mark on each processor, set by `mark`, which is where the accounts begin.
    pub(super) fn find_base_line(
        &mut self,
        mut mark: impl FnMut() -> io::Result<marker::Marks>,
    ) -> Result<(), SourceError> {
        let mut overrun = false;
        for _ in 0..ATTEMPTS {
            let marks =
                mark().map_err(failed("making the marking thread", "raise the limit of processes"))?;
            let shards = self.sockets.len() as u32;
            let mut received = Vec::new();
            let mut found = Vec::new();
            overrun = false;
            for (shard, socket) in self.sockets.iter().enumerate() {
                overrun |= empty(socket, &mut self.mailbox, |message| {
                    if message.sequence % shards == shard as u32 {
                        received.push((message.cpu, message.sequence));
                        if message.what == (What::Renamed { thread: marks.thread }) {
                            found.push((message.cpu, message.sequence));
                        }
                    }
                })?;
            }
            if found.len() >= marks.cpus.len() {
                for &(cpu, sequence) in &found {
                    self.ledger.begin_after(cpu, sequence);
                }
                // What came after the marks is dropped like what came before, and is no loss: nobody is followed yet.
                for (cpu, sequence) in received {
                    self.ledger.received(cpu, sequence);
                }
                return Ok(());
            }
        }
        Err(if overrun {
            flooded("the records of this program were lost")
        } else {
            refused("it tells of processes, but not of this one")
        })
    }

    /// Reads one socket until it is empty, has overrun, or `limit` records have come. `take` gets the records of its
    /// shard.
    fn read(
        sockets: &[Socket],
        shard: usize,
        mailbox: &mut Mailbox,
        limit: usize,
        mut take: impl FnMut(Message),
    ) -> Result<Ended, SourceError> {
        let shards = sockets.len() as u32;
        let mut count = 0;
        let mut hand = |bytes: &[u8]| {
            let Some(message) = message::parse(bytes) else { return };
            // Before it had its filter, a socket got the records of all shards.
            if message.sequence % shards == shard as u32 {
                take(message);
            }
        };
        loop {
            let received = if count < SINGLY {
                sockets[shard].receive_one(mailbox, &mut hand).map(|()| 1)
            } else {
                sockets[shard].receive_many(mailbox, &mut hand)
            };
            match received {
                Ok(received) => count += received,
                Err(error) => match error.raw_os_error() {
                    Some(libc::EAGAIN) => return Ok(Ended::Empty),
                    Some(libc::ENOBUFS) => return Ok(Ended::Overrun),
                    Some(libc::EINTR) => {}
                    _ => return Err(failed("receiving", "")(error)),
                },
            }
            if count >= limit {
                return Ok(Ended::Limit);
            }
        }
    }

    fn drain_one(&mut self, out: &mut Vec<Stamped>, limit: usize) -> Result<Drained, SourceError> {
        let Self { sockets, mailbox, ledger, overrun, after, .. } = self;
        loop {
            let ended = Self::read(sockets, 0, mailbox, limit, |message| {
                // One queue has no holes but what was lost, also where the kernel had no memory to say so.
                *overrun |= ledger.received(message.cpu, message.sequence);
                if let Some(stamped) = change(message) {
                    // What the queue still held when it overflowed cannot be told from what came after.
                    if *overrun { after.push(stamped) } else { out.push(stamped) }
                }
            })?;
            match ended {
                Ended::Overrun => *overrun = true,
                Ended::Empty if *overrun => return Ok(Drained::Overrun),
                Ended::Empty => return Ok(Drained::All),
                Ended::Limit if *overrun => {}
                Ended::Limit => return Ok(Drained::More),
            }
        }
    }

    /// One round of the double snapshot. With an overrun in it, all of it counts as after the loss: what one shard
    /// lost belongs between what the others kept.
    fn drain_many(&mut self, out: &mut Vec<Stamped>, limit: usize) -> Result<Drained, SourceError> {
        loop {
            self.pass(true)?;
            self.pass(false)?;
            if self.overrun {
                return Ok(Drained::Overrun);
            }
            let held = self.order.release(&mut self.second, out);
            if !held {
                return Ok(Drained::All);
            }
            if out.len() >= limit {
                return Ok(Drained::More);
            }
        }
    }

    fn pass(&mut self, first: bool) -> Result<(), SourceError> {
        let Self { sockets, mailbox, ledger, order, second, overrun, .. } = self;
        let into = if first { order.first() } else { second };
        for shard in 0..sockets.len() {
            loop {
                let ended = Self::read(sockets, shard, mailbox, usize::MAX, |message| {
                    ledger.received(message.cpu, message.sequence);
                    into.extend(change(message).map(|stamped| (stamped.time, stamped)));
                })?;
                match ended {
                    Ended::Overrun => *overrun = true,
                    Ended::Empty | Ended::Limit => break,
                }
            }
        }
        Ok(())
    }

    /// [`Source::settle`], with marks that are set by `mark`.
    pub(super) fn settle_by(
        &mut self,
        out: &mut Vec<Stamped>,
        mut mark: impl FnMut() -> io::Result<marker::Marks>,
    ) -> Result<Loss, SourceError> {
        let mut loss = Loss { count: 0, exact: false };
        // The kernel tells of drops once until it finds the queue empty. Those while this was reading show by nothing but the
        // numbers of what comes after, so it takes two rounds: the first empties the queue, the marks of the second show them.
        let (mut emptied, mut quiet) = (false, false);
        for _ in 0..2 * ATTEMPTS {
            let marks = match mark() {
                Ok(marks) => marks,
                Err(error) => {
                    tracing::warn!(%error, "no marks can be set: the count of lost records is a lower bound");
                    marker::Marks { thread: 0, cpus: Vec::new() }
                }
            };
            let settled = self.count(&marks, &mut loss.count)?;
            // A processor that is not ours to run on may have sent its last before the loss.
            loss.exact = settled && emptied && self.ledger.cpus().all(|cpu| marks.cpus.contains(&cpu));
            quiet = settled && emptied;
            if quiet {
                break;
            }
            emptied = settled;
        }
        // Else there may be drops that nothing will tell of: it is to be settled again.
        self.overrun = !quiet;
        out.append(&mut self.after);
        if self.gate.is_some() {
            // What is held back may have a cause that is still queued; the next drain releases it.
            self.order.release(&mut self.second, out);
        }
        Ok(loss)
    }

    /// Reads everything that is queued, twice, and counts. What was read before and in the first pass waits to be
    /// released together, with what the second pass reads beside it. True if the count is of all that was sent before
    /// the marks, and every mark was found.
    fn count(&mut self, marks: &marker::Marks, lost: &mut u64) -> Result<bool, SourceError> {
        let mut found = Vec::new();
        let mut again = false;
        let mut later = Vec::new();
        let Self { sockets, mailbox, ledger, order, second, after, .. } = self;
        order.first().append(second);
        for pass in 0..2 {
            let highest: Vec<_> = ledger.cpus().map(|cpu| (cpu, ledger.highest(cpu))).collect();
            for shard in 0..sockets.len() {
                loop {
                    let ended = Self::read(sockets, shard, mailbox, usize::MAX, |message| {
                        let before = |(cpu, highest): &(u32, Option<u32>)| {
                            let behind = highest.map(|highest| highest.wrapping_sub(message.sequence));
                            *cpu == message.cpu && behind.is_some_and(|behind| behind < u32::MAX / 2)
                        };
                        if pass == 0 || highest.iter().any(before) {
                            ledger.received(message.cpu, message.sequence);
                        } else {
                            // Sent after what the first pass saw, so that others before it may still be queued.
                            later.push((message.cpu, message.sequence));
                        }
                        if message.what == (What::Renamed { thread: marks.thread }) {
                            found.push(message.cpu);
                        }
                        let into = if pass == 0 { order.first() } else { &mut *second };
                        into.extend(change(message).map(|stamped| (stamped.time, stamped)));
                    })?;
                    match ended {
                        Ended::Overrun => again = true,
                        Ended::Empty | Ended::Limit => break,
                    }
                }
            }
        }
        *lost += ledger.settle();
        for (cpu, sequence) in later {
            ledger.received(cpu, sequence);
        }
        if sockets.len() == 1 {
            // One queue is in order as it is.
            after.extend(order.first().drain(..).chain(second.drain(..)).map(|(_, stamped)| stamped));
        }
        Ok(!again && marks.cpus.iter().all(|cpu| found.contains(cpu)))
    }
}

/// Why a reading of one socket ended.
enum Ended {
    Empty,
    Limit,
    Overrun,
}

fn change(message: Message) -> Option<Stamped> {
    match message.what {
        What::Change(change) => Some(Stamped { time: message.time, change }),
        What::Renamed { .. } | What::Answer { .. } | What::Other => None,
    }
}

impl Source for CnProc {
    fn name(&self) -> &'static str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::all()
    }

    fn details(&self) -> Vec<(&'static str, String)> {
        let granted = match self.sockets[0].receive_buffer() {
            Ok(bytes) => format!("{} KiB", bytes / 1024),
            Err(error) => error.to_string(),
        };
        vec![("sockets", self.sockets.len().to_string()), ("receive_buffer", granted)]
    }

    fn start(&mut self, pid: u32) -> io::Result<Option<u64>> {
        procfs::start(pid)
    }

    fn is_gone(&mut self, pid: u32) -> bool {
        !syscall::exists(pid)
    }

    fn fd(&self) -> BorrowedFd<'_> {
        match &self.gate {
            Some(gate) => gate.as_fd(),
            None => self.sockets[0].as_fd(),
        }
    }

    fn drain(&mut self, out: &mut Vec<Stamped>, limit: usize) -> Result<Drained, SourceError> {
        if self.overrun {
            return Ok(Drained::Overrun);
        }
        if self.gate.is_none() { self.drain_one(out, limit) } else { self.drain_many(out, limit) }
    }

    fn settle(&mut self, out: &mut Vec<Stamped>) -> Result<Loss, SourceError> {
        self.settle_by(out, marker::mark_all)
    }

    fn pids(&mut self) -> io::Result<Vec<u32>> {
        procfs::pids()
    }

    fn look(&mut self, pid: u32) -> io::Result<Option<Living>> {
        procfs::look(pid)
    }

    fn pidfd(&mut self, pid: u32) -> io::Result<OwnedFd> {
        Pidfd::open(pid).map(OwnedFd::from)
    }

    fn inspect(&mut self, pid: u32) -> Reading {
        procfs::inspect(pid)
    }

    fn now(&self) -> u64 {
        syscall::monotonic()
    }
}

const OPEN_FILES: &str = "raise the limit of open files (ulimit -n)";
const OUTSIDE: &str =
    "it serves the initial pid, user and network namespace only: run outside of the container";

/// A socket that listens, and that the kernel has answered. `before` comes before each time that it is asked.
pub(super) fn listen(options: &OpenOptions, mut before: impl FnMut()) -> Result<Socket, SourceError> {
    let mut socket = Socket::open().map_err(|error| match error.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE) => failed("socket", OPEN_FILES)(error),
        _ => failed("socket", "the kernel needs CONFIG_CONNECTOR and CONFIG_PROC_EVENTS")(error),
    })?;
    let sized = match options.receive_buffer {
        Some(bytes) => socket.set_receive_buffer(bytes),
        None => {
            socket.force_receive_buffer(FORCED_BUFFER).or_else(|_| socket.set_receive_buffer(WANTED_BUFFER))
        }
    };
    sized.map_err(failed("sizing the receive buffer", ""))?;
    socket.bind().map_err(failed("bind", "it takes root, or kernel 6.6 or later"))?;
    for _ in 0..ATTEMPTS {
        let number = nonce();
        before();
        socket.send(&message::request(Request::Listen, number)).map_err(|error| {
            match error.raw_os_error() {
                Some(libc::ECONNREFUSED) => failed("asking to listen", OUTSIDE)(error),
                _ => failed("asking to listen", "it takes root, or kernel 6.6 or later")(error),
            }
        })?;
        // The kernel answers before the call returns, or not at all: there is nothing to wait for.
        let mut answer = None;
        let overrun = empty(&socket, &mut Mailbox::new(), |message| {
            if let What::Answer { acknowledges, error } = message.what {
                if acknowledges == number.wrapping_add(1) {
                    answer = Some(error);
                }
            }
        })?;
        match answer {
            Some(0) => {
                socket.say_when_dropped(message::request(Request::Ignore, 0).to_vec());
                return Ok(socket);
            }
            Some(error) => {
                let error = io::Error::from_raw_os_error(error as i32);
                return Err(failed("listening", "it takes root, or kernel 6.6 or later")(error));
            }
            // The answer may have been dropped with others.
            None if overrun => {}
            None => return Err(refused("the kernel did not answer")),
        }
    }
    Err(flooded("the kernel's answer was lost"))
}

/// Empties a socket; true if records were dropped meanwhile.
fn empty(socket: &Socket, mailbox: &mut Mailbox, mut take: impl FnMut(Message)) -> Result<bool, SourceError> {
    let mut overrun = false;
    loop {
        match socket.receive_many(mailbox, |bytes| message::parse(bytes).into_iter().for_each(&mut take)) {
            Ok(_) => {}
            Err(error) => match error.raw_os_error() {
                Some(libc::EAGAIN) => return Ok(overrun),
                Some(libc::ENOBUFS) => overrun = true,
                Some(libc::EINTR) => {}
                _ => return Err(failed("receiving", "")(error)),
            },
        }
    }
}

/// A number that no other listener's request has just now.
fn nonce() -> u32 {
    let time = syscall::monotonic();
    (time as u32) ^ ((time >> 32) as u32) ^ syscall::thread_id().rotate_left(16)
}

fn failed(call: &'static str, advice: &'static str) -> impl Fn(io::Error) -> SourceError {
    let advice = if advice.is_empty() { "please report this" } else { advice };
    move |error| SourceError::Call { source_name: NAME, call, error, advice }
}

/// What was waited for did not come, and records were dropped: it may have been among them.
fn flooded(what: &str) -> SourceError {
    SourceError::Refused {
        source_name: NAME,
        reason: format!("{what} in a flood of records, {ATTEMPTS} times in a row"),
        advice: "ask for a larger receive buffer (net.core.rmem_max limits it), or try again when fewer processes start",
    }
}

/// Nothing was denied, and nothing came: so it is for programs in other namespaces than the initial ones.
fn refused(what: &str) -> SourceError {
    // The inode numbers of the initial namespaces are fixed (linux/proc_ns.h).
    let outside = |kind: &str, initial: &str| match std::fs::read_link(format!("/proc/self/ns/{kind}")) {
        Ok(link) => link.to_string_lossy() != format!("{kind}:[{initial}]"),
        Err(_) => false,
    };
    let namespaces: Vec<&str> = [("pid", "4026531836"), ("user", "4026531837")]
        .into_iter()
        .filter_map(|(kind, initial)| outside(kind, initial).then_some(kind))
        .collect();
    let reason = match namespaces.as_slice() {
        [] => what.to_owned(),
        outside => format!("{what}; this program is in a {} namespace of its own", outside.join(" and a ")),
    };
    SourceError::Refused { source_name: NAME, reason, advice: OUTSIDE }
}
