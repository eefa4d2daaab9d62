//! Genuine events that an endpoint is not to process.

use std::{convert::Infallible, future::ready};

use axum::{
    handler::HandlerWithoutStateExt,
    http::{StatusCode, request::Parts},
};
use axum_stripe_webhook::{
    Disposition, EventTx, Guards, Mode, Operator, ProcessOnceLayer, ProvideVerifier, Provided,
    StopReason, WhenStopped,
};
use futures_util::future::join_all;

use crate::{
    database::TestBackend,
    endpoint::{Endpoint, work},
    log, stripe,
};

on_both![
    what_a_guard_stops_is_kept_as_signed_and_not_run,
    a_redelivery_of_a_kept_event_is_a_duplicate,
    a_kept_event_is_run_once_when_a_delivery_of_it_passes,
    who_signs_a_test_event_with_a_live_ones_id_cannot_make_it_disappear,
    a_test_event_planted_under_a_live_ones_id_neither_repeats_it_nor_takes_its_place,
    a_kept_event_whose_row_in_the_ledger_was_swept_runs_once,
    what_a_handler_says_of_an_event_that_a_guard_had_stopped_counts,
    an_event_whose_age_cannot_be_told_is_not_run,
    copies_at_once_of_a_stopped_event_are_kept_once,
    what_is_to_be_rejected_or_ignored_leaves_no_row,
    a_stopped_event_that_cannot_be_kept_is_not_acknowledged,
    an_event_older_than_the_ledgers_memory_is_not_run_unless_told_otherwise,
    an_event_that_is_not_deduplicated_has_no_age,
    a_stopped_event_that_is_not_deduplicated_is_kept_once,
    another_api_version_train_warns_and_is_run,
    guards_of_the_provider_come_before_those_of_the_layer,
];

/// Each guard, with an event that it stops.
fn stopped() -> [(Guards, String, StopReason); 7] {
    let event = |change: &str, by: &str| {
        let event = stripe::event("evt_1");
        assert!(event.contains(change));
        event.replace(change, by)
    };
    let test_mode = r#""livemode": false,"#;
    let thin = r#"{"id": "evt_1", "object": "v2.core.event", "type": "v1.charge.refunded",
        "context": "acct_other", "related_object": {"id": "cs_test_1", "type": "charge"}}"#;
    let ours = |account: Option<&str>| account == Some("acct_ours");
    let live = || Guards::new().mode(Mode::Live);
    [
        (live(), stripe::event("evt_1"), StopReason::Mode),
        (live(), event(test_mode, ""), StopReason::Mode),
        (
            Guards::new().accounts(ours),
            event(test_mode, r#""account": "acct_other","#),
            StopReason::Account,
        ),
        (
            Guards::new().accounts(ours),
            stripe::event("evt_1"),
            StopReason::Account,
        ),
        (
            Guards::new().accounts(|account| account.is_none()),
            thin.to_owned(),
            StopReason::Account,
        ),
        (
            Guards::new(),
            stripe::event_made_at("evt_1", "charge.refunded", 1_000_000_000),
            StopReason::Age,
        ),
        (
            Guards::new().only_api_train("2026-04-22.dahlia"),
            stripe::event("evt_1"),
            StopReason::ApiTrain,
        ),
    ]
}

async fn what_a_guard_stops_is_kept_as_signed_and_not_run<DB: TestBackend>() {
    for (guards, body, reason) in stopped() {
        let endpoint = Endpoint::<DB>::with(work::<DB>, |layer| layer.guards(guards)).await;
        let answer = endpoint.send(stripe::delivery(&body)).await;
        assert_eq!(answer, StatusCode::OK, "{reason:?}");
        assert_eq!(endpoint.processed().await, (1, 0), "{reason:?}");
        let kept = "select event_id || ' ' || state || ' ' || last_error || ' ' || object_id
            from stripe_inbox where due_at is null and attempts = 0";
        let expected = format!("evt_1 quarantined {} cs_test_1", reason.code());
        assert_eq!(DB::texts(&endpoint.pool, kept).await, [expected]);
        assert_eq!(DB::payload(&endpoint.pool).await, body.as_bytes());
    }
}

async fn a_redelivery_of_a_kept_event_is_a_duplicate<DB: TestBackend>() {
    let live = Guards::new().mode(Mode::Live);
    let endpoint = Endpoint::<DB>::with(work::<DB>, |layer| layer.guards(live)).await;
    let answer = |delivery| endpoint.body(delivery);
    let body = stripe::event("evt_1");
    assert_eq!(answer(stripe::delivery(&body)).await, "kept\n");
    assert_eq!(answer(stripe::delivery(&body)).await, "already processed\n");
    assert_eq!(endpoint.rows().await, 2);
}

