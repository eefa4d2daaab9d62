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
use http::{Extensions, Method, request::Parts};
use tokio::{
    sync::{Mutex, OwnedMutexGuard, OwnedSemaphorePermit},
    time::{Instant, timeout},
};
use tower_service::Service;

use super::{
    answer::Answer, event_tx::Offer, in_flight::InFlightEvent, operator::Operator,
    processor::Processor,
};
use crate::{
    disposition::{Delay, Ending},
    extract::{VerifiedStripeEvent, VerifiedUpstream},
    guard::StopReason,
    ledger::{
        Arrival, Entry, Handover, HeldBy, Lease, Ledger, LedgerError, LedgerTransaction, Purpose,
        within_statement,
    },
    telemetry,
};

/// An event on its way through the transaction: steps 5 to 10 of the [module](crate::once).
pub(crate) struct Delivery<DB: Ledger> {
    pub(super) processor: Processor<DB>,
    pub(super) event: VerifiedStripeEvent,
    pub(super) endpoint: Arc<str>,
    pub(super) source: Source,
    /// Where a worker's event takes its transaction from, and leaves the next one.
    pub(super) handover: Option<Handover<DB>>,
    /// `None` if the event is not deduplicated, or comes from the inbox. It leaves when nothing of the
    /// delivery runs any more, and so does the admission.
    pub(super) _in_flight: Option<InFlightEvent>,
    pub(super) _admission: Option<OwnedSemaphorePermit>,
}

/// Where an event comes from.
pub(super) enum Source {
    /// It has just arrived, at this time.
    Arrived(Instant),
    /// Somebody has released it from quarantine.
    Released(Operator),
    /// A worker has it from the inbox.
    Leased(Lease),
}

/// What is answered instead of what the handler has, and why.
pub(crate) enum Outcome {
    Answer(Answer),
    Because(Answer, Arc<str>),
    Ledger(LedgerError),
    NotPrepared(Response),
    Delayed(Delay, Response),
}

impl<DB: Ledger> Delivery<DB> {
    /// An event that a worker has leased.
    pub(crate) fn of_lease(
        processor: Processor<DB>,
        event: VerifiedStripeEvent,
        lease: Lease,
        handover: Handover<DB>,
    ) -> Self {
        Self {
            processor,
            event,
            endpoint: lease.endpoint.as_str().into(),
            source: Source::Leased(lease),
            handover: Some(handover),
            _in_flight: None,
            _admission: None,
        }
    }

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

    /// The handler's answer, with the transaction ended accordingly, or what is to be said instead.
    pub(crate) async fn process<S>(&self, handler: S, parts: Parts) -> Result<Response, Outcome>
    where
        S: Service<Request, Response: IntoResponse, Error: Into<Infallible>>,
    {
        let prepared = self.prepare().await?;
        let transaction = Arc::new(Mutex::new(self.begin(None).await?));
        let offer = Offer::of(&transaction, &self.endpoint);
        let request = self.request(parts, prepared, offer);
        let response = self.handle(handler, request).await?;
        let kept = |_| Outcome::Answer(Answer::TransactionKept);
        let mut transaction = transaction.try_lock_owned().map_err(kept)?;
        let ending = Ending::of(&response);
        if ending.is_none() && response.status().is_success() {
            self.commit(&mut transaction).await?;
            telemetry::committed(&self.event, self.received());
        } else {
            roll_back(transaction.rollback()).await?;
        }
        // Or what comes now would need a second place.
        let shared = Arc::clone(OwnedMutexGuard::mutex(&transaction));
        drop(transaction);
        if let Some(transaction) = Arc::into_inner(shared) {
            self.hand_on(transaction.into_inner());
        }
        match ending {
            None => Ok(response),
            Some(ending) => Err(self.end(ending, response).await),
        }
    }

