//! An endpoint under the layer, its database, and what it answers.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    handler::Handler,
    http::{Request, StatusCode},
    routing::post,
};
use axum_stripe_webhook::{EventTx, ProcessOnceLayer};
use futures_util::future::BoxFuture;
use sqlx::Pool;
use tokio::sync::Semaphore;
use tower::ServiceExt;

use crate::{
    database::{Fresh, TestBackend, open},
    stripe,
};

/// Every table that a delivery could write.
const TABLES: [&str; 6] = [
    "processed_stripe_events",
    "stripe_inbox",
    "stripe_effects",
    "stripe_objects",
    "stripe_actions",
    "work",
];

pub(crate) struct Endpoint<DB: TestBackend> {
    pub(crate) pool: Pool<DB>,
    pub(crate) fresh: Arc<Fresh>,
    pub(crate) layer: ProcessOnceLayer<DB>,
    pub(crate) app: Router,
}

impl<DB: TestBackend> Endpoint<DB> {
    /// Serves a handler on a database of its own.
    pub(crate) async fn new<H, T>(handler: H) -> Self
    where
        H: Handler<T, ()>,
        T: 'static,
    {
        Self::with(handler, |layer| layer).await
    }

    /// Likewise, with settings.
    pub(crate) async fn with<H, T>(
        handler: H,
        settings: impl FnOnce(ProcessOnceLayer<DB>) -> ProcessOnceLayer<DB>,
    ) -> Self
    where
        H: Handler<T, ()>,
        T: 'static,
    {
        let (fresh, pool) = open::<DB>().await;
        Self::on(Arc::new(fresh), pool, handler, settings)
    }

    /// Another process that serves a handler on the same database, as far as the database can
    /// tell: nothing in memory is shared.
    pub(crate) async fn other_process<H, T>(
        &self,
        handler: H,
        settings: impl FnOnce(ProcessOnceLayer<DB>) -> ProcessOnceLayer<DB>,
    ) -> Self
    where
        H: Handler<T, ()>,
        T: 'static,
    {
        let pool = DB::connect(&self.fresh.url, crate::database::CONNECTIONS).await;
        Self::on(Arc::clone(&self.fresh), pool, handler, settings)
    }

    pub(crate) fn on<H, T>(
        fresh: Arc<Fresh>,
        pool: Pool<DB>,
        handler: H,
        settings: impl FnOnce(ProcessOnceLayer<DB>) -> ProcessOnceLayer<DB>,
    ) -> Self
    where
        H: Handler<T, ()>,
        T: 'static,
    {
        let layer = settings(ProcessOnceLayer::new(pool.clone(), stripe::verifier()));
        let app = Router::new().route("/webhooks/stripe", post(handler).route_layer(layer.clone()));
        Self {
            pool,
            fresh,
            layer,
            app,
        }
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> StatusCode {
        self.app.clone().oneshot(request).await.unwrap().status()
    }

    /// Sends a request and gives back the answer's body.
    pub(crate) async fn body(&self, request: Request<Body>) -> String {
        let response = self.app.clone().oneshot(request).await.unwrap();
        let body = axum::body::to_bytes(response.into_body(), 1 << 20)
            .await
            .unwrap();
        String::from_utf8(body.to_vec()).unwrap()
    }

    /// Delivers an event with this id, genuinely signed.
    pub(crate) async fn deliver(&self, id: &str) -> StatusCode {
        self.send(stripe::delivery(&stripe::event(id))).await
    }

    pub(crate) async fn count(&self, table: &str) -> i64 {
        DB::count(&self.pool, table).await
    }

    /// Rows of the ledger and of the business, which must always agree.
    pub(crate) async fn processed(&self) -> (i64, i64) {
        (
            self.count("processed_stripe_events").await,
            self.count("work").await,
        )
    }

    /// Rows of all tables together.
    pub(crate) async fn rows(&self) -> i64 {
        let mut rows = 0;
        for table in TABLES {
            rows += self.count(table).await;
        }
        rows
    }
}

/// The ordinary handler: it writes one row.
pub(crate) async fn work<DB: TestBackend>(mut tx: EventTx<DB>) -> StatusCode {
    let id = tx.event().id().to_owned();
    match DB::work(&mut tx, &id).await {
        Ok(()) => StatusCode::OK,
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The ordinary handler behind a door.
pub(crate) fn behind<DB: TestBackend>(
    door: Door,
) -> impl Fn(EventTx<DB>) -> BoxFuture<'static, StatusCode> + Clone + Send + Sync {
    move |tx| {
        let door = door.clone();
        Box::pin(async move {
            door.pass().await;
            work(tx).await
        })
    }
}

/// So that what never happens is a failure. Longer than any limit of the crate's.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(60);

/// A door that handlers stop at: the test sees them arrive, and lets them pass.
#[derive(Clone)]
pub(crate) struct Door {
    arrived: Arc<Semaphore>,
    opened: Arc<Semaphore>,
}

impl Door {
    pub(crate) fn closed() -> Self {
        Self {
            arrived: Arc::new(Semaphore::new(0)),
            opened: Arc::new(Semaphore::new(0)),
        }
    }

    /// The handler's side.
    pub(crate) async fn pass(&self) {
        self.arrived.add_permits(1);
        self.opened.acquire().await.unwrap().forget();
    }

    /// Waits until a handler stands at the door.
    pub(crate) async fn wait_for_arrival(&self) {
        let arrived = tokio::time::timeout(WAIT_MAX, self.arrived.acquire()).await;
        arrived.expect("a handler arrives").unwrap().forget();
    }

    /// Lets so many handlers pass.
    pub(crate) fn open(&self, handlers: usize) {
        self.opened.add_permits(handlers);
    }
}
