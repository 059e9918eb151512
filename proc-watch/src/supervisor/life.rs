//! One life of a service: from its start until nobody of it is left. What becomes of it is told, and decided elsewhere.

use std::process::ExitStatus as Reaped;
use std::sync::Arc;
use std::time::Duration;

use proc_reactor::{Event, EventKind, ExitStatus, ProcId, SourceError};
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;

use crate::command::Child;
use crate::handle::TreeHandle;
use crate::stop::{Progress, StopError, StopPlan, StopReport};
use crate::stream::Events;
use crate::supervisor::notice::{Notice, Socket, Watchdog};
use crate::supervisor::output::Heard;
use crate::supervisor::spec::Main;
use crate::tree::Tree;

/// Ended processes of a life that are remembered, so that a message is believed whose sender has ended since.
const REMEMBERED: usize = 4096;
/// More messages than the queue of a socket has room for.
const QUEUED: usize = 1024;
/// Messages that are not believed of which is told, a second. Anybody can send them, and readers have other things to hear.
const STRANGERS: u32 = 16;

/// What is told of a life, and of which.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) at: usize,
    pub(crate) life: u64,
    pub(crate) news: News,
}

#[derive(Debug)]
pub(crate) enum News {
    /// The process that it is of.
    Ended(ExitStatus),
    /// Nobody of its tree is left.
    Gone,
    Ready,
    Unhealthy(&'static str),
    Notice(Notice),
    /// It has named this process as the one that it is of.
    Main(ProcId),
    /// A message that is not believed, and why.
    Stranger {
        pid: u32,
        why: &'static str,
    },
    Output(Heard),
    Stopping(Progress),
    Stopped(Result<StopReport, StopError>),
    /// The source has failed.
    Blind(Arc<SourceError>),
}

/// Where news of one life goes.
#[derive(Clone, Debug)]
pub(crate) struct Teller {
    pub(crate) at: usize,
    pub(crate) life: u64,
    pub(crate) to: UnboundedSender<Told>,
}

impl Teller {
    pub(crate) fn tell(&self, news: News) {
        // Who does not listen any more is over.
        let _ = self.to.send(Told { at: self.at, life: self.life, news });
    }
}

/// What a life is followed by.
#[derive(Debug)]
pub(crate) struct Life {
    pub(crate) origin: Origin,
    pub(crate) events: Events,
    pub(crate) handle: TreeHandle,
    pub(crate) main: Main,
    pub(crate) socket: Option<Socket>,
    pub(crate) watchdog: Option<Duration>,
    pub(crate) teller: Teller,
}

/// Where the first process of a life came from.
#[derive(Debug)]
pub(crate) enum Origin {
    /// It is a child of this program. With its tree, it is killed when it is dropped.
    Child(Box<Child>),
    /// A script's process.
    Script,
    /// It was there before this program, which has the leader, if it lives, and the one that had been named as its main process.
    Adopted { leader: Option<ProcId>, main: Option<ProcId>, rest: Rest },
}

/// A tree that is no child's. It is killed when this is dropped, unless it is known to be gone.
#[derive(Debug)]
pub(crate) struct Rest(Option<TreeHandle>);

impl Rest {
    pub(crate) fn of(tree: TreeHandle) -> Self {
        Self(Some(tree))
    }

