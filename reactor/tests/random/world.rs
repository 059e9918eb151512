//! A machine's processes by a script of bytes, the changes that its kernel would tell of them, and what a reactor must make
//! of those. Run on random scripts by `main.rs`, and by the fuzzing target `script` on those that the fuzzer thinks of.
//!
//! The first byte chooses what can go wrong: bit 0, records are lost; bit 1, the log is tiny, so that readers miss
//! events; bit 2, metadata are read. Then steps of a letter and two operands, best digits; see [`World::step`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proc_reactor::source::Living;
use proc_reactor::source::sim::{Script, scripted};
use proc_reactor::{
    Change, Event, EventKind, ExitStatus, ProcId, Reactor, Reader, Readiness, TreeOptions, Turned,
};

/// Whose children are nobody's business.
const INIT: u32 = 1;
/// Beyond any real pid, ours among them. Few, so that they come round often.
const PIDS: u32 = 5_000_000;
const HOW_MANY_PIDS: u32 = 8;
const THREADS: u32 = 6_000_000;
/// Between two changes: longer than anything that the reactor takes for simultaneous.
const STEP: u64 = 2_000_000_000;
const STATUSES: [i32; 5] = [0, 1 << 8, 3 << 8, 9, 0x8b];
const MOST_TREES: usize = 4;

/// One birth of a pid.
type Birth = usize;

#[derive(Clone, Debug)]
struct Process {
    birth: Birth,
    pid: u32,
    /// Who made it, and who has it now.
    maker: Option<Birth>,
    parent: u32,
    start: u64,
    threads: Vec<u32>,
}

/// What a reader must be told next.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    Fork(Birth),
    Exec(Birth),
    Exit(Birth, ExitStatus),
}

#[derive(Debug)]
struct Tree {
    reader: Reader,
    /// All who ever belonged to it.
    members: BTreeSet<Birth>,
    /// Who lives, and who has ended, as far as it was told.
    alive: BTreeMap<ProcId, u32>,
    ended: BTreeSet<ProcId>,
    expected: VecDeque<Told>,
    /// Records that were lost since it is there, and that it was told of.
    lost: u64,
    told_lost: u64,
    /// Events were dropped unread: what was in them is not known.
    missed: bool,
}

struct World {
    script: Script,
    reactor: Reactor,
    thread: u32,
    lossy: bool,
    options: TreeOptions,
    clock: u64,
    births: Vec<u32>,
    /// The first two are init and this program, which stay.
    living: Vec<Process>,
    zombies: BTreeSet<u32>,
    /// The last record of one who has ended and been reaped, which its kernel is yet to send.
    delayed: VecDeque<(Process, u32, i32)>,
    /// Births told while the end of the pid's last owner was yet to come, and those owners: the end that comes then may be that of either (K9).
    unclear: BTreeSet<Birth>,
    /// How all who had a pid ended.
    statuses: BTreeMap<u32, Vec<ExitStatus>>,
    /// So many of the next records are lost.
    losing: usize,
    /// Pids of which a record was lost that the reactor has not repaired yet; and who was born to one of them since. What
    /// such a one does is taken for what the last owner did, until the repair: nothing tells them apart.
    doubtful: BTreeSet<u32>,
    mistaken: BTreeSet<Birth>,
    trees: Vec<Tree>,
    /// Who is who: the same to every reader.
    names: BTreeMap<Birth, ProcId>,
}

/// Runs a script to its end, and then ends all processes.
///
/// # Panics
/// If the reactor does not do what it promises.
pub(crate) fn run(script: &[u8]) {
    let Some((mode, steps)) = script.split_first() else { return };
    let mut world = World::new(*mode);
    for step in steps.chunks(3).take(400) {
        let operand = |place: usize| usize::from(step.get(place).map_or(0, |byte| byte.wrapping_sub(b'0')));
        world.step(step[0], operand(1), operand(2));
    }
    world.end();
}

