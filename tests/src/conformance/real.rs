//! Real processes: puppets, which obey over sockets, and quick children.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use super::attempt::skip;

use super::os::{self, LOOK, PATIENCE, Quick, Waited};
use super::stage::{How, Stage};
use super::{puppet, step};

/// Asks until there is an answer. The name of the step is for whoever reads that it hung.
pub(crate) fn until<T>(step: impl Fn() -> String, mut ask: impl FnMut() -> Option<T>) -> T {
    if let Some(answer) = ask() {
        return answer;
    }
    let begun = Instant::now();
    loop {
        step::now(step());
        std::thread::sleep(LOOK);
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begun.elapsed() < PATIENCE, "hung: {}", step());
    }
}

#[derive(Debug)]
struct Known {
    parent: u32,
    zombie: bool,
}

/// Its processes are all ended and reaped when it is dropped.
#[derive(Debug)]
pub(crate) struct Real {
    dir: Dir,
    master: UnixDatagram,
    /// What was said before it was wanted.
    said: Vec<(u32, String)>,
    /// Who has not been reaped.
    known: HashMap<u32, Known>,
    keeps_no_zombies: Vec<u32>,
    /// Whose children orphans become.
    adopts: u32,
    quick: HashMap<u32, Quick>,
}

impl Real {
    pub(crate) fn new() -> Self {
        let adopts = os::become_subreaper();
        let dir = Dir::new();
        let master = UnixDatagram::bind(dir.0.join("master")).expect("a socket");
        master.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        puppet::make_room(&master);
        Self {
            dir,
            master,
            said: Vec::new(),
            known: HashMap::new(),
            keeps_no_zombies: Vec::new(),
            adopts,
            quick: HashMap::new(),
        }
    }

    fn know(&mut self, pid: u32, parent: u32) -> u32 {
        self.known.insert(pid, Known { parent, zombie: false });
        pid
    }

    fn hear(&mut self, pid: u32, step: &str) -> String {
        let begun = Instant::now();
        step::now(format!("puppet {pid}: {step}"));
        loop {
            if let Some(place) = self.said.iter().position(|(by, _)| *by == pid) {
                return self.said.remove(place).1;
            }
            let mut buffer = [0; 16384];
            let length = self.master.recv(&mut buffer).ok().filter(|_| begun.elapsed() < PATIENCE);
            let length = length.unwrap_or_else(|| panic!("hung: puppet {pid}: {step}"));
            let text = std::str::from_utf8(&buffer[..length]).expect("words");
            let (by, words) = text.split_once(' ').expect("a pid and words");
            self.said.push((by.parse().expect("a pid"), words.to_owned()));
        }
    }

    fn tell(&self, pid: u32, order: &str) {
        step::now(format!("puppet {pid} is told: {order}"));
        let place = self.dir.0.join(pid.to_string());
        self.master
            .send_to(order.as_bytes(), place)
            .unwrap_or_else(|error| panic!("{pid}: {order}: {error}"));
    }

    fn order(&mut self, pid: u32, order: &str) -> String {
        self.tell(pid, order);
        self.hear(pid, order)
    }

    fn order_done(&mut self, pid: u32, order: &str) {
        assert_eq!(self.order(pid, order), "done", "{order}");
    }

    fn numbers(&mut self, pid: u32, order: &str) -> Vec<u32> {
        let words = self.order(pid, order);
        let number = |word: &str| word.parse().unwrap_or_else(|_| panic!("{order}: {words}"));
        words.split(' ').map(number).collect()
    }

    fn ready(&mut self, pid: u32, step: &str) {
        assert_eq!(self.hear(pid, step), "ready", "{step}");
    }

    /// It is on its way out.
    fn await_end(&mut self, pid: u32) {
        let kept = self.is_kept(pid);
        until(|| format!("the end of {pid} shows"), || self.has_ended(pid).then_some(()));
        let adopts = self.adopts;
        for orphan in self.known.values_mut().filter(|known| known.parent == pid) {
            orphan.parent = adopts;
        }
        self.quick.remove(&pid);
        if kept {
            self.known.get_mut(&pid).expect("it is known").zombie = true;
        } else {
            self.known.remove(&pid);
        }
    }

