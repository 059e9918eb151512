//! Whose the notes are. Each queue tells of the lives of a pid in their order (C39), may tell of a birth twice, and may know nothing
//! of a life that the other one tells of; the fuller one may lose an end. What both said is laid side by side, as the fewest lives that
//! explain it.

use rustc_hash::FxHashMap;

use super::kernels::Kernel;
use super::system::{Note, Queue};

/// What a queue knows of a life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Heard {
    /// Nothing: it is not followed there.
    #[default]
    No,
    /// It is followed there: its end is to come.
    Follows,
    /// Its end has been told there, or will not be.
    Ended,
}

/// A process that is followed, or has ended and is still to be told of by one of the queues.
#[derive(Clone, Debug, Default)]
pub(super) struct Member {
    pub(super) parent: u32,
    pub(super) on: [Heard; 2],
    /// By when it had started: who has its pid and started later is another.
    pub(super) seen: u64,
    /// When its end was told.
    pub(super) ended: Option<u64>,
    /// The other queue was read before it was born.
    pub(super) late: bool,
}

/// What one round of reading has of one life.
#[derive(Clone, Debug, Default)]
pub(super) struct Life {
    pub(super) pid: u32,
    /// It is that of the member, whose birth has been told.
    pub(super) known: bool,
    /// The end has been told.
    pub(super) over: bool,
    /// The fuller queue tells of a birth under its pid, which it had told before: that again, or that of the next owner, where the end was lost.
    pub(super) again: bool,
    pub(super) parent: Option<u32>,
    pub(super) on: [Heard; 2],
    pub(super) execs: u32,
    /// How it ended, with a status where one was told.
    pub(super) exit: Option<Option<i32>>,
    /// Where in the round each queue first spoke of it.
    pub(super) begin: [Option<usize>; 2],
}

impl Life {
    /// It has ended, and the fuller queue, which follows it, has not said so.
    pub(super) fn is_suspect(&self) -> bool {
        self.on == [Heard::Follows, Heard::Ended] && self.exit.is_some()
    }
}

/// The lives of a round, those of one pid in their order.
#[derive(Debug, Default)]
pub(super) struct Lives {
    pub(super) lives: Vec<Life>,
    /// Which life each note of the round is of; none of a stale one.
    pub(super) of: Vec<Option<usize>>,
    /// The lives of a pid.
    pub(super) by_pid: FxHashMap<u32, std::ops::Range<usize>>,
    /// Pids of several lives that cannot be told apart: the queue that loses no end is believed alone.
    pub(super) doubtful: Vec<u32>,
}

impl Lives {
    /// What is at `again` in the round and behind it the fuller queue said after the other had been read.
    pub(super) fn new(
        kernel: &Kernel,
        members: &FxHashMap<u32, Member>,
        round: &[(Queue, Note)],
        again: usize,
    ) -> Self {
        let mut order = Vec::new();
        let mut notes: FxHashMap<u32, [Vec<usize>; 2]> = FxHashMap::default();
        for (at, (queue, note)) in round.iter().enumerate() {
            let of_pid = notes.entry(note.pid).or_insert_with(|| {
                order.push(note.pid);
                Default::default()
            });
            of_pid[*queue as usize].push(at);
        }
        let mut all = Self { of: vec![None; round.len()], ..Self::default() };
        for pid in order {
            let begin = all.lives.len();
            all.add(kernel, pid, members.get(&pid), &notes[&pid], round, again);
            all.by_pid.insert(pid, begin..all.lives.len());
        }
        all
    }

