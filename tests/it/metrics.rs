//! What a test counts and measures.

use std::collections::BTreeMap;

use metrics_util::debugging::{DebugValue, DebuggingRecorder};

/// Runs a test on this thread and gives back what it has counted, by `name{label=value}`: of a histogram how
/// many values there are.
pub(crate) async fn of(test: impl Future<Output = ()>) -> BTreeMap<String, f64> {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    // Each test has a runtime of one thread.
    let recording = metrics::set_default_local_recorder(&recorder);
    test.await;
    drop(recording);
    let measured = snapshotter.snapshot().into_vec().into_iter();
    let measured = measured.map(|(key, _, _, value)| {
        let key = key.key();
        let labels = key
            .labels()
            .map(|label| format!("{}={}", label.key(), label.value()));
        let labels = labels.collect::<Vec<_>>().join(",");
        let value = match value {
            DebugValue::Counter(count) => count as f64,
            DebugValue::Gauge(value) => value.into_inner(),
            DebugValue::Histogram(values) => values.len() as f64,
        };
        (format!("{}{{{labels}}}", key.name()), value)
    });
    measured.collect()
}
