//! EVFILT_USER.

use std::thread;
use std::time::{Duration, Instant};

use proc_reactor::Kevent;
use proc_reactor::flags::*;

use super::case::{Case, case};
use super::kqueue::Kqueue;
use super::world::*;

pub(crate) const CASES: &[Case] = &[
    case(
        "USER",
        "making_does_not_trigger",
        "EV_ADD of a new user event with NOTE_TRIGGER does not set it off.",
        making_does_not_trigger,
    ),
    case(
        "USER",
        "a_new_one_keeps_its_fflags",
        "The fflags of a new one are kept as given, control bits and all.",
        a_new_one_keeps_its_fflags,
    ),
    case(
        "USER",
        "fflags_are_computed",
        "A change applies NOTE_FFNOP, NOTE_FFAND, NOTE_FFOR or NOTE_FFCOPY to what is kept, and replaces \
         data and udata.",
        fflags_are_computed,
    ),
    case(
        "USER",
        "low_bits_only",
        "Of a change's fflags the low 24 bits are kept; NOTE_TRIGGER is none of them.",
        low_bits_only,
    ),
    case("USER", "level", "Without EV_CLEAR one that is set off is told by every call, with flags 0.", level),
    case(
        "USER",
        "clear",
        "With EV_CLEAR it is told once a trigger, and its fflags stay; triggers before a read are one \
         event.",
        clear,
    ),
    case(
        "USER",
        "clearing_by_a_change",
        "EV_CLEAR in a change takes the trigger back, that of the same change too.",
        clearing_by_a_change,
    ),
    case("USER", "disabled", "Set off while it is disabled, it is told when it is enabled.", disabled),
    case(
        "USER",
        "oneshot_user",
        "With EV_ONESHOT it is told once, with fflags and data 0 whatever was kept, and is gone.",
        oneshot_user,
    ),
    case(
        "USER",
        "dispatch_user",
        "EV_DISPATCH disables it by a delivery; EV_ENABLE tells it again, but not with EV_CLEAR.",
        dispatch_user,
    ),
    case("USER", "force_user", "EV_FORCEONESHOT is EINVAL.", force_user)
        .differs("F delivers it at once, triggered or not, and deletes it."),
    case("USER", "nobody_to_trigger", "Triggering what is not there is ENOENT.", nobody_to_trigger),
    case("USER", "a_trigger_wakes", "A trigger wakes a thread that waits.", a_trigger_wakes),
    case(
        "USER",
        "many_users",
        "There can be any number of them, in the order of their triggers.",
        many_users,
    ),
    case(
        "USER",
        "apart_from_processes",
        "An ident that is also a watched pid is another thing.",
        apart_from_processes,
    ),
];

fn make(world: &World, flags: u16, fflags: u32) {
    world.good(Kevent::user(1, EV_ADD | flags, fflags));
}

fn set(world: &World, flags: u16, fflags: u32) {
    world.good(Kevent::user(1, flags, fflags));
}

fn told(flags: u16, fflags: u32) -> Kevent {
    Kevent::user(1, flags, fflags)
}

/// The leak check wants nothing left.
fn unmake(world: &World) {
    world.good(Kevent::user(1, EV_DELETE, 0));
}

fn making_does_not_trigger(world: &mut World) {
    make(world, 0, NOTE_TRIGGER);
    world.quiet();
    unmake(world);
}

fn a_new_one_keeps_its_fflags(world: &mut World) {
    make(world, EV_CLEAR, NOTE_FFCOPY | 0x3);
    set(world, 0, NOTE_TRIGGER);
    world.tells(&[told(EV_CLEAR, NOTE_FFCOPY | 0x3)]);
    set(world, 0, NOTE_FFOR | NOTE_TRIGGER | 0x10);
    world.tells(&[told(EV_CLEAR, 0xc000_0013)]);
    set(world, 0, NOTE_FFCOPY | NOTE_TRIGGER | 0x5);
    world.tells(&[told(EV_CLEAR, 0x5)]);
    unmake(world);
}

fn fflags_are_computed(world: &mut World) {
    make(world, EV_CLEAR, 0x1);
    let steps = [
        (NOTE_FFCOPY | 0xff00, 0xff00),
        (NOTE_FFAND | 0x0f00, 0x0f00),
        (NOTE_FFOR | 0xf0, 0x0ff0),
        (NOTE_FFNOP | 0xff_ffff, 0x0ff0),
    ];
    for (number, (fflags, kept)) in (1_u8..).zip(steps) {
        // Each of them does the same the second time.
        for flags in [0, EV_ADD] {
            let (data, udata) = (number.into(), u64::from(number) + 10);
            world.good(Kevent { data, udata, ..Kevent::user(1, flags, fflags | NOTE_TRIGGER) });
            world.tells(&[Kevent { data, udata, ..told(EV_CLEAR, kept) }]);
        }
    }
    unmake(world);
}

fn low_bits_only(world: &mut World) {
    make(world, EV_CLEAR, 0);
    set(world, 0, NOTE_FFCOPY | 0x3f00_0000);
    world.tells(&[told(EV_CLEAR, 0)]);
    set(world, 0, NOTE_FFCOPY | 0x3eff_ffff);
    world.quiet();
    set(world, 0, NOTE_TRIGGER);
    world.tells(&[told(EV_CLEAR, 0xff_ffff)]);
    unmake(world);
}

