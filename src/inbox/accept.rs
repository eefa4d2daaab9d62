use std::{
    collections::HashSet,
    convert::Infallible,
    fmt,
    future::Future,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::handler::Handler;
use axum_core::{
    extract::Request,
    response::{ErrorResponse, IntoResponse, Response},
};
use futures_util::future::BoxFuture;
use sqlx::Pool;
use tower_service::Service;
use tracing::Instrument;

use super::{group::Groups, worker::InboxWorker};
use crate::{
    extract::{ProvideVerifier, VerifiedStripeEvent},
    guard::Guards,
    ledger::{Accepted, Ledger},
    once::{self, Answer, Genuine, Guarded, Processor, Receiver},
    telemetry::{self, Progress},
};

/// Stores each event, answers 200 within milliseconds, and leaves the rest to an [`InboxWorker`].
///
/// The [module docs](crate::inbox) say how a delivery runs and what is answered. It is a handler, for
/// `post(inbox)`, and a service. Cloning it is cheap; clones share everything.
///
/// Make **one** inbox for a pool, as of the layer. For a further endpoint of the same service clone it
/// and change the clone's [`endpoint`](Self::endpoint), [`verifier`](Self::verifier) and
/// [`guards`](Self::guards); set everything else before cloning.
#[must_use = "an inbox stores nothing until it serves a route"]
pub struct Inbox<DB: Ledger> {
    receiver: Receiver,
    pub(super) processor: Processor<DB>,
    pub(super) groups: Arc<Groups>,
    synchronous: Option<Arc<Synchronous<DB>>>,
}

/// What is answered by its handler and not stored.
struct Synchronous<DB: Ledger> {
    types: HashSet<String>,
    run: Box<dyn Fn(Processor<DB>, Genuine) -> BoxFuture<'static, Response> + Send + Sync>,
}

impl<DB: Ledger> Inbox<DB> {
    /// Makes an inbox of the pool that events are stored through and the verifier.
    ///
    /// The tables must be there: see [`migrate`](crate::migrate).
    pub fn new(pool: Pool<DB>, verifier: impl ProvideVerifier + Send + Sync + 'static) -> Self {
        Self {
            receiver: Receiver::new(verifier),
            processor: Processor::new(pool),
            groups: Arc::new(Groups::new()),
            synchronous: None,
        }
    }

    /// Makes a worker of what is stored at this inbox's endpoint, which runs in this process: it shares
    /// the pool's places, the limits and the step before the transaction with the inbox, and is woken by
    /// each delivery. To what is [synchronous](Self::synchronous) it leaves a place. A clone for a further endpoint wants a worker too, or one for
    /// [every endpoint](InboxWorker::every_endpoint).
    ///
    /// For a process of its own there is [`InboxWorker::new`].
    pub fn worker<S>(&self, service: S) -> InboxWorker<DB, S> {
        let endpoint = Arc::clone(&self.receiver.endpoint);
        let stored = Some(self.groups.subscribe());
        // Whoever waits for an answer finds a place.
        let places_left = usize::from(self.synchronous.is_some());
        InboxWorker::beside(
            self.processor.clone(),
            endpoint,
            places_left,
            stored,
            service,
        )
    }

    /// Labels the endpoint, as [`ProcessOnceLayer::endpoint`](crate::ProcessOnceLayer::endpoint) does.
    pub fn endpoint(mut self, label: impl Into<Arc<str>>) -> Self {
        self.receiver.label(label.into());
        self
    }

    /// Takes another verifier, for a further endpoint with a secret of its own.
    pub fn verifier(mut self, verifier: impl ProvideVerifier + Send + Sync + 'static) -> Self {
        self.receiver.verifier = Arc::new(verifier);
        self
    }

    /// Says which events this endpoint is to store. What a guard stops is kept as `quarantined`, as
    /// [`ProcessOnceLayer::guards`](crate::ProcessOnceLayer::guards) says.
    pub fn guards(mut self, guards: Guards) -> Self {
        self.receiver.guards = guards;
        self
    }

    /// Runs events of these types at once, with this service, as
    /// [`ProcessOnceLayer`](crate::ProcessOnceLayer) would: their senders wait for the answer.
    ///
    /// `issuing_authorization.request` is always among them. It is never stored: who made the purchase
    /// waits for the decision, two seconds at most. Without a service for it the answer is 200,
    /// `unhandled`, and a warning. Setting it again replaces it.
    pub fn synchronous<S, I>(mut self, types: I, service: S) -> Self
    where
        S: Service<Request, Response: IntoResponse, Error: Into<Infallible>, Future: Send>,
        S: Clone + Send + Sync + 'static,
        I: IntoIterator<Item: Into<String>>,
    {
        self.synchronous = Some(Arc::new(Synchronous {
            types: types.into_iter().map(Into::into).collect(),
            run: Box::new(move |processor, genuine| {
                Box::pin(once::process(processor, service.clone(), genuine))
            }),
        }));
        self
    }

    /// Sets the step before the transaction, for the worker and for what is synchronous, as
    /// [`ProcessOnceLayer::prepare`](crate::ProcessOnceLayer::prepare) does. Set it, and the limits,
    /// before [`worker`](Self::worker), which takes them over.
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

    /// How many deliveries may be in progress, which is what waits in memory to be stored; 256 unless
    /// set. Past it the answer is 503. At least one.
    pub fn deliveries_max(mut self, limit: usize) -> Self {
        self.processor.deliveries_max(limit);
        self
    }

    /// See [`BODY_TIME_MAX_DEFAULT`](crate::once::BODY_TIME_MAX_DEFAULT).
    pub fn body_time_max(mut self, limit: Duration) -> Self {
        self.receiver.body_time_max = limit;
        self
    }

    /// See [`PREPARE_TIME_MAX_DEFAULT`](crate::once::PREPARE_TIME_MAX_DEFAULT).
    pub fn prepare_time_max(mut self, limit: Duration) -> Self {
        self.processor.prepare_time_max = limit;
        self
    }

    /// See [`HANDLER_TIME_MAX_DEFAULT`](crate::once::HANDLER_TIME_MAX_DEFAULT).
    pub fn handler_time_max(mut self, limit: Duration) -> Self {
        self.processor.ledger.limits.handler_time_max = limit;
        self
    }

    /// See [`ACQUIRE_TIME_MAX_DEFAULT`](crate::once::ACQUIRE_TIME_MAX_DEFAULT).
    pub fn acquire_time_max(mut self, limit: Duration) -> Self {
        self.processor.ledger.limits.acquire_time_max = limit;
        self
    }

    /// See [`ProcessOnceLayer::persistent_statements`](crate::ProcessOnceLayer::persistent_statements).
    pub fn persistent_statements(mut self, persistent: bool) -> Self {
        self.processor.ledger.is_persistent = persistent;
        self
    }

    /// Waits for the deliveries in progress, those included whose client has gone, and has every later
    /// one answered with 503. Call it after the server has shut down, before the runtime ends.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it is done, it has no effect.
    pub async fn drain(&self) {
        self.processor.drain().await;
    }

    async fn answer(self, request: Request) -> Response {
        match self.receiver.receive(request).await {
            Ok(Guarded::Passed(genuine)) => match &self.synchronous {
                Some(synchronous) if synchronous.is_for(&genuine.event) => {
                    (synchronous.run)(self.processor.clone(), genuine).await
                }
                _ => self.store(genuine).await,
            },
            Ok(Guarded::Stopped(genuine, reason)) => {
                once::keep_stopped(self.processor, genuine, reason).await
            }
            Err(rejection) => rejection.into_response(),
        }
    }

    async fn store(self, genuine: Genuine) -> Response {
        let Genuine {
            event, endpoint, ..
        } = genuine;
        let span = telemetry::delivery_span(&event, &endpoint);
        let progress = Progress::begin(&endpoint);
        let stored = async {
            if event.wants_an_answer() {
                telemetry::answer_wanted(&event);
                return telemetry::answered(Answer::Unhandled, None);
            }
            let Some(admission) = self.processor.admit() else {
                return telemetry::answered(Answer::Overloaded, None);
            };
            let ledger = &self.processor.ledger;
            let stored = self
                .groups
                .store(ledger, event.clone(), endpoint, admission);
            match stored.await {
                Ok(Ok(accepted)) => telemetry::answered(accepted.into(), None),
                Ok(Err(error)) => telemetry::answered(Answer::from(&*error), Some(&error)),
                Err(_lost) => telemetry::answered(Answer::TaskLost, None),
            }
        };
        progress.end(stored.instrument(span).await)
    }
}

impl<DB: Ledger> Synchronous<DB> {
    fn is_for(&self, event: &VerifiedStripeEvent) -> bool {
        event.wants_an_answer() || self.types.contains(event.event_type())
    }
}

impl From<Accepted> for Answer {
    fn from(accepted: Accepted) -> Self {
        match accepted {
            Accepted::Stored => Self::Stored,
            Accepted::Duplicate => Self::Duplicate,
            Accepted::InFlight => Self::InFlight,
        }
    }
}

impl<S: Send + 'static, DB: Ledger> Handler<(), S> for Inbox<DB> {
    type Future = BoxFuture<'static, Response>;

    fn call(self, request: Request, _: S) -> Self::Future {
        Box::pin(self.answer(request))
    }
}

impl<DB: Ledger> Service<Request> for Inbox<DB> {
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let inbox = self.clone();
        Box::pin(async move { Ok(inbox.answer(request).await) })
    }
}

impl<DB: Ledger> Clone for Inbox<DB> {
    fn clone(&self) -> Self {
        Self {
            receiver: self.receiver.clone(),
            processor: self.processor.clone(),
            groups: Arc::clone(&self.groups),
            synchronous: self.synchronous.clone(),
        }
    }
}

impl<DB: Ledger> fmt::Debug for Inbox<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let synchronous = self.synchronous.as_ref();
        f.debug_struct("Inbox")
            .field("receiver", &self.receiver)
            .field("processor", &self.processor)
            .field("groups", &self.groups)
            .field(
                "synchronous",
                &synchronous.map(|synchronous| &synchronous.types),
            )
            .finish()
    }
}
