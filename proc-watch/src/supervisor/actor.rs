//! The task in which everything is decided: commands and news come in here, in one order, and what is to be done is done.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use proc_reactor::{AttachError, ExitStatus, PersistentId, ProcId};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;
use tracing::Instrument;

use crate::cgroup::Cgroup;
use crate::error::SpawnError;
use crate::handle::TreeHandle;
use crate::stop::{Emptiness, StopPlan, Wishes};
use crate::stream::Events;
use crate::supervisor::check;
use crate::supervisor::core::{Core, Effect, Input, State, Timer, Verdict};
use crate::supervisor::death::Ward;
use crate::supervisor::event::{ServiceEvent, ServiceEventKind, Status};
use crate::supervisor::life::{Life, News, Origin, Rest, Teller, Told};
use crate::supervisor::memory::{Found, Memory};
use crate::supervisor::notice::Socket;
use crate::supervisor::output::{self, Heard};
use crate::supervisor::record::Record;
use crate::supervisor::spec::{Ready, Service};
use crate::watcher::Watcher;

/// What somebody wants.
#[derive(Debug)]
pub(crate) enum Command {
    Start(usize),
    Stop(usize),
    Restart(usize),
    Reload(usize, oneshot::Sender<Result<(), ReloadError>>),
    /// Say when all that was wanted before has been taken in.
    Sync(oneshot::Sender<()>),
    /// Stop all, within this time.
    Shutdown(Option<Duration>),
}

/// Why a service was not made to read its configuration again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReloadError {
    /// Its specification names no signal for that.
    #[error("it has no signal for that; give it one (Service::reload)")]
    NoSignal,
    /// It does not run.
    #[error("it does not run")]
    NotUp,
    /// It could not be signalled.
    #[error(transparent)]
    Signal(#[from] proc_reactor::SignalError),
    /// The supervisor is over.
    #[error("the supervisor is over")]
    Over,
}

/// Makes a process of a script's, instead of a real one.
pub(crate) type Starter = Arc<dyn Fn(&str) -> io::Result<u32> + Send + Sync>;

/// A service that may be running.
#[derive(Debug)]
struct Running {
    handle: TreeHandle,
    life: u64,
    /// What names the process that was started, and the one that was named since, to a later program.
    leader: Option<PersistentId>,
    main: Option<PersistentId>,
    /// It is in a cgroup of its own.
    group: Option<Cgroup>,
    /// What asks whether it is ready or well, while it is.
    asking: Option<AbortHandle>,
    /// What is wanted of its stopping, while it is being stopped.
    stopping: Option<Arc<Wishes>>,
    /// Reports of stoppings that are to come. Each does, soon after nobody is left.
    reports: u32,
    /// Nobody of it is left.
    is_gone: bool,
}

pub(crate) struct Actor {
    watcher: Watcher,
    services: Vec<Service>,
    core: Core,
    begun: Instant,
    lives: u64,
    running: Vec<Option<Running>>,
    queue: VecDeque<Input>,
    /// What was decided and is yet to be done, before anything else is taken in.
    effects: VecDeque<Effect>,
    timers: BTreeSet<(Instant, usize, Timer)>,
    due: HashMap<(usize, Timer), Instant>,
    deadline: Option<Instant>,
    syncs: Vec<oneshot::Sender<()>>,
    /// Events since others last had the thread.
    told: usize,
    commands: mpsc::UnboundedReceiver<Command>,
    news: (mpsc::UnboundedSender<Told>, mpsc::UnboundedReceiver<Told>),
    tasks: JoinSet<()>,
    statuses: Vec<watch::Sender<Status>>,
    verdict: watch::Sender<(Option<Verdict>, bool)>,
    events: broadcast::Sender<ServiceEvent>,
    starter: Option<Starter>,
    spans: Vec<tracing::Span>,
    over: Option<Verdict>,
    memory: Option<Memory>,
    /// Since it was last written down.
    has_changed: bool,
    ward: Option<Ward>,
}

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Worked {
    /// Nothing is left to do now.
    All,
    /// There may be more.
    More,
    /// All is over.
    Over,
}

