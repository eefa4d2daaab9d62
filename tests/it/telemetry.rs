//! What operators are told, and how often.

use std::time::Instant;

use axum::{Router, http::StatusCode, routing::post};
use axum_stripe_webhook::{
    AuditLayer, StripeEventRejection, VerifiedStripeEvent,
    telemetry::{LINES_PER_SECOND_MAX, TARGET},
};
use tower::ServiceExt;

use crate::{log, stripe};

const FLOOD: usize = 100_000;

fn rejections(log: &str) -> impl Iterator<Item = &str> {
    let lines = log.lines();
    lines.filter(|line| line.contains("stripe delivery rejected"))
}

#[tokio::test]
async fn a_flood_of_forgeries_does_not_fill_a_disk() {
    let app = Router::new()
        .route("/webhooks/stripe", post(async |_: VerifiedStripeEvent| {}))
        .with_state(stripe::verifier());
    let body = stripe::event("evt_1");
    let begun = Instant::now();
    let log = log::of(async {
        for _ in 0..FLOOD {
            let forgery = stripe::delivery_with(body.clone(), "t=1,v1=00");
            let response = app.clone().oneshot(forgery).await.unwrap();
            assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        }
    })
    .await;
    let seconds = begun.elapsed().as_secs() + 2;
    let lines = rejections(&log).count();
    let most = usize::try_from(seconds).unwrap() * LINES_PER_SECOND_MAX as usize;
    assert!((1..=most).contains(&lines), "{lines} of at most {most}");
    let left_out = rejections(&log).filter_map(|line| line.split("left_out=").nth(1));
    let left_out: usize = left_out
        .map(|number| number.trim().parse::<usize>().unwrap())
        .sum();
    assert!(lines + left_out <= FLOOD, "{lines} and {left_out}");
}

/// Or who answers forgers in his own way would not hear of them.
#[tokio::test]
async fn what_is_rejected_is_logged_whatever_a_handler_makes_of_it() {
    type Received = Result<VerifiedStripeEvent, StripeEventRejection>;
    let handler = async |received: Received| match received {
        Ok(_) => StatusCode::OK,
        Err(_) => StatusCode::IM_A_TEAPOT,
    };
    let app = Router::new()
        .route("/webhooks/stripe", post(handler))
        .with_state(stripe::verifier());
    let log = log::of(async {
        let forgery = stripe::delivery_with(stripe::event("evt_1"), "");
        let response = app.oneshot(forgery).await.unwrap();
        assert_eq!(response.status(), StatusCode::IM_A_TEAPOT);
    })
    .await;
    let lines: Vec<_> = rejections(&log).collect();
    let [line] = lines.as_slice() else {
        panic!("once: {log}")
    };
    assert!(line.contains(&format!("DEBUG {TARGET}: ")), "{line}");
}

/// And what anybody can cause is left out of a flood, as any such line is.
#[tokio::test]
async fn the_log_has_a_line_for_each_genuine_delivery_and_some_for_the_others() {
    let app = Router::new()
        .route(
            "/webhooks/stripe",
            post(async |_: VerifiedStripeEvent| {}).route_layer(AuditLayer::new()),
        )
        .with_state(stripe::verifier());
    let log = log::of(async {
        for number in 0..100 {
            let body = stripe::event(&format!("evt_{number}"));
            for request in [
                stripe::delivery(&body),
                stripe::delivery_with(body, "t=1,v1=00"),
            ] {
                app.clone().oneshot(request).await.unwrap();
            }
        }
    })
    .await;
    let lines = |outcome: &str| {
        let lines = log.lines();
        let lines = lines.filter(|line| line.contains("stripe delivery on record"));
        lines.filter(|line| line.contains(outcome)).count()
    };
    assert_eq!(
        lines(
            "INFO axum_stripe_webhook: stripe delivery on record outcome=\"succeeded\" status=200"
        ),
        100
    );
    let refused = lines(
        "DEBUG axum_stripe_webhook: stripe delivery on record outcome=\"signature_mismatch\"",
    );
    assert!((1..=50).contains(&refused), "{refused}");
}
