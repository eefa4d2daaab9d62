//! `VerifiedStripeEvent` alone, without layer and database.

use std::sync::Arc;

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::DefaultBodyLimit,
    http::{Request, StatusCode, request::Parts},
    routing::post,
};
use axum_stripe_webhook::{
    BODY_BYTES_MAX, EventKind, Guards, Mode, ProvideVerifier, Provided, SigningSecret,
    VerifiedStripeEvent, Verifier, WhenStopped, testing::sign_test_payload,
};
use tower::ServiceExt;

use crate::stripe;

async fn webhook(event: VerifiedStripeEvent) -> String {
    event.id().to_owned()
}

fn app() -> Router {
    Router::new()
        .route("/webhooks/stripe", post(webhook))
        .with_state(stripe::verifier())
}

async fn answer(app: Router, request: Request<Body>) -> (StatusCode, String) {
    let response = app.oneshot(request).await.unwrap();
    let status = response.status();
    let body = to_bytes(response.into_body(), 1024).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn a_genuine_event_reaches_the_handler() {
    let request = stripe::delivery(&stripe::event("evt_1"));
    assert_eq!(
        answer(app(), request).await,
        (StatusCode::OK, "evt_1".to_owned())
    );
}

#[tokio::test]
async fn forgeries_are_refused_and_told_nothing() {
    for (forgery, request) in stripe::forgeries(&stripe::event("evt_1")) {
        let refused = (StatusCode::BAD_REQUEST, "not verified\n".to_owned());
        assert_eq!(answer(app(), request).await, refused, "{forgery}");
    }
}

/// Whether it is an event is not looked at before it is verified.
#[tokio::test]
async fn a_forgery_that_is_no_event_is_told_the_same() {
    for body in ["{", "", "\u{feff}", "null"] {
        let forged = stripe::delivery_with(body, "t=1,v1=0");
        let refused = (StatusCode::BAD_REQUEST, "not verified\n".to_owned());
        assert_eq!(answer(app(), forged).await, refused, "{body}");
    }
}

#[tokio::test]
async fn a_body_that_arrives_in_many_pieces_is_read() {
    let whole = stripe::event("evt_1");
    let request = stripe::delivery(&whole);
    let pieces: Vec<_> = whole
        .bytes()
        .map(|byte| Ok::<_, std::io::Error>(vec![byte]))
        .collect();
    let request = request.map(|_| Body::from_stream(futures_util::stream::iter(pieces)));
    assert_eq!(answer(app(), request).await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_signed_body_that_is_no_event_is_refused() {
    for body in [
        "",
        "null",
        "{}",
        "[]",
        r#"{"id": "evt_1", "object": "charge", "type": "a"}"#,
    ] {
        let refused = (StatusCode::BAD_REQUEST, "not an event\n".to_owned());
        assert_eq!(
            answer(app(), stripe::delivery(body)).await,
            refused,
            "{body}"
        );
    }
}

#[tokio::test]
async fn the_services_own_body_limit_counts() {
    let body = stripe::event("evt_1");
    for (limit, status) in [
        (body.len(), StatusCode::OK),
        (body.len() - 1, StatusCode::PAYLOAD_TOO_LARGE),
    ] {
        let app = app().layer(DefaultBodyLimit::max(limit));
        assert_eq!(answer(app, stripe::delivery(&body)).await.0, status);
    }
}

#[tokio::test]
async fn axums_default_limit_of_two_mebibytes_applies_and_can_be_raised() {
    let body = stripe::event(&"x".repeat(255)).replace("cs_test_1", &"y".repeat(3 << 20));
    let (status, _) = answer(app(), stripe::delivery(&body)).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    let raised = app().layer(DefaultBodyLimit::max(4 << 20));
    assert_eq!(
        answer(raised, stripe::delivery(&body)).await.0,
        StatusCode::OK
    );
}

#[tokio::test]
async fn a_ceiling_holds_where_the_limit_is_switched_off() {
    let app = app().layer(DefaultBodyLimit::disable());
    let body = vec![b' '; BODY_BYTES_MAX + 1];
    let (status, _) = answer(app, stripe::delivery_with(body, "t=1,v1=a")).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn a_limit_of_a_layer_below_is_answered_as_too_large() {
    let limited = stripe::delivery(&stripe::event("evt_1")).map(|body| {
        Body::new(http_body_util::Limited::new(
            Body::new(http_body_util::Limited::new(body, 9)),
            99,
        ))
    });
    assert_eq!(
        answer(app(), limited).await.0,
        StatusCode::PAYLOAD_TOO_LARGE
    );
}

#[derive(Clone)]
struct Tenants;

impl ProvideVerifier for Tenants {
    fn provide_verifier(&self, parts: &Parts) -> Option<Provided> {
        let tenant = parts.uri.path().strip_prefix("/webhooks/")?;
        (tenant != "nobody").then(|| {
            let secret = SigningSecret::new(format!("whsec_of_{tenant}")).unwrap();
            Verifier::new(secret.named(tenant)).into()
        })
    }
}

#[tokio::test]
async fn the_verifier_can_depend_on_the_path() {
    let app = Router::new()
        .route(
            "/webhooks/{tenant}",
            post(|event: VerifiedStripeEvent| async move {
                event.secret_name().unwrap_or_default().to_owned()
            }),
        )
        .with_state(Arc::new(Tenants));
    let body = stripe::event("evt_1");
    for (tenant, answered) in [
        ("stripe", (StatusCode::OK, "stripe")),
        ("other", (StatusCode::BAD_REQUEST, "not verified\n")),
        (
            "nobody",
            (StatusCode::NOT_FOUND, "no such webhook endpoint\n"),
        ),
    ] {
        let header = sign_test_payload(&body, "whsec_of_stripe", stripe::now());
        let mut request = stripe::delivery_with(body.clone(), &header);
        *request.uri_mut() = format!("/webhooks/{tenant}").parse().unwrap();
        let (status, text) = answer(app.clone(), request).await;
        assert_eq!((status, text.as_str()), answered);
    }
}

/// Guards, and secrets that are bound.
#[derive(Clone)]
struct Guarded(Verifier, Guards);

impl ProvideVerifier for Guarded {
    fn provide_verifier(&self, _: &Parts) -> Option<Provided> {
        Some(Provided::from(self.0.clone()).guards(self.1.clone()))
    }
}

#[tokio::test]
async fn without_a_database_what_a_guard_stops_is_rejected_or_ignored() {
    for (stopped, answered) in [
        (WhenStopped::Quarantine, (400, "not accepted\n")),
        (WhenStopped::Reject, (400, "not accepted\n")),
        (WhenStopped::Ignore, (200, "ignored\n")),
    ] {
        let live = Guards::new().mode(Mode::Live).when_stopped(stopped);
        let app = Router::new()
            .route("/webhooks/stripe", post(webhook))
            .with_state(Guarded(stripe::verifier(), live));
        let request = stripe::delivery(&stripe::event("evt_1"));
        let (status, body) = answer(app, request).await;
        assert_eq!((status.as_u16(), body.as_str()), answered);
    }
}

#[tokio::test]
async fn a_secret_signs_only_what_it_is_bound_to() {
    let test = || SigningSecret::new(stripe::SECRET).unwrap();
    let snapshot = stripe::event("evt_1");
    let live = snapshot.replace("\"livemode\": false", "\"livemode\": true");
    let unsaid = snapshot.replace("\"livemode\": false,", "");
    let thin = snapshot.replace("\"event\"", "\"v2.core.event\"");
    let refused = (StatusCode::BAD_REQUEST, "not verified\n".to_owned());
    let accepted = (StatusCode::OK, "evt_1".to_owned());
    for (secret, body, is_accepted) in [
        (test(), &live, true),
        (test(), &thin, true),
        (test().for_mode(Mode::Test), &snapshot, true),
        (test().for_mode(Mode::Test), &live, false),
        (test().for_mode(Mode::Test), &unsaid, false),
        (test().for_mode(Mode::Live), &live, true),
        (test().for_mode(Mode::Live), &snapshot, false),
        (test().for_mode(Mode::Live), &unsaid, false),
        (test().for_kind(EventKind::Snapshot), &snapshot, true),
        (test().for_kind(EventKind::Snapshot), &thin, false),
        (test().for_kind(EventKind::Thin), &thin, true),
        (test().for_kind(EventKind::Thin), &snapshot, false),
    ] {
        let expected = if is_accepted { &accepted } else { &refused };
        let shown = format!("{secret:?} {body}");
        let verifier = Verifier::new(SigningSecret::new("whsec_live").unwrap());
        let app = Router::new()
            .route("/webhooks/stripe", post(webhook))
            .with_state(verifier.with_secret(secret));
        assert_eq!(
            &answer(app, stripe::delivery(body)).await,
            expected,
            "{shown}"
        );
    }
}

#[tokio::test]
async fn any_active_secret_is_accepted_while_one_is_being_rolled() {
    let body = stripe::event("evt_1");
    let old = SigningSecret::new("whsec_old").unwrap();
    let new = SigningSecret::new("whsec_new").unwrap();
    let (by_old, by_new) = (
        sign_test_payload(&body, "whsec_old", stripe::now()),
        sign_test_payload(&body, "whsec_new", stripe::now()),
    );
    let both = format!("{by_old},{}", by_new.split_once(',').unwrap().1);
    let rolling = Verifier::new(new.clone()).with_secret(old.clone());
    for verifier in [rolling, Verifier::new(new), Verifier::new(old)] {
        let app = Router::new()
            .route("/webhooks/stripe", post(webhook))
            .with_state(verifier);
        let request = stripe::delivery_with(body.clone(), &both);
        assert_eq!(answer(app, request).await.0, StatusCode::OK);
    }
}
