//! From the thread that takes the turn to one that waits, against a channel between the same two threads.

use std::error::Error;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use benches::spread::Spread;
use benches::table::Table;
use proc_reactor::flags::{EV_ADD, EV_CLEAR, NOTE_TRIGGER};
use proc_reactor::source::sim::scripted;
use proc_reactor::{Kevent, QueueOptions, Reactor};

/// One event at a time there, one back: what a wake-up costs is nearly all of it.
pub(crate) fn measure(rounds: usize, count: u64) -> Result<(), Box<dyn Error>> {
    let (mut by_queue, mut by_channel) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        by_queue.push(queue(count)?);
        by_channel.push(channel(count)?);
    }
    println!("{count} times a user event to a thread that waits, and one back, in µs for both ways.\n");
    let mut table = Table::new(["", "µs", "to the channel's"]);
    let ratio = Spread::pairwise(&by_queue, &by_channel, |a, b| a / b);
    table.row(vec!["queue".to_owned(), format!("{:.1}", Spread::of(by_queue)), format!("{ratio:.2}")]);
    table.row(vec!["channel".to_owned(), format!("{:.1}", Spread::of(by_channel)), String::new()]);
    println!("{table}");
    Ok(())
}

fn per_trip(time: Duration, count: u64) -> f64 {
    time.as_nanos() as f64 / 1_000.0 / count as f64
}

fn queue(count: u64) -> Result<f64, Box<dyn Error>> {
    // Each over its own reactor, so that each waits at its own source.
    let (there_source, _there_script) = scripted()?;
    let (back_source, _back_script) = scripted()?;
    let there = Reactor::new(Box::new(there_source))?.queue(QueueOptions::default())?;
    let back = Reactor::new(Box::new(back_source))?.queue(QueueOptions::default())?;
    for queue in [&there, &back] {
        queue.kevent(&[Kevent::user(1, EV_ADD | EV_CLEAR, 0)], &mut [], None)?;
    }
    let trigger = [Kevent::user(1, 0, NOTE_TRIGGER)];
    let echo = {
        let (there, back) = (there.clone(), back.clone());
        thread::spawn(move || {
            let mut events = [Kevent::default()];
            for _ in 0..count {
                there.kevent(&[], &mut events, None)?;
                back.kevent(&trigger, &mut [], None)?;
            }
            Ok::<_, proc_reactor::QueueError>(())
        })
    };
    let mut events = [Kevent::default()];
    let begun = Instant::now();
    for _ in 0..count {
        there.kevent(&trigger, &mut [], None)?;
        back.kevent(&[], &mut events, None)?;
    }
    let time = begun.elapsed();
    echo.join().map_err(|_| "the other thread panicked")??;
    Ok(per_trip(time, count))
}

fn channel(count: u64) -> Result<f64, Box<dyn Error>> {
    let (there, receiver) = mpsc::channel();
    let (sender, back) = mpsc::channel();
    let echo = thread::spawn(move || {
        for _ in 0..count {
            let event: Kevent = receiver.recv().ok()?;
            sender.send(event).ok()?;
        }
        Some(())
    });
    let begun = Instant::now();
    for _ in 0..count {
        there.send(Kevent::user(1, 0, NOTE_TRIGGER))?;
        back.recv()?;
    }
    let time = begun.elapsed();
    echo.join().map_err(|_| "the other thread panicked")?.ok_or("the channel broke")?;
    Ok(per_trip(time, count))
}
