//! What a supervisor does next: all of its decisions, and nothing but decisions. It has no clock, no processes and no tasks: what happens goes in,
//! in one order, and what is to be done comes out.
//!
//! ```text
//!                  start                  spawned               is ready
//!        ┌──────┐ ──────► ┌────────────┐ ────────► ┌──────┐ ────────► ┌───────┐
//!        │ down │         │  starting  │           │  up  │           │ ready │
//!        └──────┘ ◄────── │ 1 depends  │           └──┬───┘           └───┬───┘
//!          ▲ ▲     stop   │ 2 delay    │              │ ended, not ready in time,
//!          │ │            │ 3 spawn    │              │ unhealthy, stop, restart, a strategy
//!          │ │            └────────────┘              ▼                   │
//!          │ │              ▲    ▲ │ cannot    ┌────────────┐             │
//!          │ │              │    │ │ be        │  stopping  │ ◄───────────┘
//!     start│ │ to stay down │    │ │ spawned   └─────┬──────┘
//!     stop │ │              │    └─┘                 │ nobody of its tree is left
//!          │ └──────────────┼────────────────────────┤
//!          ▼                └────────────────────────┤ again, after its delay
//!        ┌────────┐                                  │
//!        │ failed │ ◄────────────────────────────────┘ too often, or never again
//!        └────────┘
//! ```
//!
//! A service is spawned only from `starting`, which it enters only when nobody of its tree is left: so nothing is started twice, and nothing that still
//! runs is started again. What is to be stopped waits until those that depend on it, and are to be stopped too, are gone.

use std::collections::VecDeque;
use std::time::Duration;

use crate::supervisor::policy::{AutoShutdown, Backoff, Intensity, Restart, Strategy};

/// Where a service is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// Nobody of it lives, and it is not to be started.
    Down,
    /// It is about to be started.
    Starting,
    /// It runs, and has not said that it is ready.
    Up,
    /// It runs, and is ready.
    Ready,
    /// It is being stopped, or has ended and left somebody behind who is.
    Stopping,
    /// Nobody of it lives. It failed too often, or is not to be started again after a failure.
    Failed,
}

/// What a service in `starting` waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Wait {
    Dependencies,
    Delay,
    Spawn,
}

/// What comes when nobody of it is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum After {
    Stay,
    Fail,
    Again { delay: Duration },
}

/// A service's own clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// Until it is started again.
    Delay,
    /// Until it must be ready.
    Ready,
    /// Until what was is forgotten.
    Stable,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Input {
    Start(usize),
    Stop(usize),
    Restart(usize),
    Spawned(usize),
    NotSpawned(usize),
    /// It ran already when all began, and was taken over.
    Adopted(usize),
    /// It ran already, and cannot be taken over: nor may it be started.
    NotAdopted(usize),
    IsReady(usize),
    /// Its watchdog has run out, or it says so itself.
    Unhealthy(usize),
    /// The process that it is of has ended, well or not. Others of its tree may live.
    Ended(usize, bool),
    /// Nobody of its tree is left.
    Gone(usize),
    Timer(usize, Timer),
    /// All are to be stopped for good.
    Close(Verdict),
    /// The time for that is over.
    Deadline,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Effect {
    Spawn(usize),
    /// Stop whoever lives of it as its plan says, and say when nobody does. It may be that nobody does already.
    Stop(usize),
    /// The same by SIGKILL, whatever else is being done about it.
    Kill(usize),
    Set(usize, Timer, Duration),
    Cancel(usize, Timer),
    /// It is told that its state has changed.
    Tell(usize, State),
    /// It is told why the whole is being stopped.
    Closing(Verdict),
    /// Everything is down, and stays so.
    Over(Verdict),
}

/// Why a supervisor has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Verdict {
    /// It was told to.
    Asked,
    /// There were more restarts than it bears.
    GaveUp,
    /// Its significant services had ended for good.
    Significant,
    /// The source of its watcher has failed: nobody can say any more who runs.
    SourceFailed,
}

/// What there is to know of a service to decide about it.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) restart: Restart,
    pub(crate) backoff: Backoff,
    pub(crate) intensity: Option<Intensity>,
    pub(crate) significant: bool,
    /// Ready as soon as it is up.
    pub(crate) ready_at_once: bool,
    pub(crate) ready_within: Option<Duration>,
    /// Whom it needs, by place: each before it in the order of starting.
    pub(crate) needs: Vec<usize>,
}

