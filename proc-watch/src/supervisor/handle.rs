//! [`Supervisor`] and its [`ServiceHandle`]s: what people hold in their hands.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, mpsc, oneshot, watch};

use crate::cgroup::CgroupError;
use crate::supervisor::actor::{self, Actor, Command, Parts, ReloadError};
use crate::supervisor::core::{Core, Rule, State, Verdict};
use crate::supervisor::death::{Guard, OnDeath, Ward};
use crate::supervisor::event::{ServiceEvent, ServiceEventKind, Snapshot, Status};
use crate::supervisor::memory::Memory;
use crate::supervisor::policy::{AutoShutdown, Intensity, Strategy};
use crate::supervisor::record::StateError;
use crate::supervisor::spec::{Ready, Service, SpecError, in_order};
use crate::watcher::Watcher;

/// Events that a slow reader may be behind, at least.
const EVENTS: usize = 4096;
/// And for each service: about what a start and an end come to. All may crash at once.
const EVENTS_OF_EACH: usize = 16;

/// Makes a [`Supervisor`].
#[derive(Default)]
#[must_use = "call start"]
pub struct Builder {
    services: Vec<Service>,
    strategy: Strategy,
    auto_shutdown: AutoShutdown,
    intensity: Option<Intensity>,
    starter: Option<actor::Starter>,
    state_file: Option<PathBuf>,
    on_death: OnDeath,
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("services", &self.services)
            .field("strategy", &self.strategy)
            .finish_non_exhaustive()
    }
}

/// Why a supervisor could not be started. No service was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The services make no sense.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The file of its state cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// Nothing can see to it that its services die with this program.
    #[error("services cannot be made to die with this program: {0}")]
    OnDeath(#[source] CgroupError),
    /// The thread by which services are stopped could not be started.
    #[error(
        "the thread that stops services could not be started: {0}; raise the limits of processes and open files (ulimit -u, -n)"
    )]
    Thread(#[source] io::Error),
    /// There is no tokio runtime here for it to run in.
    #[error("no tokio runtime here: call start from a task, or within Runtime::enter")]
    NoRuntime,
}

impl Builder {
    /// One more service.
    pub fn service(mut self, service: Service) -> Self {
        self.services.push(service);
        self
    }

    /// More services.
    pub fn services(mut self, services: impl IntoIterator<Item = Service>) -> Self {
        self.services.extend(services);
        self
    }

    /// Who is started again with a service that is: nobody else by default.
    pub fn strategy(mut self, strategy: Strategy) -> Self {
        self.strategy = strategy;
        self
    }

    /// Whether it ends when significant services have ended for good: not by default.
    pub fn auto_shutdown(mut self, auto: AutoShutdown) -> Self {
        self.auto_shutdown = auto;
        self
    }

    /// How many restarts of all services together are borne within how much time, before all are stopped. Any number by default.
    pub fn intensity(mut self, restarts: u32, period: Duration) -> Self {
        self.intensity = Some(Intensity { restarts, period });
        self
    }

    /// Where it writes down which services run, so that a later supervisor with the same file takes them over instead of starting them
    /// twice: if its program died by SIGKILL or a crash and the services were [left](OnDeath::Leave). Linux.
    ///
    /// Who runs is found by a variable that all processes of the services have in their environment, and by what the file says of those that
    /// were started and named: by their [`PersistentId`](crate::PersistentId), so that nobody else who has the pid is taken for them. Whoever is left of a service
    /// that there is no more is stopped by the default plan. What was stopped by hand stays so. The file is emptied when all are down, and of no use after a reboot; two
    /// supervisors cannot have it at once.
    ///
    /// What passes through this program does not outlive it: give services that are to be taken over a file without limit or [`Output::Null`](crate::supervisor::Output). Their statuses are
    /// known as far as the watcher's source tells those of processes that are not its children.
    pub fn state_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.state_file = Some(path.into());
        self
    }

    /// What becomes of its services when this program dies without a word: they are left by default.
    pub fn on_death(mut self, on_death: OnDeath) -> Self {
        self.on_death = on_death;
        self
    }

    /// Processes are those of a script: `start` is given the name of a service, has the script fork a child of this program's, and returns the child's
    /// pid. They get no signals: the script ends those that are [stopping](State::Stopping).
    ///
    /// With tokio's clock paused (`tokio::time::pause`) hours of restarts take no time: nothing that is decided hangs on another clock.
    #[cfg(feature = "sim")]
    pub fn start_with(
        mut self,
        start: impl Fn(&str) -> std::io::Result<u32> + Send + Sync + 'static,
    ) -> Self {
        self.starter = Some(Arc::new(start));
        self
    }

    /// Starts all that are to be started with it, each as soon as those that it needs are ready.
    ///
    /// # Errors
    /// The services make no sense together, there is no runtime here, the file of its state is another's or cannot be used, or nothing can see
    /// to it that they die with this program.
    pub fn start(self, watcher: &Watcher) -> Result<Supervisor, StartError> {
        let services = in_order(self.services)?;
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| StartError::NoRuntime)?;
        // There may be none to be had when it is needed.
        watcher.prepare_to_stop().map_err(StartError::Thread)?;
        let memory = self.state_file.as_deref().map(Memory::open).transpose()?;
        let ward = Ward::begin(self.on_death).map_err(StartError::OnDeath)?;
        let guard = ward.as_ref().map(|ward| ward.guard);
        let rule = |(service, needs): &(Service, Vec<usize>)| Rule {
            restart: service.restart,
            backoff: service.backoff,
            intensity: service.intensity,
            significant: service.significant,
            ready_at_once: matches!(service.ready, Ready::AtOnce),
            ready_within: service.ready_within,
            needs: needs.clone(),
        };
        let rules = services.iter().map(rule).collect();
        let core = Core::new(rules, self.strategy, self.auto_shutdown, self.intensity, fastrand::u64(..));
        let services: Vec<Service> = services.into_iter().map(|(service, _)| service).collect();
        let (tell, told): (Vec<_>, Vec<_>) =
            services.iter().map(|service| watch::channel(actor::first_status(service))).unzip();
        let ((to, commands), (events, _)) =
            (mpsc::unbounded_channel(), broadcast::channel(EVENTS.max(EVENTS_OF_EACH * services.len())));
        let (verdict, over) = watch::channel((None, false));
        let shared = Shared { statuses: told, commands: to, events: events.downgrade(), over, guard };
        let parts = Parts {
            watcher: watcher.clone(),
            services,
            core,
            commands,
            statuses: tell,
            verdict,
            events,
            starter: self.starter,
            memory,
            ward,
        };
        runtime.spawn(Actor::new(parts).run());
        Ok(Supervisor(Arc::new(shared)))
    }
}

