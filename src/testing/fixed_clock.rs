use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A clock that stands still. A request that carries it in its extensions is received at that time.
///
/// The extractor, the layer and the inbox then verify the age of its signature, and guard the age of
/// its event, by this clock: so a recorded delivery verifies for ever, and three days of retries take
/// no time. The database's clock goes on as it does, and so do time limits.
///
/// [`SignedDelivery::received_at`](super::SignedDelivery::received_at) puts it into a request. For
/// everything that a router serves it is `app.layer(axum::Extension(clock))`; nothing that comes over
/// the network can put it there.
///
/// ```
/// use axum::{Extension, Router, body::Body, http::{Request, StatusCode}, routing::post};
/// use axum_stripe_webhook::{SigningSecret, Verifier, VerifiedStripeEvent, testing::FixedClock};
/// use tower::ServiceExt;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// async fn webhook(event: VerifiedStripeEvent) {}
/// let app = Router::new()
///     .route("/webhooks/stripe", post(webhook))
///     .with_state(Verifier::new(SigningSecret::new("whsec_test_secret")?));
///
/// // On New Year's Day 2026.
/// const RECORDED: &str =
///     "t=1767225600,v1=48e9a38e734a36b852a81914adf1a062a3f89dbb1425e403f0614368f26e7485";
/// let delivery = Request::post("/webhooks/stripe")
///     .header("stripe-signature", RECORDED)
///     .body(Body::from(r#"{"id": "evt_1", "object": "event", "type": "invoice.paid"}"#))?;
/// let app = app.layer(Extension(FixedClock::at_unix(1_767_225_600)));
/// assert_eq!(app.oneshot(delivery).await?.status(), StatusCode::OK);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FixedClock(SystemTime);

impl FixedClock {
    /// Stands at this time.
    #[must_use]
    pub fn at(now: SystemTime) -> Self {
        Self(now)
    }

    /// Stands at this time, in Unix seconds. A time that no clock can show counts as 1970.
    #[must_use]
    pub fn at_unix(seconds: u64) -> Self {
        let now = UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
        Self(now.unwrap_or(UNIX_EPOCH))
    }

    /// The time that it shows.
    #[must_use]
    pub fn now(&self) -> SystemTime {
        self.0
    }
}
