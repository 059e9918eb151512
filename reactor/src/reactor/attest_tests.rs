//! The steps of K2 against every order in which a kernel may do its own between them: the process that is meant ends, is
//! reaped, another gets its pid, runs and ends, and the records of all that are sent early or late.

use super::attest::{Drained, Witness, attest};
use crate::ProcId;
use crate::error::SignalError;

/// A life of the pid: that of the process that is meant, and then another's.
type Life = usize;
const LIVES: usize = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Record {
    Fork(Life),
    Exit(Life),
}

/// What the kernel does of itself, one at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// It can be opened from here on.
    Make(Life),
    Send(Record),
    Run(Life),
    /// It polls as ended from here on.
    End(Life),
    /// The pid is free from here on.
    Reap(Life),
}

impl Step {
    fn bit(self) -> u32 {
        let (kind, life) = match self {
            Self::Make(life) => (0, life),
            Self::Send(Record::Fork(life)) => (1, life),
            Self::Run(life) => (2, life),
            Self::Send(Record::Exit(life)) => (3, life),
            Self::End(life) => (4, life),
            Self::Reap(life) => (5, life),
        };
        1 << (kind * LIVES + life)
    }
}

/// When a kernel sends the record of an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    /// Before it can be seen, as perf does.
    Early,
    /// After it can be seen, and perhaps much later, as cn_proc does.
    Late,
}

/// One of the steps left out or out of place, for the model to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    DrainsBeforeItOpens,
    TrustsTheDescriptorAlone,
    TrustsTheTableAlone,
    TakesAnyBirthOfThePid,
    DoesNotAskWhetherItHasRun,
}

/// The kernel, the table, and which of the steps that are possible come when: `tape` chooses, and is written on.
struct World<'a> {
    ends: Ends,
    fault: Fault,
    /// A bit each.
    done: u32,
    queue: Vec<Record>,
    /// Births of the pid that live in the table, oldest first.
    table: Vec<Life>,
    pauses: usize,
    tape: &'a mut Tape,
    /// Who was alive when the last question was asked.
    alive_at_last: Vec<Life>,
}

impl World<'_> {
    fn has(&self, step: Step) -> bool {
        self.done & step.bit() != 0
    }

    fn may(&self, step: Step) -> bool {
        let ended = |life| self.has(Step::Send(Record::Exit(life))) || self.ends == Ends::Late;
        !self.has(step)
            && match step {
                Step::Make(0) => true,
                Step::Make(life) => self.has(Step::Reap(life - 1)),
                Step::Send(Record::Fork(life)) => self.has(Step::Make(life)),
                Step::Run(life) => self.has(Step::Send(Record::Fork(life))),
                Step::Send(Record::Exit(life)) if self.ends == Ends::Early => self.has(Step::Run(life)),
                Step::Send(Record::Exit(life)) => self.has(Step::End(life)),
                Step::End(life) => self.has(Step::Run(life)) && ended(life),
                Step::Reap(life) => self.has(Step::End(life)),
            }
    }

    fn step(&mut self, step: Step) {
        if let Step::Send(record) = step {
            self.queue.push(record);
        }
        self.done |= step.bit();
    }

    /// The kernel does as many steps as it likes.
    fn meanwhile(&mut self) {
        loop {
            let of = |life| {
                let sent = [Step::Send(Record::Fork(life)), Step::Send(Record::Exit(life))];
                [Step::Make(life), Step::Run(life), Step::End(life), Step::Reap(life)].into_iter().chain(sent)
            };
            let possible: Vec<Step> = (0..LIVES).flat_map(of).filter(|step| self.may(*step)).collect();
            match self.tape.choose(possible.len() + 1) {
                0 => return,
                chosen => self.step(possible[chosen - 1]),
            }
        }
    }

    /// Who has the pid, a zombie too.
    fn holder(&self) -> Option<Life> {
        (0..LIVES).find(|life| self.has(Step::Make(*life)) && !self.has(Step::Reap(*life)))
    }

    fn is_alive(&self, life: Life) -> bool {
        self.has(Step::Make(life)) && !self.has(Step::End(life))
    }

    /// As the real table: the k-th exit is that of the k-th birth (K7).
    fn take_in(&mut self) {
        for record in std::mem::take(&mut self.queue) {
            match record {
                Record::Fork(life) => self.table.push(life),
                Record::Exit(_) if self.table.is_empty() => {}
                Record::Exit(_) => drop(self.table.remove(0)),
            }
        }
    }
}

