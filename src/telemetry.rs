//! Every span, field and event of the crate's tracing, in one place.
//!
//! What a sender can cause at will is `debug`; what an operator must act on is `warn` or `error`.
//! Only ids, types, codes and numbers are recorded: no payload, header, secret or database text.

use std::error::Error;

use tracing::{debug, field::display, warn};

use crate::{
    event::{Event, ObjectError},
    extract::StripeEventRejection,
    guard::StopReason,
};

#[cfg(feature = "_database")]
pub(crate) use database::*;

/// A delivery was answered before any handler ran.
pub(crate) fn rejected(rejection: &StripeEventRejection) {
    let cause = rejection.source().map(display);
    debug!(
        outcome = rejection.code(),
        cause, "stripe delivery rejected"
    );
}

/// A guard has stopped an event that is not kept. To ignore such events is what the service wants.
pub(crate) fn stopped(event: &Event, reason: StopReason, is_ignored: bool) {
    let (event_id, event_type) = (event.id(), event.event_type());
    let reason = reason.code();
    match is_ignored {
        true => debug!(event_id, event_type, reason, "stripe event ignored"),
        false => warn!(event_id, event_type, reason, "stripe event stopped"),
    }
}

/// A handler asked for another object than the event carries.
pub(crate) fn object_misfit(error: &ObjectError) {
    warn!(%error, "stripe object does not fit the handler's type");
}

/// An event's API version is of another train than the service expects.
///
/// Every event of the endpoint is likely to be: the first is a warning, and then fewer and fewer.
pub(crate) fn other_api_train(event: &Event, count: u64) {
    let (event_id, api_version) = (event.id(), event.api_version());
    match count.is_power_of_two() {
        true => warn!(
            event_id,
            api_version, count, "unexpected stripe api version"
        ),
        false => debug!(
            event_id,
            api_version, count, "unexpected stripe api version"
        ),
    }
}

#[cfg(feature = "_database")]
mod database {
    use std::error::Error;

    use axum_core::response::{IntoResponse, Response};
    use tracing::{Span, debug, error, field::display, info_span, warn};

    use crate::{
        event::Event,
        extract::VerifiedStripeEvent,
        ledger::{AttemptEnd, Lease, LedgerError},
        once::Answer,
        router::UnknownType,
    };

    /// The span of a verified delivery.
    pub(crate) fn delivery_span(event: &VerifiedStripeEvent, endpoint: &str) -> Span {
        info_span!(
            "stripe_delivery",
            endpoint,
            event_id = event.id(),
            snapshot_event = event.snapshot_event(),
            event_type = event.event_type(),
            livemode = event.livemode(),
            account = event.account_or_context(),
            secret_name = event.secret_name(),
        )
    }

    /// The span of what an operator does with an event that was kept.
    pub(crate) fn operation_span(event_id: &str, endpoint: &str) -> Span {
        info_span!("stripe_operation", endpoint, event_id)
    }

    /// The handler has answered, and its transaction was ended accordingly.
    pub(crate) fn handled(response: Response) -> Response {
        passed_on(response, "processed", "handler_failed")
    }

    /// The step before the transaction has answered, instead of preparing the handler.
    pub(crate) fn not_prepared(response: Response) -> Response {
        passed_on(response, "prepare_ignored", "prepare_failed")
    }

    /// The handler, or the step before it, wants the event later.
    pub(crate) fn delayed(response: Response) -> Response {
        let status = response.status().as_u16();
        debug!(outcome = "delayed", status, "stripe delivery answered");
        response
    }

    fn passed_on(response: Response, done: &'static str, failed: &'static str) -> Response {
        let status = response.status().as_u16();
        match response.status().is_success() {
            true => debug!(outcome = done, status, "stripe delivery answered"),
            false => warn!(outcome = failed, status, "stripe delivery answered"),
        }
        response
    }

    /// The layer answers by itself.
    pub(crate) fn answered(answer: Answer, cause: Option<&LedgerError>) -> Response {
        let (outcome, status) = (answer.code(), answer.status().as_u16());
        match answer {
            // Senders cause these at will, by sending a thing twice or what nobody asked for.
            Answer::Duplicate | Answer::InFlight | Answer::Ignored | Answer::Unhandled => {
                debug!(outcome, status, "stripe delivery answered");
            }
            Answer::Overloaded
            | Answer::HandlerTimedOut
            | Answer::PrepareTimedOut
            | Answer::NotQuarantined
            | Answer::LeaseLost => {
                warn!(outcome, status, "stripe delivery answered");
            }
            _ => {
                let fault = cause.map(LedgerError::fault);
                let (cause, fault) = (cause.map(display), fault.as_deref());
                error!(outcome, status, cause, fault, "stripe delivery answered");
            }
        }
        answer.into_response()
    }