/// Another endpoint of the service delivers it in another API version, or the guard was changed.
async fn a_kept_event_is_run_once_when_a_delivery_of_it_passes<DB: TestBackend>() {
    let dahlia = Guards::new().only_api_train("2026-04-22.dahlia");
    let strict = Endpoint::<DB>::with(work::<DB>, |layer| layer.guards(dahlia)).await;
    assert_eq!(strict.deliver("evt_1").await, StatusCode::OK);
    let fails = |mut tx: EventTx<DB>| async move {
        DB::work(&mut tx, "evt_1").await.unwrap();
        StatusCode::BAD_GATEWAY
    };
    let failing = strict.other_process(fails, |layer| layer).await;
    assert_eq!(failing.deliver("evt_1").await, StatusCode::BAD_GATEWAY);
    assert_eq!(strict.processed().await, (1, 0));
    assert_eq!(strict.count("stripe_inbox").await, 1);
    let prepared = |layer: ProcessOnceLayer<DB>| layer.prepare(|_| ready(Ok::<_, Infallible>(())));
    let first = strict.other_process(work::<DB>, prepared).await;
    let second = strict.other_process(work::<DB>, |layer| layer).await;
    let copies = (0..30).map(|copy| match copy % 3 {
        0 => strict.deliver("evt_1"),
        1 => first.deliver("evt_1"),
        _ => second.deliver("evt_1"),
    });
    for answer in join_all(copies).await {
        let busy = [StatusCode::CONFLICT, StatusCode::SERVICE_UNAVAILABLE];
        assert!(answer == StatusCode::OK || busy.contains(&answer));
    }
    for endpoint in [&first, &second, &strict] {
        assert_eq!(endpoint.deliver("evt_1").await, StatusCode::OK);
    }
    assert_eq!(strict.processed().await, (1, 1));
    assert_eq!(strict.count("stripe_inbox").await, 0);
}

async fn who_signs_a_test_event_with_a_live_ones_id_cannot_make_it_disappear<DB: TestBackend>() {
    let live = Guards::new().mode(Mode::Live);
    let endpoint = Endpoint::<DB>::with(work::<DB>, |layer| layer.guards(live)).await;
    assert_eq!(endpoint.deliver("evt_1").await, StatusCode::OK);
    let genuine = stripe::event("evt_1").replace("\"livemode\": false", "\"livemode\": true");
    for _ in 0..2 {
        let answer = endpoint.send(stripe::delivery(&genuine)).await;
        assert_eq!(answer, StatusCode::OK);
        assert_eq!(endpoint.processed().await, (1, 1));
    }
}

/// By whoever has a test secret; the planted one is of a kind that is not deduplicated.
async fn a_test_event_planted_under_a_live_ones_id_neither_repeats_it_nor_takes_its_place<
    DB: TestBackend,