impl Witness for World<'_> {
    type Descriptor = Life;

    /// What the kernel did before makes no difference to the table, and is as well done after.
    fn lives(&mut self, _: ProcId) -> bool {
        match self.fault {
            Fault::TrustsTheDescriptorAlone => true,
            Fault::TakesAnyBirthOfThePid => self.table.contains(&0),
            _ => self.table.last() == Some(&0),
        }
    }

    fn open(&mut self, _: ProcId) -> Result<Option<Life>, SignalError> {
        self.meanwhile();
        if self.fault == Fault::DrainsBeforeItOpens {
            self.take_in();
            self.meanwhile();
        }
        Ok(self.holder())
    }

    fn has_run(&mut self, _: ProcId) -> Result<bool, SignalError> {
        self.meanwhile();
        let has_run = self.holder().is_none_or(|life| self.has(Step::Run(life)));
        Ok(self.fault == Fault::DoesNotAskWhetherItHasRun || has_run)
    }

    fn pause(&mut self) -> bool {
        self.pauses += 1;
        self.pauses <= 1
    }

    fn drain(&mut self) -> Drained {
        self.meanwhile();
        if self.fault != Fault::DrainsBeforeItOpens {
            self.take_in();
        }
        Drained::Settled
    }

    /// That only helps where starts lie apart.
    fn starts_alike(&mut self, _: ProcId) -> Result<bool, SignalError> {
        Ok(true)
    }

    fn is_alive(&mut self, descriptor: &Life) -> Result<bool, SignalError> {
        self.meanwhile();
        self.alive_at_last = (0..LIVES).filter(|life| World::is_alive(self, *life)).collect();
        Ok(self.fault == Fault::TrustsTheTableAlone || World::is_alive(self, *descriptor))
    }
}

/// Choices, of which every sequence comes up once.
#[derive(Default)]
struct Tape {
    choices: Vec<(usize, usize)>,
    next: usize,
}

impl Tape {
    fn choose(&mut self, of: usize) -> usize {
        if self.next == self.choices.len() {
            self.choices.push((0, of));
        }
        let (choice, before) = self.choices[self.next];
        assert_eq!(before, of, "the same choices lead to the same place");
        self.next += 1;
        choice
    }

    /// On to the next sequence; false if there is none.
    fn turn_over(&mut self) -> bool {
        self.next = 0;
        while let Some((choice, of)) = self.choices.pop() {
            if choice + 1 < of {
                self.choices.push((choice + 1, of));
                return true;
            }
        }
        false
    }
}

/// What came of all orders.
#[derive(Debug, Default)]
struct Outcomes {
    orders: usize,
    attested: usize,
    gone: usize,
    unsettled: usize,
    /// The descriptor is another's.
    wrong: usize,
    /// It had ended by the time of the last question.
    ended: usize,
    /// Said to have ended, and lived.
    denied: usize,
}

fn explore(ends: Ends, fault: Fault) -> Outcomes {
    let id = ProcId::new(7, 1);
    let mut outcomes = Outcomes::default();
    let mut tape = Tape::default();
    loop {
        // It has been born and told; whether it has run is open.
        let (done, queue) = (Step::Make(0).bit() | Step::Send(Record::Fork(0)).bit(), Vec::new());
        let mut world = World {
            ends,
            fault,
            done,
            queue,
            table: vec![0],
            pauses: 0,
            tape: &mut tape,
            alive_at_last: Vec::new(),
        };
        let result = attest(&[id], &mut world).pop().expect("one result for one process");
        outcomes.orders += 1;
        match result {
            Ok(life) => {
                outcomes.attested += 1;
                outcomes.wrong += usize::from(life != 0);
                outcomes.ended += usize::from(!world.alive_at_last.contains(&0));
            }
            Err(SignalError::Gone { .. }) => {
                outcomes.gone += 1;
                let ending = world.has(Step::End(0)) || world.has(Step::Send(Record::Exit(0)));
                outcomes.denied += usize::from(!ending);
            }
            Err(SignalError::Unsettled { .. }) => outcomes.unsettled += 1,
            Err(error) => panic!("{error}"),
        }
        if !tape.turn_over() {
            return outcomes;
        }
    }
}

/// Late ends and early ones: a descriptor that is attested is that of the process that was meant, which lived.
#[test]
fn k2_a_descriptor_is_that_of_the_birth_that_was_meant() {
    for ends in [Ends::Late, Ends::Early] {
        let outcomes = explore(ends, Fault::None);
        println!("{ends:?}: {outcomes:?}");
        assert_eq!((outcomes.wrong, outcomes.ended, outcomes.denied), (0, 0, 0), "{outcomes:?}");
        assert!(outcomes.attested > 0 && outcomes.gone > 0 && outcomes.unsettled > 0, "{outcomes:?}");
    }
}

/// Each step is needed: without it another process would be signalled, or one that has ended taken for alive.
#[test]
fn k2_no_step_can_be_left_out() {
    use Fault::*;
    for fault in [DrainsBeforeItOpens, TrustsTheDescriptorAlone, DoesNotAskWhetherItHasRun] {
        let outcomes = explore(Ends::Late, fault);
        println!("{fault:?}: {outcomes:?}");
        assert!(outcomes.wrong > 0, "{fault:?}: {outcomes:?}");
    }
    for fault in [TakesAnyBirthOfThePid, TrustsTheTableAlone] {
        let outcomes = explore(Ends::Late, fault);
        println!("{fault:?}: {outcomes:?}");
        assert!(outcomes.wrong + outcomes.ended > 0, "{fault:?}: {outcomes:?}");
    }
}

/// Where the record of an end comes before the end, no two processes can be taken for one another by their records alone.
#[test]
fn k2_early_records_of_ends_need_no_question_whether_it_has_run() {
    let outcomes = explore(Ends::Early, Fault::DoesNotAskWhetherItHasRun);
    assert_eq!((outcomes.wrong, outcomes.ended), (0, 0), "{outcomes:?}");
}
