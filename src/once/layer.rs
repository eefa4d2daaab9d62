use std::{future::Future, sync::Arc, time::Duration};

use axum_core::response::ErrorResponse;
use sqlx::Pool;
use tower_layer::Layer;

use super::{processor::Processor, receiver::Receiver, service::ProcessOnce};
use crate::{
    extract::{ProvideVerifier, VerifiedStripeEvent},
    guard::Guards,
    ledger::{Ledger, Limits},
};

/// The label of an endpoint that was given none.
pub const ENDPOINT_DEFAULT: &str = "default";

/// How long a handler may run. Nobody else stops it: it does not depend on its client, and it holds
/// a connection and the event's claim. Checkout waits up to 10 s for an answer.
pub const HANDLER_TIME_MAX_DEFAULT: Duration = Duration::from_secs(30);

/// How long the step before the transaction may take: a call or two over the network. Checkout waits
/// up to 10 s for an answer.
pub const PREPARE_TIME_MAX_DEFAULT: Duration = Duration::from_secs(10);

/// How long a delivery waits for a copy of its event that another process has in hand. Longer than
/// most handlers take, so that most copies learn the outcome; short, because it occupies a
/// connection. Of transactions that fail one after the other each is waited for anew; after ten seconds
/// more the answer is 503.
pub const CLAIM_WAIT_MAX_DEFAULT: Duration = Duration::from_secs(2);

/// How long a delivery waits for a place among the transactions and for a connection of the pool. With
/// none at all it never gets one.
pub const ACQUIRE_TIME_MAX_DEFAULT: Duration = Duration::from_secs(5);

/// How long a body may take to arrive.
pub const BODY_TIME_MAX_DEFAULT: Duration = Duration::from_secs(10);

/// How many verified deliveries may be in progress, the waiting ones included. At Stripe's usual
/// size of a body, a few kilobytes, that is about a megabyte.
pub const DELIVERIES_MAX_DEFAULT: usize = 256;

/// Processes each event once, in the handler's own database transaction.
///
/// The [module docs](crate::once) say how a delivery runs, what is answered and which events are not
/// deduplicated.
///
/// Make **one** layer for a pool. It leaves one connection of the pool free, and two layers would
/// not know of each other. For a further endpoint of the same service clone it and change the
/// clone's [`endpoint`](Self::endpoint), [`verifier`](Self::verifier) and [`guards`](Self::guards);
/// set everything else before cloning. Clones share their limits and what is in flight; keep one to
/// [`drain`](Self::drain) at shutdown.
///
/// ```no_run
/// use std::time::Duration;
///
/// use axum::{Router, routing::post};
/// use axum_stripe_webhook::{EventTx, ProcessOnceLayer, SigningSecret, Verifier, migrate};
/// use sqlx::{Sqlite, SqlitePool};
///
/// async fn webhook(tx: EventTx<Sqlite>) {}
/// async fn connect_webhook(tx: EventTx<Sqlite>) {}
///
/// # async fn serve() -> Result<(), Box<dyn std::error::Error>> {
/// let verifier = Verifier::new(SigningSecret::from_env("STRIPE_WEBHOOK_SECRET")?);
/// let connect_verifier = Verifier::new(SigningSecret::from_env("STRIPE_CONNECT_SECRET")?);
/// let pool = SqlitePool::connect("sqlite://orders.sqlite?mode=rwc").await?;
/// migrate(&pool).await?;
///
/// let once = ProcessOnceLayer::new(pool, verifier).handler_time_max(Duration::from_secs(10));
/// let connect = once.clone().endpoint("connect").verifier(connect_verifier);
/// let app: Router = Router::new()
///     .route("/webhooks/stripe", post(webhook).route_layer(once.clone()))
///     .route("/webhooks/connect", post(connect_webhook).route_layer(connect));
///
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
/// axum::serve(listener, app).await?;
/// once.drain().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a layer does nothing until it is put on a route"]
pub struct ProcessOnceLayer<DB: Ledger> {
    pub(super) receiver: Receiver,
    pub(super) processor: Processor<DB>,
}

