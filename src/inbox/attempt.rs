use std::{borrow::Cow, convert::Infallible, mem, time::Duration};

use axum_core::{
    extract::Request,
    response::{IntoResponse, Response},
};
use tokio::time::{Instant, sleep};
use tower_service::Service;
use tracing::Instrument;

use super::retry_policy::{Failure, RetryPolicy};
use crate::{
    extract::VerifiedStripeEvent,
    ledger::{AttemptEnd, Handover, Lease, Leased, Ledger, LedgerError, Purpose, within_statement},
    once::{Answer, Delivery, Outcome, Processor, request_parts},
    telemetry,
};

/// Longest text of an error that is kept.
const ERROR_BYTES_MAX: usize = 255;

/// What a worker writes of an entry whose process has died in its last attempt; the statement for an
/// operator's retry looks for it.
const PROCESS_DIED: &str = "process_died";

/// What it writes of bytes that are no event: somebody else has written them.
const NOT_AN_EVENT: &str = "not_an_event";

/// Between two tries to write down an outcome.
const WRITE_PAUSE: Duration = Duration::from_secs(1);

/// One run of a leased entry's handler, and what becomes of the entry.
pub(super) struct Attempt<DB: Ledger> {
    pub(super) processor: Processor<DB>,
    pub(super) policy: RetryPolicy,
    pub(super) lease_time: Duration,
    /// Whether the process of the attempt before has died.
    pub(super) is_suspect: bool,
    pub(super) leased: Leased,
    pub(super) handover: Handover<DB>,
}

/// How an attempt has failed, and the text to keep of it. `None`: there is no entry any more, or it is
/// quarantined, or somebody else has it.
type Failed = Option<(Failure, Cow<'static, str>)>;

impl<DB: Ledger> Attempt<DB> {
    /// `None`: the service has panicked when it was cloned.
    pub(super) async fn run<S>(mut self, service: Option<S>)
    where
        S: Service<Request, Response: IntoResponse, Error: Into<Infallible>, Future: Send>,
        S: Send + 'static,
    {
        let begun_at = Instant::now();
        let payload = mem::take(&mut self.leased.payload);
        let leased = &self.leased;
        if self.is_suspect
            && let Some(attempts) = self.policy.exhausted(leased.attempts)
        {
            let failed = (Failure::Permanent, PROCESS_DIED.into());
            return self.end(begun_at, attempts, failed).await;
        }
        let Some(service) = service else {
            let failed = (Failure::Broken, Answer::HandlerPanicked.code().into());
            return self.end(begun_at, leased.attempts, failed).await;
        };
        let Some(event) = VerifiedStripeEvent::stored(payload) else {
            let failed = (Failure::Permanent, NOT_AN_EVENT.into());
            return self.end(begun_at, leased.attempts, failed).await;
        };
        let span = telemetry::attempt_span(&event, &leased.lease.endpoint, leased.attempts);
        let processor = self.processor.clone();
        let delivery = Delivery::of_lease(
            processor,
            event,
            leased.lease.clone(),
            self.handover.clone(),
        );
        // The handler's panic is caught in there; this one is of ours, and leaves the lease to run out.
        let processed = delivery.process(service, request_parts());
        let outcome = processed.instrument(span.clone()).await;
        if let Some(failed) = span.in_scope(|| failed(&leased.lease, outcome)) {
            let end = self.end(begun_at, leased.attempts, failed);
            end.instrument(span).await;
        }
    }

    /// Writes down what has become of the entry. While the database is not there, again and again as long
    /// as the lease lasts: an entry without an outcome counts as one whose process has died.
    async fn end(
        &self,
        begun_at: Instant,
        attempts: u32,
        (failure, error): (Failure, Cow<'static, str>),
    ) {
        let Leased {
            lease, not_yets, ..
        } = &self.leased;
        let verdict = self
            .policy
            .decide(failure, attempts, *not_yets, fastrand::f64());
        let end = AttemptEnd {
            due_in: verdict.due_in,
            attempts: verdict.attempts,
            not_yets: verdict.not_yets,
            error: &error,
        };
        loop {
            match self.write(&end).await {
                Ok(true) => return telemetry::attempt_failed(lease, &end),
                Ok(false) => return telemetry::lease_lost(lease),
                Err(fault) if begun_at.elapsed() >= self.lease_time || fault.is_final() => {
                    return telemetry::outcome_lost(lease, &fault);
                }
                Err(_) => sleep(WRITE_PAUSE).await,
            }
        }
    }

    async fn write(&self, end: &AttemptEnd<'_>) -> Result<bool, LedgerError> {
        let mut idle = self
            .processor
            .ledger
            .transaction_besides(Purpose::Besides)
            .await?;
        let written = within_statement(DB::end_attempt(idle.on(), &self.leased.lease, end)).await;
        idle.settle(written).await
    }
}

/// What an attempt's outcome means for its entry.
fn failed(lease: &Lease, outcome: Result<Response, Outcome>) -> Failed {
    match outcome {
        Ok(response) if response.status().is_success() => {
            telemetry::attempt_ended("processed");
            None
        }
        Ok(response) => answered("handler_failed", &response),
        Err(Outcome::NotPrepared(response)) if response.status().is_success() => {
            telemetry::attempt_ended("prepare_ignored");
            None
        }
        Err(Outcome::NotPrepared(response)) => answered("prepare_failed", &response),
        Err(Outcome::Delayed(delay, _)) => Some((Failure::Delayed(delay), "delayed".into())),
        Err(Outcome::Because(answer, reason)) if answer.status().is_success() => {
            telemetry::attempt_ended_because(answer, &reason);
            None
        }
        Err(Outcome::Answer(Answer::Unhandled)) if lease.is_wanted => {
            Some((Failure::Permanent, Answer::Unhandled.code().into()))
        }
        Err(Outcome::Answer(answer))
            if answer.status().is_success() || answer == Answer::LeaseLost =>
        {
            telemetry::attempt_ended(answer.code());
            None
        }
        Err(Outcome::Answer(answer) | Outcome::Because(answer, _)) => {
            Some((Failure::Broken, answer.code().into()))
        }
        Err(Outcome::Ledger(error)) => {
            let is_of_others = error.is_of_others();
            let (code, fault) = (Answer::from(&error).code(), error.fault());
            let mut error = format!("{code} {fault}").trim_end().to_owned();
            error.truncate(error.floor_char_boundary(ERROR_BYTES_MAX));
            let failure = match is_of_others {
                true => Failure::NotBegun,
                false => Failure::Broken,
            };
            Some((failure, error.into()))
        }
    }
}

fn answered(code: &'static str, response: &Response) -> Failed {
    let status = response.status();
    let error = format!("{code} {}", status.as_u16());
    Some((Failure::Answered(status), error.into()))
}
