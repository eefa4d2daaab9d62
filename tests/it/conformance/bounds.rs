//! What is limited, and what happens at the limit.

use std::{io, sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    extract::DefaultBodyLimit,
    http::StatusCode,
};
use futures_util::{poll, stream};

use crate::{
    database::{TestBackend, create_tables, open},
    endpoint::{Door, Endpoint, behind, work},
    log, stripe,
};

on_both![
    a_client_that_disconnects_does_not_stop_its_delivery,
    a_client_that_leaves_at_any_await_leaves_no_connection_inside_a_transaction,
    the_services_own_body_limit_counts_under_the_layer,
    a_copy_in_flight_is_answered_without_the_database,
    deliveries_past_the_cap_are_refused_at_once,
    drain_waits_for_the_running_and_refuses_the_later,
    drain_can_be_called_twice,
    drain_ends_when_the_handlers_limit_does,
    limits_without_end_are_possible,
    waiting_for_a_place_is_limited,
    waiting_for_a_connection_is_limited,
    a_pool_that_is_gone_is_503,
    a_database_without_the_tables_is_503,
    a_body_that_does_not_arrive_is_408,
];

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

/// A future of sqlx's that is dropped half way would leave one there, and the next plain insert on it
/// would be seen by nobody else.
async fn a_client_that_leaves_at_any_await_leaves_no_connection_inside_a_transaction<
    DB: TestBackend,
>() {
    let (fresh, others) = open::<DB>().await;
    let pool = DB::connect(&fresh.url, 1).await;
    let endpoint = Endpoint::on(Arc::new(fresh), pool, work::<DB>, |layer| layer);
    for polls in 0..60 {
        let id = format!("evt_{polls}");
        let mut delivery = Box::pin(endpoint.deliver(&id));
        for _ in 0..polls {
            if poll!(&mut delivery).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(delivery);
        let mut connection = endpoint.pool.acquire().await.unwrap();
        let insert = "insert into work (event_id) values ('plain')";
        DB::run(&mut connection, insert).await.unwrap();
        drop(connection);
        let plain = "select event_id from work where event_id = 'plain'";
        assert_eq!(DB::texts(&others, plain).await.len(), polls + 1);
        while endpoint.deliver(&id).await == StatusCode::CONFLICT {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(endpoint.processed().await, (60, 120));
}

async fn the_services_own_body_limit_counts_under_the_layer<DB: TestBackend>() {
    let mut endpoint = Endpoint::<DB>::new(work::<DB>).await;
    let large = stripe::event("evt_1").replace("checkout.session\"", &"x".repeat(3 << 20));
    let large = || stripe::delivery(&large);
    assert_eq!(endpoint.send(large()).await, StatusCode::PAYLOAD_TOO_LARGE);
    let routes = endpoint.app.clone();
    endpoint.app = routes.clone().layer(DefaultBodyLimit::max(4 << 20));
    let answer = endpoint.send(large()).await;
    assert_ne!(answer, StatusCode::PAYLOAD_TOO_LARGE);
    endpoint.app = routes.layer(DefaultBodyLimit::max(100));
    let answer = endpoint.deliver("evt_2").await;
    assert_eq!(answer, StatusCode::PAYLOAD_TOO_LARGE);
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
        assert!(poll!(&mut drain).is_pending());
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

async fn drain_ends_when_the_handlers_limit_does<DB: TestBackend>() {
    let never_opened = Door::closed();
    let handler = behind::<DB>(never_opened.clone());
    let limit = Duration::from_millis(50);
    let endpoint = Endpoint::<DB>::with(handler, |layer| layer.handler_time_max(limit)).await;
    let shutdown = async {
        never_opened.wait_for_arrival().await;
        tokio::time::timeout(Duration::from_secs(10), endpoint.layer.drain()).await
    };
    let (answer, drained) = tokio::join!(endpoint.deliver("evt_1"), shutdown);
    assert_eq!(answer, StatusCode::SERVICE_UNAVAILABLE);
    drained.expect("the limit is kept");
    assert_eq!(endpoint.rows().await, 0);
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

/// A pool of two has one place, and so has SQLite.
async fn waiting_for_a_place_is_limited<DB: TestBackend>() {
    let (fresh, _) = open::<DB>().await;
    let pool = DB::connect(&fresh.url, 2).await;
    let door = Door::closed();
    let handler = behind::<DB>(door.clone());
    let limit = Duration::from_millis(50);
    let endpoint = Endpoint::on(Arc::new(fresh), pool, handler.clone(), |layer| {
        layer.acquire_time_max(limit)
    });
    let other = async {
        door.wait_for_arrival().await;
        // The pool's own limit is 30 s, and would be waited for without ours.
        let waited = tokio::time::timeout(Duration::from_secs(10), endpoint.deliver("evt_2"));
        let answer = waited.await.expect("the limit is kept");
        door.open(2);
        answer
    };
    let answers = tokio::join!(endpoint.deliver("evt_1"), other);
    assert_eq!(answers, (StatusCode::OK, StatusCode::SERVICE_UNAVAILABLE));
    let patient = Endpoint::on(endpoint.fresh, endpoint.pool, handler, |layer| layer);
    assert_eq!(patient.deliver("evt_2").await, StatusCode::OK);
}

async fn waiting_for_a_connection_is_limited<DB: TestBackend>() {
    let (fresh, _) = open::<DB>().await;
    let pool = DB::connect(&fresh.url, 1).await;
    let limit = Duration::from_millis(50);
    let endpoint = Endpoint::on(Arc::new(fresh), pool, work::<DB>, |layer| {
        layer.acquire_time_max(limit)
    });
    let only = endpoint.pool.acquire().await.unwrap();
    let waited = tokio::time::timeout(Duration::from_secs(10), endpoint.deliver("evt_1"));
    assert_eq!(
        waited.await.expect("the limit is kept"),
        StatusCode::SERVICE_UNAVAILABLE
    );
    drop(only);
    let patient = Endpoint::on(endpoint.fresh, endpoint.pool, work::<DB>, |layer| layer);
    assert_eq!(patient.deliver("evt_1").await, StatusCode::OK);
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
    let log = log::of(async {
        let answer = endpoint.deliver("evt_1").await;
        assert_eq!(answer, StatusCode::SERVICE_UNAVAILABLE);
    })
    .await;
    assert!(log.contains("call `axum_stripe_webhook::migrate`"), "{log}");
    create_tables(&pool).await;
    assert_eq!(endpoint.deliver("evt_1").await, StatusCode::OK);
}

async fn a_body_that_does_not_arrive_is_408<DB: TestBackend>() {
    let limit = Duration::from_millis(50);
    let endpoint = Endpoint::<DB>::with(work::<DB>, |layer| layer.body_time_max(limit)).await;
    let never = Body::from_stream(stream::pending::<Result<Bytes, io::Error>>());
    let answer = endpoint
        .send(stripe::delivery_with(never, "t=1,v1=a"))
        .await;
    assert_eq!(answer, StatusCode::REQUEST_TIMEOUT);
}
