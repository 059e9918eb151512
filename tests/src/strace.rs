//! The account that `strace -f -e trace=process -o FILE` gives of a process tree.
//!
//! strace knows threads, not processes, and writes lines as it gets to them: a child's first lines,
//! and even its last, may come before the fork that made it has returned. Also a pid may be used
//! again. So the lines of each thread are first put together into `Span`s, from the first line to
//! the thread's end. Then each fork is matched to the span of its child.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use crate::compare::{End, Life};

/// Reads strace's output. The top is the first life; its descendants follow in order of birth.
///
/// Arguments are only known if strace has been told not to shorten them (`-s 65535`). Lines without
/// a pid are the top's. What cannot be understood is passed over, as in a file that was cut short.
pub fn parse(text: &str, top: u32) -> Vec<Life> {
    let mut log = Log::default();
    for (at, line) in text.lines().enumerate() {
        log.read(at, line, top);
    }
    log.link();
    log.lives(top)
}

/// The lines of one thread, from its birth to its end.
#[derive(Debug)]
struct Span {
    tid: u32,
    /// The line by which it has certainly been born.
    first: usize,
    /// The line of its end.
    last: usize,
    /// The span that made it, and whether as a thread.
    origin: Option<(usize, bool)>,
    execs: Vec<Option<Vec<OsString>>>,
    end: End,
}

/// A call that made a thread or a process.
#[derive(Debug)]
struct Birth {
    /// The lines of the call, and of its return.
    called: usize,
    returned: usize,
    /// The caller's span.
    by: usize,
    child: u32,
    as_thread: bool,
}

#[derive(Debug, Default)]
struct Log {
    spans: Vec<Span>,
    /// The span of each thread that lives at the present line.
    alive: HashMap<u32, usize>,
    /// The first halves of calls that have not returned, and their lines.
    unfinished: HashMap<u32, (usize, String)>,
    births: Vec<Birth>,
    /// Threads that became their leader by an exec, and the leader's span.
    promoted: Vec<(usize, usize)>,
}

impl Log {
    fn read(&mut self, at: usize, line: &str, top: u32) {
        let (tid, event) = match line.split_once(' ') {
            Some((tid, event)) if tid.parse::<u32>().is_ok() => (tid.parse().unwrap_or(top), event),
            _ => (top, line),
        };
        let event = event.trim_start();
        let span = self.span(tid, at);
        if let Some(mark) = event.strip_prefix("+++ ") {
            self.read_mark(at, tid, span, mark);
        } else if let Some(resumed) = event.strip_prefix("<... ") {
            if let Some((name, rest)) = resumed.split_once(" resumed>") {
                let first_half = self.unfinished.remove(&tid);
                let (called, first_half) = first_half.unwrap_or_else(|| (at, format!("{name}(")));
                self.read_call((called, at), span, &(first_half + rest));
            }
        } else if let Some(first_half) = first_half(event) {
            self.unfinished.insert(tid, (at, first_half.to_owned()));
        } else if !event.starts_with("--- ") {
            self.read_call((at, at), span, event);
        }
    }

    fn span(&mut self, tid: u32, at: usize) -> usize {
        let new = self.spans.len();
        let span = *self.alive.entry(tid).or_insert(new);
        if span == new {
            let (execs, end) = (Vec::new(), End::Alive);
            self.spans.push(Span { tid, first: at, last: usize::MAX, origin: None, execs, end });
        }
        span
    }

    /// Reads what comes between `+++`: a thread's end.
    fn read_mark(&mut self, at: usize, tid: u32, span: usize, mark: &str) {
        let words: Vec<&str> = mark.split_whitespace().collect();
        let end = match words[..] {
            ["exited", "with", code, ..] => code.parse().map_or(End::Unknown, End::Code),
            ["killed", "by", signal, ..] => signal_number(signal).map_or(End::Unknown, End::Signal),
            ["superseded", "by", "execve", "in", "pid", thread, ..] => {
                // The leader's span goes on, with what the thread was about to do.
                let Ok(thread) = thread.parse::<u32>() else { return };
                if let Some(exec) = self.unfinished.remove(&thread) {
                    self.unfinished.insert(tid, exec);
                }
                if let Some(promoted) = self.alive.remove(&thread) {
                    self.spans[promoted].last = at;
                    self.promoted.push((promoted, span));
                }
                return;
            }
            _ => return,
        };
        self.spans[span].end = end;
        self.spans[span].last = at;
        self.alive.remove(&tid);
        self.unfinished.remove(&tid);
    }