impl World {
    fn new(mode: u8) -> Self {
        let (source, script) = scripted().expect("a pair of sockets");
        let me = std::process::id();
        let mut living: Vec<Process> = [INIT, me, PIDS, PIDS + 1]
            .into_iter()
            .zip(0..)
            .map(|(pid, birth)| Process {
                birth,
                pid,
                maker: None,
                parent: INIT,
                start: 0,
                threads: vec![pid],
            })
            .collect();
        living[0].parent = 0;
        (living[3].parent, living[3].maker) = (PIDS, Some(2));
        for process in &living {
            script.list(listed(process));
        }
        let mut options = TreeOptions::default();
        options.metadata = mode & 4 != 0;
        if mode & 2 != 0 {
            options.log_limit = 2_000;
        }
        Self {
            reactor: Reactor::new(Box::new(source)).expect("it cannot fail"),
            script,
            thread: thread_id(),
            lossy: mode & 1 != 0,
            options,
            clock: 5 * STEP,
            births: living.iter().map(|process| process.pid).collect(),
            living,
            zombies: BTreeSet::new(),
            delayed: VecDeque::new(),
            unclear: BTreeSet::new(),
            statuses: BTreeMap::new(),
            losing: 0,
            doubtful: BTreeSet::new(),
            mistaken: BTreeSet::new(),
            trees: Vec::new(),
            names: BTreeMap::new(),
        }
    }

    fn step(&mut self, what: u8, a: usize, b: usize) {
        let place = a % self.living.len();
        let mortal = place > 1;
        match what {
            b'f' => self.fork(place, b),
            b't' if mortal => self.thread(place, b),
            b'l' if mortal => self.leave(place, b),
            b'e' if mortal => self.exec(place, b, false),
            b'E' if mortal => self.exec(place, b, true),
            b'x' if mortal => self.exit(place, b, End::Reaped),
            b'z' if mortal => self.exit(place, b, End::Zombie),
            b'd' if mortal => self.exit(place, b, if self.lossy { End::Reaped } else { End::Delayed }),
            b'r' => {
                if let Some(pid) = self.zombies.iter().copied().nth(a % self.zombies.len().max(1)) {
                    self.zombies.remove(&pid);
                    self.script.unlist(pid);
                }
            }
            b'p' => self.send_delayed(1),
            b'o' if self.lossy => self.losing = a % 8,
            b'a' if mortal => self.attach(place),
            b's' => self.spawn(a, b),
            b'q' if !self.trees.is_empty() => drop(self.trees.swap_remove(a % self.trees.len())),
            b'!' => self.check(),
            _ => {}
        }
    }

    /// The kernel queues a record, or loses it.
    fn send(&mut self, change: Change) {
        self.clock += STEP;
        self.send_at(self.clock, change);
    }

    fn send_at(&mut self, time: u64, change: Change) {
        if self.losing > 0 {
            self.losing -= 1;
            self.doubtful.insert(match change {
                Change::Fork { child, .. } => child,
                Change::Thread { process, .. } | Change::Exec { process } | Change::Exit { process, .. } => {
                    process
                }
                _ => unreachable!("no others are sent"),
            });
            self.script.lose(1);
            self.trees.iter_mut().for_each(|tree| tree.lost += 1);
        } else {
            self.script.change_at(time, change);
        }
    }

    fn tell(&mut self, about: Birth, told: &Told) {
        let follow = |tree: &&mut Tree| tree.members.contains(&about);
        self.trees.iter_mut().filter(follow).for_each(|tree| tree.expected.push_back(told.clone()));
    }

    fn free_pid(&self, which: usize) -> Option<u32> {
        let pid = PIDS + which as u32 % HOW_MANY_PIDS;
        let taken = self.zombies.contains(&pid) || self.living.iter().any(|process| process.pid == pid);
        (!taken).then_some(pid)
    }

    fn fork(&mut self, place: usize, which: usize) {
        let parent = self.living[place].clone();
        let Some(pid) = self.free_pid(which).filter(|_| !self.mistaken.contains(&parent.birth)) else {
            return;
        };
        // None of ours unless it is spawned.
        let thread = if place == 1 { u32::MAX } else { parent.threads[which % parent.threads.len()] };
        self.born(&parent, thread, pid);
    }

    fn born(&mut self, parent: &Process, thread: u32, pid: u32) -> Birth {
        let birth = self.births.len();
        self.births.push(pid);
        let before = self.delayed.iter().filter(|(process, ..)| process.pid == pid);
        let before: Vec<Birth> = before.map(|(process, ..)| process.birth).collect();
        if !before.is_empty() {
            self.unclear.extend(before.into_iter().chain([birth]));
        }
        if self.doubtful.contains(&pid) {
            self.mistaken.insert(birth);
        }
        let start = self.clock + STEP;
        let maker = Some(parent.birth);
        let child = Process { birth, pid, maker, parent: parent.pid, start, threads: vec![pid] };
        self.script.list(listed(&child));
        self.living.push(child);
        self.tell(parent.birth, &Told::Fork(birth));
        let inherits = |tree: &&mut Tree| tree.members.contains(&parent.birth);
        self.trees.iter_mut().filter(inherits).for_each(|tree| tree.members.extend([birth]));
        self.send(Change::Fork { parent: parent.pid, thread, child: pid });
        birth
    }