/// Services that are kept up.
///
/// Cheap to clone. When the last of these and of their [`ServiceHandle`]s goes, all services are stopped as their plans say, in the background;
/// [`shutdown`](Self::shutdown) does it with a deadline, and tells when it is done. When the runtime goes, they are killed.
#[derive(Clone, Debug)]
pub struct Supervisor(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    statuses: Vec<watch::Receiver<Status>>,
    commands: mpsc::UnboundedSender<Command>,
    /// Who reads them is to hear that all is over, whoever has one of these.
    events: broadcast::WeakSender<ServiceEvent>,
    over: watch::Receiver<(Option<Verdict>, bool)>,
    guard: Option<Guard>,
}

/// A service is not ready, and will not be by itself.
#[derive(Clone, Debug, thiserror::Error)]
#[error("service {name:?} is {state}, and nobody is about to start it")]
#[non_exhaustive]
pub struct NotReady {
    /// Which.
    pub name: Arc<str>,
    /// Where it is.
    pub state: State,
}

impl Shared {
    /// Waits until all that was sent before has been taken in, so that what is read then tells of it.
    async fn sync(&self) {
        let (answer, told) = oneshot::channel();
        if self.commands.send(Command::Sync(answer)).is_ok() {
            // An error: it is over, and nothing changes any more.
            let _ = told.await;
        }
    }
}

impl Supervisor {
    /// One without services as yet.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// One of its services.
    pub fn service(&self, name: &str) -> Option<ServiceHandle> {
        let at = self.0.statuses.iter().position(|status| *status.borrow().name == *name)?;
        Some(ServiceHandle { at, supervisor: self.clone() })
    }

    /// All of them, in the order of starting.
    pub fn services(&self) -> impl Iterator<Item = ServiceHandle> {
        (0..self.0.statuses.len()).map(|at| ServiceHandle { at, supervisor: self.clone() })
    }

    /// What happens from now on: nothing, if all are down for good.
    pub fn events(&self) -> ServiceEvents {
        let over = || broadcast::channel(1).1;
        ServiceEvents(self.0.events.upgrade().map_or_else(over, |events| events.subscribe()))
    }

    /// What there is to know of all services now.
    pub fn snapshot(&self) -> Snapshot {
        let services = self.0.statuses.iter().map(|status| status.borrow().clone()).collect();
        Snapshot { services, verdict: self.0.over.borrow().0 }
    }

    /// In which way its services die with this program; `None`: they do not.
    pub fn guard(&self) -> Option<Guard> {
        self.0.guard
    }

    /// Waits until each service that is to be up is ready, or has ended well for good.
    ///
    /// # Errors
    /// One of them has failed, or all are being stopped.
    ///
    /// # Cancel safety
    ///
    /// Cancel-safe: nothing is consumed.
    pub async fn wait_ready(&self) -> Result<(), NotReady> {
        self.0.sync().await;
        for service in self.services() {
            let mut status = service.watch();
            let settled = |status: &Status| match status.state {
                State::Ready | State::Failed => true,
                State::Down => !status.wanted,
                _ => false,
            };
            let settled = status.wait_for(settled).await.map(|status| status.clone());
            let status = settled.unwrap_or_else(|_| service.status());
            // One that nobody has started is none that is to be up.
            let well = status.starts == 0 || status.last_end.is_some_and(|end| end.success() == Some(true));
            let is_closing = self.0.over.borrow().0.is_some();
            if status.state != State::Ready && (status.state == State::Failed || !well || is_closing) {
                return Err(NotReady { name: status.name, state: status.state });
            }
        }
        Ok(())
    }

