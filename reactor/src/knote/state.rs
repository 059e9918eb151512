//! One note on a process, as a pure machine: an input and a state make a state and what is told. The figure and the
//! rules stand in the module above.

use crate::flags::{
    EV_CLEAR, EV_DISPATCH, EV_EOF, EV_ONESHOT, NOTE_CHILD, NOTE_EXEC, NOTE_EXIT, NOTE_FORK, NOTE_TRACK,
    NOTE_TRACKERR,
};

/// Where a note is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Life {
    /// Accepted, and the source is being asked to follow the process. What happens now is not its own (K7).
    Attaching,
    /// The process lives.
    Live,
    /// The process has ended, and the note is still to say so, or to go without a word.
    Ended,
    /// No more: delivered for the last time, or deleted.
    Gone,
}

/// A note on a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) life: Life,
    pub(crate) enabled: bool,
    /// `EV_ONESHOT`, `EV_CLEAR`, `EV_RECEIPT`, `EV_DISPATCH`.
    pub(crate) delivery: u16,
    /// What is asked for: the `fflags` of the last change.
    pub(crate) asked: u32,
    /// What happened and was not read: OR-ed (C13).
    pub(crate) collected: u32,
    pub(crate) data: i64,
}

/// What can happen to a note.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Input {
    /// The source follows the process.
    Attached,
    /// The process has ended already, and its zombie told this status (C4).
    AttachedTooLate(i64),
    /// The process forked.
    Fork,
    /// The process runs another program.
    Exec,
    /// Something of it or of its children may have gone unseen (C30).
    TrackError,
    /// The process ended.
    Exit(i64),
    /// A change without `EV_DELETE`: what is asked for is replaced (C7).
    Modify { asked: u32, enable: Option<bool> },
    /// `EV_DELETE`, or the queue is closed.
    Delete,
    /// A scan has come to it; only where it is [`ready`](State::is_ready).
    Take,
}

/// What a scan tells of a note.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Delivery {
    pub(crate) flags: u16,
    pub(crate) fflags: u32,
    pub(crate) data: i64,
}

impl State {
    /// A note that has just been accepted. Of processes, what was delivered is always forgotten (C13).
    pub(crate) fn new(delivery: u16, asked: u32, enabled: bool) -> Self {
        let delivery = delivery | EV_CLEAR;
        Self { life: Life::Attaching, enabled, delivery, asked, collected: 0, data: 0 }
    }

    /// The note of a tracked child: what its parent's asks for, enabled whatever the parent's is (C25).
    pub(crate) fn inherited(&self) -> Self {
        Self { life: Life::Live, enabled: true, collected: 0, data: 0, ..*self }
    }

    /// The note that tells of a tracked child, once and nothing else (C25).
    pub(crate) fn child(&self, parent: u32) -> Self {
        let delivery = self.delivery | EV_ONESHOT;
        let data = i64::from(parent);
        Self { life: Life::Live, enabled: true, delivery, asked: 0, collected: NOTE_CHILD, data }
    }

    pub(crate) fn tracks(&self) -> bool {
        self.life == Life::Live && self.asked & NOTE_TRACK != 0
    }

    /// Whether a scan is to come to it.
    pub(crate) fn is_ready(&self) -> bool {
        match self.life {
            Life::Attaching | Life::Gone => false,
            Life::Live => self.enabled && self.collected != 0,
            Life::Ended => self.collected == 0 || self.enabled,
        }
    }

    /// Whether it has ended with nothing to say (C2, C19): a scan takes it away without a word, and nobody is woken.
    pub(crate) fn is_silent(&self) -> bool {
        self.life == Life::Ended && self.collected == 0
    }

    /// One step. What is returned is told to the program.
    #[must_use = "what is delivered must be told"]
    pub(crate) fn step(&mut self, input: Input) -> Option<Delivery> {
        if self.life == Life::Gone {
            return None;
        }
        match input {
            Input::Attached => self.attached(),
            Input::AttachedTooLate(status) => {
                if self.life == Life::Attaching {
                    self.attached();
                    self.exit(status);
                }
            }
            Input::Fork => self.collect(NOTE_FORK & self.asked),
            Input::Exec => self.collect(NOTE_EXEC & self.asked),
            Input::TrackError => self.collect(NOTE_TRACKERR),
            Input::Exit(status) => self.exit(status),
            Input::Modify { asked, enable } => {
                self.asked = asked;
                self.enabled = enable.unwrap_or(self.enabled);
            }
            Input::Delete => self.life = Life::Gone,
            Input::Take => return self.take(),
        }
        None
    }

    fn attached(&mut self) {
        if self.life == Life::Attaching {
            self.life = Life::Live;
        }
    }

    fn collect(&mut self, fflags: u32) {
        if self.life == Life::Live {
            self.collected |= fflags;
        }
    }

    fn exit(&mut self, status: i64) {
        if self.life == Life::Live {
            self.life = Life::Ended;
            if self.asked & NOTE_EXIT != 0 {
                self.collected |= NOTE_EXIT;
                self.data = status;
            }
        }
    }

    fn take(&mut self) -> Option<Delivery> {
        debug_assert!(self.is_ready(), "a scan comes to notes that are ready");
        if self.is_silent() {
            self.life = Life::Gone;
            return None;
        }
        let ended = if self.life == Life::Ended { EV_EOF | EV_ONESHOT } else { 0 };
        let flags = self.delivery | ended;
        let delivery = Delivery { flags, fflags: self.collected, data: self.data };
        if flags & EV_ONESHOT != 0 {
            self.life = Life::Gone;
        } else if flags & EV_DISPATCH != 0 {
            self.enabled = false;
        }
        (self.collected, self.data) = (0, 0);
        Some(delivery)
    }
}