    /// Whether it stays a zombie when it has ended.
    fn is_kept(&self, pid: u32) -> bool {
        let parent = self.known[&pid].parent;
        let by_init = parent == self.adopts && parent != std::process::id();
        !by_init && !self.keeps_no_zombies.contains(&parent)
    }

    /// Its parent knows, as wait does; no list of processes is asked.
    fn has_ended(&mut self, pid: u32) -> bool {
        let parent = self.known[&pid].parent;
        if !self.is_kept(pid) {
            !os::exists(pid)
        } else if parent == std::process::id() {
            os::has_ended(pid)
        } else {
            self.order(parent, &format!("ended {pid}")) == "yes"
        }
    }

    fn end_all(&mut self) -> Vec<u32> {
        let living: Vec<u32> =
            self.known.iter().filter(|(_, known)| !known.zombie).map(|(pid, _)| *pid).collect();
        // None of them has been reaped: each pid is still its own, unless its parent keeps no zombies; that one goes last.
        let nobodys = |pid: &u32| self.keeps_no_zombies.contains(&self.known[pid].parent);
        let (auto, kept): (Vec<u32>, Vec<u32>) = living.iter().copied().partition(nobodys);
        for pid in auto.into_iter().chain(kept) {
            os::kill(pid, libc::SIGKILL);
        }
        for pid in std::mem::take(&mut self.known).into_keys() {
            // It becomes a child of this process when its parent has ended.
            until(
                || format!("{pid} can be reaped"),
                || match os::wait(pid, false) {
                    Waited::Ended(_) => Some(()),
                    Waited::Lives => None,
                    Waited::Nobody => (!os::exists(pid)).then_some(()),
                },
            );
        }
        self.quick.clear();
        living
    }
}

/// A directory for the puppets' sockets, removed when it is dropped.
#[derive(Debug)]
struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let place = std::env::temp_dir().join(format!("puppets-{}-{number}", std::process::id()));
            match std::fs::DirBuilder::new().mode(0o700).create(&place) {
                Ok(()) => return Self(place),
                // Left by another that had this pid.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => panic!("{}: {error}", place.display()),
            }
        }
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        // What stays says nothing against what was tested.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn word(how: How) -> &'static str {
    match how {
        How::Fork => "fork",
        How::Vfork => "vfork",
        How::Raw => "raw",
        How::ByThread => "by-thread",
        How::Exec => "exec",
    }
}

impl Stage for Real {
    #[expect(clippy::zombie_processes, reason = "it is reaped by pid")]
    fn spawn(&mut self) -> u32 {
        step::now("a puppet is started".to_owned());
        let program = puppet::program();
        let mut command = Command::new(program);
        let child = command.arg(puppet::PUPPET).arg(&self.dir.0).spawn();
        let child = child.unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        let pid = self.know(child.id(), std::process::id());
        self.ready(pid, "begins");
        pid
    }

    fn fork(&mut self, parent: u32) -> u32 {
        let child = self.numbers(parent, "fork")[0];
        self.ready(child, "begins");
        self.know(child, parent)
    }

    #[cfg(target_os = "freebsd")]
    fn fork_as(&mut self, parent: u32, pid: u32) -> Result<(), String> {
        let refused = |error| format!("a pid may not be chosen here: {error}");
        step::now(format!("pids come round to {pid}"));
        let pids = super::pids::Lowered::for_pid(pid).map_err(refused)?;
        pids.until_next_is(pid).map_err(refused)?;
        let child = self.fork(parent);
        if child == pid {
            Ok(())
        } else {
            Err(format!("pid {pid} was another's before it could be used again"))
        }
    }

    #[cfg(not(target_os = "freebsd"))]
    fn fork_as(&mut self, parent: u32, pid: u32) -> Result<(), String> {
        let answer = self.order(parent, &format!("fork-as {pid}"));
        if let Some(errno) = answer.strip_prefix("refused ") {
            let error = std::io::Error::from_raw_os_error(errno.parse().expect("an errno"));
            return Err(format!("a pid may not be chosen here: {error}"));
        }
        assert_eq!(answer, pid.to_string());
        self.ready(pid, "begins");
        self.know(pid, parent);
        Ok(())
    }

