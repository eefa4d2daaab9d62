//! Helpers for the tests of services that receive webhooks (feature `testing`).

use std::time::{SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Signs a body as Stripe does and gives back the value of the `Stripe-Signature` header.
///
/// ```
/// use std::time::SystemTime;
///
/// use axum_stripe_webhook::{SigningSecret, Verifier, testing::sign_test_payload};
///
/// let body = r#"{"id": "evt_1", "object": "event", "type": "invoice.paid"}"#;
/// let now = SystemTime::now();
/// let header = sign_test_payload(body, "whsec_test", now);
///
/// let verifier = Verifier::new(SigningSecret::new("whsec_test")?);
/// let event = verifier.verify_and_parse(body.into(), header.as_bytes(), now)?;
/// assert_eq!(event.id(), "evt_1");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn sign_test_payload(body: impl AsRef<[u8]>, secret: &str, at: SystemTime) -> String {
    let timestamp = at
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).map(|mut mac| {
        mac.update(format!("{timestamp}.").as_bytes());
        mac.update(body.as_ref());
        mac.finalize().into_bytes()
    });
    // HMAC takes keys of any length, so there is always a MAC.
    let hex: String = mac
        .iter()
        .flatten()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("t={timestamp},v1={hex}")
}
