//! All that can happen to two or three services, in every order, under each strategy and policy: searched to the end.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use super::core::{Core, Effect, Input, Rule, State, Timer, Verdict, Wait};
use super::policy::{AutoShutdown, Backoff, Intensity, Restart, Strategy};

/// What really is, beside what the core believes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Real {
    lives: bool,
    spawning: bool,
    /// Its end was told, and it is yet to be seen gone.
    ended: bool,
    /// Somebody was told to stop it and nobody to start it since.
    sticky: bool,
    timers: [bool; 3],
}

#[derive(Clone, Debug)]
struct World {
    core: Core,
    real: Vec<Real>,
    closing: bool,
    late: bool,
    over: bool,
}

/// No time passes: every restart counts, and the search has an end.
const NOW: Duration = Duration::ZERO;
const DELAY: Duration = Duration::from_secs(1);

fn place(timer: Timer) -> usize {
    match timer {
        Timer::Delay => 0,
        Timer::Ready => 1,
        Timer::Stable => 2,
    }
}

impl World {
    fn new(rules: &[Rule], strategy: Strategy, shutdown: AutoShutdown, intensity: Option<Intensity>) -> Self {
        let core = Core::new(rules.to_vec(), strategy, shutdown, intensity, 0);
        Self { core, real: vec![Real::default(); rules.len()], closing: false, late: false, over: false }
    }

    /// What may happen next.
    fn inputs(&self) -> Vec<Input> {
        let mut inputs = vec![Input::Close(Verdict::Asked), Input::Deadline];
        for at in 0..self.real.len() {
            inputs.extend([Input::Start(at), Input::Stop(at), Input::Restart(at)]);
            inputs.extend(self.of_itself(at));
            if matches!(self.core.state(at), State::Up | State::Ready) && !self.real[at].ended {
                inputs.extend([Input::Ended(at, true), Input::Ended(at, false), Input::Unhealthy(at)]);
            }
            if self.real[at].spawning {
                inputs.push(Input::NotSpawned(at));
            }
            if self.real[at].timers[place(Timer::Ready)] {
                inputs.push(Input::Timer(at, Timer::Ready));
            }
        }
        inputs
    }

    /// What happens sooner or later if nothing is in the way.
    fn of_itself(&self, at: usize) -> Vec<Input> {
        let real = &self.real[at];
        let mut inputs = Vec::new();
        if real.spawning {
            inputs.push(Input::Spawned(at));
        }
        if self.core.state(at) == State::Up && !real.ended {
            inputs.push(Input::IsReady(at));
        }
        if self.core.state(at) == State::Stopping && real.lives {
            inputs.push(Input::Gone(at));
        }
        for timer in [Timer::Delay, Timer::Stable] {
            if real.timers[place(timer)] {
                inputs.push(Input::Timer(at, timer));
            }
        }
        inputs
    }

    /// Lets it happen, and holds what is to be done against what really is.
    fn take(&mut self, input: Input) {
        match input {
            Input::Start(at) | Input::Restart(at) if !self.closing => self.real[at].sticky = false,
            Input::Stop(at) => self.real[at].sticky = true,
            Input::Spawned(at) => (self.real[at].spawning, self.real[at].lives) = (false, true),
            Input::Adopted(at) => self.real[at].lives = true,
            Input::Deadline if self.closing => self.late = true,
            Input::NotSpawned(at) => self.real[at].spawning = false,
            Input::Ended(at, _) => self.real[at].ended = true,
            Input::Gone(at) => (self.real[at].lives, self.real[at].ended) = (false, false),
            Input::Timer(at, timer) => self.real[at].timers[place(timer)] = false,
            _ => {}
        }
        let by_itself = if let Input::Ended(at, _) = input { Some(at) } else { None };
        let mut effects = Vec::new();
        self.core.take(NOW, input, &mut effects);
        for effect in effects {
            self.check(effect, by_itself);
        }
        for (at, real) in self.real.iter().enumerate() {
            let state = self.core.state(at);
            assert_eq!(real.timers[0], self.core.wait(at) == Some(Wait::Delay), "{at} {state:?}");
            assert!(!real.timers[1] || state == State::Up, "{at} {state:?}");
            assert!(!real.timers[2] || state == State::Ready, "{at} {state:?}");
            let alive = matches!(state, State::Up | State::Ready | State::Stopping);
            assert_eq!(real.lives, alive, "{at} {state:?}");
            assert_eq!(real.spawning, self.core.wait(at) == Some(Wait::Spawn), "{at} {state:?}");
        }
    }