    /// Begins the next transaction too, if there is somebody to have it.
    async fn commit(&self, transaction: &mut LedgerTransaction<DB>) -> Result<(), LedgerError> {
        match &self.source {
            Source::Arrived(_) if transaction.is_waited_for() => {
                transaction.commit_and_begin(Purpose::Claim).await
            }
            Source::Leased(_) if self.hands_over() && !transaction.is_in_the_way() => {
                transaction.commit_and_begin(Purpose::Dequeue).await
            }
            _ => transaction.commit().await,
        }
    }

    /// Whether the worker expects more. Not with a step before the transaction: the look into the ledger that
    /// precedes it wants a place.
    fn hands_over(&self) -> bool {
        let is_open = self.handover.as_ref().is_some_and(Handover::is_open);
        is_open && self.processor.prepare.is_none()
    }

    /// Of an event that could not be claimed.
    async fn give_back(&self, mut transaction: LedgerTransaction<DB>) -> Result<(), Outcome> {
        match transaction.is_waited_for() {
            true => roll_back(transaction.rollback_and_begin(Purpose::Claim)).await?,
            false => roll_back(transaction.rollback()).await?,
        }
        transaction.hand_on();
        Ok(())
    }

    fn hand_on(&self, transaction: LedgerTransaction<DB>) {
        match &self.handover {
            Some(handover) => handover.put(transaction),
            None => transaction.hand_on(),
        }
    }

    fn received(&self) -> Option<Instant> {
        match self.source {
            Source::Arrived(received) => Some(received),
            Source::Released(_) | Source::Leased(_) => None,
        }
    }

    /// What the handler has said of the event, instead of processing it.
    async fn end(&self, ending: Ending, response: Response) -> Outcome {
        match ending {
            Ending::Delayed(delay) => Outcome::Delayed(delay, response),
            Ending::Ignored => self.leave(Answer::Ignored).await,
            // Nobody has looked at it.
            Ending::Unhandled if matches!(self.source, Source::Released(_)) => {
                Outcome::Answer(Answer::StillQuarantined)
            }
            Ending::Unhandled if self.is_wanted() => Outcome::Answer(Answer::Unhandled),
            Ending::Unhandled => self.leave(Answer::Unhandled).await,
            Ending::Quarantined(reason) => self.quarantine(HeldBy::Handler, reason).await,
            Ending::Misfit(reason) => self.quarantine(HeldBy::Misfit, reason).await,
            Ending::Discarded(reason) => self.discard(reason).await,
        }
    }

    /// Whether somebody has retried or released it.
    fn is_wanted(&self) -> bool {
        matches!(&self.source, Source::Leased(lease) if lease.is_wanted)
    }

    /// Leaves nothing of the event behind.
    async fn leave(&self, answer: Answer) -> Outcome {
        let left = async {
            match &self.source {
                Source::Arrived(_) => return Ok(answer),
                Source::Released(operator) => {
                    let mut transaction = self.take(operator).await?;
                    transaction.skip_claim().await?;
                    transaction.commit().await?;
                }
                Source::Leased(lease) => self.dequeue(lease, false).await?.commit().await?,
            }
            Ok(answer)
        };
        left.await.map_or_else(|outcome| outcome, Outcome::Answer)
    }

    /// Keeps the event: its row in the ledger and its bytes, or neither.
    async fn quarantine(&self, by: HeldBy, reason: Arc<str>) -> Outcome {
        let kept = match &self.source {
            Source::Released(_) => return Outcome::Because(Answer::StillQuarantined, reason),
            Source::Arrived(_) => self.keep(by, &reason).await,
            Source::Leased(lease) => self.hold(lease, by, &reason).await,
        };
        match kept {
            Ok(()) => Outcome::Because(Answer::Quarantined, reason),
            Err(outcome) => outcome,
        }
    }