    fn add(
        &mut self,
        kernel: &Kernel,
        pid: u32,
        member: Option<&Member>,
        notes: &[Vec<usize>; 2],
        round: &[(Queue, Note)],
        again: usize,
    ) {
        let of_queue = |queue: Queue| {
            let notes = notes[queue as usize].iter().map(|&at| (at, round[at].1));
            notes.collect::<Vec<_>>()
        };
        let told = Queue::BOTH.map(of_queue);
        let mut matched = Matched::new(kernel, [member; 2], &told, again);
        let doubtful = matched.is_doubtful(member, again);
        if (doubtful && !matched.agrees()) || matched.disagrees(member, again) {
            // What the queue says that had not heard of the member is not of the member.
            let heard = |queue: Queue| member.filter(|member| member.on[queue as usize] != Heard::No);
            matched = Matched::new(kernel, Queue::BOTH.map(heard), &told, again);
        }
        // Where both had heard of it and disagree, the fuller one lost the member's end and tells the next one's.
        if doubtful || matched.is_doubtful(member, again) || matched.disagrees(member, again) {
            self.doubtful.push(pid);
            matched.believe_ends();
        }
        let Matched { full, ends, pairs } = matched;
        for pair in pairs {
            let sides = [pair.0.map(|at| &full[at]), pair.1.map(|at| &ends[at])];
            let index = self.lives.len();
            let mut life = Life { pid, ..Life::default() };
            for (side, part) in sides.into_iter().enumerate() {
                let Some(part) = part else { continue };
                part.notes.iter().for_each(|&at| self.of[at] = Some(index));
                life.known |= part.known;
                life.again |= part.again && side == Queue::Full as usize;
                life.parent = life.parent.or(part.parent);
                life.execs += part.execs;
                life.on[side] = part.heard;
                // Of two that disagree one was taken from the wrong life: the one that loses none is right.
                life.exit = part.exit.or(life.exit);
                life.begin[side] = if part.known { Some(0) } else { part.notes.first().copied() };
            }
            if let Some(member) = member.filter(|_| life.known) {
                life.over = member.ended.is_some();
                life.parent = Some(member.parent);
                for (side, part) in sides.iter().enumerate() {
                    if part.is_none() {
                        life.on[side] = member.on[side];
                    }
                }
            }
            self.lives.push(life);
        }
    }

    pub(super) fn has_births(&self, pid: u32) -> bool {
        let lives = self.by_pid.get(&pid).map_or(&[][..], |range| &self.lives[range.clone()]);
        lives.iter().any(|life| !life.known)
    }

    /// Lives of its pid that came after.
    pub(super) fn later(&self, index: usize) -> &[Life] {
        let range = &self.by_pid[&self.lives[index].pid];
        &self.lives[index + 1..range.end]
    }
}

/// The parts of one life, by the queue.
type Pair = (Option<usize>, Option<usize>);

/// What one queue has of one life.
#[derive(Debug, Default)]
struct Part {
    known: bool,
    again: bool,
    parent: Option<u32>,
    heard: Heard,
    execs: u32,
    exit: Option<Option<i32>>,
    notes: Vec<usize>,
}

impl Part {
    /// Which of two that are not the same comes first: who has not ended is the last, and else who was read of first.
    fn place(&self) -> (bool, usize) {
        if self.known { (false, 0) } else { (self.exit.is_none(), self.notes.first().map_or(0, |at| at + 1)) }
    }

    /// `self` is of the fuller queue.
    fn is_same(&self, other: &Self) -> bool {
        fn agree<T: PartialEq>(one: Option<T>, other: Option<T>) -> bool {
            one.is_none() || other.is_none() || one == other
        }
        self.known == other.known
            && (self.known
                || (agree(self.parent, other.parent) && agree(self.exit.flatten(), other.exit.flatten())))
    }
}

/// The lives of one pid by both queues, and which are the same.
struct Matched {
    full: Vec<Part>,
    ends: Vec<Part>,
    pairs: Vec<Pair>,
}

