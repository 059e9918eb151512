//! What a queue costs by itself: registering, activating, scanning, deleting, and memory; against `std::sync::mpsc`, which hands on one
//! event without knowing whose it is.
//!
//! The source is the scripted one, whose part of a turn (taking a record from a deque) is measured with the rest: there is no way to have a
//! note activated without a record. What is measured against the channel is all that happens between the record and the program:
//! draining, the process table, the note, the scan.

mod crossing;
mod scripted;

use std::error::Error;
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::Instant;

use benches::options::Options;
use benches::spread::Spread;
use benches::table::{Table, goal};
use benches::{machine, sys};
use proc_reactor::Kevent;
use proc_reactor::flags::{EV_ADD, EV_CLEAR, EV_DELETE, NOTE_EXEC, NOTE_TRIGGER};

use scripted::{Bench, Dice};

/// Events of one scan, each of another process.
const BATCH: usize = 100;

fn main() -> ExitCode {
    match measure(&Options::from_command_line()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("queue: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(options: &Options) -> Result<(), Box<dyn Error>> {
    if let Some(cpu) = options.pin {
        sys::pin(cpu)?;
    }
    let many = if options.quick { 10_000 } else { 1_000_000 };
    let rounds = options.rounds(9, 2);
    let batches = options.iterations(3_000, 50);
    println!("# The queue by itself\n\n{}\n", machine::describe());
    println!(
        "{rounds} rounds by turns, in each {batches} batches of {BATCH} events of as many processes. Medians (least to most) in ns an \
         event; ratios are formed within each round.\n"
    );
    let alone = Bench::new(BATCH as u32)?;
    let among = Bench::new(many)?;
    println!(
        "Memory: {:.0} bytes an idle note, of {many} (resident memory of the program before and after they were registered); \
         {:.0} ns to register one, {:.0} ns to delete one, in lists of 64 changes; growth of the tables included.\n",
        among.bytes_a_note,
        among.register_ns,
        Bench::delete_ns(many)?,
    );
    let rows = ["channel", "100 alone", "100 among all", "random of all", "trigger"];
    let mut series = vec![Vec::new(); rows.len()];
    let mut dice = Dice::new();
    let fixed: Vec<u32> = (0..BATCH as u32).map(|index| among.nth(index * (many / BATCH as u32))).collect();
    let few: Vec<u32> = (0..BATCH as u32).map(|index| alone.nth(index)).collect();
    for round in 0..rounds {
        series[0].push(channel(batches));
        series[1].push(alone.deliver(batches, |_| few.clone()));
        series[2].push(among.deliver(batches, |_| fixed.clone()));
        series[3].push(among.deliver(batches, |_| among.some(BATCH, &mut dice)));
        series[4].push(trigger(&alone, batches)?);
        eprintln!("round {} of {rounds}", round + 1);
    }
    let mut table = Table::new(["", "ns an event", "to the channel's", "to 100 alone"]);
    for (name, values) in rows.iter().zip(&series) {
        let ratio = |to: &[f64]| format!("{:.2}", Spread::pairwise(values, to, |a, b| a / b));
        table.row(vec![
            (*name).to_owned(),
            format!("{:.0}", Spread::of(values.iter().copied())),
            ratio(&series[0]),
            ratio(&series[1]),
        ]);
    }
    println!("{table}");
    let median = |a: usize, b: usize| Spread::pairwise(&series[a], &series[b], |a, b| a / b).median;
    println!("{}", goal("100 active among all, to 100 alone", median(2, 1), 1.2, ""));
    println!("{}", goal("random over all, to 100 alone", median(3, 1), 10.0, ""));
    println!("{}", goal("an idle note", among.bytes_a_note, 160.0, "bytes"));
    println!("{}", goal("activate and scan, to a channel's send and receive", median(1, 0), 3.0, ""));
    println!("\n## Across threads\n");
    crossing::measure(rounds, batches)
}

/// A channel's send and receive of the same event on one thread.
fn channel(batches: u64) -> f64 {
    let (sender, receiver) = mpsc::channel();
    let begun = Instant::now();
    for batch in 0..batches {
        for index in 0..BATCH {
            let event = Kevent::process(index as u32, EV_CLEAR, NOTE_EXEC).with_udata(batch);
            sender.send(std::hint::black_box(event)).expect("the receiver lives");
        }
        for _ in 0..BATCH {
            std::hint::black_box(receiver.try_recv().expect("it was sent"));
        }
    }
    begun.elapsed().as_nanos() as f64 / (batches * BATCH as u64) as f64
}

/// User events, triggered by a list of changes and scanned.
fn trigger(bench: &Bench, batches: u64) -> Result<f64, Box<dyn Error>> {
    let list =
        |flags, fflags| (0..BATCH as u64).map(|ident| Kevent::user(ident, flags, fflags)).collect::<Vec<_>>();
    bench.queue.kevent(&list(EV_ADD | EV_CLEAR, 0), &mut [], None)?;
    let triggers = list(0, NOTE_TRIGGER);
    let mut events = [Kevent::default(); BATCH];
    let begun = Instant::now();
    for _ in 0..batches {
        let count = bench.queue.kevent(&triggers, &mut events, scripted::NOW)?;
        assert_eq!(count, BATCH);
    }
    let time = begun.elapsed();
    bench.queue.kevent(&list(EV_DELETE, 0), &mut [], None)?;
    Ok(time.as_nanos() as f64 / (batches * BATCH as u64) as f64)
}
