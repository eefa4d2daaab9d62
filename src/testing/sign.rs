use std::time::{SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Signs a body as Stripe does and gives back the value of the `Stripe-Signature` header.
///
/// The secret is taken as it is, an empty one too, as a forger might. A time before 1970 counts as
/// 1970.
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
    signature_header(body.as_ref(), [secret], at)
}

/// A header with a `v1` for each secret, as Stripe sends while one is being rolled.
pub(crate) fn signature_header<'a>(
    body: &[u8],
    secrets: impl IntoIterator<Item = &'a str>,
    at: SystemTime,
) -> String {
    let timestamp = at
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let timestamp = timestamp.to_string();
    let signatures = secrets
        .into_iter()
        .map(|secret| format!(",v1={}", mac(&timestamp, body, secret.as_bytes())));
    format!("t={timestamp}{}", signatures.collect::<String>())
}

/// The MAC of a timestamp as it is written and a body, in lower-case hex.
pub(crate) fn mac(timestamp: &str, body: &[u8], key: &[u8]) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(key).map(|mut mac| {
        mac.update(timestamp.as_bytes());
        mac.update(b".");
        mac.update(body);
        mac.finalize().into_bytes()
    });
    // HMAC takes keys of any length, so there is always a MAC.
    let bytes = mac.iter().flatten();
    bytes.map(|byte| format!("{byte:02x}")).collect()
}
