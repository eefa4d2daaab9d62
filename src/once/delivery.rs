use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    panic::AssertUnwindSafe,
    sync::Arc,
    time::Duration,
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

/// What is answered instead of what the handler has, and why.
pub(super) enum Outcome {
    Answer(Answer),
    Because(Answer, Arc<str>),
    Ledger(LedgerError),
    NotPrepared(Response),
    Delayed(Response),
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
            Err(outcome) => outcome.into_response(),
        }
    }

    /// Keeps an event that a guard has stopped, instead of running it.
    pub(super) async fn keep_stopped(self, reason: StopReason) -> Response {
        let kept = self.quarantine(HeldBy::Guard, reason.code().into());
        kept.await.into_response()
    }

    async fn process<S>(&self, handler: S, parts: Parts) -> Result<Response, Outcome>
    where
        S: Service<Request, Response: IntoResponse, Error: Into<Infallible>>,
    {
        let prepared = self.prepare().await?;
        let transaction = Arc::new(Mutex::new(self.begin(Claim::Run).await?));
        let offer = Offer::of(&transaction, &self.endpoint);
        let request = self.request(parts, prepared, offer);
        let response = self.handle(handler, request).await?;
        let kept = |_| Outcome::Answer(Answer::TransactionKept);
        let mut transaction = transaction.try_lock_owned().map_err(kept)?;
        let ending = Ending::of(&response);
        if ending.is_none() && response.status().is_success() {
            transaction.commit().await?;
        } else {
            roll_back(&mut transaction).await?;
        }
        // Or what comes now would need a second place.
        drop(transaction);
        match ending {
            None => Ok(response),
            Some(ending) => Err(self.end(ending, response).await),
        }
    }

    /// What the handler has said of the event, instead of processing it.
    async fn end(&self, ending: Ending, response: Response) -> Outcome {
        match ending {
            Ending::Delayed => Outcome::Delayed(response),
            Ending::Ignored => self.leave(Answer::Ignored).await,
            // Nobody has looked at it.
            Ending::Unhandled if self.released_by.is_some() => {
                Outcome::Answer(Answer::StillQuarantined)
            }
            Ending::Unhandled => Outcome::Answer(Answer::Unhandled),
            Ending::Quarantined(reason) => self.quarantine(HeldBy::Handler, reason).await,
            Ending::Misfit(reason) => self.quarantine(HeldBy::Misfit, reason).await,
            Ending::Discarded(reason) => self.discard(reason).await,
        }
    }

    /// Leaves nothing of the event behind.
    async fn leave(&self, answer: Answer) -> Outcome {
        let left = async {
            if self.released_by.is_some() {
                let mut transaction = self.open().await?;
                transaction.skip_claim().await?;
                transaction.commit().await?;
            }
            Ok(answer)
        };
        left.await.map_or_else(|outcome| outcome, Outcome::Answer)
    }

    /// Keeps the event: its row in the ledger and its bytes, or neither.
    async fn quarantine(&self, by: HeldBy, reason: Arc<str>) -> Outcome {
        if self.released_by.is_some() {
            return Outcome::Because(Answer::StillQuarantined, reason);
        }
        let kept = async {
            let mut transaction = self.begin(Claim::Hold(by)).await?;
            let kept = InboxEntry::new(&self.event, &self.endpoint, &reason);
            transaction.quarantine(&kept).await?;
            Ok(transaction.commit().await?)
        };
        match kept.await {
            Ok(()) => Outcome::Because(Answer::Quarantined, Arc::clone(&reason)),
            Err(outcome) => outcome,
        }
    }

    /// Remembers the event, so that it is never run.
    async fn discard(&self, reason: Arc<str>) -> Outcome {
        let discarded = async { Ok(self.begin(Claim::Discard).await?.commit().await?) };
        match discarded.await {
            Ok(()) => Outcome::Because(Answer::Discarded, reason),
            Err(outcome) => outcome,
        }
    }

    /// What the handler will need, fetched while no transaction is open. A duplicate needs nothing,
    /// and what it is about may be gone.
    async fn prepare(&self) -> Result<Extensions, Outcome> {
        let layer = &*self.layer;
        let Some(step) = &layer.prepare else {
            return Ok(Extensions::new());
        };
        if self.event.is_deduplicated() && self.released_by.is_none() {
            let places = Arc::clone(&layer.places);
            if is_processed(&layer.pool, places, layer.limits, &self.entry()).await? {
                return Err(Outcome::Answer(Answer::Duplicate));
            }
        }
        // Called within the future: a panic before its first await is caught too.
        let prepared = async { step(self.event.clone()).await };
        let answers = [Answer::PreparePanicked, Answer::PrepareTimedOut];
        match contained(layer.prepare_time_max, prepared, answers).await? {
            Ok(prepared) => Ok(prepared),
            Err(response) => Err(match Ending::of(&response) {
                Some(ending) => self.end(ending, response).await,
                None if response.status().is_success() => match self.leave(Answer::Ignored).await {
                    Outcome::Answer(_) => Outcome::NotPrepared(response),
                    failed => failed,
                },
                None => Outcome::NotPrepared(response),
            }),
        }
    }

    /// Opens a transaction that holds the event's claim.
    async fn begin(&self, claim: Claim) -> Result<LedgerTransaction<DB>, Outcome> {
        let mut transaction = self.open().await?;
        if !self.claim(&mut transaction, claim).await? {
            roll_back(&mut transaction).await?;
            // Processed since it was kept, or so it is written: what was kept stays for an operator.
            return Err(Outcome::Answer(match self.released_by {
                Some(_) => Answer::StillQuarantined,
                None => Answer::Duplicate,
            }));
        }
        Ok(transaction)
    }

    /// Opens a transaction, which takes a released event out of its quarantine.
    async fn open(&self) -> Result<LedgerTransaction<DB>, Outcome> {
        let layer = &*self.layer;
        let places = Arc::clone(&layer.places);
        let mut transaction = LedgerTransaction::begin(&layer.pool, places, layer.limits).await?;
        if let Some(operator) = &self.released_by {
            let action = operator.action("release");
            let (entry, payload) = (self.entry(), self.event.bytes());
            if !transaction.take(&entry, payload, &action).await? {
                roll_back(&mut transaction).await?;
                return Err(Outcome::Answer(Answer::NotQuarantined));
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
            // It has not passed: one that a guard has stopped before is a duplicate.
            Claim::Hold(HeldBy::Guard) => {
                entry.held_by = Some(HeldBy::Guard);
                transaction.claim(&entry).await
            }
            Claim::Hold(by) => {
                entry.held_by = Some(by);
                transaction.claim_or_readmit(&entry).await
            }
            Claim::Run | Claim::Discard => transaction.claim_or_readmit(&entry).await,
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

    async fn handle<S>(&self, mut handler: S, request: Request) -> Result<Response, Outcome>
    where
        S: Service<Request, Response: IntoResponse, Error: Into<Infallible>>,
    {
        // One that is released was not asked yet.
        let answer = async move {
            poll_fn(|context| handler.poll_ready(context)).await?;
            handler.call(request).await.map(S::Response::into_response)
        };
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
) -> Result<T, Outcome> {
    match timeout(time_max, AssertUnwindSafe(code).catch_unwind()).await {
        Ok(Ok(output)) => Ok(output),
        Ok(Err(_panic)) => Err(Outcome::Answer(panicked)),
        Err(_elapsed) => Err(Outcome::Answer(timed_out)),
    }
}

/// A rollback that fails closes the connection, which rolls back too; unless the handler has ended the
/// transaction, after which its writes may stand.
async fn roll_back<DB: Ledger>(transaction: &mut LedgerTransaction<DB>) -> Result<(), Outcome> {
    match transaction.rollback().await {
        Ok(()) => Ok(()),
        Err(LedgerError::Ended) => Err(Outcome::Ledger(LedgerError::Ended)),
        Err(error) => {
            telemetry::rollback_failed(&error);
            Ok(())
        }
    }
}

impl Outcome {
    pub(super) fn into_response(self) -> Response {
        match self {
            Self::Answer(answer) => telemetry::answered(answer, None),
            Self::Because(answer, reason) => telemetry::answered_because(answer, &reason),
            Self::Ledger(error) => telemetry::answered(Answer::from(&error), Some(&error)),
            Self::NotPrepared(response) => telemetry::not_prepared(response),
            Self::Delayed(response) => telemetry::delayed(response),
        }
    }
}

impl From<LedgerError> for Outcome {
    fn from(error: LedgerError) -> Self {
        Self::Ledger(error)
    }
}