#[derive(Clone, Debug)]
struct Unit {
    rule: Rule,
    state: State,
    wait: Wait,
    /// It is to be up. Manual stops take that back, and nothing but a command gives it again.
    wanted: bool,
    /// It is to be stopped as soon as nobody who is to be stopped before it is left, with what comes then.
    doom: Option<After>,
    /// What comes when it is gone, while it is being stopped.
    after: After,
    /// It ended well, and that was all that it had to do.
    done: bool,
    failures: u32,
    restarts: VecDeque<Duration>,
    /// The last that was said of it was to stop it. Nothing here hangs on it; a later program is told.
    by_hand: bool,
}

/// The decisions of one supervisor, over services in the order of starting.
#[derive(Clone, Debug)]
pub(crate) struct Core {
    units: Vec<Unit>,
    strategy: Strategy,
    auto_shutdown: AutoShutdown,
    intensity: Option<Intensity>,
    restarts: VecDeque<Duration>,
    closing: Option<Verdict>,
    /// The time for that is over.
    late: bool,
    over: bool,
    chance: fastrand::Rng,
    out: Vec<Effect>,
}

impl Core {
    /// `seed` is what the jitter of delays is made of.
    pub(crate) fn new(
        rules: Vec<Rule>,
        strategy: Strategy,
        auto_shutdown: AutoShutdown,
        intensity: Option<Intensity>,
        seed: u64,
    ) -> Self {
        let unit = |rule| Unit {
            rule,
            state: State::Down,
            wait: Wait::Dependencies,
            wanted: false,
            doom: None,
            after: After::Stay,
            done: false,
            failures: 0,
            restarts: VecDeque::new(),
            by_hand: false,
        };
        let (restarts, chance, out) = (VecDeque::new(), fastrand::Rng::with_seed(seed), Vec::new());
        let units = rules.into_iter().map(unit).collect();
        Self {
            units,
            strategy,
            auto_shutdown,
            intensity,
            restarts,
            closing: None,
            late: false,
            over: false,
            chance,
            out,
        }
    }

    pub(crate) fn state(&self, at: usize) -> State {
        self.units[at].state
    }

    /// What it waits for, if it is about to be started.
    pub(crate) fn wait(&self, at: usize) -> Option<Wait> {
        (self.units[at].state == State::Starting).then_some(self.units[at].wait)
    }

    /// The dependencies that it waits for.
    pub(crate) fn missing(&self, at: usize) -> impl Iterator<Item = usize> {
        self.units[at].rule.needs.iter().copied().filter(|need| !self.is_met(*need))
    }

    pub(crate) fn is_wanted(&self, at: usize) -> bool {
        self.units[at].wanted
    }

    /// Whether it was stopped by hand, and not started since.
    pub(crate) fn is_stopped_by_hand(&self, at: usize) -> bool {
        self.units[at].by_hand
    }

    /// How often it was started again since it was last stable.
    pub(crate) fn failures(&self, at: usize) -> u32 {
        self.units[at].failures
    }

    /// Takes in what happened at `now`, by a clock that never goes back, and appends what is to be done to `out`.
    pub(crate) fn take(&mut self, now: Duration, input: Input, out: &mut Vec<Effect>) {
        match input {
            Input::Start(at) => self.start(at),
            Input::Stop(at) => self.stop(at),
            Input::Restart(at) if self.is_alive(at) && self.closing.is_none() => {
                let unit = &mut self.units[at];
                let again = After::Again { delay: Duration::ZERO };
                // Whatever was to come of it before.
                (unit.wanted, unit.done, unit.by_hand) = (true, false, false);
                if unit.state == State::Stopping { unit.after = again } else { unit.doom = Some(again) }
            }
            Input::Restart(at) => self.start(at),
            Input::Spawned(at) if self.wait(at) == Some(Wait::Spawn) => self.spawned(at),
            Input::NotSpawned(at) if self.wait(at) == Some(Wait::Spawn) => {
                // Nobody of it lives: there is nothing to be stopped.
                let after = self.fate(at, false, now);
                self.settle(at, after);
            }
            Input::Adopted(at) if self.units[at].state == State::Down && self.closing.is_none() => {
                self.units[at].wanted = true;
                self.spawned(at);
            }
            Input::NotAdopted(at) if self.units[at].state == State::Down => self.enter(at, State::Failed),
            Input::IsReady(at) if self.units[at].state == State::Up => self.ready(at),
            Input::Unhealthy(at) | Input::Timer(at, Timer::Ready) => self.unwell(at, now),
            Input::Ended(at, well) if matches!(self.units[at].state, State::Up | State::Ready) => {
                let after = self.fate(at, well, now);
                self.begin_stop(at, after);
            }
            Input::Gone(at) if self.units[at].state == State::Stopping => {
                let after = self.units[at].after;
                self.settle(at, after);
            }
            Input::Timer(at, Timer::Delay) if self.wait(at) == Some(Wait::Delay) => {
                self.units[at].wait = Wait::Dependencies;
            }
            Input::Timer(at, Timer::Stable) if self.units[at].state == State::Ready => self.forget(at),
            Input::Close(verdict) => self.close(verdict),
            Input::Deadline if self.closing.is_some() => self.kill_all(),
            // Too late: it has come to something else meanwhile.
            _ => {}
        }
        self.advance();
        out.append(&mut self.out);
    }

