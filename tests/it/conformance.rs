//! What both databases must do alike. Every claim is run on each.

use std::{
    future::pending,
    panic,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::http::StatusCode;
use axum_stripe_webhook::{EventTx, VerifiedStripeEvent, migrate};
use futures_util::future::join_all;
use sqlx::Connection;

use crate::{
    database::{TestBackend, open},
    endpoint::{Door, Endpoint, behind, work},
    log, stripe,
};

macro_rules! on_both {
    ($($claim:ident),* $(,)?) => {
        mod on_postgres {
            $(#[tokio::test] async fn $claim() { super::$claim::<sqlx::Postgres>().await; })*
        }
        mod on_sqlite {
            $(#[tokio::test] async fn $claim() { super::$claim::<sqlx::Sqlite>().await; })*
        }
    };
}

on_both![
    a_genuine_event_commits_its_row_and_the_handlers_write_together,
    a_duplicate_is_acknowledged_without_a_second_run,
    fifty_copies_at_once_run_the_handler_once,
    fifty_copies_in_three_processes_run_the_handler_once,
    a_forgery_leaves_no_row_anywhere,
    a_signed_body_that_is_no_event_leaves_no_row_anywhere,
    any_answer_but_2xx_rolls_back_and_the_redelivery_succeeds,
    a_panic_rolls_back_and_the_redelivery_succeeds,
    a_handler_without_end_is_stopped_and_the_redelivery_succeeds,
    a_transaction_that_is_kept_is_never_committed,
    a_transaction_that_is_forgotten_is_never_committed,
    a_savepoint_that_is_forgotten_does_not_take_the_commit_for_itself,
    a_rollback_of_the_handlers_own_is_caught,
    a_commit_of_the_handlers_own_is_refused,
    a_transaction_that_the_handler_began_anew_is_not_committed,
    a_savepoint_of_the_handlers_commits_and_rolls_back_by_itself,
    a_transaction_given_back_early_is_committed,
    a_client_that_disconnects_does_not_stop_its_delivery,
    a_copy_in_flight_is_answered_without_the_database,
    deliveries_past_the_cap_are_refused_at_once,
    drain_waits_for_the_running_and_refuses_the_later,
    drain_can_be_called_twice,
    copies_at_two_endpoints_of_one_process_do_not_get_in_each_others_way,
    limits_without_end_are_possible,
    no_marker_reaches_a_log_or_an_answer,
    each_endpoint_label_processes_an_event_once,
    thin_and_snapshot_twins_are_processed_once_between_them,
    test_events_of_the_dashboard_are_not_deduplicated,
    a_decision_on_an_authorization_is_made_again_for_its_duplicate,
    a_pool_that_is_gone_is_503,
    a_database_without_the_tables_is_503,
    the_handler_sees_the_layers_event_and_the_bytes,
    event_tx_without_the_layer_or_twice_is_500,
    a_body_that_does_not_arrive_is_408,
    no_connection_is_lost_to_handlers_that_misbehave,
];

async fn a_genuine_event_commits_its_row_and_the_handlers_write_together<DB: TestBackend>() {
    let endpoint = Endpoint::<DB>::new(work::<DB>).await;
    assert_eq!(endpoint.deliver("evt_1").await, StatusCode::OK);
    assert_eq!(endpoint.processed().await, (1, 1));
}

async fn a_duplicate_is_acknowledged_without_a_second_run<DB: TestBackend>() {
    let endpoint = Endpoint::<DB>::new(work::<DB>).await;
    for _ in 0..3 {
        assert_eq!(endpoint.deliver("evt_1").await, StatusCode::OK);
    }
    assert_eq!(endpoint.deliver("evt_2").await, StatusCode::OK);
    assert_eq!(endpoint.processed().await, (2, 2));
}

async fn fifty_copies_at_once_run_the_handler_once<DB: TestBackend>() {
    let door = Door::closed();
    let endpoint = Endpoint::<DB>::new(behind::<DB>(door.clone())).await;
    let first = endpoint.deliver("evt_1");
    let copies = async {
        door.wait_for_arrival().await;
        let copies = join_all((0..49).map(|_| endpoint.deliver("evt_1"))).await;
        door.open(50);
        copies
    };
    let (first, copies) = tokio::join!(first, copies);
    assert_eq!(first, StatusCode::OK);
    assert_eq!(copies, vec![StatusCode::CONFLICT; 49]);
    assert_eq!(endpoint.processed().await, (1, 1));
    assert_eq!(endpoint.deliver("evt_1").await, StatusCode::OK);
    assert_eq!(endpoint.processed().await, (1, 1));
}

async fn fifty_copies_in_three_processes_run_the_handler_once<DB: TestBackend>() {
    let first = Endpoint::<DB>::new(work::<DB>).await;
    let processes = [
        first.other_process(work::<DB>, |layer| layer).await,
        first.other_process(work::<DB>, |layer| layer).await,
        first,
    ];
    let answers = join_all((0..50).map(|copy| processes[copy % 3].deliver("evt_1"))).await;
    assert!(answers.contains(&StatusCode::OK));
    for answer in answers {
        assert!(
            matches!(answer, StatusCode::OK | StatusCode::CONFLICT),
            "{answer}"
        );
    }
    assert_eq!(processes[2].processed().await, (1, 1));
}

async fn a_forgery_leaves_no_row_anywhere<DB: TestBackend>() {
    let endpoint = Endpoint::<DB>::new(work::<DB>).await;
    for (forgery, request) in stripe::forgeries(&stripe::event("evt_1")) {
        assert_eq!(
            endpoint.send(request).await,
            StatusCode::BAD_REQUEST,
            "{forgery}"
        );
    }
    assert_eq!(endpoint.rows().await, 0);
}

async fn a_signed_body_that_is_no_event_leaves_no_row_anywhere<DB: TestBackend>() {
    let endpoint = Endpoint::<DB>::new(work::<DB>).await;
    for body in [
        "",
        "null",
        "[]",
        "{}",
        r#"{"id": "evt_\u0000", "object": "event", "type": "a"}"#,
    ] {
        assert_eq!(
            endpoint.send(stripe::delivery(body)).await,
            StatusCode::BAD_REQUEST
        );
    }
    assert_eq!(endpoint.rows().await, 0);
}

/// A handler that misbehaves once, in its own way, after it has written; and works from then on.
macro_rules! at_first {
    (|$tx:ident| $misbehave:expr) => {{
        let runs = Arc::new(AtomicUsize::new(0));
        move |mut $tx: EventTx<DB>| async move {
            let id = $tx.event().id().to_owned();
            DB::work(&mut $tx, &id).await.unwrap();
            match runs.fetch_add(1, Ordering::SeqCst) {
                0 => $misbehave,
                _ => StatusCode::OK,
            }
        }
    }};
}

/// Nothing was committed, the answer was not 2xx, and the redelivery succeeds.
async fn assert_recovers<DB: TestBackend>(endpoint: Endpoint<DB>, first_answer: StatusCode) {
    assert_eq!(endpoint.deliver("evt_1").await, first_answer);
    assert_eq!(
        endpoint.rows().await,
        0,
        "nothing may be left of the first run"
    );
    assert_eq!(endpoint.deliver("evt_1").await, StatusCode::OK);
    assert_eq!(endpoint.processed().await, (1, 1));
}

async fn any_answer_but_2xx_rolls_back_and_the_redelivery_succeeds<DB: TestBackend>() {
    for status in [302, 304, 400, 404, 409, 422, 500, 503] {
        let status = StatusCode::from_u16(status).unwrap();
        let endpoint = Endpoint::<DB>::new(at_first!(|tx| status)).await;
        assert_recovers(endpoint, status).await;
    }
}

async fn a_panic_rolls_back_and_the_redelivery_succeeds<DB: TestBackend>() {
    let endpoint = Endpoint::<DB>::new(at_first!(|tx| {
        panic::resume_unwind(Box::new(
            "the handler panics without a message on the console",
        ))
    }))
    .await;
    assert_recovers(endpoint, StatusCode::INTERNAL_SERVER_ERROR).await;
}

async fn a_handler_without_end_is_stopped_and_the_redelivery_succeeds<DB: TestBackend>() {
    let handler = at_first!(|tx| pending::<StatusCode>().await);
    let limit = Duration::from_millis(200);
    let endpoint = Endpoint::<DB>::with(handler, |layer| layer.handler_time_max(limit)).await;
    assert_recovers(endpoint, StatusCode::SERVICE_UNAVAILABLE).await;
}

async fn a_transaction_that_is_kept_is_never_committed<DB: TestBackend>() {
    let kept = Arc::new(Mutex::new(None));
    let keep = Arc::clone(&kept);
    let endpoint = Endpoint::<DB>::new(at_first!(|tx| {
        *keep.lock().unwrap() = Some(tx);
        StatusCode::OK
    }))
    .await;
    assert_eq!(
        endpoint.deliver("evt_1").await,
        StatusCode::INTERNAL_SERVER_ERROR
    );
    assert_eq!(endpoint.rows().await, 0);
    kept.lock().unwrap().take();
    assert_eq!(settled(&endpoint, "evt_1").await, StatusCode::OK);
    assert_eq!(endpoint.processed().await, (1, 1));
}

#[expect(clippy::mem_forget, reason = "it is what the handler does wrong")]
async fn a_transaction_that_is_forgotten_is_never_committed<DB: TestBackend>() {
    let endpoint = Endpoint::<DB>::new(at_first!(|tx| {
        std::mem::forget(tx);
        StatusCode::OK
    }))
    .await;
    assert_eq!(
        endpoint.deliver("evt_1").await,
        StatusCode::INTERNAL_SERVER_ERROR
    );
    assert_eq!(endpoint.rows().await, 0);
}

#[expect(clippy::mem_forget, reason = "it is what the handler does wrong")]
async fn a_savepoint_that_is_forgotten_does_not_take_the_commit_for_itself<DB: TestBackend>() {
    let endpoint = Endpoint::<DB>::new(at_first!(|tx| {
        std::mem::forget(tx.begin().await.unwrap());
        StatusCode::OK
    }))
    .await;
    assert_recovers(endpoint, StatusCode::INTERNAL_SERVER_ERROR).await;
}

async fn a_rollback_of_the_handlers_own_is_caught<DB: TestBackend>() {
    let endpoint = Endpoint::<DB>::new(at_first!(|tx| {
        DB::run(&mut tx, "rollback").await.unwrap();
        StatusCode::OK
    }))
    .await;
    assert_recovers(endpoint, StatusCode::INTERNAL_SERVER_ERROR).await;
}

async fn a_commit_of_the_handlers_own_is_refused<DB: TestBackend>() {
    let endpoint = Endpoint::<DB>::new(at_first!(|tx| {
        DB::run(&mut tx, "commit")
            .await
            .expect_err("it is not the handler's to commit");
        StatusCode::OK
    }))
    .await;
    assert_recovers(endpoint, StatusCode::INTERNAL_SERVER_ERROR).await;
}

async fn a_transaction_that_the_handler_began_anew_is_not_committed<DB: TestBackend>() {
    let endpoint = Endpoint::<DB>::new(at_first!(|tx| {
        DB::run(&mut tx, "rollback").await.unwrap();
        DB::run(&mut tx, "begin").await.unwrap();
        DB::work(&mut tx, "evt_1").await.unwrap();
        StatusCode::OK
    }))
    .await;
    assert_recovers(endpoint, StatusCode::INTERNAL_SERVER_ERROR).await;
}

async fn a_savepoint_of_the_handlers_commits_and_rolls_back_by_itself<DB: TestBackend>() {
    let endpoint = Endpoint::<DB>::new(|mut tx: EventTx<DB>| async move {
        let mut kept = tx.begin().await.unwrap();
        DB::work(&mut kept, "kept").await.unwrap();
        kept.commit().await.unwrap();
        let mut dropped = tx.begin().await.unwrap();
        DB::work(&mut dropped, "dropped").await.unwrap();
        drop(dropped);
    })
    .await;
    assert_eq!(endpoint.deliver("evt_1").await, StatusCode::OK);
    assert_eq!(endpoint.processed().await, (1, 1));
}

/// Nothing tells a handler that drops its transaction early from one that ends.
async fn a_transaction_given_back_early_is_committed<DB: TestBackend>() {
    let endpoint = Endpoint::<DB>::new(|mut tx: EventTx<DB>| async move {
        DB::work(&mut tx, "evt_1").await.unwrap();
        drop(tx);
        tokio::task::yield_now().await;
    })
    .await;
    assert_eq!(endpoint.deliver("evt_1").await, StatusCode::OK);
    assert_eq!(endpoint.processed().await, (1, 1));
}

async fn a_client_that_disconnects_does_not_stop_its_delivery<DB: TestBackend>() {
    let door = Door::closed();
    let endpoint = Endpoint::<DB>::new(behind::<DB>(door.clone())).await;
    // hyper drops the future of a request whose client has gone: so does this.
    tokio::select! {
        answer = endpoint.deliver("evt_1") => panic!("answered {answer} behind a closed door"),
        () = door.wait_for_arrival() => {}
    }
    door.open(1);
    endpoint.layer.drain().await;
    assert_eq!(endpoint.processed().await, (1, 1));
}

async fn a_copy_in_flight_is_answered_without_the_database<DB: TestBackend>() {
    let (fresh, _) = open::<DB>().await;
    let one_connection = DB::connect(&fresh.url, 1).await;
    let door = Door::closed();
    let handler = behind::<DB>(door.clone());
    let endpoint = Endpoint::on(Arc::new(fresh), one_connection, handler, |layer| layer);
    let copies = async {
        door.wait_for_arrival().await;
        // The only connection is taken, so an answer can only come from memory.
        let copy = endpoint.deliver("evt_1").await;
        door.open(1);
        copy
    };
    let (first, copy) = tokio::join!(endpoint.deliver("evt_1"), copies);
    assert_eq!((first, copy), (StatusCode::OK, StatusCode::CONFLICT));
}

async fn deliveries_past_the_cap_are_refused_at_once<DB: TestBackend>() {
    let door = Door::closed();
    let handler = behind::<DB>(door.clone());
    let endpoint = Endpoint::<DB>::with(handler, |layer| layer.deliveries_max(1)).await;
    let second = async {
        door.wait_for_arrival().await;
        let second = endpoint.deliver("evt_2").await;
        door.open(2);
        second
    };
    let (first, second) = tokio::join!(endpoint.deliver("evt_1"), second);
    assert_eq!(
        (first, second),
        (StatusCode::OK, StatusCode::SERVICE_UNAVAILABLE)
    );
    assert_eq!(endpoint.deliver("evt_2").await, StatusCode::OK);
}

async fn drain_waits_for_the_running_and_refuses_the_later<DB: TestBackend>() {
    let door = Door::closed();
    let endpoint = Endpoint::<DB>::new(behind::<DB>(door.clone())).await;
    let shutdown = async {
        door.wait_for_arrival().await;
        let mut drain = Box::pin(endpoint.layer.drain());
        assert!(futures_util::poll!(&mut drain).is_pending());
        assert_eq!(
            endpoint.deliver("evt_2").await,
            StatusCode::SERVICE_UNAVAILABLE
        );
        door.open(1);
        drain.await;
        endpoint.deliver("evt_3").await
    };
    let (running, later) = tokio::join!(endpoint.deliver("evt_1"), shutdown);
    assert_eq!(
        (running, later),
        (StatusCode::OK, StatusCode::SERVICE_UNAVAILABLE)
    );
    assert_eq!(endpoint.processed().await, (1, 1));
}

async fn drain_can_be_called_twice<DB: TestBackend>() {
    let endpoint = Endpoint::<DB>::new(work::<DB>).await;
    let other = endpoint.layer.clone();
    tokio::join!(endpoint.layer.drain(), other.drain());
    endpoint.layer.drain().await;
    assert_eq!(
        endpoint.deliver("evt_1").await,
        StatusCode::SERVICE_UNAVAILABLE
    );
}

async fn copies_at_two_endpoints_of_one_process_do_not_get_in_each_others_way<DB: TestBackend>() {
    let door = Door::closed();
    let account = Endpoint::<DB>::new(behind::<DB>(door.clone())).await;
    let layer = account.layer.clone().endpoint("connect");
    let handler = behind::<DB>(door.clone());
    let fresh = Arc::clone(&account.fresh);
    let connect = Endpoint::on(fresh, account.pool.clone(), handler, move |_| layer);
    let other = async {
        door.wait_for_arrival().await;
        // On SQLite it waits for its turn, so the first is let through when the second has come.
        let second = connect.deliver("evt_1");
        door.open(2);
        second.await
    };
    let answers = tokio::join!(account.deliver("evt_1"), other);
    assert_eq!(answers, (StatusCode::OK, StatusCode::OK));
    assert_eq!(account.processed().await, (2, 2));
}

async fn limits_without_end_are_possible<DB: TestBackend>() {
    let endpoint = Endpoint::<DB>::with(work::<DB>, |layer| {
        layer
            .acquire_time_max(Duration::MAX)
            .claim_wait_max(Duration::MAX)
            .handler_time_max(Duration::MAX)
            .body_time_max(Duration::MAX)
            .deliveries_max(usize::MAX)
    })
    .await;
    assert_eq!(endpoint.deliver("evt_1").await, StatusCode::OK);
    endpoint.layer.drain().await;
}

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

async fn each_endpoint_label_processes_an_event_once<DB: TestBackend>() {
    let account = Endpoint::<DB>::new(work::<DB>).await;
    let connect = account
        .other_process(work::<DB>, |layer| layer.endpoint("connect"))
        .await;
    for _ in 0..2 {
        assert_eq!(account.deliver("evt_1").await, StatusCode::OK);
        assert_eq!(connect.deliver("evt_1").await, StatusCode::OK);
    }
    assert_eq!(account.processed().await, (2, 2));
}

async fn thin_and_snapshot_twins_are_processed_once_between_them<DB: TestBackend>() {
    let endpoint = Endpoint::<DB>::new(work::<DB>).await;
    let thin = r#"{"id": "evt_thin", "object": "v2.core.event", "snapshot_event": "evt_1",
        "type": "v1.checkout.session.completed", "created": "2026-01-01T00:00:00Z"}"#;
    for _ in 0..2 {
        assert_eq!(endpoint.send(stripe::delivery(thin)).await, StatusCode::OK);
        assert_eq!(endpoint.deliver("evt_1").await, StatusCode::OK);
    }
    assert_eq!(endpoint.processed().await, (1, 1));
}

async fn test_events_of_the_dashboard_are_not_deduplicated<DB: TestBackend>() {
    let endpoint = Endpoint::<DB>::new(work::<DB>).await;
    for _ in 0..3 {
        assert_eq!(endpoint.deliver("evt_00000000000000").await, StatusCode::OK);
    }
    assert_eq!(endpoint.processed().await, (0, 3));
}

async fn a_decision_on_an_authorization_is_made_again_for_its_duplicate<DB: TestBackend>() {
    let decide = || async {
        (
            [("content-type", "application/json")],
            r#"{"approved":true}"#,
        )
    };
    let endpoint = Endpoint::<DB>::new(decide).await;
    let body = stripe::event_of_type("evt_1", "issuing_authorization.request");
    for _ in 0..2 {
        assert_eq!(
            endpoint.body(stripe::delivery(&body)).await,
            r#"{"approved":true}"#
        );
    }
    assert_eq!(endpoint.rows().await, 0);
}

async fn a_pool_that_is_gone_is_503<DB: TestBackend>() {
    let endpoint = Endpoint::<DB>::new(work::<DB>).await;
    endpoint.pool.close().await;
    assert_eq!(
        endpoint.deliver("evt_1").await,
        StatusCode::SERVICE_UNAVAILABLE
    );
}

async fn a_database_without_the_tables_is_503<DB: TestBackend>() {
    let fresh = DB::fresh().await;
    let pool = DB::connect(&fresh.url, 2).await;
    let endpoint = Endpoint::on(Arc::new(fresh), pool.clone(), work::<DB>, |layer| layer);
    assert_eq!(
        endpoint.deliver("evt_1").await,
        StatusCode::SERVICE_UNAVAILABLE
    );
    migrate(&pool).await.unwrap();
    let mut connection = pool.acquire().await.unwrap();
    DB::run(
        &mut connection,
        "create table work (event_id text not null)",
    )
    .await
    .unwrap();
    drop(connection);
    assert_eq!(endpoint.deliver("evt_1").await, StatusCode::OK);
}

async fn the_handler_sees_the_layers_event_and_the_bytes<DB: TestBackend>() {
    let body = stripe::event("evt_1");
    let expected = body.clone();
    let (fresh, pool) = open::<DB>().await;
    let _fresh = fresh;
    let layer = axum_stripe_webhook::ProcessOnceLayer::new(pool, stripe::verifier());
    // The state's verifier would refuse: the event is verified once, by the layer.
    let other = axum_stripe_webhook::SigningSecret::new("whsec_of_somebody_else").unwrap();
    let app: axum::Router = axum::Router::new()
        .route(
            "/webhooks/stripe",
            axum::routing::post(|tx: EventTx<DB>, event: VerifiedStripeEvent| async move {
                assert_eq!(tx.event().id(), event.id());
                String::from_utf8(event.bytes().to_vec()).unwrap()
            })
            .route_layer(layer),
        )
        .with_state(axum_stripe_webhook::Verifier::new(other));
    let response = tower::ServiceExt::oneshot(app, stripe::delivery(&body))
        .await
        .unwrap();
    let bytes = axum::body::to_bytes(response.into_body(), 4096)
        .await
        .unwrap();
    assert_eq!(bytes, expected);
}

async fn event_tx_without_the_layer_or_twice_is_500<DB: TestBackend>() {
    let without = axum::Router::new().route(
        "/webhooks/stripe",
        axum::routing::post(|_: EventTx<DB>| async {}),
    );
    let request = stripe::delivery(&stripe::event("evt_1"));
    let response = tower::ServiceExt::oneshot(without, request).await.unwrap();
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);

    let twice = Endpoint::<DB>::new(|_: EventTx<DB>, _: EventTx<DB>| async {}).await;
    assert_eq!(
        twice.deliver("evt_1").await,
        StatusCode::INTERNAL_SERVER_ERROR
    );
    assert_eq!(twice.rows().await, 0);
}

async fn a_body_that_does_not_arrive_is_408<DB: TestBackend>() {
    let limit = Duration::from_millis(50);
    let endpoint = Endpoint::<DB>::with(work::<DB>, |layer| layer.body_time_max(limit)).await;
    let never = axum::body::Body::from_stream(futures_util::stream::pending::<
        Result<axum::body::Bytes, std::io::Error>,
    >());
    let answer = endpoint
        .send(stripe::delivery_with(never, "t=1,v1=a"))
        .await;
    assert_eq!(answer, StatusCode::REQUEST_TIMEOUT);
}

async fn no_connection_is_lost_to_handlers_that_misbehave<DB: TestBackend>() {
    let runs = Arc::new(AtomicUsize::new(0));
    let handler = move |mut tx: EventTx<DB>| async move {
        DB::work(&mut tx, "evt").await.unwrap();
        match runs.fetch_add(1, Ordering::SeqCst) % 4 {
            0 => panic::resume_unwind(Box::new("no message")),
            1 => pending::<StatusCode>().await,
            2 => {
                DB::run(&mut tx, "rollback").await.unwrap();
                StatusCode::OK
            }
            _ => StatusCode::BAD_GATEWAY,
        }
    };
    let limit = Duration::from_millis(20);
    let endpoint = Endpoint::<DB>::with(handler, |layer| layer.handler_time_max(limit)).await;
    // Three times as many as the pool has connections.
    for _ in 0..3 * crate::database::CONNECTIONS {
        assert!(!endpoint.deliver("evt_1").await.is_success());
    }
    assert_eq!(endpoint.rows().await, 0);
    let after = Endpoint::on(
        Arc::clone(&endpoint.fresh),
        endpoint.pool.clone(),
        work::<DB>,
        |layer| layer,
    );
    assert_eq!(after.deliver("evt_1").await, StatusCode::OK);
}

/// Delivers until the database has let go of what was abandoned.
async fn settled<DB: TestBackend>(endpoint: &Endpoint<DB>, id: &str) -> StatusCode {
    for _ in 0..20 {
        match endpoint.deliver(id).await {
            StatusCode::CONFLICT | StatusCode::SERVICE_UNAVAILABLE => {}
            answer => return answer,
        }
    }
    panic!("the abandoned transaction is still there");
}
