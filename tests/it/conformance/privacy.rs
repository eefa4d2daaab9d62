//! What is told, and to whom.

use axum::{http::StatusCode, response::IntoResponse};
use axum_stripe_webhook::{EventTx, Operator};

use crate::{
    database::TestBackend,
    endpoint::Endpoint,
    log,
    stored::{Stored, service},
    stripe,
};

on_both![
    no_marker_reaches_a_log_or_an_answer,
    what_a_handler_logs_is_in_the_span_of_its_delivery,
    nothing_of_what_is_stored_reaches_a_log_an_error_or_debug,
];

async fn no_marker_reaches_a_log_or_an_answer<DB: TestBackend>() {
    let body = |id| stripe::event(id).replace("cs_test_1", "marker@example.com");
    let mut answers = String::new();
    let log = log::of(async {
        let endpoint = Endpoint::<DB>::new(|mut tx: EventTx<DB>| async move {
            let event = tx.event().clone();
            tracing::info!(?tx, ?event, "as a service may log what it is given");
            if event.id() == "evt_fails" {
                let _swallowed = DB::run(&mut tx, "select 'marker' from nowhere").await;
            }
            event.object::<u64>().map(|_| ())
        })
        .await;
        for id in ["evt_1", "evt_fails"] {
            answers += &endpoint.body(stripe::delivery(&body(id))).await;
            for (_, forgery) in stripe::forgeries(&body(id)) {
                answers += &endpoint.body(forgery).await;
            }
        }
        answers += &endpoint.body(stripe::delivery("\"marker\"")).await;
    })
    .await;
    for expected in [
        "evt_1",
        "signature_mismatch",
        "timestamp_out_of_tolerance",
        "not_an_object",
    ] {
        assert!(log.contains(expected), "no {expected} in {log}");
    }
    let processed = log
        .lines()
        .find(|line| line.contains("swallowed a database error"));
    let answered = log
        .lines()
        .filter(|line| line.contains("stripe delivery answered"));
    for line in answered.chain(processed) {
        assert!(line.contains("event_id=\"evt_"), "outside its span: {line}");
    }
    // The statement is the handler's own, and sqlx may log statements; nothing else has a marker.
    let leaks = |line: &&str| {
        (line.contains("marker") && !line.contains("select 'marker'"))
            || line.contains(stripe::SECRET)
            || line.contains("v1=")
    };
    assert_eq!(
        log.lines()
            .chain(answers.lines())
            .filter(leaks)
            .collect::<Vec<_>>(),
        [""; 0]
    );
}

/// It runs in a task of its own, to which a span does not go by itself.
async fn what_a_handler_logs_is_in_the_span_of_its_delivery<DB: TestBackend>() {
    let log = log::of(async {
        let handler = |_: EventTx<DB>| async { tracing::info!("from the handler") };
        let endpoint = Endpoint::<DB>::new(handler).await;
        endpoint.deliver("evt_1").await;
    })
    .await;
    let line = log.lines().find(|line| line.contains("from the handler"));
    let line = line.expect("it is logged");
    assert!(line.contains("stripe_delivery{"), "{line}");
    assert!(line.contains("event_id=\"evt_1\""), "{line}");
}

/// Stored, run with every kind of end, looked at and released by an operator whom nobody needs to know.
async fn nothing_of_what_is_stored_reaches_a_log_an_error_or_debug<DB: TestBackend>() {
    let mut shown = String::new();
    let log = log::of(async {
        let stored = Stored::<DB>::new().await;
        for id in [
            "evt_done",
            "evt_misfit",
            "evt_panics",
            "evt_fails",
            "evt_gone",
        ] {
            let body = stripe::event(id).replace("cs_test_1", "marker@example.com");
            let answer = stored.send(stripe::delivery(&body)).await;
            assert_eq!(answer, StatusCode::OK);
        }
        let handler = async |mut tx: EventTx<DB>| {
            let event = tx.event().clone();
            match event.id() {
                "evt_misfit" => event.object::<u64>().map(|_| ()).into_response(),
                "evt_panics" => panic!("as a handler may"),
                "evt_fails" => {
                    let _swallowed = DB::run(&mut tx, "select 1 from nowhere").await;
                    (StatusCode::BAD_GATEWAY, "marker@example.com").into_response()
                }
                "evt_gone" => (StatusCode::GONE, "marker@example.com").into_response(),
                _ => StatusCode::OK.into_response(),
            }
        };
        let policy = axum_stripe_webhook::inbox::RetryPolicy::new().attempts_max(1);
        let worker = stored.worker(service(handler)).retry_policy(policy);
        shown += &format!("{worker:?} {:?}", stored.inbox);
        let worker = worker.start();
        stored
            .until(async || stored.operations.counts().await.unwrap().pending == 0)
            .await;
        let operator = Operator::new("marker_ada", "marker_reason").unwrap();
        for entry in stored.entries().await {
            // The object's id is shown to whoever asks for the entry, and to nobody else.
            shown += &format!("{:?}", entry.last_error);
            let (id, endpoint) = (&*entry.event_id, &*entry.endpoint);
            drop(stored.operations.retry(id, endpoint, &operator).await);
            drop(stored.operations.release(id, endpoint, &operator).await);
        }
        worker.stop().await;
    })
    .await;
    for expected in [
        "evt_panics",
        "handler_failed 410",
        "handler_panicked",
        "process",
    ] {
        assert!(log.contains(expected), "no {expected} in {log}");
    }
    let leaks = |line: &&str| line.contains("marker") || line.contains(stripe::SECRET);
    let leaks: Vec<_> = log.lines().chain(shown.lines()).filter(leaks).collect();
    assert_eq!(leaks, [""; 0]);
}
