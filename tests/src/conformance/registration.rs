//! Making notes: whom one can watch, zombies, permission, and what cannot be asked (C1 to C6).

use std::io;

use crate::around::{Around, Meddle};
use proc_reactor::flags::*;
use proc_reactor::source::Living;
use proc_reactor::source::sim::{Script, scripted};
use proc_reactor::{ChangeError, Interest, Kevent, QueueOptions, Reactor, Source, SourceName};

use super::case::{Case, Gate, case};
use super::kqueue::Kqueue;
use super::os;
use super::world::*;

pub(crate) const CASES: &[Case] = &[
    case(
        "C1",
        "adding_tells_nothing",
        "EV_ADD of a living process makes an enabled note and tells nothing by itself.",
        adding_tells_nothing,
    ),
    case(
        "C1",
        "added_disabled",
        "With EV_DISABLE the note is made disabled: it collects, and tells when it is enabled.",
        added_disabled,
    ),
    case(
        "C2",
        "asking_for_nothing",
        "A note that asks for nothing is a note, tells nothing, and goes without a word when the process \
         has ended; EV_DELETE finds it until then.",
        asking_for_nothing,
    )
    .differs("N, O and D post an empty EV_EOF event at the end of such a process, for historical reasons."),
    case(
        "C3",
        "no_such_process",
        "A pid that nobody has is ESRCH, and so is an ident that is no pid: above 2^31 - 1, or negative.",
        no_such_process,
    )
    .differs(
        "F looks at the low 32 bits to find a process and at all of them to find a note: 2^32 + PID makes \
         a second note, which EV_DELETE of PID does not delete.",
    ),
    case(
        "C3",
        "who_was_reaped_is_gone",
        "A pid whose process has been reaped is ESRCH at once, whatever is asked.",
        who_was_reaped_is_gone,
    ),
    case("C3", "pid_0_is_nobody", "Pid 0 is ESRCH.", pid_0_is_nobody)
        .differs("F can watch pid 0, which is a process there; on Linux it is none."),
    case(
        "C3",
        "a_thread_is_no_process",
        "The id of a thread other than the first is ESRCH.",
        a_thread_is_no_process,
    ),
    case("C3", "pid_1_can_be_watched", "Pid 1 can be watched.", pid_1_can_be_watched)
        .gated(&[Gate::Scripted("the script's pid 1 would be any other")]),
    case(
        "C4",
        "a_zombie_answers_at_once",
        "EV_ADD of a zombie with NOTE_EXIT tells its end at once, with its status, also by the call that \
         has the change.",
        a_zombie_answers_at_once,
    )
    .differs("N, O and X: ESRCH."),
    case(
        "C4",
        "a_zombie_answers_again",
        "A zombie answers each EV_ADD anew until it is reaped; after that ESRCH.",
        a_zombie_answers_again,
    ),
    case(
        "C4",
        "a_zombie_has_only_its_end_to_tell",
        "EV_ADD of a zombie without NOTE_EXIT is ESRCH, whatever else is asked.",
        a_zombie_has_only_its_end_to_tell,
    )
    .differs(
        "F answers Ok for a process that is on its way out and no zombie yet, and drops the note; here \
         such a process lives until its end is told.",
    ),
    case(
        "C4",
        "a_zombie_reaped_before_the_read",
        "What a zombie had to tell is told also if it is reaped before the read.",
        a_zombie_reaped_before_the_read,
    ),
    case(
        "C4",
        "a_zombie_added_twice",
        "A second EV_ADD before the read replaces udata, and the end stays.",
        a_zombie_added_twice,
    ),
    case(
        "C4",
        "a_zombie_added_disabled",
        "EV_ADD with EV_DISABLE of a zombie tells its end when it is enabled.",
        a_zombie_added_disabled,
    ),
    case(
        "C4",
        "a_zombie_with_a_receipt",
        "With EV_RECEIPT the receipt comes first, and the zombie's end by the next call.",
        a_zombie_with_a_receipt,
    ),
    case(
        "C4",
        "adding_while_it_ends",
        "EV_ADD with NOTE_EXIT of a child that ends meanwhile succeeds, and tells its end exactly once.",
        adding_while_it_ends,
    ),
    case(
        "C5",
        "the_source_may_refuse",
        "Where the source may not follow a process, EV_ADD fails with the errno of the source's call, \
         EACCES if it has none, and no note is made.",
        the_source_may_refuse,
    )
    .gated(&[Gate::Real("whom a real source may follow is the system's to say, and has a case of its own")])
    .differs(
        "F asks only whether the process is visible; N and D answer EACCES, X too but only for its status, \
         O EPERM under pledge. A source that uses perf or ptrace has the kernel's own errno to tell.",
    ),
    case(
        "C5",
        "who_is_followed_is_not_asked_about_again",
        "Permission is asked for when a note is made: not by another EV_ADD on it, not for children that \
         are tracked, not when its events are told.",
        who_is_followed_is_not_asked_about_again,
    )
    .gated(&[Gate::Real("whom a real source may follow is the system's to say, and has a case of its own")]),
    case(
        "C5",
        "another_users_process",
        "A source that has to ask for single processes may not follow another user's.",
        another_users_process,
    )
    .gated(&[
        Gate::Scripted("there are no users"),
        Gate::Source(SourceName::CnProc, "it is told of everybody, whosever they are"),
        Gate::Source(SourceName::Both, "its first witness is told of everybody"),
        Gate::Kernel("whom it lets see whom is the kernel's to say, and its administrator's"),
        Gate::Source(
            SourceName::Kqueue,
            "such a kernel asks whether a process may be seen, and unless told otherwise all may",
        ),
    ]),
    case(
        "C6",
        "told_notes_cannot_be_asked_for",
        "NOTE_CHILD, NOTE_TRACKERR and unknown bits in fflags are EINVAL.",
        told_notes_cannot_be_asked_for,
    )
    .differs(
        "F takes them and ignores them, N masks NOTE_CHILD, X answers ENOTSUP for tracking. A bit that \
         does nothing is a mistake that nobody sees.",
    ),
];

