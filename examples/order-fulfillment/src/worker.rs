//! The worker as a process of its own: it takes what a server has stored, and needs no HTTP.

use std::{future::Future, num::NonZeroUsize, time::Duration};

use axum_stripe_webhook::{EventRouter, InboxWorker, inbox::Retention};
use sqlx::Pool;
use tokio::{task::JoinSet, time::timeout};
use tracing::{info, warn};

use crate::{
    endpoint::{ACQUIRE_TIME_MAX, HANDLER_TIME_MAX},
    orders::Shop,
    server::SHUTDOWN_TIME_MAX,
};

/// Several processes may sweep at once.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// Makes a worker of what servers have stored in this database.
pub fn worker<DB: Shop>(pool: Pool<DB>, events: EventRouter) -> InboxWorker<DB, EventRouter> {
    InboxWorker::new(pool, events)
        .handler_time_max(HANDLER_TIME_MAX)
        .acquire_time_max(ACQUIRE_TIME_MAX)
}

/// Works until `stop` is done, then finishes what is in progress.
pub async fn work<DB: Shop>(
    pool: Pool<DB>,
    events: EventRouter,
    concurrency: NonZeroUsize,
    stop: impl Future<Output = ()>,
) {
    let sweeper = sweep(pool.clone());
    let worker = worker(pool.clone(), events).concurrency(concurrency.get());
    let worker = worker.start();
    info!(concurrency, "working");
    stop.await;
    info!("shutting down");
    drop(sweeper);
    let end = async {
        worker.stop().await;
        pool.close().await;
    };
    if timeout(SHUTDOWN_TIME_MAX, end).await.is_err() {
        warn!("events in progress were cut off: a worker takes them again");
    }
}

/// Deletes what has grown old, until the set is dropped.
pub(crate) fn sweep<DB: Shop>(pool: Pool<DB>) -> JoinSet<()> {
    let mut sweeper = JoinSet::new();
    sweeper.spawn(Retention::new(pool).sweep_every(SWEEP_INTERVAL));
    sweeper
}
