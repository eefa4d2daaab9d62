//! The step before the transaction.

use std::{
    convert::Infallible,
    future::{Ready, pending, ready},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Extension, http::StatusCode};
use axum_stripe_webhook::{EventTx, Guards, Mode, VerifiedStripeEvent};

use crate::{
    database::{TestBackend, open},
    endpoint::{Door, Endpoint, work},
    stripe,
};

on_both![
    what_is_prepared_reaches_the_handler,
    no_connection_is_held_while_it_is_prepared,
    its_error_is_the_answer_and_no_row_is_written,
    a_panic_in_it_is_500_and_the_redelivery_succeeds,
    a_step_without_end_is_503_and_the_redelivery_succeeds,
    a_duplicate_is_not_prepared,
    a_stopped_event_is_not_prepared,
    an_event_that_is_not_deduplicated_is_prepared_each_time,
    a_copy_is_refused_while_the_first_is_prepared,
    a_client_that_disconnects_does_not_stop_it,
];

/// Counts how often it is asked, and hands over which time it is.
#[derive(Clone, Default)]
struct Count(Arc<AtomicUsize>);

impl Count {
    fn step(
        &self,
    ) -> impl Fn(VerifiedStripeEvent) -> Ready<Result<usize, Infallible>> + Clone + use<> {
        let count = Arc::clone(&self.0);
        move |_| ready(Ok(count.fetch_add(1, Ordering::SeqCst) + 1))
    }