    fn fork_exec(&mut self, parent: u32) -> u32 {
        let child = self.numbers(parent, "fork-exec")[0];
        self.ready(child, "begins");
        self.know(child, parent)
    }

    fn once(&mut self, parent: u32, how: How, code: u8) -> u32 {
        let child = self.numbers(parent, &format!("once {} {code}", word(how)))[0];
        self.know(child, parent);
        self.await_end(child);
        child
    }

    fn many(&mut self, parent: u32, count: u32, how: How, code: u8) -> Vec<u32> {
        self.numbers(parent, &format!("many {count} {} {code}", word(how)))
    }

    fn storm(&mut self, parent: u32, threads: u32, each: u32, how: How) -> Vec<u32> {
        self.numbers(parent, &format!("storm {threads} {each} {}", word(how)))
    }

    fn fork_fails(&mut self, parent: u32) {
        let refusals = self.numbers(parent, "fork-fails");
        assert!(refusals.iter().all(|errno| *errno == libc::EAGAIN as u32), "{refusals:?}");
    }

    fn exec(&mut self, pid: u32) {
        self.tell(pid, "exec");
        self.ready(pid, "exec");
    }

    fn exec_by_thread(&mut self, pid: u32) {
        self.tell(pid, "exec-by-thread");
        self.ready(pid, "exec-by-thread");
    }

    fn exec_fails(&mut self, pid: u32) {
        let refusals = self.numbers(pid, "exec-fails");
        assert_eq!(refusals, [libc::ENOENT, libc::EACCES, libc::ENOEXEC].map(|errno| errno as u32));
    }

    fn threads(&mut self, pid: u32, count: u32) {
        self.order_done(pid, &format!("threads {count}"));
    }

    fn thread(&mut self, pid: u32) -> u32 {
        match self.order(pid, "thread").parse() {
            Ok(number) => number,
            Err(_) => skip("threads have no numbers here that could be taken for pids"),
        }
    }

    fn leader_leaves(&mut self, pid: u32) {
        match &*self.order(pid, "leader-leaves") {
            "done" => {}
            _ => skip("a process's first thread cannot end before it here"),
        }
    }

    fn ignore_children(&mut self, pid: u32) {
        self.order_done(pid, "ignore-children");
        self.keeps_no_zombies.push(pid);
    }

    fn dump_core(&mut self, pid: u32) {
        self.order_done(pid, "dump-core");
    }

    fn exit(&mut self, pid: u32, code: i32) {
        self.tell(pid, &format!("exit {code}"));
        self.await_end(pid);
    }

    fn kill(&mut self, pid: u32, signal: i32) {
        os::kill(pid, signal);
        self.await_end(pid);
    }

    fn stop_and_continue(&mut self, pid: u32) {
        os::kill(pid, libc::SIGSTOP);
        step::now(format!("{pid} stops"));
        os::await_stop(pid);
        os::kill(pid, libc::SIGCONT);
        // It obeys again.
        self.threads(pid, 0);
    }

    fn reap(&mut self, pid: u32) -> i32 {
        let known = self.known.remove(&pid).expect("it has not been reaped");
        self.quick.remove(&pid);
        if known.parent != std::process::id() {
            let status = self.order(known.parent, &format!("reap {pid}"));
            return status.parse().expect("a wait status");
        }
        step::now(format!("{pid} is reaped"));
        match os::wait(pid, true) {
            Waited::Ended(status) => status,
            other => panic!("{pid}: {other:?}"),
        }
    }

    fn forget(&mut self, pid: u32) {
        self.known.remove(&pid);
        self.quick.remove(&pid);
    }

    fn quick(&mut self, code: u8) -> u32 {
        let quick = Quick::fork(code);
        let pid = self.know(quick.pid, std::process::id());
        self.quick.insert(pid, quick);
        pid
    }

    fn let_go(&mut self, pid: u32) {
        self.quick.get_mut(&pid).expect("a quick child").let_go();
    }

    fn finish(&mut self) -> Vec<u32> {
        self.end_all()
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        // After a case that failed. Whatever cannot be ended must not hide why.
        if !self.known.is_empty() {
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.end_all()));
        }
    }
}
