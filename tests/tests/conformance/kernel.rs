//! What cases ask of a kernel's own queue is what kevent(2) alone can answer. Here the kernel is a queue of ours, of which they know
//! no more than of any kernel: so a case that would need more, and has no gate, is found where there is no kernel to ask.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use proc_reactor::{Kevent, OpenOptions, Queue, QueueOptions, Reactor, open};
use tests::conformance::{Kernel, Place, Setting};

use crate::run_all;

#[derive(Debug)]
struct Plain(Queue);

impl Kernel for Plain {
    fn kevent(
        &self,
        changes: &[Kevent],
        events: &mut [Kevent],
        timeout: Option<Duration>,
    ) -> Result<usize, i32> {
        self.0.kevent(changes, events, timeout).map_err(|error| error.errno())
    }
}

static REACTOR: OnceLock<Reactor> = OnceLock::new();

fn queue() -> Result<Arc<dyn Kernel>, i32> {
    let reactor = REACTOR.get().expect("it was opened");
    let queue = reactor.queue(QueueOptions::default()).map_err(|error| error.errno())?;
    Ok(Arc::new(Plain(queue)))
}

#[test]
fn through_kevent_alone() {
    match open(&OpenOptions::default()) {
        // One that does not promise statuses tells -1 where no kernel would.
        Ok(source) if source.capabilities().statuses => {
            REACTOR.get_or_init(|| Reactor::new(source).expect("a source that was opened"));
            run_all(&Setting { place: Place::Kernel, kernel: Some(queue) });
        }
        Ok(_) => println!("SKIPPED: the source that is chosen here does not promise statuses"),
        Err(why) => println!("SKIPPED: {why}"),
    }
}
