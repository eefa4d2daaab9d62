//! The one-file examples that need a database, run.

use std::time::Duration;

use axum::{Router, http::StatusCode};
use axum_stripe_webhook::{BODY_BYTES_MAX, ProcessOnceLayer};
use sqlx::{Pool, Postgres, Sqlite};
use tower::ServiceExt;

use crate::{
    database::{Fresh, TestBackend, open},
    stripe,
    stripe_api::{self, StripeApi},
};

#[path = "../../examples/once_postgres.rs"]
#[expect(dead_code, reason = "its main is not called")]
mod once_postgres;
#[path = "../../examples/once_sqlite.rs"]
#[expect(dead_code, reason = "its main is not called")]
mod once_sqlite;
#[path = "../../examples/thin.rs"]
#[expect(dead_code, reason = "its main is not called")]
mod thin;

async fn records_each_paid_session<DB: TestBackend>(
    app: Router,
    pool: sqlx::Pool<DB>,
    _fresh: Fresh,
) {
    let paid = |id: &str, event_type: &str, status: &str| {
        stripe::event_of_type(id, event_type).replace(
            r#""amount_total": 4200"#,
            &format!(r#""client_reference_id": null, "payment_status": "{status}""#),
        )
    };
    for (id, event_type, status, rows) in [
        ("evt_1", "invoice.paid", "paid", 0),
        ("evt_2", "checkout.session.completed", "unpaid", 0),
        (
            "evt_3",
            "checkout.session.async_payment_succeeded",
            "paid",
            1,
        ),
        (
            "evt_3",
            "checkout.session.async_payment_succeeded",
            "paid",
            1,
        ),
    ] {
        let delivery = stripe::delivery(&paid(id, event_type, status));
        let answer = app.clone().oneshot(delivery).await.unwrap().status();
        assert_eq!(answer, StatusCode::OK, "{id}");
        assert_eq!(DB::count(&pool, "paid").await, rows, "{id}");
    }
}

#[tokio::test]
async fn once_postgres_records_each_paid_session() {
    let fresh = Postgres::fresh().await;
    let pool = Postgres::connect(&fresh.url, 2).await;
    once_postgres::prepare(&pool).await.unwrap();
    let once = ProcessOnceLayer::new(pool.clone(), stripe::verifier());
    records_each_paid_session(once_postgres::app(once), pool, fresh).await;
}

#[tokio::test]
async fn once_sqlite_records_each_paid_session() {
    let fresh = Sqlite::fresh().await;
    let pool = Sqlite::connect(&fresh.url, 2).await;
    once_sqlite::prepare(&pool).await.unwrap();
    let once = ProcessOnceLayer::new(pool.clone(), stripe::verifier());
    records_each_paid_session(once_sqlite::app(once), pool, fresh).await;
}

/// The service of `thin.rs`, and Stripe.
struct Thin {
    app: Router,
    api: StripeApi,
    pool: Pool<Sqlite>,
    _fresh: Fresh,
}

const PAID: &str = r#"{"id": "cs_test_1", "object": "checkout.session", "payment_status": "paid"}"#;

impl Thin {
    async fn new() -> Self {
        let (fresh, pool) = open::<Sqlite>().await;
        sqlx::raw_sql(thin::TABLES).execute(&pool).await.unwrap();
        let api = StripeApi::serve(&fresh.url).await;
        // A proxy of the machine's does not know the stand-in.
        let client = reqwest::Client::builder().no_proxy();
        let stripe = thin::Stripe::new(client, api.base.clone(), stripe_api::KEY.into());
        let once = ProcessOnceLayer::new(pool.clone(), stripe::verifier())
            .prepare_time_max(Duration::from_secs(2));
        Self {
            app: thin::app(once, stripe.unwrap()),
            api,
            pool,
            _fresh: fresh,
        }
    }

    async fn deliver(&self, body: &str) -> u16 {
        let answer = self.app.clone().oneshot(stripe::delivery(body)).await;
        answer.unwrap().status().as_u16()
    }

    /// Rows of the ledger, of paid sessions and of missing ones.
    async fn rows(&self) -> [i64; 3] {
        let count = |table| Sqlite::count(&self.pool, table);
        [
            count("processed_stripe_events").await,
            count("paid").await,
            count("missing").await,
        ]
    }
}

/// The thin twin of an event.
fn thin_event(twin: &str, event_type: &str) -> String {
    format!(
        r#"{{"id": "{twin}_thin", "object": "v2.core.event", "type": "v1.{event_type}",
            "livemode": false, "context": "acct_1", "snapshot_event": "{twin}",
            "related_object": {{"id": "cs_test_1", "type": "checkout.session",
            "url": "/v1/checkout/sessions/cs_test_1"}}}}"#
    )
}

