//! Where processes come from: [`Stage`].

use std::fmt::Debug;

/// How a child is made that ends at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    Fork,
    Vfork,
    /// Past libc, which lets only one thread fork at a time.
    Raw,
    ByThread,
    /// It runs a program that does so.
    Exec,
}

/// Makes processes and has them do things. Each call returns when the thing has been done; but for [`let_go`](Stage::let_go).
/// Who has ended is a zombie until it is reaped.
pub(crate) trait Stage: Debug {
    /// A child of this program, which does as it is told.
    fn spawn(&mut self) -> u32;
    /// The same of `parent`, who was made here.
    fn fork(&mut self, parent: u32) -> u32;
    /// By this pid; why not, if it may not be chosen.
    fn fork_as(&mut self, parent: u32, pid: u32) -> Result<(), String>;
    /// The same, and it has run its program anew.
    fn fork_exec(&mut self, parent: u32) -> u32;
    /// A child that ends at once with this code, and is not reaped.
    fn once(&mut self, parent: u32, how: How, code: u8) -> u32;
    /// Children that end at once, and are reaped.
    fn many(&mut self, parent: u32, count: u32, how: How, code: u8) -> Vec<u32>;
    /// The same, with code 0, by several threads at once.
    fn storm(&mut self, parent: u32, threads: u32, each: u32, how: How) -> Vec<u32>;
    /// `parent` tries to fork and cannot.
    fn fork_fails(&mut self, parent: u32);
    fn exec(&mut self, pid: u32);
    fn exec_by_thread(&mut self, pid: u32);
    /// It tries to run what is no program.
    fn exec_fails(&mut self, pid: u32);
    /// Threads that end at once.
    fn threads(&mut self, pid: u32, count: u32);
    /// A thread that stays; its id.
    fn thread(&mut self, pid: u32) -> u32;
    /// The first thread ends, and another goes on.
    fn leader_leaves(&mut self, pid: u32);
    /// Its children become no zombies from here on.
    fn ignore_children(&mut self, pid: u32);
    /// Signals may dump its core.
    fn dump_core(&mut self, pid: u32);
    /// It exits, with more than eight bits if so wished.
    fn exit(&mut self, pid: u32, code: i32);
    /// Ends it by a signal.
    fn kill(&mut self, pid: u32, signal: i32);
    /// It is stopped, and goes on.
    fn stop_and_continue(&mut self, pid: u32);
    /// Its parent reaps it. The wait status.
    fn reap(&mut self, pid: u32) -> i32;
    /// Somebody else has reaped it.
    fn forget(&mut self, pid: u32);
    /// A child of this program that can end with this code and nothing else, many times cheaper than [`spawn`](Stage::spawn).
    fn quick(&mut self, code: u8) -> u32;
    /// The quick child ends, now or soon.
    fn let_go(&mut self, pid: u32);
    /// Ends and reaps everybody. Those who had not been known to have ended.
    fn finish(&mut self) -> Vec<u32>;
}