    async fn keep(&self, by: HeldBy, reason: &str) -> Result<(), Outcome> {
        let mut transaction = self.begin(Some(by)).await?;
        let key = self.event.deduplication_id();
        let arrival = Arrival::new(&self.event, &self.endpoint, key);
        let is_claimed = self.event.is_deduplicated();
        let is_kept = transaction.quarantine(&arrival, is_claimed, reason).await?;
        if !is_kept && is_claimed {
            // Stored before: whoever works the inbox off will see for himself.
            let is_there = DB::is_stored(transaction.on(), &arrival.entry);
            let is_there = within_statement(is_there).await?;
            roll_back(transaction.rollback()).await?;
            return Err(Outcome::Answer(match is_there {
                true => Answer::Duplicate,
                // Its twin, which may be one that nobody handles.
                false => Answer::InFlight,
            }));
        }
        Ok(transaction.commit().await?)
    }

    async fn hold(&self, lease: &Lease, by: HeldBy, reason: &str) -> Result<(), Outcome> {
        let mut entry = self.entry();
        entry.held_by = Some(by);
        let is_claimed = self.event.is_deduplicated();
        let mut transaction = self.processor.ledger.begin(Purpose::Dequeue).await?;
        let held = transaction.hold(&entry, lease, is_claimed, reason).await?;
        self.unless_lost(&mut transaction, held).await?;
        Ok(transaction.commit().await?)
    }

    /// Remembers the event, so that it is never run.
    async fn discard(&self, reason: Arc<str>) -> Outcome {
        let discarded = async { Ok(self.begin(None).await?.commit().await?) };
        match discarded.await {
            Ok(()) => Outcome::Because(Answer::Discarded, reason),
            Err(outcome) => outcome,
        }
    }

