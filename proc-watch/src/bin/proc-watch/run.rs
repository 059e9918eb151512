//! `proc-watch run`: starts the command, tells what its tree does, and ends as it ended.

use std::fmt::Write as _;
use std::future::pending;
use std::io::{self, Write as _};
use std::pin::pin;

use proc_watch::{Child, Command, Event, Events, ExitStatus, Watcher, WitnessReport};
use tokio::runtime;
use tokio::time::{Duration, Instant, sleep, sleep_until};

use crate::args::{self, Format, Wait};
use crate::handover::let_go_of_input_and_output;
use crate::json;
use crate::output::{Output, tell};
use crate::refusal::Refusal;
use crate::signalfd::{Listener, Received};
use crate::signals::{self, Signals};
use crate::summary::{LISTED, Summary};
use crate::tally::Tally;
use crate::text::{Line, Styles, brief};
use crate::usage::Usage;

/// How long nothing is said of what is waited for when the command has ended.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long is waited for what one witness has told and the other not, and between two looks.
const LATENESS: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(10);
/// Events that are written between two looks at signals and at the child.
const BATCH: usize = 256;

/// Returns the exit status to end with.
pub(crate) fn run(asked: &args::Run) -> Result<u8, Refusal> {
    // Before there is any other thread.
    let signals = Signals::hold_back().map_err(Refusal::own("holding signals back"))?;
    signals::keep_statuses().map_err(Refusal::own("restoring SIGCHLD"))?;
    // All that may be refused comes before the file is touched, and the file before the command is started.
    let watcher = watcher(asked).map_err(Refusal::NoSource)?;
    let runtime = runtime::Builder::new_current_thread().enable_io().enable_time().build();
    let runtime = runtime.map_err(Refusal::own("making a runtime"))?;
    // A pipe with a name is opened when somebody reads it, which may be never.
    let opened = signals.let_through(|| Output::open(asked.output.as_deref()));
    let output = opened.and_then(|output| output).map_err(|error| {
        let path = asked.output.clone().unwrap_or_default();
        Refusal::NoOutput { path, error }
    })?;
    runtime.block_on(async {
        let listener = signals.listen().map_err(Refusal::own("listening to signals"))?;
        let before = Usage::of_children().ok();
        let (child, events) = spawn(asked, &watcher, &signals)?;
        if let Err(error) = let_go_of_input_and_output() {
            tell(&format!("proc-watch: standard input and output stay open here: {error}\n"));
        }
        let mut watch = Watch::new(asked, child, &events, output);
        watch.follow(events, &listener).await;
        let witnesses = witnesses(&watcher).await;
        Ok(watch.end(before, witnesses.as_ref()))
    })
}

fn watcher(asked: &args::Run) -> Result<Watcher, proc_watch::WatcherError> {
    let mut builder = Watcher::builder().metadata(!asked.no_metadata);
    if let Some(source) = asked.source.0 {
        builder = builder.source(source);
    }
    if let Some(bytes) = asked.receive_buffer {
        builder = builder.receive_buffer(bytes);
    }
    builder.build()
}

/// What two witnesses have agreed on, once neither has anything to tell that the other has told.
async fn witnesses(watcher: &Watcher) -> Option<WitnessReport> {
    let until = Instant::now() + LATENESS;
    loop {
        let report = watcher.witnesses()?;
        if report.open == 0 || Instant::now() >= until {
            return Some(report);
        }
        sleep(LOOK).await;
    }
}

fn spawn(asked: &args::Run, watcher: &Watcher, signals: &Signals) -> Result<(Child, Events), Refusal> {
    let (program, arguments) = asked.command.split_first().expect("clap asks for a command");
    let mut command = Command::new(program);
    command.args(arguments);
    signals.restore_in(&mut command);
    Ok(watcher.spawn(&mut command)?)
}

/// The watching, from the command's start to the end.
struct Watch<'a> {
    asked: &'a args::Run,
    child: Child,
    /// How the command ended, once it has been waited for.
    status: Option<ExitStatus>,
    tally: Tally,
    output: Output,
    styles: Styles,
    /// The stream has ended.
    complete: bool,
    /// A signal has ended the waiting for what the command left behind.
    interrupted: bool,
}

/// What is waited for.
enum News {
    Signal(Received),
    Ended(ExitStatus),
    Patience,
    Event(Option<Event>),
}

impl<'a> Watch<'a> {
    fn new(asked: &'a args::Run, child: Child, events: &Events, output: Output) -> Self {
        let styles = Styles::choose(output.is_terminal());
        let tally = Tally::new(events.id());
        Self { asked, child, status: None, tally, output, styles, complete: false, interrupted: false }
    }

    async fn follow(&mut self, mut events: Events, listener: &Listener) {
        let mut patience = None;
        while !self.is_over() {
            match self.news(&mut events, listener, patience).await {
                News::Signal(received) => self.signal(received),
                News::Ended(status) => {
                    self.status = Some(status);
                    patience = (self.asked.wait == Wait::Tree).then(|| Instant::now() + PATIENCE);
                }
                News::Patience => {
                    patience = None;
                    self.say_what_is_waited_for();
                }
                News::Event(first) => {
                    self.batch(first, &mut events);
                    // Other tasks and the system's events have their turn even if this stream never pauses.
                    tokio::task::yield_now().await;
                }
            }
        }
    }

