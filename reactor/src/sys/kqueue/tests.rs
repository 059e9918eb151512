//! Every fault of a real kernel that was seen (C20, C25, C28, C29, C30, C39 and the loss of 2016), one by one.

use super::follow::{Follower, SETTLED};
use super::kernels::{DRAGONFLY, FREEBSD, Kernel, NETBSD, OPENBSD, XNU};
use super::machine::{Machine, Missed};
use super::system::{Note, Queue, System};
use crate::event::{Change, Stamped};
use crate::flags::{NOTE_CHILD, NOTE_EXIT};
use Change::{End, Exec, Fork};

pub(super) const ME: u32 = 50;
pub(super) const ON_FULL: Missed = Missed { on: [true, false], memory: None };
pub(super) const ON_ENDS: Missed = Missed { on: [false, true], memory: None };
const ON_BOTH: Missed = Missed { on: [true, true], memory: None };

pub(super) struct Rig {
    pub(super) machine: Machine,
    pub(super) follower: Follower<Machine>,
}

impl Rig {
    pub(super) fn new(kernel: Kernel) -> Self {
        let machine = Machine::new(kernel);
        machine.lock().put(1, 0);
        machine.lock().put(ME, 1);
        let follower = Follower::new(machine.clone(), kernel, ME).unwrap();
        Self { machine, follower }
    }

    /// One drain.
    pub(super) fn told(&mut self) -> Vec<Change> {
        let mut out: Vec<Stamped> = Vec::new();
        self.follower.round(&mut out).unwrap();
        self.follower.check(&mut out).unwrap();
        out.into_iter().map(|stamped| stamped.change).collect()
    }

    /// A drain when the alarm comes.
    pub(super) fn told_later(&mut self) -> Vec<Change> {
        let mut kernel = self.machine.lock();
        let alarm = kernel.alarm.take().expect("an alarm");
        kernel.time = alarm.max(kernel.time);
        drop(kernel);
        self.told()
    }

    pub(super) fn doubts(&self) -> bool {
        self.follower.doubts.some
    }

    pub(super) fn wait(&self, time: u64) {
        self.machine.lock().time += time;
    }
}

pub(super) fn fork(parent: u32, child: u32) -> Change {
    Fork { parent, thread: parent, child }
}

pub(super) fn end(process: u32, status: i32) -> Change {
    End { process, status: Some(status) }
}

#[test]
fn a_life_is_told_once_by_both_queues() {
    for kernel in [FREEBSD, NETBSD, OPENBSD, DRAGONFLY] {
        let mut rig = Rig::new(kernel);
        rig.machine.lock().fork(ME, 60);
        assert_eq!(rig.told(), [fork(ME, 60)], "{}", kernel.name);
        rig.machine.lock().exec(60);
        assert_eq!(rig.told(), [Exec { process: 60 }]);
        rig.machine.lock().exit(60, 0x700, false);
        assert_eq!(rig.told(), [end(60, 0x700)]);
        rig.machine.lock().reap(60);
        assert_eq!(rig.told(), []);
        assert!(!rig.doubts());
        assert_eq!((rig.follower.members.len(), rig.machine.lock().leaked()), (1, 0), "{}", kernel.name);
        assert_eq!(rig.machine.lock().censuses, 0, "nothing needs the table");
    }
}

#[test]
fn the_end_that_the_2016_race_loses_is_told_with_its_exec() {
    let mut rig = Rig::new(FREEBSD);
    for reaped in [false, true] {
        rig.machine.lock().fork(ME, 60);
        rig.told();
        rig.machine.lock().exec(60);
        rig.machine.lock().exit(60, 0x300, true);
        assert_eq!(rig.machine.lock().leaked(), 1);
        if reaped {
            rig.machine.lock().reap(60);
        }
        assert_eq!(rig.told(), [Exec { process: 60 }, end(60, 0x300)]);
        assert_eq!((rig.machine.lock().leaked(), rig.doubts()), (0, false));
        if !reaped {
            rig.machine.lock().reap(60);
        }
    }
}

