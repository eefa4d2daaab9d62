//! What an attacker finds.

use std::time::Duration;

use axum_stripe_webhook::{
    Guards, SigningSecret, Verifier,
    probe::{Ownership, Probe, Report, Target},
    testing::SampleEvent,
};
use futures_util::FutureExt;
use order_fulfillment::{
    config::Processing, endpoint::Endpoint, orders::Shop, server, webhook::events,
};
use sqlx::Pool;
use tokio::{net::TcpListener, sync::oneshot};

use crate::bench::{Bench, Rows, on_both_databases};

/// No word that forgers try first.
const SECRET: &str = "whsec_4f1d8a06c6b94b13";

/// Longer than the server waits for a body.
const SLOW_TIME: Duration = Duration::from_secs(15);

on_both_databases! {
    a_probe_finds_nothing_inline,
    a_probe_finds_nothing_stored_first,
}

async fn a_probe_finds_nothing_inline<DB: Shop<Connection: Rows>>(bench: Bench<DB>) {
    finds_nothing(&bench, Processing::Inline).await;
}

async fn a_probe_finds_nothing_stored_first<DB: Shop<Connection: Rows>>(bench: Bench<DB>) {
    finds_nothing(&bench, Processing::Inbox { concurrency: 1 }).await;
}

async fn finds_nothing<DB: Shop<Connection: Rows>>(bench: &Bench<DB>, processing: Processing) {
    let report = probe(bench, processing).await;
    assert!(report.findings().is_empty(), "{report}");
    assert!(report.not_checked().is_empty(), "{report}");
}

async fn probe<DB: Shop<Connection: Rows>>(bench: &Bench<DB>, processing: Processing) -> Report {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/webhooks/stripe", listener.local_addr().unwrap());
    let (stop, stopped) = oneshot::channel::<()>();
    let verifier = Verifier::new(SigningSecret::new(SECRET).unwrap());
    let pool = bench.pool.clone();
    let endpoint = Endpoint::new(processing, pool.clone(), verifier, Guards::new());
    let server = tokio::spawn(async move {
        let stop = async { drop(stopped.await) };
        server::serve(listener, pool, endpoint, events::<DB>().unwrap(), stop).await;
    });

    let target = Target::resolve(&url, Ownership::LoopbackOnly)
        .await
        .unwrap();
    let counted = bench.pool.clone();
    let probe = Probe::new(target)
        .secret(SECRET)
        .unwrap()
        .event(paid(&bench.order().await.order))
        .slow_time(SLOW_TIME)
        .settle_time(Duration::from_millis(500))
        .count(move || effects(counted.clone()).map(Ok).boxed());
    let report = probe.run(|_, _, _| {}).await.unwrap();
    drop(stop);
    server.await.unwrap();
    report
}

/// Parcels, payments without one, and events that were kept: each event has one of them.
async fn effects<DB: Shop<Connection: Rows>>(pool: Pool<DB>) -> u64 {
    let mut connection = pool.acquire().await.unwrap();
    let mut effects = 0;
    for table in ["shipments", "refunds_due", "stripe_inbox"] {
        effects += connection.count(table).await.unsigned_abs();
    }
    effects
}

/// The first pays the order; the others are about sessions of their own, whose money is due back.
fn paid(order: &str) -> SampleEvent {
    SampleEvent::of("checkout.session.completed")
        .object("client_reference_id", order)
        .object("metadata.order_id", order)
}