    fn check(&mut self, effect: Effect, by_itself: Option<usize>) {
        match effect {
            Effect::Spawn(at) => {
                let real = &self.real[at];
                assert!(!real.lives && !real.spawning, "{at} is started while it lives");
                assert!(!real.sticky, "{at} is started though it was stopped by hand");
                assert!(!self.closing, "{at} is started while all is to be stopped");
                assert!(self.core.is_wanted(at) && self.core.missing(at).next().is_none(), "{at}");
                self.real[at].spawning = true;
            }
            Effect::Stop(at) | Effect::Kill(at) => {
                assert!(self.real[at].lives, "{at} is stopped and is not there");
                assert_eq!(matches!(effect, Effect::Kill(_)), self.late);
                // Who needs it is gone before it goes.
                if self.closing && !self.late && by_itself != Some(at) && !self.real[at].ended {
                    let living = (at + 1..self.real.len())
                        .filter(|other| self.needs(*other, at) && self.real[*other].lives);
                    assert_eq!(living.count(), 0, "{at} is stopped before those that need it");
                }
            }
            Effect::Set(at, timer, time) => {
                assert!(!self.real[at].timers[place(timer)], "{at} {timer:?} twice");
                assert!(timer != Timer::Delay || !time.is_zero());
                self.real[at].timers[place(timer)] = true;
            }
            Effect::Cancel(at, timer) => self.real[at].timers[place(timer)] = false,
            Effect::Tell(..) => {}
            Effect::Closing(_) => {
                assert!(!self.closing);
                self.closing = true;
            }
            Effect::Over(_) => {
                assert!(
                    self.closing && !self.over && self.real.iter().all(|real| !real.lives && !real.spawning)
                );
                self.over = true;
            }
        }
    }

    fn needs(&self, one: usize, other: usize) -> bool {
        self.core.needs(one).iter().any(|need| *need == other || self.needs(*need, other))
    }

    /// Everything that hangs on nobody's will happens, until nothing more does.
    fn settle(&mut self) {
        for _ in 0..1_000 {
            let next = (0..self.real.len()).find_map(|at| self.of_itself(at).into_iter().next());
            let Some(input) = next else { return };
            self.take(input);
        }
        panic!("it never comes to rest");
    }

    /// From here it comes to rest, with each service where it belongs; and from here everything can be stopped.
    fn check_future(&self) {
        let mut rest = self.clone();
        rest.settle();
        for at in 0..rest.real.len() {
            let state = rest.core.state(at);
            let waits = rest.core.missing(at).next().is_some();
            match state {
                State::Ready => assert!(rest.core.is_wanted(at), "{at} runs and is not wanted"),
                State::Starting => assert!(waits && !self.closing, "{at} waits for nothing"),
                State::Down | State::Failed => {
                    assert!(!rest.core.is_wanted(at), "{at} is wanted and {state:?}")
                }
                State::Up | State::Stopping => panic!("{at} stays {state:?}"),
            }
        }
        let mut end = self.clone();
        end.take(Input::Close(Verdict::Asked));
        end.settle();
        assert!(end.over, "it does not end");
    }

    fn key(&self) -> (String, Vec<Real>, bool, bool, bool) {
        (self.core.key(), self.real.clone(), self.closing, self.late, self.over)
    }
}