#[test]
fn the_race_of_all_that_is_unread_is_told_in_order() {
    let mut rig = Rig::new(FREEBSD);
    let mut kernel = rig.machine.lock();
    kernel.fork(ME, 60);
    kernel.exec(60);
    kernel.fork(60, 61);
    kernel.exit(60, 0, true);
    kernel.exit(61, 9, false);
    drop(kernel);
    let expected = [fork(ME, 60), fork(60, 61), Exec { process: 60 }, end(60, 0), end(61, 9)];
    let mut told = rig.told();
    // An exec and a birth of one process, both unread, are in no order.
    told.sort_by_key(|change| expected.iter().position(|other| other == change));
    assert_eq!(told, expected);
    assert!(!rig.doubts());
}

#[test]
fn an_end_on_its_way_from_one_queue_to_the_other_is_no_loss() {
    let mut rig = Rig::new(FREEBSD);
    rig.machine.lock().fork(ME, 60);
    rig.told();
    // Both are read, then it ends: the second reading of the fuller queue would not see it if its note were set off later. The machine
    // sets both off at once, so the end falls between the second queue and the third reading.
    let nothing = || -> Box<dyn FnOnce(&mut super::machine::Core) + Send> { Box::new(|_| {}) };
    rig.machine.lock().meanwhile.extend([
        nothing(),
        nothing(),
        Box::new(|kernel| kernel.exit(60, 0x100, false)),
    ]);
    assert_eq!(rig.told(), [end(60, 0x100)]);
    assert_eq!(rig.told(), []);
    assert_eq!((rig.follower.members.len(), rig.doubts()), (1, false));
}

#[test]
fn c25_a_birth_that_is_told_several_times_is_one() {
    let mut rig = Rig::new(FREEBSD);
    let mut kernel = rig.machine.lock();
    (0..5).for_each(|at| kernel.fork(ME + at * 10, ME + at * 10 + 10));
    drop(kernel);
    let expected: Vec<_> = (0..5).map(|at| fork(ME + at * 10, ME + at * 10 + 10)).collect();
    assert_eq!(rig.told(), expected);
    (1..=5).for_each(|at| rig.machine.lock().exit(ME + at * 10, 0, false));
    assert_eq!(rig.told().len(), 5);
    assert_eq!((rig.machine.lock().leaked(), rig.doubts()), (0, false));
}

#[test]
fn c20_the_end_of_file_of_a_birth_is_no_end() {
    let mut rig = Rig::new(FREEBSD);
    rig.machine.lock().fork(ME, 60);
    rig.machine.lock().exit(60, 0x200, false);
    assert_eq!(rig.told(), [fork(ME, 60), end(60, 0x200)]);
    let birth = Note { pid: 60, fflags: NOTE_CHILD, eof: true, data: i64::from(ME) };
    assert!(!birth.is_exit());
    assert!(Note { fflags: 0, ..birth }.is_exit());
}

#[test]
fn c28_an_end_in_the_place_of_an_exec_comes_after_the_births() {
    let mut rig = Rig::new(FREEBSD);
    rig.machine.lock().fork(ME, 60);
    rig.told();
    let mut kernel = rig.machine.lock();
    kernel.exec(60);
    kernel.fork(60, 61);
    kernel.exit(61, 0x500, false);
    kernel.exit(60, 0x300, false);
    drop(kernel);
    let told = rig.told();
    let at = |change: &Change| told.iter().position(|other| other == change).unwrap();
    assert_eq!(told.len(), 4, "{told:?}");
    assert!(at(&fork(60, 61)) < at(&end(60, 0x300)));
    assert!(at(&Exec { process: 60 }) < at(&end(60, 0x300)));
    assert!(at(&fork(60, 61)) < at(&end(61, 0x500)));
}

#[test]
fn c29_a_child_that_one_queue_missed_is_followed_by_both() {
    for missed in [ON_FULL, ON_ENDS] {
        let mut rig = Rig::new(FREEBSD);
        rig.machine.lock().fork_badly(ME, 60, missed);
        assert_eq!(rig.told(), [fork(ME, 60)]);
        assert_eq!(rig.told_later(), []);
        rig.machine.lock().exec(60);
        rig.machine.lock().fork(60, 61);
        rig.machine.lock().exit(60, 0x100, true);
        let told = rig.told();
        assert_eq!(told.len(), 3, "{told:?}");
        assert!(told.contains(&Exec { process: 60 }) && told.contains(&end(60, 0x100)));
        assert_eq!((rig.machine.lock().leaked(), rig.doubts()), (0, false));
    }
}

