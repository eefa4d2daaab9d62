//! The server on a database of its own, and looks at its rows.

use std::{future::Future, sync::Arc, time::SystemTime};

use axum::{
    Router,
    body::Body,
    http::{Request, header::CONTENT_TYPE},
};
use axum_stripe_webhook::{
    AuditLayer, Guards, SigningSecret, Verifier, testing::sign_test_payload,
};
use http_body_util::BodyExt;
use order_fulfillment::{
    config::Processing,
    database::{open_postgres, open_sqlite},
    demo::events::Session,
    endpoint::Endpoint,
    orders::{OrderBook, Shop},
    server,
    webhook::events,
};
use sqlx::{
    AssertSqlSafe, PgConnection, Pool, Postgres, Sqlite, SqliteConnection, query_scalar,
    sqlite::SqliteConnectOptions,
};
use tempfile::TempDir;
use test_postgres::TestDatabase;
use tokio::{sync::Barrier, task::JoinSet};
use tower::ServiceExt;

pub(crate) const SECRET: &str = "whsec_test";

/// Those of the shop and those of the crate.
pub(crate) const TABLES: [&str; 8] = [
    "orders",
    "payment_intents",
    "refunds_due",
    "shipments",
    "processed_stripe_events",
    "stripe_effects",
    "stripe_inbox",
    "stripe_actions",
];

/// Expands each claim, a function of a [`Bench`], to a test on SQLite and one on Postgres.
macro_rules! on_both_databases {
    ($($claim:ident,)+) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $claim() {
                super::$claim($crate::bench::on_sqlite().await).await;
            })+
        }

        mod postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $claim() {
                super::$claim($crate::bench::on_postgres().await).await;
            })+
        }
    };
}

pub(crate) use on_both_databases;

pub(crate) struct Bench<DB: Shop> {
    pub(crate) pool: Pool<DB>,
    pub(crate) app: Router,
    _home: Home,
}

/// What goes with the bench.
enum Home {
    Folder { _folder: TempDir },
    Database { _database: TestDatabase },
}

/// Rows, of either database.
pub(crate) trait Rows: Send {
    fn texts(&mut self, sql: &str) -> impl Future<Output = Vec<String>> + Send;
    fn count(&mut self, table: &str) -> impl Future<Output = i64> + Send;
    fn run(&mut self, sql: &'static str) -> impl Future<Output = ()> + Send;
}

macro_rules! rows_of {
    ($connection:ty) => {
        impl Rows for $connection {
            async fn texts(&mut self, sql: &str) -> Vec<String> {
                query_scalar(AssertSqlSafe(sql))
                    .fetch_all(self)
                    .await
                    .unwrap()
            }

            async fn count(&mut self, table: &str) -> i64 {
                let sql = AssertSqlSafe(format!("select count(*) from {table}"));
                query_scalar(sql).fetch_one(self).await.unwrap()
            }

            async fn run(&mut self, sql: &'static str) {
                sqlx::raw_sql(sql).execute(self).await.unwrap();
            }
        }
    };
}

rows_of!(PgConnection);
rows_of!(SqliteConnection);

pub(crate) async fn on_sqlite() -> Bench<Sqlite> {
    let folder = tempfile::tempdir().unwrap();
    let file = SqliteConnectOptions::new().filename(folder.path().join("shop.sqlite"));
    Bench::new(
        open_sqlite(file).await.unwrap(),
        Home::Folder { _folder: folder },
    )
}

pub(crate) async fn on_postgres() -> Bench<Postgres> {
    let database = TestDatabase::create().await;
    let options = database.url().parse().unwrap();
    Bench::new(
        open_postgres(options).await.unwrap(),
        Home::Database {
            _database: database,
        },
    )
}

pub(crate) fn endpoint<DB: Shop>(pool: &Pool<DB>, processing: Processing) -> Endpoint<DB> {
    guarded_endpoint(pool, processing, Guards::new())
}

fn guarded_endpoint<DB: Shop>(
    pool: &Pool<DB>,
    processing: Processing,
    guards: Guards,
) -> Endpoint<DB> {
    let verifier = Verifier::new(SigningSecret::new(SECRET).unwrap());
    Endpoint::new(processing, pool.clone(), verifier, guards)
}

fn app<DB: Shop>(pool: &Pool<DB>, endpoint: Endpoint<DB>) -> Router {
    server::app(
        pool.clone(),
        endpoint,
        events::<DB>().unwrap(),
        AuditLayer::new(),
    )
}

impl<DB: Shop<Connection: Rows>> Bench<DB> {
    fn new(pool: Pool<DB>, home: Home) -> Self {
        Self {
            app: app(&pool, endpoint(&pool, Processing::Inline)),
            pool,
            _home: home,
        }
    }

    /// The same shop, whose endpoint processes these events alone.
    pub(crate) fn guarded(self, guards: Guards) -> Self {
        self.at(|pool| guarded_endpoint(pool, Processing::Inline, guards))
    }

    /// The same shop, whose endpoint stores events and leaves them to workers.
    pub(crate) fn stored_first(self) -> Self {
        self.at(|pool| endpoint(pool, Processing::Inbox { concurrency: 0 }))
    }

    /// The same shop, whose endpoint stores those of these events that pass.
    pub(crate) fn stored_first_guarded(self, guards: Guards) -> Self {
        let inbox = Processing::Inbox { concurrency: 0 };
        self.at(|pool| guarded_endpoint(pool, inbox, guards))
    }

    fn at(self, endpoint: impl FnOnce(&Pool<DB>) -> Endpoint<DB>) -> Self {
        let app = app(&self.pool, endpoint(&self.pool));
        Self { app, ..self }
    }

