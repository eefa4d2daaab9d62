use std::{
    convert::Infallible,
    fmt,
    future::Future,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum_core::{
    extract::Request,
    response::{IntoResponse, Response},
};
use http::request::Parts;
use sqlx::SqlStr;
use tokio::time::timeout;
use tower_service::Service;
use tracing::Instrument;

use super::{answer::Answer, delivery::Delivery, layer::ProcessOnceLayer};
use crate::{
    event::Event,
    extract::{StripeEventRejection, VerifiedStripeEvent},
    ledger::Ledger,
    telemetry,
};

/// The id of every test event that is sent from the Dashboard.
const DASHBOARD_TEST_ID: &str = "evt_00000000000000";

/// Answered with a decision, within two seconds; its duplicate wants the decision again.
const ISSUING_REQUESTS: [&str; 2] = [
    "issuing_authorization.request",
    "v1.issuing_authorization.request",
];

/// The service that [`ProcessOnceLayer`] makes.
pub struct ProcessOnce<S, DB: Ledger> {
    inner: S,
    shared: Arc<Shared<DB>>,
}

pub(super) struct Shared<DB: Ledger> {
    pub(super) layer: ProcessOnceLayer<DB>,
    /// The statement that opens a transaction, written once.
    pub(super) begin: SqlStr,
}

impl<S, DB: Ledger> ProcessOnce<S, DB> {
    pub(super) fn new(inner: S, layer: ProcessOnceLayer<DB>) -> Self {
        let begin = DB::begin_statement(&layer.limits);
        Self {
            inner,
            shared: Arc::new(Shared { layer, begin }),
        }
    }
}

impl<S, DB> Service<Request> for ProcessOnce<S, DB>
where
    S: Service<Request> + Clone + Send + 'static,
    S::Response: IntoResponse,
    S::Error: Into<Infallible>,
    S::Future: Send,
    DB: Ledger,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        // The clone takes our place: it is this one that `poll_ready` has made ready.
        let inner = self.inner.clone();
        let inner = mem::replace(&mut self.inner, inner);
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            Ok(match shared.receive(request).await {
                Ok((parts, event)) => shared.process(inner, parts, event).await,
                Err(rejection) => rejection.into_response(),
            })
        })
    }
}

impl<DB: Ledger> Shared<DB> {
    async fn receive(
        &self,
        request: Request,
    ) -> Result<(Parts, VerifiedStripeEvent), StripeEventRejection> {
        let received = VerifiedStripeEvent::receive(request, &*self.layer.verifier);
        timeout(self.layer.body_time_max, received)
            .await
            .unwrap_or(Err(StripeEventRejection::BodyTooSlow))
    }

    /// Runs a verified delivery in a task of its own: dropped half way, as this future is when the
    /// client disconnects, it would leave a connection of the pool inside a transaction.
    async fn process<S>(
        self: &Arc<Self>,
        inner: S,
        parts: Parts,
        event: VerifiedStripeEvent,
    ) -> Response
    where
        S: Service<Request> + Send + 'static,
        S::Response: IntoResponse,
        S::Error: Into<Infallible>,
        S::Future: Send,
    {
        let span = telemetry::delivery_span(&event, &self.layer.endpoint);
        let delivery = match self.admit(event) {
            Ok(delivery) => delivery,
            Err(answer) => return span.in_scope(|| telemetry::answered(answer, None)),
        };
        let task = tokio::spawn(delivery.run(inner, parts).instrument(span));
        match task.await {
            Ok(response) => response,
            // The runtime is going down, or what is ours has panicked; either way it is not done.
            Err(_) => telemetry::answered(Answer::HandlerPanicked, None),
        }
    }

    fn admit(self: &Arc<Self>, event: VerifiedStripeEvent) -> Result<Delivery<DB>, Answer> {
        let deduplicated = is_deduplicated(&event);
        let in_flight = match deduplicated {
            true => {
                let entered = self.layer.in_flight.enter(event.deduplication_id());
                Some(entered.ok_or(Answer::InFlight)?)
            }
            false => None,
        };
        let place = Arc::clone(&self.layer.deliveries).try_acquire_owned();
        Ok(Delivery {
            shared: Arc::clone(self),
            event,
            deduplicated,
            in_flight,
            place: place.map_err(|_| Answer::Overloaded)?,
        })
    }
}

fn is_deduplicated(event: &Event) -> bool {
    event.id() != DASHBOARD_TEST_ID && !ISSUING_REQUESTS.contains(&event.event_type())
}

impl<S: Clone, DB: Ledger> Clone for ProcessOnce<S, DB> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<S: fmt::Debug, DB: Ledger> fmt::Debug for ProcessOnce<S, DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessOnce")
            .field("inner", &self.inner)
            .field("layer", &self.shared.layer)
            .finish()
    }
}