#[test]
fn c29_who_was_told_by_one_queue_and_is_gone_is_told_to_the_end() {
    for missed in [ON_FULL, ON_ENDS] {
        let mut rig = Rig::new(FREEBSD);
        rig.machine.lock().fork_badly(ME, 60, missed);
        rig.machine.lock().exit(60, 0x100, false);
        assert_eq!(rig.told(), [fork(ME, 60), end(60, 0x100)]);
        rig.machine.lock().reap(60);
        assert!(!rig.doubts(), "a zombie shows that it has not run a program");

        rig.machine.lock().fork_badly(ME, 61, missed);
        assert_eq!(rig.told(), [fork(ME, 61)]);
        rig.machine.lock().exit(61, 9, false);
        rig.machine.lock().reap(61);
        assert_eq!(rig.told(), [end(61, 9)]);
        assert_eq!(rig.doubts(), missed.on[0], "it may have run a program, and nobody would have said so");
    }
}

#[test]
fn c29_an_exec_before_the_fuller_queue_follows_is_told() {
    let mut rig = Rig::new(FREEBSD);
    rig.machine.lock().fork_badly(ME, 60, ON_FULL);
    rig.told();
    rig.machine.lock().exec(60);
    assert_eq!(rig.told_later(), [Exec { process: 60 }]);
    rig.machine.lock().exec(60);
    assert_eq!(rig.told(), [Exec { process: 60 }]);
    assert!(!rig.doubts());
}

#[test]
fn c29_a_child_that_both_missed_is_found_with_all_below_it() {
    let mut rig = Rig::new(FREEBSD);
    rig.machine.lock().fork(ME, 60);
    rig.told();
    let mut kernel = rig.machine.lock();
    kernel.processes.get_mut(&60).unwrap().threads = 2;
    kernel.fork(60, 61);
    kernel.fork_badly(60, 62, ON_BOTH);
    kernel.fork(62, 63);
    kernel.exec(63);
    kernel.exit(63, 0x900, false);
    drop(kernel);
    rig.wait(SETTLED);
    let told: Vec<_> = (0..4)
        .flat_map(|_| {
            rig.wait(30_000_000);
            rig.told()
        })
        .collect();
    assert_eq!(told, [fork(60, 61), fork(60, 62), fork(62, 63), Exec { process: 63 }, end(63, 0x900)]);
    assert!(!rig.doubts(), "the count of births is explained");
    rig.machine.lock().exec(62);
    rig.machine.lock().exit(62, 0, false);
    assert_eq!(rig.told(), [Exec { process: 62 }, end(62, 0)]);
}

#[test]
fn c29_a_child_that_both_missed_and_is_gone_is_said() {
    let mut rig = Rig::new(FREEBSD);
    rig.machine.lock().fork(ME, 60);
    rig.told();
    let mut kernel = rig.machine.lock();
    kernel.processes.get_mut(&60).unwrap().threads = 2;
    kernel.fork(60, 61);
    kernel.fork_badly(60, 62, ON_BOTH);
    kernel.exit(62, 0, false);
    kernel.reap(62);
    drop(kernel);
    let told = rig.told();
    assert_eq!(told, [fork(60, 61)]);
    rig.wait(30_000_000);
    rig.told();
    assert!(rig.doubts());
    let mut out = Vec::new();
    let loss = rig.follower.settle(&mut out).unwrap();
    assert_eq!((loss.count, loss.exact, out.len(), rig.doubts()), (0, false, 0, false));
}

#[test]
fn births_of_others_are_no_reason_for_doubt_where_all_have_one_thread() {
    let mut rig = Rig::new(FREEBSD);
    rig.machine.lock().fork(ME, 60);
    rig.machine.lock().fork(1, 300);
    rig.machine.lock().exit(300, 0, false);
    rig.machine.lock().reap(300);
    assert_eq!(rig.told(), [fork(ME, 60)]);
    assert!(!rig.doubts());
    assert_eq!(rig.machine.lock().censuses, 0);
}