    /// An order over 42.00 EUR, and its customer's session.
    pub(crate) async fn order(&self) -> Session {
        self.order_over(4200).await
    }

    pub(crate) async fn order_over(&self, amount: i64) -> Session {
        let body = format!(r#"{{"amount": {amount}, "currency": "EUR"}}"#);
        let (status, text) = self.post("/orders", "x-none", "", body).await;
        assert_eq!(status, 201, "{text}");
        visit(&text, amount)
    }

    /// Delivers as Stripe does; the status of the answer.
    pub(crate) async fn deliver(&self, body: String) -> u16 {
        self.answer_to(body).await.0
    }

    /// Delivers as Stripe does; status and text of the answer.
    pub(crate) async fn answer_to(&self, body: String) -> (u16, String) {
        let signature = sign(&body, SECRET, now());
        self.deliver_signed(body, &signature).await
    }

    pub(crate) async fn deliver_signed(&self, body: String, signature: &str) -> (u16, String) {
        self.post("/webhooks/stripe", "stripe-signature", signature, body)
            .await
    }

    /// Delivers everything at the same moment; the answers' statuses in any order.
    pub(crate) async fn deliver_at_once(&self, bodies: Vec<String>) -> Vec<u16> {
        let barrier = Arc::new(Barrier::new(bodies.len()));
        let mut deliveries = JoinSet::new();
        for body in bodies {
            let (app, barrier) = (self.app.clone(), Arc::clone(&barrier));
            deliveries.spawn(async move {
                let signature = sign(&body, SECRET, now());
                barrier.wait().await;
                call(
                    app,
                    "/webhooks/stripe",
                    "stripe-signature",
                    &signature,
                    body,
                )
                .await
                .0
            });
        }
        deliveries.join_all().await
    }

    pub(crate) async fn post(
        &self,
        path: &str,
        header: &str,
        value: &str,
        body: String,
    ) -> (u16, String) {
        call(self.app.clone(), path, header, value, body).await
    }

    pub(crate) async fn fetch(&self, path: &str) -> (u16, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        answer(self.app.clone(), request).await
    }

    /// Status, amount refunded and parcel of an order, as the shop sees them.
    pub(crate) async fn state_of(&self, session: &Session) -> String {
        let (status, text) = self.fetch(&format!("/orders/{}", session.order)).await;
        assert_eq!(status, 200, "{text}");
        let order: serde_json::Value = serde_json::from_str(&text).unwrap();
        let shipment = order["shipment"].as_str().unwrap_or("none");
        format!(
            "{} {} {shipment}",
            order["status"].as_str().unwrap(),
            order["amount_refunded"]
        )
    }

    /// How many payments of this order have to go back.
    pub(crate) async fn refunds_due(&self, session: &Session) -> usize {
        let mut connection = self.pool.acquire().await.unwrap();
        let due = connection.refunds_due().await.unwrap();
        due.iter()
            .filter(|payment| payment.order_id == session.order)
            .count()
    }

    /// Why events were kept.
    pub(crate) async fn kept(&self) -> Vec<String> {
        let sql = "select last_error from stripe_inbox where state = 'quarantined'
            order by last_error";
        self.pool.acquire().await.unwrap().texts(sql).await
    }

    /// Releases or discards the event of a body; the answer.
    pub(crate) async fn act(&self, action: &str, body: &str) -> (u16, String) {
        let by = r#"{"actor": "jo", "reason": "looked at it"}"#;
        self.act_as(action, body, by).await
    }

    pub(crate) async fn act_as(&self, action: &str, body: &str, by: &str) -> (u16, String) {
        let path = format!("/events/{}/{action}", id_of(body));
        self.post(&path, "x-none", "", by.into()).await
    }

    /// How many rows each table has.
    pub(crate) async fn counts(&self) -> Vec<(&'static str, i64)> {
        let mut connection = self.pool.acquire().await.unwrap();
        let mut counts = Vec::new();
        for table in TABLES {
            counts.push((table, connection.count(table).await));
        }
        counts
    }

    pub(crate) async fn run(&self, sql: &'static str) {
        self.pool.acquire().await.unwrap().run(sql).await;
    }
}

async fn call(app: Router, path: &str, header: &str, value: &str, body: String) -> (u16, String) {
    let request = Request::post(path)
        .header(CONTENT_TYPE, "application/json")
        .header(header, value)
        .body(Body::from(body))
        .unwrap();
    answer(app, request).await
}

async fn answer(app: Router, request: Request<Body>) -> (u16, String) {
    let response = app.oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

/// The id of an event.
pub(crate) fn id_of(event: &str) -> String {
    let event: serde_json::Value = serde_json::from_str(event).unwrap();
    event["id"].as_str().unwrap().to_owned()
}

pub(crate) fn sign(body: &str, secret: &str, at: SystemTime) -> String {
    sign_test_payload(body, secret, at)
}

#[expect(clippy::disallowed_methods, reason = "Stripe signs with its own clock")]
pub(crate) fn now() -> SystemTime {
    SystemTime::now()
}

/// The customer's visit for an order in EUR, out of the answer to the shop that placed it.
pub(crate) fn visit(placed: &str, amount: i64) -> Session {
    let placed: serde_json::Value = serde_json::from_str(placed).unwrap();
    let order = placed["id"].as_str().unwrap().to_owned();
    Session {
        name: order.replace("ord_", ""),
        order,
        amount,
        currency: "eur",
    }
}

/// Another customer's visit for the same order.
pub(crate) fn again(session: &Session) -> Session {
    Session {
        name: format!("{}_again", session.name),
        ..session.clone()
    }
}