impl<DB: Ledger> ProcessOnceLayer<DB> {
    /// Makes a layer of the pool that the handlers' transactions come from and the verifier.
    ///
    /// The tables must be there: see [`migrate`](crate::migrate). A pool for SQLite must be of a
    /// file: what is in memory goes with its connection, and the layer closes connections.
    pub fn new(pool: Pool<DB>, verifier: impl ProvideVerifier + Send + Sync + 'static) -> Self {
        Self {
            receiver: Receiver::new(verifier),
            processor: Processor::new(pool),
        }
    }

    /// Labels the endpoint; [`ENDPOINT_DEFAULT`] unless set. An empty label counts as none.
    ///
    /// An event is processed once for each label. Give two endpoints of one Stripe account that
    /// deliver to the same service different labels if each is to process the events that both get.
    /// Changing a label forgets what was processed under it.
    ///
    /// A destination of snapshot events and one of thin events that share a label share their
    /// events: whichever form is processed first, **the other is then a duplicate**. One that is ignored
    /// or unhandled is not in the way of the other; a handler that answers it with a plain 200 is.
    pub fn endpoint(mut self, label: impl Into<Arc<str>>) -> Self {
        self.receiver.label(label.into());
        self
    }

    /// Takes another verifier, for a further endpoint with a secret of its own.
    pub fn verifier(mut self, verifier: impl ProvideVerifier + Send + Sync + 'static) -> Self {
        self.receiver.verifier = Arc::new(verifier);
        self
    }

    /// Says which events this endpoint is to process; those no older than
    /// [`EVENT_AGE_MAX_DEFAULT`](crate::guard::EVENT_AGE_MAX_DEFAULT), unless set.
    ///
    /// What a guard stops is kept in `stripe_inbox` as `quarantined`, together with its row in
    /// `processed_stripe_events`, so that a redelivery is a duplicate. Once a delivery of the same
    /// event passes, it is processed, and leaves the inbox: from another endpoint with another API
    /// version, say, or redelivered after the guards were changed. Of the events that share an id and
    /// are [not deduplicated](crate::once#not-deduplicated) the first is kept.
    pub fn guards(mut self, guards: Guards) -> Self {
        self.receiver.guards = guards;
        self
    }

    /// Sets the step before the transaction: it fetches what the handler will need, as the object of
    /// a thin event, while no transaction is open.
    ///
    /// What it returns is handed to the handler as an extension: `Extension<T>` extracts it, for this
    /// very `T`. Its error is the answer, and the handler does not run. A non-2xx has Stripe deliver
    /// the event again; a 2xx ignores the event for good, though no row tells so. A
    /// [`Disposition`](crate::Disposition) counts here as it does in a handler.
    ///
    /// An object is fetched as it is now, not as it was when the event was made. A 404 of Stripe's
    /// API means that it is gone, or that key, mode or `Stripe-Context` are not those it belongs to.
    ///
    /// It runs for each event that is not processed already, which one look into the ledger tells,
    /// and again for each delivery of an event that has failed: it may read, and must not write. A
    /// panic is caught and answered with 500. Setting it again replaces it.
    ///
    /// # Cancel safety
    ///
    /// A client that disconnects does not cancel it. [`prepare_time_max`](Self::prepare_time_max)
    /// does, at an await; the answer is 503.
    ///
    /// # Examples
    ///
    /// ```
    /// # use axum::{Extension, http::StatusCode};
    /// # use axum_stripe_webhook::{EventTx, ProcessOnceLayer, VerifiedStripeEvent, Verifier};
    /// # use sqlx::{Sqlite, SqlitePool};
    /// # #[derive(Clone)]
    /// # struct Session;
    /// # #[derive(Clone)]
    /// # struct Stripe;
    /// # impl Stripe {
    /// #     async fn get(&self, _: &str, _: Option<&str>) -> Result<Session, StatusCode> { Ok(Session) }
    /// # }
    /// # fn layer(pool: SqlitePool, verifier: Verifier, stripe: Stripe) -> ProcessOnceLayer<Sqlite> {
    /// async fn fetch(stripe: Stripe, event: VerifiedStripeEvent) -> Result<Option<Session>, StatusCode> {
    ///     match event.related_object().and_then(|related| related.url.as_deref()) {
    ///         Some(path) => Ok(Some(stripe.get(path, event.context()).await?)),
    ///         None => Ok(None),
    ///     }
    /// }
    ///
    /// async fn webhook(Extension(session): Extension<Option<Session>>, tx: EventTx<Sqlite>) {}
    ///
    /// ProcessOnceLayer::new(pool, verifier).prepare(move |event| fetch(stripe.clone(), event))
    /// # }
    /// ```
    pub fn prepare<F, Fut, T, E>(mut self, step: F) -> Self
    where
        F: Fn(VerifiedStripeEvent) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
        T: Clone + Send + Sync + 'static,
        E: Into<ErrorResponse>,
    {
        self.processor.prepare(step);
        self
    }