    fn thread(&mut self, place: usize, which: usize) {
        let thread = THREADS + which as u32 % 4;
        if self.living.iter().any(|process| process.threads.contains(&thread)) {
            return;
        }
        let process = &mut self.living[place];
        process.threads.push(thread);
        self.script.list(listed(process));
        let process = process.pid;
        self.send(Change::Thread { process, thread });
    }

    /// A thread ends alone.
    fn leave(&mut self, place: usize, which: usize) {
        let process = &mut self.living[place];
        if process.threads.len() == 1 {
            return self.exit(place, 0, End::Reaped);
        }
        let thread = process.threads.remove(which % process.threads.len());
        self.script.list(listed(process));
        let process = process.pid;
        self.send_exit(process, thread, 0);
    }

    fn send_exit(&mut self, process: u32, thread: u32, status: i32) {
        self.send_delayed_of(process);
        self.send(Change::Exit { process, thread, status: Some(status), parent: 0 });
    }

    /// A thread runs a program; it is the leader then and the others are killed. `late`: their records come after that of
    /// the exec.
    fn exec(&mut self, place: usize, which: usize, late: bool) {
        let process = &mut self.living[place];
        let (pid, birth) = (process.pid, process.birth);
        let by = process.threads[which % process.threads.len()];
        let others: Vec<u32> = process.threads.drain(..).filter(|thread| *thread != by).collect();
        process.threads.push(pid);
        self.script.list(listed(process));
        if !others.is_empty() {
            self.send_delayed_of(pid);
        }
        self.tell(birth, &Told::Exec(birth));
        let time = self.clock;
        if late {
            self.send(Change::Exec { process: pid });
        }
        for thread in others {
            let exit = Change::Exit { process: pid, thread, status: Some(9), parent: 0 };
            if late {
                self.send_at(time + 1, exit);
            } else {
                self.send_exit(pid, thread, 9);
            }
        }
        if !late {
            self.send(Change::Exec { process: pid });
        }
    }

    fn exit(&mut self, place: usize, which: usize, end: End) {
        let mut process = self.living.swap_remove(place);
        let (pid, birth) = (process.pid, process.birth);
        for child in self.living.iter_mut().filter(|child| child.parent == pid) {
            child.parent = INIT;
            self.script.list(listed(child));
        }
        let status = STATUSES[which % STATUSES.len()];
        let told = ExitStatus::from_wait_status(status);
        self.statuses.entry(pid).or_default().push(told);
        if which & 8 != 0 {
            process.threads.reverse();
        }
        let threads = std::mem::take(&mut process.threads);
        if matches!(end, End::Zombie) {
            self.zombies.insert(pid);
            self.script.list(Living { status: Some(status), ..listed(&process) });
        } else {
            self.script.unlist(pid);
        }
        let (last, others) = threads.split_last().expect("a living process has a thread");
        others.iter().for_each(|thread| self.send_exit(pid, *thread, status));
        if matches!(end, End::Delayed) {
            self.send_delayed_of(pid);
            self.delayed.push_back((process, *last, status));
        } else {
            self.send_exit(pid, *last, status);
            self.tell(birth, &Told::Exit(birth, told));
        }
    }

    /// Exits of one pid come in the order of its births.
    fn send_delayed_of(&mut self, pid: u32) {
        if let Some(place) = self.delayed.iter().rposition(|(process, ..)| process.pid == pid) {
            self.send_delayed(place + 1);
        }
    }

    fn send_delayed(&mut self, count: usize) {
        for _ in 0..count.min(self.delayed.len()) {
            let Some((Process { pid, birth, .. }, thread, status)) = self.delayed.pop_front() else { return };
            self.send(Change::Exit { process: pid, thread, status: Some(status), parent: 0 });
            self.tell(birth, &Told::Exit(birth, ExitStatus::from_wait_status(status)));
        }
    }

