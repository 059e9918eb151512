//! Over a source that tells no threads, whoever is started by this program while a spawn is going on seems to be of that spawn. When the
//! spawn has said which child is its own, the others are taken out of its tree again, with all that they did and started.

use rustc_hash::FxHashSet;

use crate::ProcId;
use crate::event::EventKind;
use crate::process::track::{RootKey, TrackSet};
use crate::reactor::state::State;
use crate::sync::Arc;

impl State {
    /// `own` is the child of the spawn, and the others that the tree `key` has kept are not. Nobody reads the tree yet.
    pub(crate) fn disown_others(&mut self, key: RootKey, own: ProcId) {
        let Some(root) = self.roots.get_mut(key) else { return };
        let mut others: FxHashSet<ProcId> = root.spawned.iter().copied().filter(|id| *id != own).collect();
        if others.is_empty() {
            return;
        }
        // What the log still has tells who is below them, dead or alive: a birth comes before all else.
        root.log.retain(|event| {
            if let EventKind::Fork { child } = event.kind {
                if others.contains(&event.id) {
                    others.insert(child);
                }
                return !others.contains(&child);
            }
            !others.contains(&event.id)
        });
        let Self { table, roots, .. } = self;
        for (_, process) in table.iter_mut().filter(|(_, process)| others.contains(&process.id)) {
            let Some(track) = process.track.take_if(|track| track.contains(key)) else { continue };
            process.track = track.without(key);
            if let Some(root) = roots.get_mut(key) {
                root.living -= 1;
            }
        }
    }
}

impl TrackSet {
    /// This set less one tree; none if nothing is left.
    fn without(&self, root: RootKey) -> Option<Arc<Self>> {
        let others: Box<[RootKey]> = self.roots().iter().copied().filter(|other| *other != root).collect();
        (!others.is_empty()).then(|| Arc::new(Self::from(others)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Change, Stamped};
    use crate::log::Read;
    use crate::reactor::roots::Start;

    #[test]
    fn another_thread_s_children_are_not_of_the_spawn() {
        let mut state = State::new(50);
        let key = state.begin_spawn(50, false, 1 << 20);
        let mut time = 0;
        let mut tell = |change| {
            time += 1;
            state.apply(&Stamped { time, change }, None);
        };
        let fork = |parent, child| Change::Fork { parent, thread: parent, child };
        tell(fork(50, 60));
        tell(fork(50, 61));
        tell(fork(60, 62));
        tell(fork(61, 63));
        tell(Change::End { process: 62, status: Some(0) });
        tell(Change::End { process: 60, status: Some(0) });
        tell(Change::Exec { process: 63 });
        state.end_spawn(50);
        let id = state.claim(key, 61, true).unwrap();
        let told = |state: &mut State| {
            let (cursor, _) = state.roots.subscribe(key, Start::Beginning).unwrap();
            let mut events = std::collections::VecDeque::new();
            let read = state.roots.get_mut(key).unwrap().log.read(cursor, &mut events, 100);
            assert!(matches!(read, Read::Events));
            events.into_iter().map(|event| event.id.pid()).collect::<Vec<_>>()
        };
        assert_eq!(told(&mut state), [50, 61, 63]);
        assert_eq!(state.living(key).iter().map(|member| member.id.pid()).collect::<Vec<_>>(), [61, 63]);
        assert_eq!((id.pid(), state.roots.get(key).unwrap().living), (61, 2));
    }
}
