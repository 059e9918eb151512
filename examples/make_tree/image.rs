//! What a process becomes by an exec: always this program again, so that it can log it.
//!
//! The arguments are `make_tree @ LOG-FD PARENT TAG ACTION NUMBER SEED ODDITY`. No two processes
//! have the same TAG, so that a watcher that mixes them up is found out.

use std::ffi::{CStr, CString, OsString};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::OnceLock;

use crate::log;
use crate::os::{self, Argv};
use crate::process::{self, Dice, End};

/// The first argument of all of these.
pub(crate) const MARK: &[u8] = b"@";

/// The PARENT of an image whose process has logged its birth before.
const BORN: u32 = 0;

/// Arguments that tell whether a parser's quoting is right.
const ODDITIES: [&[u8]; 10] = [
    b"plain",
    b"",
    b"two words",
    b"new\nline\ttab",
    b"\"quoted\" back\\slash",
    b") = 5 <unfinished ...>",
    b"\xff\xfe7not utf-8",
    b"\x01\x1b1",
    "\u{fc}n\u{ef}c\u{f6}de".as_bytes(),
    b"...",
];

/// What an image does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Action {
    /// Ends, as chance has it.
    End,
    /// Execs so many times more.
    ExecAgain(u32),
    /// Forks so many children.
    Fork(u32),
}

impl Action {
    fn words(self) -> (&'static str, u32) {
        match self {
            Self::End => ("end", 0),
            Self::ExecAgain(times) => ("exec-again", times),
            Self::Fork(children) => ("fork", children),
        }
    }

    fn parse(word: &str, number: u32) -> Option<Self> {
        match word {
            "end" => Some(Self::End),
            "exec-again" => Some(Self::ExecAgain(number)),
            "fork" => Some(Self::Fork(number)),
            _ => None,
        }
    }
}

/// A program to exec, made before the fork because it allocates.
pub(crate) struct Image {
    path: CString,
    args: Vec<CString>,
}

impl Image {
    /// This program, for a process that has logged its birth.
    pub(crate) fn new(tag: &str, action: Action, dice: Dice) -> Self {
        Self::with_parent(BORN, tag, action, dice)
    }

    /// This program, for a child that cannot log its birth before it is this.
    pub(crate) fn unborn(tag: &str, action: Action, dice: Dice) -> Self {
        Self::with_parent(std::process::id(), tag, action, dice)
    }

    /// A program that cannot be exec'd.
    pub(crate) fn broken(path: &CStr) -> Self {
        Self { path: path.to_owned(), args: vec![path.to_owned()] }
    }

    fn with_parent(parent: u32, tag: &str, action: Action, mut dice: Dice) -> Self {
        let (word, number) = action.words();
        let oddity = match dice.below(ODDITIES.len() as u32 + 1) {
            // More than a page, and more than a pipe takes in one piece.
            10 => b"long ".repeat(1200),
            which => ODDITIES[which as usize].to_vec(),
        };
        let args = [
            b"make_tree".to_vec(),
            MARK.to_vec(),
            log::fd().to_string().into_bytes(),
            parent.to_string().into_bytes(),
            tag.as_bytes().to_vec(),
            word.as_bytes().to_vec(),
            number.to_string().into_bytes(),
            dice.split().0.to_string().into_bytes(),
            oddity,
        ];
        let args = args.into_iter().map(|arg| CString::new(arg).expect("no argument has a NUL"));
        Self { path: this_program().to_owned(), args: args.collect() }
    }

    /// In the form for exec.
    pub(crate) fn argv(&self) -> Argv<'_> {
        Argv::new(&self.path, self.args.iter().map(CString::as_c_str))
    }

    /// Becomes this, or gives up.
    pub(crate) fn exec(&self) -> ! {
        self.argv().exec();
        os::give_up("cannot exec")
    }
}

/// The path of this program, found out once for each image: `/proc/self/exe` itself would tell a
/// watcher nothing.
pub(crate) fn this_program() -> &'static CStr {
    static PATH: OnceLock<CString> = OnceLock::new();
    PATH.get_or_init(|| {
        let path = own_path().into_os_string().into_vec();
        CString::new(path).unwrap_or_else(|_| os::give_up("cannot find this program"))
    })
}

/// As the system knows it, or as it was called.
fn own_path() -> PathBuf {
    let called = || {
        let name = PathBuf::from(std::env::args_os().next().unwrap_or_default());
        std::env::current_dir().map(|dir| dir.join(&name)).unwrap_or(name)
    };
    std::env::current_exe().ok().filter(|path| path.exists()).unwrap_or_else(called)
}

/// Lives the life of an exec'd image. The log comes before all else.
pub(crate) fn run(args: &[OsString]) -> ! {
    let word = |at: usize| args.get(at).and_then(|arg| arg.to_str()).unwrap_or_default();
    let (Ok(fd), Ok(parent)) = (word(2).parse(), word(3).parse()) else {
        os::give_up("hidden arguments are wrong")
    };
    let pid = std::process::id();
    log::to(fd);
    if parent != BORN {
        log::birth(pid, parent);
    }
    log::exec(pid, args);

    let action = word(6).parse().ok().and_then(|number| Action::parse(word(5), number));
    let (Some(action), Ok(seed)) = (action, word(7).parse()) else {
        os::give_up("hidden arguments are wrong")
    };
    process::finish(act(action, word(4), Dice(seed)))
}

fn act(action: Action, tag: &str, mut dice: Dice) -> End {
    match action {
        Action::End | Action::ExecAgain(0) => {}
        Action::ExecAgain(times) => {
            Image::new(&format!("{tag}.{times}"), Action::ExecAgain(times - 1), dice.split()).exec()
        }
        Action::Fork(children) => {
            for _ in 0..children {
                let mut dice = dice.split();
                process::fork(move || {
                    dice.nap(3);
                    dice.end()
                });
            }
            process::reap_all();
        }
    }
    dice.end()
}