    fn read_call(&mut self, (called, returned): (usize, usize), span: usize, call: &str) {
        let Some((name, args)) = call.split_once('(') else { return };
        let result = args.rsplit_once(" = ").and_then(|(_, result)| result.split_whitespace().next());
        // Errors are negative, and calls that never return have a question mark.
        let Some(result) = result.and_then(|result| result.parse::<u32>().ok()) else { return };
        match name {
            "fork" | "vfork" | "clone" | "clone2" | "clone3" => {
                let as_thread = args.contains("CLONE_THREAD");
                self.births.push(Birth { called, returned, by: span, child: result, as_thread });
            }
            "execve" | "execveat" => self.spans[span].execs.push(parse_argv(args)),
            _ => {}
        }
    }

    /// Finds the child of each call. Calls come in the order of their return.
    fn link(&mut self) {
        let mut of_tid: HashMap<u32, Vec<usize>> = HashMap::new();
        for (number, span) in self.spans.iter().enumerate() {
            of_tid.entry(span.tid).or_default().push(number);
        }
        for birth in &self.births {
            let spans = of_tid.entry(birth.child).or_default();
            // Former owners of the pid ended before the call began.
            let child = spans.iter().copied().find(|&number| {
                let span = &self.spans[number];
                number != birth.by && span.origin.is_none() && span.last >= birth.called
            });
            let origin = Some((birth.by, birth.as_thread));
            if let Some(child) = child {
                let span = &mut self.spans[child];
                span.origin = origin;
                span.first = span.first.min(birth.returned);
            } else {
                spans.push(self.spans.len());
                self.spans.push(Span {
                    tid: birth.child,
                    first: birth.returned,
                    last: usize::MAX,
                    origin,
                    execs: Vec::new(),
                    end: End::Alive,
                });
            }
        }
        for &(thread, leader) in &self.promoted {
            // The leader may have been stopped before the call that made the thread returned.
            self.spans[thread].origin.get_or_insert((leader, true));
        }
    }

    /// The process that a span belongs to, which is its leader's span.
    fn leader(&self, mut span: usize) -> usize {
        // A log that makes sense has no cycles; any other has to come to an end too.
        for _ in 0..self.spans.len() {
            match self.spans[span].origin {
                Some((creator, true)) => span = creator,
                _ => break,
            }
        }
        span
    }

    fn lives(&self, top: u32) -> Vec<Life> {
        let Some(top) = self.spans.iter().position(|span| span.tid == top) else { return Vec::new() };
        let is_process = |&span: &usize| !matches!(self.spans[span].origin, Some((_, true)));
        let mut processes: Vec<usize> = (0..self.spans.len()).filter(is_process).collect();
        processes.sort_by_key(|&span| self.spans[span].first);

        let mut descendants = HashSet::from([top]);
        let mut lives = Vec::new();
        for number in processes {
            let span = &self.spans[number];
            let parent = span.origin.map(|(parent, _)| self.leader(parent));
            let belongs = match parent {
                _ if number == top => true,
                Some(parent) => descendants.contains(&parent),
                // Its parent was killed before the fork returned. All that strace has followed
                // comes from the span that the log begins with.
                None => top == 0,
            };
            if belongs {
                descendants.insert(number);
                let parent = parent.filter(|_| number != top).map(|parent| self.spans[parent].tid);
                lives.push(Life { pid: span.tid, parent, execs: span.execs.clone(), end: span.end });
            }
        }
        lives
    }
}

/// The part of a call that strace wrote before it turned to another thread.
fn first_half(event: &str) -> Option<&str> {
    if let Some(half) = event.strip_suffix("<unfinished ...>") {
        return Some(half);
    }
    // A thread's exec, which goes on as the leader's.
    let (half, rest) = event.rsplit_once("<pid changed to ")?;
    let leader = rest.strip_suffix(" ...>")?;
    leader.parse::<u32>().is_ok().then_some(half)
}

