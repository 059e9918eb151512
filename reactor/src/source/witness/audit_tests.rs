//! What the audit finds, and what it lets be.

use Witness::{First, Second};

use super::audit::{Audit, GRACE, UNDER_WAY, Witness};
use super::report::{Disagreement, Told};
use crate::event::{Change, Stamped};
use crate::process::threads::Threads;

const ME: u32 = 1;
const SPAWNER: u32 = 2;

/// An audit and a clock that goes on by a microsecond with each word.
struct Court {
    audit: Audit,
    now: u64,
}

impl Court {
    fn new() -> Self {
        Self { audit: Audit::new(ME, Some(SPAWNER), ["one", "other"]), now: 1_000_000 }
    }

    fn tell(&mut self, witness: Witness, change: Change) -> &mut Self {
        self.now += 1_000;
        self.tell_at(witness, self.now, change)
    }

    fn tell_at(&mut self, witness: Witness, time: u64, change: Change) -> &mut Self {
        self.audit.apply(witness, &[Stamped { time, change }], self.now);
        self
    }

    fn all(&mut self, witness: Witness, changes: impl IntoIterator<Item = Change>) -> &mut Self {
        for change in changes {
            self.tell(witness, change);
        }
        self
    }

    fn both(&mut self, changes: &[Change]) -> &mut Self {
        self.all(First, changes.to_vec()).all(Second, changes.to_vec())
    }

    /// Nothing more comes, and the time of grace passes.
    fn wait(&mut self) -> &mut Self {
        self.now += GRACE + 1_000;
        self.audit.quiet(self.now);
        self
    }

    fn disagreements(&self) -> Vec<Disagreement> {
        self.audit.report().disagreements
    }

    fn told(&self) -> Vec<(u32, [u32; 3], [u32; 3])> {
        let facts = |told: Told| [told.births, told.execs, told.ends];
        self.disagreements().iter().map(|one| (one.pid, facts(one.first), facts(one.second))).collect()
    }

    /// Both agree on `agreed` facts of `processes`, and nothing is kept.
    fn assert_agreed(&self, agreed: u64, processes: u64) {
        let report = self.audit.report();
        assert_eq!(report.disagreements, []);
        assert_eq!((report.agreed, report.processes, report.open, report.exempt), (agreed, processes, 0, 0));
        assert_eq!(self.audit.kept(), 0);
    }
}

fn spawned(child: u32) -> Change {
    Change::Fork { parent: ME, thread: SPAWNER, child }
}

fn fork(parent: u32, child: u32) -> Change {
    Change::Fork { parent, thread: parent, child }
}

fn thread(process: u32, thread: u32) -> Change {
    Change::Thread { process, thread }
}

fn exec(process: u32) -> Change {
    Change::Exec { process }
}

fn exit(process: u32, thread: u32) -> Change {
    Change::Exit { process, thread, status: Some(0), parent: 0 }
}

fn end(process: u32) -> Change {
    Change::End { process, status: None }
}

fn life(pid: u32) -> [Change; 3] {
    [spawned(pid), exec(pid), end(pid)]
}

#[test]
fn two_who_tell_the_same_agree() {
    Court::new().both(&life(10)).wait().assert_agreed(3, 1);
    Court::new().all(Second, life(10)).all(First, life(10)).wait().assert_agreed(3, 1);
}

/// Each fact of a life dropped or told twice, by each of the two, whoever is heard first: found, with what each told.
#[test]
fn every_single_fault_is_found() {
    for faulty in [First, Second] {
        for order in [[First, Second], [Second, First]] {
            for fact in 0..3 {
                for twice in [false, true] {
                    let mut court = Court::new();
                    court.tell(First, spawned(9)).tell(Second, spawned(9));
                    let honest = [fork(9, 10), exec(10), end(10)];
                    for witness in order {
                        for (index, change) in honest.iter().enumerate() {
                            let times = match (witness == faulty && index == fact, twice) {
                                (false, _) => 1,
                                (true, false) => 0,
                                (true, true) => 2,
                            };
                            court.all(witness, std::iter::repeat_n(change.clone(), times));
                        }
                    }
                    court.wait();
                    let what = format!("{faulty:?} {fact} {twice} {order:?}");
                    let mut faulted = [1; 3];
                    faulted[fact] = if twice { 2 } else { 0 };
                    let told = match faulty {
                        First => (10, faulted, [1; 3]),
                        Second => (10, [1; 3], faulted),
                    };
                    // The first is told of everybody: what it says of a process before the other says whose it is, is about
                    // a stranger.
                    let stranger = faulty == First && fact == 0 && !twice && order[0] == First;
                    let told = if stranger { (10, [0; 3], [1; 3]) } else { told };
                    assert_eq!(court.told(), [told], "{what}");
                    assert_eq!(court.audit.report().open, 0, "{what}");
                }
            }
        }
    }
}