const COMPLETED: &str = "checkout.session.completed";

fn snapshot_event(id: &str, event_type: &str) -> String {
    let event = stripe::event_of_type(id, event_type);
    event.replace(r#""amount_total": 4200"#, r#""payment_status": "paid""#)
}

#[tokio::test]
async fn thin_fetches_the_object_of_a_thin_event_once() {
    let shop = Thin::new().await;
    shop.api.answer_with(200, PAID);
    let event = thin_event("evt_1", COMPLETED);
    assert_eq!(shop.deliver(&event).await, 200);
    assert_eq!(shop.rows().await, [1, 1, 0]);
    let session = "/v1/checkout/sessions/cs_test_1 of acct_1";
    assert_eq!(shop.api.asked(), [session]);
    for duplicate in [event, snapshot_event("evt_1", COMPLETED)] {
        assert_eq!(shop.deliver(&duplicate).await, 200);
    }
    assert_eq!(shop.rows().await, [1, 1, 0]);
    assert!(shop.api.asked().is_empty());
}

#[tokio::test]
async fn thin_asks_without_a_context_for_an_object_of_its_own_account() {
    let shop = Thin::new().await;
    shop.api.answer_with(200, PAID);
    let event = thin_event("evt_1", COMPLETED).replace(r#""acct_1""#, "null");
    assert_eq!(shop.deliver(&event).await, 200);
    let session = "/v1/checkout/sessions/cs_test_1 of none";
    assert_eq!(shop.api.asked(), [session]);
}

#[tokio::test]
async fn thin_asks_only_for_what_it_needs() {
    let shop = Thin::new().await;
    for (event, rows) in [
        (snapshot_event("evt_1", COMPLETED), [1, 1, 0]),
        (thin_event("evt_2", "checkout.session.expired"), [2, 1, 0]),
        (snapshot_event("evt_3", "invoice.paid"), [3, 1, 0]),
    ] {
        assert_eq!(shop.deliver(&event).await, 200, "{event}");
        assert_eq!(shop.rows().await, rows, "{event}");
    }
    assert!(shop.api.asked().is_empty());
}

#[tokio::test]
async fn thin_has_stripe_deliver_again_until_its_api_gives_the_object() {
    let shop = Thin::new().await;
    let event = thin_event("evt_1", COMPLETED);
    let too_long = " ".repeat(BODY_BYTES_MAX) + PAID;
    for (status, body) in [
        (500, ""),
        (429, ""),
        (401, PAID),
        (307, PAID),
        (200, "{}"),
        (200, "null"),
        (200, &too_long),
    ] {
        shop.api.answer_with(status, body);
        assert_eq!(shop.deliver(&event).await, 503, "{status}");
        assert_eq!(shop.rows().await, [0, 0, 0], "{status}");
        // Of a redirect there would be more.
        assert_eq!(shop.api.asked().len(), 1, "{status}");
    }
    shop.api.answer_never();
    assert_eq!(shop.deliver(&event).await, 503);
    assert_eq!(shop.rows().await, [0, 0, 0]);
    shop.api.answer_with(200, PAID);
    assert_eq!(shop.deliver(&event).await, 200);
    assert_eq!(shop.rows().await, [1, 1, 0]);
}

#[tokio::test]
async fn thin_keeps_a_note_of_an_object_that_is_gone() {
    let shop = Thin::new().await;
    shop.api.answer_with(404, "{}");
    for asked in [1, 0] {
        let event = thin_event("evt_1", COMPLETED);
        assert_eq!(shop.deliver(&event).await, 200);
        assert_eq!(shop.rows().await, [1, 0, 1]);
        assert_eq!(shop.api.asked().len(), asked);
    }
}

/// The object is as it is when it is asked for: by then the money of the first event has arrived.
#[tokio::test]
async fn thin_records_a_session_once_that_two_events_find_paid() {
    let shop = Thin::new().await;
    let later = "checkout.session.async_payment_succeeded";
    for (id, event_type, session, rows) in [
        (
            "evt_1",
            COMPLETED,
            PAID.replace("paid\"", "unpaid\""),
            [1, 0, 0],
        ),
        ("evt_2", COMPLETED, PAID.to_owned(), [2, 1, 0]),
        ("evt_3", later, PAID.to_owned(), [3, 1, 0]),
    ] {
        shop.api.answer_with(200, &session);
        assert_eq!(shop.deliver(&thin_event(id, event_type)).await, 200, "{id}");
        assert_eq!(shop.rows().await, rows, "{id}");
    }
}
