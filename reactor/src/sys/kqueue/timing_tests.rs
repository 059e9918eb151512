//! What comes between two calls of a reading, and when the next reading is.

use super::follow::SETTLED;
use super::kernels::FREEBSD;
use super::machine::{Core, Step};
use super::system::Queue;
use super::tests::{ME, ON_ENDS, ON_FULL, Rig, end, fork};
use crate::event::Change;

/// After so many calls, this.
fn after(calls: usize, step: impl FnOnce(&mut Core) + Send + 'static) -> Vec<Step> {
    let nothing = (0..calls).map(|_| -> Step { Box::new(|_| {}) });
    nothing.chain([Box::new(step) as Step]).collect()
}

#[test]
fn who_takes_long_to_end_is_looked_at_until_it_has() {
    let mut rig = Rig::new(FREEBSD);
    rig.machine.lock().fork_badly(ME, 60, ON_ENDS);
    assert_eq!(rig.told(), [fork(ME, 60)]);
    // It ends, which is told when its files are closed, and until then no other note can be set.
    rig.machine.lock().processes.get_mut(&60).unwrap().ending = true;
    rig.machine.lock().refuse[Queue::Ends as usize] = Some(libc::ESRCH);
    for _ in 0..5 {
        assert_eq!(rig.told_later(), []);
    }
    rig.machine.lock().exit(60, 0x300, false);
    assert_eq!(rig.told(), [end(60, 0x300)]);
    assert!(!rig.doubts());
}

#[test]
fn the_first_of_two_alarms_rings() {
    let mut rig = Rig::new(FREEBSD);
    rig.machine.lock().processes.get_mut(&ME).unwrap().threads = 5;
    rig.machine.lock().put(2, 1);
    rig.machine.lock().fork(ME, 60);
    rig.machine.lock().fork(2, 300);
    rig.told();
    assert_eq!(rig.machine.lock().censuses, 1);
    // The table was read just now, and is not so soon again; who was told of by one queue only is looked into all the same.
    rig.machine.lock().fork_badly(ME, 62, ON_FULL);
    rig.machine.lock().fork(2, 302);
    rig.told();
    let kernel = rig.machine.lock();
    let (now, alarm) = (kernel.time, kernel.alarm.expect("an alarm"));
    assert!(alarm <= now + SETTLED, "{} ns later", alarm - now);
}

#[test]
fn c39_the_end_of_an_earlier_owner_is_not_that_of_the_next() {
    let mut rig = Rig::new(FREEBSD);
    rig.machine.lock().fork_badly(ME, 60, ON_ENDS);
    assert_eq!(rig.told(), [fork(ME, 60)]);
    // Both queues are read; before it can be followed by the other one it has gone, and its pid is somebody else's.
    let reborn = after(3, |kernel| {
        kernel.exit(60, 0x300, false);
        kernel.reap(60);
        kernel.fork(ME, 60);
    });
    rig.machine.lock().meanwhile.extend(reborn);
    assert_eq!(rig.told_later(), []);
    assert_eq!(rig.told(), [end(60, 0x300), fork(ME, 60)]);
    rig.machine.lock().exec(60);
    rig.machine.lock().exit(60, 0x500, false);
    assert_eq!(rig.told(), [Change::Exec { process: 60 }, end(60, 0x500)]);
    assert_eq!((rig.follower.members.len(), rig.machine.lock().leaked()), (1, 0));
}

#[test]
fn who_is_not_in_the_list_is_asked_for_before_it_is_dead() {
    let mut rig = Rig::new(FREEBSD);
    rig.machine.lock().fork(ME, 60);
    rig.told();
    rig.machine.lock().unlisted = Some(60);
    let mut out = Vec::new();
    rig.follower.settle(&mut out).unwrap();
    assert!(out.is_empty(), "{out:?}");
    rig.machine.lock().exit(60, 0x300, false);
    assert_eq!(rig.told(), [end(60, 0x300)]);
}
