//! [`World`]: a reactor, a queue and processes, scripted or real. What the cases are written in.

use std::collections::HashMap;
use std::time::Duration;

use proc_reactor::flags::*;
use proc_reactor::source::sim::{Script, scripted};
use proc_reactor::{
    ChangeError, Kevent, OpenError, OpenOptions, QueueError, QueueOptions, Reactor, SourceName, open,
};

use super::case::Place;
use super::fault;
use super::kqueue::{Kernels, Kqueue};
use super::os::PATIENCE;
use super::real::{Real, until};
use super::scripted::Scripted;
use super::stage::{How, Stage};
use super::step;

pub(crate) const NOW: Option<Duration> = Some(Duration::ZERO);
/// As long as anything may take.
pub const FOREVER: Option<Duration> = Some(PATIENCE);
/// All that can be asked of one process.
pub(crate) const XF: u32 = NOTE_EXIT | NOTE_FORK | NOTE_EXEC;
pub(crate) const ALL: u32 = XF | NOTE_TRACK;
/// The flags of a process's last event.
pub const LAST: u16 = EV_EOF | EV_ONESHOT | EV_CLEAR;
/// The flags of a note that tells of a child.
pub(crate) const TELLS: u16 = EV_ONESHOT | EV_CLEAR;

/// An event of a process, with udata 0.
pub fn event(pid: u32, flags: u16, fflags: u32, data: i64) -> Kevent {
    Kevent { data, ..Kevent::process(pid, flags, fflags) }
}

/// Several, with the same udata.
pub(crate) fn all_with<const N: usize>(udata: u64, events: [Kevent; N]) -> [Kevent; N] {
    events.map(|event| event.with_udata(udata))
}

pub(crate) fn code(code: u8) -> i64 {
    i64::from(code) << 8
}

/// What is read of a queue now.
pub(crate) fn read(queue: &Kqueue) -> Vec<Kevent> {
    step::now("kevent with a time-out of 0".to_owned());
    let mut all = Vec::new();
    loop {
        let mut events = [Kevent::default(); 64];
        let count = queue.kevent(&[], &mut events, NOW).expect("a queue that works");
        all.extend_from_slice(&events[..count]);
        if count < events.len() {
            return all;
        }
    }
}

/// Takes one change, without looking for events. Its errno, if it fails; the queue then holds what it held before.
pub(crate) fn change(queue: &Kqueue, change: Kevent) -> Result<(), i32> {
    let stats = || match queue {
        Kqueue::Ours(queue) => Some(queue.stats()),
        Kqueue::Kernel(_) => None,
    };
    let before = stats();
    match queue.kevent(&[change], &mut [], NOW) {
        Ok(count) => {
            assert_eq!(count, 0, "there is no room");
            Ok(())
        }
        Err(error) => {
            assert_eq!(stats(), before, "{error}: nothing was done");
            assert!(error.is(|error| matches!(error, QueueError::Change { index: 0, .. })), "{error}");
            Err(error.errno())
        }
    }
}

/// Where queues come from.
#[derive(Debug)]
enum Queues {
    Ours(Reactor),
    Kernel(Kernels),
}

impl Queues {
    fn queue(&self, options: QueueOptions) -> Kqueue {
        match self {
            Self::Ours(reactor) => Kqueue::Ours(reactor.queue(options).expect("a queue")),
            Self::Kernel(kernels) => Kqueue::Kernel(kernels().unwrap_or_else(|errno| {
                panic!("kqueue: {}", std::io::Error::from_raw_os_error(errno));
            })),
        }
    }
}

#[derive(Debug)]
pub(crate) struct World {
    place: Place,
    pub(crate) script: Option<Script>,
    queues: Queues,
    pub(crate) queue: Kqueue,
    stage: Box<dyn Stage>,
    /// Is told of the end of everybody who was made here: when it has been, so have all other queues. And whether records were
    /// lost.
    witness: Kqueue,
    /// Ends that the witness was told of and nobody has asked for.
    ends: HashMap<u32, usize>,
    lost: bool,
    pub(crate) skipped: Option<String>,
}

impl World {
    pub(crate) fn scripted() -> Self {
        let (source, script) = scripted().expect("descriptors");
        let stage = Box::new(Scripted::new(script.clone()));
        let reactor = Reactor::new(Box::new(source)).expect("a script does not fail");
        Self::of(Queues::Ours(reactor), stage, Place::Script, Some(script))
    }

    /// # Errors
    /// The source does not work here.
    pub(crate) fn real(name: SourceName) -> Result<Self, OpenError> {
        let reactor = Reactor::new(open(&real_options(name))?).expect("a source that was opened");
        Ok(Self::of(Queues::Ours(reactor), Box::new(Real::new()), Place::Source(name), None))
    }