    fn now(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

async fn what_is_prepared_reaches_the_handler<DB: TestBackend>() {
    let handler = |Extension(prepared): Extension<String>, tx: EventTx<DB>| async move {
        drop(tx);
        prepared
    };
    let endpoint = Endpoint::<DB>::with(handler, |layer| {
        layer.prepare(|event: VerifiedStripeEvent| async move {
            Ok::<_, StatusCode>(format!("for {}", event.id()))
        })
    })
    .await;
    let answer = endpoint.body(stripe::delivery(&stripe::event("evt_1")));
    assert_eq!(answer.await, "for evt_1");
}

async fn no_connection_is_held_while_it_is_prepared<DB: TestBackend>() {
    let (fresh, _) = open::<DB>().await;
    let pool = DB::connect(&fresh.url, 1).await;
    let only = pool.clone();
    let endpoint = Endpoint::on(Arc::new(fresh), pool, work::<DB>, |layer| {
        layer.prepare(move |_| {
            let only = only.clone();
            // The pool has one: if the delivery held it, this would wait for its limit.
            async move {
                only.acquire()
                    .await
                    .map(drop)
                    .map_err(|_| StatusCode::IM_A_TEAPOT)
            }
        })
    });
    assert_eq!(endpoint.deliver("evt_1").await, StatusCode::OK);
}

async fn its_error_is_the_answer_and_no_row_is_written<DB: TestBackend>() {
    let count = Count::default();
    let step = count.step();
    let endpoint = Endpoint::<DB>::with(work::<DB>, |layer| {
        layer.prepare(move |event| {
            let prepared = step(event);
            async move {
                match prepared.await {
                    Ok(1) => Err(StatusCode::BAD_GATEWAY),
                    Ok(2) => Err(StatusCode::ACCEPTED),
                    _ => Ok(()),
                }
            }
        })
    })
    .await;
    for (status, processed) in [
        (StatusCode::BAD_GATEWAY, (0, 0)),
        (StatusCode::ACCEPTED, (0, 0)),
        (StatusCode::OK, (1, 1)),
    ] {
        assert_eq!(endpoint.deliver("evt_1").await, status);
        assert_eq!(endpoint.processed().await, processed);
    }
}

async fn a_panic_in_it_is_500_and_the_redelivery_succeeds<DB: TestBackend>() {
    let count = Count::default();
    let step = count.step();
    let endpoint = Endpoint::<DB>::with(work::<DB>, |layer| {
        layer.prepare(move |event| {
            let prepared = step(event).into_inner();
            assert_ne!(prepared, Ok(1), "before the first await");
            async move {
                assert_ne!(prepared, Ok(2), "within the future");
                prepared
            }
        })
    })
    .await;
    for status in [500, 500, 200] {
        assert_eq!(endpoint.deliver("evt_1").await, status);
    }
    assert_eq!(endpoint.processed().await, (1, 1));
}

async fn a_step_without_end_is_503_and_the_redelivery_succeeds<DB: TestBackend>() {
    let count = Count::default();
    let step = count.step();
    let limit = Duration::from_millis(50);
    let endpoint = Endpoint::<DB>::with(work::<DB>, |layer| {
        layer.prepare_time_max(limit).prepare(move |event| {
            let prepared = step(event).into_inner();
            async move {
                if prepared == Ok(1) {
                    pending::<()>().await;
                }
                prepared
            }
        })
    })
    .await;
    let answer = endpoint.deliver("evt_1").await;
    assert_eq!(answer, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(endpoint.deliver("evt_1").await, StatusCode::OK);
    assert_eq!(endpoint.processed().await, (1, 1));
}

/// What it is about may be gone by then, and the step fail for ever.
async fn a_duplicate_is_not_prepared<DB: TestBackend>() {
    let count = Count::default();
    let step = count.step();
    let endpoint = Endpoint::<DB>::with(work::<DB>, |layer| layer.prepare(step)).await;
    for _ in 0..3 {
        assert_eq!(endpoint.deliver("evt_1").await, StatusCode::OK);
    }
    assert_eq!((endpoint.processed().await, count.now()), ((1, 1), 1));
}

async fn a_stopped_event_is_not_prepared<DB: TestBackend>() {
    let count = Count::default();
    let step = count.step();
    let live = Guards::new().mode(Mode::Live);
    let endpoint = Endpoint::<DB>::with(work::<DB>, |layer| layer.guards(live).prepare(step)).await;
    assert_eq!(endpoint.deliver("evt_1").await, StatusCode::OK);
    assert_eq!((endpoint.processed().await, count.now()), ((1, 0), 0));
}

async fn an_event_that_is_not_deduplicated_is_prepared_each_time<DB: TestBackend>() {
    let count = Count::default();
    let step = count.step();
    let endpoint = Endpoint::<DB>::with(work::<DB>, |layer| layer.prepare(step)).await;
    for _ in 0..2 {
        let answer = endpoint.deliver("evt_00000000000000").await;
        assert_eq!(answer, StatusCode::OK);
    }
    assert_eq!((endpoint.processed().await, count.now()), ((0, 2), 2));
}

/// An endpoint whose step stands at a door.
async fn prepared_behind<DB: TestBackend>(door: &Door) -> Endpoint<DB> {
    let door = door.clone();
    Endpoint::<DB>::with(work::<DB>, |layer| {
        layer.prepare(move |_| {
            let door = door.clone();
            async move {
                door.pass().await;
                Ok::<_, StatusCode>(())
            }
        })
    })
    .await
}

async fn a_copy_is_refused_while_the_first_is_prepared<DB: TestBackend>() {
    let door = Door::closed();
    let endpoint = prepared_behind::<DB>(&door).await;
    let copy = async {
        door.wait_for_arrival().await;
        let copy = endpoint.deliver("evt_1").await;
        door.open(1);
        copy
    };
    let answers = tokio::join!(endpoint.deliver("evt_1"), copy);
    assert_eq!(answers, (StatusCode::OK, StatusCode::CONFLICT));
}

async fn a_client_that_disconnects_does_not_stop_it<DB: TestBackend>() {
    let door = Door::closed();
    let endpoint = prepared_behind::<DB>(&door).await;
    tokio::select! {
        answer = endpoint.deliver("evt_1") => panic!("answered {answer} behind a closed door"),
        () = door.wait_for_arrival() => {}
    }
    door.open(1);
    endpoint.layer.drain().await;
    assert_eq!(endpoint.processed().await, (1, 1));
}
