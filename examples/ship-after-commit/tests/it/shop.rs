//! The service in the test's process, on a database of the test's own, and what Stripe sends it.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::{Router, body::Body, http::Request};
use axum_stripe_webhook::{ProcessOnceLayer, SigningSecret, Verifier, testing::sign_test_payload};
use graphile_worker::Worker;
use ship_after_commit::{Carrier, app, prepare, worker};
use sqlx::{AssertSqlSafe, PgPool, Postgres, query_scalar, raw_sql};
use test_postgres::TestDatabase;
use tokio::time::timeout;
use tower::ServiceExt;

use crate::carrier::{StandIn, TIME_MAX};

pub(crate) const SECRET: &str = "whsec_of_the_tests";

pub(crate) struct Shop {
    pub(crate) once: ProcessOnceLayer<Postgres>,
    pub(crate) worker: Worker,
    pub(crate) pool: PgPool,
    pub(crate) database: TestDatabase,
}

impl Shop {
    pub(crate) async fn open(carrier: &StandIn) -> Self {
        Self::open_with(&carrier.base).await
    }

    /// With a carrier at this address.
    pub(crate) async fn open_with(carrier: &str) -> Self {
        let database = TestDatabase::create().await;
        let pool = PgPool::connect(database.url()).await.unwrap();
        prepare(&pool).await.unwrap();
        let verifier = Verifier::new(SigningSecret::new(SECRET).unwrap());
        Self {
            once: ProcessOnceLayer::new(pool.clone(), verifier),
            worker: worker_of(&pool, carrier).await,
            pool,
            database,
        }
    }

    pub(crate) async fn deliver(&self, event: &str) -> u16 {
        let app = app(self.once.clone(), self.worker.create_utils());
        answer(app, signed(event)).await
    }

    /// Does every job that is due.
    pub(crate) async fn work(&self) {
        let worked = timeout(TIME_MAX, self.worker.run_once()).await;
        worked.unwrap().unwrap();
    }

    pub(crate) async fn rows(&self, table: &str) -> i64 {
        let count = format!("select count(*) from {table}");
        let count = query_scalar(AssertSqlSafe(count));
        count.fetch_one(&self.pool).await.unwrap()
    }

    pub(crate) async fn run(&self, sql: &'static str) {
        raw_sql(sql).execute(&self.pool).await.unwrap();
    }

    /// Waits until the one job is not being done, and makes it due.
    pub(crate) async fn make_due(&self) {
        let make_due = "select count(*) from graphile_worker.jobs, lateral
            graphile_worker.reschedule_jobs(array[jobs.id], run_at := now())
            where jobs.locked_at is null";
        self.until(make_due, 1).await;
    }

    /// Waits until every job is done.
    pub(crate) async fn has_no_jobs(&self) {
        self.until("select count(*) from graphile_worker.jobs", 0)
            .await;
    }

    pub(crate) async fn seconds_until_due(&self) -> f64 {
        let due = "select extract(epoch from run_at - now())::float8 from graphile_worker.jobs";
        query_scalar(due).fetch_one(&self.pool).await.unwrap()
    }

    pub(crate) async fn last_error(&self) -> String {
        let last_error = query_scalar("select last_error from graphile_worker.jobs");
        last_error.fetch_one(&self.pool).await.unwrap()
    }

    async fn until(&self, sql: &'static str, count: i64) {
        let reached = async {
            while query_scalar::<_, i64>(sql)
                .fetch_one(&self.pool)
                .await
                .unwrap()
                != count
            {
                tokio::task::yield_now().await;
            }
        };
        timeout(TIME_MAX, reached).await.unwrap();
    }
}

/// A worker that leaves the signals of the test's process alone.
pub(crate) async fn worker_of(pool: &PgPool, carrier: &str) -> Worker {
    // A proxy of the machine's does not know the stand-in.
    let client = reqwest::Client::builder().no_proxy();
    let carrier = Carrier::new(client, carrier.to_owned()).unwrap();
    let worker = worker(pool.clone(), carrier).listen_os_shutdown_signals(false);
    worker.init().await.unwrap()
}

pub(crate) async fn answer(app: Router, delivery: Request<Body>) -> u16 {
    app.oneshot(delivery).await.unwrap().status().as_u16()
}

#[expect(
    clippy::disallowed_methods,
    reason = "deliveries are signed with the time of day"
)]
pub(crate) fn now() -> SystemTime {
    SystemTime::now()
}

pub(crate) fn signature(body: &str) -> String {
    sign_test_payload(body, SECRET, now())
}

/// A genuine delivery.
pub(crate) fn signed(body: &str) -> Request<Body> {
    Request::post("/webhooks/stripe")
        .header("stripe-signature", signature(body))
        .body(Body::from(body.to_owned()))
        .unwrap()
}

/// The event that tells that a session is paid.
pub(crate) fn paid(id: &str, session_id: &str) -> String {
    event(id, "checkout.session.completed", session_id, "paid")
}

pub(crate) fn event(id: &str, event_type: &str, session_id: &str, status: &str) -> String {
    let created = now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    format!(
        r#"{{"id": "{id}", "object": "event", "api_version": "2026-10-28.endive",
            "created": {created}, "livemode": false, "type": "{event_type}",
            "data": {{"object": {{"id": "{session_id}", "object": "checkout.session",
            "client_reference_id": "order_1", "payment_status": "{status}"}}}}}}"#
    )
}
