//! The spans and log lines. Each is written here and nowhere else.

use std::{error::Error, fmt};

use tracing::{Level, enabled, field::display};

use super::{TARGET, field, metrics::count_rejected, sampler};
use crate::{
    audit::DeliveryRecord,
    event::{Event, ObjectError},
    extract::StripeEventRejection,
    guard::StopReason,
};

#[cfg(feature = "_database")]
pub(crate) use database::*;

/// A line of this level, with fields by the names of their constants.
macro_rules! line {
    ($level:ident, $line:literal, $($field:ident = $value:expr),+ $(,)?) => {
        tracing::$level!(target: TARGET, { $({ field::$field } = $value),+ }, $line)
    };
}

#[cfg(feature = "_database")]
macro_rules! span {
    ($span:ident, $($field:ident = $value:expr),+ $(,)?) => {
        tracing::info_span!(target: TARGET, span::$span, $({ field::$field } = $value),+)
    };
}

/// How many lines of this outcome were left out; `None`: nobody listens, or there are enough.
fn sampled(outcome: &'static str) -> Option<u64> {
    sampled_of("", outcome)
}

/// Likewise, of lines that have a measure of their own.
fn sampled_of(lines: &'static str, outcome: &'static str) -> Option<u64> {
    enabled!(target: TARGET, Level::DEBUG)
        .then(|| sampler::admit((lines, outcome)))
        .flatten()
}

/// A delivery was answered before any handler ran. Whoever knows the address can cause it.
pub(crate) fn rejected(rejection: &StripeEventRejection) {
    let outcome = rejection.code();
    count_rejected(outcome);
    let cause = rejection.source().map(display);
    if let Some(left_out) = sampled(outcome) {
        line!(
            debug,
            "stripe delivery rejected",
            OUTCOME = outcome,
            CAUSE = cause,
            LEFT_OUT = left_out
        );
    }
}

/// A guard has stopped an event that is not kept. To ignore such events is what the service wants.
pub(crate) fn stopped(event: &Event, reason: StopReason, is_ignored: bool) {
    let reason = reason.code();
    count_rejected(reason);
    if !is_ignored {
        line!(
            warn,
            "stripe event stopped",
            EVENT_ID = event.id(),
            EVENT_TYPE = event.event_type(),
            REASON = reason
        );
    } else if let Some(left_out) = sampled(reason) {
        line!(
            debug,
            "stripe event ignored",
            EVENT_ID = event.id(),
            EVENT_TYPE = event.event_type(),
            REASON = reason,
            LEFT_OUT = left_out
        );
    }
}

/// A delivery has ended. What is not genuine anybody can cause.
pub(crate) fn recorded(delivery: &DeliveryRecord) {
    let outcome = delivery.outcome;
    let status = delivery.status.map(|status| status.as_u16());
    let peer = delivery.peer.map(display);
    let sha256 = || delivery.body_sha256().map(Hex).map(display);
    let duration = delivery.duration.as_secs_f64();
    if delivery.is_genuine() {
        line!(
            info,
            "stripe delivery on record",
            OUTCOME = outcome,
            STATUS = status,
            ENDPOINT = delivery.endpoint(),
            EVENT_ID = delivery.event_id(),
            EVENT_TYPE = delivery.event_type(),
            SECRET_NAME = delivery.secret_name(),
            PEER = peer,
            HEADER_AGE = delivery.header_age_seconds(),
            BODY_BYTES = delivery.body_bytes(),
            BODY_SHA256 = sha256(),
            DURATION = duration
        );
    } else if let Some(left_out) = sampled_of("record", outcome) {
        line!(
            debug,
            "stripe delivery on record",
            OUTCOME = outcome,
            STATUS = status,
            ENDPOINT = delivery.endpoint(),
            PEER = peer,
            HEADER_AGE = delivery.header_age_seconds(),
            BODY_BYTES = delivery.body_bytes(),
            BODY_SHA256 = sha256(),
            DURATION = duration,
            LEFT_OUT = left_out
        );
    }
}

struct Hex([u8; 32]);

impl fmt::Display for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A sink of the service's has panicked: its record is lost, and nothing else.
pub(crate) fn audit_sink_panicked() {
    line!(
        error,
        "stripe audit sink panicked",
        OUTCOME = "not_recorded"
    );
}

/// A handler asked for another object than the event carries.
pub(crate) fn object_misfit(error: &ObjectError) {
    line!(
        warn,
        "stripe object does not fit the handler's type",
        ERROR = display(error)
    );
}

/// An event's API version is of another train than the service expects.
///
/// Every event of the endpoint is likely to be: the first is a warning, and then fewer and fewer.
pub(crate) fn other_api_train(event: &Event, count: u64) {
    match count.is_power_of_two() {
        true => {
            line!(
                warn,
                "stripe api version unexpected",
                EVENT_ID = event.id(),
                API_VERSION = event.api_version(),
                COUNT = count
            );
        }
        false => {
            line!(
                debug,
                "stripe api version unexpected",
                EVENT_ID = event.id(),
                API_VERSION = event.api_version(),
                COUNT = count
            );
        }
    }
}