#[test]
fn what_cannot_come_right_is_told_at_once() {
    let mut court = Court::new();
    court.all(First, life(10)).tell(Second, spawned(10)).tell(Second, end(10));
    assert_eq!(court.told(), [(10, [1, 1, 1], [1, 0, 1])]);
    let mut court = Court::new();
    court.all(Second, life(10)).tell(First, exec(10)).tell(First, end(10));
    assert_eq!(court.told(), [(10, [0, 1, 1], [1, 1, 1])]);
}

#[test]
fn who_is_late_is_waited_for() {
    let mut court = Court::new();
    court.all(First, life(10)).tell(Second, spawned(10)).tell(Second, exec(10));
    assert_eq!(court.audit.report().open, 1);
    court.now += GRACE - 1_000_000;
    court.audit.quiet(court.now);
    assert_eq!(court.disagreements(), []);
    // An end that waited for its status is told late, and with the time at which it was.
    court.tell_at(Second, 1_004_500, end(10));
    court.wait().assert_agreed(3, 1);
}

#[test]
fn who_is_never_heard_again_is_not_waited_for() {
    let mut court = Court::new();
    court.all(First, life(10)).tell(Second, spawned(10)).tell(Second, exec(10)).wait();
    assert_eq!(court.told(), [(10, [1, 1, 1], [1, 1, 0])]);
    // Its word comes after all: it has been told of, once.
    court.tell(Second, end(10)).wait();
    assert_eq!(court.disagreements().len(), 1);
    assert_eq!(court.audit.kept(), 0);
}

#[test]
fn a_birth_of_which_one_is_silent_is_found_while_the_process_lives() {
    let mut court = Court::new();
    court.both(&[spawned(9)]).tell(First, fork(9, 10)).wait();
    assert_eq!(court.told(), [(10, [1, 0, 0], [0, 0, 0])]);
    // It is told of once, whatever else comes, and its children go on being compared.
    court.both(&[fork(10, 11), end(11)]).tell(First, end(10)).wait();
    assert_eq!(court.disagreements().len(), 1);
    assert_eq!(court.audit.report().processes, 1);
    assert_eq!(court.audit.kept(), 1, "the first process");
}

#[test]
fn only_what_the_second_can_see_is_compared() {
    let mut court = Court::new();
    let other_thread = Change::Fork { parent: ME, thread: 3, child: 20 };
    court.all(First, [other_thread, exec(20), fork(20, 21), end(21), end(20), exec(ME), exit(ME, 3)]);
    court.all(First, [fork(500, 501), exec(501), end(501)]);
    assert_eq!(court.audit.kept(), 0);
    court.wait().assert_agreed(0, 0);
}

#[test]
fn descendants_are_compared_by_the_word_of_either() {
    let mut court = Court::new();
    court.both(&[spawned(10), fork(10, 11), fork(11, 12), end(12), end(11), end(10)]);
    court.wait().assert_agreed(6, 3);
    // The second does not know of the grandchild at all.
    let mut court = Court::new();
    court.both(&[spawned(10), fork(10, 11)]).all(First, [fork(11, 12), end(12)]).both(&[end(11), end(10)]);
    assert_eq!(court.wait().told(), [(12, [1, 0, 1], [0, 0, 0])]);
    // The first does not.
    let mut court = Court::new();
    court.both(&[spawned(10), fork(10, 11)]).all(Second, [fork(11, 12), end(12)]).both(&[end(11), end(10)]);
    assert_eq!(court.wait().told(), [(12, [0, 0, 0], [1, 0, 1])]);
}

/// Where the second has told of a birth before the first tells what the newborn did, as it is drained, the first's silence
/// about the birth does not make its children strangers.
#[test]
fn a_birth_that_the_first_missed_hides_no_others() {
    let mut court = Court::new();
    court.all(Second, [spawned(10), fork(10, 11), end(11), end(10)]);
    court.all(First, [fork(10, 11), end(11), end(10)]);
    assert_eq!(court.told(), [(10, [0, 0, 1], [1, 0, 1])]);
    assert_eq!(court.audit.report().agreed, 2);
}

