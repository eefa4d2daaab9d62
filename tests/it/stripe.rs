//! What Stripe would send.

use std::{
    sync::LazyLock,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{body::Body, http::Request};
use axum_stripe_webhook::{SigningSecret, Verifier, testing::sign_test_payload};

use crate::log;

pub(crate) const SECRET: &str = "whsec_of_the_tests";

/// In every field of an event that is about a person.
pub(crate) const PERSONAL: &str = "jenny-rosen-4242";

pub(crate) fn verifier() -> Verifier {
    Verifier::new(SigningSecret::new(SECRET).unwrap())
}

#[expect(
    clippy::disallowed_methods,
    reason = "deliveries are signed with the time of day"
)]
pub(crate) fn now() -> SystemTime {
    SystemTime::now()
}

/// This second, or 1970 if no clock has it.
pub(crate) fn at(unix_seconds: u64) -> SystemTime {
    let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(unix_seconds));
    time.unwrap_or(SystemTime::UNIX_EPOCH)
}

/// The time of day in Unix seconds, for an event's `created`.
pub(crate) fn unix_now() -> u64 {
    now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A snapshot event with this id, made now.
pub(crate) fn event(id: &str) -> String {
    event_of_type(id, "checkout.session.completed")
}

/// Made when the tests began: the same each time, also across the end of a second.
pub(crate) fn event_of_type(id: &str, event_type: &str) -> String {
    static BEGUN: LazyLock<u64> = LazyLock::new(unix_now);
    event_made_at(id, event_type, *BEGUN)
}

/// One that was made at an instant, in Unix seconds.
pub(crate) fn event_made_at(id: &str, event_type: &str, created: u64) -> String {
    log::watch();
    format!(
        r#"{{
  "id": "{id}",
  "object": "event",
  "api_version": "2026-10-28.endive",
  "created": {created},
  "livemode": false,
  "type": "{event_type}",
  "data": {{
    "object": {{
      "id": "cs_test_1",
      "object": "checkout.session",
      "customer_details": {{
        "address": {{"city": "{PERSONAL}", "line1": "{PERSONAL}", "postal_code": "{PERSONAL}"}},
        "email": "{PERSONAL}@example.com",
        "name": "{PERSONAL}",
        "phone": "{PERSONAL}"
      }},
      "metadata": {{"note": "{PERSONAL}"}},
      "amount_total": 4200
    }}
  }}
}}"#
    )
}

/// A delivery of a body with this `Stripe-Signature`.
pub(crate) fn delivery_with(body: impl Into<Body>, header: &str) -> Request<Body> {
    Request::post("/webhooks/stripe")
        .header("stripe-signature", header)
        .body(body.into())
        .unwrap()
}

/// A genuine delivery of a body, signed now.
pub(crate) fn delivery(body: &str) -> Request<Body> {
    delivery_with(body.to_owned(), &sign_test_payload(body, SECRET, now()))
}

/// A redelivery, which Stripe signs anew, as it was made so many seconds ago.
pub(crate) fn delivery_signed_before(body: &str, seconds: u64) -> Request<Body> {
    let at = now() - Duration::from_secs(seconds);
    delivery_with(body.to_owned(), &sign_test_payload(body, SECRET, at))
}

/// Deliveries that must be refused, each with what is wrong with it.
pub(crate) fn forgeries(body: &str) -> Vec<(&'static str, Request<Body>)> {
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
    let signed = |at| sign_test_payload(body, SECRET, at);
    let genuine = signed(now());
    let unsigned = Request::post("/webhooks/stripe")
        .body(Body::from(body.to_owned()))
        .unwrap();
    let mut twice = delivery(body);
    twice
        .headers_mut()
        .append("stripe-signature", genuine.parse().unwrap());
    let mut not_ascii = delivery(body);
    let bytes = axum::http::HeaderValue::from_bytes(b"t=1,v1=\xff\xfe").unwrap();
    not_ascii.headers_mut().insert("stripe-signature", bytes);
    let tampered = body.replace("4200", "1");
    assert_ne!(tampered, body);
    vec![
        ("unsigned", unsigned),
        ("blank header", delivery_with(body.to_owned(), " ")),
        ("wrong secret", {
            let header = sign_test_payload(body, "whsec_of_somebody_else", now());
            delivery_with(body.to_owned(), &header)
        }),
        ("empty key", {
            delivery_with(body.to_owned(), &sign_test_payload(body, "", now()))
        }),
        (
            "stale",
            delivery_with(body.to_owned(), &signed(now() - minutes(6))),
        ),
        (
            "future",
            delivery_with(body.to_owned(), &signed(now() + minutes(6))),
        ),
        ("tampered", delivery_with(tampered, &genuine)),
        (
            "only v0",
            delivery_with(body.to_owned(), &genuine.replace("v1=", "v0=")),
        ),
        ("two header lines", twice),
        ("not ASCII", not_ascii),
    ]
}
