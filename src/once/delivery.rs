use std::{
    convert::Infallible, future::Future, panic::AssertUnwindSafe, sync::Arc, time::Duration,
};

use axum_core::{
    body::Body,
    extract::Request,
    response::{IntoResponse, Response},
};
use futures_util::FutureExt;
use http::{Extensions, request::Parts};
use tokio::{
    sync::{Mutex, OwnedSemaphorePermit},
    time::timeout,
};
use tower_service::Service;

use super::{answer::Answer, event_tx::Offer, in_flight::InFlightEvent, layer::ProcessOnceLayer};
use crate::{
    extract::{VerifiedStripeEvent, VerifiedUpstream},
    guard::StopReason,
    ledger::{Entry, InboxEntry, Ledger, LedgerError, LedgerTransaction, is_processed},
    telemetry,
};

/// A verified delivery on its way through the transaction: steps 5 to 10 of the
/// [module](crate::once).
pub(super) struct Delivery<DB: Ledger> {
    pub(super) layer: Arc<ProcessOnceLayer<DB>>,
    pub(super) event: VerifiedStripeEvent,
    pub(super) endpoint: Arc<str>,
    /// `None` if the event is not deduplicated. It leaves when nothing of the delivery runs any
    /// more, and so does the admission.
    pub(super) _in_flight: Option<InFlightEvent>,
    pub(super) _admission: OwnedSemaphorePermit,
}

/// Why there is no answer of the handler's to pass on.
enum Stop {
    Answer(Answer),
    Ledger(LedgerError),
    NotPrepared(Response),
}

impl<DB: Ledger> Delivery<DB> {
    pub(super) async fn run<S>(self, handler: S, parts: Parts) -> Response
    where
        S: Service<Request, Response: IntoResponse, Error: Into<Infallible>>,
    {
        match self.process(handler, parts).await {
            Ok(response) => telemetry::handled(response),
            Err(stop) => stop.into_response(),
        }
    }

    /// Keeps the event instead of running it: its row in the ledger and its bytes, or neither.
    pub(super) async fn quarantine(self, reason: StopReason) -> Response {
        match self.keep(reason).await {
            Ok(()) => telemetry::quarantined(reason),
            Err(stop) => stop.into_response(),
        }
    }

    async fn keep(&self, reason: StopReason) -> Result<(), Stop> {
        let mut transaction = self.begin(true).await?;
        let kept = InboxEntry::new(&self.event, &self.endpoint, reason.code());
        transaction.quarantine(&kept).await?;
        Ok(transaction.commit().await?)
    }

    async fn process<S>(&self, handler: S, parts: Parts) -> Result<Response, Stop>
    where
        S: Service<Request, Response: IntoResponse, Error: Into<Infallible>>,
    {
        let prepared = self.prepare().await?;
        let transaction = Arc::new(Mutex::new(self.begin(false).await?));
        let request = self.request(parts, prepared, Offer::of(&transaction));
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

    /// What the handler will need, fetched while no transaction is open. A duplicate needs nothing,
    /// and what it is about may be gone.
    async fn prepare(&self) -> Result<Extensions, Stop> {
        let layer = &*self.layer;
        let Some(step) = &layer.prepare else {
            return Ok(Extensions::new());
        };
        if self.event.is_deduplicated() {
            let places = Arc::clone(&layer.places);
            if is_processed(&layer.pool, places, layer.limits, &self.entry()).await? {
                return Err(Stop::Answer(Answer::Duplicate));
            }
        }
        // Called within the future: a panic before its first await is caught too.
        let prepared = async { step(self.event.clone()).await };
        let answers = [Answer::PreparePanicked, Answer::PrepareTimedOut];
        contained(layer.prepare_time_max, prepared, answers)
            .await?
            .map_err(Stop::NotPrepared)
    }

    /// Opens a transaction that holds the event's claim.
    async fn begin(&self, is_stopped: bool) -> Result<LedgerTransaction<DB>, Stop> {
        let layer = &*self.layer;
        let places = Arc::clone(&layer.places);
        let mut transaction = LedgerTransaction::begin(&layer.pool, places, layer.limits).await?;
        if !self.claim(&mut transaction, is_stopped).await? {
            roll_back(&mut transaction).await;
            return Err(Stop::Answer(Answer::Duplicate));
        }
        Ok(transaction)
    }

    async fn claim(
        &self,
        transaction: &mut LedgerTransaction<DB>,
        is_stopped: bool,
    ) -> Result<bool, LedgerError> {
        match self.event.is_deduplicated() {
            true if is_stopped => transaction.claim(&self.entry()).await,
            true => transaction.claim_or_readmit(&self.entry()).await,
            false => transaction.skip_claim().await.map(|()| true),
        }
    }

    fn entry(&self) -> Entry<'_> {
        Entry::new(&self.event, &self.endpoint)
    }

    /// The request as the handler sees it: what was prepared for it, the event and its transaction
    /// to extract, and the body, for whoever wants the bytes.
    fn request(&self, mut parts: Parts, prepared: Extensions, offer: Offer<DB>) -> Request {
        parts.extensions.extend(prepared);
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
        let answers = [Answer::HandlerPanicked, Answer::HandlerTimedOut];
        match contained(self.layer.limits.handler_time_max, answer, answers).await? {
            Ok(response) => Ok(response),
            Err(never) => match never.into() {},
        }
    }
}

/// Runs the service's own code within its time limit; a panic in it is caught.
async fn contained<T>(
    time_max: Duration,
    code: impl Future<Output = T>,
    [panicked, timed_out]: [Answer; 2],
) -> Result<T, Stop> {
    match timeout(time_max, AssertUnwindSafe(code).catch_unwind()).await {
        Ok(Ok(output)) => Ok(output),
        Ok(Err(_panic)) => Err(Stop::Answer(panicked)),
        Err(_elapsed) => Err(Stop::Answer(timed_out)),
    }
}

/// A rollback that fails closes the connection, which rolls back too.
async fn roll_back<DB: Ledger>(transaction: &mut LedgerTransaction<DB>) {
    if let Err(error) = transaction.rollback().await {
        telemetry::rollback_failed(&error);
    }
}

impl Stop {
    fn into_response(self) -> Response {
        match self {
            Self::Answer(answer) => telemetry::answered(answer, None),
            Self::Ledger(error) => telemetry::answered(Answer::from(&error), Some(&error)),
            Self::NotPrepared(response) => telemetry::not_prepared(response),
        }
    }
}

impl From<LedgerError> for Stop {
    fn from(error: LedgerError) -> Self {
        Self::Ledger(error)
    }
}