fn rule(restart: Restart, needs: &[usize]) -> Rule {
    Rule {
        restart,
        backoff: Backoff { first: DELAY, factor: 1.0, jitter: 0.0, ..Backoff::default() },
        intensity: None,
        significant: false,
        ready_at_once: false,
        ready_within: Some(DELAY),
        needs: needs.to_vec(),
    }
}

/// Each service may be down at first, or run already, be it that it can be taken over or not.
fn beginnings(world: &World) -> Vec<World> {
    let mut worlds = vec![world.clone()];
    for at in 0..world.real.len() {
        for input in [Input::Adopted(at), Input::NotAdopted(at)] {
            let with_it = worlds.iter().filter(|world| world.core.state(at) == State::Down).cloned();
            let with_it = with_it.map(|mut world| {
                world.take(input);
                world
            });
            worlds.extend(with_it.collect::<Vec<_>>());
        }
    }
    worlds
}

/// Every order of all that can happen. How many states there are, and how many steps between them.
fn search(world: &World) -> (usize, usize) {
    let mut queue = VecDeque::from(beginnings(world));
    assert_eq!(queue.len(), 3_usize.pow(world.real.len() as u32));
    let mut seen: HashSet<_> = queue.iter().map(World::key).collect();
    let mut steps = 0;
    while let Some(world) = queue.pop_front() {
        world.check_future();
        for input in world.inputs() {
            let mut next = world.clone();
            next.take(input);
            steps += 1;
            if seen.insert(next.key()) {
                queue.push_back(next);
            }
        }
    }
    (seen.len(), steps)
}

const RESTARTS: [Restart; 3] = [Restart::Permanent, Restart::Transient, Restart::Temporary];
const STRATEGIES: [Strategy; 3] = [Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne];
const TWICE: Option<Intensity> = Some(Intensity { restarts: 2, period: Duration::from_secs(5) });

#[test]
fn each_policy_alone() {
    for restart in RESTARTS {
        for intensity in [None, TWICE] {
            for shutdown in [AutoShutdown::Never, AutoShutdown::AnySignificant] {
                let mut rule = rule(restart, &[]);
                (rule.intensity, rule.significant) = (intensity, true);
                let world = World::new(&[rule], Strategy::OneForOne, shutdown, None);
                let (states, steps) = search(&world);
                println!("{restart:?} {intensity:?} {shutdown:?}: {states} states, {steps} steps");
                assert!(states > 10);
            }
        }
    }
}

#[test]
fn each_strategy_over_two() {
    let mut all = (0, 0);
    for strategy in STRATEGIES {
        for needs in [&[][..], &[0]] {
            for restart in RESTARTS {
                for intensity in [None, TWICE] {
                    let rules = [rule(Restart::Permanent, &[]), rule(restart, needs)];
                    let world = World::new(&rules, strategy, AutoShutdown::Never, intensity);
                    let (states, steps) = search(&world);
                    println!(
                        "{strategy:?} {restart:?} {needs:?} {}: {states} states, {steps} steps",
                        intensity.is_some()
                    );
                    all = (all.0 + states, all.1 + steps);
                }
            }
        }
    }
    println!("in all {} states, {} steps", all.0, all.1);
    assert!(all.0 > 10_000, "it was no search: {all:?}");
}

/// A chain, and one that two need. In a release build; else it takes too long.
#[test]
fn each_strategy_over_three() {
    if cfg!(debug_assertions) {
        return println!("left out: run it with --release");
    }
    let mut all = (0, 0);
    for strategy in STRATEGIES {
        for needs in [[&[][..], &[0], &[1]], [&[], &[0], &[0]]] {
            let rules = needs.map(|needs| rule(Restart::Permanent, needs));
            let (states, steps) = search(&World::new(&rules, strategy, AutoShutdown::Never, None));
            println!("{strategy:?} {needs:?}: {states} states, {steps} steps");
            all = (all.0 + states, all.1 + steps);
        }
    }
    println!("in all {} states, {} steps", all.0, all.1);
}