#[test]
fn k7_a_pid_that_is_used_again() {
    let two = [life(10), life(10)].concat();
    Court::new().both(&two).wait().assert_agreed(6, 2);
    // The end of the one is told after the birth of the other.
    let crossed = [spawned(10), exec(10), spawned(10), end(10), exec(10), end(10)];
    Court::new().all(First, two.clone()).all(Second, crossed).wait().assert_agreed(6, 2);
    // The second is two lives behind, and then one.
    let mut court = Court::new();
    court.all(First, two.clone()).all(Second, two[..3].to_vec());
    assert_eq!(court.audit.report().open, 1);
    court.all(Second, two[3..].to_vec()).wait().assert_agreed(6, 2);
    // One life of the two was missed from birth to end.
    let mut court = Court::new();
    court.all(First, two).all(Second, life(10));
    assert_eq!(court.wait().told(), [(10, [2, 2, 2], [1, 1, 1])]);
}

/// A pid that is used again every six seconds: who is a life behind all the time is not silent, and who is silent is not given the
/// time anew by what the other tells.
#[test]
fn who_lags_for_long_and_who_is_silent() {
    let mut court = Court::new();
    court.all(First, life(10));
    for _ in 0..4 {
        court.all(First, life(10)).all(Second, life(10));
        court.now += 6_000_000_000;
        court.audit.quiet(court.now);
    }
    assert_eq!((court.disagreements().len(), court.audit.report().open), (0, 1));
    court.all(Second, life(10)).wait().assert_agreed(15, 5);
    let mut court = Court::new();
    court.all(First, life(10));
    court.now += 6_000_000_000;
    court.all(First, life(10));
    court.now += 6_000_000_000;
    court.audit.quiet(court.now);
    assert_eq!(court.told(), [(10, [2, 2, 2], [0, 0, 0])]);
}

/// The birth of the pid's next owner was told before it.
#[test]
fn an_end_that_is_older_than_the_birth_is_somebody_elses() {
    for stale in [end(10), exit(10, 10)] {
        let mut court = Court::new();
        let before = court.now;
        court.all(Second, [spawned(10), end(10)]).tell(First, spawned(10)).tell_at(First, before, stale);
        assert_eq!(court.audit.report().open, 1);
        court.tell(First, end(10)).wait().assert_agreed(2, 1);
    }
}

#[test]
fn a_pid_that_strangers_use_before_and_after() {
    let stranger = [fork(500, 10), exec(10), end(10)];
    // The second is ahead: what the first says of the pid is about its owner before.
    let mut court = Court::new();
    court.all(First, stranger[..1].to_vec());
    let (late, told) = (court.now + 100, court.now + 500);
    court.tell_at(Second, told, spawned(10));
    court.tell_at(First, late, exec(10)).tell_at(First, late, end(10));
    court.all(First, life(10)).all(Second, [exec(10), end(10)]);
    court.wait().assert_agreed(3, 1);
    // The second is behind: what the first says is about its owner after.
    let mut court = Court::new();
    court.all(First, life(10)).all(First, stranger.to_vec()).all(Second, life(10));
    court.all(First, stranger.to_vec()).wait().assert_agreed(3, 1);
    // And what a stranger forks is a stranger.
    let mut court = Court::new();
    court.all(First, life(10)).all(First, [fork(500, 10), fork(10, 11), end(11)]).all(Second, life(10));
    court.wait().assert_agreed(3, 1);
}

#[test]
fn one_more_word_about_who_is_done_with_is_found() {
    for (late, told) in [(exec(10), [1, 2, 1]), (end(10), [1, 1, 2]), (exit(10, 10), [1, 1, 2])] {
        let mut court = Court::new();
        court.both(&life(10)).tell(First, late);
        assert_eq!(court.told(), [(10, told, [1, 1, 1])]);
    }
    // Not of one of its threads, which the kernel may be slow to tell of.
    let mut court = Court::new();
    court.both(&life(10)).tell(First, exit(10, 11)).wait().assert_agreed(3, 1);
}

#[test]
fn threads_are_folded() {
    let mut court = Court::new();
    court.all(First, [spawned(10), thread(10, 11), thread(10, 12), exit(10, 12), exit(10, 11)]);
    court.all(Second, [spawned(10), end(10)]);
    assert_eq!(court.audit.report().open, 1, "the leader lives");
    court.tell(First, exit(10, 10)).wait().assert_agreed(2, 1);
}

