//! Signals to births that end, and whose pid is used again, at the same time: none reaches the next owner (K2, K7).

use std::sync::mpsc;

use proc_reactor::{Event, EventKind, ExitStatus, Guard, ProcId, Reactor, SignalError};
use tests::reuse::{HIT, SIGNALS, TIME_OVER};

use crate::judge;
use crate::rig::{self, Plan, Reuser};

/// What became of the decisions to signal somebody.
#[derive(Debug, Default)]
pub(crate) struct Decisions {
    pub(crate) sent: u64,
    pub(crate) gone: u64,
    pub(crate) unsettled: u64,
    /// Children that say that their signal reached them.
    pub(crate) hit: u64,
}

/// None if records were lost, or the source does not open here: `Err` then.
pub(crate) fn race(plan: Plan) -> Result<Option<Decisions>, ()> {
    let (reactor, _) = rig::reactor(plan.source).ok_or(())?;
    let guard = Guard::start(&reactor).expect("a thread");
    guard.set_eager(true);
    let (mut reuser, reader) = Reuser::spawn(&reactor, plan);
    let (root, scouts) = (reader.id(), reuser.pids.len());
    let (births, told) = mpsc::channel();
    let events = rig::follow(reader, move |event: &Event| match event.kind {
        EventKind::Fork { child } if child != root => drop(births.send(child)),
        _ => {}
    });
    let signalling = {
        let reactor = reactor.clone();
        std::thread::spawn(move || signal_each(&reactor, told.into_iter().skip(scouts)))
    };
    reuser.begin();
    let strangers = reuser.finish();
    let events = events.join().expect("a whole stream");
    let mut decisions = signalling.join().expect("each is decided");
    if rig::lost(&events) > 0 || strangers > 0 {
        return Ok(None);
    }
    let child = |event: &Event| if let EventKind::Fork { child } = event.kind { Some(child) } else { None };
    let ids: Vec<ProcId> = events.iter().filter_map(child).filter(|id| *id != root).skip(scouts).collect();
    assert_eq!(ids.len() as u64, plan.births);
    let exit = |event: &Event| {
        if let EventKind::Exit { status } = event.kind { Some((event.id, status)) } else { None }
    };
    let ends: std::collections::HashMap<ProcId, ExitStatus> = events.iter().filter_map(exit).collect();
    let all_known = reactor.capabilities().statuses;
    for (birth, id) in ids.iter().enumerate() {
        let own = ExitStatus::Code(HIT + (birth as u64 % SIGNALS) as u8);
        match ends[id] {
            ExitStatus::Code(TIME_OVER) => {}
            end => judge::right(*id, end, own, all_known),
        }
        decisions.hit += u64::from(ends[id] == own);
    }
    Ok(Some(decisions))
}

/// The signal that is meant for each, in the order of their births.
fn signal_each(reactor: &Reactor, births: impl Iterator<Item = ProcId>) -> Decisions {
    let mut decisions = Decisions::default();
    for (birth, id) in births.enumerate() {
        let signal = libc::SIGRTMIN() + (birth as u64 % SIGNALS) as i32;
        match reactor.signal(id, signal) {
            Ok(()) => decisions.sent += 1,
            Err(SignalError::Gone { .. }) => decisions.gone += 1,
            Err(SignalError::Unsettled { .. }) => decisions.unsettled += 1,
            Err(error) => panic!("{id}: {error}"),
        }
    }
    decisions
}
