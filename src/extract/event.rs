use std::{fmt, ops::Deref, sync::Arc, time::SystemTime};

use axum_core::{
    RequestExt,
    extract::{FromRequest, Request},
};
use bytes::Bytes;
use http::{HeaderMap, request::Parts};

use super::{
    body,
    provide::{ProvideVerifier, Provided},
    rejection::StripeEventRejection,
};
use crate::{
    audit::Trace,
    clock,
    event::Event,
    signature::{HEADER_NAME, HeaderFault, VerifiedPayload, Verifier, VerifyError},
    telemetry,
};

/// An event that Stripe has signed: the proof that G1 asks for.
///
/// Nobody but this crate's verification makes one. It derefs to [`Event`]; cloning it is cheap.
///
/// Alone, as the last extractor of a handler, it buffers the body, verifies it with the state's
/// [`ProvideVerifier`] and parses the envelope, in this order. Under
/// [`ProcessOnceLayer`](crate::ProcessOnceLayer) that has happened already, and the event is taken
/// from the request.
///
/// Alone it waits for a body as long as the client takes: put a time-out on the route, as
/// `tower_http::timeout` has. Under the layer the layer's own limit applies. Handlers under the layer
/// whose state provides no verifier can have the event from
/// [`EventTx::event`](crate::EventTx::event) instead.
///
/// A request is rejected (see [`StripeEventRejection`]) if
///
/// - the state has no verifier for it: 404,
/// - the body is larger than the service's `DefaultBodyLimit`: 413,
/// - the signature is missing, malformed, wrong, too old or from the future: 400,
/// - the verified body is not an event, or not one that its secret is bound to: 400,
/// - a guard of the state's stops it: 400, or 200 if it is to be ignored.
///
/// ```
/// use axum::{Router, routing::post};
/// use axum_stripe_webhook::{SigningSecret, VerifiedStripeEvent, Verifier};
///
/// async fn webhook(event: VerifiedStripeEvent) {
///     println!("{} {}", event.id(), event.event_type());
/// }
///
/// let verifier = Verifier::new(SigningSecret::new("whsec_example")?);
/// let app: Router = Router::new().route("/webhooks/stripe", post(webhook)).with_state(verifier);
/// # Ok::<(), axum_stripe_webhook::SecretError>(())
/// ```
///
/// # If it does not compile
///
/// axum says of any mistake that "`Handler` is not satisfied"; its `#[debug_handler]` on the handler
/// says which one. The event comes last, and the state provides a verifier.
///
/// There is no event without verification. It cannot be made by hand,
///
/// ```compile_fail,E0423
/// # use axum_stripe_webhook::{Event, VerifiedStripeEvent};
/// # let event = Event::parse("{}".into()).unwrap();
/// let forged = VerifiedStripeEvent(event);
/// ```
///
/// it is never optional,
///
/// ```compile_fail,E0277
/// # use axum::{Router, routing::post};
/// # use axum_stripe_webhook::{VerifiedStripeEvent, Verifier};
/// async fn webhook(event: Option<VerifiedStripeEvent>) {}
///
/// let app: Router<Verifier> = Router::new().route("/webhooks/stripe", post(webhook));
/// ```
///
/// and a state that provides no verifier is refused by the compiler:
///
/// ```compile_fail,E0277
/// # use axum::{Router, routing::post};
/// # use axum_stripe_webhook::VerifiedStripeEvent;
/// async fn webhook(event: VerifiedStripeEvent) {}
///
/// let app: Router<()> = Router::new().route("/webhooks/stripe", post(webhook));
/// ```
#[derive(Clone)]
pub struct VerifiedStripeEvent(Arc<Verified>);

struct Verified {
    event: Event,
    /// `None` for an event that was verified when it was stored.
    payload: Option<VerifiedPayload>,
}

/// A genuine delivery.
pub(crate) struct Received {
    /// Of the request, whose body is the event's.
    pub(crate) parts: Parts,
    pub(crate) event: VerifiedStripeEvent,
    pub(crate) provided: Provided,
}

/// What the layer leaves in the request for the extractor. The type is private to the crate, so
/// nothing outside can put a forged one there.
#[cfg(feature = "_database")]
#[derive(Clone)]
pub(crate) struct VerifiedUpstream(pub(crate) VerifiedStripeEvent);

impl VerifiedStripeEvent {
    /// Parses the envelope of a payload that a [`Verifier`] has accepted.
    ///
    /// # Errors
    ///
    /// [`StripeEventRejection::NotAnEvent`] when the payload is no event, and
    /// [`StripeEventRejection::SecretMode`] or [`StripeEventRejection::SecretKind`] when it is one
    /// that the secret which signed it is not bound to.
    pub fn parse(payload: VerifiedPayload) -> Result<Self, StripeEventRejection> {
        let event =
            Event::parse(payload.bytes().clone()).map_err(StripeEventRejection::NotAnEvent)?;
        let scope = payload.scope();
        if scope.mode.is_some_and(|mode| !mode.is_of(event.livemode())) {
            return Err(StripeEventRejection::SecretMode);
        }
        if scope.kind.is_some_and(|kind| kind != event.kind()) {
            return Err(StripeEventRejection::SecretKind);
        }
        let payload = Some(payload);
        Ok(Self(Arc::new(Verified { event, payload })))
    }

