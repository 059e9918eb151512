//! Texts that are wrong, and what is told of each: line, column, key, and words of what would be right.

use crate::supervisor::config::document::Document;
use crate::supervisor::config::fault::{ConfigError, Fault, FaultKind};
use crate::supervisor::handle::Builder;
use crate::supervisor::spec::SpecError;

type Told = (usize, usize, &'static str, &'static str);

/// What is wrong alone, in a service that is right else: its line is the third.
const IN_A_SERVICE: &[(&str, Told)] = &[
    // Keys.
    ("reddy = \"notify\"", (3, 1, "service.web.reddy", "no such key; did you mean \"ready\"?")),
    ("depends_on = [\"db\"]", (3, 1, "service.web.depends_on", "did you mean \"needs\"?")),
    ("colour = 1", (3, 1, "service.web.colour", "there are command, env,")),
    ("command = \"other\"", (3, 1, "service.web.command", "it is there twice")),
    ("  \"a b\" = 1", (3, 3, "service.web.\"a b\"", "no such key")),
    ("output = { file = \"f\", limt = 1 }", (3, 24, "service.web.output.limt", "did you mean \"limit\"?")),
    ("ready = { lines = \"x\" }", (3, 11, "service.web.ready.lines", "did you mean \"line\"?")),
    ("stop = [{ signal = \"TERM\", wat = 1 }]", (3, 28, "service.web.stop[0].wat", "did you mean \"wait\"?")),
    (
        "health = { conect = \"127.0.0.1:1\", every = 1 }",
        (3, 12, "service.web.health.conect", "\"connect\"?"),
    ),
    // Words.
    ("dir = 3", (3, 7, "service.web.dir", "found 3; want a string")),
    ("dir = \"\"", (3, 7, "service.web.dir", "not empty")),
    ("dir = \"a\\u0000b\"", (3, 7, "service.web.dir", "found \"a\\0b\"; want no NUL")),
    ("clear_env = \"yes\"", (3, 13, "service.web.clear_env", "found \"yes\"; want true or false")),
    ("autostart = 0", (3, 13, "service.web.autostart", "want true or false")),
    ("significant = []", (3, 15, "service.web.significant", "found an empty array; want true or false")),
    // The environment.
    ("env = [\"A=1\"]", (3, 7, "service.web.env", "found an array; want a table of variables")),
    ("env = { PORT = 80 }", (3, 16, "service.web.env.PORT", "found 80; want a string, or false")),
    ("env = { A = true }", (3, 13, "service.web.env.A", "found true; want a string, or false")),
    ("env = { \"A=B\" = \"1\" }", (3, 9, "service.web.env.\"A=B\"", "neither = nor NUL")),
    ("env = { A = \"\\u0000\" }", (3, 13, "service.web.env.A", "no NUL")),
    ("env_remove = \"A\"", (3, 14, "service.web.env_remove", "an array of names")),
    ("env_remove = [\"A\", \"B=\"]", (3, 20, "service.web.env_remove[1]", "neither = nor NUL")),
    ("env_remove = [\"A\", \"A\"]", (3, 20, "service.web.env_remove[1]", "each name once")),
    ("env = { A = \"1\" }\nenv_remove = [\"A\"]", (4, 15, "service.web.env_remove[0]", "`env` does not")),
    // Who it is.
    ("uid = -1", (3, 7, "service.web.uid", "found -1; want a number from 0 to 4294967294")),
    ("uid = 4294967295", (3, 7, "service.web.uid", "from 0 to 4294967294")),
    ("gid = \"www\"", (3, 7, "service.web.gid", "found \"www\"; want a number")),
    ("gid = 99999999999999999999999999999999999999999999", (3, 7, "service.web.gid", "found 9999999")),
    // Output.
    (
        "output = \"nul\"",
        (3, 10, "service.web.output", "one of \"inherit\", \"null\"; did you mean \"null\"?"),
    ),
    ("output = {}", (3, 1, "service.web.output", "has no \"file\"")),
    ("output = { file = \"f\", limit = \"10M\" }", (3, 32, "service.web.output.limit", "\"10MB\"")),
    ("output = { file = \"f\", limit = 0 }", (3, 32, "service.web.output.limit", "a number of bytes")),
    ("output = { file = \"f\", limit = \"99999999TB\" }", (3, 32, "service.web.output.limit", "a size")),
    ("output = { file = \"f\", keep = 3 }", (3, 31, "service.web.output.keep", "has no \"limit\"")),
    // Times.
    (
        "ready_within = \"5 parsecs\"",
        (3, 16, "service.web.ready_within", "found \"5 parsecs\"; want a time such as"),
    ),
    ("ready_within = \"5\"", (3, 16, "service.web.ready_within", "time unit needed")),
    ("ready_within = -3", (3, 16, "service.web.ready_within", "found -3; want a time that is not negative")),
    ("ready_within = -0.5", (3, 16, "service.web.ready_within", "not negative")),
    ("ready_within = \"-5s\"", (3, 16, "service.web.ready_within", "a time such as")),
    ("ready_within = nan", (3, 16, "service.web.ready_within", "found nan; want a time")),
    ("ready_within = inf", (3, 16, "service.web.ready_within", "100 years")),
    ("ready_within = 1e999", (3, 16, "service.web.ready_within", "100 years")),
    ("ready_within = 9223372036854775807", (3, 16, "service.web.ready_within", "100 years")),
    ("ready_within = \"18446744073709551615h\"", (3, 16, "service.web.ready_within", "too large")),
    ("ready_within = \"0s\"", (3, 16, "service.web.ready_within", "longer than none")),
    (
        "ready_within = 2026-11-28",
        (3, 16, "service.web.ready_within", "found a date or a time; want a time such"),
    ),
    ("watchdog = true", (3, 12, "service.web.watchdog", "found true; want a time")),
    // Readiness and health.
    ("main = \"three\"", (3, 8, "service.web.main", "did you mean \"tree\"?")),
    ("ready = \"now\"", (3, 9, "service.web.ready", "one of \"at_once\", \"notify\"")),
    ("ready = {}", (3, 9, "service.web.ready", "one of `line`, `connect`, `command`")),
    ("ready = { line = \"x\", command = \"y\" }", (3, 9, "service.web.ready", "one of `line`")),
    ("ready = { line = \"\" }", (3, 18, "service.web.ready.line", "not empty")),
    ("ready = { line = \"a\\nb\" }", (3, 18, "service.web.ready.line", "a part of one line")),
    (
        "ready = { connect = \"localhost:80\" }",
        (3, 21, "service.web.ready.connect", "names are not looked up"),
    ),
    (
        "ready = { connect = \"127.0.0.1:0\" }",
        (3, 21, "service.web.ready.connect", "an IP address and a port"),
    ),
    ("ready = { connect = \"127.0.0.1:65536\" }", (3, 21, "service.web.ready.connect", "an IP address")),
    ("ready = { connect = 80 }", (3, 21, "service.web.ready.connect", "found 80; want an IP address")),
    ("ready = { command = [] }", (3, 21, "service.web.ready.command", "a program, and its arguments")),
    ("ready = { command = [\"\", \"x\"] }", (3, 22, "service.web.ready.command[0]", "not empty")),
    ("ready = { line = \"up\" }", (3, 9, "service.web.ready", "nobody reads its output")),
    ("health = { connect = \"127.0.0.1:80\" }", (3, 1, "service.web.health", "has no \"every\"")),
    ("health = { every = 1 }", (3, 10, "service.web.health", "`connect` or `command`")),
    ("health = { command = \"x\", every = 0 }", (3, 35, "service.web.health.every", "longer than none")),
    (
        "health = { command = \"x\", every = 1, failures = 0 }",
        (3, 49, "service.web.health.failures", "1 or more"),
    ),
    ("health = \"often\"", (3, 10, "service.web.health", "a table with `connect`")),
    // Stopping and signals.
    ("stop = true", (3, 8, "service.web.stop", "a time, an array of steps")),
    ("stop = \"soon\"", (3, 8, "service.web.stop", "a time such as")),
    ("stop = []", (3, 8, "service.web.stop", "never be stopped")),
    ("stop = [\"TERM\"]", (3, 9, "service.web.stop[0]", "a table with `signal`")),
    ("stop = [{ to = \"tree\" }]", (3, 1, "service.web.stop[0]", "has no \"signal\"")),
    ("stop = [{ signal = \"TREM\" }]", (3, 20, "service.web.stop[0].signal", "the name of a signal")),
    ("stop = [{ signal = 0 }]", (3, 20, "service.web.stop[0].signal", "from 1 to")),
    ("stop = [{ signal = 4000 }]", (3, 20, "service.web.stop[0].signal", "from 1 to")),
    ("stop = [{ signal = 9, to = \"all\" }]", (3, 28, "service.web.stop[0].to", "\"leader\", \"tree\"")),
    ("stop = [{ signal = 9, wait = \"x\" }]", (3, 30, "service.web.stop[0].wait", "a time such as")),
    (
        "stop = { wait = 1, ladder = [{ signal = 9 }] }",
        (3, 8, "service.web.stop", "one of `wait` and `ladder`"),
    ),
    ("stop = { progress_every = 0 }", (3, 27, "service.web.stop.progress_every", "longer than none")),
    ("reload = \"KILL\"", (3, 10, "service.web.reload", "can be caught")),
    ("reload = \"\"", (3, 10, "service.web.reload", "the name of a signal")),
    // Needs.
    ("needs = \"db\"", (3, 9, "service.web.needs", "an array of names")),
    ("needs = [\"wep\"]", (3, 10, "service.web.needs[0]", "none of that name; did you mean \"web\"?")),
    ("needs = [\"web\"]", (3, 10, "service.web.needs[0]", "need each other")),
    ("needs = [1]", (3, 10, "service.web.needs[0]", "found 1; want a string")),
    // Restarts.
    ("restart = \"always\"", (3, 11, "service.web.restart", "\"permanent\", \"transient\", \"temporary\"")),
    ("restart = \"Transient\"", (3, 11, "service.web.restart", "did you mean \"transient\"?")),
    ("backoff = \"some\"", (3, 11, "service.web.backoff", "\"none\"")),
    ("backoff = 3", (3, 11, "service.web.backoff", "found 3; want \"none\", or a table")),
    ("backoff = { factor = 0.5 }", (3, 22, "service.web.backoff.factor", "1 or more")),
    ("backoff = { factor = nan }", (3, 22, "service.web.backoff.factor", "1 or more")),
    ("backoff = { factor = inf }", (3, 22, "service.web.backoff.factor", "1 or more")),
    ("backoff = { jitter = 2 }", (3, 22, "service.web.backoff.jitter", "from 0 to 1")),
    ("backoff = { first = \"1m\" }", (3, 21, "service.web.backoff.first", "no longer than `most` (30s)")),
    ("intensity = { restarts = 3 }", (3, 1, "service.web.intensity", "has no \"period\"")),
    ("intensity = { restarts = -1, period = 1 }", (3, 26, "service.web.intensity.restarts", "0 or more")),
    ("intensity = { restarts = 1, period = 0 }", (3, 38, "service.web.intensity.period", "longer than none")),
    // No TOML.
    ("ready_within = 5 s", (3, 16, "service.web.ready_within", "must be quoted")),
    ("dir = \"abc", (3, 11, "service.web.dir", "invalid basic string")),
    ("dir =", (3, 6, "service.web.dir", "must be quoted")),
];

