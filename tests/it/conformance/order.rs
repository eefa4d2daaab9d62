//! The order of an object's events.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use axum_stripe_webhook::{
    Disposition, EventTx, EventTxError, Guards, ObjectOrder, ProcessOnceLayer, StripeObject,
    event::ID_BYTES_MAX,
};
use futures_util::future::BoxFuture;
use serde::Deserialize;

use crate::{database::TestBackend, endpoint::Endpoint, log, stripe};

on_both![
    an_event_is_newer_older_or_of_the_same_second,
    a_duplicate_is_not_put_in_order_again,
    events_that_are_rolled_back_leave_no_trace_in_the_order,
    a_deleted_object_stays_deleted_whenever_its_events_were_made,
    a_deletion_that_is_rolled_back_is_none,
    events_from_before_what_was_fetched_are_older,
    what_was_fetched_before_the_newest_event_changes_nothing,
    each_object_has_an_order_of_its_own,
    each_endpoint_has_orders_of_its_own,
    an_event_that_does_not_say_when_it_was_made_is_of_the_same_second,
    an_id_that_cannot_be_one_is_an_error_and_nothing_is_lost,
    what_cannot_be_asked_of_the_database_is_an_error_and_nothing_is_lost,
];

/// When these stories begin, in Unix seconds.
const START: u64 = 1_767_225_600;

const OBJECT: &str = "cs_test_1";

#[derive(Deserialize)]
struct Object {
    id: String,
}

/// The ordinary handler: it answers with what the order is.
async fn order<DB: TestBackend>(
    StripeObject(object): StripeObject<Object>,
    mut tx: EventTx<DB>,
) -> Result<String, EventTxError> {
    let order = tx.object_order(&object.id).await?;
    Ok(format!("{order:?}"))
}

async fn delete<DB: TestBackend>(
    StripeObject(object): StripeObject<Object>,
    mut tx: EventTx<DB>,
) -> Result<(), EventTxError> {
    tx.object_deleted(&object.id).await
}

/// Has the object fetched at an instant.
fn fetch<DB: TestBackend>(
    asked_at: SystemTime,
) -> impl Fn(EventTx<DB>) -> BoxFuture<'static, Result<(), EventTxError>> + Clone + Send + Sync {
    move |mut tx| Box::pin(async move { tx.object_fetched(OBJECT, asked_at).await })
}

fn at(second: f64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(START) + Duration::from_secs_f64(second)
}

/// Events of these stories are of any age.
fn ageless<DB: TestBackend>(layer: ProcessOnceLayer<DB>) -> ProcessOnceLayer<DB> {
    layer.guards(Guards::new().without_event_age_max())
}

async fn in_order<DB: TestBackend>() -> Endpoint<DB> {
    Endpoint::with(order::<DB>, ageless).await
}

/// An event that was made in this second of the story.
fn event(id: &str, second: u64) -> String {
    stripe::event_made_at(id, "customer.subscription.updated", START + second)
}

/// Delivers one, and gives back the answer.
async fn tell<DB: TestBackend>(endpoint: &Endpoint<DB>, id: &str, second: u64) -> String {
    endpoint.body(stripe::delivery(&event(id, second))).await
}

async fn deliver<DB: TestBackend>(endpoint: &Endpoint<DB>, id: &str, second: u64) -> StatusCode {
    endpoint.send(stripe::delivery(&event(id, second))).await
}

/// Delivers an event for each second, and compares what each is told.
async fn tells<DB: TestBackend>(endpoint: &Endpoint<DB>, events: &[(u64, ObjectOrder)]) {
    let from = endpoint.count("processed_stripe_events").await;
    for (nth, (second, order)) in events.iter().enumerate() {
        let told = tell(endpoint, &format!("evt_{from}_{nth}"), *second).await;
        assert_eq!(told, format!("{order:?}"), "event {nth}, second {second}");
    }
}

use ObjectOrder::{Newer, Older, SameSecond};