    pub(crate) fn kernel(kernels: Kernels) -> Self {
        Self::of(Queues::Kernel(kernels), Box::new(Real::new()), Place::Kernel, None)
    }

    fn of(queues: Queues, stage: Box<dyn Stage>, place: Place, script: Option<Script>) -> Self {
        let queue = queues.queue(QueueOptions::default());
        let witness = queues.queue(QueueOptions::default());
        let mut world = Self {
            place,
            script,
            queues,
            queue,
            stage,
            witness,
            ends: HashMap::new(),
            lost: false,
            skipped: None,
        };
        // It does nothing, and its note is for NOTE_TRACKERR. Not this program: a source that sees only what is attached to would
        // see all that the cases start from birth, and the cases are to attach to what runs already.
        let idle = world.stage.quick(0);
        let both = Kevent::process(idle, EV_ADD, NOTE_EXIT | NOTE_EXEC);
        fault::without(|| change(&world.witness, both)).expect("it lives");
        world
    }

    /// Over the same source.
    pub(crate) fn another_queue(&self, options: QueueOptions) -> Kqueue {
        self.queues.queue(options)
    }

    pub(crate) fn is_real(&self) -> bool {
        self.place != Place::Script
    }

    /// The source, where there is one.
    pub(crate) fn source(&self) -> Option<SourceName> {
        match self.place {
            Place::Source(name) => Some(name),
            Place::Script | Place::Kernel => None,
        }
    }

    /// None where the kernel's own queues are asked.
    pub(crate) fn reactor(&self) -> Option<&Reactor> {
        match &self.queues {
            Queues::Ours(reactor) => Some(reactor),
            Queues::Kernel(_) => None,
        }
    }

    /// The case cannot be shown here.
    pub(crate) fn skip(&mut self, why: impl Into<String>) {
        self.skipped = Some(why.into());
    }

    // Processes.

    fn born(&mut self, pid: u32) -> u32 {
        match fault::without(|| change(&self.witness, Kevent::process(pid, EV_ADD, NOTE_EXIT))) {
            Ok(()) => {}
            // Kernels that find no zombies (C4): its end is no news.
            Err(libc::ESRCH) if self.place == Place::Kernel => *self.ends.entry(pid).or_default() += 1,
            Err(errno) => panic!("{pid}, who has not been reaped, cannot be watched: errno {errno}"),
        }
        pid
    }

    fn listen(&mut self, timeout: Option<Duration>) {
        let mut events = [Kevent::default(); 64];
        let count =
            fault::without(|| self.witness.kevent(&[], &mut events, timeout)).expect("a queue that works");
        for event in &events[..count] {
            self.lost |= event.fflags & NOTE_TRACKERR != 0;
            if event.fflags & NOTE_EXIT != 0 {
                *self.ends.entry(event.ident as u32).or_default() += 1;
            }
        }
    }

    /// Its end has come through, and is in all queues that are to be told of it.
    fn ended(&mut self, pid: u32) {
        until(
            || format!("the end of {pid} is told"),
            || {
                if let Some(count) = self.ends.get_mut(&pid).filter(|count| **count > 0) {
                    *count -= 1;
                    return Some(());
                }
                self.listen(Some(Duration::from_millis(100)));
                None
            },
        );
    }

    /// Whether the source lost records, which it then says to whomever it may concern (C30).
    pub(crate) fn lost(&mut self) -> bool {
        self.listen(NOW);
        self.lost
    }

    /// A living child of this program.
    pub(crate) fn spawn(&mut self) -> u32 {
        let pid = self.stage.spawn();
        self.born(pid)
    }

    /// A living child of `parent`'s.
    pub(crate) fn fork(&mut self, parent: u32) -> u32 {
        let pid = self.stage.fork(parent);
        self.born(pid)
    }

    /// The same by a pid of the past. False where that is not permitted; the case is skipped then.
    pub(crate) fn fork_as(&mut self, parent: u32, pid: u32) -> bool {
        match self.stage.fork_as(parent, pid) {
            Ok(()) => {
                self.born(pid);
                true
            }
            Err(why) => {
                self.skip(why);
                false
            }
        }
    }

    /// The same, without waiting for anybody to be told of what was before.
    pub(crate) fn stage(&mut self) -> &mut dyn Stage {
        &mut *self.stage
    }

    pub(crate) fn fork_exec(&mut self, parent: u32) -> u32 {
        let pid = self.stage.fork_exec(parent);
        self.born(pid)
    }

    /// A zombie that was `parent`'s child.
    pub(crate) fn once(&mut self, parent: u32, how: How, code: u8) -> u32 {
        let pid = self.stage.once(parent, how, code);
        self.born(pid);
        self.ended(pid);
        pid
    }

    pub(crate) fn exec(&mut self, pid: u32) {
        self.stage.exec(pid);
    }