#[cfg(feature = "_database")]
mod database {
    use std::error::Error;

    use axum_core::response::{IntoResponse, Response};
    use tracing::Span;

    use super::sampled;
    use crate::{
        event::Event,
        extract::VerifiedStripeEvent,
        ledger::{AttemptEnd, Lease, LedgerError},
        once::Answer,
        router::UnknownType,
        telemetry::{
            TARGET, field,
            metrics::{attempted, with_outcome},
            span,
        },
    };

    /// The span of a verified delivery.
    pub(crate) fn delivery_span(event: &VerifiedStripeEvent, endpoint: &str) -> Span {
        span!(
            DELIVERY,
            ENDPOINT = endpoint,
            EVENT_ID = event.id(),
            SNAPSHOT_EVENT = event.snapshot_event(),
            EVENT_TYPE = event.event_type(),
            LIVEMODE = event.livemode(),
            ACCOUNT = event.account_or_context(),
            SECRET_NAME = event.secret_name()
        )
    }

    /// The span of a worker's attempt.
    pub(crate) fn attempt_span(event: &VerifiedStripeEvent, endpoint: &str, attempt: u32) -> Span {
        span!(
            ATTEMPT,
            ENDPOINT = endpoint,
            ATTEMPT = attempt,
            EVENT_ID = event.id(),
            SNAPSHOT_EVENT = event.snapshot_event(),
            EVENT_TYPE = event.event_type(),
            LIVEMODE = event.livemode(),
            ACCOUNT = event.account_or_context()
        )
    }

    /// The span of what an operator does with an event that was kept.
    pub(crate) fn operation_span(event_id: &str, endpoint: &str) -> Span {
        span!(OPERATION, ENDPOINT = endpoint, EVENT_ID = event_id)
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
        succeeded("delayed", &response);
        with_outcome(response, "delayed")
    }

    fn passed_on(response: Response, done: &'static str, failed: &'static str) -> Response {
        if response.status().is_success() {
            succeeded(done, &response);
            return with_outcome(response, done);
        }
        line!(
            warn,
            "stripe delivery answered",
            OUTCOME = failed,
            STATUS = response.status().as_u16()
        );
        with_outcome(response, failed)
    }

    fn succeeded(outcome: &'static str, response: &Response) {
        line!(
            debug,
            "stripe delivery answered",
            OUTCOME = outcome,
            STATUS = response.status().as_u16()
        );
    }

    /// The layer answers by itself.
    pub(crate) fn answered(answer: Answer, cause: Option<&LedgerError>) -> Response {
        let (outcome, status) = (answer.code(), answer.status().as_u16());
        match answer {
            // Senders cause these at will, by sending a thing twice or what nobody asked for.
            Answer::Duplicate | Answer::InFlight | Answer::Ignored | Answer::Unhandled => {
                if let Some(left_out) = sampled(outcome) {
                    line!(
                        debug,
                        "stripe delivery answered",
                        OUTCOME = outcome,
                        STATUS = status,
                        LEFT_OUT = left_out
                    );
                }
            }
            Answer::Stored => {
                line!(
                    debug,
                    "stripe delivery answered",
                    OUTCOME = outcome,
                    STATUS = status
                );
            }
            Answer::Overloaded
            | Answer::HandlerTimedOut
            | Answer::PrepareTimedOut
            | Answer::NotQuarantined
            | Answer::LeaseLost => {
                line!(
                    warn,
                    "stripe delivery answered",
                    OUTCOME = outcome,
                    STATUS = status
                );
            }
            _ => {
                let fault = cause.map(LedgerError::fault);
                line!(
                    error,
                    "stripe delivery answered",
                    OUTCOME = outcome,
                    STATUS = status,
                    CAUSE = cause.map(display),
                    FAULT = fault.as_deref()
                );
            }
        }
        with_outcome(answer.into_response(), answer.code())
    }

    /// Likewise, and somebody should know why: an event was kept, or given up.
    pub(crate) fn answered_because(answer: Answer, reason: &str) -> Response {
        line!(
            warn,
            "stripe delivery answered",
            OUTCOME = answer.code(),
            STATUS = answer.status().as_u16(),
            REASON = reason
        );
        with_outcome(answer.into_response(), answer.code())
    }

    /// A transaction was not rolled back by a statement, and is rolled back by closing.
    pub(crate) fn rollback_failed(error: &LedgerError) {
        line!(
            warn,
            "stripe transaction closed with its connection",
            ERROR = display(error),
            FAULT = &*error.fault()
        );
    }

    /// The database has refused what a handler asked of its transaction. The delivery's answer comes
    /// from the handler.
    pub(crate) fn transaction_refused(error: &LedgerError) {
        line!(
            warn,
            "stripe transaction refused a statement",
            ERROR = display(error),
            FAULT = &*error.fault()
        );
    }