async fn an_event_is_newer_older_or_of_the_same_second<DB: TestBackend>() {
    let endpoint = in_order::<DB>().await;
    let events = [
        (5, Newer),
        (5, SameSecond),
        (4, Older),
        (5, SameSecond),
        (6, Newer),
        (5, Older),
        (6, SameSecond),
        (0, Older),
        (60, Newer),
    ];
    tells(&endpoint, &events).await;
    assert_eq!(endpoint.count("stripe_objects").await, 1);
}

async fn a_duplicate_is_not_put_in_order_again<DB: TestBackend>() {
    let endpoint = in_order::<DB>().await;
    assert_eq!(tell(&endpoint, "evt_1", 5).await, "Newer");
    assert_eq!(tell(&endpoint, "evt_1", 5).await, "already processed\n");
    assert_eq!(tell(&endpoint, "evt_2", 6).await, "Newer");
}

async fn events_that_are_rolled_back_leave_no_trace_in_the_order<DB: TestBackend>() {
    let endings: [fn() -> Response; 7] = [
        || StatusCode::BAD_GATEWAY.into_response(),
        || Disposition::Ignore.into_response(),
        || Disposition::NotYet.into_response(),
        || Disposition::RetryAfter(Duration::ZERO).into_response(),
        || Disposition::Quarantine { reason: "a" }.into_response(),
        || Disposition::Discard { reason: "a" }.into_response(),
        || panic!("a handler's fault"),
    ];
    let endpoint = in_order::<DB>().await;
    for (nth, ending) in (0..).zip(endings) {
        let handler = move |mut tx: EventTx<DB>| async move {
            assert_eq!(tx.object_order(OBJECT).await.unwrap(), Newer);
            tx.object_fetched(OBJECT, at(70.0)).await.unwrap();
            ending()
        };
        let other = endpoint.other_process(handler, ageless).await;
        deliver(&other, &format!("evt_{nth}_late"), 60).await;
        let rows = i64::from(nth > 0);
        assert_eq!(endpoint.count("stripe_objects").await, rows, "ending {nth}");
        let told = tell(&endpoint, &format!("evt_{nth}"), 1 + nth).await;
        assert_eq!(told, "Newer", "ending {nth}");
    }
}

async fn a_deleted_object_stays_deleted_whenever_its_events_were_made<DB: TestBackend>() {
    for deleted_in in [3, 5, 7] {
        let endpoint = in_order::<DB>().await;
        let deleting = endpoint.other_process(delete::<DB>, ageless).await;
        tells(&endpoint, &[(5, Newer)]).await;
        assert_eq!(
            deliver(&deleting, "evt_1", deleted_in).await,
            StatusCode::OK
        );
        let older = [2, 3, 4, 5, 6, 7, 8].map(|second| (second, Older));
        tells(&endpoint, &older).await;
        assert_eq!(deliver(&deleting, "evt_2", 20).await, StatusCode::OK);
        assert_eq!(deliver(&deleting, "evt_3", 0).await, StatusCode::OK);
        tells(
            &endpoint,
            &[(0, Older), (19, Older), (20, Older), (21, Older)],
        )
        .await;
        let fetching = endpoint
            .other_process(fetch::<DB>(at(100.0)), ageless)
            .await;
        assert_eq!(deliver(&fetching, "evt_4", 30).await, StatusCode::OK);
        tells(&endpoint, &[(99, Older), (100, Older), (101, Older)]).await;
    }
    // The deletion may be the first that is heard of it.
    let deleting = Endpoint::<DB>::with(delete::<DB>, ageless).await;
    let endpoint = deleting.other_process(order::<DB>, ageless).await;
    assert_eq!(deliver(&deleting, "evt_1", 5).await, StatusCode::OK);
    tells(&endpoint, &[(4, Older), (5, Older), (6, Older)]).await;
}

