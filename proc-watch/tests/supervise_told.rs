//! What is told of services to those who collect numbers and spans.

mod each_source;

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use proc_watch::supervisor::{Backoff, Restart, Service, State, Supervisor, describe_metrics};

use each_source::watchers;

/// A limit for what is sure to happen soon.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone, Default)]
struct Text(Arc<Mutex<Vec<u8>>>);

impl Write for Text {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// One fails twice and is given up, one stays. All is in one thread, whose recorder and subscriber are its own.
#[test]
fn numbers_and_spans() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for watcher in watchers() {
        let (recorder, text) = (DebuggingRecorder::new(), Text::default());
        let snapshotter = recorder.snapshotter();
        let writer = text.clone();
        let subscriber =
            tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        let _numbers = metrics::set_default_local_recorder(&recorder);
        let _spans = tracing::subscriber::set_default(subscriber);
        describe_metrics();
        runtime.block_on(async {
            let mut backoff = Backoff::default();
            backoff.first = Duration::from_millis(5);
            let fails = Service::new("fails", "sh").args(["-c", "exit 3"]).backoff(backoff);
            let supervisor = Supervisor::builder()
                .service(fails.restart(Restart::Transient).intensity(1, PATIENCE))
                .service(Service::new("stays", "sleep").arg("1000"))
                .start(&watcher)
                .unwrap();
            let fails = supervisor.service("fails").unwrap();
            while fails.status().state != State::Failed {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            supervisor.service("stays").unwrap().wait_ready().await.unwrap();
            tokio::time::timeout(PATIENCE, supervisor.shutdown(PATIENCE)).await.unwrap();
        });
        let numbers: BTreeMap<String, DebugValue> = snapshotter
            .snapshot()
            .into_vec()
            .into_iter()
            .map(|(key, _, _, value)| {
                let labels: Vec<&str> = key.key().labels().map(|label| label.value()).collect();
                (format!("{} {}", key.key().name(), labels.join(" ")), value)
            })
            .collect();
        let count = |name: &str| match &numbers[name] {
            DebugValue::Counter(count) => *count as f64,
            DebugValue::Gauge(value) => value.0,
            DebugValue::Histogram(values) => values.len() as f64,
        };
        for (name, expected) in [
            ("proc_watch_service_starts_total fails", 2.0),
            ("proc_watch_service_ends_total fails badly", 2.0),
            ("proc_watch_service_restarts_total fails", 1.0),
            ("proc_watch_service_restart_delay_seconds fails", 1.0),
            ("proc_watch_service_failed_total fails", 1.0),
            ("proc_watch_service_up fails", 0.0),
            ("proc_watch_service_starts_total stays", 1.0),
            ("proc_watch_service_ready stays", 0.0),
        ] {
            assert_eq!(count(name), expected, "{name} of {numbers:?}");
        }
        let told = String::from_utf8(text.0.lock().unwrap().clone()).unwrap();
        assert!(told.contains("service{name=fails}"), "{told}");
        assert!(
            told.lines().any(|line| line.contains("service{name=stays}") && line.contains("ready")),
            "{told}"
        );
    }
}
