//! The program: the cases over all places, told in TAP.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::{Mutex, PoisonError};

use proc_reactor::SourceName;
use proc_reactor::flags::NOTE_EXIT;

use super::attempt::{Outcome, Setting, Skip};
use super::case::{Case, Place};
use super::console;
use super::kqueue::Kernels;
use super::options::{HELP, NATIVE_CASE, Options};
use super::puppet;
use super::table::{WITHOUT, cases};
use super::tap::Tap;
use super::watchdog::Watchdog;
use super::world::{self, World};

#[cfg(any(
    target_os = "freebsd",
    target_os = "netbsd",
    target_os = "openbsd",
    target_os = "dragonfly",
    target_os = "macos"
))]
const NATIVE: Option<Kernels> = Some(super::native::native);
#[cfg(not(any(
    target_os = "freebsd",
    target_os = "netbsd",
    target_os = "openbsd",
    target_os = "dragonfly",
    target_os = "macos"
)))]
const NATIVE: Option<Kernels> = None;

/// How this system is called where kernels are compared (`docs/differences.md`).
const LETTER: &str = if cfg!(target_os = "freebsd") {
    "F"
} else if cfg!(target_os = "netbsd") {
    "N"
} else if cfg!(target_os = "openbsd") {
    "O"
} else if cfg!(target_os = "dragonfly") {
    "D"
} else if cfg!(target_os = "macos") {
    "X"
} else {
    "-"
};

/// What went wrong in the case that runs, thread by thread.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Does what the arguments (without the program's name) say.
pub fn run(arguments: &[OsString]) -> ExitCode {
    puppet::set_program(own_path());
    puppet::play(arguments);
    console::open();
    let code = told(arguments);
    console::close(code);
    ExitCode::from(code)
}

/// The exit code.
fn told(arguments: &[OsString]) -> u8 {
    if arguments.iter().any(|argument| argument == "--help" || argument == "-h") {
        print!("{HELP}");
        return 0;
    }
    let options = match Options::parse(arguments) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("conformance: {error}\n\n{HELP}");
            return 2;
        }
    };
    std::panic::set_hook(Box::new(|panic| {
        // What a skipped case leaves with is no failure.
        if !panic.payload().is::<Skip>() {
            let thread = std::thread::current().name().unwrap_or("a thread").to_owned();
            let mut panics = PANICS.lock().unwrap_or_else(PoisonError::into_inner);
            panics.push(format!("{thread}: {panic}"));
        }
    }));
    let watchdog = Watchdog::start(options.time_limit);
    let done = match options.native_case {
        Some(name) => one_native(name, &watchdog),
        None => all(&options, &watchdog),
    };
    match done {
        Ok(true) => 0,
        Ok(false) => 1,
        Err(error) => {
            eprintln!("conformance: standard output: {error}");
            1
        }
    }
}

/// The path of this program: as the system knows it, or as it was called.
fn own_path() -> PathBuf {
    let called = || {
        let name = PathBuf::from(std::env::args_os().next().unwrap_or_default());
        std::env::current_dir().map(|dir| dir.join(&name)).unwrap_or(name)
    };
    std::env::current_exe().ok().filter(|path| path.exists()).unwrap_or_else(called)
}

/// The place, and why there is none of it.
fn places(options: &Options) -> Vec<(Place, Result<(), String>)> {
    let all = || {
        let sources = SourceName::ALL.iter().map(|name| Place::Source(*name));
        [Place::Script].into_iter().chain(sources).collect()
    };
    let wanted = if options.places.is_empty() { all() } else { options.places.clone() };
    let works = |place: &Place| match place {
        Place::Source(name) => World::real(*name).map(drop).map_err(|error| error.to_string()),
        Place::Script | Place::Kernel => Ok(()),
    };
    wanted.into_iter().map(|place| (place, works(&place))).collect()
}