/// What an actor is made of, and where it tells.
pub(crate) struct Parts {
    pub(crate) watcher: Watcher,
    pub(crate) services: Vec<Service>,
    pub(crate) core: Core,
    pub(crate) commands: mpsc::UnboundedReceiver<Command>,
    pub(crate) statuses: Vec<watch::Sender<Status>>,
    /// Why all are down or being stopped, and whether they are down.
    pub(crate) verdict: watch::Sender<(Option<Verdict>, bool)>,
    pub(crate) events: broadcast::Sender<ServiceEvent>,
    pub(crate) starter: Option<Starter>,
    pub(crate) memory: Option<Memory>,
    pub(crate) ward: Option<Ward>,
}

impl Actor {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { watcher, services, core, commands, statuses, verdict, events, starter, .. } = parts;
        let Parts { memory, ward, .. } = parts;
        let running = services.iter().map(|_| None).collect();
        let span = |service: &Service| tracing::info_span!(target: "proc_watch::supervisor", "service", name = %service.name);
        let spans = services.iter().map(span).collect();
        Self {
            watcher,
            services,
            core,
            begun: Instant::now(),
            lives: 0,
            running,
            queue: VecDeque::new(),
            effects: VecDeque::new(),
            timers: BTreeSet::new(),
            due: HashMap::new(),
            deadline: None,
            syncs: Vec::new(),
            told: 0,
            commands,
            news: mpsc::unbounded_channel(),
            tasks: JoinSet::new(),
            statuses,
            verdict,
            events,
            starter,
            spans,
            over: None,
            memory,
            has_changed: false,
            ward,
        }
    }

    /// Until all are down for good. Whoever lives of them when this is dropped is killed.
    pub(crate) async fn run(mut self) {
        let mut heard = true;
        if let Some(memory) = &mut self.memory {
            let (events, path) = (self.events.clone(), memory.path().display().to_string());
            memory.begin(move |error| {
                announce(&events, None, ServiceEventKind::StateLost(format!("{path}: {error}")))
            });
        }
        self.begin();
        loop {
            if std::mem::take(&mut self.told) >= TOLD_AT_ONCE {
                // Readers are to come to it before they are too far behind.
                tokio::task::yield_now().await;
            }
            let more = match self.work() {
                Worked::Over => break,
                worked => worked == Worked::More,
            };
            let next = self.timers.first().map(|(time, ..)| *time).into_iter().chain(self.deadline).min();
            tokio::select! {
                biased;
                command = self.commands.recv(), if heard => match command {
                    Some(command) => self.command(command),
                    // Nobody can want anything any more.
                    None => {
                        heard = false;
                        self.command(Command::Shutdown(None));
                    }
                },
                told = self.news.1.recv() => self.told(told.expect("one sender is here")),
                () = sleep_until(next) => self.ring(),
                Some(_) = self.tasks.join_next() => {}
                // A thousand services that are started at once hold up neither others nor what is to be heard.
                () = tokio::task::yield_now(), if more => {}
            }
        }
        if let Some(memory) = self.memory.take() {
            // Nobody is left to be taken over, and no wish either.
            memory.forget_all().await;
        }
        self.verdict.send_replace((self.over, true));
        // What is written is read to the end, unless somebody else keeps the pipe.
        let rest = async { while self.tasks.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(Duration::from_millis(500), rest).await;
    }

    /// Takes over who runs already, and has the others started that are to be.
    fn begin(&mut self) {
        let (mut starts, mut stops) = (Vec::new(), Vec::new());
        for at in 0..self.services.len() {
            let name = Arc::clone(&self.services[at].name);
            let found = self.memory.as_mut().map(|memory| memory.take(&name)).unwrap_or_default();
            let is_stopped = found.record.is_stopped;
            if !found.living.is_empty() {
                let is_ready = found.record.is_ready;
                match self.adopt(at, found) {
                    Ok(Some(id)) => {
                        self.tell(at, ServiceEventKind::Adopted(id));
                        self.statuses[at].send_modify(|status| status.id = Some(id));
                        self.queue.push_back(Input::Adopted(at));
                        if is_ready {
                            self.queue.push_back(Input::IsReady(at));
                        }
                        if is_stopped {
                            stops.push(Input::Stop(at));
                        }
                        continue;
                    }
                    // They have ended meanwhile.
                    Ok(None) => {}
                    Err(error) => {
                        self.tell(at, ServiceEventKind::NotAdopted(error.to_string()));
                        self.queue.push_back(Input::NotAdopted(at));
                        continue;
                    }
                }
            }
            if is_stopped {
                // As it was left, and as a later one is to find it.
                self.statuses[at].send_modify(|status| status.wanted = false);
                stops.push(Input::Stop(at));
            } else if self.services[at].autostart {
                starts.push(Input::Start(at));
            }
        }
        self.queue.extend(stops.into_iter().chain(starts));
        let strays = self.memory.as_mut().map(Memory::strays).unwrap_or_default();
        strays.into_iter().for_each(|(name, living)| self.stop_strays(name, living));
    }

    /// `None`: nobody of them lives any more.
    fn adopt(&mut self, at: usize, found: Found) -> Result<Option<ProcId>, AttachError> {
        let events = match self.watcher.attach_known(&found.living) {
            Ok(events) => events,
            Err(AttachError::NoSuchProcess { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        self.lives += 1;
        let handle = events.handle();
        let living = handle.living();
        // By their pids, and then by all that names them.
        let known = |wanted: Option<PersistentId>| {
            let wanted = wanted?;
            let member = living.iter().find(|member| member.id.pid() == wanted.pid())?;
            (self.watcher.persistent_id(member.id).ok()? == wanted).then_some(member.id)
        };
        let (leader, main) = (known(found.record.leader), known(found.record.main));
        let id = main.or(leader).unwrap_or_else(|| events.id());
        let service = &self.services[at];
        let teller = Teller { at, life: self.lives, to: self.news.0.clone() };
        let socket = self.memory.as_ref().filter(|_| service.notifies()).and_then(|memory| {
            let bound = Socket::bind_at(memory.socket(&service.name));
            bound
                .inspect_err(|error| tracing::warn!(%error, service = %service.name, "it cannot be heard"))
                .ok()
        });
        let origin = Origin::Adopted { leader, main, rest: Rest::of(handle.clone()) };
        let watchdog = service.watchdog.filter(|_| socket.is_some());
        let life =
            Life { origin, events, handle: handle.clone(), main: service.main, socket, watchdog, teller };
        self.tasks.spawn(life.follow().instrument(self.spans[at].clone()));
        self.running[at] = Some(Running {
            handle,
            life: self.lives,
            leader: found.record.leader.filter(|_| leader.is_some()),
            main: found.record.main.filter(|_| main.is_some()),
            group: None,
            asking: None,
            stopping: None,
            reports: 0,
            is_gone: false,
        });
        Ok(Some(id))
    }

    /// Processes of a service that there is no more.
    fn stop_strays(&mut self, name: String, living: Vec<PersistentId>) {
        let stop = match self.watcher.attach_known(&living) {
            Ok(events) => events.stop(StopPlan::default()),
            Err(AttachError::NoSuchProcess { .. }) => return,
            Err(error) => {
                let why = format!("of service {name:?}, which there is no more: {error}");
                return self.tell_all(ServiceEventKind::NotAdopted(why));
            }
        };
        let events = self.events.clone();
        self.tasks.spawn(async move {
            match stop.await {
                Ok(report) => {
                    let kind = ServiceEventKind::Stray { name: name.into(), report: Arc::new(report) };
                    announce(&events, None, kind);
                }
                Err(error) => tracing::error!(%error, "who was left of a service could not be stopped"),
            }
        });
    }

    /// Writes down what a later supervisor is to know.
    fn remember(&self) {
        let Some(memory) = &self.memory else { return };
        let record = |at: usize| {
            let running = self.running[at].as_ref();
            Record {
                is_stopped: self.core.is_stopped_by_hand(at),
                is_ready: self.core.state(at) == State::Ready,
                leader: running.and_then(|running| running.leader),
                main: running.and_then(|running| running.main),
            }
        };
        let is_there = |at: &usize| self.running[*at].is_some() || self.core.is_stopped_by_hand(*at);
        let records = (0..self.services.len())
            .filter(is_there)
            .map(|at| (self.services[at].name.to_string(), record(at)))
            .collect();
        memory.remember(records);
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Start(at) => self.queue.push_back(Input::Start(at)),
            Command::Stop(at) => self.queue.push_back(Input::Stop(at)),
            Command::Restart(at) => self.queue.push_back(Input::Restart(at)),
            Command::Reload(at, answer) => drop(answer.send(self.reload(at))),
            Command::Sync(answer) => {
                self.syncs.push(answer);
            }
            Command::Shutdown(within) => {
                self.deadline = within.map(after).or(self.deadline);
                self.queue.push_back(Input::Close(Verdict::Asked));
            }
        }
    }

    fn reload(&self, at: usize) -> Result<(), ReloadError> {
        let signal = self.services[at].reload.ok_or(ReloadError::NoSignal)?;
        let up = matches!(self.core.state(at), State::Up | State::Ready);
        let running = self.running[at].as_ref().filter(|_| up).ok_or(ReloadError::NotUp)?;
        Ok(self.watcher.signal(running.handle.id(), signal)?)
    }

    /// A clock has run out.
    fn ring(&mut self) {
        let now = Instant::now();
        while let Some((time, at, timer)) = self.timers.first().copied().filter(|(time, ..)| *time <= now) {
            self.timers.remove(&(time, at, timer));
            self.due.remove(&(at, timer));
            if timer == Timer::Ready {
                self.tell(at, ServiceEventKind::NotReady);
            }
            self.queue.push_back(Input::Timer(at, timer));
        }
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            self.deadline = None;
            self.queue.push_back(Input::Deadline);
        }
    }

    fn told(&mut self, Told { at, life, news }: Told) {
        // Of an earlier one there is nothing to be decided any more.
        let is_present = self.running[at].as_ref().is_some_and(|running| running.life == life);
        match news {
            News::Output(Heard::Trouble { path, error }) => {
                self.tell(at, ServiceEventKind::OutputLost(format!("{}: {error}", path.display())));
            }
            _ if !is_present => {}
            News::Ended(status) => {
                self.tell(at, ServiceEventKind::Ended(status));
                self.statuses[at].send_modify(|told| told.last_end = Some(status));
                self.queue.push_back(Input::Ended(at, status.success() == Some(true)));
            }
            News::Gone => {
                self.running[at].iter_mut().for_each(|running| running.is_gone = true);
                self.settle(at);
            }
            News::Ready | News::Output(Heard::Line) => self.queue.push_back(Input::IsReady(at)),
            News::Unhealthy(why) => {
                self.tell(at, ServiceEventKind::Unhealthy(why));
                self.queue.push_back(Input::Unhealthy(at));
            }
            News::Notice(notice) => {
                if let Some(text) = notice.status {
                    self.tell(at, ServiceEventKind::Status(text.clone()));
                    self.statuses[at].send_modify(|status| status.text = Some(text));
                }
                if notice.reloading {
                    self.tell(at, ServiceEventKind::Reloading);
                }
                if notice.stopping {
                    self.tell(at, ServiceEventKind::Ending);
                }
                let stopping = self.running[at].as_ref().and_then(|running| running.stopping.as_ref());
                if let Some((more, stopping)) = notice.extend.zip(stopping) {
                    stopping.extend(std::time::Instant::now() + more.min(MORE_AT_MOST));
                }
                if let Some(more) = notice.extend.filter(|_| self.due.contains_key(&(at, Timer::Ready))) {
                    let by = self.due[&(at, Timer::Ready)].max(after(more));
                    self.set(at, Timer::Ready, by);
                }
                if notice.ready && matches!(self.services[at].ready, Ready::Notify) {
                    self.queue.push_back(Input::IsReady(at));
                }
            }
            News::Main(id) => {
                if let Some(running) = self.running[at].as_mut().filter(|_| self.memory.is_some()) {
                    running.main = self.watcher.persistent_id(id).ok();
                    self.has_changed = true;
                }
            }
            News::Stranger { pid, why } => self.tell(at, ServiceEventKind::Stranger { pid, why }),
            // Most are gone before anybody would ask.
            News::Stopping(progress)
                if progress.survivors.is_empty() || progress.elapsed < self.services[at].stop.every => {}
            News::Stopping(progress) => self.tell(at, ServiceEventKind::Stopping(progress)),
            News::Stopped(report) => {
                match report.map(Arc::new) {
                    Ok(report) if matches!(report.empty, Emptiness::No { .. }) => {
                        self.tell(at, ServiceEventKind::StillThere(report));
                    }
                    Ok(report) => self.tell(at, ServiceEventKind::Stopped(report)),
                    Err(error) => tracing::error!(%error, "a service could not be stopped"),
                }
                self.running[at].iter_mut().for_each(|running| running.reports -= 1);
                self.settle(at);
            }
            News::Blind(error) => {
                self.tell(at, ServiceEventKind::SourceFailed(error));
                self.queue.push_back(Input::Close(Verdict::SourceFailed));
            }
        }
    }

    /// It is down when nobody of it is left, and all is told of how that came.
    fn settle(&mut self, at: usize) {
        if self.running[at].as_ref().is_some_and(|running| running.is_gone && running.reports == 0) {
            self.running[at] = None;
            self.statuses[at].send_modify(|status| (status.id, status.text) = (None, None));
            self.queue.push_back(Input::Gone(at));
        }
    }

    /// Decides and does, until there is nothing more to do now or a process has been started, which takes its time.
    fn work(&mut self) -> Worked {
        let mut effects = Vec::new();
        loop {
            while let Some(effect) = self.effects.pop_front() {
                let is_slow = matches!(effect, Effect::Spawn(_));
                if self.perform(effect) {
                    return Worked::Over;
                }
                if is_slow || self.told >= TOLD_AT_ONCE {
                    return Worked::More;
                }
            }
            let Some(input) = self.queue.pop_front() else { break };
            self.core.take(self.begun.elapsed(), input, &mut effects);
            self.effects.extend(effects.drain(..));
        }
        if std::mem::take(&mut self.has_changed) {
            self.remember();
        }
        for answer in self.syncs.drain(..) {
            // Who has given up waiting needs no answer.
            let _ = answer.send(());
        }
        Worked::All
    }

    fn perform(&mut self, effect: Effect) -> bool {
        match effect {
            Effect::Spawn(at) => match self.spawn(at) {
                Ok(id) => {
                    self.tell(at, ServiceEventKind::Started(id));
                    self.statuses[at].send_modify(|status| {
                        status.id = Some(id);
                        status.starts += 1;
                    });
                    self.queue.push_back(Input::Spawned(at));
                }
                Err(error) => {
                    self.tell(at, ServiceEventKind::NotStarted(error.to_string()));
                    self.queue.push_back(Input::NotSpawned(at));
                }
            },
            Effect::Stop(at) => self.stop(at, self.services[at].stop.clone()),
            Effect::Kill(at) => self.stop(at, StopPlan::kill()),
            Effect::Set(at, timer, time) => {
                if timer == Timer::Delay {
                    self.tell(at, ServiceEventKind::Again(time));
                }
                self.set(at, timer, after(time));
            }
            Effect::Cancel(at, timer) => self.cancel(at, timer),
            Effect::Tell(at, state) => {
                self.ask(at, state);
                self.tell(at, ServiceEventKind::State(state));
            }
            Effect::Closing(verdict) => {
                self.verdict.send_replace((Some(verdict), false));
                self.tell_all(ServiceEventKind::Closing(verdict));
            }
            Effect::Over(verdict) => {
                self.tell_all(ServiceEventKind::Over(verdict));
                self.over = Some(verdict);
                return true;
            }
        }
        false
    }

    fn set(&mut self, at: usize, timer: Timer, time: Instant) {
        self.cancel(at, timer);
        self.timers.insert((time, at, timer));
        self.due.insert((at, timer), time);
    }

    fn cancel(&mut self, at: usize, timer: Timer) {
        if let Some(time) = self.due.remove(&(at, timer)) {
            self.timers.remove(&(time, at, timer));
        }
    }

    fn spawn(&mut self, at: usize) -> Result<ProcId, SpawnError> {
        self.lives += 1;
        let service = &self.services[at];
        let teller = Teller { at, life: self.lives, to: self.news.0.clone() };
        let socket = if service.notifies() && self.starter.is_none() { Some(self.socket(at)?) } else { None };
        let (mut leader, mut group) = (None, None);
        let (origin, handle, events) = match &self.starter {
            Some(starter) => self.play(service, starter)?,
            None => {
                let mut command = command(service, socket.as_ref()).map_err(SpawnError::Start)?;
                let kept = self.memory.as_ref().map(Memory::marker);
                let guarded = self.ward.as_ref().and_then(|ward| ward.marker);
                for marker in kept.into_iter().chain(guarded) {
                    command.env(marker.variable(), &*service.name);
                }
                group = self.enter_group(&mut command)?;
                let (mut child, events) = self.watcher.spawn(command)?;
                if self.memory.is_some() {
                    // Nobody has waited for it, so that its pid is its own.
                    leader = child.pid().and_then(|pid| PersistentId::of(pid).ok().flatten());
                }
                // Should this task go, so does whoever lives.
                child.kill_tree_on_drop(true);
                if child.stdout.is_some() {
                    let wanted = match &service.ready {
                        Ready::Line(text) => Some(text.clone()),
                        _ => None,
                    };
                    let to = teller.clone();
                    let (out, err) = (child.stdout.take(), child.stderr.take());
                    let tell = move |heard| to.tell(News::Output(heard));
                    let (name, output) = (service.name.to_string(), service.output.clone());
                    self.tasks.spawn(output::pump(name, out, err, output, wanted, tell));
                }
                (Origin::Child(Box::new(child)), events.handle(), events)
            }
        };
        let (main, watchdog, id) = (service.main, service.watchdog, handle.id());
        let life = Life { origin, events, handle: handle.clone(), main, socket, watchdog, teller };
        self.tasks.spawn(life.follow().instrument(self.spans[at].clone()));
        let life = self.lives;
        self.running[at] = Some(Running {
            handle,
            life,
            leader,
            main: None,
            group,
            asking: None,
            stopping: None,
            reports: 0,
            is_gone: false,
        });
        Ok(id)
    }

    /// What a service is heard by: in a place that the next supervisor knows, if there may be one.
    fn socket(&self, at: usize) -> Result<Socket, SpawnError> {
        let known = self.memory.as_ref().map(|memory| memory.socket(&self.services[at].name));
        // The path may be too long for a socket's.
        let bound =
            known.map_or_else(Socket::bind, |place| Socket::bind_at(place).or_else(|_| Socket::bind()));
        bound.map_err(SpawnError::Start)
    }

    /// Where services die with this program by a cgroup, each has one of its own.
    fn enter_group(&self, command: &mut tokio::process::Command) -> Result<Option<Cgroup>, SpawnError> {
        let Some(all) = self.ward.as_ref().and_then(|ward| ward.group.as_ref()) else { return Ok(None) };
        let group =
            Cgroup::create_in(all.path()).map_err(|error| SpawnError::Start(io::Error::other(error)))?;
        group.enter(command.as_std_mut());
        Ok(Some(group))
    }

    fn play(&self, service: &Service, starter: &Starter) -> Result<(Origin, TreeHandle, Events), SpawnError> {
        let (starter, name) = (Arc::clone(starter), Arc::clone(&service.name));
        let ((), handle, events) = self.watcher.spawn_with(move || Ok((starter(&name)?, ())))?;
        Ok((Origin::Script, handle, events))
    }

    /// Begins to stop whoever lives. That nobody does is told by whoever follows it.
    fn stop(&mut self, at: usize, plan: StopPlan) {
        if self.starter.is_some() {
            // A script's processes get no signals, and whoever stops real ones knows real time only.
            return;
        }
        let Some(running) = &mut self.running[at] else { return };
        let teller = Teller { at, life: running.life, to: self.news.0.clone() };
        let plan = match &running.group {
            Some(group) => plan.cgroup(group),
            None => plan,
        };
        let mut stop = running.handle.stop(plan);
        running.stopping = Some(stop.wishes());
        running.reports += 1;
        self.tasks.spawn(async move {
            while let Some(progress) = stop.progress().await {
                teller.tell(News::Stopping(progress));
            }
            teller.tell(News::Stopped(stop.await));
        });
    }

    /// Asks what there is to be asked of a service that has come to this state, and stops asking what was.
    fn ask(&mut self, at: usize, state: State) {
        let Some(running) = &mut self.running[at] else { return };
        if let Some(asking) = running.asking.take() {
            asking.abort();
        }
        let (watcher, service) = (self.watcher.clone(), &self.services[at]);
        let teller = Teller { at, life: running.life, to: self.news.0.clone() };
        running.asking = match state {
            State::Up if check::is_asked(&service.ready) => {
                let ready = service.ready.clone();
                Some(self.tasks.spawn(async move {
                    check::until_ready(&watcher, &ready).await;
                    teller.tell(News::Ready);
                }))
            }
            State::Ready => {
                service.health.clone().filter(|health| check::is_asked(&health.check)).map(|health| {
                    self.tasks.spawn(async move {
                        check::until_unhealthy(&watcher, &health).await;
                        teller.tell(News::Unhealthy("its checks fail"));
                    })
                })
            }
            _ => None,
        };
    }

    fn tell(&mut self, at: usize, kind: ServiceEventKind) {
        let service = &self.services[at].name;
        if let ServiceEventKind::State(state) = kind {
            self.has_changed = true;
            let waits_for = match state {
                State::Starting => {
                    self.core.missing(at).map(|need| Arc::clone(&self.services[need].name)).collect()
                }
                _ => Vec::new(),
            };
            self.statuses[at].send_modify(|status| {
                (status.state, status.since, status.waits_for) = (state, SystemTime::now(), waits_for);
                (status.wanted, status.failures) = (self.core.is_wanted(at), self.core.failures(at));
            });
        }
        self.told += 1;
        self.spans[at].in_scope(|| announce(&self.events, Some(Arc::clone(service)), kind));
    }

    fn tell_all(&self, kind: ServiceEventKind) {
        announce(&self.events, None, kind);
    }
}

/// Whoever listens is told.
fn announce(events: &broadcast::Sender<ServiceEvent>, service: Option<Arc<str>>, kind: ServiceEventKind) {
    #[cfg(feature = "metrics")]
    crate::supervisor::meter::note(service.as_deref(), &kind);
    let event = ServiceEvent { time: SystemTime::now(), service, kind };
    tracing::info!(target: "proc_watch::supervisor", "{event}");
    let _ = events.send(event);
}

/// Events that are told before others have the thread: fewer by far than a reader may be behind.
const TOLD_AT_ONCE: usize = 64;
/// What a service may ask for at once. It may ask again.
const MORE_AT_MOST: Duration = Duration::from_secs(24 * 3600);

/// A time that may be so long that no clock reaches it.
fn after(time: Duration) -> Instant {
    const AN_AGE: Duration = Duration::from_secs(30 * 365 * 24 * 3600);
    Instant::now() + time.min(AN_AGE)
}

async fn sleep_until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

fn command(service: &Service, socket: Option<&Socket>) -> io::Result<tokio::process::Command> {
    let mut command = tokio::process::Command::new(&service.program);
    command.args(&service.args);
    if service.clear_env {
        command.env_clear();
    }
    // This program's own are not for its services.
    for ours in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"] {
        command.env_remove(ours);
    }
    for (key, value) in &service.env {
        match value {
            Some(value) => command.env(key, value),
            None => command.env_remove(key),
        };
    }
    if let Some(socket) = socket {
        command.env("NOTIFY_SOCKET", socket.path());
        if let Some(every) = service.watchdog {
            command.env("WATCHDOG_USEC", every.as_micros().to_string());
        }
    }
    if let Some(dir) = &service.dir {
        command.current_dir(dir);
    }
    if let Some(gid) = service.gid {
        command.gid(gid);
    }
    if let Some(uid) = service.uid {
        command.uid(uid);
    }
    // What somebody types at this program's terminal is for this program.
    command.process_group(0);
    output::prepare(&mut command, &service.output, matches!(service.ready, Ready::Line(_)))?;
    Ok(command)
}

/// Where a service begins.
pub(crate) fn first_status(service: &Service) -> Status {
    Status {
        name: Arc::clone(&service.name),
        state: State::Down,
        since: SystemTime::now(),
        waits_for: Vec::new(),
        wanted: service.autostart,
        id: None,
        starts: 0,
        failures: 0,
        last_end: None::<ExitStatus>,
        text: None,
    }
}
