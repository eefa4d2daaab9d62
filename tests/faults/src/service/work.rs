//! A process that runs what others have stored. It has no HTTP.

use std::{sync::Arc, time::Duration};

use axum::handler::Handler;
use axum_stripe_webhook::{InboxWorker, inbox::RetryPolicy};
use sqlx::Postgres;

use super::{Settings, Shop, book, books::Books, told_to_end};

/// Short, as everything that a lease is made of: what a killed worker had is free when it is over.
const PREPARE_TIME_MAX: Duration = Duration::from_millis(100);

/// Often enough to be killed at any point of an attempt, and not only while it looks.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Stripe's own days would be too long.
const RETRY_TIME_FIRST: Duration = Duration::from_millis(20);
const RETRY_TIME_MAX: Duration = Duration::from_millis(400);

/// Works until it is to end, and tells how many connections can be had when all attempts have ended.
pub(crate) async fn work(arguments: &[String]) {
    let settings = Settings::from_arguments(arguments);
    let shop = Shop::open(Postgres::pool(&settings), settings);
    let settings = &shop.settings;
    let policy = RetryPolicy::new()
        .attempts_max(settings.attempts_max)
        .retry_time_first(RETRY_TIME_FIRST)
        .retry_time_max(RETRY_TIME_MAX);
    let handler = book::<Postgres>.with_state(Arc::clone(&shop));
    let worker = InboxWorker::new(shop.pool.clone(), handler)
        .concurrency(settings.places())
        .retry_policy(policy)
        .poll_interval(POLL_INTERVAL)
        .prepare_time_max(PREPARE_TIME_MAX)
        .acquire_time_max(settings.acquire_time_max)
        .handler_time_max(settings.handler_time_max)
        .start();
    println!("working");
    told_to_end().await;
    worker.stop().await;
    println!("{}", shop.connections().await);
}
