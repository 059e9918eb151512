//! [`Scripted`]: processes that are only told of.

use std::collections::HashMap;

use proc_reactor::Change;
use proc_reactor::source::Living;
use proc_reactor::source::sim::Script;

use super::stage::{How, Stage};

/// This program's children, and theirs.
#[derive(Debug)]
pub(crate) struct Scripted {
    script: Script,
    next: u32,
    parents: HashMap<u32, u32>,
    /// Wait statuses.
    zombies: HashMap<u32, i32>,
    /// Living threads of those who have more, or another, than the first.
    threads: HashMap<u32, Vec<u32>>,
    keeps_no_zombies: Vec<u32>,
    codes: HashMap<u32, u8>,
}

impl Scripted {
    pub(crate) fn new(script: Script) -> Self {
        let me = std::process::id();
        script.list(Living { pid: me, parent: 1, start: 1, threads: vec![me], status: None });
        Self {
            script,
            next: 5_000_000,
            parents: HashMap::new(),
            zombies: HashMap::new(),
            threads: HashMap::new(),
            keeps_no_zombies: Vec::new(),
            codes: HashMap::new(),
        }
    }

    fn number(&mut self) -> u32 {
        self.next += 1;
        self.next
    }

    fn born(&mut self, parent: u32, pid: u32) {
        self.script.fork(parent, pid);
        self.parents.insert(pid, parent);
    }

    fn thread_ends(&self, process: u32, thread: u32, status: i32) {
        self.script.change(Change::Exit { process, thread, status: Some(status), parent: 0 });
    }

    fn ends(&mut self, pid: u32, status: i32) {
        let parent = self.parents[&pid];
        let mut threads = self.threads.remove(&pid).unwrap_or_else(|| vec![pid]);
        let last = threads.pop().expect("who lives has a thread");
        for thread in threads {
            self.thread_ends(pid, thread, status);
        }
        if self.keeps_no_zombies.contains(&parent) {
            self.script.unlist(pid);
            self.parents.remove(&pid);
        } else {
            self.script.list(Living { pid, parent, start: 1, threads: vec![], status: Some(status) });
            self.zombies.insert(pid, status);
        }
        self.thread_ends(pid, last, status);
        // Orphans come to this program, as it is a subreaper.
        for adopted in self.parents.values_mut().filter(|parent| **parent == pid) {
            *adopted = std::process::id();
        }
    }
}

impl Stage for Scripted {
    fn spawn(&mut self) -> u32 {
        self.fork(std::process::id())
    }

    fn fork(&mut self, parent: u32) -> u32 {
        let pid = self.number();
        self.born(parent, pid);
        pid
    }

    fn fork_as(&mut self, parent: u32, pid: u32) -> Result<(), String> {
        self.born(parent, pid);
        Ok(())
    }

    fn fork_exec(&mut self, parent: u32) -> u32 {
        let pid = self.fork(parent);
        self.script.exec(pid);
        pid
    }

    fn once(&mut self, parent: u32, how: How, code: u8) -> u32 {
        let pid = if how == How::Exec { self.fork_exec(parent) } else { self.fork(parent) };
        self.ends(pid, i32::from(code) << 8);
        pid
    }

    fn many(&mut self, parent: u32, count: u32, how: How, code: u8) -> Vec<u32> {
        let one = |_| {
            let pid = self.once(parent, how, code);
            if self.zombies.contains_key(&pid) {
                self.reap(pid);
            }
            pid
        };
        (0..count).map(one).collect()
    }

    fn storm(&mut self, parent: u32, threads: u32, each: u32, how: How) -> Vec<u32> {
        let rounds = (0..each).flat_map(|_| {
            let round: Vec<u32> = (0..threads).map(|_| self.once(parent, how, 0)).collect();
            for pid in &round {
                self.reap(*pid);
            }
            round
        });
        rounds.collect()
    }

    fn fork_fails(&mut self, _parent: u32) {}

    fn exec(&mut self, pid: u32) {
        self.script.exec(pid);
    }

    fn exec_by_thread(&mut self, pid: u32) {
        self.thread(pid);
        self.script.exec(pid);
        self.threads.remove(&pid);
    }

    fn exec_fails(&mut self, _pid: u32) {}

    fn threads(&mut self, pid: u32, count: u32) {
        for _ in 0..count {
            let thread = self.thread(pid);
            self.threads.get_mut(&pid).expect("it has several").retain(|other| *other != thread);
            self.thread_ends(pid, thread, 0);
        }
    }

    fn thread(&mut self, pid: u32) -> u32 {
        let thread = self.number();
        self.script.change(Change::Thread { process: pid, thread });
        self.threads.entry(pid).or_insert_with(|| vec![pid]).push(thread);
        thread
    }

    fn leader_leaves(&mut self, pid: u32) {
        self.thread(pid);
        self.threads.get_mut(&pid).expect("it has several").retain(|other| *other != pid);
        self.thread_ends(pid, pid, 0);
    }

    fn ignore_children(&mut self, pid: u32) {
        self.keeps_no_zombies.push(pid);
    }

    fn dump_core(&mut self, _pid: u32) {}

    fn exit(&mut self, pid: u32, code: i32) {
        self.ends(pid, (code & 0xff) << 8);
    }

    fn kill(&mut self, pid: u32, signal: i32) {
        self.ends(pid, signal);
    }

    fn stop_and_continue(&mut self, _pid: u32) {}

    fn reap(&mut self, pid: u32) -> i32 {
        self.script.unlist(pid);
        self.parents.remove(&pid);
        self.zombies.remove(&pid).expect("a zombie")
    }

    fn forget(&mut self, pid: u32) {
        self.script.unlist(pid);
        self.parents.remove(&pid);
        self.zombies.remove(&pid);
    }

    fn quick(&mut self, code: u8) -> u32 {
        let pid = self.spawn();
        self.codes.insert(pid, code);
        pid
    }

    fn let_go(&mut self, pid: u32) {
        let code = self.codes.remove(&pid).expect("a quick child that is still held");
        self.exit(pid, code.into());
    }

    fn finish(&mut self) -> Vec<u32> {
        let living: Vec<u32> =
            self.parents.keys().copied().filter(|pid| !self.zombies.contains_key(pid)).collect();
        living.iter().for_each(|pid| self.ends(*pid, 9));
        let zombies: Vec<u32> = self.zombies.keys().copied().collect();
        for pid in zombies {
            self.reap(pid);
        }
        living
    }
}
