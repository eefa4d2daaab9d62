use std::{convert::Infallible, panic::AssertUnwindSafe, sync::Arc};

use axum_core::{
    body::Body,
    extract::Request,
    response::{IntoResponse, Response},
};
use futures_util::FutureExt;
use http::request::Parts;
use tokio::{
    sync::{Mutex, OwnedSemaphorePermit},
    time::timeout,
};
use tower_service::Service;

use super::{answer::Answer, event_tx::Offer, in_flight::InFlightEvent, layer::ProcessOnceLayer};
use crate::{
    extract::{VerifiedStripeEvent, VerifiedUpstream},
    ledger::{Entry, Ledger, LedgerError, LedgerTransaction},
    telemetry,
};

/// A verified delivery on its way through the transaction: steps 4 to 8 of the
/// [module](crate::once).
pub(super) struct Delivery<DB: Ledger> {
    pub(super) layer: Arc<ProcessOnceLayer<DB>>,
    pub(super) event: VerifiedStripeEvent,
    pub(super) endpoint: Arc<str>,
    /// `None` if the event is not deduplicated. It leaves when nothing of the delivery runs any
    /// more, and so does the admission.
    pub(super) in_flight: Option<InFlightEvent>,
    pub(super) _admission: OwnedSemaphorePermit,
}

/// Why there is no answer of the handler's to pass on.
enum Stop {
    Answer(Answer),
    Ledger(LedgerError),
}

impl<DB: Ledger> Delivery<DB> {
    pub(super) async fn run<S>(self, handler: S, parts: Parts) -> Response
    where
        S: Service<Request, Response: IntoResponse, Error: Into<Infallible>>,
    {
        match self.process(handler, parts).await {
            Ok(response) => telemetry::handled(response),
            Err(Stop::Answer(answer)) => telemetry::answered(answer, None),
            Err(Stop::Ledger(error)) => telemetry::answered(Answer::from(&error), Some(&error)),
        }
    }

    async fn process<S>(&self, handler: S, parts: Parts) -> Result<Response, Stop>
    where
        S: Service<Request, Response: IntoResponse, Error: Into<Infallible>>,
    {
        let layer = &*self.layer;
        let places = Arc::clone(&layer.places);
        let mut transaction = LedgerTransaction::begin(&layer.pool, places, layer.limits).await?;
        if !self.claim(&mut transaction).await? {
            roll_back(&mut transaction).await;
            return Err(Stop::Answer(Answer::Duplicate));
        }
        let transaction = Arc::new(Mutex::new(transaction));
        let request = self.request(parts, Offer::of(&transaction));
        let response = self.handle(handler, request).await?;
        let kept = |_| Stop::Answer(Answer::TransactionKept);
        let mut transaction = transaction.try_lock_owned().map_err(kept)?;
        if response.status().is_success() {
            transaction.commit().await?;
        } else {
            roll_back(&mut transaction).await;
        }
        Ok(response)
    }

    async fn claim(&self, transaction: &mut LedgerTransaction<DB>) -> Result<bool, LedgerError> {
        match self.in_flight {
            Some(_) => {
                transaction
                    .claim(&Entry::new(&self.event, &self.endpoint))
                    .await
            }
            None => transaction.skip_claim().await.map(|()| true),
        }
    }

    /// The request as the handler sees it: the event and its transaction to extract, and the body,
    /// for whoever wants the bytes.
    fn request(&self, mut parts: Parts, offer: Offer<DB>) -> Request {
        parts
            .extensions
            .insert(VerifiedUpstream(self.event.clone()));
        parts.extensions.insert(offer);
        Request::from_parts(parts, Body::from(self.event.bytes().clone()))
    }

    async fn handle<S>(&self, mut handler: S, request: Request) -> Result<Response, Stop>
    where
        S: Service<Request, Response: IntoResponse, Error: Into<Infallible>>,
    {
        let answer = async move { handler.call(request).await.map(S::Response::into_response) };
        let guarded = AssertUnwindSafe(answer).catch_unwind();
        match timeout(self.layer.limits.handler_time_max, guarded).await {
            Ok(Ok(Ok(response))) => Ok(response),
            Ok(Ok(Err(never))) => match never.into() {},
            Ok(Err(_panic)) => Err(Stop::Answer(Answer::HandlerPanicked)),
            Err(_elapsed) => Err(Stop::Answer(Answer::HandlerTimedOut)),
        }
    }
}

/// A rollback that fails closes the connection, which rolls back too.
async fn roll_back<DB: Ledger>(transaction: &mut LedgerTransaction<DB>) {
    if let Err(error) = transaction.rollback().await {
        telemetry::rollback_failed(&error);
    }
}

impl From<LedgerError> for Stop {
    fn from(error: LedgerError) -> Self {
        Self::Ledger(error)
    }
}