impl Matched {
    fn new(
        kernel: &Kernel,
        member: [Option<&Member>; 2],
        told: &[Vec<(usize, Note)>; 2],
        again: usize,
    ) -> Self {
        let parts = |queue: Queue, splits| {
            let at = queue as usize;
            parts(kernel, queue, member[at], told[at].iter().copied(), splits)
        };
        let (mut full, ends) = (parts(Queue::Full, 0), parts(Queue::Ends, 0));
        let mut pairs = align(&full, &ends, again);
        let alike = |pairs: &[Pair]| pairs.iter().filter(|pair| pair.0.is_some() && pair.1.is_some()).count();
        // A birth that looks told twice may be the next one, where the end between was lost: if that explains more.
        for splits in 1..=ends.len() {
            let split = parts(Queue::Full, splits);
            let other = align(&split, &ends, again);
            if alike(&other) > alike(&pairs) {
                (full, pairs) = (split, other);
            }
        }
        Self { full, ends, pairs }
    }

    /// Of one life both queues tell the same, or one of them missed it. Where there are several, and something was missed, or seems to have been,
    /// it is not known which of them: one that the one missed may look like one that the other did.
    fn is_doubtful(&self, member: Option<&Member>, again: usize) -> bool {
        let late = |at: usize| self.full[at].notes.iter().all(|note| *note >= again);
        let expected = |pair: &Pair| match *pair {
            (Some(_), Some(_)) => true,
            // Its end was told there before, or is told by the next reading.
            (Some(at), None) if self.full[at].known => {
                member.is_some_and(|member| member.on[Queue::Ends as usize] != Heard::No)
            }
            (None, Some(at)) if self.ends[at].known => {
                member.is_some_and(|member| member.on[Queue::Full as usize] != Heard::No)
            }
            (Some(at), None) => late(at),
            _ => false,
        };
        // A birth that is told late may be the next one's, if not both tell of the same end.
        let agrees = self.agrees();
        let others = |parts: &[Part], queue: Queue| {
            let heard = member.is_some_and(|member| member.on[queue as usize] != Heard::No);
            parts.iter().any(|part| !part.known || (!heard && !agrees && !part.notes.is_empty()))
        };
        others(&self.full, Queue::Full)
            && others(&self.ends, Queue::Ends)
            && self.pairs.len() > 1
            && !self.pairs.iter().all(expected)
    }

    /// Leaves out of what the fuller queue says all that is not of the member.
    fn believe_ends(&mut self) {
        let known = |parts: &[Part]| parts.first().is_some_and(|part| part.known).then_some(0);
        let (full, ends) = (known(&self.full), known(&self.ends));
        if let [member, _, ..] = &mut self.full[..]
            && member.known
        {
            // There was another after it.
            member.exit = member.exit.or(Some(None));
            member.heard = Heard::Ended;
        }
        let others = (usize::from(ends.is_some())..self.ends.len()).map(|at| (None, Some(at)));
        let member = Some((full, ends)).filter(|pair| *pair != (None, None));
        self.pairs = member.into_iter().chain(others).collect();
    }

    /// Whether both tell how the member ended, and the same.
    fn agrees(&self) -> bool {
        let exit = |parts: &[Part]| parts.first().filter(|part| part.known).and_then(|part| part.exit);
        exit(&self.full).zip(exit(&self.ends)).is_some_and(|(one, other)| one == other)
    }

    /// Whether both tell how the member ended, and not the same; or the one does, and the other, which had not heard of it, tells of a birth and
    /// of no end.
    fn disagrees(&self, member: Option<&Member>, again: usize) -> bool {
        let of_member = |parts: &'_ [Part]| parts.first().is_some_and(|part| part.known);
        let Some(member) = member.filter(|_| of_member(&self.full) && of_member(&self.ends)) else {
            return false;
        };
        let (full, ends) = (&self.full[0], &self.ends[0]);
        match (full.exit, ends.exit) {
            (Some(one), Some(other)) => one != other,
            (Some(_), None) => {
                let late_birth = member.on[Queue::Ends as usize] == Heard::No && !ends.notes.is_empty();
                late_birth && full.notes.last().is_some_and(|at| *at < again)
            }
            _ => false,
        }
    }
}