    fn start(&mut self, at: usize) {
        if self.closing.is_some() {
            return;
        }
        let unit = &mut self.units[at];
        (unit.wanted, unit.done, unit.by_hand) = (true, false, false);
        match unit.state {
            State::Down | State::Failed => {
                self.forget(at);
                self.wait_for(at, Wait::Dependencies);
            }
            // It was to be stopped, and may as well stay; or is to come again.
            State::Up | State::Ready => unit.doom = None,
            State::Starting if unit.wait == Wait::Delay => {
                self.out.push(Effect::Cancel(at, Timer::Delay));
                self.wait_for(at, Wait::Dependencies);
            }
            State::Starting => unit.doom = None,
            State::Stopping => unit.after = After::Again { delay: Duration::ZERO },
        }
    }

    fn stop(&mut self, at: usize) {
        (self.units[at].wanted, self.units[at].by_hand) = (false, true);
        self.let_down(at, After::Stay);
        // Who needs it is stopped before it, and comes again when it does.
        for dependent in self.dependents(at) {
            self.let_down(dependent, After::Again { delay: Duration::ZERO });
        }
    }

    /// Whatever it is at: nobody of it is to live, and then comes `after`.
    fn let_down(&mut self, at: usize, after: After) {
        match self.units[at].state {
            State::Down => {}
            State::Failed if after == After::Stay => self.enter(at, State::Down),
            State::Failed => {}
            State::Starting if self.units[at].wait != Wait::Spawn => {
                if after == After::Stay {
                    if self.units[at].wait == Wait::Delay {
                        self.out.push(Effect::Cancel(at, Timer::Delay));
                    }
                    self.enter(at, State::Down);
                }
            }
            State::Stopping if after == After::Stay => self.units[at].after = After::Stay,
            State::Stopping => {}
            State::Starting | State::Up | State::Ready => self.doom(at, after),
        }
    }

    /// All who need it, and who need those.
    fn dependents(&self, at: usize) -> Vec<usize> {
        let mut found = vec![false; self.units.len()];
        found[at] = true;
        for other in at + 1..self.units.len() {
            found[other] = self.units[other].rule.needs.iter().any(|need| found[*need]);
        }
        (at + 1..self.units.len()).filter(|other| found[*other]).collect()
    }

    fn doom(&mut self, at: usize, after: After) {
        let unit = &mut self.units[at];
        // To stay down is stronger than to come again, and not to be overruled by it.
        if unit.doom.is_none_or(|doom| matches!(doom, After::Again { .. })) {
            unit.doom = Some(after);
        }
    }

    fn spawned(&mut self, at: usize) {
        self.enter(at, State::Up);
        let rule = &self.units[at].rule;
        match rule.ready_within {
            _ if rule.ready_at_once => self.ready(at),
            Some(within) => self.out.push(Effect::Set(at, Timer::Ready, within)),
            None => {}
        }
    }

    fn ready(&mut self, at: usize) {
        self.enter(at, State::Ready);
        let rule = &self.units[at].rule;
        if rule.ready_within.is_some() && !rule.ready_at_once {
            self.out.push(Effect::Cancel(at, Timer::Ready));
        }
        self.out.push(Effect::Set(at, Timer::Stable, self.units[at].rule.backoff.stable_for));
    }

