//! The public interface carries a C library's kqueue() and kevent(): descriptors that are numbers in a table, arrays with counts,
//! -1 and errno. Here it is as such a library would have it, and used from threads that did not make the queue.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use proc_reactor::flags::*;
use proc_reactor::source::Living;
use proc_reactor::source::sim::{Script, scripted};
use proc_reactor::{Kevent, Queue, QueueOptions, Reactor};

use tests::conformance::{FOREVER, LAST, event};

/// What a C library would keep in a static, and would name with real descriptors.
struct Kq {
    reactor: Reactor,
    queues: Mutex<HashMap<i32, Queue>>,
}

impl Kq {
    fn new() -> (Self, Script) {
        let (source, script) = scripted().unwrap();
        script.list(Living { pid: 100, parent: 1, start: 1, threads: vec![100], status: None });
        let reactor = Reactor::new(Box::new(source)).unwrap();
        (Self { reactor, queues: Mutex::default() }, script)
    }

    fn queues(&self) -> std::sync::MutexGuard<'_, HashMap<i32, Queue>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// kqueue(2), or an errno.
    fn kqueue(&self) -> Result<i32, i32> {
        let queue = self.reactor.queue(QueueOptions::default()).map_err(|error| error.errno())?;
        let mut queues = self.queues();
        let number = (0..).find(|number| !queues.contains_key(number)).expect("fewer than 2^31");
        queues.insert(number, queue);
        Ok(number)
    }

    /// kevent(2), or an errno. The table is not locked while it waits.
    fn kevent(
        &self,
        kq: i32,
        changes: &[Kevent],
        nchanges: usize,
        events: &mut [Kevent],
        nevents: usize,
        timeout: Option<Duration>,
    ) -> Result<usize, i32> {
        let queue = self.queues().get(&kq).cloned().ok_or(libc::EBADF)?;
        let changes = changes.get(..nchanges).ok_or(libc::EFAULT)?;
        let events = events.get_mut(..nevents).ok_or(libc::EFAULT)?;
        queue.kevent(changes, events, timeout).map_err(|error| error.errno())
    }

    /// close(2), or an errno.
    fn close(&self, kq: i32) -> Result<(), i32> {
        let queue = self.queues().remove(&kq).ok_or(libc::EBADF)?;
        queue.close();
        Ok(())
    }
}

#[test]
fn a_c_interface_can_be_laid_over_it() {
    let (kq, script) = Kq::new();
    let number = kq.kqueue().unwrap();
    assert_eq!((number, kq.kqueue()), (0, Ok(1)));
    let add = [Kevent::process(100, EV_ADD, NOTE_EXIT)];
    let mut events = [Kevent::default(); 4];
    assert_eq!(kq.kevent(7, &add, 1, &mut events, 4, FOREVER), Err(libc::EBADF));
    assert_eq!(kq.kevent(number, &[Kevent::process(4, EV_ADD, 0)], 1, &mut [], 0, None), Err(libc::ESRCH));
    assert_eq!(kq.kevent(number, &add, 1, &mut [], 0, None), Ok(0));
    thread::scope(|scope| {
        let other = scope.spawn(|| {
            let mut events = [Kevent::default(); 4];
            let count = kq.kevent(number, &[], 0, &mut events, 4, FOREVER)?;
            Ok::<_, i32>(events[..count].to_vec())
        });
        script.exit(100, 0x300);
        assert_eq!(other.join().unwrap(), Ok(vec![event(100, LAST, NOTE_EXIT, 0x300)]));
    });
}

#[test]
fn closed_while_others_wait() {
    let (kq, _script) = Kq::new();
    let number = kq.kqueue().unwrap();
    thread::scope(|scope| {
        let waiters: Vec<_> = (0..3)
            .map(|_| scope.spawn(|| kq.kevent(number, &[], 0, &mut [Kevent::default(); 4], 4, FOREVER)))
            .collect();
        thread::sleep(Duration::from_millis(20));
        assert_eq!(kq.close(number), Ok(()));
        for waiter in waiters {
            assert_eq!(waiter.join().unwrap(), Err(libc::EBADF));
        }
    });
    assert_eq!(kq.close(number), Err(libc::EBADF));
    assert_eq!(kq.reactor.stats().queues, 0);
    assert_eq!(kq.kqueue(), Ok(number), "the number is free again");
}