    /// What the handler will need, fetched while no transaction is open. A duplicate needs nothing,
    /// and what it is about may be gone.
    async fn prepare(&self) -> Result<Extensions, Outcome> {
        let processor = &self.processor;
        let Some(step) = &processor.prepare else {
            return Ok(Extensions::new());
        };
        let is_released = matches!(self.source, Source::Released(_));
        if self.event.is_deduplicated() && !is_released && self.is_processed().await? {
            return Err(self.leave(Answer::Duplicate).await);
        }
        // Called within the future: a panic before its first await is caught too.
        let prepared = async { step(self.event.clone()).await };
        let answers = [Answer::PreparePanicked, Answer::PrepareTimedOut];
        match contained(processor.prepare_time_max, prepared, answers).await? {
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

    async fn is_processed(&self) -> Result<bool, LedgerError> {
        let mut idle = self.processor.ledger.idle().await?;
        // What waits in the inbox although its event is held was held while it arrived.
        let or_held = !matches!(self.source, Source::Leased(_));
        let entry = self.entry();
        let looked = DB::is_processed(idle.on(), &entry, or_held);
        let looked = within_statement(looked).await;
        idle.settle(looked).await
    }

    /// Opens a transaction that holds the event's claim: to be quarantined, or else to be run or discarded.
    async fn begin(&self, held_by: Option<HeldBy>) -> Result<LedgerTransaction<DB>, Outcome> {
        let mut transaction = match &self.source {
            Source::Leased(lease) => {
                return self.dequeue(lease, self.event.is_deduplicated()).await;
            }
            Source::Released(operator) => self.take(operator).await?,
            Source::Arrived(_) => self.processor.ledger.begin(Purpose::Claim).await?,
        };
        if !self.claim(&mut transaction, held_by).await? {
            self.give_back(transaction).await?;
            // Processed since it was kept, or so it is written: what was kept stays for an operator.
            return Err(Outcome::Answer(match self.source {
                Source::Released(_) => Answer::StillQuarantined,
                Source::Arrived(_) | Source::Leased(_) => Answer::Duplicate,
            }));
        }
        Ok(transaction)
    }

    /// Opens a transaction that takes a released event out of its quarantine.
    async fn take(&self, operator: &Operator) -> Result<LedgerTransaction<DB>, Outcome> {
        let mut transaction = self.processor.ledger.begin(Purpose::Release).await?;
        let action = operator.action("release");
        let (entry, payload) = (self.entry(), self.event.bytes());
        if !transaction.take(&entry, payload, &action).await? {
            roll_back(transaction.rollback()).await?;
            return Err(Outcome::Answer(Answer::NotQuarantined));
        }
        Ok(transaction)
    }

    /// Opens a transaction that takes a leased event out of the inbox, and claims it if it is to be
    /// claimed. Of one that is processed already it commits that.
    async fn dequeue(
        &self,
        lease: &Lease,
        is_claimed: bool,
    ) -> Result<LedgerTransaction<DB>, Outcome> {
        let mut transaction = match self.handover.as_ref().and_then(Handover::take) {
            Some(begun) => begun,
            None => self.processor.ledger.begin(Purpose::Dequeue).await?,
        };
        let dequeued = transaction
            .dequeue(&self.entry(), lease, is_claimed)
            .await?;
        self.unless_lost(&mut transaction, dequeued).await?;
        Ok(transaction)
    }

    /// `None`: somebody else has the entry by now, and nothing here counts any more.
    async fn unless_lost(
        &self,
        transaction: &mut LedgerTransaction<DB>,
        done: Option<bool>,
    ) -> Result<(), Outcome> {
        match done {
            Some(true) => Ok(()),
            Some(false) => {
                transaction.commit().await?;
                Err(Outcome::Answer(Answer::Duplicate))
            }
            None => {
                roll_back(transaction.rollback()).await?;
                Err(Outcome::Answer(Answer::LeaseLost))
            }
        }
    }

    async fn claim(
        &self,
        transaction: &mut LedgerTransaction<DB>,
        held_by: Option<HeldBy>,
    ) -> Result<bool, LedgerError> {
        if !self.event.is_deduplicated() {
            return transaction.skip_claim().await.map(|()| true);
        }
        let mut entry = self.entry();
        entry.held_by = held_by;
        match held_by {
            // It has not passed: one that a guard has stopped before is a duplicate.
            Some(HeldBy::Guard) => transaction.claim(&entry).await,
            _ => transaction.claim_or_readmit(&entry).await,
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
        let time_max = self.processor.ledger.limits.handler_time_max;
        let begun = Instant::now();
        let answer = contained(time_max, answer, answers).await;
        let (outcome, answer) = match answer {
            Ok(Ok(response)) if response.status().is_success() => ("succeeded", Ok(response)),
            Ok(Ok(response)) => ("handler_failed", Ok(response)),
            Ok(Err(never)) => match never.into() {},
            Err(answer) => (answer.code(), Err(Outcome::Answer(answer))),
        };
        telemetry::handler_ran(&self.event, outcome, begun);
        answer
    }
}

/// Of the request for an event that nobody has just delivered.
pub(crate) fn request_parts() -> Parts {
    let (mut parts, ()) = http::Request::new(()).into_parts();
    parts.method = Method::POST;
    parts
}

/// Runs the service's own code within its time limit; a panic in it is caught.
async fn contained<T>(
    time_max: Duration,
    code: impl Future<Output = T>,
    [panicked, timed_out]: [Answer; 2],
) -> Result<T, Answer> {
    match timeout(time_max, AssertUnwindSafe(code).catch_unwind()).await {
        Ok(Ok(output)) => Ok(output),
        Ok(Err(_panic)) => Err(panicked),
        Err(_elapsed) => Err(timed_out),
    }
}

/// A rollback that fails closes the connection, which rolls back too; unless the handler has ended the
/// transaction, after which its writes may stand.
async fn roll_back(rollback: impl Future<Output = Result<(), LedgerError>>) -> Result<(), Outcome> {
    match rollback.await {
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
            Self::Delayed(_, response) => telemetry::delayed(response),
        }
    }
}

impl From<Answer> for Outcome {
    fn from(answer: Answer) -> Self {
        Self::Answer(answer)
    }
}

impl From<LedgerError> for Outcome {
    fn from(error: LedgerError) -> Self {
        Self::Ledger(error)
    }
}