    fn is_over(&self) -> bool {
        let seen = match self.asked.wait {
            Wait::Tree => self.complete,
            Wait::Leader => self.complete || self.tally.leader_is_gone,
        };
        self.status.is_some() && (seen || self.interrupted)
    }

    /// The next thing that happens. Whoever is rare comes first, for events may never cease.
    async fn news(&mut self, events: &mut Events, listener: &Listener, patience: Option<Instant>) -> News {
        let (ended, complete) = (self.status.is_some(), self.complete);
        let patient = pin!(async {
            match patience {
                Some(until) => sleep_until(until).await,
                None => pending().await,
            }
        });
        tokio::select! {
            biased;
            received = listener.next() => match received {
                Ok(received) => News::Signal(received),
                Err(error) => panic!("a signalfd can be read: {error}"),
            },
            status = self.child.wait(), if !ended => match status {
                Ok(status) => News::Ended(status.into()),
                Err(error) => panic!("nobody else waits for the child: {error}"),
            },
            () = patient => News::Patience,
            event = events.next(), if !complete => News::Event(event),
        }
    }

    fn signal(&mut self, received: Received) {
        match self.child.pid() {
            Some(pid) if signals::is_to_be_passed_on(received, signals::leads_session()) => {
                if let Err(error) = signals::send(pid, received.signal) {
                    tell(&format!(
                        "proc-watch: signal {} could not be passed on: {error}\n",
                        received.signal
                    ));
                }
            }
            Some(_) => {}
            None => self.interrupted = true,
        }
    }

    /// Writes an event and those that are ready behind it.
    fn batch(&mut self, first: Option<Event>, events: &mut Events) {
        let Some(first) = first else {
            self.complete = true;
            return;
        };
        self.event(&first);
        for _ in 1..BATCH {
            if self.is_over() {
                return;
            }
            match events.try_next() {
                Some(event) => self.event(&event),
                None => break,
            }
        }
        self.output.flush();
    }

    fn event(&mut self, event: &Event) {
        let Self { tally, styles, asked, output, .. } = self;
        tally.apply(event);
        output.append(|lines| match asked.format {
            Format::Json => json::write(event, lines),
            Format::Text => {
                writeln!(lines, "{}", Line { event, tally, styles }).expect("a Vec takes everything")
            }
        });
        tally.forget_ended();
    }

    fn say_what_is_waited_for(&mut self) {
        let living = self.tally.tree.len_living();
        if living == 0 {
            return;
        }
        let program = self.program();
        let processes = if living == 1 { "process" } else { "processes" };
        let mut text =
            format!("proc-watch: {program} has ended; still waiting for {living} {processes} of its tree:\n");
        for life in self.tally.living().take(LISTED) {
            let _ = writeln!(text, "    {} {}", life.id.pid(), brief(life.metadata.as_deref()));
        }
        if living > LISTED {
            let _ = writeln!(text, "    ... {} more", living - LISTED);
        }
        text.push_str(
            "proc-watch: SIGINT (Ctrl-C) or SIGTERM ends the waiting, and not them; see --wait leader\n",
        );
        self.output.flush();
        tell(&text);
    }

    fn program(&self) -> String {
        self.asked.command[0].to_string_lossy().into_owned()
    }

    /// Writes what is left to write. Returns the exit status to end with.
    fn end(mut self, before: Option<Usage>, witnesses: Option<&WitnessReport>) -> u8 {
        let status = self.status.expect("it is not over before the command has ended");
        if let (Some(report), Format::Json) = (witnesses, self.asked.format) {
            let (root, last) = (self.child.id(), self.tally.last());
            self.output.append(|lines| json::write_witnesses(report, root, last, lines));
        }
        if !self.asked.no_summary {
            self.summary(status, before, witnesses);
        }
        self.output.flush();
        match status {
            ExitStatus::Signal { signal, .. } => 128 + signal,
            other => other.code().expect("a status that was waited for is known"),
        }
    }

    fn summary(&mut self, status: ExitStatus, before: Option<Usage>, witnesses: Option<&WitnessReport>) {
        let now = Usage::of_children().ok();
        // What JSON goes into holds nothing else.
        let aside = self.asked.format == Format::Json;
        self.output.flush();
        let aside = aside || !self.output.is_open();
        let styles =
            if aside { Styles::choose(io::IsTerminal::is_terminal(&io::stderr())) } else { self.styles };
        let summary = Summary {
            program: &self.program(),
            status,
            tally: &self.tally,
            usage: now.zip(before).map(|(now, before)| now.since(before)),
            metadata: !self.asked.no_metadata,
            witnesses,
            styles: &styles,
        };
        let text = summary.to_string();
        if aside { tell(&text) } else { self.output.append(|lines| lines.extend(text.as_bytes())) }
    }
}