>() {
    let planted = stripe::event_of_type("evt_1", "issuing_authorization.request");
    let live = stripe::event("evt_1").replace(r#""livemode": false"#, r#""livemode": true"#);
    let guards = Guards::new().mode(Mode::Live);
    let endpoint = Endpoint::<DB>::with(work::<DB>, |layer| layer.guards(guards)).await;
    for body in [&planted, &live, &live, &planted, &live, &live] {
        let answer = endpoint.send(stripe::delivery(body)).await;
        assert_eq!(answer, StatusCode::OK);
    }
    assert_eq!(endpoint.processed().await, (1, 1));

    let guards = Guards::new()
        .mode(Mode::Live)
        .accounts(|account| account.is_some());
    let endpoint = Endpoint::<DB>::with(work::<DB>, |layer| layer.guards(guards)).await;
    for body in [&planted, &live, &planted] {
        assert_eq!(endpoint.body(stripe::delivery(body)).await, "kept\n");
    }
    assert_eq!(endpoint.count("stripe_inbox").await, 1);
    assert_eq!(DB::payload(&endpoint.pool).await, live.as_bytes());
}

async fn a_kept_event_whose_row_in_the_ledger_was_swept_runs_once<DB: TestBackend>() {
    let live = Guards::new().mode(Mode::Live);
    let strict = Endpoint::<DB>::with(work::<DB>, |layer| layer.guards(live)).await;
    assert_eq!(strict.deliver("evt_1").await, StatusCode::OK);
    let mut connection = strict.pool.acquire().await.unwrap();
    let sweep = "delete from processed_stripe_events";
    DB::run(&mut connection, sweep).await.unwrap();
    drop(connection);
    let endpoint = strict.other_process(work::<DB>, |layer| layer).await;
    for _ in 0..3 {
        assert_eq!(endpoint.deliver("evt_1").await, StatusCode::OK);
    }
    assert_eq!(endpoint.processed().await, (1, 1));
    // What is left in the inbox is of an event that was processed.
    let operator = Operator::new("jo", "it is left over").unwrap();
    let handler = work::<DB>.into_service();
    let released = endpoint.layer.release(handler, "evt_1", operator).await;
    assert_eq!(released.status(), StatusCode::CONFLICT);
    assert_eq!(endpoint.processed().await, (1, 1));
}

async fn what_a_handler_says_of_an_event_that_a_guard_had_stopped_counts<DB: TestBackend>() {
    let reason = "spam";
    for (disposition, held_by, inbox) in [
        (Disposition::Discard { reason }, "", 0),
        (Disposition::Quarantine { reason }, "handler", 1),
    ] {
        let live = Guards::new().mode(Mode::Live);
        let strict = Endpoint::<DB>::with(work::<DB>, |layer| layer.guards(live)).await;
        assert_eq!(strict.deliver("evt_1").await, StatusCode::OK);
        let says = move |_: EventTx<DB>| async move { disposition };
        let passing = strict.other_process(says, |layer| layer).await;
        assert_eq!(passing.deliver("evt_1").await, StatusCode::OK);
        let held = "select coalesce(held_by, '') from processed_stripe_events";
        assert_eq!(DB::texts(&strict.pool, held).await, [held_by]);
        assert_eq!(strict.count("stripe_inbox").await, inbox);
        let later = strict.other_process(work::<DB>, |layer| layer).await;
        assert_eq!(later.deliver("evt_1").await, StatusCode::OK);
        assert_eq!(later.processed().await, (1, 0), "{disposition:?}");
    }
}

async fn an_event_whose_age_cannot_be_told_is_not_run<DB: TestBackend>() {
    let endpoint = Endpoint::<DB>::new(work::<DB>).await;
    let made = |id: &str, created: &str| {
        let now = format!("\"created\": {}", stripe::unix_now());
        let event = stripe::event_made_at(id, "charge.refunded", stripe::unix_now());
        let change = event
            .lines()
            .find(|line| line.contains("created"))
            .unwrap()
            .to_owned();
        assert!(change.contains(&now[..16]));
        event.replace(&change, created)
    };
    for (id, created, handled) in [
        ("evt_1", r#""created": "2020-01-01T02:00:00+02:00","#, 0),
        ("evt_2", r#""created": -1,"#, 0),
        ("evt_3", r#""created": 1.7672256e9,"#, 0),
        ("evt_4", r#""created": null,"#, 1),
        ("evt_5", "", 2),
    ] {
        let answer = endpoint.send(stripe::delivery(&made(id, created))).await;
        assert_eq!(answer, StatusCode::OK);
        assert_eq!(endpoint.count("work").await, handled, "{created}");
    }
    assert_eq!(endpoint.count("stripe_inbox").await, 3);
}

async fn copies_at_once_of_a_stopped_event_are_kept_once<DB: TestBackend>() {
    let live = || Guards::new().mode(Mode::Live);
    let first = Endpoint::<DB>::with(work::<DB>, |layer| layer.guards(live())).await;
    let second = first
        .other_process(work::<DB>, |layer| layer.guards(live()))
        .await;
    let copies = (0..50).map(|copy| match copy % 2 {
        0 => first.deliver("evt_1"),
        _ => second.deliver("evt_1"),
    });
    for answer in join_all(copies).await {
        let busy = [StatusCode::CONFLICT, StatusCode::SERVICE_UNAVAILABLE];
        assert!(answer == StatusCode::OK || busy.contains(&answer));
    }
    assert_eq!(first.deliver("evt_1").await, StatusCode::OK);
    assert_eq!(first.processed().await, (1, 0));
    assert_eq!(first.count("stripe_inbox").await, 1);
}

async fn what_is_to_be_rejected_or_ignored_leaves_no_row<DB: TestBackend>() {
    for (stopped, status) in [
        (WhenStopped::Reject, StatusCode::BAD_REQUEST),
        (WhenStopped::Ignore, StatusCode::OK),
    ] {
        let guards = Guards::new().mode(Mode::Live).when_stopped(stopped);
        let endpoint = Endpoint::<DB>::with(work::<DB>, |layer| layer.guards(guards)).await;
        let log = log::of(async {
            assert_eq!(endpoint.deliver("evt_1").await, status);
        })
        .await;
        assert!(log.contains("guard_mode") && log.contains("evt_1"), "{log}");
        assert_eq!(endpoint.rows().await, 0);
    }
}

async fn a_stopped_event_that_cannot_be_kept_is_not_acknowledged<DB: TestBackend>() {
    let live = Guards::new().mode(Mode::Live);
    let endpoint = Endpoint::<DB>::with(work::<DB>, |layer| layer.guards(live)).await;
    let mut connection = endpoint.pool.acquire().await.unwrap();
    let hide = "alter table stripe_inbox rename to hidden";
    DB::run(&mut connection, hide).await.unwrap();
    let answer = endpoint.deliver("evt_1").await;
    assert_eq!(answer, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(endpoint.processed().await, (0, 0));
    let show = "alter table hidden rename to stripe_inbox";
    DB::run(&mut connection, show).await.unwrap();
    assert_eq!(endpoint.deliver("evt_1").await, StatusCode::OK);
    assert_eq!(endpoint.count("stripe_inbox").await, 1);
}

async fn an_event_older_than_the_ledgers_memory_is_not_run_unless_told_otherwise<
    DB: TestBackend,
>() {
    let day = 24 * 60 * 60;
    let made = |days: u64| {
        let then = stripe::unix_now() - days * day;
        stripe::event_made_at(&format!("evt_{days}"), "charge.refunded", then)
    };
    let endpoint = Endpoint::<DB>::new(work::<DB>).await;
    for (days, processed) in [(89, (1, 1)), (91, (2, 1))] {
        let answer = endpoint.send(stripe::delivery(&made(days))).await;
        assert_eq!(answer, StatusCode::OK);
        assert_eq!(endpoint.processed().await, processed, "{days} days");
    }
    let off = Guards::new().without_event_age_max();
    let ageless = endpoint
        .other_process(work::<DB>, |layer| layer.guards(off))
        .await;
    ageless.send(stripe::delivery(&made(400))).await;
    assert_eq!(endpoint.processed().await, (3, 2));
}

async fn an_event_that_is_not_deduplicated_has_no_age<DB: TestBackend>() {
    let endpoint = Endpoint::<DB>::new(work::<DB>).await;
    // Stripe's Dashboard makes its test events of a template of 2012.
    let body = stripe::event_made_at("evt_00000000000000", "charge.refunded", 1_326_853_478);
    let answer = endpoint.send(stripe::delivery(&body)).await;
    assert_eq!(answer, StatusCode::OK);
    assert_eq!(endpoint.processed().await, (0, 1));
}

async fn a_stopped_event_that_is_not_deduplicated_is_kept_once<DB: TestBackend>() {
    let live = Guards::new().mode(Mode::Live);
    let endpoint = Endpoint::<DB>::with(work::<DB>, |layer| layer.guards(live)).await;
    for _ in 0..2 {
        let answer = endpoint.deliver("evt_00000000000000").await;
        assert_eq!(answer, StatusCode::OK);
        assert_eq!(endpoint.processed().await, (0, 0));
        assert_eq!(endpoint.count("stripe_inbox").await, 1);
    }
}

async fn another_api_version_train_warns_and_is_run<DB: TestBackend>() {
    let dahlia = Guards::new().api_train("2026-04-22.dahlia");
    let endive = Guards::new().api_train("endive");
    let endpoint = Endpoint::<DB>::with(work::<DB>, |layer| layer.guards(dahlia.clone())).await;
    let log = log::of(async {
        assert_eq!(endpoint.deliver("evt_1").await, StatusCode::OK);
    })
    .await;
    let warned = |line: &str| line.contains("WARN") && line.contains("2026-10-28.endive");
    assert!(log.lines().any(warned), "{log}");
    let same_train = endpoint
        .other_process(work::<DB>, |layer| layer.guards(endive.clone()))
        .await;
    assert_eq!(same_train.deliver("evt_2").await, StatusCode::OK);
    assert_eq!(endpoint.processed().await, (2, 2));
    let counts = (dahlia.other_api_trains(), endive.other_api_trains());
    assert_eq!(counts, (1, 0));
}

/// Expects live events, whatever the layer says.
struct Live;

impl ProvideVerifier for Live {
    fn provide_verifier(&self, _: &Parts) -> Option<Provided> {
        Some(Provided::from(stripe::verifier()).guards(Guards::new().mode(Mode::Live)))
    }
}

async fn guards_of_the_provider_come_before_those_of_the_layer<DB: TestBackend>() {
    let test = Guards::new().mode(Mode::Test);
    let endpoint = Endpoint::<DB>::with(work::<DB>, |layer| {
        layer.guards(test).verifier(std::sync::Arc::new(Live))
    })
    .await;
    assert_eq!(endpoint.deliver("evt_1").await, StatusCode::OK);
    assert_eq!(endpoint.processed().await, (1, 0));
}
