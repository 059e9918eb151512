//! Keys, and one leaf lock a queue, which a batch of changes takes once: what the changes have for a queue is gathered
//! under the table's lock and told under both. Otherwise as in `keys`, but that a stale key stays until the list of
//! keys is to grow.

use rustc_hash::FxHashMap;

use crate::keys::shed;
use crate::lock::{Alone, Lock};
use crate::notes::{Change, EXIT, Event, Flags, Notes, Pid, push_tight};
use crate::slots::{Key, Slots};

pub(crate) struct Gathered {
    table: Lock<Table>,
    queues: Box<[Alone<Slots>]>,
}

struct Table {
    processes: FxHashMap<Pid, Vec<Key>>,
    /// What is to be told to each queue; empty between two batches.
    told: Box<[Vec<(Key, Flags)>]>,
    /// To which queues there is anything.
    queues: Vec<u32>,
}

impl Notes for Gathered {
    const NAME: &str = "keys, gathered";
    type Handle = Key;
    type Scratch = ();

    fn new(queues: usize) -> Self {
        let told = (0..queues).map(|_| Vec::new()).collect();
        let table = Table { processes: FxHashMap::default(), told, queues: Vec::new() };
        Self { table: Lock::new(table), queues: Alone::many(queues) }
    }

    fn fork(&self, pid: Pid) {
        self.table.lock().processes.insert(pid, Vec::new());
    }

    fn register(&self, queue: usize, pid: Pid) -> Option<Key> {
        let mut table = self.table.lock();
        let keys = table.processes.get_mut(&pid)?;
        shed(keys, &self.queues);
        let key = self.queues[queue].0.lock().insert(queue, pid);
        push_tight(keys, key);
        Some(key)
    }

    fn apply(&self, changes: &[Change]) {
        let mut table = self.table.lock();
        let Table { processes, told, queues } = &mut *table;
        for change in changes {
            change.other_work();
            let tell = |key: &Key| {
                let told = &mut told[key.queue as usize];
                if told.is_empty() {
                    queues.push(key.queue);
                }
                told.push((*key, change.flags));
            };
            if change.flags & EXIT != 0 {
                processes.remove(&change.pid).iter().flatten().for_each(tell);
            } else {
                processes.get(&change.pid).into_iter().flatten().for_each(tell);
            }
        }
        for queue in queues.drain(..) {
            let mut slots = self.queues[queue as usize].0.lock();
            for (key, flags) in told[queue as usize].drain(..) {
                slots.activate(key, flags);
            }
        }
    }

    fn scan(&self, queue: usize, _: &mut (), events: &mut Vec<Event>) {
        self.queues[queue].0.lock().scan(events);
    }

    fn delete(&self, key: &Key) {
        self.queues[key.queue as usize].0.lock().remove(*key);
    }

    fn is_empty(&self) -> bool {
        self.table.lock().processes.is_empty() && self.queues.iter().all(|queue| queue.0.lock().is_empty())
    }
}
