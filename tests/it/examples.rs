//! The one-file examples that need a database, run.

use axum::{Router, http::StatusCode};
use axum_stripe_webhook::ProcessOnceLayer;
use sqlx::{Postgres, Sqlite};
use tower::ServiceExt;

use crate::{
    database::{Fresh, TestBackend},
    stripe,
};

#[path = "../../examples/once_postgres.rs"]
#[expect(dead_code, reason = "its main is not called")]
mod once_postgres;
#[path = "../../examples/once_sqlite.rs"]
#[expect(dead_code, reason = "its main is not called")]
mod once_sqlite;

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
