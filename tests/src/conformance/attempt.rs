//! One case, run over one place.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::case::{Case, Place};
use super::kqueue::Kernels;
use super::world::World;

/// How often a case is tried on a machine that makes the kernel lose records, which the source then says.
const ATTEMPTS: u32 = 5;

/// What came of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// What the rule says is so.
    Good,
    /// It cannot be shown here, and why.
    Skipped(String),
    /// It is not so: what was expected and what was seen.
    Failed(String),
}

/// That a case cannot be shown here, found out in the midst of it: what it panics with.
#[derive(Debug)]
pub(crate) struct Skip(pub(crate) String);

/// Leaves the case, which is skipped.
pub(crate) fn skip(why: impl Into<String>) -> ! {
    std::panic::panic_any(Skip(why.into()))
}

/// What to run cases over.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// What it is.
    pub place: Place,
    /// The kernel's queues, where that is the place.
    pub kernel: Option<Kernels>,
}

impl Setting {
    /// Our queue.
    pub const fn ours(place: Place) -> Self {
        Self { place, kernel: None }
    }

    fn world(&self) -> World {
        match (self.place, self.kernel) {
            (Place::Script, _) => World::scripted(),
            (Place::Source(name), _) => World::real(name).expect("it could be opened before"),
            (Place::Kernel, Some(kernels)) => World::kernel(kernels),
            (Place::Kernel, None) => panic!("no kernel was given"),
        }
    }
}

impl Case {
    /// Runs it; once more where records were lost, which is not what it is about. `again` is told of that.
    pub fn attempt(&self, setting: &Setting, again: &mut dyn FnMut()) -> Outcome {
        self.attempt_with(setting, again, self.run)
    }

    /// The same with something else in place of what the case does.
    pub(crate) fn attempt_with(
        &self,
        setting: &Setting,
        again: &mut dyn FnMut(),
        run: fn(&mut World),
    ) -> Outcome {
        for _ in 1..ATTEMPTS {
            match once(run, setting) {
                (Outcome::Failed(_), true) => again(),
                (outcome, _) => return outcome,
            }
        }
        once(run, setting).0
    }
}

/// And whether records were lost.
fn once(run: fn(&mut World), setting: &Setting) -> (Outcome, bool) {
    let mut world = None;
    let result = catch_unwind(AssertUnwindSafe(|| {
        let here = world.insert(setting.world());
        run(here);
        let skipped = here.skipped.take();
        if skipped.is_none() {
            world.take().expect("it is still here").finish();
        }
        skipped
    }));
    // One that was taken has been read to its end without a complaint.
    let lost =
        world.as_mut().is_some_and(|world| catch_unwind(AssertUnwindSafe(|| world.lost())).unwrap_or(false));
    let outcome = match result {
        Ok(None) => Outcome::Good,
        Ok(Some(why)) => Outcome::Skipped(why),
        Err(panic) => told(panic),
    };
    (outcome, lost)
}

fn told(panic: Box<dyn Any + Send>) -> Outcome {
    let panic = match panic.downcast::<Skip>() {
        Ok(skip) => return Outcome::Skipped(skip.0),
        Err(panic) => panic,
    };
    Outcome::Failed(match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => panic.downcast::<&str>().map_or_else(|_| "a panic".to_owned(), |text| text.to_string()),
    })
}