    /// Likewise, and somebody should know why: an event was kept, or given up.
    pub(crate) fn answered_because(answer: Answer, reason: &str) -> Response {
        let (outcome, status) = (answer.code(), answer.status().as_u16());
        warn!(outcome, status, reason, "stripe delivery answered");
        answer.into_response()
    }

    /// A transaction was not rolled back by a statement, and is rolled back by closing.
    pub(crate) fn rollback_failed(error: &LedgerError) {
        warn!(%error, fault = &*error.fault(), "stripe transaction closed with its connection");
    }

    /// An event came that has no handler, while its thin or snapshot twin has one.
    pub(crate) fn twin_unhandled(event: &Event, count: u64) {
        let (event_id, event_type) = (event.id(), event.event_type());
        let what = "stripe event unhandled whose thin or snapshot twin has a handler";
        match count.is_power_of_two() {
            true => warn!(event_id, event_type, count, "{what}"),
            false => debug!(event_id, event_type, count, "{what}"),
        }
    }

    /// An event came that wants a decision, and the inbox has no service to decide.
    pub(crate) fn answer_wanted(event: &Event) {
        let (event_id, event_type) = (event.id(), event.event_type());
        warn!(
            event_id,
            event_type, "stripe event wants an answer: give `Inbox::synchronous` a service"
        );
    }

    /// A group of deliveries could not be stored together.
    pub(crate) fn group_refused(error: &LedgerError, group: usize) {
        let fault = &*error.fault();
        warn!(%error, fault, group, "stripe deliveries stored one by one");
    }

    /// The span of a worker's attempt.
    pub(crate) fn attempt_span(event: &VerifiedStripeEvent, endpoint: &str, attempt: u32) -> Span {
        info_span!(
            "stripe_attempt",
            endpoint,
            attempt,
            event_id = event.id(),
            snapshot_event = event.snapshot_event(),
            event_type = event.event_type(),
            livemode = event.livemode(),
            account = event.account_or_context(),
        )
    }

    /// An attempt has finished its event, or somebody else has it.
    pub(crate) fn attempt_ended(outcome: &'static str) {
        debug!(outcome, "stripe attempt ended");
    }

    /// Likewise, and somebody should know why.
    pub(crate) fn attempt_ended_because(answer: Answer, reason: &str) {
        warn!(outcome = answer.code(), reason, "stripe attempt ended");
    }

    /// An attempt has failed, and it stands written what comes next.
    pub(crate) fn attempt_failed(lease: &Lease, end: &AttemptEnd<'_>) {
        let (event_id, endpoint, attempts) = (&*lease.event_id, &*lease.endpoint, end.attempts);
        let error = end.error;
        match end.due_in {
            Some(due_in) => {
                warn!(
                    event_id,
                    endpoint,
                    attempts,
                    error,
                    ?due_in,
                    "stripe attempt failed"
                );
            }
            None => error!(event_id, endpoint, attempts, error, "stripe event dead"),
        }
    }

    /// An attempt came to its end after somebody else had taken the entry over.
    pub(crate) fn lease_lost(lease: &Lease) {
        let (event_id, endpoint) = (&*lease.event_id, &*lease.endpoint);
        warn!(event_id, endpoint, "stripe attempt was taken over");
    }

    /// What has become of an attempt could not be written while the lease lasted.
    pub(crate) fn outcome_lost(lease: &Lease, error: &LedgerError) {
        let (event_id, endpoint) = (&*lease.event_id, &*lease.endpoint);
        let fault = &*error.fault();
        error!(event_id, endpoint, %error, fault, "stripe attempt not written down");
    }

    /// A worker could not look for what is due.
    pub(crate) fn lease_failed(error: &LedgerError) {
        error!(%error, fault = &*error.fault(), "stripe worker cannot take entries");
    }

    /// A sweep has failed half way.
    pub(crate) fn sweep_failed(error: &(dyn Error + Send + Sync + 'static)) {
        let fault = error.downcast_ref().map(LedgerError::fault);
        error!(%error, fault = fault.as_deref(), "stripe sweep failed");
    }

    /// The database has refused what a handler asked of its transaction. The delivery's answer comes
    /// from the handler.
    pub(crate) fn transaction_refused(error: &LedgerError) {
        warn!(%error, fault = &*error.fault(), "stripe transaction refused a statement");
    }

    /// A router was built with a name that may be a typing error.
    pub(crate) fn unknown_type(unknown: &UnknownType) {
        warn!(%unknown, "unknown stripe event type registered");
    }

    /// A handler could not have what only the layer gives: a fault of the service.
    pub(crate) fn misplaced(error: &dyn Error) {
        error!(%error, "stripe handler misplaced");
    }
}