/// Where orphans come to this program a missed one looks like a child of its own: the tree that it is of may have it still.
#[test]
fn a_missed_orphan_that_comes_here_is_a_doubt() {
    for adopter in [None, Some(ME)] {
        let mut rig = Rig::new(FREEBSD);
        rig.machine.lock().adopter = adopter;
        rig.machine.lock().fork(ME, 60);
        assert_eq!(rig.told(), [fork(ME, 60)]);
        rig.wait(30_000_000);
        let mut kernel = rig.machine.lock();
        kernel.processes.get_mut(&60).unwrap().threads = 2;
        // One that is told, for the count to be looked at, and one that is not.
        kernel.fork(60, 61);
        kernel.fork_badly(60, 62, Missed { on: [true; 2], memory: None });
        drop(kernel);
        let mut told = rig.told();
        assert!(!rig.doubts(), "it may be being born");
        rig.wait(30_000_000);
        rig.machine.lock().exit(60, 0, false);
        rig.machine.lock().reap(60);
        told.extend(rig.told());
        assert!(rig.doubts(), "{adopter:?}: {told:?}");
        // It is told all the same, with the parent that it has.
        assert_eq!(told.contains(&fork(ME, 62)), adopter.is_some(), "{told:?}");
    }
}

#[test]
fn living_births_of_others_are_counted() {
    let mut rig = Rig::new(FREEBSD);
    let mut kernel = rig.machine.lock();
    kernel.processes.get_mut(&ME).unwrap().threads = 5;
    kernel.put(2, 1);
    kernel.fork(ME, 60);
    kernel.fork(2, 300);
    drop(kernel);
    assert_eq!(rig.told(), [fork(ME, 60)]);
    rig.wait(30_000_000);
    rig.told();
    assert!(!rig.doubts());
    assert!(rig.machine.lock().censuses > 0);
}

#[test]
fn the_table_is_read_at_a_pace() {
    let mut rig = Rig::new(FREEBSD);
    rig.machine.lock().processes.get_mut(&ME).unwrap().threads = 5;
    rig.machine.lock().put(2, 1);
    for at in 0..200 {
        rig.machine.lock().fork(ME, 1000 + at);
        rig.machine.lock().fork(2, 5000 + at);
        rig.told();
        rig.wait(100_000);
    }
    assert!(rig.machine.lock().censuses <= 8, "{}", rig.machine.lock().censuses);
    assert!(!rig.doubts());
}

#[test]
fn c30_trouble_is_a_loss_that_is_repaired() {
    for told in [false, true] {
        let mut rig = Rig::new(FREEBSD);
        rig.machine.lock().fork_badly(ME, 60, Missed { on: [false; 2], memory: Some(told) });
        let mut changes = rig.told();
        assert!(rig.doubts());
        rig.wait(SETTLED);
        let mut out = Vec::new();
        let loss = rig.follower.settle(&mut out).unwrap();
        assert!(loss.count >= 1 && !loss.exact);
        changes.extend(out.into_iter().map(|stamped| stamped.change));
        assert_eq!(changes, [fork(ME, 60)]);
        rig.machine.lock().exit(60, 0x100, false);
        assert_eq!(rig.told(), [end(60, 0x100)]);
    }
}

#[test]
fn c39_lives_of_one_pid_in_one_reading_are_told_apart() {
    let mut rig = Rig::new(FREEBSD);
    let mut kernel = rig.machine.lock();
    for status in [0x100, 0x200, 0x300] {
        kernel.fork(ME, 60);
        kernel.exec(60);
        kernel.exit(60, status, status == 0x200);
        kernel.reap(60);
    }
    drop(kernel);
    let expected: Vec<_> = [0x100, 0x200, 0x300]
        .into_iter()
        .flat_map(|status| [fork(ME, 60), Exec { process: 60 }, end(60, status)])
        .collect();
    assert_eq!(rig.told(), expected);
    assert_eq!((rig.machine.lock().leaked(), rig.doubts()), (0, false));
}

#[test]
fn where_a_later_owner_lives_the_lost_end_is_not_asked_for() {
    let mut rig = Rig::new(FREEBSD);
    let mut kernel = rig.machine.lock();
    kernel.fork(ME, 60);
    kernel.exec(60);
    kernel.exit(60, 0x100, true);
    kernel.reap(60);
    kernel.fork(ME, 60);
    drop(kernel);
    let told = rig.told();
    assert_eq!(told, [fork(ME, 60), end(60, 0x100), fork(ME, 60)]);
    assert!(rig.doubts(), "an exec may be missing");
    rig.follower.settle(&mut Vec::new()).unwrap();
    rig.machine.lock().exec(60);
    rig.machine.lock().exit(60, 9, false);
    assert_eq!(rig.told(), [Exec { process: 60 }, end(60, 9)]);
}