/// Whole texts.
const WHOLE: &[(&str, Told)] = &[
    ("stratgy = \"one_for_one\"", (1, 1, "stratgy", "did you mean \"strategy\"?")),
    ("strategy = \"one_for_none\"", (1, 12, "strategy", "did you mean \"one_for_one\"?")),
    ("on_death = \"die\"", (1, 12, "on_death", "one of \"leave\"")),
    ("state_file = \"\"", (1, 14, "state_file", "not empty")),
    ("\nauto_shutdown = 1", (2, 17, "auto_shutdown", "one of \"never\"")),
    ("intensity = 3", (1, 13, "intensity", "`restarts` and `period`")),
    ("service = 3", (1, 11, "service", "[service.NAME]")),
    (
        "[[service]]\nname = \"web\"",
        (1, 1, "service", "found an array; want tables of services: [service.NAME]"),
    ),
    ("[service]\nweb = \"x\"", (2, 7, "service.web", "a table: [service.NAME]")),
    ("[service.web]\n", (1, 10, "service.web", "has no \"command\"; want an array of words")),
    ("[service.web]\ncommand = []", (2, 11, "service.web.command", "found an empty array")),
    ("[service.web]\ncommand = \"\"", (2, 11, "service.web.command", "not empty")),
    ("[service.web]\ncommand = [\"a\",\n  3]", (3, 3, "service.web.command[1]", "found 3; want a string")),
    ("[service.web]\ncommand = [\"a\", \"\\u0000\"]", (2, 17, "service.web.command[1]", "no NUL")),
    (
        "[service.web]\ncommand = { path = \"x\" }",
        (2, 11, "service.web.command", "found a table; want an array of words"),
    ),
    ("[service.\"\"]\ncommand = \"x\"", (1, 10, "service.\"\"", "a name with something in it")),
    ("[service.\"a\\nb\"]\ncommand = \"x\"", (1, 10, "service.\"a\\nb\"", "no control characters")),
    ("[service.a]\ncommand = \"x\"\n[service.a]\nmain = \"tree\"", (3, 10, "service.a", "there twice")),
    // Columns are of characters, and lines of either end.
    ("# é\r\n[service.\"é\"]\r\n", (2, 10, "service.\"é\"", "has no \"command\"")),
    ("[service.\"ü\"]\ncommand = [\"äö\", 1]", (2, 18, "service.\"ü\".command[1]", "found 1")),
    ("\u{feff}strategy = 1", (1, 12, "strategy", "found 1")),
    ("[service.web\ncommand = \"x\"", (1, 13, "", "unclosed table")),
    ("= 3", (1, 1, "\"\"", "keys cannot be empty")),
];

