//! Holds an account of a run against what it was.

use std::collections::{HashMap, HashSet};

use proc_reactor::{EventKind, ExitStatus, NoticeKind, ProcId, SourceName};
use tests::reuse::plan;

use crate::rig::{Account, Added};

/// The births of a run, as the stream told them.
#[derive(Debug, Default)]
pub(crate) struct Births {
    /// In their order, without the scouts.
    pub(crate) ids: Vec<ProcId>,
    pub(crate) number: HashMap<ProcId, u64>,
    pub(crate) ends: HashMap<ProcId, ExitStatus>,
    /// Whose birth was told before the end of the pid's last owner, and that one: of two ends that come then there may be no telling whose
    /// is whose.
    overlapping: HashSet<ProcId>,
}

impl Births {
    /// Whether its status has to be told.
    fn has_its_status(&self, account: &Account, id: ProcId) -> bool {
        account.statuses && !self.overlapping.contains(&id)
    }
}

/// Each birth in its order and with its pid, each with one end, which comes after its birth; over perf also
/// after the ends of all owners before it.
pub(crate) fn births(account: &Account) -> Births {
    let pids = &account.pids;
    let mut births = Births::default();
    let mut told: HashSet<ProcId> = HashSet::from([account.root]);
    let mut scouts = Vec::new();
    let (mut last_birth, mut last_end) = (HashMap::new(), HashMap::new());
    let mut last_owner: HashMap<u32, ProcId> = HashMap::new();
    for (at, event) in account.events.iter().enumerate() {
        match &event.kind {
            EventKind::Fork { child } if *child == account.root => assert_eq!(at, 0, "{event}"),
            EventKind::Fork { child } => {
                assert_eq!(event.id, account.root, "event {at}: {event}");
                assert!(told.insert(*child), "event {at}: {event}: born twice");
                let before = last_owner.insert(child.pid(), *child);
                if let Some(before) = before.filter(|before| !births.ends.contains_key(before)) {
                    births.overlapping.extend([before, *child]);
                }
                if scouts.len() < pids.len() {
                    scouts.push(*child);
                    continue;
                }
                let number = births.ids.len() as u64;
                let pid = child.pid();
                let place = pids.get((number % pids.len().max(1) as u64) as usize);
                assert!(
                    place.is_none_or(|place| *place == pid),
                    "event {at}: {event}: not in the place of {number}"
                );
                let before = last_birth.insert(pid, child.birth());
                assert!(
                    before.is_none_or(|before| before < child.birth()),
                    "event {at}: {event}: after {before:?}"
                );
                births.number.insert(*child, number);
                births.ids.push(*child);
            }
            EventKind::Exit { status } => {
                assert!(told.contains(&event.id), "event {at}: {event}: before its birth");
                let before = births.ends.insert(event.id, *status);
                assert_eq!(before, None, "event {at}: {event}: ended twice");
                // The connector may tell an end after that of the pid's next owner.
                let in_order = account.plan.source == SourceName::Perf;
                if let Some(&number) = births.number.get(&event.id).filter(|_| in_order) {
                    let before = last_end.insert(event.id.pid(), number);
                    assert!(
                        before.is_none_or(|before| before < number),
                        "event {at}: {event}: after {before:?}"
                    );
                }
            }
            EventKind::Exec { .. } => assert_eq!(event.id, account.root, "event {at}: {event}"),
            other => panic!("event {at}: {other:?}"),
        }
    }
    assert_eq!(scouts.iter().map(|id| id.pid()).collect::<Vec<_>>(), *pids, "the scouts");
    assert_eq!(births.ids.len() as u64, account.plan.births, "births");
    assert_eq!(births.ends.len(), told.len(), "ends");
    for id in scouts.iter().chain([&account.root]) {
        right(*id, births.ends[id], ExitStatus::Code(0), account.statuses);
    }
    births
}

/// K7, K9: its own, or, where the source does not know all, unknown.
pub(crate) fn right(id: ProcId, told: ExitStatus, truth: ExitStatus, all_known: bool) {
    let unknown = told == ExitStatus::Unknown && !all_known;
    assert!(unknown || told == truth, "{id}: {told}, and it was {truth}");
}

/// Each end is its own birth's. Returns how many are unknown.
pub(crate) fn ends(account: &Account, births: &Births) -> usize {
    for (number, id) in births.ids.iter().enumerate() {
        let all_known = births.has_its_status(account, *id);
        right(*id, births.ends[id], plan(number as u64).status(), all_known);
    }
    births.ends.values().filter(|status| !status.is_known()).count()
}

/// Each registration that was accepted is told one end, which is that of the birth that had the pid when it was made. Returns
/// of how many births that was.
pub(crate) fn registrations(account: &Account, births: &Births) -> usize {
    let mut told: HashMap<ProcId, (u64, ExitStatus)> = HashMap::new();
    for notice in &account.notices {
        let NoticeKind::Process {
            id,
            exit: Some(status),
            ended: true,
            forked: false,
            ran: false,
            missed: false,
        } = notice.kind
        else {
            panic!("{notice:?}")
        };
        assert_eq!(told.insert(id, (notice.token, status)), None, "{id} told twice");
    }
    // A registration of whom the queue watches already takes that over, with its token: the last one's is told.
    let by_token: HashMap<u64, ProcId> = told.iter().map(|(id, (token, _))| (*token, *id)).collect();
    let mut next: HashMap<u32, ProcId> = HashMap::new();
    let mut registered = HashSet::new();
    for (token, added) in account.added.iter().enumerate().rev() {
        let id = by_token.get(&(token as u64)).or_else(|| next.get(&added.pid)).copied();
        let id = id.unwrap_or_else(|| panic!("{token}: {added:?}: no end was told"));
        assert!(added.id.is_none_or(|named| named == id), "{token}: {added:?}: told as {id}");
        next.insert(added.pid, id);
        registered.insert(id);
        let (_, status) = told[&id];
        let number = births.number.get(&id).copied();
        let number = number.or_else(|| zombie(account, births, added, status));
        let number = number.unwrap_or_else(|| panic!("{token}: {added:?}: {id}, {status}: of no birth"));
        let (earliest, latest) = window(added);
        assert!((earliest..=latest).contains(&number), "{token}: {added:?}: {id} is birth {number}");
        right(id, status, plan(number).status(), births.has_its_status(account, id));
    }
    assert_eq!(registered.len(), told.len(), "somebody's end was told who was not registered");
    told.len()
}

/// The births that a registration can have meant: the last one written down before the call, or any that came before it returned.
fn window(added: &Added) -> (u64, u64) {
    (added.before - 1, added.after)
}

/// Who was registered as a zombie, after its end was told, has an identity that the stream does not know. By its status it is known
/// which birth it was.
fn zombie(account: &Account, births: &Births, added: &Added, status: ExitStatus) -> Option<u64> {
    let (earliest, latest) = window(added);
    let on_this = |number: &u64| births.ids.get(*number as usize).is_some_and(|id| id.pid() == added.pid);
    let unknown = status == ExitStatus::Unknown && !account.statuses;
    (earliest..=latest).filter(on_this).find(|number| unknown || plan(*number).status() == status)
}