    /// An event out of `stripe_inbox`, where nothing gets that was not verified. `None`: what is stored
    /// there is no event, so somebody else has written it.
    #[cfg(feature = "_database")]
    pub(crate) fn stored(bytes: Vec<u8>) -> Option<Self> {
        let event = Event::parse(bytes.into()).ok()?;
        let payload = None;
        Some(Self(Arc::new(Verified { event, payload })))
    }

    /// When this attempt of the delivery was signed, in Unix seconds. `None` for an event that comes
    /// from the database: one that was released, or that a worker runs.
    #[must_use]
    pub fn signed_at(&self) -> Option<u64> {
        self.0.payload.as_ref().map(VerifiedPayload::signed_at)
    }

    /// The name of the secret that matched, if it was given one. `None` for an event that
    /// comes from the database.
    #[must_use]
    pub fn secret_name(&self) -> Option<&str> {
        self.0.payload.as_ref()?.secret_name()
    }

    /// Reads, verifies and parses a request's body. What is rejected is logged here, whatever the service
    /// makes of the rejection.
    pub(crate) async fn receive<P>(
        request: Request,
        provider: &P,
    ) -> Result<Received, StripeEventRejection>
    where
        P: ProvideVerifier + ?Sized,
    {
        let trace = request.extensions().get::<Trace>().cloned();
        let received = Self::read(request, provider, trace.as_ref()).await;
        match &received {
            Ok(received) => telemetry::matched(received.event.secret_name()),
            Err(rejection) => telemetry::rejected(rejection),
        }
        if let Some(trace) = trace {
            match &received {
                Ok(received) => trace.event(&received.event),
                Err(rejection) => trace.rejected(rejection.code()),
            }
        }
        received
    }

    async fn read<P>(
        request: Request,
        provider: &P,
        trace: Option<&Trace>,
    ) -> Result<Received, StripeEventRejection>
    where
        P: ProvideVerifier + ?Sized,
    {
        // `DefaultBodyLimit` travels in the extensions, so the limit is put on while they are there.
        let (parts, body) = request.with_limited_body().into_parts();
        // Asked for once: who provides it may know another endpoint when the body has come.
        let provided = provider
            .provide_verifier(&parts)
            .ok_or(StripeEventRejection::UnknownEndpoint)?;
        let bytes = body::read(body).await?;
        let header = signature_header(&parts.headers);
        let now = clock::received_at(&parts.extensions);
        if let Some(trace) = trace {
            trace.body(&bytes);
            trace.header(header.unwrap_or_default(), now);
            if let Some(endpoint) = &provided.endpoint {
                trace.endpoint(endpoint);
            }
        }
        let header = header.map_err(StripeEventRejection::NotVerified)?;
        let event = provided.verifier.verify_and_parse(bytes, header, now)?;
        Ok(Received {
            parts,
            event,
            provided,
        })
    }
}

impl Verifier {
    /// Verifies a body and parses its envelope: what the extractor does, outside axum.
    ///
    /// # Errors
    ///
    /// [`StripeEventRejection::NotVerified`], and what [`VerifiedStripeEvent::parse`] gives.
    pub fn verify_and_parse(
        &self,
        body: Bytes,
        header: &[u8],
        now: SystemTime,
    ) -> Result<VerifiedStripeEvent, StripeEventRejection> {
        let payload = self
            .verify(body, header, now)
            .map_err(StripeEventRejection::NotVerified)?;
        VerifiedStripeEvent::parse(payload)
    }
}

impl<S> FromRequest<S> for VerifiedStripeEvent
where
    S: ProvideVerifier + Send + Sync,
{
    type Rejection = StripeEventRejection;

    async fn from_request(request: Request, state: &S) -> Result<Self, Self::Rejection> {
        #[cfg(feature = "_database")]
        if let Some(VerifiedUpstream(event)) = request.extensions().get() {
            return Ok(event.clone());
        }
        let Received {
            parts,
            event,
            provided,
        } = Self::receive(request, state).await?;
        if let Some(guards) = provided.guards {
            let stopped = |reason| StripeEventRejection::of_stopped(&event, reason, &guards);
            let now = clock::received_at(&parts.extensions);
            guards.check(&event, now).map_err(stopped)?;
        }
        Ok(event)
    }
}

impl Deref for VerifiedStripeEvent {
    type Target = Event;

    fn deref(&self) -> &Event {
        &self.0.event
    }
}

impl fmt::Debug for VerifiedStripeEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifiedStripeEvent")
            .field("event", &self.0.event)
            .field("signed_at", &self.signed_at())
            .field("secret_name", &self.secret_name())
            .finish()
    }
}

/// The value of the one header line; of several, none can be trusted to be the one that an
/// intermediary looked at.
fn signature_header(headers: &HeaderMap) -> Result<&[u8], VerifyError> {
    let mut lines = headers.get_all(HEADER_NAME).iter();
    match (lines.next(), lines.next()) {
        (None, _) => Err(VerifyError::MissingHeader),
        (Some(line), None) => Ok(line.as_bytes()),
        (Some(_), Some(_)) => Err(VerifyError::MalformedHeader(HeaderFault::SeveralLines)),
    }
}
