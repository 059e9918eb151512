//! A text with every key says the same as code.

use std::time::Duration;

use crate::stop::{StopPlan, Whom};
use crate::supervisor::config::document::Document;
use crate::supervisor::config::fault::ConfigError;
use crate::supervisor::death::OnDeath;
use crate::supervisor::handle::Builder;
use crate::supervisor::policy::{AutoShutdown, Backoff, Intensity, Restart, Strategy};
use crate::supervisor::spec::{Health, Main, Output, Ready, Service};

pub(super) const WHOLE: &str = include_str!("whole.toml");

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// What `Output` and `Ready` cannot be compared by; the rest is compared by itself as well.
fn in_words(service: &Service) -> String {
    format!("{service:#?}")
}

fn in_code() -> [Service; 3] {
    let log = Output::File { path: "/var/log/postgres.log".into(), limit: Some(10_000_000), keep: 3 };
    let asks = Ready::Command(vec!["pg_isready".into(), "-q".into()]);
    let database = Service::new("database", "postgres")
        .args(["-D", "/var/lib/postgres"])
        .uid(70)
        .gid(70)
        .output(log)
        .ready(Ready::Connect(([127, 0, 0, 1], 5432).into()))
        .ready_within(seconds(60))
        .health(Health { failures: 5, ..Health::new(asks, seconds(10)) })
        .stop(StopPlan::empty().leader(2, seconds(30)).leader(3, seconds(5)).tree(9, seconds(10)))
        .reload(1);
    let backoff = Backoff {
        first: Duration::from_millis(250),
        factor: 1.5,
        most: seconds(60),
        jitter: 0.2,
        stable_for: seconds(60),
    };
    let web = Service::new("web", "/usr/bin/web-server")
        .args(["--port", "8080"])
        .current_dir("/srv/web")
        .env_clear()
        .env("MODE", "production")
        .env_remove("LANG")
        .env_remove("PGPASSWORD")
        .needs("database")
        .main(Main::Child)
        .ready(Ready::Notify)
        .ready_within(seconds(90))
        .watchdog(seconds(30))
        .stop(StopPlan::empty().leader(15, seconds(20)).tree(15, seconds(5)).tree(9, seconds(10)))
        .restart(Restart::Permanent)
        .backoff(backoff)
        .intensity(5, seconds(600))
        .significant(true);
    let plan =
        StopPlan::empty().leader(15, Duration::from_millis(2500)).tree(15, seconds(5)).tree(9, seconds(10));
    let report = Service::new("report", "/usr/bin/make-report")
        .output(Output::Null)
        .needs("database")
        .needs("web")
        .restart(Restart::Temporary)
        .backoff(Backoff::none())
        .stop(plan.follow(seconds(1)).resume(false).progress_every(Duration::from_millis(500)))
        .autostart(false);
    [database, web, report]
}

#[test]
fn every_key_says_what_code_says() {
    let document = match Document::parse(WHOLE) {
        Ok(document) => document,
        // Nobody can be heard there; told where it is asked for, and nothing else is wrong.
        Err(error) if cfg!(not(target_os = "linux")) => {
            let ConfigError::Wrong { faults, .. } = &error else { panic!("{error}") };
            let keys: Vec<_> = faults.iter().map(|fault| &*fault.key).collect();
            assert_eq!(keys, ["service.web.ready"], "{error}");
            return;
        }
        Err(error) => panic!("{error}"),
    };
    assert_eq!(document.strategy, Strategy::RestForOne);
    assert_eq!(document.auto_shutdown, AutoShutdown::AnySignificant);
    assert_eq!(document.intensity, Some(Intensity { restarts: 10, period: seconds(60) }));
    assert_eq!(document.state_file.as_deref(), Some("/run/my-services.state".as_ref()));
    assert_eq!(document.on_death, OnDeath::Leave);
    assert_eq!(document.services.len(), 3);
    for (read, made) in document.services.iter().zip(in_code()) {
        // A field that is added is not forgotten here: without `..`.
        let Service {
            name,
            program,
            args,
            env,
            clear_env,
            dir,
            uid,
            gid,
            output,
            main,
            ready,
            ready_within,
            health,
            watchdog,
            stop,
            reload,
            needs,
            restart,
            backoff,
            intensity,
            significant,
            autostart,
        } = read;
        assert_eq!((name, program, args), (&made.name, &made.program, &made.args));
        assert_eq!((env, clear_env, dir), (&made.env, &made.clear_env, &made.dir), "{name}");
        assert_eq!((uid, gid, main), (&made.uid, &made.gid, &made.main), "{name}");
        assert_eq!(format!("{output:?}"), format!("{:?}", made.output));
        assert_eq!(format!("{ready:?}"), format!("{:?}", made.ready));
        assert_eq!(format!("{health:?}"), format!("{:?}", made.health));
        assert_eq!((ready_within, watchdog), (&made.ready_within, &made.watchdog), "{name}");
        assert_eq!((stop, reload), (&made.stop, &made.reload), "{name}");
        assert_eq!((needs, restart, backoff), (&made.needs, &made.restart, &made.backoff), "{name}");
        assert_eq!(intensity, &made.intensity, "{name}");
        assert_eq!((significant, autostart), (&made.significant, &made.autostart), "{name}");
    }
    drop(Builder::from_toml(WHOLE).unwrap());
}