/// A world, and what is told of it.
fn run(world: &mut World, inputs: &[Input]) {
    for input in inputs {
        world.take(*input);
    }
}

fn states(world: &World) -> Vec<State> {
    (0..world.real.len()).map(|at| world.core.state(at)).collect()
}

fn ready(rules: &[Rule], strategy: Strategy, intensity: Option<Intensity>) -> World {
    let mut world = World::new(rules, strategy, AutoShutdown::Never, intensity);
    (0..rules.len()).for_each(|at| world.take(Input::Start(at)));
    for _ in rules {
        for at in 0..rules.len() {
            if world.real[at].spawning {
                run(&mut world, &[Input::Spawned(at), Input::IsReady(at)]);
            }
        }
    }
    assert!(states(&world).iter().all(|state| *state == State::Ready));
    world
}

#[test]
fn one_for_one_leaves_the_others_alone() {
    let rules = [rule(Restart::Permanent, &[]), rule(Restart::Permanent, &[]), rule(Restart::Permanent, &[])];
    let mut world = ready(&rules, Strategy::OneForOne, None);
    run(&mut world, &[Input::Ended(1, false), Input::Gone(1)]);
    assert_eq!(states(&world), [State::Ready, State::Starting, State::Ready]);
}

#[test]
fn one_for_all_stops_all_and_starts_them_in_order() {
    let rules =
        [rule(Restart::Permanent, &[]), rule(Restart::Permanent, &[0]), rule(Restart::Permanent, &[0])];
    let mut world = ready(&rules, Strategy::OneForAll, None);
    run(&mut world, &[Input::Ended(1, false), Input::Gone(1), Input::Timer(1, Timer::Delay)]);
    // The first is needed by the third, which goes before it.
    assert_eq!(states(&world), [State::Ready, State::Starting, State::Stopping]);
    run(&mut world, &[Input::Gone(2)]);
    assert_eq!(states(&world), [State::Stopping, State::Starting, State::Starting]);
    assert!(world.real.iter().all(|real| !real.spawning), "nobody starts before all are gone");
    run(&mut world, &[Input::Gone(0), Input::Spawned(0), Input::IsReady(0)]);
    assert!(world.real[1].spawning && world.real[2].spawning);
}

#[test]
fn rest_for_one_stops_those_after_it() {
    let rules = [rule(Restart::Permanent, &[]), rule(Restart::Permanent, &[]), rule(Restart::Permanent, &[])];
    let mut world = ready(&rules, Strategy::RestForOne, None);
    run(&mut world, &[Input::Ended(1, false)]);
    assert_eq!(states(&world), [State::Ready, State::Stopping, State::Stopping]);
}

/// Row 23 of what users of other tools ask for.
#[test]
fn a_manual_stop_is_sticky_and_the_budget_refills() {
    let mut rule = rule(Restart::Permanent, &[]);
    rule.intensity = TWICE;
    let mut world = ready(&[rule], Strategy::OneForOne, None);
    let again = [
        Input::Ended(0, false),
        Input::Gone(0),
        Input::Timer(0, Timer::Delay),
        Input::Spawned(0),
        Input::IsReady(0),
    ];
    run(&mut world, &again);
    run(&mut world, &again);
    assert_eq!(world.core.failures(0), 2);
    // It has been stable for long enough.
    run(&mut world, &[Input::Timer(0, Timer::Stable)]);
    assert_eq!(world.core.failures(0), 0);
    run(&mut world, &again);
    run(&mut world, &again);
    run(&mut world, &[Input::Ended(0, false), Input::Gone(0)]);
    assert_eq!(states(&world), [State::Failed]);
    run(&mut world, &[Input::Start(0), Input::Spawned(0), Input::Stop(0), Input::Gone(0)]);
    assert_eq!(states(&world), [State::Down]);
    world.settle();
    assert_eq!(states(&world), [State::Down]);
}