    fn attach(&mut self, place: usize) {
        self.send_delayed(usize::MAX);
        self.check();
        if self.trees.len() == MOST_TREES {
            return;
        }
        let root = &self.living[place];
        let mut members = BTreeSet::from([root.birth]);
        while let Some(next) = self.living.iter().find(|process| {
            process.maker.is_some_and(|maker| members.contains(&maker)) && !members.contains(&process.birth)
        }) {
            members.insert(next.birth);
        }
        let reader = self.reactor.attach(root.pid, self.options).expect("it is alive");
        assert_eq!(reader.id().pid(), root.pid);
        self.follow(reader, members);
        let tree = self.trees.len() - 1;
        let mut found = self.read(tree);
        if found.iter().any(|event| matches!(event.kind, EventKind::Gap { .. })) {
            return self.take(tree, found);
        }
        // In no particular order but parents first, which `take_one` looks after.
        let wanted = self.trees[tree].members.len();
        assert!(self.lossy || found.len() == wanted, "{found:?}");
        let more = found.split_off(wanted.min(found.len()));
        self.take(tree, found);
        assert!(more.is_empty(), "{more:?}");
    }

    fn follow(&mut self, reader: Reader, members: BTreeSet<Birth>) {
        self.trees.push(Tree {
            reader,
            members,
            alive: BTreeMap::new(),
            ended: BTreeSet::new(),
            expected: VecDeque::new(),
            lost: 0,
            told_lost: 0,
            missed: false,
        });
    }

    /// This program spawns a child, which has children before it is claimed; or fails to.
    fn spawn(&mut self, how: usize, which: usize) {
        let Some(pid) = self.free_pid(which).filter(|_| self.trees.len() < MOST_TREES) else { return };
        self.check();
        let lost: u64 = self.losing as u64;
        let spawning = self.reactor.begin_spawn(self.options).expect("it cannot fail");
        let me = self.living[1].clone();
        let birth = self.born(&me, self.thread, pid);
        let place = self.living.len() - 1;
        if how % 4 == 0 {
            self.exit(place, which, End::Reaped);
            drop(spawning);
            return;
        }
        let child = self.free_pid(which + how).filter(|_| how % 4 > 1);
        let grandchild = child.map(|pid| {
            let parent = self.living[place].clone();
            self.born(&parent, parent.pid, pid)
        });
        let reader = spawning.claim(pid);
        assert_eq!(reader.id().pid(), pid);
        self.follow(reader, [birth].into_iter().chain(grandchild).collect());
        let tree = self.trees.last_mut().expect("it was just put in");
        tree.lost = lost - self.losing as u64;
        tree.expected.extend([birth].into_iter().chain(grandchild).map(Told::Fork));
    }

    /// The reactor takes everything in, and all that the readers are told is held against what happened.
    fn check(&mut self) {
        while self.reactor.turn() == Turned::More {}
        self.doubtful.clear();
        self.mistaken.clear();
        for tree in 0..self.trees.len() {
            let events = self.read(tree);
            self.take(tree, events);
        }
        let stats = self.reactor.stats();
        assert_eq!(stats.processes, self.living.len() + self.delayed.len(), "{stats:?}");
        assert_eq!(stats.trees, self.trees.len());
    }

    fn read(&mut self, tree: usize) -> Vec<Event> {
        let mut events = VecDeque::new();
        while self.trees[tree].reader.read(&mut events, 7) == Readiness::Ready {}
        events.into()
    }

    fn take(&mut self, tree: usize, events: Vec<Event>) {
        for event in events {
            self.take_one(tree, &event);
        }
        let delayed = self.delayed.iter().map(|(process, ..)| process);
        let tree = &self.trees[tree];
        assert!(tree.expected.is_empty() || self.lossy, "not told: {:?}", tree.expected);
        assert!(tree.missed || tree.told_lost == tree.lost, "{} of {} lost", tree.told_lost, tree.lost);
        // Nobody is followed who is not of the tree or has ended, and nobody is missing who has a parent there.
        let here: BTreeSet<u32> = delayed.chain(&self.living).map(|process| process.pid).collect();
        for (id, pid) in &tree.alive {
            assert!(here.contains(pid), "{id} has ended");
            assert!(tree.members.iter().any(|member| self.births[*member] == *pid), "{id} is a stranger");
        }
        let alive: BTreeSet<u32> = tree.alive.values().copied().collect();
        // The pid of a delayed one may be another's by now.
        let delayed: BTreeSet<u32> = self.delayed.iter().map(|(process, ..)| process.pid).collect();
        for Process { pid, parent, .. } in &self.living {
            let doubtful = delayed.contains(pid) || delayed.contains(parent);
            assert!(doubtful || alive.contains(pid) || !alive.contains(parent), "{pid} is missing");
        }
    }

