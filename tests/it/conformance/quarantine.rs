//! What an operator does with events that were kept.

use std::time::Duration;

use axum::{handler::HandlerWithoutStateExt, http::StatusCode};
use axum_stripe_webhook::{
    Disposition, EventRouter, EventTx, Guards, Mode, Operator, VerifiedStripeEvent,
};
use futures_util::poll;
use http_body_util::BodyExt;

use crate::{
    database::TestBackend,
    endpoint::{Door, Endpoint, behind, work},
    log, stripe,
};

on_both![
    a_released_event_runs_as_if_it_had_just_arrived,
    what_a_guard_has_stopped_is_run_when_it_is_released,
    a_release_that_fails_leaves_the_event_where_it_was,
    of_two_releases_at_once_one_runs,
    a_copy_of_what_is_being_released_is_in_flight,
    a_release_whose_caller_has_gone_runs_on,
    each_disposition_ends_a_released_event,
    a_released_event_is_prepared,
    a_release_takes_only_the_bytes_that_it_has_read,
    a_router_without_a_handler_leaves_the_event_where_it_was,
    a_service_that_is_released_to_is_asked_whether_it_is_ready,
    a_release_that_the_step_before_the_transaction_ends_with_200_takes_the_event_away,
    a_discard_waits_no_longer_than_a_copy_for_a_release,
    what_is_discarded_leaves_and_stays_a_duplicate,
    what_a_guard_has_stopped_and_an_operator_discarded_is_never_run,
    what_is_not_quarantined_can_be_neither_released_nor_discarded,
    who_acts_and_why_is_recorded_and_not_logged,
];

fn operator() -> Operator {
    Operator::new("jo", "the order is there now").unwrap()
}

/// An endpoint that has an event in quarantine.
async fn with_quarantined<DB: TestBackend>() -> Endpoint<DB> {
    let endpoint = Endpoint::<DB>::new(|tx: EventTx<DB>| async move {
        work(tx).await;
        Disposition::Quarantine { reason: "no_order" }
    })
    .await;
    assert_eq!(endpoint.deliver("evt_1").await, StatusCode::OK);
    assert_eq!(rows(&endpoint).await, (1, 0, 1));
    endpoint
}

/// Rows of the ledger, of the business and of the inbox.
async fn rows<DB: TestBackend>(endpoint: &Endpoint<DB>) -> (i64, i64, i64) {
    let (ledger, work) = endpoint.processed().await;
    (ledger, work, endpoint.count("stripe_inbox").await)
}

async fn release<DB: TestBackend>(endpoint: &Endpoint<DB>) -> StatusCode {
    let handler = work::<DB>.into_service();
    let released = endpoint.layer.release(handler, "evt_1", operator());
    released.await.status()
}

async fn a_released_event_runs_as_if_it_had_just_arrived<DB: TestBackend>() {
    let endpoint = with_quarantined::<DB>().await;
    let handler = |tx: EventTx<DB>, event: VerifiedStripeEvent| async move {
        assert_eq!((event.id(), event.signed_at()), ("evt_1", None));
        assert_eq!(
            event.bytes(),
            stripe::event_of_type("evt_1", event.event_type()).as_bytes()
        );
        work(tx).await
    };
    let handler = axum::handler::Handler::with_state(handler, stripe::verifier());
    let released = endpoint.layer.release(handler, "evt_1", operator());
    assert_eq!(released.await.status(), StatusCode::OK);
    assert_eq!(rows(&endpoint).await, (1, 1, 0));
    assert_eq!(endpoint.deliver("evt_1").await, StatusCode::OK);
    assert_eq!(rows(&endpoint).await, (1, 1, 0));
    assert_eq!(release(&endpoint).await, StatusCode::NOT_FOUND);
}

async fn what_a_guard_has_stopped_is_run_when_it_is_released<DB: TestBackend>() {
    let live = Guards::new().mode(Mode::Live);
    let endpoint = Endpoint::<DB>::with(work::<DB>, |layer| layer.guards(live)).await;
    assert_eq!(endpoint.deliver("evt_1").await, StatusCode::OK);
    assert_eq!(rows(&endpoint).await, (1, 0, 1));
    assert_eq!(release(&endpoint).await, StatusCode::OK);
    assert_eq!(rows(&endpoint).await, (1, 1, 0));
}