async fn a_deletion_that_is_rolled_back_is_none<DB: TestBackend>() {
    let endpoint = in_order::<DB>().await;
    let handler = |mut tx: EventTx<DB>| async move {
        tx.object_deleted(OBJECT).await.unwrap();
        StatusCode::BAD_GATEWAY
    };
    let failing = endpoint.other_process(handler, ageless).await;
    for (id, second) in [("evt_1", 5), ("evt_2", 7)] {
        let answer = deliver(&failing, id, 9).await;
        assert_eq!(answer, StatusCode::BAD_GATEWAY);
        assert_eq!(tell(&endpoint, id, second).await, "Newer");
    }
}

async fn events_from_before_what_was_fetched_are_older<DB: TestBackend>() {
    let endpoint = in_order::<DB>().await;
    tells(&endpoint, &[(5, Newer)]).await;
    // The clock may be five minutes fast.
    let fetching = endpoint
        .other_process(fetch::<DB>(at(360.9)), ageless)
        .await;
    assert_eq!(deliver(&fetching, "evt_1", 5).await, StatusCode::OK);
    let events = [
        (4, Older),
        (5, Older),
        (59, Older),
        (60, SameSecond),
        (61, Newer),
        (60, Older),
    ];
    tells(&endpoint, &events).await;
}

async fn what_was_fetched_before_the_newest_event_changes_nothing<DB: TestBackend>() {
    let endpoint = in_order::<DB>().await;
    tells(&endpoint, &[(5, Newer)]).await;
    let before_1970 = UNIX_EPOCH - Duration::from_secs(1);
    for (id, asked_at) in [("evt_1", at(3.0)), ("evt_2", before_1970)] {
        let fetching = endpoint.other_process(fetch::<DB>(asked_at), ageless).await;
        assert_eq!(deliver(&fetching, id, 5).await, StatusCode::OK);
        tells(&endpoint, &[(4, Older), (5, SameSecond)]).await;
    }
    tells(&endpoint, &[(6, Newer)]).await;
}

async fn each_object_has_an_order_of_its_own<DB: TestBackend>() {
    let handler = |mut tx: EventTx<DB>| async move {
        let one = tx.object_order("sub_1").await.unwrap();
        let other = tx.object_order("sub_2").await.unwrap();
        tx.object_deleted("sub_3").await.unwrap();
        format!("{one:?} {other:?}")
    };
    let both = Endpoint::<DB>::with(handler, ageless).await;
    let one = both.other_process(order::<DB>, ageless).await;
    let of_the_other = |id| event(id, 7).replace(OBJECT, "sub_2");
    assert_eq!(tell(&both, "evt_1", 5).await, "Newer Newer");
    let told = one.body(stripe::delivery(&of_the_other("evt_2"))).await;
    assert_eq!(told, "Newer");
    assert_eq!(tell(&both, "evt_3", 6).await, "Newer Older");
    assert_eq!(tell(&both, "evt_4", 7).await, "Newer SameSecond");
    assert_eq!(both.count("stripe_objects").await, 3);
}

async fn each_endpoint_has_orders_of_its_own<DB: TestBackend>() {
    let account = in_order::<DB>().await;
    let label = |layer| ageless(layer).endpoint("connect");
    let connect = account.other_process(order::<DB>, label).await;
    let deleting = account.other_process(delete::<DB>, label).await;
    assert_eq!(tell(&account, "evt_1", 5).await, "Newer");
    assert_eq!(tell(&connect, "evt_1", 5).await, "Newer");
    assert_eq!(tell(&connect, "evt_2", 6).await, "Newer");
    assert_eq!(deliver(&deleting, "evt_3", 6).await, StatusCode::OK);
    assert_eq!(tell(&connect, "evt_4", 7).await, "Older");
    assert_eq!(tell(&account, "evt_4", 5).await, "SameSecond");
    assert_eq!(tell(&account, "evt_5", 6).await, "Newer");
}

