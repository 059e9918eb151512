//! What is shown: what happens, a line each, and how the services are.

use std::time::{Instant, SystemTime};

use proc_watch::supervisor::{ServiceEvents, Snapshot};

/// Shows what happens until all is over.
pub(crate) async fn events(mut events: ServiceEvents, json: bool) {
    let begun = Instant::now();
    while let Some(event) = events.next().await {
        if json {
            println!("{}", serde_json::to_string(&event).expect("events are plain data"));
        } else {
            println!("{:7.3} {event}", begun.elapsed().as_secs_f64());
        }
    }
}

/// One line a service.
pub(crate) fn table(snapshot: &Snapshot) {
    println!("{:12} {:9} {:>8} {:>6}  {:18} says", "service", "state", "for", "starts", "last end");
    for service in &snapshot.services {
        let since = SystemTime::now().duration_since(service.since).unwrap_or_default();
        let last_end = service.last_end.map_or_else(|| "-".to_owned(), |status| status.to_string());
        println!(
            "{:12} {:9} {:>6.1} s {:>6}  {:18} {}",
            service.name,
            service.state.to_string(),
            since.as_secs_f64(),
            service.starts,
            last_end,
            service.text.as_deref().unwrap_or("-")
        );
    }
}
