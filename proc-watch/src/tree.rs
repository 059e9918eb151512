//! [`Tree`]: what a stream's events add up to.

use std::collections::HashMap;
use std::sync::Arc;

use proc_reactor::{Event, EventKind, ExitStatus, Metadata, ProcId, Time};

/// A tree of processes, folded from the events of its stream.
///
/// ```
/// # use proc_watch::{Events, Tree};
/// # async fn example(mut events: Events) {
/// let mut tree = Tree::new(events.id());
/// while let Some(event) = events.next().await {
///     tree.apply(&event);
/// }
/// for process in tree.processes().filter(|process| process.failed()) {
///     println!("{} {:?}", process.id, process.status);
/// }
/// # }
/// ```
///
/// Ended processes are kept until [`forget_ended`](Tree::forget_ended).
#[derive(Clone, Debug)]
pub struct Tree {
    root: ProcId,
    processes: HashMap<ProcId, Process>,
    /// By first event, so that parents come before their children.
    order: Vec<ProcId>,
    living: usize,
    lost: u64,
}

/// A process of a [`Tree`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Process {
    /// Who it is.
    pub id: ProcId,
    /// Its parent, where known. The parent of a tree's root is not in the tree.
    pub parent: Option<ProcId>,
    /// Steps from the root.
    pub depth: usize,
    /// When it was born, or found.
    pub since: Time,
    /// How many programs it has run since.
    pub execs: u64,
    /// What it runs: its own last exec's, else what its parent ran when it forked.
    pub metadata: Option<Arc<Metadata>>,
    /// How it ended; `None` while it lives.
    pub status: Option<ExitStatus>,
    /// When it ended.
    pub until: Option<Time>,
}

impl Process {
    /// Whether it lives.
    pub fn is_alive(&self) -> bool {
        self.status.is_none()
    }

    /// Whether it is known to have ended otherwise than with code 0.
    pub fn failed(&self) -> bool {
        self.status.is_some_and(|status| status.success() == Some(false))
    }
}

impl Tree {
    /// The tree of `root`, of which nothing is known yet.
    pub fn new(root: ProcId) -> Self {
        Self { root, processes: HashMap::new(), order: Vec::new(), living: 0, lost: 0 }
    }

    /// Takes in the next event of the stream.
    pub fn apply(&mut self, event: &Event) {
        match &event.kind {
            EventKind::Fork { child } => {
                let metadata = self.processes.get(&event.id).and_then(|parent| parent.metadata.clone());
                self.enter(*child, Some(event.id), event.time, metadata);
            }
            EventKind::Found { metadata } => {
                self.enter(event.id, event.parent, event.time, Some(Arc::clone(metadata)));
            }
            EventKind::Exec { metadata } => {
                if let Some(process) = self.processes.get_mut(&event.id) {
                    process.execs += 1;
                    process.metadata = Some(Arc::clone(metadata));
                }
            }
            EventKind::Exit { status } => {
                // A tree whose root was lost at birth knows of it only by its exit.
                if event.id == self.root && !self.processes.contains_key(&event.id) {
                    self.enter(event.id, event.parent, event.time, None);
                }
                self.leave(event.id, *status, event.time);
            }
            EventKind::Gap { lost, living, .. } => {
                self.lost += lost.map_or(0, |lost| lost.count);
                for member in living.iter() {
                    self.enter(member.id, member.parent, event.time, None);
                }
                let present: std::collections::HashSet<_> = living.iter().map(|member| member.id).collect();
                let gone: Vec<_> =
                    self.living().map(|process| process.id).filter(|id| !present.contains(id)).collect();
                for id in gone {
                    self.leave(id, ExitStatus::Unknown, event.time);
                }
            }
            EventKind::Lost { count, .. } => self.lost += count,
            _ => {}
        }
    }

    fn enter(&mut self, id: ProcId, parent: Option<ProcId>, since: Time, metadata: Option<Arc<Metadata>>) {
        if self.processes.contains_key(&id) {
            return;
        }
        let depth = match parent.and_then(|parent| self.processes.get(&parent)) {
            Some(parent) => parent.depth + 1,
            None => usize::from(id != self.root),
        };
        let process = Process { id, parent, depth, since, execs: 0, metadata, status: None, until: None };
        self.processes.insert(id, process);
        self.order.push(id);
        self.living += 1;
    }

    fn leave(&mut self, id: ProcId, status: ExitStatus, until: Time) {
        if let Some(process) = self.processes.get_mut(&id) {
            if process.is_alive() {
                process.status = Some(status);
                process.until = Some(until);
                self.living -= 1;
            }
        }
    }

    /// The process that it is the tree of.
    pub fn root(&self) -> ProcId {
        self.root
    }

    /// One process.
    pub fn get(&self, id: ProcId) -> Option<&Process> {
        self.processes.get(&id)
    }

    /// All processes, parents before their children.
    pub fn processes(&self) -> impl DoubleEndedIterator<Item = &Process> {
        self.order.iter().map(|id| &self.processes[id])
    }

    /// Those that live, parents before their children.
    pub fn living(&self) -> impl Iterator<Item = &Process> {
        self.processes().filter(|process| process.is_alive())
    }

    /// The children that `id` has had.
    pub fn children(&self, id: ProcId) -> impl Iterator<Item = &Process> {
        self.processes().filter(move |process| process.parent == Some(id))
    }

    /// How many live.
    pub fn len_living(&self) -> usize {
        self.living
    }

    /// Whether nobody lives, as far as has been told.
    pub fn is_empty(&self) -> bool {
        self.living == 0
    }

    /// Records that the system lost while this tree was followed.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Forgets those who have ended.
    pub fn forget_ended(&mut self) {
        self.processes.retain(|_, process| process.is_alive());
        self.order.retain(|id| self.processes.contains_key(id));
    }
}