#[test]
fn too_many_restarts_of_all_are_the_end() {
    let rules = [rule(Restart::Permanent, &[]), rule(Restart::Permanent, &[])];
    let once = Some(Intensity { restarts: 1, period: Duration::from_secs(5) });
    let mut world = ready(&rules, Strategy::OneForOne, once);
    run(&mut world, &[Input::Ended(0, false), Input::Gone(0), Input::Ended(1, false)]);
    let mut effects = Vec::new();
    world.core.take(NOW, Input::Gone(1), &mut effects);
    assert!(effects.contains(&Effect::Over(Verdict::GaveUp)), "{effects:?}");
    assert_eq!(world.core.state(1), State::Failed);
}

#[test]
fn what_ended_well_is_what_others_may_need() {
    let rules = [rule(Restart::Transient, &[]), rule(Restart::Permanent, &[0])];
    let mut world = World::new(&rules, Strategy::OneForOne, AutoShutdown::Never, None);
    run(
        &mut world,
        &[Input::Start(0), Input::Start(1), Input::Spawned(0), Input::Ended(0, true), Input::Gone(0)],
    );
    assert_eq!(states(&world), [State::Down, State::Starting]);
    assert!(world.real[1].spawning);
}

/// Hundreds of services, each of which needs the one before it, and hundreds that come again together: what is decided of each hangs on all others, and
/// yet they are looked at once for each thing that happens.
#[test]
fn hundreds_that_hang_on_each_other() {
    const MANY: usize = 600;
    let begun = std::time::Instant::now();
    let chain: Vec<Rule> = (0..MANY)
        .map(|at| rule(Restart::Permanent, &at.checked_sub(1).into_iter().collect::<Vec<_>>()))
        .collect();
    let alone: Vec<Rule> = (0..MANY).map(|_| rule(Restart::Permanent, &[])).collect();
    for (rules, strategy) in [
        (&chain, Strategy::OneForOne),
        (&alone, Strategy::OneForAll),
        (&alone, Strategy::RestForOne),
        (&chain, Strategy::OneForAll),
    ] {
        let mut core = Core::new(rules.clone(), strategy, AutoShutdown::Never, None, 0);
        let mut queue: VecDeque<Input> = (0..MANY).map(Input::Start).collect();
        let (mut spawns, mut stops) = (vec![0; MANY], Vec::new());
        let mut is_over = false;
        // All come up; the first crashes, and all who hang on it come again; one in the middle is stopped by hand; all are stopped.
        for next in [Input::Ended(0, false), Input::Stop(MANY / 2), Input::Close(Verdict::Asked)] {
            for then in [None, Some(next)] {
                queue.extend(then);
                while let Some(input) = queue.pop_front() {
                    let mut effects = Vec::new();
                    core.take(NOW, input, &mut effects);
                    for effect in effects {
                        match effect {
                            Effect::Spawn(at) => {
                                spawns[at] += 1;
                                queue.extend([Input::Spawned(at), Input::IsReady(at)]);
                            }
                            Effect::Stop(at) => {
                                stops.push(at);
                                queue.push_back(Input::Gone(at));
                            }
                            Effect::Set(at, Timer::Delay, _) => {
                                queue.push_back(Input::Timer(at, Timer::Delay))
                            }
                            Effect::Over(_) => is_over = true,
                            _ => {}
                        }
                    }
                }
            }
        }
        assert!(is_over && spawns.iter().all(|spawns| *spawns >= 1), "{strategy:?}");
        if strategy == Strategy::OneForAll {
            assert!(spawns.iter().all(|spawns| *spawns >= 2), "{spawns:?}");
        }
        // From the last to the first, in each of the stoppings.
        if rules[1].needs == [0] {
            assert!(stops[stops.len() - MANY / 2..].is_sorted_by(|one, next| one > next), "{stops:?}");
        }
    }
    println!("{MANY} services in four ways: {:?}", begun.elapsed());
    // It took minutes when each of them asked anew for all who need it.
    let limit = Duration::from_secs(if cfg!(debug_assertions) { 60 } else { 5 });
    assert!(begun.elapsed() < limit);
}