fn all(options: &Options, watchdog: &Watchdog) -> io::Result<bool> {
    watchdog.begin("opening the sources");
    let places = places(options);
    watchdog.end();
    let cases: Vec<&Case> = cases().filter(|case| options.wants(case)).collect();
    let working: Vec<Place> =
        places.iter().filter(|(_, works)| works.is_ok()).map(|(place, _)| *place).collect();
    let mut tap = Tap::begin(io::stdout(), 1 + places.len() - working.len() + cases.len() * working.len())?;
    tap.comment(&format!(
        "{} on {} {}",
        env!("CARGO_PKG_NAME"),
        std::env::consts::OS,
        std::env::consts::ARCH
    ))?;
    if NATIVE.is_none() {
        tap.comment("native: this system has no kqueue")?;
    }
    for (place, works) in &places {
        if let Err(why) = works {
            tap.skip(&format!("a queue over {place}"), why)?;
        }
    }
    // Where none does there is nothing that was shown, unless a script is all that was asked for.
    let scripted = !options.places.is_empty() && options.places.iter().all(|place| *place == Place::Script);
    if scripted || working.iter().any(|place| matches!(place, Place::Source(_))) {
        tap.ok("a source of events works here")?;
    } else {
        tap.not_ok("a source of events works here", &[("message", "none does; see above why")])?;
    }
    let mut summary = Summary::default();
    for case in cases {
        one(case, &working, options, watchdog, &mut tap, &mut summary)?;
    }
    for (rule, why) in WITHOUT.iter().filter(|_| options.only.is_empty()) {
        tap.comment(&format!("{rule} has no case: {why}"))?;
    }
    tap.comment(&summary.to_string())?;
    tap.end()
}

/// How the kernel's own queue compares.
#[derive(Debug, Default)]
struct Summary {
    alike: u32,
    known: u32,
    unknown: Vec<&'static str>,
    not_asked: u32,
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "native: {} as the profile, {} differ as known, {} differ otherwise ({}), {} not asked",
            self.alike,
            self.known,
            self.unknown.len(),
            self.unknown.join(" "),
            self.not_asked
        )
    }
}

fn one<W: Write>(
    case: &'static Case,
    places: &[Place],
    options: &Options,
    watchdog: &Watchdog,
    tap: &mut Tap<W>,
    summary: &mut Summary,
) -> io::Result<()> {
    let name = format!("{} {}", case.rule, case.name);
    let native =
        if options.native { native(case, options, watchdog, tap, summary)? } else { "not asked".to_owned() };
    let mut ours = Vec::new();
    for place in places {
        let name = format!("{name} on {place}");
        if let Some(why) = case.closed(*place) {
            tap.skip(&name, why)?;
            ours.push(format!("{place} gated"));
            continue;
        }
        watchdog.begin(&name);
        PANICS.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let outcome = case.attempt_with(&Setting::ours(*place), &mut || {}, what_it_does(case, options));
        watchdog.end();
        ours.push(match outcome {
            Outcome::Good => {
                tap.ok(&name)?;
                format!("{place} ok")
            }
            Outcome::Skipped(why) => {
                tap.skip(&name, &why)?;
                format!("{place} skipped")
            }
            Outcome::Failed(why) => {
                let panics = PANICS.lock().unwrap_or_else(PoisonError::into_inner).join("\n");
                tap.not_ok(&name, &[("profile", case.what), ("message", &why), ("panics", &panics)])?;
                format!("{place} NOT OK")
            }
        });
    }
    tap.comment(&format!("{name}: native: {native} | ours: {} | profile: {}", ours.join(", "), case.what))
}

/// What `--break` and `--hang` change.
fn what_it_does(case: &Case, options: &Options) -> fn(&mut World) {
    let is = |name: &Option<String>| name.as_deref() == Some(case.name);
    if is(&options.broken) {
        |world| {
            let pid = world.spawn();
            // It has not ended.
            world.tells(&[world::event(pid, world::LAST, NOTE_EXIT, 0)]);
        }
    } else if is(&options.hanging) {
        |world| {
            world.spawn();
            super::step::now("a thread that never ends is joined".to_owned());
            let sleeper = std::thread::spawn(|| {
                loop {
                    std::thread::park();
                }
            });
            let () = sleeper.join().expect("it never ends");
        }
    } else {
        case.run
    }
}