#[test]
fn the_leader_exits_first() {
    let mut court = Court::new();
    court.all(First, [spawned(10), thread(10, 11), exit(10, 10)]).tell(Second, spawned(10));
    assert_eq!(court.audit.report().open, 0, "nobody says that it has ended");
    court.tell(Second, end(10)).tell(First, exit(10, 11)).wait().assert_agreed(2, 1);
    // Who takes the leader's exit for the process's is found.
    let mut court = Court::new();
    court.all(First, [spawned(10), thread(10, 11), exit(10, 10)]).all(Second, [spawned(10), end(10)]).wait();
    assert_eq!(court.told(), [(10, [1, 0, 0], [1, 0, 1])]);
}

#[test]
fn an_exec_by_another_thread() {
    let mut court = Court::new();
    court.all(First, [spawned(10), thread(10, 11), thread(10, 12), exit(10, 10), exec(10)]);
    // The records of those that the exec ended come late: told after it, and stamped before.
    let before = court.now - 500;
    court.tell_at(First, before, exit(10, 12)).tell_at(First, before, exit(10, 10));
    court.tell(First, exit(10, 12));
    court.all(Second, [spawned(10), exec(10)]);
    assert_eq!(court.audit.report().open, 0);
    court.tell(First, exit(10, 10)).tell(Second, end(10)).wait().assert_agreed(3, 1);
}

#[test]
fn a_loss_exempts_who_lived_then() {
    for witness in [First, Second] {
        let mut court = Court::new();
        court.both(&[spawned(9), fork(9, 10)]);
        let lost = court.now;
        court.audit.lost(lost);
        assert_eq!(court.audit.report().exempt, 2);
        // One misses an exec and an end, the other nothing.
        court.all(witness, [exec(10), end(10)]).wait();
        // Nor is one compared that was born when the loss was scarcely over.
        court.tell_at(witness, lost + UNDER_WAY, fork(9, 11));
        court.wait();
        assert_eq!(court.disagreements(), []);
        // But those that are born later are, of parents that are not.
        court.now += 2 * UNDER_WAY;
        court.all(First, [fork(9, 13), exec(13), end(13)]).all(Second, [fork(9, 13), end(13)]);
        assert_eq!(court.told(), [(13, [1, 1, 1], [1, 0, 1])]);
    }
}

#[test]
fn who_is_exempt_is_forgotten() {
    let mut court = Court::new();
    court.both(&[spawned(10), spawned(11), spawned(12)]);
    court.audit.lost(court.now);
    court.both(&[end(10)]).tell(First, end(11));
    assert_eq!(court.audit.exempt_pids().len(), 2, "10 has ended by both");
    court.wait();
    assert_eq!(court.audit.exempt_pids(), [12], "of 11 no more will be told");
    court.audit.forget(12);
    assert_eq!(court.audit.kept(), 0);
    assert_eq!(court.wait().disagreements(), []);
}

#[test]
fn who_cannot_be_seen_into_is_exempt_with_what_it_starts() {
    let mut court = Court::new();
    court.both(&[spawned(9), fork(9, 10), fork(10, 11)]);
    // The first is ahead.
    court.all(First, [exec(10), fork(10, 12), fork(12, 13), exec(13)]);
    court.tell(Second, exec(10)).tell(Second, Change::Unseen { process: 10 });
    court.all(First, [fork(10, 14), fork(14, 15), exec(15), end(15), end(14), end(13), end(12), end(10)]);
    court.tell(Second, end(10)).wait();
    assert_eq!(court.disagreements(), []);
    assert_eq!(court.audit.report().exempt, 5, "10, and 12 to 15");
    // What it started before is seen.
    court.all(First, [exec(11), end(11)]).tell(Second, end(11));
    assert_eq!(court.told(), [(11, [1, 1, 1], [1, 0, 1])]);
}

#[test]
fn what_cannot_be_seen_into_stays_so_whoever_is_ahead() {
    let mut court = Court::new();
    court.all(Second, [spawned(10), exec(10), Change::Unseen { process: 10 }]);
    court.all(First, [spawned(10), exec(10), fork(10, 11), fork(11, 12), end(12), end(11)]);
    court.both(&[end(10)]).wait();
    assert_eq!((court.disagreements().len(), court.audit.report().exempt), (0, 3));
    assert_eq!(court.audit.kept(), 0);
}