/// The arguments of an exec, from strace's form of the call's. None if any is shortened.
fn parse_argv(call: &str) -> Option<Vec<OsString>> {
    // execveat has a directory before the path.
    let path = &call[call.find('"')?..];
    let (_, rest) = parse_string(path.as_bytes())?;
    let mut rest = rest.strip_prefix(b", [")?;
    let mut argv = Vec::new();
    if rest.starts_with(b"]") {
        return Some(argv);
    }
    loop {
        let (arg, after) = parse_string(rest)?;
        argv.push(OsString::from_vec(arg));
        match after.strip_prefix(b", ") {
            Some(next) => rest = next,
            None => return after.starts_with(b"]").then_some(argv),
        }
    }
}

/// A string as strace quotes it, and what comes after it.
fn parse_string(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut rest = text.strip_prefix(b"\"")?;
    let mut string = Vec::new();
    loop {
        let (&byte, after) = rest.split_first()?;
        rest = after;
        match byte {
            b'"' => return Some((string, rest)),
            b'\\' => string.push(parse_escape(&mut rest)?),
            _ => string.push(byte),
        }
    }
}

fn parse_escape(rest: &mut &[u8]) -> Option<u8> {
    let (&byte, after) = rest.split_first()?;
    let (radix, digits, most) = match byte {
        b'0'..=b'7' => (8, *rest, 3),
        b'x' => (16, after, 2),
        _ => {
            *rest = after;
            return match byte {
                b'n' => Some(b'\n'),
                b't' => Some(b'\t'),
                b'r' => Some(b'\r'),
                b'v' => Some(0x0b),
                b'f' => Some(0x0c),
                b'"' | b'\\' => Some(byte),
                _ => None,
            };
        }
    };
    let length = digits.iter().take(most).take_while(|&&digit| char::from(digit).is_digit(radix)).count();
    *rest = &digits[length..];
    let number = std::str::from_utf8(&digits[..length]).ok()?;
    u8::from_str_radix(number, radix).ok()
}

fn signal_number(name: &str) -> Option<i32> {
    const NAMES: [(&str, i32); 29] = [
        ("SIGHUP", libc::SIGHUP),
        ("SIGINT", libc::SIGINT),
        ("SIGQUIT", libc::SIGQUIT),
        ("SIGILL", libc::SIGILL),
        ("SIGTRAP", libc::SIGTRAP),
        ("SIGABRT", libc::SIGABRT),
        ("SIGBUS", libc::SIGBUS),
        ("SIGFPE", libc::SIGFPE),
        ("SIGKILL", libc::SIGKILL),
        ("SIGUSR1", libc::SIGUSR1),
        ("SIGSEGV", libc::SIGSEGV),
        ("SIGUSR2", libc::SIGUSR2),
        ("SIGPIPE", libc::SIGPIPE),
        ("SIGALRM", libc::SIGALRM),
        ("SIGTERM", libc::SIGTERM),
        ("SIGSTKFLT", libc::SIGSTKFLT),
        ("SIGCHLD", libc::SIGCHLD),
        ("SIGCONT", libc::SIGCONT),
        ("SIGSTOP", libc::SIGSTOP),
        ("SIGTSTP", libc::SIGTSTP),
        ("SIGTTIN", libc::SIGTTIN),
        ("SIGTTOU", libc::SIGTTOU),
        ("SIGXCPU", libc::SIGXCPU),
        ("SIGXFSZ", libc::SIGXFSZ),
        ("SIGVTALRM", libc::SIGVTALRM),
        ("SIGPROF", libc::SIGPROF),
        ("SIGIO", libc::SIGIO),
        ("SIGPWR", libc::SIGPWR),
        ("SIGSYS", libc::SIGSYS),
    ];
    // The kernel's first realtime signal; the C library keeps it and the next for itself.
    const FIRST_REALTIME: i32 = 32;
    if let Some(number) = name.strip_prefix("SIGRT_") {
        return number.parse::<i32>().ok()?.checked_add(FIRST_REALTIME);
    }
    if name == "SIGRTMIN" {
        return Some(FIRST_REALTIME);
    }
    NAMES.iter().find(|(known, _)| *known == name).map(|&(_, number)| number)
}

#[cfg(test)]
#[path = "strace_tests.rs"]
mod tests;