fn adding_tells_nothing(world: &mut World) {
    let pid = world.spawn();
    let mut events = [Kevent::default(); 4];
    let add = Kevent::process(pid, EV_ADD, XF).with_udata(3);
    assert_eq!(world.queue.kevent(&[add], &mut events, NOW).unwrap(), 0);
    world.queue.has_notes(1);
    world.fork(pid);
    world.tells(&[event(pid, EV_CLEAR, NOTE_FORK, 0).with_udata(3)]);
}

fn added_disabled(world: &mut World) {
    let pid = world.spawn();
    world.good(Kevent::process(pid, EV_ADD | EV_DISABLE, XF));
    world.fork(pid);
    world.quiet();
    world.good(Kevent::process(pid, EV_ENABLE, XF));
    world.tells(&[event(pid, EV_CLEAR, NOTE_FORK, 0)]);
}

fn asking_for_nothing(world: &mut World) {
    for delete_before_scan in [false, true] {
        let pid = world.spawn();
        world.add(pid, 0);
        world.fork(pid);
        world.exec(pid);
        world.exit(pid, 3);
        if delete_before_scan {
            world.good(Kevent::process(pid, EV_DELETE, 0));
        } else {
            world.quiet();
            world.bad(Kevent::process(pid, EV_DELETE, 0), libc::ENOENT);
        }
        world.queue.has_notes(0);
    }
    world.quiet();
}

fn no_such_process(world: &mut World) {
    let reaped = zombie(world, 0);
    world.reap(reaped);
    let pid = u64::from(world.spawn());
    let idents = [
        u64::from(reaped),
        i32::MAX as u64,
        i32::MAX as u64 + 1,
        u64::from(u32::MAX),
        u64::MAX,
        pid.wrapping_neg(),
        (1 << 32) + pid,
        (1 << 63) + pid,
    ];
    for ident in idents {
        for fflags in [0, NOTE_EXIT, ALL] {
            world.bad(Kevent { ident, ..Kevent::process(0, EV_ADD, fflags) }, libc::ESRCH);
        }
    }
    world.queue.has_notes(0);
}

fn who_was_reaped_is_gone(world: &mut World) {
    for round in 0..1_000 {
        let pid = world.stage().quick(1);
        world.stage().let_go(pid);
        world.reap(pid);
        world.bad(Kevent::process(pid, EV_ADD, [0, NOTE_FORK, NOTE_EXIT][round % 3]), libc::ESRCH);
    }
}