    /// Stops all services, each before those that it needs, and for good. Who is not down by then is killed. Waits until all are down.
    ///
    /// # Cancel safety
    ///
    /// Cancel-safe: it goes on; call it again, or [`wait`](Self::wait).
    pub async fn shutdown(&self, within: Duration) -> Verdict {
        // If it is over already that is as good.
        let _ = self.0.commands.send(Command::Shutdown(Some(within)));
        self.wait().await
    }

    /// Waits until all are down for good, for whatever reason.
    ///
    /// # Cancel safety
    ///
    /// Cancel-safe: nothing is consumed.
    pub async fn wait(&self) -> Verdict {
        let mut over = self.0.over.clone();
        let told = over.wait_for(|(_, over)| *over).await;
        // Its task goes without a word when the runtime does.
        told.ok().and_then(|told| told.0).unwrap_or(Verdict::Asked)
    }
}

/// One service of a [`Supervisor`].
#[derive(Clone, Debug)]
pub struct ServiceHandle {
    at: usize,
    supervisor: Supervisor,
}

impl ServiceHandle {
    fn send(&self, command: Command) {
        // Once all are down for good nothing is to be had any more.
        let _ = self.supervisor.0.commands.send(command);
    }

    fn watch(&self) -> watch::Receiver<Status> {
        self.supervisor.0.statuses[self.at].clone()
    }

    /// What there is to know of it now.
    pub fn status(&self) -> Status {
        self.watch().borrow().clone()
    }

    /// Has it started, unless it is up: as soon as those that it needs are ready, and with all failures forgotten.
    pub fn start(&self) {
        self.send(Command::Start(self.at));
    }

    /// Has it stopped and started again, whatever its policy; started if it is down.
    pub fn restart(&self) {
        self.send(Command::Restart(self.at));
    }

    /// Has it stopped, and before it those that need it, which come again when it does. It stays down until it is
    /// [started](Self::start) by hand. Waits until nobody of it is left.
    ///
    /// # Cancel safety
    ///
    /// Cancel-safe: it goes on.
    pub async fn stop(&self) -> Status {
        self.send(Command::Stop(self.at));
        self.supervisor.0.sync().await;
        let down = |status: &Status| !status.wanted && matches!(status.state, State::Down | State::Failed);
        let mut status = self.watch();
        let told = status.wait_for(down).await.map(|status| status.clone());
        told.unwrap_or_else(|_| self.status())
    }

    /// Has it read its configuration again.
    ///
    /// # Errors
    /// It has no signal for that, does not run, or could not be signalled.
    ///
    /// # Cancel safety
    ///
    /// Cancel-safe: it may have been signalled or not.
    pub async fn reload(&self) -> Result<(), ReloadError> {
        let (answer, told) = oneshot::channel();
        self.send(Command::Reload(self.at, answer));
        told.await.unwrap_or(Err(ReloadError::Over))
    }

    /// Waits until it is ready.
    ///
    /// # Errors
    /// It has failed, or has been stopped.
    ///
    /// # Cancel safety
    ///
    /// Cancel-safe: nothing is consumed.
    pub async fn wait_ready(&self) -> Result<Status, NotReady> {
        self.supervisor.0.sync().await;
        let mut status = self.watch();
        let settled = |status: &Status| match status.state {
            State::Ready | State::Failed => true,
            State::Down => !status.wanted,
            _ => false,
        };
        let told = status.wait_for(settled).await.map(|status| status.clone());
        let status = told.unwrap_or_else(|_| self.status());
        if status.state == State::Ready {
            return Ok(status);
        }
        Err(NotReady { name: status.name, state: status.state })
    }
}

/// What happens to the services of a [`Supervisor`].
#[derive(Debug)]
pub struct ServiceEvents(broadcast::Receiver<ServiceEvent>);

impl ServiceEvents {
    /// The next; `None` when all are down for good. 4,096 are kept for a slow reader, or 16 for each service if that is more, and how many it missed is told
    /// ([`ServiceEventKind::Missed`]).
    ///
    /// # Cancel safety
    ///
    /// Cancel-safe: an event is taken only by a call that returns it.
    pub async fn next(&mut self) -> Option<ServiceEvent> {
        match self.0.recv().await {
            Ok(event) => Some(event),
            Err(broadcast::error::RecvError::Lagged(count)) => {
                let (time, kind) = (std::time::SystemTime::now(), ServiceEventKind::Missed(count));
                Some(ServiceEvent { time, service: None, kind })
            }
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}
