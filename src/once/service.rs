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
use tokio::time::timeout;
use tower_service::Service;
use tracing::{Instrument, Span};

use super::{
    answer::Answer,
    delivery::Delivery,
    layer::{ProcessOnceLayer, label_or},
    operator::Operator,
};
use crate::{
    clock,
    extract::{Received, StripeEventRejection, VerifiedStripeEvent},
    guard::{StopReason, WhenStopped},
    ledger::Ledger,
    telemetry,
};

/// The service that [`ProcessOnceLayer`] makes.
pub struct ProcessOnce<S, DB: Ledger> {
    inner: S,
    layer: Arc<ProcessOnceLayer<DB>>,
}

impl<S, DB: Ledger> ProcessOnce<S, DB> {
    pub(super) fn new(inner: S, layer: ProcessOnceLayer<DB>) -> Self {
        Self {
            inner,
            layer: Arc::new(layer),
        }
    }
}

impl<S, DB> Service<Request> for ProcessOnce<S, DB>
where
    S: Service<Request, Response: IntoResponse, Error: Into<Infallible>, Future: Send>,
    S: Clone + Send + 'static,
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
        let layer = Arc::clone(&self.layer);
        Box::pin(async move {
            Ok(match receive(&layer, request).await {
                Ok((received, stopped)) => process(layer, inner, received, stopped).await,
                Err(rejection) => rejection.into_response(),
            })
        })
    }
}

async fn receive<DB: Ledger>(
    layer: &ProcessOnceLayer<DB>,
    request: Request,
) -> Result<(Received, Option<StopReason>), StripeEventRejection> {
    let received = VerifiedStripeEvent::receive(request, &*layer.verifier);
    let received = timeout(layer.body_time_max, received)
        .await
        .unwrap_or(Err(StripeEventRejection::BodyTooSlow))?;
    let stopped = guard(layer, &received)?;
    Ok((received, stopped))
}

/// Why the event is to be kept and not run, if it is.
fn guard<DB: Ledger>(
    layer: &ProcessOnceLayer<DB>,
    Received {
        event, provided, ..
    }: &Received,
) -> Result<Option<StopReason>, StripeEventRejection> {
    let guards = provided.guards.as_ref().unwrap_or(&layer.guards);
    match guards.check(event, clock::now()) {
        Ok(()) => Ok(None),
        Err(reason) if guards.when_stopped == WhenStopped::Quarantine => Ok(Some(reason)),
        Err(reason) => Err(StripeEventRejection::of_stopped(event, reason, guards)),
    }
}

/// Runs a verified delivery in a task of its own: dropped half way, as this future is when the
/// client disconnects, it would leave a connection of the pool inside a transaction.
async fn process<S, DB>(
    layer: Arc<ProcessOnceLayer<DB>>,
    inner: S,
    received: Received,
    stopped: Option<StopReason>,
) -> Response
where
    S: Service<Request, Response: IntoResponse, Error: Into<Infallible>, Future: Send>,
    S: Send + 'static,
    DB: Ledger,
{
    let Received {
        parts,
        event,
        provided,
    } = received;
    let endpoint = label_or(provided.endpoint, || Arc::clone(&layer.endpoint));
    let span = telemetry::delivery_span(&event, &endpoint);
    let delivery = match admit(layer, event, endpoint, None) {
        Ok(delivery) => delivery,
        Err(answer) => return span.in_scope(|| telemetry::answered(answer, None)),
    };
    let run = async move {
        match stopped {
            Some(reason) => delivery.keep_stopped(reason).await,
            None => delivery.run(inner, parts).await,
        }
    };
    in_task(span, run).await
}

/// Nothing that happens to this future stops what it runs.
pub(super) async fn in_task(
    span: Span,
    run: impl Future<Output = Response> + Send + 'static,
) -> Response {
    let run = run.instrument(span.clone());
    if cfg!(axum_stripe_webhook_without = "task") {
        return run.await;
    }
    // The runtime is going down, or something of ours has panicked: nothing was committed, or the
    // retry finds out that it was.
    let lost = |_| span.in_scope(|| telemetry::answered(Answer::TaskLost, None));
    let task = tokio::spawn(run);
    task.await.unwrap_or_else(lost)
}

pub(super) fn admit<DB: Ledger>(
    layer: Arc<ProcessOnceLayer<DB>>,
    event: VerifiedStripeEvent,
    endpoint: Arc<str>,
    released_by: Option<Operator>,
) -> Result<Delivery<DB>, Answer> {
    let enter = || layer.in_flight.enter(&endpoint, event.deduplication_id());
    let _in_flight = event
        .is_deduplicated()
        .then(|| enter().ok_or(Answer::InFlight))
        .transpose()?;
    let admission = Arc::clone(&layer.admissions).try_acquire_owned();
    let _admission = admission.map_err(|_| Answer::Overloaded)?;
    Ok(Delivery {
        layer,
        event,
        endpoint,
        released_by,
        _in_flight,
        _admission,
    })
}

impl<S: Clone, DB: Ledger> Clone for ProcessOnce<S, DB> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            layer: Arc::clone(&self.layer),
        }
    }
}

impl<S: fmt::Debug, DB: Ledger> fmt::Debug for ProcessOnce<S, DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessOnce")
            .field("inner", &self.inner)
            .field("layer", &self.layer)
            .finish()
    }
}
