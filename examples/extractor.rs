//! The extractor alone: verified events, no database.
//!
//! ```sh
//! STRIPE_WEBHOOK_SECRET=whsec_… cargo run --example extractor
//! ```
//!
//! This verifies, and does not deduplicate: Stripe delivers an event more than once, and each time
//! the handler runs. See `once_sqlite.rs` and `once_postgres.rs`.

use std::{error::Error, process::ExitCode};

use axum::{Router, routing::post};
use axum_stripe_webhook::{ObjectError, SigningSecret, VerifiedStripeEvent, Verifier};
use serde::Deserialize;

/// Only the fields that are used here: a new API version may change any of the others.
#[derive(Deserialize)]
struct Invoice {
    id: String,
    amount_paid: i64,
    currency: String,
}

/// The extractor reads the body, so it comes last. Whatever is not signed by Stripe is answered
/// with 400 before this runs.
async fn webhook(event: VerifiedStripeEvent) -> Result<(), ObjectError> {
    match event.event_type() {
        "invoice.paid" => {
            let invoice: Invoice = event.object()?;
            log(&format!(
                "{} paid: {} {}",
                invoice.id, invoice.amount_paid, invoice.currency
            ));
        }
        // Types that are not handled are answered with 200 all the same: Stripe disables endpoints
        // that fail for days.
        other => log(&format!("{} is not handled", other)),
    }
    Ok(())
}

fn app(verifier: Verifier) -> Router {
    Router::new()
        .route("/webhooks/stripe", post(webhook))
        .with_state(verifier)
}

async fn serve() -> Result<(), Box<dyn Error>> {
    let verifier = Verifier::new(SigningSecret::from_env("STRIPE_WEBHOOK_SECRET")?);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    log(&format!(
        "listening on http://{}/webhooks/stripe",
        listener.local_addr()?
    ));
    Ok(axum::serve(listener, app(verifier)).await?)
}

#[tokio::main]
async fn main() -> ExitCode {
    match serve().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

#[expect(
    clippy::print_stderr,
    reason = "an example has no subscriber for tracing"
)]
fn log(line: &str) {
    eprintln!("{line}");
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use std::time::SystemTime;

    use axum::{body::Body, http::Request};
    use axum_stripe_webhook::testing::sign_test_payload;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    #[expect(
        clippy::disallowed_methods,
        reason = "deliveries are signed with the time of day"
    )]
    async fn a_signed_event_is_answered_with_200_and_an_unsigned_one_with_400() {
        let app = app(Verifier::new(SigningSecret::new("whsec_example").unwrap()));
        let body = r#"{"id": "evt_1", "object": "event", "type": "invoice.paid", "data":
            {"object": {"id": "in_1", "amount_paid": 4200, "currency": "eur"}}}"#;
        let signed = sign_test_payload(body, "whsec_example", SystemTime::now());
        for (header, status) in [(signed.as_str(), 200), ("", 400)] {
            let request = Request::post("/webhooks/stripe").header("stripe-signature", header);
            let request = request.body(Body::from(body)).unwrap();
            assert_eq!(app.clone().oneshot(request).await.unwrap().status(), status);
        }
    }
}