fn level(world: &mut World) {
    make(world, 0, 7);
    set(world, 0, NOTE_TRIGGER);
    for _ in 0..3 {
        world.tells(&[told(0, 7)]);
    }
    unmake(world);
    world.quiet();
}

fn clear(world: &mut World) {
    make(world, EV_CLEAR, 7);
    for _ in 0..2 {
        set(world, 0, NOTE_TRIGGER);
        set(world, 0, NOTE_TRIGGER);
        world.tells(&[told(EV_CLEAR, 7)]);
        world.quiet();
    }
    unmake(world);
}

fn clearing_by_a_change(world: &mut World) {
    make(world, 0, 0);
    set(world, 0, NOTE_TRIGGER);
    set(world, EV_CLEAR, 0);
    world.quiet();
    set(world, EV_ADD | EV_CLEAR, NOTE_TRIGGER);
    world.quiet();
    set(world, 0, NOTE_TRIGGER);
    world.tells(&[told(0, 0)]);
    unmake(world);
}

fn disabled(world: &mut World) {
    make(world, EV_CLEAR, 0);
    set(world, EV_DISABLE, NOTE_TRIGGER);
    world.quiet();
    set(world, EV_ENABLE, 0);
    world.tells(&[told(EV_CLEAR, 0)]);
    unmake(world);
}

fn oneshot_user(world: &mut World) {
    world.good(Kevent { data: 9, ..Kevent::user(1, EV_ADD | EV_ONESHOT, 7) });
    world.good(Kevent { data: 9, udata: 4, ..Kevent::user(1, 0, NOTE_TRIGGER) });
    world.tells(&[told(EV_ONESHOT, 0).with_udata(4)]);
    world.bad(Kevent::user(1, EV_DELETE, 0), libc::ENOENT);
}

fn dispatch_user(world: &mut World) {
    make(world, EV_DISPATCH, 0);
    set(world, 0, NOTE_TRIGGER);
    world.tells(&[told(EV_DISPATCH, 0)]);
    world.quiet();
    set(world, EV_ENABLE, 0);
    world.tells(&[told(EV_DISPATCH, 0)]);
    unmake(world);
    make(world, EV_DISPATCH | EV_CLEAR, 0);
    set(world, 0, NOTE_TRIGGER);
    world.tells(&[told(EV_DISPATCH | EV_CLEAR, 0)]);
    set(world, EV_ENABLE, 0);
    world.quiet();
    unmake(world);
}

fn force_user(world: &mut World) {
    make(world, 0, 0);
    world.bad(Kevent::user(1, EV_FORCEONESHOT, 0), libc::EINVAL);
    world.quiet();
    unmake(world);
}

fn nobody_to_trigger(world: &mut World) {
    world.bad(Kevent::user(1, 0, NOTE_TRIGGER), libc::ENOENT);
    if let Kqueue::Ours(queue) = &world.queue {
        let error = queue.trigger(1, 0).unwrap_err();
        assert_eq!(error.errno(), libc::ENOENT);
    }
}

fn a_trigger_wakes(world: &mut World) {
    make(world, EV_CLEAR, 0);
    for _ in 0..20 {
        let queue = world.queue.clone();
        let waiter = thread::spawn(move || {
            let mut events = [Kevent::default(); 4];
            let begun = Instant::now();
            let count = queue.kevent(&[], &mut events, FOREVER).unwrap();
            (events[..count].to_vec(), begun.elapsed())
        });
        thread::sleep(Duration::from_millis(2));
        set(world, 0, NOTE_TRIGGER);
        let (events, waited) = waiter.join().unwrap();
        assert_eq!(events, [told(EV_CLEAR, 0)]);
        assert!(waited < FOREVER.unwrap());
    }
    unmake(world);
}

fn many_users(world: &mut World) {
    const MANY: u64 = 10_000;
    for ident in 0..MANY {
        world.good(Kevent::user(ident << 40, EV_ADD | EV_CLEAR, 0));
    }
    for ident in (0..MANY).rev() {
        world.good(Kevent::user(ident << 40, 0, NOTE_TRIGGER));
    }
    let order: Vec<u64> = read(&world.queue).iter().map(|event| event.ident >> 40).collect();
    assert!(order.into_iter().eq((0..MANY).rev()));
    for ident in 0..MANY {
        world.good(Kevent::user(ident << 40, EV_DELETE, 0));
    }
}

fn apart_from_processes(world: &mut World) {
    let pid = world.spawn();
    world.add(pid, NOTE_EXIT);
    world.good(Kevent::user(pid.into(), EV_ADD | EV_CLEAR, 0));
    world.good(Kevent::user(pid.into(), 0, NOTE_TRIGGER));
    world.exit(pid, 1);
    world.tells(&[Kevent::user(pid.into(), EV_CLEAR, 0), event(pid, LAST, NOTE_EXIT, code(1))]);
    world.good(Kevent::user(pid.into(), EV_DELETE, 0));
    world.bad(Kevent::process(pid, EV_DELETE, 0), libc::ENOENT);
}