    /// An event came that has no handler, while its thin or snapshot twin has one.
    pub(crate) fn twin_unhandled(event: &Event, count: u64) {
        match count.is_power_of_two() {
            true => {
                line!(
                    warn,
                    "stripe event unhandled whose thin or snapshot twin has a handler",
                    EVENT_ID = event.id(),
                    EVENT_TYPE = event.event_type(),
                    COUNT = count
                );
            }
            false => {
                line!(
                    debug,
                    "stripe event unhandled whose thin or snapshot twin has a handler",
                    EVENT_ID = event.id(),
                    EVENT_TYPE = event.event_type(),
                    COUNT = count
                );
            }
        }
    }

    /// An event came that wants a decision, and the inbox has no service to decide.
    pub(crate) fn answer_wanted(event: &Event) {
        line!(
            warn,
            "stripe event wants an answer: give Inbox::synchronous a service",
            EVENT_ID = event.id(),
            EVENT_TYPE = event.event_type()
        );
    }

    /// A group of deliveries could not be stored together.
    pub(crate) fn group_refused(error: &LedgerError, group: usize) {
        line!(
            warn,
            "stripe deliveries stored one by one",
            ERROR = display(error),
            FAULT = &*error.fault(),
            GROUP = group
        );
    }

    /// An attempt has finished its event, or somebody else has it.
    pub(crate) fn attempt_ended(outcome: &'static str) {
        attempted(outcome);
        line!(debug, "stripe attempt ended", OUTCOME = outcome);
    }

    /// Likewise, and somebody should know why.
    pub(crate) fn attempt_ended_because(answer: Answer, reason: &str) {
        attempted(answer.code());
        line!(
            warn,
            "stripe attempt ended",
            OUTCOME = answer.code(),
            REASON = reason
        );
    }

    /// An attempt has failed, and it stands written what comes next.
    pub(crate) fn attempt_failed(lease: &Lease, end: &AttemptEnd<'_>) {
        attempted(if end.due_in.is_some() {
            "failed"
        } else {
            "dead"
        });
        match end.due_in {
            Some(due_in) => {
                line!(
                    warn,
                    "stripe attempt failed",
                    EVENT_ID = lease.event_id,
                    ENDPOINT = lease.endpoint,
                    ATTEMPTS = end.attempts,
                    ERROR = end.error,
                    DUE_IN = debug(due_in)
                );
            }
            None => {
                line!(
                    error,
                    "stripe event dead",
                    EVENT_ID = lease.event_id,
                    ENDPOINT = lease.endpoint,
                    ATTEMPTS = end.attempts,
                    ERROR = end.error
                );
            }
        }
    }

    /// An attempt came to its end after somebody else had taken the entry over.
    pub(crate) fn lease_lost(lease: &Lease) {
        attempted("lease_lost");
        line!(
            warn,
            "stripe attempt was taken over",
            EVENT_ID = lease.event_id,
            ENDPOINT = lease.endpoint
        );
    }

    /// What has become of an attempt could not be written while the lease lasted.
    pub(crate) fn outcome_lost(lease: &Lease, error: &LedgerError) {
        attempted("not_written");
        line!(
            error,
            "stripe attempt not written down",
            EVENT_ID = lease.event_id,
            ENDPOINT = lease.endpoint,
            ERROR = display(error),
            FAULT = &*error.fault()
        );
    }

    /// A worker could not look for what is due.
    pub(crate) fn lease_failed(error: &LedgerError) {
        line!(
            error,
            "stripe worker cannot take entries",
            ERROR = display(error),
            FAULT = &*error.fault()
        );
    }

    /// A sweep has failed half way.
    pub(crate) fn sweep_failed(error: &(dyn Error + Send + Sync + 'static)) {
        let fault = error.downcast_ref().map(LedgerError::fault);
        line!(
            error,
            "stripe sweep failed",
            ERROR = display(error),
            FAULT = fault.as_deref()
        );
    }

    /// Records of deliveries could not be written, and wait.
    pub(crate) fn audit_failed(error: &LedgerError) {
        line!(
            error,
            "stripe deliveries not recorded",
            ERROR = display(error),
            FAULT = &*error.fault()
        );
    }

    /// Entries could not be counted.
    pub(crate) fn count_failed(error: &(dyn Error + Send + Sync + 'static)) {
        let fault = error.downcast_ref().map(LedgerError::fault);
        line!(
            error,
            "stripe inbox not counted",
            ERROR = display(error),
            FAULT = fault.as_deref()
        );
    }

    /// A router was built with a name that may be a typing error.
    pub(crate) fn unknown_type(unknown: &UnknownType) {
        line!(
            warn,
            "stripe event type unknown at registration",
            UNKNOWN = display(unknown)
        );
    }

    /// A handler could not have what only the layer gives: a fault of the service.
    pub(crate) fn misplaced(error: &dyn Error) {
        line!(error, "stripe handler misplaced", ERROR = display(error));
    }
}
