//! What the tests of services are given.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, UNIX_EPOCH},
};

use axum::{Extension, Router, body::Body, http::StatusCode, routing::post};
use axum_stripe_webhook::{
    Disposition, EventTx, Guards, Inbox, ProcessOnceLayer, ProvideVerifier, Provided,
    VerifiedStripeEvent, Verifier,
    guard::WhenStopped,
    inbox::RetryPolicy,
    testing::{FixedClock, LedgerSnapshot, LedgerState, SampleEvent, SignedDelivery, TestLedger},
};
use futures_util::future::join_all;
use http_body_util::Full;
use sqlx::{Sqlite, SqlitePool, query};
use tower::ServiceExt;

use crate::{
    database::{TestBackend, create_tables},
    endpoint::work,
    stored::{Stored, service},
    stripe::{self, SECRET},
};

const PATH: &str = "/webhooks/stripe";
/// New Year's Day 2026.
const LONG_AGO: u64 = 1_767_225_600;

fn app(pool: SqlitePool) -> Router {
    let layer = ProcessOnceLayer::new(pool, stripe::verifier());
    Router::new().route(PATH, post(work::<Sqlite>).route_layer(layer))
}

async fn status(app: Router, delivery: axum::http::Request<Body>) -> StatusCode {
    app.oneshot(delivery).await.unwrap().status()
}

/// What a failed assertion says.
fn panicked(assertion: impl FnOnce()) -> String {
    let payload = catch_unwind(AssertUnwindSafe(assertion)).unwrap_err();
    *payload.downcast().unwrap()
}

#[tokio::test]
async fn fifty_copies_at_once_are_processed_once_in_memory() {
    let ledger = TestLedger::in_memory().await.unwrap();
    create_tables(&ledger.pool()).await;
    let (app, event) = (
        app(ledger.pool()),
        SampleEvent::of("invoice.paid").id("evt_1"),
    );
    let copies = (0..50).map(|_| status(app.clone(), event.delivery(PATH, SECRET)));
    let answers = join_all(copies).await;
    assert!(answers.contains(&StatusCode::OK));
    let answered = [StatusCode::OK, StatusCode::CONFLICT];
    assert!(answers.iter().all(|answer| answered.contains(answer)));
    assert_eq!(Sqlite::count(&ledger.pool(), "work").await, 1);
    ledger.snapshot().await.unwrap().assert_processed("evt_1");
}

