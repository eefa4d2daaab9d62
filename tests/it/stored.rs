//! An inbox, its worker, and what stands in its tables.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    handler::{Handler, HandlerWithoutStateExt},
    http::{Request, StatusCode},
    response::IntoResponse,
    routing::post,
};
use axum_stripe_webhook::{
    Inbox, InboxOperations, InboxWorker, VerifiedStripeEvent,
    inbox::{EntryFilter, RetryPolicy, StoredEntry},
};
use futures_util::future::BoxFuture;
use sqlx::Pool;
use tower::{Service, ServiceExt};

use crate::{
    database::{Fresh, TestBackend, open},
    endpoint::{Door, WAIT_MAX},
    stripe,
};

pub(crate) struct Stored<DB: TestBackend> {
    pub(crate) pool: Pool<DB>,
    pub(crate) fresh: Arc<Fresh>,
    pub(crate) inbox: Inbox<DB>,
    pub(crate) operations: InboxOperations<DB>,
    pub(crate) app: Router,
}

/// A handler as the service that a worker runs.
pub(crate) fn service<H, T>(
    handler: H,
) -> impl Service<Request<Body>, Response: IntoResponse, Error = Infallible, Future: Send>
+ Clone
+ Send
+ Sync
+ 'static
where
    H: Handler<T, ()> + Sync,
    T: 'static,
{
    handler.into_service()
}

/// The one entry that there is.
pub(crate) async fn one<DB: TestBackend>(stored: &Stored<DB>) -> StoredEntry {
    let [entry] = stored.entries().await.try_into().unwrap();
    entry
}

/// A step before the transaction that stops at a door, and ends like this.
pub(crate) fn stops_at(
    door: &Door,
    ends: Result<(), StatusCode>,
) -> impl Fn(VerifiedStripeEvent) -> BoxFuture<'static, Result<(), StatusCode>> + Send + Sync + 'static
{
    let door = door.clone();
    move |_event| {
        let door = door.clone();
        Box::pin(async move {
            door.pass().await;
            ends
        })
    }
}

impl<DB: TestBackend> Stored<DB> {
    pub(crate) async fn new() -> Self {
        Self::with(|inbox| inbox).await
    }

    pub(crate) async fn with(settings: impl FnOnce(Inbox<DB>) -> Inbox<DB>) -> Self {
        let (fresh, pool) = open::<DB>().await;
        Self::on(Arc::new(fresh), pool, settings)
    }

    pub(crate) fn on(
        fresh: Arc<Fresh>,
        pool: Pool<DB>,
        settings: impl FnOnce(Inbox<DB>) -> Inbox<DB>,
    ) -> Self {
        let inbox = settings(Inbox::new(pool.clone(), stripe::verifier()));
        Self {
            operations: InboxOperations::new(pool.clone()),
            app: Router::new().route("/webhooks/stripe", post(inbox.clone())),
            pool,
            fresh,
            inbox,
        }
    }

    /// The same database with another inbox on it, as after a deployment.
    pub(crate) fn again(&self, settings: impl FnOnce(Inbox<DB>) -> Inbox<DB>) -> Self {
        Self::on(Arc::clone(&self.fresh), self.pool.clone(), settings)
    }

    /// A further endpoint of the same service: a clone of the inbox with other settings.
    pub(crate) fn clones(&self, settings: impl FnOnce(Inbox<DB>) -> Inbox<DB>) -> Self {
        let inbox = settings(self.inbox.clone());
        Self {
            operations: self.operations.clone(),
            app: Router::new().route("/webhooks/stripe", post(inbox.clone())),
            pool: self.pool.clone(),
            fresh: Arc::clone(&self.fresh),
            inbox,
        }
    }