fn faults(text: &str) -> Vec<Fault> {
    match Document::parse(text) {
        Err(ConfigError::Wrong { path: None, faults, more: 0 }) => faults,
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn each_is_told_with_its_place() {
    let in_a_service =
        IN_A_SERVICE.iter().map(|(line, told)| (format!("[service.web]\ncommand = \"web\"\n{line}\n"), told));
    let whole = WHOLE.iter().map(|(text, told)| ((*text).to_owned(), told));
    let mut wrong = Vec::new();
    for (text, (line, column, key, words)) in in_a_service.chain(whole) {
        match &faults(&text)[..] {
            [fault]
                if (fault.line, fault.column, &*fault.key) == (*line, *column, *key)
                    && fault.to_string().contains(words) => {}
            other => wrong.push(format!("{text}{line}:{column} {key} {words}\nbut {other:#?}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn all_are_told_at_once() {
    let text = "strategy = 1
[service.web]
comand = \"web\"
ready_within = \"soon\"
needs = [\"dp\", \"db\"]
[service.db]
command = [\"db\", 1, 2]
needs = [\"cache\"]
[service.cache]
command = \"cache\"
needs = [\"db\"]
watchdog = 0
";
    let told: Vec<_> = faults(text).into_iter().map(|fault| (fault.line, fault.column, fault.key)).collect();
    let expected = [
        (1, 12, "strategy"),
        (3, 1, "service.web.comand"),
        (4, 16, "service.web.ready_within"),
        (5, 10, "service.web.needs[0]"),
        (7, 18, "service.db.command[1]"),
        (7, 21, "service.db.command[2]"),
        (8, 10, "service.db.needs[0]"),
        (12, 12, "service.cache.watchdog"),
    ];
    assert_eq!(told, expected.map(|(line, column, key)| (line, column, key.to_owned())));
}

/// One fault is not told as two.
#[test]
fn what_follows_from_a_fault_is_not_told() {
    let keys = |text: &str| faults(text).into_iter().map(|fault| fault.key).collect::<Vec<_>>();
    // What is misspelt is not missing; and what has no output that could be read may have meant to.
    let misspelt =
        keys("[service.a]\ncommand = \"x\"\nready = { line = \"up\" }\noutput = { fil = \"log\" }");
    assert_eq!(misspelt, ["service.a.output.fil"]);
    // A need of a service that is wrong itself is none of a service that there is not.
    assert_eq!(
        keys("[service.a]\ncommand = \"x\"\nneeds = [\"b\"]\n[service.b]\nuid = -1"),
        ["service.b", "service.b.uid"]
    );
    // The end of the text is one place, however many brackets are open.
    assert_eq!(keys("a = [[[["), ["a"]);
}

/// What is there twice does not hide what else is wrong; what is no TOML does.
#[test]
fn what_is_told_beside_what_the_parser_finds() {
    let twice =
        faults("[service.a]\ncommand = \"x\"\nenv = {}\nenv_remove = []\nenv = {}\n[service.b]\ncommand = 3");
    let keys: Vec<_> = twice.iter().map(|fault| (&*fault.key, fault.line)).collect();
    assert_eq!(keys, [("service.a.env", 5), ("service.b.command", 7)]);
    assert_eq!(twice[0].kind, FaultKind::Twice);
    let broken = faults("[service.a]\ncommand = x y\nmain = \n[service.b]\ncommand = 3");
    assert!(broken.iter().all(|fault| matches!(fault.kind, FaultKind::Syntax { .. })), "{broken:?}");
    assert_eq!(broken.iter().map(|fault| fault.line).collect::<Vec<_>>(), [2, 3]);
}

#[test]
fn errors_of_services_together_are_typed() {
    let of = |text: &str| faults(text).into_iter().map(|fault| fault.kind).collect::<Vec<_>>();
    let service = |name: &str, needs: &str| format!("[service.{name}]\ncommand = \"x\"\nneeds = [{needs}]\n");
    let unknown = of(&service("web", "\"databse\", \"x\"")
        .replace("[service", "[service.database]\ncommand = \"x\"\n[service"));
    let error = |needs: &str| SpecError::Unknown { name: "web".into(), needs: needs.into() };
    assert_eq!(
        unknown,
        [
            FaultKind::Spec { error: error("databse"), near: Some("database".into()) },
            FaultKind::Spec { error: error("x"), near: None },
        ]
    );
    // Two circles, and one service that is in none but needs one that is.
    let text = [
        service("a", "\"b\""),
        service("b", "\"a\""),
        service("c", "\"d\""),
        service("d", "\"c\""),
        service("e", "\"a\""),
    ];
    let faults = faults(&text.concat());
    let told: Vec<_> = faults.iter().map(|fault| (fault.line, &*fault.key)).collect();
    assert_eq!(told, [(3, "service.a.needs[0]"), (9, "service.c.needs[0]")]);
    let FaultKind::Spec { error: SpecError::Cycle { names }, .. } = &faults[0].kind else {
        panic!("{faults:?}")
    };
    assert_eq!(names, &["a", "b"]);
}

#[test]
fn a_file_is_named_as_compilers_do() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("services.toml");
    let error = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        Builder::from_toml_file(&path).unwrap_err().to_string()
    };
    let shown = path.display();
    assert_eq!(
        error(b"[service.a]\ncommand = 1\nmain = \"me\""),
        format!(
            "{shown}:2:11: service.a.command: found 1; want an array of words, or the path of a program\n\
             {shown}:3:8: service.a.main: found \"me\"; want one of \"child\", \"tree\""
        )
    );
    assert_eq!(error(b"# \xc3\xa4\n# \xff"), format!("{shown}:2:3: byte 0xff is not UTF-8"));
    std::fs::write(&path, "[service.a]\ncommand = \"x\"").unwrap();
    drop(Builder::from_toml_file(&path).unwrap());
    let missing = Builder::from_toml_file(dir.path().join("none")).unwrap_err();
    assert!(missing.to_string().contains("none cannot be read: No such file"), "{missing}");
    assert!(matches!(missing, ConfigError::Unreadable { .. }));
    // One that has no end, or nearly.
    std::fs::File::create(&path).unwrap().set_len((1 << 20) + 1).unwrap();
    let large = Builder::from_toml_file(&path).unwrap_err().to_string();
    assert!(large.contains("more than 1 MiB"), "{large}");
}