    fn take_one(&mut self, tree: usize, event: &Event) {
        let Self { trees, names, lossy, births, statuses, unclear, .. } = self;
        let tree = &mut trees[tree];
        let mut is = |birth: Birth, id: ProcId| {
            assert_eq!(id.pid(), births[birth]);
            assert_eq!(*names.entry(birth).or_insert(id), id, "one process, one name");
        };
        let next = |tree: &mut Tree| {
            let exact = !*lossy;
            exact.then(|| tree.expected.pop_front().unwrap_or_else(|| panic!("not expected: {event}")))
        };
        match &event.kind {
            EventKind::Fork { child } => {
                assert!(!tree.ended.contains(&event.id), "{event}: it has ended");
                assert!(!tree.ended.contains(child), "{event}: born again");
                assert_eq!(tree.alive.insert(*child, child.pid()), None, "{event}: born twice");
                match next(tree) {
                    Some(Told::Fork(birth)) => is(birth, *child),
                    Some(other) => panic!("{event} instead of {other:?}"),
                    None => {}
                }
            }
            EventKind::Found { .. } => {
                assert!(!tree.ended.contains(&event.id), "{event}: it has ended");
                assert_eq!(tree.alive.insert(event.id, event.id.pid()), None, "{event}: born twice");
            }
            EventKind::Exec { .. } => {
                assert!(tree.alive.contains_key(&event.id), "{event}: it is not alive");
                match next(tree) {
                    Some(Told::Exec(birth)) => is(birth, event.id),
                    Some(other) => panic!("{event} instead of {other:?}"),
                    None => {}
                }
            }
            EventKind::Exit { status } => {
                let was_alive = tree.alive.remove(&event.id).is_some() || *lossy && tree.ended.is_empty();
                assert!(was_alive, "{event}: it is not alive");
                assert!(tree.ended.insert(event.id), "{event}: it has ended");
                match next(tree) {
                    Some(Told::Exit(birth, expected)) => {
                        is(birth, event.id);
                        let unclear = *status == ExitStatus::Unknown && unclear.contains(&birth);
                        assert!(unclear || *status == expected, "{event} instead of {expected}");
                    }
                    Some(other) => panic!("{event} instead of {other:?}"),
                    None => {
                        let known = statuses.get(&event.id.pid()).is_some_and(|all| all.contains(status));
                        assert!(known || *status == ExitStatus::Unknown, "{event}: not how it ended");
                    }
                }
            }
            EventKind::Gap { living, lost, .. } => {
                tree.missed = true;
                tree.told_lost += lost.map_or(0, |lost| lost.count);
                tree.expected.clear();
                for member in living.iter() {
                    assert!(!tree.ended.contains(&member.id), "{} has ended", member.id);
                }
                tree.alive = living.iter().map(|member| (member.id, member.id.pid())).collect();
            }
            EventKind::Lost { count, exact } => {
                assert!(exact & *lossy);
                tree.told_lost += count;
            }
            EventKind::Resync { .. } => assert!(*lossy),
            other => panic!("{other:?}"),
        }
    }

    /// Everybody ends, and so does every stream.
    fn end(mut self) {
        self.losing = 0;
        self.check();
        while self.living.len() > 2 {
            self.exit(self.living.len() - 1, 1, End::Reaped);
        }
        self.send_delayed(usize::MAX);
        self.check();
        assert_eq!(self.reactor.stats().tracked, 0, "K11");
        for tree in &mut self.trees {
            let mut none = VecDeque::new();
            assert_eq!(tree.reader.read(&mut none, 1), Readiness::End);
            assert!(tree.alive.is_empty(), "{:?}", tree.alive);
        }
        self.trees.clear();
        assert_eq!(self.reactor.stats().trees, 0, "K11");
    }
}

/// What becomes of one who ends.
#[derive(Clone, Copy, Debug)]
enum End {
    Reaped,
    Zombie,
    /// Reaped, and its pid free, before the last record of it is sent.
    Delayed,
}

fn listed(process: &Process) -> Living {
    let Process { pid, parent, start, .. } = *process;
    Living { pid, parent, start, threads: process.threads.clone(), status: None }
}

/// As the kernel names this thread, which a spawn goes by.
fn thread_id() -> u32 {
    let link = std::fs::read_link("/proc/thread-self").expect("/proc is mounted");
    link.file_name().and_then(|name| name.to_str()?.parse().ok()).expect("PID/task/TID")
}