fn pid_0_is_nobody(world: &mut World) {
    for fflags in [0, NOTE_EXIT, ALL] {
        world.bad(Kevent::process(0, EV_ADD, fflags), libc::ESRCH);
    }
}

fn a_thread_is_no_process(world: &mut World) {
    let pid = world.spawn();
    let thread = world.stage().thread(pid);
    for fflags in [0, NOTE_EXIT, ALL] {
        world.bad(Kevent::process(thread, EV_ADD, fflags), libc::ESRCH);
    }
    world.add(pid, NOTE_EXIT);
    world.exit(pid, 5);
    world.tells(&[event(pid, LAST, NOTE_EXIT, code(5))]);
}

fn pid_1_can_be_watched(world: &mut World) {
    if world.reactor().is_some_and(|reactor| !reactor.capabilities().whole_machine) && !os::is_root() {
        return world.skip("it is another user's, and this source may not follow those (C5)");
    }
    world.add(1, ALL);
    world.good(Kevent::process(1, EV_DELETE, 0));
    // Children that it had meanwhile are followed.
    let queue = &world.queue;
    let orphans: Vec<u32> = read(queue).iter().map(|event| event.ident as u32).collect();
    for pid in orphans {
        // It may be gone.
        let _ = change(queue, Kevent::process(pid, EV_DELETE, 0));
    }
}

/// A zombie of this program's, by the means that there are.
fn zombie(world: &mut World, code: i32) -> u32 {
    let pid = world.spawn();
    world.exit(pid, code);
    pid
}

fn a_zombie_answers_at_once(world: &mut World) {
    let pid = zombie(world, 7);
    let end = event(pid, LAST, NOTE_EXIT, code(7)).with_udata(8);
    let add = Kevent::process(pid, EV_ADD, XF).with_udata(8);
    world.good(add);
    world.tells(&[end]);
    let mut events = [Kevent::default(); 4];
    assert_eq!(world.queue.kevent(&[add], &mut events, NOW).unwrap(), 1);
    assert_eq!(events[0], end);
    world.queue.has_notes(0);
}

fn a_zombie_answers_again(world: &mut World) {
    let pid = zombie(world, 1);
    for _ in 0..3 {
        world.add(pid, NOTE_EXIT);
        world.tells(&[event(pid, LAST, NOTE_EXIT, code(1))]);
    }
    world.reap(pid);
    world.bad(Kevent::process(pid, EV_ADD, NOTE_EXIT), libc::ESRCH);
}

fn a_zombie_has_only_its_end_to_tell(world: &mut World) {
    let pid = zombie(world, 0);
    for fflags in [0, NOTE_FORK | NOTE_EXEC, NOTE_FORK | NOTE_TRACK] {
        world.bad(Kevent::process(pid, EV_ADD, fflags), libc::ESRCH);
    }
    world.queue.has_notes(0);
}

fn a_zombie_reaped_before_the_read(world: &mut World) {
    let pid = zombie(world, 4);
    world.add(pid, NOTE_EXIT);
    world.reap(pid);
    world.tells(&[event(pid, LAST, NOTE_EXIT, code(4))]);
}

fn a_zombie_added_twice(world: &mut World) {
    let pid = zombie(world, 2);
    world.good(Kevent::process(pid, EV_ADD, NOTE_EXIT).with_udata(3));
    world.good(Kevent::process(pid, EV_ADD, NOTE_FORK).with_udata(4));
    world.tells(&[event(pid, LAST, NOTE_EXIT, code(2)).with_udata(4)]);
}

fn a_zombie_added_disabled(world: &mut World) {
    let pid = zombie(world, 2);
    world.good(Kevent::process(pid, EV_ADD | EV_DISABLE, NOTE_EXIT));
    world.quiet();
    world.good(Kevent::process(pid, EV_ENABLE, NOTE_EXIT));
    world.tells(&[event(pid, LAST, NOTE_EXIT, code(2))]);
}

fn a_zombie_with_a_receipt(world: &mut World) {
    let pid = zombie(world, 2);
    let mut events = [Kevent::default(); 4];
    let add = Kevent::process(pid, EV_ADD | EV_RECEIPT, NOTE_EXIT);
    assert_eq!(world.queue.kevent(&[add], &mut events, NOW).unwrap(), 1);
    assert_eq!(events[0], event(pid, EV_ERROR, 0, 0));
    world.tells(&[event(pid, LAST | EV_RECEIPT, NOTE_EXIT, code(2))]);
}