    /// See [`PREPARE_TIME_MAX_DEFAULT`].
    pub fn prepare_time_max(mut self, limit: Duration) -> Self {
        self.processor.prepare_time_max = limit;
        self
    }

    /// See [`HANDLER_TIME_MAX_DEFAULT`].
    pub fn handler_time_max(mut self, limit: Duration) -> Self {
        self.processor.ledger.limits.handler_time_max = limit;
        self
    }

    /// See [`CLAIM_WAIT_MAX_DEFAULT`]. On SQLite the wait is the connection's `busy_timeout`.
    pub fn claim_wait_max(mut self, limit: Duration) -> Self {
        self.processor.ledger.limits.claim_wait_max = limit;
        self
    }

    /// See [`ACQUIRE_TIME_MAX_DEFAULT`].
    pub fn acquire_time_max(mut self, limit: Duration) -> Self {
        self.processor.ledger.limits.acquire_time_max = limit;
        self
    }

    /// Whether the crate's own statements are prepared once for each connection, as they are unless set.
    ///
    /// Behind PgBouncer before 1.21 in transaction mode, `false`: a prepared statement is then met on
    /// another server connection. The handlers' own statements want `.persistent(false)` likewise, and
    /// [`migrate`](crate::migrate) a direct connection.
    pub fn persistent_statements(mut self, persistent: bool) -> Self {
        self.processor.ledger.is_persistent = persistent;
        self
    }

    /// See [`BODY_TIME_MAX_DEFAULT`].
    pub fn body_time_max(mut self, limit: Duration) -> Self {
        self.receiver.body_time_max = limit;
        self
    }

    /// See [`DELIVERIES_MAX_DEFAULT`]. At least one.
    pub fn deliveries_max(mut self, limit: usize) -> Self {
        self.processor.deliveries_max(limit);
        self
    }

    /// Waits for the deliveries in progress, those included whose client has gone, and has every
    /// later one answered with 503: on this layer and on all its clones.
    ///
    /// Call it after the server has shut down, before the runtime ends, under a limit of your own: a
    /// delivery may take what [`prepare_time_max`](Self::prepare_time_max), twice
    /// [`acquire_time_max`](Self::acquire_time_max), [`claim_wait_max`](Self::claim_wait_max) and
    /// [`handler_time_max`](Self::handler_time_max) allow together, and up to 60 s more while the
    /// database does not answer.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it is done, it has no effect.
    pub async fn drain(&self) {
        self.processor.drain().await;
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            acquire_time_max: ACQUIRE_TIME_MAX_DEFAULT,
            claim_wait_max: CLAIM_WAIT_MAX_DEFAULT,
            handler_time_max: HANDLER_TIME_MAX_DEFAULT,
        }
    }
}

impl<S, DB: Ledger> Layer<S> for ProcessOnceLayer<DB> {
    type Service = ProcessOnce<S, DB>;

    fn layer(&self, inner: S) -> Self::Service {
        ProcessOnce::new(inner, self.clone())
    }
}

impl<DB: Ledger> Clone for ProcessOnceLayer<DB> {
    fn clone(&self) -> Self {
        Self {
            receiver: self.receiver.clone(),
            processor: self.processor.clone(),
        }
    }
}
