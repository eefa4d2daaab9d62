use axum_core::response::{IntoResponse, Response};
use http::StatusCode;

use crate::{
    event::{Event, EventError, ObjectError},
    guard::{Guards, StopReason, WhenStopped},
    signature::VerifyError,
    telemetry,
};

/// Why a delivery was refused before any handler ran.
///
/// | variant | status |
/// |---|---|
/// | `UnknownEndpoint` | 404 |
/// | `BodyTooLarge` | 413 |
/// | `BodyTooSlow` | 408 |
/// | `BodyUnreadable` | 400 |
/// | `NotVerified` | 400 |
/// | `NotAnEvent` | 400 |
/// | `SecretMode` | 400 |
/// | `SecretKind` | 400 |
/// | `Stopped` | 400 |
/// | `Ignored` | 200 |
///
/// The answer's body is one fixed line and tells the sender nothing of the reason. The reason goes to
/// the [log](crate::telemetry) when the request is rejected, whatever a handler makes of the rejection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StripeEventRejection {
    /// [`ProvideVerifier`](crate::ProvideVerifier) has no verifier for this request.
    #[error("there is no webhook endpoint for this request")]
    UnknownEndpoint,
    /// The body is larger than the service's `DefaultBodyLimit`: raise it if Stripe sent this.
    #[error("the body is larger than the body limit")]
    BodyTooLarge,
    /// The body did not arrive within the layer's time for it.
    #[error("the body took too long to arrive")]
    BodyTooSlow,
    /// The connection broke, or an earlier extractor or layer has taken the body.
    #[error("the body could not be read")]
    BodyUnreadable,
    /// The signature was not accepted.
    #[error("the delivery was not verified")]
    NotVerified(#[source] VerifyError),
    /// Stripe signed it, but it is not an event.
    #[error("the verified body is not an event")]
    NotAnEvent(#[source] EventError),
    /// Stripe signed it, with a secret that is bound to the other mode. The sender is told the same as
    /// of a signature that was not accepted.
    #[error("the secret that signed the event is bound to another mode")]
    SecretMode,
    /// Likewise, with a secret that is bound to the other kind of event.
    #[error("the secret that signed the event is bound to another kind of event")]
    SecretKind,
    /// A guard has stopped it.
    #[error("the event was stopped")]
    Stopped(#[source] StopReason),
    /// A guard has stopped it, and such events are to be ignored.
    #[error("the event was stopped, and is ignored")]
    Ignored(#[source] StopReason),
}

impl StripeEventRejection {
    /// What a guard has stopped and nobody keeps.
    pub(crate) fn of_stopped(event: &Event, reason: StopReason, guards: &Guards) -> Self {
        let is_ignored = guards.when_stopped == WhenStopped::Ignore;
        telemetry::stopped(event, reason, is_ignored);
        match is_ignored {
            true => Self::Ignored(reason),
            false => Self::Stopped(reason),
        }
    }

    /// The status of the answer; the reason for each stands beside it.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::UnknownEndpoint => StatusCode::NOT_FOUND, // nobody is at home under this path
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE, // retried: raise the limit
            Self::BodyTooSlow => StatusCode::REQUEST_TIMEOUT, // retried, hopefully faster
            Self::BodyUnreadable => StatusCode::BAD_REQUEST, // the sender is gone anyway
            Self::NotVerified(_) => StatusCode::BAD_REQUEST, // not from Stripe, as far as one can tell
            Self::NotAnEvent(_) => StatusCode::BAD_REQUEST,  // a retry fails for the same reason
            Self::SecretMode => StatusCode::BAD_REQUEST,     // as good as a forgery
            Self::SecretKind => StatusCode::BAD_REQUEST,     // likewise
            Self::Stopped(_) => StatusCode::BAD_REQUEST,     // the service does not want to lose it
            Self::Ignored(_) => StatusCode::OK,              // the service wants no retry
        }
    }

    /// The name of the reason, for logs and counters: for a signature that was not accepted, that
    /// of the rule.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnknownEndpoint => "unknown_endpoint",
            Self::BodyTooLarge => "body_too_large",
            Self::BodyTooSlow => "body_too_slow",
            Self::BodyUnreadable => "body_unreadable",
            Self::NotVerified(error) => error.code(),
            Self::NotAnEvent(error) => error.code(),
            Self::SecretMode => "secret_mode",
            Self::SecretKind => "secret_kind",
            Self::Stopped(reason) | Self::Ignored(reason) => reason.code(),
        }
    }

    fn text(&self) -> &'static str {
        match self {
            Self::UnknownEndpoint => "no such webhook endpoint\n",
            Self::BodyTooLarge => "body too large\n",
            Self::BodyTooSlow => "body too slow\n",
            Self::BodyUnreadable => "body unreadable\n",
            Self::NotVerified(_) | Self::SecretMode | Self::SecretKind => "not verified\n",
            Self::NotAnEvent(_) => "not an event\n",
            Self::Stopped(_) => "not accepted\n",
            Self::Ignored(_) => "ignored\n",
        }
    }
}

impl IntoResponse for StripeEventRejection {
    fn into_response(self) -> Response {
        let response = (self.status(), self.text()).into_response();
        telemetry::with_outcome(response, self.code())
    }
}

impl IntoResponse for ObjectError {
    fn into_response(self) -> Response {
        telemetry::object_misfit(&self);
        let (status, text) = (StatusCode::UNPROCESSABLE_ENTITY, "unexpected object\n");
        #[cfg(feature = "_database")]
        return crate::disposition::of_misfit(&self).response(status, text);
        #[cfg(not(feature = "_database"))]
        (status, text).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_in_the_docs_says_what_the_code_does() {
        let rejections = [
            StripeEventRejection::UnknownEndpoint,
            StripeEventRejection::BodyTooLarge,
            StripeEventRejection::BodyTooSlow,
            StripeEventRejection::BodyUnreadable,
            StripeEventRejection::NotVerified(VerifyError::MissingHeader),
            StripeEventRejection::NotAnEvent(EventError::NotUtf8),
            StripeEventRejection::SecretMode,
            StripeEventRejection::SecretKind,
            StripeEventRejection::Stopped(StopReason::Mode),
            StripeEventRejection::Ignored(StopReason::Mode),
        ];
        let expected = rejections.map(|rejection| {
            let name = format!("{rejection:?}");
            let name = name.split('(').next().unwrap_or_default().to_owned();
            format!("/// | `{name}` | {} |", rejection.status().as_u16())
        });
        let source = include_str!("rejection.rs");
        let rows: Vec<_> = source
            .lines()
            .filter(|line| line.starts_with("/// | `"))
            .collect();
        assert_eq!(rows, expected);
    }
}
