//! [`Subtree`]: one child of the reaper with all its descendants, by the kernel's word.

use std::collections::HashSet;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::guard::Reaping;
use super::kernel::{Kernel, Listed, read};
use crate::ident::ProcId;

/// A child of this program with all its descendants, whatever they call and whoever of them dies, as the kernel has it: who is asked is the reaper's
/// list, not this library's books, so that no record that was lost is missed in it.
///
/// Cheap to clone. It keeps this program a reaper.
#[derive(Clone, Debug)]
pub struct Subtree(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    reaping: Reaping,
    child: ProcId,
    known: Mutex<Known>,
}

/// What of a subtree's pid is certain.
#[derive(Debug)]
struct Known {
    /// Who was in it, by pid and start, when it was certain that it was this child's.
    members: HashSet<(u32, u64)>,
    /// The child itself, in the same way.
    child: (u32, u64),
    /// Nobody is in it any more, so that its pid may be another child's.
    is_over: bool,
}

/// Whether anybody of a subtree lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Standing {
    /// Nobody. Zombies count as gone, and who is ending does not.
    Empty,
    /// So many at least.
    Living {
        /// How many.
        count: usize,
    },
    /// It cannot be said now: processes come and go faster than the list is read, or somebody lives and may be of another child that has got this one's
    /// pid, or there is no list (DragonFly) and somebody of this program's lives.
    Unclear,
}

/// How often it is looked again before it is unclear.
const ATTEMPTS: usize = 8;

/// One who was listed in it.
#[derive(Clone, Copy, Debug)]
struct Seen {
    pid: u32,
    /// Unless it is not to be seen by this user.
    start: Option<u64>,
    ended: bool,
}

impl Subtree {
    pub(super) fn new(reaping: Reaping, child: ProcId, start: u64) -> Self {
        let itself = (child.pid(), start);
        let known = Known { members: HashSet::from([itself]), child: itself, is_over: false };
        Self(Arc::new(Shared { reaping, child, known: Mutex::new(known) }))
    }

    /// The child.
    pub fn id(&self) -> ProcId {
        self.0.child
    }

    /// Whether anybody of it lives.
    ///
    /// `vouch` is asked of pids in it, if none of them was known before: whether the process that has this pid is one of this child's, known as such before
    /// this call, and lives. Without it the answer is unclear more often, and never wrong.
    ///
    /// # Errors
    /// What procctl(2) and the process table say.
    pub fn look(&self, mut vouch: impl FnMut(u32) -> bool) -> io::Result<Standing> {
        self.stand(&mut self.known(), &mut vouch)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stand(&self, known: &mut Known, vouch: &mut impl FnMut(u32) -> bool) -> io::Result<Standing> {
        let kernel = self.0.reaping.kernel();
        for _ in 0..ATTEMPTS {
            if known.is_over {
                return Ok(Standing::Empty);
            }
            let before = kernel.now();
            let (seen, exact) = match snapshot(kernel, self.0.child.pid(), before) {
                Ok(found) => found,
                Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                    known.is_over = kernel.count()? == 0;
                    return Ok(if known.is_over { Standing::Empty } else { Standing::Unclear });
                }
                // It has grown each time that it was read.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error),
            };
            let ours = known.is_ours(&seen, before, vouch);
            let count = seen.iter().filter(|seen| !seen.ended).count();
            match (count, exact) {
                (0, true) => {
                    // Whose it is makes no difference: those of this child would be in it as well.
                    known.is_over = seen.is_empty();
                    return Ok(Standing::Empty);
                }
                (0, false) => {}
                _ if ours => return Ok(Standing::Living { count }),
                _ => return Ok(Standing::Unclear),
            }
        }
        Ok(Standing::Unclear)
    }

