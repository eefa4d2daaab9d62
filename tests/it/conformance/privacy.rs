//! What is told, and to whom.

use axum_stripe_webhook::EventTx;

use crate::{database::TestBackend, endpoint::Endpoint, log, stripe};

on_both![
    no_marker_reaches_a_log_or_an_answer,
    what_a_handler_logs_is_in_the_span_of_its_delivery,
];

async fn no_marker_reaches_a_log_or_an_answer<DB: TestBackend>() {
    let body = |id| stripe::event(id).replace("cs_test_1", "marker@example.com");
    let mut answers = String::new();
    let log = log::of(async {
        let endpoint = Endpoint::<DB>::new(|mut tx: EventTx<DB>| async move {
            let event = tx.event().clone();
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
