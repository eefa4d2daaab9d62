use std::{convert::Infallible, panic::AssertUnwindSafe, sync::Arc};

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
    pub(super) in_flight: Option<InFlightEvent>,
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
        let mut transaction = self.begin().await?;
        let entry = Entry::new(&self.event, &self.endpoint);
        transaction
            .quarantine(&entry, &InboxEntry::new(&self.event, reason.code()))
            .await?;
        transaction.commit().await?;
        Ok(())
    }

    async fn process<S>(&self, handler: S, parts: Parts) -> Result<Response, Stop>
    where
        S: Service<Request, Response: IntoResponse, Error: Into<Infallible>>,
    {
        let prepared = self.prepare().await?;
        let transaction = Arc::new(Mutex::new(self.begin().await?));
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
        if self.in_flight.is_some() {
            let entry = Entry::new(&self.event, &self.endpoint);
            let places = Arc::clone(&layer.places);
            if is_processed(&layer.pool, places, layer.limits, &entry).await? {
                return Err(Stop::Answer(Answer::Duplicate));
            }
        }
        let prepared = async { step(self.event.clone()).await };
        let guarded = AssertUnwindSafe(prepared).catch_unwind();
        match timeout(layer.prepare_time_max, guarded).await {
            Ok(Ok(prepared)) => prepared.map_err(Stop::NotPrepared),
            Ok(Err(_panic)) => Err(Stop::Answer(Answer::PreparePanicked)),
            Err(_elapsed) => Err(Stop::Answer(Answer::PrepareTimedOut)),
        }
    }

    /// Opens a transaction that holds the event's claim.
    async fn begin(&self) -> Result<LedgerTransaction<DB>, Stop> {
        let layer = &*self.layer;
        let places = Arc::clone(&layer.places);
        let mut transaction = LedgerTransaction::begin(&layer.pool, places, layer.limits).await?;
        if !self.claim(&mut transaction).await? {
            roll_back(&mut transaction).await;
            return Err(Stop::Answer(Answer::Duplicate));
        }
        Ok(transaction)
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
