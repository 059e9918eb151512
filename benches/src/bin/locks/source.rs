//! The source's lock: one for processes, notes and the lists of ready ones.

use rustc_hash::FxHashMap;

use crate::lock::Lock;
use crate::notes::{Change, EXIT, Event, Notes, Pid, push_tight};
use crate::slots::{Key, Slots};

pub(crate) struct Source(Lock<Everything>);

struct Everything {
    processes: FxHashMap<Pid, Vec<Key>>,
    queues: Box<[Slots]>,
}

impl Notes for Source {
    const NAME: &str = "source";
    type Handle = Key;
    type Scratch = ();

    fn new(queues: usize) -> Self {
        let queues = (0..queues).map(|_| Slots::default()).collect();
        Self(Lock::new(Everything { processes: FxHashMap::default(), queues }))
    }

    fn fork(&self, pid: Pid) {
        self.0.lock().processes.insert(pid, Vec::new());
    }

    fn register(&self, queue: usize, pid: Pid) -> Option<Key> {
        let mut all = self.0.lock();
        let Everything { processes, queues } = &mut *all;
        let keys = processes.get_mut(&pid)?;
        let key = queues[queue].insert(queue, pid);
        push_tight(keys, key);
        Some(key)
    }

    fn apply(&self, changes: &[Change]) {
        let mut all = self.0.lock();
        let Everything { processes, queues } = &mut *all;
        for change in changes {
            change.other_work();
            // Every key is that of a note: who takes a note away takes its key along.
            let tell = |key: &Key| assert!(queues[key.queue as usize].activate(*key, change.flags));
            if change.flags & EXIT != 0 {
                processes.remove(&change.pid).iter().flatten().for_each(tell);
            } else {
                processes.get(&change.pid).into_iter().flatten().for_each(tell);
            }
        }
    }

    fn scan(&self, queue: usize, _: &mut (), events: &mut Vec<Event>) {
        self.0.lock().queues[queue].scan(events);
    }

    fn delete(&self, key: &Key) {
        let mut all = self.0.lock();
        let Everything { processes, queues } = &mut *all;
        let Some(pid) = queues[key.queue as usize].remove(*key) else { return };
        if let Some(keys) = processes.get_mut(&pid) {
            keys.retain(|other| other != key);
        }
    }

    fn is_empty(&self) -> bool {
        let all = self.0.lock();
        all.processes.is_empty() && all.queues.iter().all(Slots::is_empty)
    }
}