fn one(text: &str) -> Service {
    let document = Document::parse(&format!("[service.a]\n{text}")).unwrap_or_else(|error| panic!("{error}"));
    document.services.into_iter().next().unwrap()
}

#[test]
fn what_is_not_said_is_as_in_code() {
    assert_eq!(in_words(&one("command = \"true\"")), in_words(&Service::new("a", "true")));
    assert!(Document::parse("").unwrap().services.is_empty());
}

#[test]
fn other_ways_to_say_it() {
    // One string is a path, blanks and all.
    assert_eq!(one("command = \"/opt/my app/run\"").program, "/opt/my app/run");
    let Ready::Line(line) =
        one("command = \"x\"\noutput = { file = \"f\" }\nready = { line = \"is up\" }").ready
    else {
        panic!("a line")
    };
    assert_eq!(line, "is up");
    let Ready::Command(words) = one("command = \"x\"\nready = { command = \"/bin/check\" }").ready else {
        panic!("a command")
    };
    assert_eq!(words, ["/bin/check"]);
    let health = one("command = \"x\"\nhealth = { connect = \"[::1]:80\", every = 0.5 }").health.unwrap();
    assert_eq!((health.every, health.failures), (Duration::from_millis(500), 3));
    assert_eq!(one("command = \"x\"\nmain = \"tree\"").main, Main::Tree);
    assert_eq!(one("command = \"x\"\nreload = 12").reload, Some(12));
    let keep = |text: &str| format!("{:?}", one(&format!("command = \"x\"\noutput = {text}")).output);
    assert_eq!(keep("{ file = \"f\", limit = 4096 }"), "File { path: \"f\", limit: Some(4096), keep: 5 }");
    assert_eq!(keep("{ file = \"f\" }"), "File { path: \"f\", limit: None, keep: 0 }");
    // Steps as tables of their own, with what is not said as the default has it.
    let plan =
        one("command = \"x\"\n[[service.a.stop]]\nsignal = \"SIGTERM\"\n[[service.a.stop]]\nsignal = 9").stop;
    let rungs: Vec<_> = plan.rungs().iter().map(|rung| (rung.whom, rung.signal, rung.grace)).collect();
    assert_eq!(rungs, [(Whom::Tree, 15, seconds(5)), (Whom::Tree, 9, seconds(10))]);
    assert_eq!(one("command = \"x\"\nstop = { ladder = [{ signal = \"KILL\" }] }").stop, StopPlan::kill());
    // Variables as a table of their own, and keys with points.
    let env = one("command = \"x\"\n[service.a.env]\nA = \"1\"\n").env;
    assert_eq!(env, one("command = \"x\"\nenv.A = \"1\"").env);
}

#[test]
fn in_the_order_of_the_text() {
    let text = "[service.z]\ncommand = \"z\"\n[service.b.env]\nX = \"1\"\n[service.\"a b\"]\ncommand = \"a\"\n[service.b]\ncommand = \"b\"";
    let names: Vec<_> =
        Document::parse(text).unwrap().services.iter().map(|one| one.name().to_owned()).collect();
    // Where the table of the service itself stands.
    assert_eq!(names, ["z", "a b", "b"]);
}

/// The page of the guide has every key.
#[test]
fn the_guide_tells_of_every_key() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/guide/supervise-toml.md");
    let Ok(guide) = std::fs::read_to_string(path) else {
        // The crate alone, as it is published.
        eprintln!("SKIPPED: no {path}");
        return;
    };
    let service_keys = crate::supervisor::config::service::KEYS;
    for key in service_keys.iter().chain(crate::supervisor::config::document::KEYS) {
        assert!(guide.contains(&format!("\n| `{key}` |")), "{key}");
        assert!(WHOLE.contains(&format!("\n{key} = ")) || *key == "service", "{key}");
    }
}
