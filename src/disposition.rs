use std::{sync::Arc, time::Duration};

use axum_core::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header::RETRY_AFTER};

use crate::event::ObjectError;

/// What is to become of an event, as an answer of a handler under
/// [`ProcessOnceLayer`](crate::ProcessOnceLayer).
///
/// Handlers may answer with anything that is a response: a 2xx commits, all else rolls back and is
/// passed on. This says more than a status can:
///
/// | | the handler's writes | `processed_stripe_events` | `stripe_inbox` | Stripe is answered |
/// |---|---|---|---|---|
/// | `Done` | committed | a row | | 200 |
/// | `Ignore` | rolled back | no row | | 200 |
/// | `RetryAfter` | rolled back | no row | | 503 |
/// | `NotYet` | rolled back | no row | | 503 |
/// | `Quarantine` | rolled back | a row | the event, `quarantined` | 200 |
/// | `Discard` | rolled back | a row | | 200 |
///
/// - An event that is ignored leaves nothing behind, not even in its way: delivered again, it is asked
///   about again, and its thin or snapshot twin is processed.
/// - Stripe retries when it likes, hours later in the end; `RetryAfter` tells it, and whoever else
///   delivers, in `Retry-After`. `NotYet` is for an event that came before what it is about: the
///   service's own row is not committed yet.
/// - What is quarantined waits for somebody to [release](crate::ProcessOnceLayer::release) or
///   [discard](crate::ProcessOnceLayer::discard) it; until then its deliveries are duplicates. The
///   row and the bytes are written in a transaction of their own, after the handler's was rolled
///   back: when that fails, the answer is 503.
/// - What is discarded is never run again.
/// - Of events that are not deduplicated no row in `processed_stripe_events` tells: what becomes of one
///   of their deliveries says nothing of the next, and of those that share an id one is kept.
///
/// Reasons are words of the service's, for logs and `last_error`: like `unknown_order`, never a
/// value of the event. What is longer than 200 bytes, or no printable ASCII, is cut or replaced.
///
/// ```
/// use axum_stripe_webhook::{Disposition, EventTx};
/// use sqlx::Sqlite;
///
/// #[derive(serde::Deserialize)]
/// struct Session { client_reference_id: Option<String> }
///
/// async fn fulfil(tx: EventTx<Sqlite>) -> Disposition {
///     match tx.event().object::<Session>() {
///         Ok(Session { client_reference_id: Some(order) }) => Disposition::Done,
///         _ => Disposition::Quarantine { reason: "no_order" },
///     }
/// }
/// ```
///
/// A middleware that makes a response of its own loses what was said: `Ignore` is then as good as `Done`,
/// and what was to be kept or given up is a 500.
///
/// As an answer without the layer, it is a response of the status in the last column, but for
/// `Quarantine` and `Discard`, which are a 500 there: nobody has kept the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Disposition {
    /// The event is processed.
    Done,
    /// The event is not for this service.
    Ignore,
    /// Something is not to be had for so long.
    RetryAfter(Duration),
    /// What the event is about is not there yet.
    NotYet,
    /// Somebody has to look at the event.
    Quarantine {
        /// Why, in a word of the service's.
        reason: &'static str,
    },
    /// The event is worth nothing, and will not be.
    Discard {
        /// Why, in a word of the service's.
        reason: &'static str,
    },
}

/// A disposition on its way through the response's extensions. A response that has lost it on the way
/// still loses no event: what was to be kept is then answered with its non-2xx.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Ignored,
    /// No handler is registered for the event's type.
    Unhandled,
    Quarantined(Arc<str>),
    /// The event's object does not fit the type that the handler wants.
    Misfit(Arc<str>),
    Discarded(Arc<str>),
    /// Wanted later, as the answer says.
    Delayed(Delay),
}

/// When an event is wanted again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delay {
    After(Duration),
    NotYet,
}

/// Of a reason; `last_error` and log lines are to stay small.
const REASON_BYTES_MAX: usize = 200;

/// A service that says nothing better.
const NOT_YET: Duration = Duration::from_secs(30);

impl Ending {
    /// As an answer of this status to whoever knows nothing of endings.
    pub(crate) fn response(self, status: StatusCode, text: &'static str) -> Response {
        let mut response = (status, text).into_response();
        response.extensions_mut().insert(self);
        response
    }

    pub(crate) fn of(response: &Response) -> Option<Self> {
        response.extensions().get().cloned()
    }
}

impl IntoResponse for Disposition {
    fn into_response(self) -> Response {
        let failed = StatusCode::INTERNAL_SERVER_ERROR;
        match self {
            Self::Done => StatusCode::OK.into_response(),
            Self::Ignore => Ending::Ignored.response(StatusCode::OK, "ignored\n"),
            Self::RetryAfter(wait) => delayed(Delay::After(wait), wait),
            Self::NotYet => delayed(Delay::NotYet, NOT_YET),
            Self::Quarantine { reason } => {
                Ending::Quarantined(coded("handler_", reason)).response(failed, "failed\n")
            }
            Self::Discard { reason } => {
                Ending::Discarded(coded("handler_", reason)).response(failed, "failed\n")
            }
        }
    }
}

fn delayed(delay: Delay, wait: Duration) -> Response {
    let seconds = wait
        .as_secs()
        .saturating_add(u64::from(wait.subsec_nanos() > 0));
    let retry_after = [(RETRY_AFTER, HeaderValue::from(seconds))];
    let delayed = Ending::Delayed(delay);
    let mut response = delayed.response(StatusCode::SERVICE_UNAVAILABLE, "try again\n");
    response.headers_mut().extend(retry_after);
    response
}

/// An event whose object cannot be read fits no better when it is delivered again.
pub(crate) fn of_misfit(error: &ObjectError) -> Ending {
    Ending::Misfit(match error {
        ObjectError::Misfit { path } => coded("object_misfit ", path),
        ObjectError::Absent => error.code().into(),
    })
}

/// A reason as it is stored and logged. The prefix tells whose word it is.
pub(crate) fn coded(prefix: &str, reason: &str) -> Arc<str> {
    let printable = |byte: u8| match byte {
        b' '..=b'~' => char::from(byte),
        _ => '?',
    };
    let reason = reason.bytes().take(REASON_BYTES_MAX).map(printable);
    prefix.chars().chain(reason).collect::<String>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_short_and_printable_wherever_it_is_stored() {
        assert_eq!(&*coded("handler_", "no_order"), "handler_no_order");
        assert_eq!(&*coded("handler_", "a\0b\n\u{e4}"), "handler_a?b???");
        assert_eq!(coded("", &"x".repeat(1000)).len(), REASON_BYTES_MAX);
    }

    #[test]
    fn time_to_wait_is_rounded_up_to_whole_seconds() {
        for (wait, seconds) in [
            (Duration::ZERO, "0"),
            (Duration::from_millis(1), "1"),
            (Duration::from_secs(90), "90"),
        ] {
            let response = Disposition::RetryAfter(wait).into_response();
            assert_eq!(response.headers()["retry-after"], seconds);
        }
    }
}
