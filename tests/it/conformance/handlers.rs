//! Handlers that fail, panic, keep, end or forget.

use std::{
    future::pending,
    panic,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::{FromRequestParts, Request},
    http::{StatusCode, request::Parts},
    routing::post,
};
use axum_stripe_webhook::{
    EventTx, EventTxRejection, ProcessOnceLayer, SigningSecret, VerifiedStripeEvent, Verifier,
};
use futures_util::future::BoxFuture;
use sqlx::Connection;
use tower::ServiceExt;

use crate::{
    database::{CONNECTIONS, TestBackend, open},
    endpoint::{Endpoint, work},
    stripe,
};

on_both![
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
    a_request_that_is_kept_cannot_write_after_the_answer,
    a_request_that_is_kept_keeps_no_connection,
    the_handler_sees_the_layers_event_and_the_bytes,
    event_tx_without_the_layer_or_twice_is_500,
    no_connection_is_lost_to_handlers_that_misbehave,
];

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

type Kept = Arc<Mutex<Vec<Parts>>>;

/// A handler that keeps a copy of its request's parts.
fn keeping<DB: TestBackend>(
    kept: &Kept,
) -> impl Fn(Request) -> BoxFuture<'static, StatusCode> + Clone + Send + Sync + use<DB> {
    let kept = Arc::clone(kept);
    move |request| {
        let kept = Arc::clone(&kept);
        Box::pin(async move {
            let (mut parts, _) = request.into_parts();
            kept.lock().unwrap().push(parts.clone());
            work(
                EventTx::<DB>::from_request_parts(&mut parts, &())
                    .await
                    .unwrap(),
            )
            .await
        })
    }
}

async fn a_request_that_is_kept_cannot_write_after_the_answer<DB: TestBackend>() {
    let kept = Kept::default();
    let endpoint = Endpoint::<DB>::new(keeping::<DB>(&kept)).await;
    assert_eq!(endpoint.deliver("evt_1").await, StatusCode::OK);
    let mut parts = kept.lock().unwrap().remove(0);
    let late = EventTx::<DB>::from_request_parts(&mut parts, &()).await;
    assert_eq!(late.unwrap_err(), EventTxRejection::Taken);
    assert_eq!(endpoint.processed().await, (1, 1));
}

async fn a_request_that_is_kept_keeps_no_connection<DB: TestBackend>() {
    let kept = Kept::default();
    let endpoint = Endpoint::<DB>::new(keeping::<DB>(&kept)).await;
    for n in 0..3 * CONNECTIONS {
        assert_eq!(endpoint.deliver(&format!("evt_{n}")).await, StatusCode::OK);
    }
}

async fn the_handler_sees_the_layers_event_and_the_bytes<DB: TestBackend>() {
    let body = stripe::event("evt_1");
    let expected = body.clone();
    let (fresh, pool) = open::<DB>().await;
    let _fresh = fresh;
    let layer = ProcessOnceLayer::new(pool, stripe::verifier());
    // The state's verifier would refuse: the event is verified once, by the layer.
    let other = SigningSecret::new("whsec_of_somebody_else").unwrap();
    let app: Router = Router::new()
        .route(
            "/webhooks/stripe",
            post(|tx: EventTx<DB>, event: VerifiedStripeEvent| async move {
                assert_eq!(tx.event().id(), event.id());
                String::from_utf8(event.bytes().to_vec()).unwrap()
            })
            .route_layer(layer),
        )
        .with_state(Verifier::new(other));
    let response = tower::ServiceExt::oneshot(app, stripe::delivery(&body))
        .await
        .unwrap();
    let bytes = axum::body::to_bytes(response.into_body(), 4096)
        .await
        .unwrap();
    assert_eq!(bytes, expected);
}

async fn event_tx_without_the_layer_or_twice_is_500<DB: TestBackend>() {
    let without = Router::new().route("/webhooks/stripe", post(|_: EventTx<DB>| async {}));
    let request = stripe::delivery(&stripe::event("evt_1"));
    let response = without.oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);

    let twice = Endpoint::<DB>::new(|_: EventTx<DB>, _: EventTx<DB>| async {}).await;
    assert_eq!(
        twice.deliver("evt_1").await,
        StatusCode::INTERNAL_SERVER_ERROR
    );
    assert_eq!(twice.rows().await, 0);
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
    for _ in 0..3 * CONNECTIONS {
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
