//! What Prometheus asks for at `GET /metrics`: every metric of [`axum_stripe_webhook::telemetry`].

use std::{sync::OnceLock, time::Duration};

use axum::{
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use axum_stripe_webhook::InboxOperations;
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};
use sqlx::Pool;
use tokio::{task::JoinSet, time::sleep};

use crate::orders::Shop;

/// Between two counts of what stands in the inbox.
const COUNT_INTERVAL: Duration = Duration::from_secs(15);

/// Measured times are put together this often, whether anybody asks for them or not.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// From a handler that writes a row to one that runs out of time, in seconds.
const SECONDS: [f64; 12] = [
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0,
];

/// One for the process: what is counted anywhere is counted here.
static METRICS: OnceLock<PrometheusHandle> = OnceLock::new();

/// Has everything counted and measured from now on.
///
/// # Errors
///
/// When something else of the process counts already.
pub fn install() -> Result<(), BuildError> {
    if METRICS.get().is_none() {
        let metrics = PrometheusBuilder::new().set_buckets(&SECONDS)?;
        let handle = metrics.install_recorder()?;
        let _first_one_stays = METRICS.set(handle);
    }
    Ok(())
}

/// Keeps the metrics of a server until it is dropped.
pub(crate) fn keep<DB: Shop>(pool: Pool<DB>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    tasks.spawn(InboxOperations::new(pool).count_every(COUNT_INTERVAL));
    if let Some(metrics) = METRICS.get() {
        tasks.spawn(async move {
            loop {
                sleep(UPKEEP_INTERVAL).await;
                metrics.run_upkeep();
            }
        });
    }
    tasks
}

/// `GET /metrics`
pub(crate) async fn show() -> Response {
    match METRICS.get() {
        Some(metrics) => {
            let text = [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
            (text, metrics.render()).into_response()
        }
        None => (StatusCode::NOT_FOUND, "nothing is counted\n").into_response(),
    }
}
