//! What is counted and measured, and under which labels.

use axum::http::StatusCode;
use axum_stripe_webhook::{EventRouter, EventTx, telemetry::metric};

use crate::{
    database::TestBackend,
    endpoint::{Endpoint, work},
    metrics,
    stored::{Stored, service},
    stripe,
};

on_both!(
    deliveries_are_counted_by_what_was_answered,
    a_type_that_nobody_documents_is_one_label,
    attempts_and_entries_are_counted,
);

async fn handler<DB: TestBackend>(tx: EventTx<DB>) -> StatusCode {
    match tx.event().id() {
        "evt_fails" => StatusCode::BAD_GATEWAY,
        "evt_panics" => panic!("as a handler may"),
        _ => StatusCode::OK,
    }
}

async fn deliveries_are_counted_by_what_was_answered<DB: TestBackend>() {
    let measured = metrics::of(async {
        let endpoint = Endpoint::<DB>::with(handler::<DB>, |layer| layer.endpoint("shop")).await;
        for id in ["evt_1", "evt_1", "evt_fails", "evt_panics"] {
            endpoint.deliver(id).await;
        }
        for (_, forgery) in stripe::forgeries(&stripe::event("evt_2")) {
            endpoint.send(forgery).await;
        }
    })
    .await;
    let completed = "event_type=checkout.session.completed";
    for (name, expected) in [
        (
            "stripe_deliveries_total{endpoint=shop,outcome=processed}".to_owned(),
            1.0,
        ),
        (
            "stripe_deliveries_total{endpoint=shop,outcome=duplicate}".to_owned(),
            1.0,
        ),
        (
            "stripe_deliveries_total{endpoint=shop,outcome=handler_failed}".to_owned(),
            1.0,
        ),
        (
            "stripe_deliveries_total{endpoint=shop,outcome=handler_panicked}".to_owned(),
            1.0,
        ),
        ("stripe_deliveries_in_flight{endpoint=shop}".to_owned(), 0.0),
        (
            "stripe_signature_matches_total{secret_name=unnamed}".to_owned(),
            4.0,
        ),
        (
            "stripe_rejections_total{rule=timestamp_out_of_tolerance}".to_owned(),
            2.0,
        ),
        (
            format!("stripe_handler_seconds{{{completed},outcome=succeeded}}"),
            1.0,
        ),
        (
            format!("stripe_handler_seconds{{{completed},outcome=handler_failed}}"),
            1.0,
        ),
        (
            format!("stripe_handler_seconds{{{completed},outcome=handler_panicked}}"),
            1.0,
        ),
        (
            format!("stripe_receipt_to_commit_seconds{{{completed}}}"),
            1.0,
        ),
        (
            format!("stripe_created_to_commit_seconds{{{completed}}}"),
            1.0,
        ),
    ] {
        assert_eq!(measured.get(&name), Some(&expected), "{name}: {measured:?}");
    }
    let rejected = measured
        .iter()
        .filter(|(name, _)| name.starts_with(metric::REJECTIONS));
    assert_eq!(
        rejected.map(|(_, count)| count).sum::<f64>(),
        10.0,
        "{measured:?}"
    );
}

/// Or whoever can have events signed could make up as many series as he likes.
async fn a_type_that_nobody_documents_is_one_label<DB: TestBackend>() {
    let measured = metrics::of(async {
        let events = EventRouter::new().on("checkout.session.completed", work::<DB>);
        let endpoint = Endpoint::<DB>::new(events.build().unwrap()).await;
        for (id, event_type) in [
            ("evt_1", "made.up"),
            ("evt_2", "made.up.too"),
            ("evt_3", "invoice.paid"),
        ] {
            let body = stripe::event_of_type(id, event_type);
            assert_eq!(endpoint.send(stripe::delivery(&body)).await, StatusCode::OK);
        }
    })
    .await;
    let unhandled = |event_type: &str| {
        let name = format!("{}{{event_type={event_type}}}", metric::UNHANDLED);
        measured.get(&name).copied()
    };
    assert_eq!(unhandled("other"), Some(2.0), "{measured:?}");
    assert_eq!(unhandled("invoice.paid"), Some(1.0), "{measured:?}");
    assert!(
        !measured.keys().any(|name| name.contains("made.up")),
        "{measured:?}"
    );
}

async fn attempts_and_entries_are_counted<DB: TestBackend>() {
    let measured = metrics::of(async {
        let stored = Stored::<DB>::new().await;
        for id in ["evt_1", "evt_gone"] {
            assert_eq!(stored.deliver(id).await, StatusCode::OK);
        }
        let handler = async |tx: EventTx<DB>| match tx.event().id() {
            "evt_gone" => StatusCode::GONE,
            _ => StatusCode::OK,
        };
        stored.work_off(service(handler)).await;
        stored.operations.counts().await.unwrap();
    })
    .await;
    for (name, expected) in [
        (
            "stripe_deliveries_total{endpoint=default,outcome=stored}",
            2.0,
        ),
        ("stripe_attempts_total{outcome=processed}", 1.0),
        ("stripe_attempts_total{outcome=dead}", 1.0),
        ("stripe_inbox_entries{state=dead}", 1.0),
        ("stripe_inbox_entries{state=pending}", 0.0),
        ("stripe_inbox_oldest_due_seconds{}", 0.0),
    ] {
        assert_eq!(measured.get(name), Some(&expected), "{name}: {measured:?}");
    }
}
