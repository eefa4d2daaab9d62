use std::{
    convert::Infallible,
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
use tower_service::Service;
use tracing::{Instrument, Span};

use super::{
    answer::Answer,
    delivery::{Delivery, Source},
    layer::ProcessOnceLayer,
    processor::Processor,
    receiver::{Genuine, Guarded},
};
use crate::{
    guard::StopReason,
    ledger::Ledger,
    telemetry::{self, Progress},
};

/// The service that [`ProcessOnceLayer`] makes.
#[derive(Debug)]
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
            let processor = layer.processor.clone();
            Ok(match layer.receiver.receive(request).await {
                Ok(Guarded::Passed(genuine)) => process(processor, inner, genuine).await,
                Ok(Guarded::Stopped(genuine, reason)) => {
                    keep_stopped(processor, genuine, reason).await
                }
                Err(rejection) => rejection.into_response(),
            })
        })
    }
}

/// Runs a verified delivery.
pub(crate) async fn process<S, DB>(processor: Processor<DB>, inner: S, genuine: Genuine) -> Response
where
    S: Service<Request, Response: IntoResponse, Error: Into<Infallible>, Future: Send>,
    S: Send + 'static,
    DB: Ledger,
{
    deliver(processor, genuine, |delivery, parts| {
        delivery.run(inner, parts)
    })
    .await
}

/// Keeps what a guard has stopped.
pub(crate) async fn keep_stopped<DB: Ledger>(
    processor: Processor<DB>,
    genuine: Genuine,
    reason: StopReason,
) -> Response {
    deliver(processor, genuine, |delivery, _| {
        delivery.keep_stopped(reason)
    })
    .await
}

/// Runs a delivery in a task of its own: dropped half way, as this future is when the client disconnects, it
/// would leave a connection of the pool inside a transaction.
///
/// Boxed, because it is large: each future around it would have room for it twice, and copy it.
async fn deliver<DB, F>(
    processor: Processor<DB>,
    genuine: Genuine,
    run: impl FnOnce(Delivery<DB>, Parts) -> F,
) -> Response
where
    DB: Ledger,
    F: Future<Output = Response> + Send + 'static,
{
    let Genuine {
        parts,
        event,
        endpoint,
        received,
    } = genuine;
    let span = telemetry::delivery_span(&event, &endpoint);
    let progress = Progress::begin(&endpoint);
    match processor.deliver(event, endpoint, Source::Arrived(received)) {
        Ok(delivery) => {
            let run = Box::pin(run(delivery, parts));
            in_task(span, async move { progress.end(run.await) }).await
        }
        Err(answer) => progress.end(span.in_scope(|| telemetry::answered(answer, None))),
    }
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

impl<S: Clone, DB: Ledger> Clone for ProcessOnce<S, DB> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            layer: Arc::clone(&self.layer),
        }
    }
}
