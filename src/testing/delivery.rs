use std::{fmt, time::SystemTime};

use bytes::Bytes;
use http::{HeaderValue, Request, Uri, header::CONTENT_TYPE};

use super::{FixedClock, sign::signature_header};
use crate::clock;

/// A delivery as Stripe makes it, ready for tower's `oneshot`, or for any client of `http`'s requests.
///
/// Signed now, unless told otherwise. A copy of it is the same request again; a retry of Stripe's has a
/// signature of its own: see [`signed_at`](Self::signed_at).
///
/// ```
/// use axum::{Router, body::Body, http::StatusCode, routing::post};
/// use axum_stripe_webhook::{
///     SigningSecret, VerifiedStripeEvent, Verifier, testing::{SampleEvent, SignedDelivery},
/// };
/// use tower::ServiceExt;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// async fn webhook(event: VerifiedStripeEvent) {}
/// let app = Router::<Verifier>::new()
///     .route("/webhooks/stripe", post(webhook))
///     .with_state(Verifier::new(SigningSecret::new("whsec_new")?));
///
/// let event = SampleEvent::of("invoice.paid");
/// // While a secret is being rolled Stripe signs with both.
/// let delivery = SignedDelivery::of(event.to_json()).secret("whsec_old").secret("whsec_new");
/// let response = app.oneshot(delivery.request::<Body>("/webhooks/stripe")).await?;
/// assert_eq!(response.status(), StatusCode::OK);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use]
pub struct SignedDelivery {
    body: Bytes,
    secrets: Vec<String>,
    signed_at: Option<SystemTime>,
    received_at: Option<FixedClock>,
}

impl SignedDelivery {
    /// A delivery of these bytes, with no signature yet.
    pub fn of(body: impl Into<Bytes>) -> Self {
        Self {
            body: body.into(),
            secrets: Vec::new(),
            signed_at: None,
            received_at: None,
        }
    }

    /// Signs with this secret too: each adds a `v1`. With none there is no `Stripe-Signature`.
    pub fn secret(mut self, secret: impl Into<String>) -> Self {
        self.secrets.push(secret.into());
        self
    }

    /// Signs it at this time. Unless set, that is when it is received, or else now.
    pub fn signed_at(mut self, at: SystemTime) -> Self {
        self.signed_at = Some(at);
        self
    }

    /// Has the endpoint believe that this is the time of day: see [`FixedClock`].
    pub fn received_at(mut self, clock: FixedClock) -> Self {
        self.received_at = Some(clock);
        self
    }

    /// The value of `Stripe-Signature`; `None` without a secret.
    #[must_use]
    pub fn signature(&self) -> Option<String> {
        let received_at = || self.received_at.map(|clock| clock.now());
        let at = self.signed_at.or_else(received_at);
        let secrets = self.secrets.iter().map(String::as_str);
        let header = || signature_header(&self.body, secrets, at.unwrap_or_else(clock::now));
        (!self.secrets.is_empty()).then(header)
    }

    /// The request: `POST`, with the headers that Stripe sends.
    ///
    /// `B` is the body of whoever takes it: axum's `Body`, `http_body_util::Full<Bytes>`, `reqwest`'s.
    ///
    /// # Panics
    ///
    /// If the path is none: it begins with a slash, or is a whole URL.
    #[must_use]
    #[track_caller]
    pub fn request<B: From<Bytes>>(&self, uri: &str) -> Request<B> {
        let mut request = Request::new(B::from(self.body.clone()));
        *request.method_mut() = http::Method::POST;
        let parsed = uri.parse::<Uri>();
        assert!(parsed.is_ok(), "no path: {uri:?}; it begins with a slash");
        *request.uri_mut() = parsed.unwrap_or_default();
        let headers = request.headers_mut();
        let json = HeaderValue::from_static("application/json; charset=utf-8");
        headers.insert(CONTENT_TYPE, json);
        headers.insert("user-agent", HeaderValue::from_static(USER_AGENT));
        let signature = self.signature().and_then(|value| value.parse().ok());
        if let Some(signature) = signature {
            headers.insert("stripe-signature", signature);
        }
        if let Some(clock) = self.received_at {
            request.extensions_mut().insert(clock);
        }
        request
    }
}

/// What Stripe's deliveries say they come from.
pub(crate) const USER_AGENT: &str = "Stripe/1.0 (+https://stripe.com/docs/webhooks)";

/// Neither the body nor a secret.
impl fmt::Debug for SignedDelivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignedDelivery")
            .field("body_bytes", &self.body.len())
            .field("secrets", &self.secrets.len())
            .field("signed_at", &self.signed_at)
            .field("received_at", &self.received_at)
            .finish()
    }
}