/// Asks the kernel, in a process of its own: it may hang, or keep notes. In a few words, how it answers.
fn native<W: Write>(
    case: &'static Case,
    options: &Options,
    watchdog: &Watchdog,
    tap: &mut Tap<W>,
    summary: &mut Summary,
) -> io::Result<String> {
    if NATIVE.is_none() {
        return Ok("none".to_owned());
    }
    if let Some(why) = case.closed(Place::Kernel) {
        summary.not_asked += 1;
        return Ok(format!("not asked, {why}"));
    }
    watchdog.begin(&format!("{} {} on the kernel", case.rule, case.name));
    // Its own time is over before ours is.
    let limit = (options.time_limit.as_secs() / 2).max(1).to_string();
    let output =
        Command::new(puppet::program()).args([NATIVE_CASE, case.name, "--time-limit", &limit]).output();
    watchdog.end();
    let text = match &output {
        Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
        Err(error) => format!("it could not be asked: {error}"),
    };
    let (word, rest) = text.trim_end().split_once('\n').unwrap_or((text.trim_end(), ""));
    Ok(match (word, output.is_ok_and(|output| output.status.success())) {
        (GOOD, true) => {
            summary.alike += 1;
            "as the profile".to_owned()
        }
        (SKIPPED, true) => {
            summary.not_asked += 1;
            format!("not asked, {rest}")
        }
        _ => {
            // Here and not in the table, for it is long.
            tap.comment(&format!("{} {}: the kernel: {}", case.rule, case.name, text.trim_end()))?;
            if is_known(case, LETTER) {
                summary.known += 1;
                format!("differs (as known: {})", case.difference.unwrap_or_default())
            } else {
                summary.unknown.push(case.name);
                "differs".to_owned()
            }
        }
    })
}

const GOOD: &str = "good";
const SKIPPED: &str = "skipped";

/// The other side of [`native`]. Whether that is all.
fn one_native(name: &str, watchdog: &Watchdog) -> io::Result<bool> {
    let case = cases().find(|case| case.name == name).expect("it was looked up");
    watchdog.begin(&format!("{} {} on the kernel", case.rule, case.name));
    let outcome = case.attempt(&Setting { place: Place::Kernel, kernel: NATIVE }, &mut || {});
    watchdog.end();
    let mut out = io::stdout();
    match outcome {
        Outcome::Good => writeln!(out, "{GOOD}")?,
        Outcome::Skipped(why) => writeln!(out, "{SKIPPED}\n{why}")?,
        Outcome::Failed(_) => {
            writeln!(out, "{}", PANICS.lock().unwrap_or_else(PoisonError::into_inner).join("\n"))?;
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether the table says that the kernel of this letter differs.
fn is_known(case: &Case, letter: &str) -> bool {
    let words = case.difference.unwrap_or_default().split(|char: char| !char.is_ascii_alphanumeric());
    words.into_iter().any(|word| word == letter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_name_kernels() {
        let named = |name: &str| cases().find(|case| case.name == name).unwrap();
        for (name, letters, others) in [
            ("asking_for_nothing", "NOD", "FX"),
            ("a_zombie_answers_at_once", "NOX", "FD"),
            ("told_notes_cannot_be_asked_for", "FNX", "OD"),
            ("exactly_once", "F", "NODX"),
            ("adding_tells_nothing", "", "FNODX"),
        ] {
            let known = |letter: char| is_known(named(name), letter.encode_utf8(&mut [0; 4]));
            assert!(letters.chars().all(known), "{name}");
            assert!(!others.chars().any(known), "{name}");
        }
    }
}