#[test]
fn one_note_with_the_end_still_has_a_parent_while_there_is_a_zombie() {
    let mut rig = Rig::new(OPENBSD);
    rig.machine.lock().fork(ME, 60);
    rig.told();
    rig.machine.lock().fork(60, 61);
    rig.machine.lock().exit(61, 0x400, false);
    assert_eq!(rig.told(), [fork(60, 61), end(61, 0x400)]);
    assert!(!rig.doubts());
    rig.machine.lock().reap(61);
    rig.machine.lock().fork(60, 62);
    rig.machine.lock().exit(62, 0x400, false);
    rig.machine.lock().reap(62);
    rig.told();
    assert!(rig.doubts(), "whose it was nobody knows any more");
    let merged = Note { pid: 1, fflags: NOTE_CHILD | NOTE_EXIT, eof: true, data: 0x400 };
    assert_eq!(merged.parent(), None);
}

#[test]
fn without_tracking_children_are_looked_for() {
    let mut rig = Rig::new(XNU);
    rig.machine.lock().fork(ME, 60);
    assert_eq!(rig.told(), [fork(ME, 60)]);
    let mut kernel = rig.machine.lock();
    kernel.fork(60, 61);
    kernel.fork(61, 62);
    kernel.exec(62);
    kernel.exit(61, 0x100, false);
    drop(kernel);
    // 62 has lost its parent and is not found; 61 is a zombie.
    assert_eq!(rig.told(), [fork(60, 61), end(61, 0x100)]);
    rig.machine.lock().exit(60, 0x1_0300, false);
    assert_eq!(rig.told(), [end(60, 0x300)], "the low 16 bits");
}

#[test]
fn c4_a_zombie_and_nobody_are_told_apart() {
    let mut rig = Rig::new(FREEBSD);
    rig.machine.lock().put(80, 1);
    rig.machine.lock().exit(80, 0, false);
    rig.follower.attach(80).unwrap();
    assert_eq!(rig.follower.attach(81).unwrap_err().raw_os_error(), Some(libc::ESRCH));
    rig.machine.lock().put(82, 1);
    rig.machine.lock().refuse[Queue::Ends as usize] = Some(libc::EACCES);
    assert_eq!(rig.follower.attach(82).unwrap_err().raw_os_error(), Some(libc::EACCES));
    assert!(!rig.machine.delete(Queue::Full, 82).unwrap(), "and nothing is left behind");
}

#[test]
fn c5_who_may_not_be_followed_is_out_of_sight_and_not_dead() {
    for kernel in [FREEBSD, XNU] {
        let mut rig = Rig::new(kernel);
        let mut core = rig.machine.lock();
        core.refuse = [Some(libc::EACCES); 2];
        core.processes.get_mut(&ME).unwrap().threads = 2;
        core.fork(ME, 60);
        core.fork_badly(ME, 61, ON_BOTH);
        core.time += SETTLED;
        drop(core);
        let told = rig.told();
        assert!(told.contains(&Change::Unseen { process: 61 }), "{told:?}");
        assert!(!told.iter().any(|change| matches!(change, End { .. })), "{told:?}");
        assert!(rig.doubts());
    }
}

#[test]
fn a_tree_is_attached_to_with_who_is_born_meanwhile() {
    let mut rig = Rig::new(FREEBSD);
    let mut kernel = rig.machine.lock();
    kernel.put(80, 1);
    kernel.put(81, 80);
    kernel.put(82, 81);
    // The entry of 80, its two notes, then the table.
    for _ in 0..4 {
        kernel.meanwhile.push_back(Box::new(|_| {}));
    }
    kernel.meanwhile.push_back(Box::new(|kernel| kernel.fork(82, 83)));
    drop(kernel);
    let mut tree = rig.follower.attach_tree(80).unwrap();
    tree.sort_unstable();
    assert_eq!(tree, [80, 81, 82, 83]);
    rig.machine.lock().exit(83, 0x100, false);
    assert_eq!(rig.told(), [end(83, 0x100)]);
}

#[test]
fn more_than_a_call_takes_is_read() {
    let mut rig = Rig::new(FREEBSD);
    for pid in 1000..3000 {
        rig.machine.lock().fork(ME, pid);
        rig.machine.lock().exit(pid, 0, false);
    }
    let told = rig.told();
    assert_eq!(told.len(), 4000);
    assert_eq!(rig.follower.members.len(), 1);
}