    /// Another process on the same database: nothing in memory is shared.
    pub(crate) async fn other_process(&self) -> Self {
        let pool = DB::connect(&self.fresh.url, crate::database::CONNECTIONS).await;
        Self::on(Arc::clone(&self.fresh), pool, |inbox| inbox)
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> StatusCode {
        self.app.clone().oneshot(request).await.unwrap().status()
    }

    /// Sends a request and gives back the answer's body.
    pub(crate) async fn body(&self, request: Request<Body>) -> String {
        let response = self.app.clone().oneshot(request).await.unwrap();
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await;
        String::from_utf8(body.unwrap().to_vec()).unwrap()
    }

    /// Delivers an event with this id, genuinely signed.
    pub(crate) async fn deliver(&self, id: &str) -> StatusCode {
        self.send(stripe::delivery(&stripe::event(id))).await
    }

    /// A worker as another process has it: it shares nothing with the inbox, and looks often.
    pub(crate) fn worker<S>(&self, service: S) -> InboxWorker<DB, S> {
        InboxWorker::new(self.pool.clone(), service)
            .poll_interval(Duration::from_millis(5))
            .retry_policy(RetryPolicy::new().retry_time_first(Duration::ZERO))
    }

    /// A worker in the process of the inbox, that would not look by itself.
    pub(crate) fn beside<S>(&self, service: S) -> InboxWorker<DB, S> {
        self.inbox
            .worker(service)
            .poll_interval(Duration::from_secs(60 * 60))
            .retry_policy(RetryPolicy::new().retry_time_first(Duration::ZERO))
    }

    /// Until so many attempts have been made, or one has said "not yet", and the last of them has ended.
    pub(crate) async fn until_attempted(&self, attempts: u32) {
        let made = "select cast(attempts as text) from stripe_inbox
            where state = 'pending' and not_yets = 0";
        self.until(async || {
            let made = DB::texts(&self.pool, made).await;
            let is_made = made
                .first()
                .is_none_or(|made| made.parse::<u32>().unwrap() >= attempts);
            is_made && self.count("stripe_inbox where in_attempt").await == 0
        })
        .await;
    }

    /// Until the one entry was leased since its fence was this one, and that attempt has ended.
    pub(crate) async fn until_past(&self, fence: i64) {
        let fences = "select cast(fence as text) from stripe_inbox";
        self.until(async || {
            let found = DB::texts(&self.pool, fences).await;
            let is_past = found
                .first()
                .is_none_or(|found| found.parse::<i64>().unwrap() > fence);
            is_past && self.count("stripe_inbox where in_attempt").await == 0
        })
        .await;
    }

    /// Time enough for a worker to have looked at least once.
    pub(crate) async fn until_logged_or_asked(&self) {
        for _ in 0..200 {
            self.count("processed_stripe_events").await;
        }
    }

    pub(crate) async fn until_empty(&self) {
        self.until(async || self.count("stripe_inbox").await == 0)
            .await;
    }

    /// Works off what is pending, and stops.
    pub(crate) async fn work_off<S>(&self, service: S)
    where
        S: Service<Request<Body>, Response: IntoResponse, Error: Into<Infallible>, Future: Send>
            + Clone
            + Send
            + 'static,
    {
        let worker = self.worker(service).start();
        self.until(async || self.operations.counts().await.unwrap().pending == 0)
            .await;
        worker.stop().await;
    }

    /// Asks again and again until it is true; what never comes true is a failure.
    pub(crate) async fn until(&self, condition: impl AsyncFn() -> bool) {
        let asked = async {
            while !condition().await {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(WAIT_MAX, asked)
            .await
            .expect("it comes true");
    }

    /// The entries, as `id state`.
    pub(crate) async fn states(&self) -> Vec<String> {
        let entries = self.entries().await.into_iter();
        entries
            .map(|entry| format!("{} {}", entry.event_id, entry.state.code()))
            .collect()
    }

    pub(crate) async fn entries(&self) -> Vec<StoredEntry> {
        let page = self.operations.list(&EntryFilter::new(), None).await;
        page.unwrap().entries
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

    /// Runs a statement, as somebody else on the same database.
    pub(crate) async fn run(&self, sql: &'static str) {
        let mut connection = self.pool.acquire().await.unwrap();
        DB::run(&mut connection, sql).await.unwrap();
    }
}