/// The lives of one pid that a queue tells of. A birth that is told again is the same one, but for `splits` of them.
fn parts(
    kernel: &Kernel,
    queue: Queue,
    member: Option<&Member>,
    notes: impl Iterator<Item = (usize, Note)>,
    mut splits: usize,
) -> Vec<Part> {
    let mut done = Vec::new();
    let mut current = member.and_then(|member| {
        let heard = member.on[queue as usize];
        // Of one that is over, only what is still to come belongs to it: where a queue has not been read since, all of it.
        let goes_on =
            heard == Heard::Follows || (heard == Heard::No && (member.ended.is_none() || member.late));
        goes_on.then(|| Part { known: true, parent: Some(member.parent), heard, ..Part::default() })
    });
    for (at, note) in notes {
        if note.is_child() {
            let parent = note.parent();
            match &mut current {
                Some(part) if part.parent.is_none() || parent.is_none() || part.parent == parent => {
                    if part.heard == Heard::Follows && splits > 0 {
                        splits -= 1;
                        done.extend(current.take());
                    } else {
                        part.again |= part.known && part.heard == Heard::Follows;
                        part.heard = Heard::Follows;
                        part.parent = part.parent.or(parent);
                    }
                }
                _ => done.extend(current.take()),
            }
            current.get_or_insert_with(|| Part { parent, heard: Heard::Follows, ..Part::default() });
        }
        // Where the birth has not been told there, or no more: of an earlier life, whose end the other queue told.
        let Some(part) = current.as_mut().filter(|part| part.heard == Heard::Follows) else { continue };
        part.notes.push(at);
        part.execs += u32::from(note.is_exec());
        if note.is_exit() {
            part.exit = Some(status(kernel, note));
            part.heard = Heard::Ended;
            done.extend(current.take());
        }
    }
    done.extend(current);
    done
}

/// The wait status, of a kernel that was asked for it.
fn status(kernel: &Kernel, note: Note) -> Option<i32> {
    use crate::flags::NOTE_EXIT;
    let told = note.fflags & NOTE_EXIT != 0 && (!kernel.asks_status || note.fflags & NOTE_EXITSTATUS != 0);
    told.then_some((note.data & kernel.status_mask) as i32)
}

/// macOS: `data` has the status (C18).
pub(crate) const NOTE_EXITSTATUS: u32 = 0x0400_0000;

/// Which lives of the one are which of the other: as many as can be, in order. Rarely are there two of one pid in a round.
fn align(full: &[Part], ends: &[Part], again: usize) -> Vec<Pair> {
    // What had ended when the fuller queue was first read had ended when the other was; but both are not told at once, so that where there is
    // one only it is that all the same.
    let several = full.len().max(ends.len()) > 1;
    let ended = |part: &Part| part.exit.is_some() && part.notes.last().is_some_and(|at| *at < again);
    let same = |one: &Part, other: &Part| {
        one.is_same(other) && (one.known || !several || other.exit.is_some() || !ended(one))
    };
    let mut most = vec![vec![0_usize; ends.len() + 1]; full.len() + 1];
    for (i, one) in full.iter().enumerate().rev() {
        for (j, other) in ends.iter().enumerate().rev() {
            let skipped = most[i + 1][j].max(most[i][j + 1]);
            most[i][j] = if same(one, other) { skipped.max(most[i + 1][j + 1] + 1) } else { skipped };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut pairs = Vec::new();
    while i < full.len() || j < ends.len() {
        if i == full.len() {
            pairs.push((None, Some(j)));
            j += 1;
        } else if j == ends.len() {
            pairs.push((Some(i), None));
            i += 1;
        } else if same(&full[i], &ends[j]) && most[i][j] == most[i + 1][j + 1] + 1 {
            pairs.push((Some(i), Some(j)));
            (i, j) = (i + 1, j + 1);
        } else {
            // Where both may come next, that which was read first.
            let (skips_full, skips_ends) = (most[i][j] == most[i + 1][j], most[i][j] == most[i][j + 1]);
            if skips_full && (!skips_ends || full[i].place() < ends[j].place()) {
                pairs.push((Some(i), None));
                i += 1;
            } else {
                pairs.push((None, Some(j)));
                j += 1;
            }
        }
    }
    pairs
}
