//! Once per event.

use axum::http::StatusCode;
use futures_util::future::join_all;

use crate::{
    database::TestBackend,
    endpoint::{Door, Endpoint, behind, work},
    stripe,
};

on_both![
    a_genuine_event_commits_its_row_and_the_handlers_write_together,
    a_duplicate_is_acknowledged_without_a_second_run,
    an_event_is_known_by_its_id_whatever_else_differs,
    fifty_copies_at_once_run_the_handler_once,
    fifty_copies_in_three_processes_run_the_handler_once,
    a_forgery_leaves_no_row_anywhere,
    a_signed_body_that_is_no_event_leaves_no_row_anywhere,
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

/// Signature, time, headers and even what Stripe writes into the event anew.
async fn an_event_is_known_by_its_id_whatever_else_differs<DB: TestBackend>() {
    let endpoint = Endpoint::<DB>::new(work::<DB>).await;
    let body = stripe::event("evt_1");
    let later = stripe::event_made_at("evt_1", "invoice.paid", stripe::unix_now() - 60);
    let mut other_headers = stripe::delivery(&body);
    let headers = other_headers.headers_mut();
    headers.insert("idempotency-key", "another".parse().unwrap());
    headers.insert("x-request-id", "another".parse().unwrap());
    for delivery in [
        stripe::delivery_signed_before(&body, 20),
        stripe::delivery_signed_before(&body, 7),
        other_headers,
        stripe::delivery(&later),
    ] {
        assert_eq!(endpoint.send(delivery).await, StatusCode::OK);
    }
    assert_eq!(endpoint.processed().await, (1, 1));
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
