//! A thread that ends the program when it takes too long, and says in what step it was.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::console;

static STEP: Mutex<Option<(&'static str, Instant)>> = Mutex::new(None);

/// From here on it is this; it may take as long as the limit says, anew.
pub(crate) fn step(name: &'static str) {
    *STEP.lock().unwrap_or_else(PoisonError::into_inner) = Some((name, Instant::now()));
}

/// The step.
pub(crate) fn now() -> &'static str {
    STEP.lock().unwrap_or_else(PoisonError::into_inner).map_or("beginning", |(name, _)| name)
}

/// Ends the program with code 1 when one step takes longer than this. `so_far` says how far it has come.
pub(crate) fn start(limit: Duration, so_far: impl Fn() -> String + Send + 'static) -> std::io::Result<()> {
    let watch = move || {
        loop {
            std::thread::sleep(Duration::from_millis(100));
            let step = *STEP.lock().unwrap_or_else(PoisonError::into_inner);
            let Some((name, begun)) = step else { continue };
            if begun.elapsed() > limit {
                println!("hung: {name}, for {:.0} s; so far: {}", begun.elapsed().as_secs_f64(), so_far());
                console::close(1);
                std::process::exit(1);
            }
        }
    };
    std::thread::Builder::new().name("deadline".to_owned()).spawn(watch).map(drop)
}