    fn is_gone(&mut self) {
        self.0 = None;
    }
}

impl Drop for Rest {
    fn drop(&mut self) {
        if let Some(tree) = self.0.take() {
            // It goes on without anybody who waits for it.
            drop(tree.stop(StopPlan::kill()));
        }
    }
}

/// How far it has come.
struct Course {
    tree: Tree,
    /// The one that was started, if it is known.
    first: Option<ProcId>,
    /// Its end is told by its events alone.
    is_foreign: bool,
    /// The one that was named as such.
    named: Option<ProcId>,
    /// How the one that was started ended.
    leader: Option<ExitStatus>,
    last: ExitStatus,
    /// Who has ended and may have been the main process, and how; yet to be judged.
    ends: Vec<(Option<ProcId>, ExitStatus)>,
    ended: bool,
    gone: bool,
    /// The source has failed, and nothing was done about it yet.
    is_blind: bool,
    main: Main,
    /// Since when, and how many strangers were told of since.
    strangers: (Instant, u32),
    teller: Teller,
}

impl Life {
    /// Tells what happens until nobody is left and the child has been reaped.
    pub(crate) async fn follow(self) {
        let Self { origin, mut events, handle, main, socket, mut watchdog, teller } = self;
        let root = events.id();
        let (mut child, first, named, mut rest) = match origin {
            Origin::Child(child) => (Some(*child), Some(root), None, None),
            Origin::Script => (None, Some(root), None, None),
            Origin::Adopted { leader, main, rest } => (None, leader, main, Some(rest)),
        };
        let mut course = Course {
            tree: Tree::new(root),
            first,
            is_foreign: child.is_none(),
            named,
            leader: None,
            last: ExitStatus::Unknown,
            ends: Vec::new(),
            ended: false,
            gone: false,
            is_blind: false,
            main,
            strangers: (Instant::now(), 0),
            teller,
        };
        let far = || Instant::now() + Duration::from_secs(365 * 24 * 3600);
        let mut bark = watchdog.map_or_else(far, |every| Instant::now() + every);
        // The child is kept when it has been reaped: dropped, it kills whoever lives, which is for when this task is.
        let mut is_reaped = child.is_none();
        if course.first.is_none() && course.named.is_none() && main == Main::Child {
            // It ended while nobody looked.
            course.end(ExitStatus::Unknown);
        }
        while !course.gone || !is_reaped {
            tokio::select! {
                event = events.next(), if !course.gone => match event {
                    Some(event) => course.apply(&event),
                    None => course.gone = true,
                },
                status = reap(&mut child), if !is_reaped => {
                    is_reaped = true;
                    course.reaped(status);
                }
                heard = hear(socket.as_ref()) => {
                    course.catch_up(&mut events, &handle);
                    if let Some(every) = course.heard(heard, &mut watchdog) {
                        bark = Instant::now() + every;
                    }
                }
                () = tokio::time::sleep_until(bark), if watchdog.is_some() => {
                    bark = far();
                    course.teller.tell(News::Unhealthy("it has not been heard of in time"));
                }
            }
            if !course.ends.is_empty() {
                // What it said before it ended: it may be that another is its main process now.
                for heard in (0..QUEUED).map_while(|_| try_hear(socket.as_ref())) {
                    course.catch_up(&mut events, &handle);
                    if let Some(every) = course.heard(heard, &mut watchdog) {
                        bark = Instant::now() + every;
                    }
                }
                course.settle();
            }
            if std::mem::take(&mut course.is_blind) {
                // Nobody else can be told apart from who may have his pid.
                child.iter_mut().for_each(|child| drop(child.start_kill()));
            }
        }
        if let Some(rest) = &mut rest {
            rest.is_gone();
        }
        course.end(course.leader.unwrap_or(course.last));
        // The next life's may have the same place.
        #[cfg(target_os = "linux")]
        drop(socket);
        course.teller.tell(News::Gone);
    }
}

/// The next message.
#[cfg(target_os = "linux")]
async fn hear(socket: Option<&Socket>) -> (u32, Result<Notice, &'static str>) {
    let Some(socket) = socket else { return std::future::pending().await };
    loop {
        match socket.hear().await {
            Ok(heard) => return (heard.sender, heard.notice),
            // Of one message; the socket is as good as before.
            Err(error) => {
                tracing::debug!(%error, "a message could not be received");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

/// One that is there already.
#[cfg(target_os = "linux")]
fn try_hear(socket: Option<&Socket>) -> Option<(u32, Result<Notice, &'static str>)> {
    let heard = socket?.try_hear()?;
    Some((heard.sender, heard.notice))
}

#[cfg(not(target_os = "linux"))]
fn try_hear(socket: Option<&Socket>) -> Option<(u32, Result<Notice, &'static str>)> {
    match *socket? {}
}

#[cfg(not(target_os = "linux"))]
async fn hear(socket: Option<&Socket>) -> (u32, Result<Notice, &'static str>) {
    match socket {
        Some(socket) => match *socket {},
        None => std::future::pending().await,
    }
}

/// Cancel-safe, as waiting for a child is.
async fn reap(child: &mut Option<Child>) -> ExitStatus {
    match child {
        Some(child) => match child.wait().await {
            Ok(status) => status_of(status),
            // Somebody else has reaped it.
            Err(_) => ExitStatus::Unknown,
        },
        None => std::future::pending().await,
    }
}

fn status_of(status: Reaped) -> ExitStatus {
    use std::os::unix::process::ExitStatusExt;
    ExitStatus::from_wait_status(status.into_raw())
}

impl Course {
    fn apply(&mut self, event: &Event) {
        self.tree.apply(event);
        if self.tree.processes().count() > self.tree.len_living() + REMEMBERED {
            self.tree.forget_ended();
        }
        match &event.kind {
            EventKind::Exit { status } => {
                self.last = *status;
                if Some(event.id) == self.named {
                    self.ends.push((self.named, *status));
                } else if self.is_foreign && Some(event.id) == self.first {
                    self.reaped(*status);
                }
            }
            EventKind::Failed { error } => {
                self.teller.tell(News::Blind(Arc::clone(error)));
                self.is_blind = true;
            }
            _ => {}
        }
    }

    /// Takes in all that was queued before a message, so that its sender is known.
    fn catch_up(&mut self, events: &mut Events, handle: &TreeHandle) {
        handle.living();
        while let Some(event) = events.try_next() {
            self.apply(&event);
        }
    }

    /// The one that was started has ended.
    fn reaped(&mut self, status: ExitStatus) {
        let is_daemon = self.main == Main::Tree && status.success() == Some(true);
        // A daemon's end is that of the last.
        self.leader = (!is_daemon).then_some(status);
        if !is_daemon {
            self.ends.push((self.first, status));
        }
    }

    /// All that was said before is known.
    fn settle(&mut self) {
        let main = self.named.or(self.first);
        for (who, status) in std::mem::take(&mut self.ends) {
            if who == main {
                self.end(status);
            }
        }
    }

    fn end(&mut self, status: ExitStatus) {
        if !std::mem::replace(&mut self.ended, true) {
            self.teller.tell(News::Ended(status));
        }
    }

    /// Takes a message, if it is to be believed. How long it has until the next must come.
    fn heard(
        &mut self,
        (pid, notice): (u32, Result<Notice, &'static str>),
        watchdog: &mut Option<Duration>,
    ) -> Option<Duration> {
        let member = |pid| self.tree.processes().rfind(|process| process.id.pid() == pid);
        if member(pid).is_none() {
            self.stranger(pid, "it is none of the service's processes");
            return None;
        }
        let notice = match notice {
            Ok(notice) => notice,
            Err(why) => {
                self.stranger(pid, why);
                return None;
            }
        };
        if let Some(main) = notice.main {
            match member(main).filter(|process| process.is_alive()).map(|process| process.id) {
                Some(id) => {
                    self.named = Some(id);
                    self.teller.tell(News::Main(id));
                }
                // One in a namespace below knows no better; whatever else it says may be so.
                None => self.stranger(pid, "the main process that it names is none of the service's"),
            }
        }
        if let Some(every) = notice.watchdog_every {
            *watchdog = (!every.is_zero()).then_some(every);
        }
        let news = match notice.watchdog {
            Some(Watchdog::Trigger) => News::Unhealthy("it says so"),
            _ => News::Notice(notice.clone()),
        };
        self.teller.tell(news);
        let alive = notice.watchdog == Some(Watchdog::Alive) || notice.watchdog_every.is_some();
        watchdog.filter(|_| alive)
    }

    fn stranger(&mut self, pid: u32, why: &'static str) {
        let (since, count) = &mut self.strangers;
        if since.elapsed() >= Duration::from_secs(1) {
            (*since, *count) = (Instant::now(), 0);
        }
        *count += 1;
        if *count <= STRANGERS {
            self.teller.tell(News::Stranger { pid, why });
        }
    }
}