#[tokio::test]
async fn a_ledger_in_memory_outlives_its_connections_and_is_nobody_elses() {
    let ledger = TestLedger::in_memory().await.unwrap();
    create_tables(&ledger.pool()).await;
    let event = SampleEvent::of("invoice.paid").id("evt_1");
    let delivery = event.delivery(PATH, SECRET);
    assert_eq!(status(app(ledger.pool()), delivery).await, StatusCode::OK);
    let pool = ledger.pool();
    let mut connections = Vec::new();
    while let Some(connection) = pool.try_acquire() {
        connections.push(connection);
    }
    assert!(!connections.is_empty());
    for connection in connections {
        connection.close().await.unwrap();
    }
    ledger.snapshot().await.unwrap().assert_processed("evt_1");
    let other = TestLedger::in_memory().await.unwrap();
    assert!(other.snapshot().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_snapshot_tells_every_state_apart_on_both_databases() {
    snapshot_of_every_state::<Sqlite>().await;
    snapshot_of_every_state::<sqlx::Postgres>().await;
}

async fn snapshot_of_every_state<DB: TestBackend>() {
    let stored = Stored::<DB>::new().await;
    let deliver = async |event_type: &str| {
        let event = SampleEvent::of(event_type).id(format!("evt_{event_type}"));
        assert_eq!(
            stored.send(event.delivery(PATH, SECRET)).await,
            StatusCode::OK
        );
    };
    for event_type in ["processed", "quarantined", "dead"] {
        deliver(event_type).await;
    }
    let handler = |tx: EventTx<DB>| async move {
        match tx.event().event_type() {
            "quarantined" => Ok(Disposition::Quarantine { reason: "no_order" }),
            "dead" => Err(StatusCode::IM_A_TEAPOT),
            _ => Ok(Disposition::Done),
        }
    };
    let policy = RetryPolicy::new().attempts_max(1);
    let worker = stored.inbox.worker(service(handler)).retry_policy(policy);
    let worker = worker.start();
    stored
        .until(async || !stored.states().await.concat().contains("pending"))
        .await;
    worker.stop().await;
    deliver("pending").await;

    let snapshot = LedgerSnapshot::of(&stored.pool).await.unwrap();
    snapshot.assert_processed("evt_processed");
    snapshot.assert_quarantined("evt_quarantined", "handler_no_order");
    snapshot.assert_dead("evt_dead", "handler_failed 418");
    snapshot.assert_pending("evt_pending");
    snapshot.assert_absent("evt_absent");
    snapshot.assert_len(4);
    assert_eq!(snapshot.count(&LedgerState::Processed), 1);
    assert_eq!(snapshot.clone().endpoint("default"), snapshot);
    assert!(snapshot.endpoint("other").is_empty());
}

#[tokio::test]
async fn an_assertion_that_fails_says_what_there_is_instead() {
    let ledger = TestLedger::in_memory().await.unwrap();
    create_tables(&ledger.pool()).await;
    let event = SampleEvent::of("invoice.paid").id("evt_1");
    status(app(ledger.pool()), event.delivery(PATH, SECRET)).await;
    let snapshot = ledger.snapshot().await.unwrap();
    for message in [
        panicked(|| snapshot.assert_absent("evt_1")),
        panicked(|| snapshot.assert_processed("evt_2")),
        panicked(|| snapshot.assert_quarantined("evt_1", "no_order")),
        panicked(|| snapshot.assert_len(2)),
    ] {
        assert!(
            message.contains("[evt_1 at default: Processed]"),
            "{message}"
        );
    }
}

#[tokio::test]
async fn a_recorded_delivery_is_received_when_the_clock_says_everywhere() {
    let clock = FixedClock::at_unix(LONG_AGO);
    let event = SampleEvent::of("invoice.paid").created(clock.now());
    let recorded = || event.signed(SECRET).signed_at(clock.now()).request(PATH);

    let ledger = TestLedger::in_memory().await.unwrap();
    create_tables(&ledger.pool()).await;
    let inbox = Inbox::new(ledger.pool(), stripe::verifier());
    let alone = Router::new()
        .route(PATH, post(|_event: VerifiedStripeEvent| async {}))
        .with_state(stripe::verifier());
    for app in [
        alone,
        app(ledger.pool()),
        Router::new().route(PATH, post(inbox)),
    ] {
        assert_eq!(
            status(app.clone(), recorded()).await,
            StatusCode::BAD_REQUEST
        );
        let app = app.layer(Extension(clock));
        assert_eq!(status(app, recorded()).await, StatusCode::OK);
    }
}

/// A provider with guards, for the extractor alone.
#[derive(Clone)]
struct Guarded(Verifier);

impl ProvideVerifier for Guarded {
    fn provide_verifier(&self, _: &axum::http::request::Parts) -> Option<Provided> {
        let guards = Guards::new().when_stopped(WhenStopped::Reject);
        let guards = guards.event_age_max(Duration::from_secs(60));
        Some(Provided::from(self.0.clone()).guards(guards))
    }
}

#[tokio::test]
async fn an_events_age_is_guarded_by_the_clock_too() {
    let app = Router::new()
        .route(PATH, post(|_event: VerifiedStripeEvent| async {}))
        .with_state(Guarded(stripe::verifier()));
    let event = SampleEvent::of("invoice.paid");
    let event = event.created(UNIX_EPOCH + Duration::from_secs(LONG_AGO));
    for (seconds, expected) in [(60, StatusCode::OK), (61, StatusCode::BAD_REQUEST)] {
        let clock = FixedClock::at_unix(LONG_AGO + seconds);
        let delivery = event.signed(SECRET).received_at(clock).request(PATH);
        assert_eq!(status(app.clone(), delivery).await, expected);
    }
}

#[tokio::test]
async fn requests_are_ready_for_other_bodies_and_have_stripes_headers() {
    let delivery = SampleEvent::of("invoice.paid").signed(SECRET);
    let request = delivery.request::<Full<bytes::Bytes>>("/a/path?and=query");
    assert_eq!(request.method(), "POST");
    assert_eq!(request.uri(), "/a/path?and=query");
    let header = |name: &str| request.headers()[name].to_str().unwrap();
    assert_eq!(header("content-type"), "application/json; charset=utf-8");
    assert!(header("stripe-signature").starts_with("t="));
    let unsigned = SignedDelivery::of("{}").request::<Body>("/");
    assert!(!unsigned.headers().contains_key("stripe-signature"));
}

#[test]
#[should_panic(expected = "no path: \"webhooks/stripe\"; it begins with a slash")]
fn a_path_without_its_slash_is_no_path() {
    let _request = SampleEvent::of("invoice.paid").delivery("webhooks/stripe", SECRET);
}

#[tokio::test]
async fn a_statement_of_the_services_own_runs_in_memory() {
    let ledger = TestLedger::in_memory().await.unwrap();
    let pool = ledger.pool();
    query("create table orders (id text primary key)")
        .execute(&pool)
        .await
        .unwrap();
    let mut transaction = pool.begin().await.unwrap();
    let insert = query("insert into orders values ('1')");
    insert.execute(&mut *transaction).await.unwrap();
    transaction.rollback().await.unwrap();
    assert_eq!(Sqlite::count(&pool, "orders").await, 0);
}

#[test]
fn debug_shows_neither_body_nor_secret() {
    let delivery = SignedDelivery::of("marker").secret("whsec_marker");
    assert!(!format!("{delivery:?}").contains("marker"));
}
