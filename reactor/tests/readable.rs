//! The descriptor says that there is something for a turn, also what came before it was registered.
#![cfg(target_os = "linux")]

use std::process::{Command, Stdio};
use std::time::Duration;

use mio::{Events, Interest, Poll, Token};
use proc_reactor::{OpenOptions, Reactor, SourceError, SourceName, TreeOptions, Turned, open};

/// To register a descriptor is to poll it, and a ring of perf polls readable once.
#[test]
fn what_came_before_the_registration_is_told_after_it() {
    for &name in SourceName::ALL {
        let mut options = OpenOptions::default();
        options.source = Some(name);
        let source = match open(&options) {
            Ok(source) => source,
            Err(error) => {
                println!("SKIPPED: {error}");
                continue;
            }
        };
        let mut reactor = Reactor::new(source).unwrap();
        let spawn = || {
            let child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
            Ok::<_, SourceError>((child.id(), child))
        };
        let (_reader, mut child) = reactor.spawn(TreeOptions::default(), spawn).unwrap();
        while reactor.turn() == Turned::More {}
        // It ends now, and its end is recorded before it can be waited for.
        child.wait().unwrap();
        let mut first = Poll::new().unwrap();
        let mut events = Events::with_capacity(1);
        for poll in [&mut first, &mut Poll::new().unwrap()] {
            poll.registry().register(&mut reactor, Token(0), Interest::READABLE).unwrap();
            poll.poll(&mut events, Some(Duration::from_secs(10))).unwrap();
            assert!(!events.is_empty(), "{name}: nobody is told");
            poll.registry().deregister(&mut reactor).unwrap();
        }
    }
}
