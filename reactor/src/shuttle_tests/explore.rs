//! How schedules are made, kept and run again.

use std::path::PathBuf;
use std::process::Command;

use shuttle::scheduler::{
    PctScheduler, RandomScheduler, ReplayScheduler, RoundRobinScheduler, Schedule, Scheduler, Task, TaskId,
};
use shuttle::{Config, FailurePersistence, MaxSteps, Runner};

use super::life::{life, life_beside_one_who_keeps_the_lead};

const ITERATIONS: &str = "PROC_REACTOR_SHUTTLE_ITERATIONS";
const SEED: u64 = 2016;
/// A life takes some hundred steps. Whoever waits for what never comes takes them without end.
const STEPS: usize = 100_000;
/// Preemptions at points of their own choosing, in schedules by priority.
const DEPTH: usize = 4;

fn iterations() -> usize {
    std::env::var(ITERATIONS).map_or(50_000, |number| number.parse().expect("a number of schedules"))
}

fn schedules() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src/shuttle_tests/schedules"))
}

fn run(name: &str, scheduler: impl Scheduler + 'static, keep: FailurePersistence, scenario: fn()) {
    let mut config = Config::new();
    config.stack_size = 1 << 18;
    config.max_steps = MaxSteps::FailAfter(STEPS);
    config.failure_persistence = keep;
    // Orders weaker than SeqCst are loom's and ThreadSanitizer's business.
    config.silence_warnings = true;
    let executions = Runner::new(scheduler, config).run(scenario);
    println!("shuttle: {name}: {executions} schedules");
}

fn search(name: &str, scheduler: impl Scheduler + 'static) {
    run(name, scheduler, FailurePersistence::File(Some(schedules())), life);
}

#[test]
fn shuttle_random() {
    search("random", RandomScheduler::new_from_seed(SEED, iterations()));
}

#[test]
fn shuttle_by_priority() {
    search("by priority", PctScheduler::new_from_seed(SEED, DEPTH, iterations()));
}

/// Follows a schedule as long as it can be followed, then goes on in turn: the code changes, and the schedule stays.
#[derive(Debug)]
struct AsFarAsItGoes {
    replay: ReplayScheduler,
    rest: RoundRobinScheduler,
    follows: bool,
}

impl AsFarAsItGoes {
    fn new(encoded: &str) -> Self {
        let mut replay = ReplayScheduler::new_from_encoded(encoded);
        replay.set_allow_incomplete();
        Self { replay, rest: RoundRobinScheduler::new(1), follows: true }
    }
}

impl Scheduler for AsFarAsItGoes {
    fn new_execution(&mut self) -> Option<Schedule> {
        self.rest.new_execution()?;
        self.replay.new_execution()
    }

    fn next_task(&mut self, runnable: &[&Task], current: Option<TaskId>, yields: bool) -> Option<TaskId> {
        if self.follows {
            let next = self.replay.next_task(runnable, current, yields);
            if next.is_some() {
                return next;
            }
            self.follows = false;
        }
        self.rest.next_task(runnable, current, yields)
    }

    fn next_u64(&mut self) -> u64 {
        unreachable!("no scenario draws numbers")
    }
}

#[test]
fn shuttle_schedules_that_failed() {
    for entry in std::fs::read_dir(schedules()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "txt") {
            let encoded = std::fs::read_to_string(&path).unwrap();
            let name = path.file_name().unwrap().display().to_string();
            run(&name, AsFarAsItGoes::new(encoded.trim()), FailurePersistence::None, life);
        }
    }
}

/// Names, in a process of its own, what that is to run: nothing for a search, else a schedule.
const WITHIN: &str = "PROC_REACTOR_SHUTTLE_FAULT";

/// A leader that leaves and tells nobody: it is found, and the schedule that found it leads there again. What fails leaves
/// stacks and locks behind, so it does in a process of its own.
#[test]
fn shuttle_finds_a_lead_that_is_kept() {
    let fault = life_beside_one_who_keeps_the_lead;
    match std::env::var(WITHIN) {
        Ok(none) if none.is_empty() => {
            let scheduler = RandomScheduler::new_from_seed(SEED, 20_000);
            return run("fault", scheduler, FailurePersistence::Print, fault);
        }
        Ok(encoded) => return run("replay", AsFarAsItGoes::new(&encoded), FailurePersistence::None, fault),
        Err(_) => {}
    }
    let fails = |within: &str| {
        let mut search = Command::new(std::env::current_exe().unwrap());
        let test = concat!(module_path!(), "::shuttle_finds_a_lead_that_is_kept");
        let (_crate, test) = test.split_once("::").unwrap();
        let out = search.args([test, "--exact", "--nocapture"]).env(WITHIN, within).output().unwrap();
        let [said, told] = [out.stderr, out.stdout].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        assert!(!out.status.success(), "the planted fault was not found: {told}");
        assert!(said.contains("deadlock") || said.contains("steps"), "something else was found: {said}");
        said
    };
    let said = fails("");
    let (_, encoded) = said.split_once("failing schedule:\n\"\n").expect("it is printed so");
    fails(encoded.split_once("\n\"").expect("it ends so").0);
}