    fn unwell(&mut self, at: usize, now: Duration) {
        if self.units[at].doom.is_none() && matches!(self.units[at].state, State::Up | State::Ready) {
            let after = self.fate(at, false, now);
            self.units[at].doom = Some(after);
        }
    }

    /// What comes after a service that has ended, well or not: what was decided before, or what its rule says.
    fn fate(&mut self, at: usize, well: bool, now: Duration) -> After {
        if let Some(doom) = self.units[at].doom.take() {
            return doom;
        }
        let after = self.judge(at, well, now);
        // Should that have been the end of all, this one has been seen to.
        self.units[at].doom = None;
        after
    }

    fn judge(&mut self, at: usize, well: bool, now: Duration) -> After {
        let unit = &mut self.units[at];
        if self.closing.is_some() || !unit.wanted {
            return After::Stay;
        }
        let again = match unit.rule.restart {
            Restart::Permanent => true,
            Restart::Transient => !well,
            Restart::Temporary => false,
        };
        if !again {
            (unit.wanted, unit.done) = (false, well);
            self.ended_for_good(at);
            return if well { After::Stay } else { After::Fail };
        }
        if !bears(self.intensity, &mut self.restarts, now) {
            self.close(Verdict::GaveUp);
            return After::Fail;
        }
        let unit = &mut self.units[at];
        if !bears(unit.rule.intensity, &mut unit.restarts, now) {
            unit.wanted = false;
            self.ended_for_good(at);
            return After::Fail;
        }
        let delay = unit.rule.backoff.delay(unit.failures, self.chance.f64());
        unit.failures = unit.failures.saturating_add(1);
        let with_it = match self.strategy {
            Strategy::OneForOne => 0..0,
            Strategy::OneForAll => 0..self.units.len(),
            Strategy::RestForOne => at + 1..self.units.len(),
        };
        for other in with_it.filter(|other| *other != at) {
            if self.units[other].wanted {
                self.let_down(other, After::Again { delay: Duration::ZERO });
            }
        }
        After::Again { delay }
    }

    /// It is not wanted any more, of its own accord.
    fn ended_for_good(&mut self, at: usize) {
        let lasts = |unit: &Unit| unit.rule.significant && unit.wanted;
        let close = match self.auto_shutdown {
            AutoShutdown::Never => false,
            AutoShutdown::AnySignificant => self.units[at].rule.significant,
            AutoShutdown::AllSignificant => self.units[at].rule.significant && !self.units.iter().any(lasts),
        };
        if close {
            self.close(Verdict::Significant);
        }
    }

    fn close(&mut self, verdict: Verdict) {
        if self.closing.is_some() {
            return;
        }
        self.closing = Some(verdict);
        self.out.push(Effect::Closing(verdict));
        for at in 0..self.units.len() {
            self.units[at].wanted = false;
            // Those that have failed are told as such to the end.
            if self.units[at].state != State::Failed {
                self.let_down(at, After::Stay);
            }
        }
    }

    /// The time is over: nobody is waited for any more before he is killed.
    fn kill_all(&mut self) {
        self.late = true;
        for at in 0..self.units.len() {
            if self.units[at].state == State::Stopping {
                self.out.push(Effect::Kill(at));
            }
        }
    }

    fn begin_stop(&mut self, at: usize, after: After) {
        let stood = self.units[at].state;
        if stood == State::Up && self.units[at].rule.ready_within.is_some() {
            self.out.push(Effect::Cancel(at, Timer::Ready));
        }
        if stood == State::Ready {
            self.out.push(Effect::Cancel(at, Timer::Stable));
        }
        self.units[at].after = after;
        self.enter(at, State::Stopping);
        self.out.push(if self.late { Effect::Kill(at) } else { Effect::Stop(at) });
    }

    /// Nobody of it is left.
    fn settle(&mut self, at: usize, after: After) {
        match after {
            After::Again { delay } if self.units[at].wanted => {
                if delay.is_zero() {
                    self.wait_for(at, Wait::Dependencies);
                } else {
                    self.out.push(Effect::Set(at, Timer::Delay, delay));
                    self.wait_for(at, Wait::Delay);
                }
            }
            After::Fail => self.enter(at, State::Failed),
            After::Again { .. } | After::Stay => self.enter(at, State::Down),
        }
    }

    fn wait_for(&mut self, at: usize, wait: Wait) {
        self.units[at].wait = wait;
        self.enter(at, State::Starting);
    }

