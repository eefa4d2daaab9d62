use axum_core::{
    extract::FromRequestParts,
    response::{IntoResponse, Response},
};
use http::{StatusCode, request::Parts};
use serde::de::DeserializeOwned;

use super::event::VerifiedUpstream;
use crate::{event::ObjectError, telemetry};

/// The event's object, `data.object`, in the service's own type: an extractor for handlers under
/// [`ProcessOnceLayer`](crate::ProcessOnceLayer).
///
/// Let the type name only the fields that the handler uses: every further one is one more that a new
/// API version can change. One that does not fit is a fault of the type, and does not fit any better
/// when it is delivered again: the event is quarantined with the path of the misfit, answered with
/// 200 and logged as a warning. Mend the type, then
/// [release](crate::ProcessOnceLayer::release) what was kept; a delivery of the event that fits, of its
/// twin say, is processed as well. Thin events carry no object, and end likewise.
///
/// ```
/// use axum_stripe_webhook::{EventTx, StripeObject};
/// use sqlx::Sqlite;
///
/// #[derive(serde::Deserialize)]
/// struct Session {
///     id: String,
/// }
///
/// async fn fulfil(tx: EventTx<Sqlite>, StripeObject(session): StripeObject<Session>) {}
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct StripeObject<T>(pub T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for StripeObject<T> {
    type Rejection = StripeObjectRejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let upstream = parts.extensions.get();
        let VerifiedUpstream(event) = upstream.ok_or(StripeObjectRejection::MissingLayer)?;
        event
            .object()
            .map(Self)
            .map_err(StripeObjectRejection::Object)
    }
}

/// Why a handler could not have its [`StripeObject`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StripeObjectRejection {
    /// The route is not under a `ProcessOnceLayer`: a fault of the service, answered with 500.
    #[error(
        "no verified event in the request: put `.route_layer(ProcessOnceLayer::new(pool, \
         verifier))` on this route, or read `VerifiedStripeEvent::object`"
    )]
    MissingLayer,
    /// The object is absent or does not fit: the layer quarantines the event.
    #[error(transparent)]
    Object(ObjectError),
}

impl IntoResponse for StripeObjectRejection {
    fn into_response(self) -> Response {
        match self {
            Self::MissingLayer => {
                telemetry::misplaced(&self);
                (StatusCode::INTERNAL_SERVER_ERROR, "failed\n").into_response()
            }
            Self::Object(error) => error.into_response(),
        }
    }
}
