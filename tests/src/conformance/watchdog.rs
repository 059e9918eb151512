//! A thread that ends the program when a case takes longer than it may, and says which case it was and what it was doing.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{console, step};

/// How often it looks.
const LOOK: Duration = Duration::from_millis(100);

#[derive(Clone, Debug)]
pub(crate) struct Watchdog(Arc<Mutex<Option<(String, Instant)>>>);

impl Watchdog {
    /// # Panics
    /// There can be no more threads.
    pub(crate) fn start(limit: Duration) -> Self {
        let watched: Self = Self(Arc::default());
        let dog = watched.clone();
        let thread = std::thread::Builder::new().name("watchdog".to_owned());
        thread.spawn(move || dog.watch(limit)).expect("a thread that watches");
        watched
    }

    fn watch(&self, limit: Duration) {
        loop {
            std::thread::sleep(LOOK);
            let now = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let Some((name, begun)) = now else { continue };
            if begun.elapsed() > limit {
                hung(&name, begun.elapsed());
            }
        }
    }

    /// This begins.
    pub(crate) fn begin(&self, name: &str) {
        step::now("nothing yet".to_owned());
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((name.to_owned(), Instant::now()));
    }

    /// It has ended.
    pub(crate) fn end(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

fn hung(name: &str, after: Duration) -> ! {
    let text =
        format!("Bail out! {name} hung: {:.0} s; its last step: {}\n", after.as_secs_f64(), step::last());
    let mut out = std::io::stdout();
    // There is nobody left to tell if it cannot be written.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    console::close(1);
    std::process::exit(1)
}