fn adding_while_it_ends(world: &mut World) {
    for round in 0..300_u32 {
        let status = (round % 200) as u8;
        let pid = world.stage().quick(status);
        world.stage().let_go(pid);
        // Somewhere on its way out, more or less far.
        (0..round % 50 * 20).for_each(|_| std::hint::spin_loop());
        world.add(pid, NOTE_EXIT);
        let events = world.gather("the end of who ended meanwhile", |events| !events.is_empty());
        assert_eq!(events, [event(pid, LAST, NOTE_EXIT, code(status))]);
        assert_eq!(world.reap(pid), code(status));
    }
    world.quiet();
}

/// It may not follow everybody.
#[derive(Debug)]
struct Strict {
    refused: u32,
    errno: Option<i32>,
}

impl Meddle for Strict {
    fn attach(&mut self, source: &mut dyn Source, pid: u32) -> io::Result<()> {
        match self.errno {
            _ if pid != self.refused => source.attach(pid),
            Some(errno) => Err(io::Error::from_raw_os_error(errno)),
            None => Err(io::Error::other("because")),
        }
    }

    fn attach_tree(&mut self, source: &mut dyn Source, pid: u32) -> io::Result<Vec<u32>> {
        self.attach(source, pid)?;
        source.attach_tree(pid)
    }
}

fn strict(errno: Option<i32>) -> (Reactor, Script) {
    let (source, script) = scripted().unwrap();
    for pid in [100, 101] {
        script.list(Living { pid, parent: 1, start: 1, threads: vec![pid], status: None });
    }
    let source = Around::new(Box::new(source), Strict { refused: 101, errno });
    (Reactor::new(Box::new(source)).unwrap(), script)
}

fn the_source_may_refuse(_world: &mut World) {
    for (errno, told) in [(Some(libc::EPERM), libc::EPERM), (None, libc::EACCES)] {
        let (reactor, _script) = strict(errno);
        let queue = Kqueue::Ours(reactor.queue(QueueOptions::default()).unwrap());
        assert_eq!(change(&queue, Kevent::process(101, EV_ADD, NOTE_EXIT)), Err(told));
        let error = change_error(queue.ours().register(101, Interest::EXIT, 0).unwrap_err());
        assert!(matches!(error, ChangeError::Denied { ident: 101, .. }), "{error}");
        queue.has_notes(0);
        change(&queue, Kevent::process(100, EV_ADD, NOTE_EXIT)).unwrap();
    }
}

fn who_is_followed_is_not_asked_about_again(_world: &mut World) {
    let (reactor, script) = strict(Some(libc::EPERM));
    let queue = Kqueue::Ours(reactor.queue(QueueOptions::default()).unwrap());
    change(&queue, Kevent::process(100, EV_ADD, NOTE_EXIT | NOTE_TRACK)).unwrap();
    script.exit(101, 0).fork(100, 101);
    assert_eq!(read(&queue), [event(101, TELLS, NOTE_CHILD, 100)]);
    change(&queue, Kevent::process(101, EV_ADD, NOTE_EXIT)).unwrap();
    script.exit(101, 0x200).exit(100, 0);
    assert_eq!(read(&queue), [event(101, LAST, NOTE_EXIT, 0x200), event(100, LAST, NOTE_EXIT, 0)]);
    queue.has_notes(0);
}

fn another_users_process(world: &mut World) {
    if os::is_root() {
        return world.skip("root may follow everybody");
    }
    world.bad(Kevent::process(1, EV_ADD, NOTE_EXIT), libc::EACCES);
    world.queue.has_notes(0);
}

fn told_notes_cannot_be_asked_for(world: &mut World) {
    let pid = world.spawn();
    for fflags in [NOTE_CHILD, NOTE_TRACKERR, NOTE_CHILD | NOTE_TRACK, 8, 0x1000_0000, 0xf_fff8, u32::MAX] {
        world.bad(Kevent::process(pid, EV_ADD, fflags), libc::EINVAL);
    }
    world.queue.has_notes(0);
    world.add(pid, ALL);
    world.bad(Kevent::process(pid, EV_ENABLE, NOTE_CHILD), libc::EINVAL);
    world.fork(pid);
    assert_eq!(read(&world.queue).len(), 2, "the note is as it was");
}