    /// Kills everybody of it (SIGKILL, PROC_REAP_KILL) who lives, known to anybody or not, in one call; nobody, where [`look`](Self::look) says
    /// that it is unclear whose they are. What it found before.
    ///
    /// To be repeated until it finds nobody: who was being born meanwhile may have been left out. The fixpoint comes soon, as
    /// who has been killed starts nobody.
    ///
    /// # Errors
    /// What procctl(2) says; on DragonFly `Unsupported`, as it has no such call. Who may not be signalled by this user is none: he lives on, as `look` says.
    pub fn kill(&self, mut vouch: impl FnMut(u32) -> bool) -> io::Result<Standing> {
        let mut known = self.known();
        let kernel = self.0.reaping.kernel();
        let standing = self.stand(&mut known, &mut vouch)?;
        let Standing::Living { .. } = standing else { return Ok(standing) };
        // All that was read may be over by now, and the pid another's: so this is looked up last, as before any signal that goes by pid.
        for &(pid, start) in &known.members {
            if kernel.look(pid)?.is_some_and(|looked| looked.start == start) {
                let struck = kernel.kill(self.0.child.pid())?;
                tracing::debug!(child = %self.0.child, ?struck, "killed by the reaper's list");
                return Ok(standing);
            }
        }
        Ok(Standing::Unclear)
    }
}

/// The same of the same child.
impl PartialEq for Subtree {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Subtree {}

impl Known {
    /// Whether it is certain that these, who were listed after `before`, are of the child: the subtree's pid is given to nobody else while one of
    /// the child's is in it.
    fn is_ours(&mut self, seen: &[Seen], before: u64, vouch: &mut impl FnMut(u32) -> bool) -> bool {
        let identity = |seen: &Seen| Some((seen.pid, seen.start?));
        // The manual of older kernels warns that the pid may be another child's even then: he is not to be killed for it.
        let (pid, start) = self.child;
        if seen.iter().any(|seen| seen.pid == pid && seen.start.is_some_and(|seen| seen != start)) {
            return false;
        }
        let was_known = |seen: &Seen| identity(seen).is_some_and(|seen| self.members.contains(&seen));
        let ours =
            seen.iter().any(was_known) || seen.iter().filter(|seen| !seen.ended).any(|seen| vouch(seen.pid));
        if ours {
            // Who has started since may have the pid of one who was listed, and be another.
            let listed = seen.iter().filter_map(identity).filter(|(_, start)| *start <= before);
            self.members = listed.collect();
        }
        ours
    }
}

/// Who is in a subtree, ended or not; and, if nobody of them lives, whether that is all of it at one instant.
///
/// `begun`: before it. The kernel's list alone does not say so: it makes room for as many as there are, and then leaves out the oldest if others have come. It is whole if
/// everybody on it is still there in a second reading, and as many are counted in between: then those, and no others, were there when they were counted. Who was
/// a zombie before that starts nobody after it.
fn snapshot(kernel: &dyn Kernel, subtree: u32, begun: u64) -> io::Result<(Vec<Seen>, bool)> {
    let first = read(kernel)?;
    let mut seen = Vec::new();
    for listed in first.iter().filter(|listed| listed.subtree == subtree) {
        let looked = kernel.look(listed.pid)?;
        let ended = listed.ended || looked.is_some_and(|looked| looked.ended);
        seen.push(Seen { pid: listed.pid, start: looked.map(|looked| looked.start), ended });
    }
    if seen.iter().any(|seen| seen.start.is_none()) {
        // Gone, if it is on the list no more; else it is not to be seen by this user.
        let again = read(kernel)?;
        let is_listed = |pid| again.iter().any(|listed| (listed.pid, listed.subtree) == (pid, subtree));
        seen.retain(|seen| seen.start.is_some() || is_listed(seen.pid));
    }
    if seen.iter().any(|seen| !seen.ended) {
        return Ok((seen, false));
    }
    let before = named(kernel, &first)?;
    // Else somebody may have come to have the pid of one who was listed, out of the list at first.
    let are_they = before.iter().all(|(_, _, start)| start.is_none_or(|start| start <= begun));
    let count = kernel.count()?;
    let after: HashSet<_> = named(kernel, &read(kernel)?)?.into_iter().collect();
    let exact = are_they && count == first.len() && before.iter().all(|name| after.contains(name));
    Ok((seen, exact))
}

/// With their starts, as a pid may have another owner in the next reading.
fn named(kernel: &dyn Kernel, list: &[Listed]) -> io::Result<Vec<(u32, u32, Option<u64>)>> {
    let name = |listed: &Listed| {
        let looked = kernel.look(listed.pid)?;
        Ok((listed.pid, listed.subtree, looked.map(|looked| looked.start)))
    };
    list.iter().map(name).collect()
}