#[test]
fn who_is_attached_to_is_compared_from_then_on() {
    let attached = |court: &mut Court| {
        court.audit.attached([(10, Some(Threads::read(10, &[10, 11])))], court.now);
        // Of what happened meanwhile, one of the two may know.
        court.tell(First, exec(10)).tell(First, fork(10, 12)).tell(First, end(12));
        court.now += 2 * UNDER_WAY;
    };
    let mut court = Court::new();
    attached(&mut court);
    // The exec ended its other thread, if the audit is to go by it.
    court.both(&[fork(10, 13), end(13), exec(10)]).tell(First, exit(10, 10)).tell(Second, end(10)).wait();
    assert_eq!(court.disagreements(), []);
    let report = court.audit.report();
    assert_eq!((report.agreed, report.processes, report.exempt), (4, 2, 1));
    let mut court = Court::new();
    attached(&mut court);
    court.tell(First, exec(10)).tell(Second, exec(10)).tell(Second, exec(10));
    court.tell(Second, exec(10)).both(&[end(10)]).wait();
    assert_eq!(court.told(), [(10, [0, 2, 1], [0, 3, 1])]);
    let mut court = Court::new();
    attached(&mut court);
    court.tell(Second, fork(10, 13)).tell(Second, end(13)).wait();
    assert_eq!(court.told(), [(13, [0, 0, 0], [1, 0, 1])]);
}

/// It was followed, and had ended when its threads were to be read.
#[test]
fn who_ended_while_it_was_attached_to_is_not_compared() {
    for told in [&[][..], &[First], &[Second], &[First, Second]] {
        let mut court = Court::new();
        court.audit.attached([(10, None)], court.now);
        court.now += 2 * UNDER_WAY;
        told.iter().for_each(|&witness| {
            court.tell(witness, end(10));
        });
        court.wait();
        assert_eq!((court.disagreements(), court.audit.report().exempt), (vec![], 1));
        assert_eq!(court.audit.kept(), usize::from(told.is_empty()), "{told:?}: to be looked for later");
    }
}

#[test]
fn a_program_that_is_attached_to_itself() {
    let by_another_thread = |child| Change::Fork { parent: ME, thread: 3, child };
    let mut court = Court::new();
    court.audit.attached([(ME, Some(Threads::Leader))], court.now);
    // The first need not be right about who was seen already, nor the second have seen it.
    court.all(First, [by_another_thread(10), exec(10), end(10)]);
    court.now += 2 * UNDER_WAY;
    for (pid, child) in [(11, by_another_thread(11)), (12, spawned(12))] {
        court.both(&[child, exec(pid), end(pid)]);
    }
    court.wait();
    let report = court.audit.report();
    assert_eq!((report.agreed, report.processes, report.exempt, report.disagreed()), (6, 2, 1, 0));
    court.all(First, [by_another_thread(13), end(13)]).wait();
    assert_eq!(court.told(), [(13, [1, 0, 1], [0, 0, 0])]);
}

#[test]
fn an_attached_process_has_the_threads_that_it_had() {
    let mut court = Court::new();
    court.audit.attached([(10, Some(Threads::read(10, &[10, 11])))], court.now);
    court.now += 2 * UNDER_WAY;
    court.tell(First, exit(10, 10)).tell(Second, end(10));
    assert_eq!(court.audit.report().open, 1);
    court.tell(First, exit(10, 11)).wait();
    assert_eq!(court.disagreements(), []);
    assert_eq!(court.audit.kept(), 0);
}

#[test]
fn disagreements_beyond_a_thousand_are_counted() {
    let mut court = Court::new();
    for pid in 10..1110 {
        court.all(First, life(pid)).tell(Second, spawned(pid)).tell(Second, end(pid));
    }
    let report = court.audit.report();
    assert_eq!((report.disagreements.len(), report.further, report.disagreed()), (1000, 100, 1100));
}

#[test]
fn what_is_settled_is_not_kept() {
    let mut court = Court::new();
    for pid in 10..20_010 {
        court.both(&life(pid));
    }
    assert_eq!(court.audit.kept(), 0);
    assert!(court.audit.remembered() <= 1024, "{}", court.audit.remembered());
    court.wait();
    assert_eq!(court.audit.waiting(), 0);
}
