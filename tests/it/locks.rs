//! Who waits for whom, on Postgres. SQLite has one writer.

use axum::http::StatusCode;
use axum_stripe_webhook::{EventTx, EventTxError, ProcessOnceLayer, StripeObject};
use futures_util::future::BoxFuture;
use serde::Deserialize;
use sqlx::Postgres;

use crate::{
    endpoint::{Door, Endpoint},
    on_postgres::waits_for_a_lock,
    stripe,
};

type Tx = EventTx<Postgres>;

/// What a handler answers with, whose status decides whether it is committed.
type Told = Result<(StatusCode, String), EventTxError>;

const COMMITTED: StatusCode = StatusCode::OK;
const ROLLED_BACK: StatusCode = StatusCode::BAD_GATEWAY;

#[derive(Deserialize)]
struct Object {
    id: String,
}

/// Puts the event in order, and then stands at a door.
fn order(
    door: Door,
    status: StatusCode,
) -> impl Fn(StripeObject<Object>, Tx) -> BoxFuture<'static, Told> + Clone + Send + Sync {
    move |StripeObject(object), mut tx| {
        let door = door.clone();
        Box::pin(async move {
            let order = tx.object_order(&object.id).await?;
            door.pass().await;
            Ok((status, format!("{order:?}")))
        })
    }
}

/// Claims the effect, and then stands at a door.
fn claim(
    door: Door,
    status: StatusCode,
) -> impl Fn(Tx) -> BoxFuture<'static, Told> + Clone + Send + Sync {
    move |mut tx| {
        let door = door.clone();
        Box::pin(async move {
            let claimed = tx.claim_effect("fulfil:cs_test_1").await?;
            door.pass().await;
            Ok((status, claimed.to_string()))
        })
    }
}

/// An event of this object that was made so many seconds ago.
fn event(id: &str, object: &str, age: u64) -> String {
    let made_at = stripe::unix_now() - age;
    stripe::event_made_at(id, "customer.subscription.updated", made_at).replace("cs_test_1", object)
}

/// What two deliveries are told, of which the second begins when the first stands at its door, and waits
/// for it.
async fn one_after_the_other(
    [first, second]: [&Endpoint<Postgres>; 2],
    [first_event, second_event]: [&str; 2],
    door: &Door,
) -> [String; 2] {
    let waiting = async {
        door.wait_for_arrival().await;
        let opened = async {
            waits_for_a_lock(second).await;
            door.open(2);
        };
        tokio::join!(second.body(stripe::delivery(second_event)), opened).0
    };
    let (first, second) = tokio::join!(first.body(stripe::delivery(first_event)), waiting);
    [first, second]
}

/// The answers about a newer event and then an older one of one object, in two processes.
async fn ordered(firsts_end: StatusCode, is_known: bool) -> [String; 2] {
    let door = Door::closed();
    let first = Endpoint::<Postgres>::new(order(door.clone(), firsts_end)).await;
    let handler = order(door.clone(), COMMITTED);
    let other = first.other_process(handler, |layer| layer).await;
    if is_known {
        door.open(1);
        let before = event("evt_0", "sub_1", 600);
        assert_eq!(other.body(stripe::delivery(&before)).await, "Newer");
        door.wait_for_arrival().await;
    }
    let events = [event("evt_1", "sub_1", 60), event("evt_2", "sub_1", 120)];
    one_after_the_other(
        [&first, &other],
        events.each_ref().map(String::as_str),
        &door,
    )
    .await
}

#[tokio::test]
async fn two_events_of_one_object_are_processed_one_after_the_other() {
    for is_known in [false, true] {
        assert_eq!(ordered(COMMITTED, is_known).await, ["Newer", "Older"]);
    }
}

#[tokio::test]
async fn an_event_that_waited_for_one_that_rolled_back_is_not_older_than_it() {
    for is_known in [false, true] {
        assert_eq!(ordered(ROLLED_BACK, is_known).await, ["Newer", "Newer"]);
    }
}

#[tokio::test]
async fn events_of_different_objects_do_not_wait_for_each_other() {
    let door = Door::closed();
    let handler = || order(door.clone(), COMMITTED);
    let first = Endpoint::<Postgres>::new(handler()).await;
    let label = |layer: ProcessOnceLayer<Postgres>| layer.endpoint("connect");
    let connect = first.other_process(handler(), label).await;
    let told = async |endpoint: &Endpoint<Postgres>, id, object| {
        let event = event(id, object, 60);
        endpoint.body(stripe::delivery(&event)).await
    };
    // All three hold what they have locked at the same time.
    let opened = async {
        for _ in 0..3 {
            door.wait_for_arrival().await;
        }
        door.open(3);
    };
    let (one, other, at_another_endpoint, ()) = tokio::join!(
        told(&first, "evt_1", "sub_1"),
        told(&first, "evt_2", "sub_2"),
        told(&connect, "evt_1", "sub_1"),
        opened
    );
    assert_eq!([one, other, at_another_endpoint], ["Newer"; 3]);
}

/// The answers to two events that claim one effect, in two processes.
async fn claimed(firsts_end: StatusCode) -> [String; 2] {
    let door = Door::closed();
    let first = Endpoint::<Postgres>::new(claim(door.clone(), firsts_end)).await;
    let handler = claim(door.clone(), COMMITTED);
    let other = first.other_process(handler, |layer| layer).await;
    let events = [stripe::event("evt_1"), stripe::event("evt_2")];
    one_after_the_other(
        [&first, &other],
        events.each_ref().map(String::as_str),
        &door,
    )
    .await
}

#[tokio::test]
async fn a_second_claimer_waits_and_gets_nothing_after_the_commit() {
    assert_eq!(claimed(COMMITTED).await, ["true", "false"]);
}

#[tokio::test]
async fn a_second_claimer_waits_and_gets_the_effect_after_the_rollback() {
    assert_eq!(claimed(ROLLED_BACK).await, ["true", "true"]);
}
