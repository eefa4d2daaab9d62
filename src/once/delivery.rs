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

use super::{
    answer::Answer, event_tx::Offer, in_flight::InFlightEvent, layer::ProcessOnceLayer,
    operator::Operator,
};
use crate::{
    disposition::Ending,
    extract::{VerifiedStripeEvent, VerifiedUpstream},
    guard::StopReason,
    ledger::{Entry, HeldBy, InboxEntry, Ledger, LedgerError, LedgerTransaction, is_processed},
    telemetry,
};

/// An event on its way through the transaction: steps 5 to 10 of the [module](crate::once).
pub(super) struct Delivery<DB: Ledger> {
    pub(super) layer: Arc<ProcessOnceLayer<DB>>,
    pub(super) event: VerifiedStripeEvent,
    pub(super) endpoint: Arc<str>,
    /// Who has released it from quarantine; `None` if it has just arrived.
    pub(super) released_by: Option<Operator>,
    /// `None` if the event is not deduplicated. It leaves when nothing of the delivery runs any
    /// more, and so does the admission.
    pub(super) _in_flight: Option<InFlightEvent>,
    pub(super) _admission: OwnedSemaphorePermit,
}

/// Why there is no answer of the handler's to pass on.
enum Stop {
    Answer(Answer),
    Because(Answer, Arc<str>),
    Ledger(LedgerError),
    NotPrepared(Response),
}

/// What a transaction claims the event for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Claim {
    /// To be run.
    Run,
    /// To be kept.
    Hold(HeldBy),
    /// Never to be run.
    Discard,
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

    /// Keeps an event that a guard has stopped, instead of running it.
    pub(super) async fn stop(self, reason: StopReason) -> Response {
        let kept = self.quarantine(HeldBy::Guard, reason.code().into());
        kept.await.into_response()
    }

    async fn process<S>(&self, handler: S, parts: Parts) -> Result<Response, Stop>
    where
        S: Service<Request, Response: IntoResponse, Error: Into<Infallible>>,
    {
        let prepared = self.prepare().await?;
        let transaction = Arc::new(Mutex::new(self.begin(Claim::Run).await?));
        let offer = Offer::of(&transaction, &self.endpoint);
        let request = self.request(parts, prepared, offer);
        let response = self.handle(handler, request).await?;
        let kept = |_| Stop::Answer(Answer::TransactionKept);
        let mut transaction = transaction.try_lock_owned().map_err(kept)?;
        let ending = Ending::of(&response);
        if ending.is_none() && response.status().is_success() {
            transaction.commit().await?;
        } else {
            roll_back(&mut transaction).await;
        }
        // Or what comes now would need a second place.
        drop(transaction);
        match ending {
            None => Ok(response),
            Some(ending) => Err(self.end(ending).await),
        }
    }

    /// What the handler has said of the event, instead of processing it.
    async fn end(&self, ending: Ending) -> Stop {
        match ending {
            Ending::Ignored => self.leave(Answer::Ignored).await,
            Ending::Unhandled => self.leave(Answer::Unhandled).await,
            Ending::Quarantined(reason) => self.quarantine(HeldBy::Handler, reason).await,
            Ending::Discarded(reason) => self.discard(reason).await,
        }
    }

    /// Leaves nothing of the event behind.
    async fn leave(&self, answer: Answer) -> Stop {
        let left = async {
            if self.released_by.is_some() {
                let mut transaction = self.open().await?;
                transaction.skip_claim().await?;
                transaction.commit().await?;
            }
            Ok(answer)
        };
        left.await.map_or_else(|stop| stop, Stop::Answer)
    }

    /// Keeps the event: its row in the ledger and its bytes, or neither.
    async fn quarantine(&self, by: HeldBy, reason: Arc<str>) -> Stop {
        if self.released_by.is_some() {
            return Stop::Because(Answer::StillQuarantined, reason);
        }
        let kept = async {
            let mut transaction = self.begin(Claim::Hold(by)).await?;
            let kept = InboxEntry::new(&self.event, &self.endpoint, &reason);
            transaction.quarantine(&kept).await?;
            Ok(transaction.commit().await?)
        };
        match kept.await {
            Ok(()) => Stop::Because(Answer::Quarantined, Arc::clone(&reason)),
            Err(stop) => stop,
        }
    }

    /// Remembers the event, so that it is never run.
    async fn discard(&self, reason: Arc<str>) -> Stop {
        let discarded = async { Ok(self.begin(Claim::Discard).await?.commit().await?) };
        match discarded.await {
            Ok(()) => Stop::Because(Answer::Discarded, reason),
            Err(stop) => stop,
        }
    }

    /// What the handler will need, fetched while no transaction is open. A duplicate needs nothing,
    /// and what it is about may be gone.
    async fn prepare(&self) -> Result<Extensions, Stop> {
        let layer = &*self.layer;
        let Some(step) = &layer.prepare else {
            return Ok(Extensions::new());
        };
        if self.event.is_deduplicated() && self.released_by.is_none() {
            let places = Arc::clone(&layer.places);
            if is_processed(&layer.pool, places, layer.limits, &self.entry()).await? {
                return Err(Stop::Answer(Answer::Duplicate));
            }
        }
        // Called within the future: a panic before its first await is caught too.
        let prepared = async { step(self.event.clone()).await };
        let answers = [Answer::PreparePanicked, Answer::PrepareTimedOut];
        match contained(layer.prepare_time_max, prepared, answers).await? {
            Ok(prepared) => Ok(prepared),
            Err(response) => Err(match Ending::of(&response) {
                Some(ending) => self.end(ending).await,
                None => Stop::NotPrepared(response),
            }),
        }
    }

    /// Opens a transaction that holds the event's claim.
    async fn begin(&self, claim: Claim) -> Result<LedgerTransaction<DB>, Stop> {
        let mut transaction = self.open().await?;
        if !self.claim(&mut transaction, claim).await? {
            roll_back(&mut transaction).await;
            return Err(Stop::Answer(Answer::Duplicate));
        }
        Ok(transaction)
    }

    /// Opens a transaction, which takes a released event out of its quarantine.
    async fn open(&self) -> Result<LedgerTransaction<DB>, Stop> {
        let layer = &*self.layer;
        let places = Arc::clone(&layer.places);
        let mut transaction = LedgerTransaction::begin(&layer.pool, places, layer.limits).await?;
        if let Some(operator) = &self.released_by {
            let action = operator.action("release");
            if !transaction.take(&self.entry(), &action).await? {
                roll_back(&mut transaction).await;
                return Err(Stop::Answer(Answer::NotQuarantined));
            }
        }
        Ok(transaction)
    }

    async fn claim(
        &self,
        transaction: &mut LedgerTransaction<DB>,
        claim: Claim,
    ) -> Result<bool, LedgerError> {
        let mut entry = self.entry();
        if !self.event.is_deduplicated() {
            return transaction.skip_claim().await.map(|()| true);
        }
        match claim {
            Claim::Run => transaction.claim_or_readmit(&entry).await,
            Claim::Discard => transaction.claim(&entry).await,
            Claim::Hold(by) => {
                entry.held_by = Some(by);
                transaction.claim(&entry).await
            }
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
            Self::Because(answer, reason) => telemetry::answered_because(answer, &reason),
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