    fn enter(&mut self, at: usize, state: State) {
        if self.units[at].state != state {
            self.units[at].state = state;
            self.out.push(Effect::Tell(at, state));
        }
    }

    fn forget(&mut self, at: usize) {
        self.units[at].failures = 0;
        self.units[at].restarts.clear();
    }

    /// Whether somebody of it may live.
    fn is_alive(&self, at: usize) -> bool {
        match self.units[at].state {
            State::Up | State::Ready | State::Stopping => true,
            State::Starting => self.units[at].wait == Wait::Spawn,
            State::Down | State::Failed => false,
        }
    }

    fn is_met(&self, need: usize) -> bool {
        let need = &self.units[need];
        need.state == State::Ready && need.doom.is_none() || need.state == State::Down && need.done
    }

    /// It is on its way down, and nothing that it is needed for may begin.
    fn is_leaving(&self, at: usize) -> bool {
        self.units[at].doom.is_some() || self.units[at].state == State::Stopping
    }

    /// Does what has become possible, until nothing more has.
    fn advance(&mut self) {
        loop {
            let before = self.out.len();
            self.stop_who_is_free();
            self.spawn_who_may_be();
            if self.out.len() == before {
                break;
            }
        }
        let down = |unit: &Unit| matches!(unit.state, State::Down | State::Failed);
        if let Some(verdict) = self.closing.filter(|_| !self.over && self.units.iter().all(down)) {
            self.over = true;
            self.out.push(Effect::Over(verdict));
        }
    }

    /// From the last to the first, each service once: whoever is needed comes before those who need it.
    fn stop_who_is_free(&mut self) {
        // Whether somebody who needs it, or who needs those, is on his way down and lives.
        let mut waits = vec![false; self.units.len()];
        for at in (0..self.units.len()).rev() {
            // One that is being spawned is stopped when it has been.
            if matches!(self.units[at].state, State::Up | State::Ready) && (!waits[at] || self.late) {
                if let Some(after) = self.units[at].doom.take() {
                    self.begin_stop(at, after);
                }
            }
            if waits[at] || self.is_leaving(at) && self.is_alive(at) {
                self.units[at].rule.needs.iter().for_each(|need| waits[*need] = true);
            }
        }
    }

    fn spawn_who_may_be(&mut self) {
        // Who is to come again together waits until all of those are gone. Nobody leaves because somebody is spawned.
        let leaves = |at: &usize| self.units[*at].wanted && self.is_leaving(*at);
        let last = match self.strategy {
            Strategy::OneForOne => None,
            Strategy::OneForAll | Strategy::RestForOne => (0..self.units.len()).rfind(leaves),
        };
        for at in 0..self.units.len() {
            let waits = match self.strategy {
                Strategy::OneForOne => false,
                Strategy::OneForAll => last.is_some(),
                Strategy::RestForOne => last.is_some_and(|last| last > at),
            };
            if !waits && self.wait(at) == Some(Wait::Dependencies) && self.missing(at).next().is_none() {
                self.units[at].wait = Wait::Spawn;
                self.out.push(Effect::Spawn(at));
            }
        }
    }
}

#[cfg(test)]
impl Core {
    pub(crate) fn needs(&self, at: usize) -> &[usize] {
        &self.units[at].rule.needs
    }

    /// All that what comes next hangs on.
    pub(crate) fn key(&self) -> String {
        let unit = |unit: &Unit| {
            let Unit { state, wait, wanted, doom, after, done, restarts, .. } = unit;
            let wait = (*state == State::Starting).then_some(wait);
            let after = (*state == State::Stopping).then_some(after);
            format!("{state:?}{wait:?}{wanted}{doom:?}{after:?}{done}{}", restarts.len())
        };
        let units: Vec<_> = self.units.iter().map(unit).collect();
        format!("{units:?}{:?}{}", self.closing, self.restarts.len())
    }
}

/// Whether one more restart is borne. It is counted if so.
fn bears(intensity: Option<Intensity>, restarts: &mut VecDeque<Duration>, now: Duration) -> bool {
    let Some(Intensity { restarts: most, period }) = intensity else { return true };
    while restarts.front().is_some_and(|first| now.saturating_sub(*first) >= period) {
        restarts.pop_front();
    }
    let bears = restarts.len() < most as usize;
    if bears {
        restarts.push_back(now);
    }
    bears
}