async fn a_release_that_fails_leaves_the_event_where_it_was<DB: TestBackend>() {
    let endpoint = with_quarantined::<DB>().await;
    let fails = |tx: EventTx<DB>| async move {
        work(tx).await;
        StatusCode::BAD_GATEWAY
    };
    let panics = |tx: EventTx<DB>| async move {
        work(tx).await;
        assert_eq!(1, 2, "as it is meant to");
    };
    let failed = endpoint
        .layer
        .release(fails.into_service(), "evt_1", operator());
    assert_eq!(failed.await.status(), StatusCode::BAD_GATEWAY);
    let panicked = endpoint
        .layer
        .release(panics.into_service(), "evt_1", operator());
    assert_eq!(panicked.await.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(rows(&endpoint).await, (1, 0, 1));
    assert_eq!(endpoint.count("stripe_actions").await, 0);
    assert_eq!(release(&endpoint).await, StatusCode::OK);
    assert_eq!(rows(&endpoint).await, (1, 1, 0));
}

/// In two processes: nothing in memory keeps them apart.
async fn of_two_releases_at_once_one_runs<DB: TestBackend>() {
    let endpoint = with_quarantined::<DB>().await;
    let other = endpoint.other_process(work::<DB>, |layer| layer).await;
    let door = Door::closed();
    let handler = behind::<DB>(door.clone()).into_service();
    let second = async {
        door.wait_for_arrival().await;
        let mut second = Box::pin(release(&other));
        // It comes as far as it can while the first is in its transaction.
        for _ in 0..200 {
            assert!(poll!(&mut second).is_pending());
            tokio::task::yield_now().await;
        }
        door.open(1);
        second.await
    };
    let first = endpoint.layer.release(handler, "evt_1", operator());
    let (first, second) = tokio::join!(first, second);
    assert_eq!(first.status(), StatusCode::OK);
    assert_eq!(second, StatusCode::NOT_FOUND);
    assert_eq!(rows(&endpoint).await, (1, 1, 0));
    assert_eq!(endpoint.count("stripe_actions").await, 1);
}

async fn a_discard_waits_no_longer_than_a_copy_for_a_release<DB: TestBackend>() {
    let endpoint = with_quarantined::<DB>().await;
    let limit = Duration::from_millis(50);
    let other = endpoint
        .other_process(work::<DB>, |layer| layer.claim_wait_max(limit))
        .await;
    let door = Door::closed();
    let handler = behind::<DB>(door.clone()).into_service();
    let discard = async {
        door.wait_for_arrival().await;
        let discarded = other.layer.discard("evt_1", operator());
        let discarded = tokio::time::timeout(Duration::from_secs(5), discarded).await;
        door.open(1);
        discarded.expect("the limit is kept").status().as_u16()
    };
    let released = endpoint.layer.release(handler, "evt_1", operator());
    let (released, discarded) = tokio::join!(released, discard);
    assert_eq!(released.status(), StatusCode::OK);
    // SQLite has one lock for everything, and says no more than that it was not to be had.
    assert!(matches!(discarded, 409 | 503), "{discarded}");
    assert_eq!(rows(&endpoint).await, (1, 1, 0));
}

async fn a_release_that_the_step_before_the_transaction_ends_with_200_takes_the_event_away<
    DB: TestBackend,
>() {
    let endpoint = with_quarantined::<DB>().await;
    let ignores = endpoint
        .other_process(work::<DB>, |layer| {
            layer.prepare(|_: VerifiedStripeEvent| async { Err::<(), _>(StatusCode::OK) })
        })
        .await;
    assert_eq!(release(&ignores).await, StatusCode::OK);
    assert_eq!(rows(&endpoint).await, (0, 0, 0));
    assert_eq!(endpoint.count("stripe_actions").await, 1);
}

async fn a_copy_of_what_is_being_released_is_in_flight<DB: TestBackend>() {
    let endpoint = with_quarantined::<DB>().await;
    let door = Door::closed();
    let handler = behind::<DB>(door.clone()).into_service();
    let released = endpoint.layer.release(handler, "evt_1", operator());
    let copy = async {
        door.wait_for_arrival().await;
        let copy = endpoint.deliver("evt_1").await;
        door.open(1);
        copy
    };
    let (released, copy) = tokio::join!(released, copy);
    assert_eq!(
        (released.status(), copy),
        (StatusCode::OK, StatusCode::CONFLICT)
    );
    assert_eq!(rows(&endpoint).await, (1, 1, 0));
}

async fn a_release_whose_caller_has_gone_runs_on<DB: TestBackend>() {
    let endpoint = with_quarantined::<DB>().await;
    let door = Door::closed();
    let handler = behind::<DB>(door.clone()).into_service();
    tokio::select! {
        answer = endpoint.layer.release(handler, "evt_1", operator()) => {
            panic!("answered {answer:?} behind a closed door")
        }
        () = door.wait_for_arrival() => {}
    }
    door.open(1);
    endpoint.layer.drain().await;
    assert_eq!(rows(&endpoint).await, (1, 1, 0));
}

async fn each_disposition_ends_a_released_event<DB: TestBackend>() {
    let reason = "spam";
    for (disposition, answer, expected, actions) in [
        (Disposition::Ignore, 200, (0, 0, 0), 1),
        (Disposition::Discard { reason }, 200, (1, 0, 0), 1),
        (Disposition::Quarantine { reason }, 409, (1, 0, 1), 0),
        (Disposition::NotYet, 503, (1, 0, 1), 0),
    ] {
        let endpoint = with_quarantined::<DB>().await;
        let handler = move |tx: EventTx<DB>| async move {
            work(tx).await;
            disposition
        };
        let released = endpoint
            .layer
            .release(handler.into_service(), "evt_1", operator());
        assert_eq!(released.await.status().as_u16(), answer, "{disposition:?}");
        assert_eq!(rows(&endpoint).await, expected, "{disposition:?}");
        let recorded = endpoint.count("stripe_actions").await;
        assert_eq!(recorded, actions, "{disposition:?}");
    }
}

async fn a_released_event_is_prepared<DB: TestBackend>() {
    let quarantine = |_: VerifiedStripeEvent| async {
        Err::<String, _>(Disposition::Quarantine { reason: "gone" })
    };
    let endpoint = Endpoint::<DB>::with(work::<DB>, |layer| layer.prepare(quarantine)).await;
    assert_eq!(endpoint.deliver("evt_1").await, StatusCode::OK);
    assert_eq!(rows(&endpoint).await, (1, 0, 1));
    let mended = endpoint
        .other_process(work::<DB>, |layer| {
            layer.prepare(|_: VerifiedStripeEvent| async {
                Ok::<_, StatusCode>("fetched".to_owned())
            })
        })
        .await;
    let handler = |axum::Extension(fetched): axum::Extension<String>, tx: EventTx<DB>| async move {
        assert_eq!(fetched, "fetched");
        work(tx).await
    };
    let released = mended
        .layer
        .release(handler.into_service(), "evt_1", operator());
    assert_eq!(released.await.status(), StatusCode::OK);
    assert_eq!(rows(&endpoint).await, (1, 1, 0));
}

/// What was kept is replaced meanwhile by the event whose id somebody has borrowed.
async fn a_release_takes_only_the_bytes_that_it_has_read<DB: TestBackend>() {
    let door = Door::closed();
    let at_door = door.clone();
    let endpoint = Endpoint::<DB>::with(work::<DB>, |layer| {
        layer
            .guards(Guards::new().mode(Mode::Live))
            .prepare(move |_: VerifiedStripeEvent| {
                let door = at_door.clone();
                async move {
                    door.pass().await;
                    Ok::<_, StatusCode>(())
                }
            })
    })
    .await;
    let planted = stripe::event_of_type("evt_1", "issuing_authorization.request");
    assert_eq!(endpoint.body(stripe::delivery(&planted)).await, "kept\n");
    let strict = endpoint
        .other_process(work::<DB>, |layer| {
            layer.guards(Guards::new().mode(Mode::Live))
        })
        .await;
    let event = stripe::event("evt_1");
    let genuine = async {
        door.wait_for_arrival().await;
        let kept = strict.body(stripe::delivery(&event)).await;
        door.open(1);
        kept
    };
    let (released, kept) = tokio::join!(release(&endpoint), genuine);
    assert_eq!((released, &*kept), (StatusCode::NOT_FOUND, "kept\n"));
    assert_eq!(rows(&endpoint).await, (1, 0, 1));
    let bytes = <DB as TestBackend>::payload(&endpoint.pool).await;
    assert_eq!(bytes, event.as_bytes());
}

async fn a_router_without_a_handler_leaves_the_event_where_it_was<DB: TestBackend>() {
    let endpoint = with_quarantined::<DB>().await;
    let nothing = EventRouter::<()>::new().build().unwrap();
    let released = endpoint.layer.release(nothing, "evt_1", operator()).await;
    assert_eq!(released.status(), StatusCode::CONFLICT);
    assert_eq!(rows(&endpoint).await, (1, 0, 1));
}

async fn a_service_that_is_released_to_is_asked_whether_it_is_ready<DB: TestBackend>() {
    let endpoint = with_quarantined::<DB>().await;
    // It panics when it is called without.
    let limited = tower::limit::ConcurrencyLimit::new(work::<DB>.into_service(), 1);
    let released = endpoint.layer.release(limited, "evt_1", operator()).await;
    assert_eq!(released.status(), StatusCode::OK);
    assert_eq!(rows(&endpoint).await, (1, 1, 0));
}

async fn what_is_discarded_leaves_and_stays_a_duplicate<DB: TestBackend>() {
    let endpoint = with_quarantined::<DB>().await;
    let discarded = endpoint.layer.discard("evt_1", operator()).await;
    assert_eq!(discarded.status(), StatusCode::OK);
    assert_eq!(rows(&endpoint).await, (1, 0, 0));
    let later = endpoint.other_process(work::<DB>, |layer| layer).await;
    assert_eq!(later.deliver("evt_1").await, StatusCode::OK);
    assert_eq!(rows(&endpoint).await, (1, 0, 0));
}

async fn what_a_guard_has_stopped_and_an_operator_discarded_is_never_run<DB: TestBackend>() {
    let live = Guards::new().mode(Mode::Live);
    let endpoint = Endpoint::<DB>::with(work::<DB>, |layer| layer.guards(live)).await;
    assert_eq!(endpoint.deliver("evt_1").await, StatusCode::OK);
    let discarded = endpoint.layer.discard("evt_1", operator()).await;
    assert_eq!(discarded.status(), StatusCode::OK);
    let passing = endpoint.other_process(work::<DB>, |layer| layer).await;
    assert_eq!(passing.deliver("evt_1").await, StatusCode::OK);
    assert_eq!(rows(&passing).await, (1, 0, 0));
}

async fn what_is_not_quarantined_can_be_neither_released_nor_discarded<DB: TestBackend>() {
    let endpoint = Endpoint::<DB>::new(work::<DB>).await;
    assert_eq!(endpoint.deliver("evt_1").await, StatusCode::OK);
    let answer = endpoint
        .layer
        .release(work::<DB>.into_service(), "evt_1", operator())
        .await;
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
    let text = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(text, "nothing is quarantined under this id\n");
    let answer = endpoint.layer.discard("evt_1", operator()).await;
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
    assert_eq!(rows(&endpoint).await, (1, 1, 0));
    // Another endpoint's is not this one's.
    let endpoint = with_quarantined::<DB>().await;
    let other = endpoint.layer.clone().endpoint("other");
    let answer = other.discard("evt_1", operator()).await;
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
    assert_eq!(endpoint.count("stripe_actions").await, 0);
}

async fn who_acts_and_why_is_recorded_and_not_logged<DB: TestBackend>() {
    let log = log::of(async {
        let endpoint = with_quarantined::<DB>().await;
        assert_eq!(release(&endpoint).await, StatusCode::OK);
        let recorded =
            "select event_id || ' ' || endpoint || ' ' || action || ' ' || actor || ' ' || reason
            from stripe_actions";
        assert_eq!(
            DB::texts(&endpoint.pool, recorded).await,
            ["evt_1 default release jo the order is there now"]
        );
    })
    .await;
    let of_ours = log
        .lines()
        .filter(|line| line.contains("axum_stripe_webhook"));
    assert!(
        !of_ours
            .clone()
            .any(|line| line.contains("the order is there"))
    );
    assert!(of_ours.count() > 0);
    for (actor, reason) in [("", "why"), ("jo", " "), ("j\0", "why")] {
        Operator::new(actor, reason).unwrap_err();
    }
    Operator::new("jo", "x".repeat(1001)).unwrap_err();
}
