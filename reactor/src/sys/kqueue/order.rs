//! In which order a round is told: a birth comes before everything of the child, the end after everything of the process and after the
//! births of its children, and an owner of a pid has ended before the next one is born. Else the order is that of reading.

use super::lives::{Life, Lives};
use super::system::{Note, Queue};
use crate::event::{Change, Stamped};

#[derive(Debug)]
pub(super) struct Order<'a> {
    lives: &'a [Life],
    parents: Vec<Option<usize>>,
    children: Vec<Vec<usize>>,
    before: Vec<Option<usize>>,
    begun: Vec<bool>,
    ended: Vec<bool>,
    execs: Vec<u32>,
    time: u64,
    /// Who ended without anything that said so.
    pub(super) unsaid: u64,
}

impl<'a> Order<'a> {
    pub(super) fn new(all: &'a Lives, time: u64) -> Self {
        let lives = &all.lives;
        let parents: Vec<_> = lives.iter().map(|life| parent(all, life)).collect();
        let mut children = vec![Vec::new(); lives.len()];
        for (child, parent) in parents.iter().enumerate() {
            parent.iter().for_each(|&parent: &usize| children[parent].push(child));
        }
        let before = lives.iter().enumerate().map(|(at, life)| {
            let first = all.by_pid[&life.pid].start;
            at.checked_sub(1).filter(|before| *before >= first)
        });
        Self {
            lives,
            parents,
            children,
            before: before.collect(),
            begun: vec![false; lives.len()],
            // Of whom it is not known whose child it was, nobody can be told anything.
            ended: lives.iter().map(|life| life.over || (!life.known && life.parent.is_none())).collect(),
            execs: lives.iter().map(|life| life.execs).collect(),
            time,
            unsaid: 0,
        }
    }

    pub(super) fn tell(&mut self, all: &Lives, round: &[(Queue, Note)], out: &mut Vec<Stamped>) {
        for ((_, note), life) in round.iter().zip(&all.of) {
            let Some(life) = *life else { continue };
            self.begin(life, out);
            if note.is_exec() && !self.ended[life] {
                self.exec(life, out);
            }
            if note.is_exit() {
                self.end(life, out);
            }
        }
    }

    /// Its birth, those above first. Not recursive: a chain of births may be as long as there are pids.
    fn begin(&mut self, life: usize, out: &mut Vec<Stamped>) {
        let mut chain = Vec::new();
        let mut next = Some(life);
        while let Some(life) = next.filter(|life| !self.begun[*life]) {
            self.begun[life] = true;
            chain.push(life);
            next = self.parents[life];
        }
        for life in chain.into_iter().rev() {
            if let Some(before) = self.before[life] {
                self.end(before, out);
            }
            let Life { pid: child, known: false, parent: Some(parent), .. } = self.lives[life] else {
                continue;
            };
            self.push(Change::Fork { parent, thread: parent, child }, out);
        }
    }

    fn exec(&mut self, life: usize, out: &mut Vec<Stamped>) {
        if self.execs[life] > 0 {
            self.execs[life] -= 1;
            self.push(Change::Exec { process: self.lives[life].pid }, out);
        }
    }

    fn end(&mut self, life: usize, out: &mut Vec<Stamped>) {
        if std::mem::replace(&mut self.ended[life], true) {
            return;
        }
        self.begin(life, out);
        for child in std::mem::take(&mut self.children[life]) {
            self.begin(child, out);
        }
        while self.execs[life] > 0 {
            self.exec(life, out);
        }
        let Life { pid, exit, .. } = self.lives[life];
        self.unsaid += u64::from(exit.is_none());
        self.push(Change::End { process: pid, status: exit.flatten() }, out);
    }

    fn push(&self, change: Change, out: &mut Vec<Stamped>) {
        out.push(Stamped { time: self.time, change });
    }
}

/// Which life of the parent's pid made it: the last that had begun on the same queue. Where its end stands says nothing: an end that
/// merged with an exec has that one's place (C28).
fn parent(all: &Lives, child: &Life) -> Option<usize> {
    if child.known {
        return None;
    }
    let range = all.by_pid.get(&child.parent?)?.clone();
    let begun = |at: &usize| {
        let begins = all.lives[*at].begin.iter().zip(&child.begin);
        begins
            .into_iter()
            .any(|(parent, child)| parent.zip(*child).is_some_and(|(parent, child)| parent <= child))
    };
    range.clone().rev().find(begun).or((!range.is_empty()).then_some(range.start))
}
