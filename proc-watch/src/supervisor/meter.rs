//! What is counted of services, by the facade `metrics`: whichever recorder the program has installed takes it.

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use crate::supervisor::core::State;
use crate::supervisor::event::ServiceEventKind;

const STARTS: &str = "proc_watch_service_starts_total";
const ENDS: &str = "proc_watch_service_ends_total";
const RESTARTS: &str = "proc_watch_service_restarts_total";
const DELAYS: &str = "proc_watch_service_restart_delay_seconds";
const UNWELL: &str = "proc_watch_service_unwell_total";
const FAILED: &str = "proc_watch_service_failed_total";
const STRANGERS: &str = "proc_watch_service_strangers_total";
const UP: &str = "proc_watch_service_up";
const READY: &str = "proc_watch_service_ready";

/// Tells the recorder what each number is: for those that show it.
pub fn describe_metrics() {
    describe_counter!(STARTS, Unit::Count, "processes that were started for the service");
    describe_counter!(ENDS, Unit::Count, "ends of its main process; how: well, badly or unknown");
    describe_counter!(RESTARTS, Unit::Count, "times that it waits to be started again");
    describe_histogram!(DELAYS, Unit::Seconds, "for how long");
    describe_counter!(UNWELL, Unit::Count, "times that it was not ready in time, or unhealthy; why");
    describe_counter!(FAILED, Unit::Count, "times that it was given up");
    describe_counter!(STRANGERS, Unit::Count, "messages that were not believed, 16 a second at most");
    describe_gauge!(UP, "1 while somebody of its tree lives, else 0");
    describe_gauge!(READY, "1 while it is ready, else 0");
}

pub(crate) fn note(service: Option<&str>, kind: &ServiceEventKind) {
    let Some(service) = service else { return };
    let labels = [("service", service.to_owned())];
    match kind {
        ServiceEventKind::Started(_) => counter!(STARTS, &labels).increment(1),
        ServiceEventKind::Ended(status) => {
            let how = match status.success() {
                Some(true) => "well",
                Some(false) => "badly",
                None => "unknown",
            };
            counter!(ENDS, "service" => service.to_owned(), "how" => how).increment(1);
        }
        ServiceEventKind::Again(delay) => {
            counter!(RESTARTS, &labels).increment(1);
            histogram!(DELAYS, &labels).record(delay.as_secs_f64());
        }
        ServiceEventKind::NotReady => {
            counter!(UNWELL, "service" => service.to_owned(), "why" => "not ready").increment(1);
        }
        ServiceEventKind::Unhealthy(_) => {
            counter!(UNWELL, "service" => service.to_owned(), "why" => "unhealthy").increment(1);
        }
        ServiceEventKind::Stranger { .. } => counter!(STRANGERS, &labels).increment(1),
        ServiceEventKind::State(state) => {
            let is_up = matches!(state, State::Up | State::Ready | State::Stopping);
            gauge!(UP, &labels).set(f64::from(u8::from(is_up)));
            gauge!(READY, &labels).set(f64::from(u8::from(*state == State::Ready)));
            if *state == State::Failed {
                counter!(FAILED, &labels).increment(1);
            }
        }
        _ => {}
    }
}