async fn an_event_that_does_not_say_when_it_was_made_is_of_the_same_second<DB: TestBackend>() {
    let endpoint = in_order::<DB>().await;
    let created = format!("\"created\": {},", START + 5);
    let timeless = async |id: &str, instead: &str| {
        let body = event(id, 5);
        assert!(body.contains(&created));
        let body = body.replace(&created, instead);
        endpoint.body(stripe::delivery(&body)).await
    };
    let ways = [
        "",
        r#""created": null,"#,
        r#""created": -1,"#,
        r#""created": 1.7672256e9,"#,
        r#""created": 253402300800,"#,
        r#""created": "2026-01-01T02:00:00+02:00","#,
    ];
    for (way, instead) in ways.iter().enumerate() {
        assert_eq!(
            timeless(&format!("evt_a{way}"), instead).await,
            "SameSecond"
        );
    }
    tells(&endpoint, &[(5, Newer)]).await;
    for (way, instead) in ways.iter().enumerate() {
        assert_eq!(
            timeless(&format!("evt_b{way}"), instead).await,
            "SameSecond"
        );
    }
    tells(&endpoint, &[(4, Older), (5, SameSecond), (6, Newer)]).await;
    let deleting = endpoint.other_process(delete::<DB>, ageless).await;
    assert_eq!(deliver(&deleting, "evt_c", 6).await, StatusCode::OK);
    assert_eq!(timeless("evt_d", "").await, "Older");
}

async fn an_id_that_cannot_be_one_is_an_error_and_nothing_is_lost<DB: TestBackend>() {
    let endpoint = in_order::<DB>().await;
    let deleting = endpoint.other_process(delete::<DB>, ageless).await;
    let handler = |StripeObject(object): StripeObject<Object>, mut tx: EventTx<DB>| async move {
        tx.object_fetched(&object.id, at(0.0)).await
    };
    let fetching = endpoint.other_process(handler, ageless).await;
    let too_long = "x".repeat(ID_BYTES_MAX + 1);
    for id in ["", &too_long, r"sub\u0000", r"\u0000"] {
        let body = event("evt_1", 5).replace(OBJECT, id);
        for process in [&endpoint, &deleting, &fetching] {
            let log = log::of(async {
                let answer = process.send(stripe::delivery(&body)).await;
                assert_eq!(answer, StatusCode::INTERNAL_SERVER_ERROR, "{id}");
            });
            assert!(log.await.contains("empty, too long or unprintable"));
            assert_eq!(endpoint.rows().await, 0, "{id}");
        }
    }
    let longest = "x".repeat(ID_BYTES_MAX);
    let mended = event("evt_1", 5).replace(OBJECT, &longest);
    assert_eq!(endpoint.body(stripe::delivery(&mended)).await, "Newer");
    // It was no fault of the transaction's.
    let handler = |mut tx: EventTx<DB>| async move {
        let error = tx.object_order("").await.unwrap_err();
        assert!(matches!(error, EventTxError::ObjectId));
        DB::work(&mut tx, "evt_2").await.unwrap();
    };
    let swallowing = endpoint.other_process(handler, ageless).await;
    assert_eq!(deliver(&swallowing, "evt_2", 5).await, StatusCode::OK);
    assert_eq!(endpoint.processed().await, (2, 1));
}

async fn what_cannot_be_asked_of_the_database_is_an_error_and_nothing_is_lost<DB: TestBackend>() {
    let endpoint = in_order::<DB>().await;
    let mut connection = endpoint.pool.acquire().await.unwrap();
    let hide = "alter table stripe_objects rename to hidden";
    DB::run(&mut connection, hide).await.unwrap();
    let answer = deliver(&endpoint, "evt_1", 5).await;
    assert_eq!(answer, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(endpoint.count("processed_stripe_events").await, 0);
    let show = "alter table hidden rename to stripe_objects";
    DB::run(&mut connection, show).await.unwrap();
    assert_eq!(tell(&endpoint, "evt_1", 5).await, "Newer");
}