    /// It is a zombie afterwards, as is who is killed.
    pub(crate) fn exit(&mut self, pid: u32, code: i32) {
        self.stage.exit(pid, code);
        self.ended(pid);
    }

    pub(crate) fn kill(&mut self, pid: u32, signal: i32) {
        self.stage.kill(pid, signal);
        self.ended(pid);
    }

    pub(crate) fn reap(&mut self, pid: u32) -> i64 {
        self.stage.reap(pid).into()
    }

    // The queue.

    /// A good `EV_ADD`.
    pub(crate) fn add(&self, pid: u32, fflags: u32) {
        self.good(Kevent::process(pid, EV_ADD, fflags));
    }

    pub(crate) fn good(&self, good: Kevent) {
        if let Err(errno) = change(&self.queue, good) {
            panic!("{good:?}: errno {errno}");
        }
    }

    /// A change that is refused with this errno, and does nothing.
    #[track_caller]
    pub(crate) fn bad(&self, bad: Kevent, errno: i32) {
        assert_eq!(change(&self.queue, bad), Err(errno), "{bad:?}");
    }

    /// Everything that there is to be read is this, in this order.
    #[track_caller]
    pub(crate) fn tells(&self, expected: &[Kevent]) {
        assert_eq!(read(&self.queue), expected);
    }

    /// Whether this event, of a process that was reaped as soon as it ended, is as expected. A source that promises no statuses
    /// may then say that it does not know one (-1). It may never say another; and where a process is a zombie until its end has
    /// been told, or has been watched since before it ended, any source knows its status: there events are compared as they are.
    pub(crate) fn may_tell(&self, told: &Kevent, expected: &Kevent) -> bool {
        let unknown = self.reactor().is_some_and(|reactor| !reactor.capabilities().statuses)
            && expected.fflags & NOTE_EXIT != 0
            && *told == Kevent { data: -1, ..*expected };
        *told == *expected || unknown
    }

    /// There is nothing to be read.
    #[track_caller]
    pub(crate) fn quiet(&self) {
        self.tells(&[]);
    }

    /// Waits until events have come for which `enough` is true.
    pub(crate) fn gather(&self, step: &str, mut enough: impl FnMut(&[Kevent]) -> bool) -> Vec<Kevent> {
        gather(&self.queue, step, &mut enough)
    }

    /// What every case ends with: everybody ends, everything is read, and nothing is left (C40).
    pub(crate) fn finish(mut self) {
        step::now("everybody ends (C40)".to_owned());
        for pid in self.stage.finish() {
            self.ended(pid);
        }
        let Some(reactor) = self.reactor() else { return };
        assert_eq!(self.witness.ours().stats().notes, 0, "C40: {:?}", read(&self.witness));
        if self.queue.is_closed() {
            assert_eq!(reactor.stats().queues, 1, "C35, C40");
        } else {
            let rest = read(&self.queue);
            assert_eq!(self.queue.ours().stats().notes, 0, "C40: notes stay after {rest:?}");
            assert_eq!(reactor.stats().queues, 2, "C40");
        }
        let stats = reactor.stats();
        assert_eq!((stats.trees, stats.tracked), (0, 0), "C40");
        match self.place {
            Place::Script => assert_eq!(stats.processes, 1, "C40: this program is left alone"),
            _ if reactor.capabilities().whole_machine => assert!(stats.processes >= 1, "C40"),
            _ => assert!(stats.processes <= 1, "C40: nobody, or this program"),
        }
    }
}

pub(crate) fn gather(queue: &Kqueue, step: &str, enough: &mut dyn FnMut(&[Kevent]) -> bool) -> Vec<Kevent> {
    let mut all = Vec::new();
    let begun = std::time::Instant::now();
    step::now(step.to_owned());
    while !enough(&all) {
        assert!(begun.elapsed() < PATIENCE, "hung: {step}: {} events: {all:?}", all.len());
        let mut events = [Kevent::default(); 64];
        let count =
            queue.kevent(&[], &mut events, Some(Duration::from_millis(100))).expect("a queue that works");
        all.extend_from_slice(&events[..count]);
    }
    all
}

/// How many of these events tell of a child, of an end, of an exec.
pub(crate) fn tally(events: &[Kevent]) -> [usize; 3] {
    [NOTE_CHILD, NOTE_EXIT, NOTE_EXEC]
        .map(|note| events.iter().filter(|event| event.fflags & note != 0).count())
}

pub(crate) fn real_options(name: SourceName) -> OpenOptions {
    let mut options = OpenOptions::default();
    options.source = Some(name);
    options
}

/// The error of a change that a call failed for.
pub(crate) fn change_error(error: QueueError) -> ChangeError {
    match error {
        QueueError::Change { error, .. } => error,
        other => panic!("{other}"),
    }
}
