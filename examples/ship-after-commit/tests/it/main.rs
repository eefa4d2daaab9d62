//! What the table in `lib.rs` promises, looked at from the carrier's side and in the tables.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

// Support, by noun.
mod carrier;
mod program;
mod shop;

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode},
    middleware::map_response,
    response::Response,
    routing::post,
};
use axum_stripe_webhook::testing::sign_test_payload;
use ship_after_commit::{Ship, app, webhook};

use carrier::{Answer, StandIn};
use program::Program;
use shop::{Shop, now, signed};

#[tokio::test]
async fn a_paid_order_is_shipped_once_although_the_event_is_delivered_three_times() {
    let carrier = StandIn::serve().await;
    let shop = Shop::open(&carrier).await;
    for jobs in [1, 1] {
        assert_eq!(shop.deliver(&shop::paid("evt_1", "cs_1")).await, 200);
        assert_eq!(shop.rows("graphile_worker.jobs").await, jobs);
    }
    // Delivering is not shipping.
    assert!(carrier.asked().is_empty());
    shop.work().await;
    assert_eq!(shop.rows("graphile_worker.jobs").await, 0);
    assert_eq!(shop.deliver(&shop::paid("evt_1", "cs_1")).await, 200);
    shop.work().await;
    assert_eq!(carrier.asked(), ["ship:evt_1"]);
    assert_eq!(carrier.parcels(), ["cs_1"]);
    assert_eq!(shop.rows("paid").await, 1);
}

#[tokio::test]
async fn a_handler_that_fails_leaves_no_job() {
    let carrier = StandIn::serve().await;
    let shop = Shop::open(&carrier).await;
    // It has written everything when it fails.
    let failing = post(webhook).layer(map_response(async |done: Response| {
        assert_eq!(done.status(), StatusCode::OK);
        StatusCode::BAD_GATEWAY
    }));
    let failing = Router::new()
        .route("/webhooks/stripe", failing.route_layer(shop.once.clone()))
        .with_state(shop.worker.create_utils());
    let event = shop::paid("evt_1", "cs_1");
    assert_eq!(shop::answer(failing, signed(&event)).await, 502);
    assert_eq!(shop.rows("paid").await, 0);
    assert_eq!(shop.rows("graphile_worker.jobs").await, 0);
    assert_eq!(shop.deliver(&event).await, 200);
    shop.work().await;
    assert_eq!(carrier.asked(), ["ship:evt_1"]);
}

#[tokio::test]
async fn a_commit_that_is_refused_leaves_no_job() {
    let carrier = StandIn::serve().await;
    let shop = Shop::open(&carrier).await;
    shop.run(
        "create function refuse() returns trigger language plpgsql as
            $$ begin raise exception 'refused'; end $$;
        create constraint trigger refused after insert on paid
            deferrable initially deferred for each row execute function refuse()",
    )
    .await;
    let event = shop::paid("evt_1", "cs_1");
    assert_eq!(shop.deliver(&event).await, 500);
    assert_eq!(shop.rows("graphile_worker.jobs").await, 0);
    shop.run("drop trigger refused on paid").await;
    assert_eq!(shop.deliver(&event).await, 200);
    shop.work().await;
    assert_eq!(carrier.asked(), ["ship:evt_1"]);
}

#[tokio::test]
async fn a_job_that_cannot_be_written_leaves_no_paid_order() {
    let carrier = StandIn::serve().await;
    let shop = Shop::open(&carrier).await;
    shop.run("alter schema graphile_worker rename to away")
        .await;
    let event = shop::paid("evt_1", "cs_1");
    assert_eq!(shop.deliver(&event).await, 500);
    assert_eq!(shop.rows("paid").await, 0);
    shop.run("alter schema away rename to graphile_worker")
        .await;
    assert_eq!(shop.deliver(&event).await, 200);
    shop.work().await;
    assert_eq!(carrier.asked(), ["ship:evt_1"]);
}

#[tokio::test]
async fn a_carrier_that_fails_is_asked_again_with_the_same_key() {
    let carrier = StandIn::serve().await;
    carrier.answers([Answer::Failure, Answer::Redirect, Answer::Failure]);
    let shop = Shop::open(&carrier).await;
    assert_eq!(shop.deliver(&shop::paid("evt_1", "cs_1")).await, 200);
    for asked in 1..=3 {
        shop.work().await;
        assert_eq!(carrier.asked().len(), asked);
        // Not before it is due.
        shop.work().await;
        assert_eq!(carrier.asked().len(), asked);
        shop.make_due().await;
    }
    assert!(carrier.parcels().is_empty());
    shop.work().await;
    assert_eq!(carrier.asked(), ["ship:evt_1"; 4]);
    assert_eq!(carrier.parcels(), ["cs_1"]);
    assert_eq!(shop.rows("graphile_worker.jobs").await, 0);
}

#[tokio::test]
async fn the_carrier_is_asked_twelve_times_within_16_hours_and_then_somebody_has_to_look() {
    let carrier = StandIn::serve().await;
    carrier.answers([Answer::Failure; 12]);
    let shop = Shop::open(&carrier).await;
    assert_eq!(shop.deliver(&shop::paid("evt_1", "cs_1")).await, 200);
    shop.work().await;
    let mut waits = 0.0;
    for _ in 1..12 {
        waits += shop.seconds_until_due().await;
        shop.make_due().await;
        shop.work().await;
    }
    assert!((15.0..16.0).contains(&(waits / 3600.0)), "{waits} s");
    shop.make_due().await;
    shop.work().await;
    assert_eq!(carrier.asked().len(), 12);
    assert!(shop.last_error().await.contains("503"));
}

#[tokio::test]
async fn a_carrier_whose_answer_is_lost_sends_one_parcel() {
    let carrier = StandIn::serve().await;
    carrier.answers([Answer::FailureAfterAll]);
    let shop = Shop::open(&carrier).await;
    assert_eq!(shop.deliver(&shop::paid("evt_1", "cs_1")).await, 200);
    shop.work().await;
    assert_eq!(carrier.parcels(), ["cs_1"]);
    shop.make_due().await;
    shop.work().await;
    assert_eq!(carrier.asked(), ["ship:evt_1"; 2]);
    assert_eq!(carrier.parcels(), ["cs_1"]);
    assert_eq!(shop.rows("graphile_worker.jobs").await, 0);
}

#[tokio::test]
async fn a_job_that_runs_is_left_alone_by_another_of_its_key() {
    let carrier = StandIn::serve().await;
    carrier.answers([Answer::WhenReleased]);
    let shop = Shop::open(&carrier).await;
    assert_eq!(shop.deliver(&shop::paid("evt_1", "cs_1")).await, 200);
    let meanwhile = async {
        carrier.asked_times(1).await;
        let again = Ship {
            session_id: "cs_1".into(),
            idempotency_key: "ship:evt_1".into(),
        };
        let spec = again.as_job();
        let queue = shop.worker.create_utils();
        queue.add_job(again, spec).await.unwrap();
        assert_eq!(shop.rows("graphile_worker.jobs").await, 1);
        carrier.release();
    };
    tokio::join!(shop.work(), meanwhile);
    shop.work().await;
    assert_eq!(carrier.asked(), ["ship:evt_1"]);
    assert_eq!(shop.rows("graphile_worker.jobs").await, 0);
}

#[tokio::test]
async fn two_events_of_one_session_send_one_parcel() {
    let carrier = StandIn::serve().await;
    let shop = Shop::open(&carrier).await;
    let completed = shop::paid("evt_1", "cs_1");
    let later = "checkout.session.async_payment_succeeded";
    let succeeded = shop::event("evt_2", later, "cs_1", "paid");
    for event in [completed, succeeded] {
        assert_eq!(shop.deliver(&event).await, 200);
        shop.work().await;
    }
    assert_eq!(carrier.asked(), ["ship:evt_1"]);
}

#[tokio::test]
async fn what_is_not_paid_is_not_shipped() {
    let carrier = StandIn::serve().await;
    let shop = Shop::open(&carrier).await;
    for (id, event_type, status) in [
        ("evt_1", "checkout.session.completed", "unpaid"),
        ("evt_2", "checkout.session.expired", "paid"),
    ] {
        let event = shop::event(id, event_type, "cs_1", status);
        assert_eq!(shop.deliver(&event).await, 200);
    }
    shop.work().await;
    assert!(carrier.asked().is_empty());
    // Its money has arrived.
    let later = "checkout.session.async_payment_succeeded";
    let event = shop::event("evt_3", later, "cs_1", "paid");
    assert_eq!(shop.deliver(&event).await, 200);
    shop.work().await;
    assert_eq!(carrier.asked(), ["ship:evt_3"]);
}

#[tokio::test]
async fn a_forgery_ships_nothing() {
    let carrier = StandIn::serve().await;
    let shop = Shop::open(&carrier).await;
    let body = shop::paid("evt_1", "cs_1");
    let elsewhere = sign_test_payload(&body, "whsec_of_somebody_else", now());
    let genuine = sign_test_payload(shop::paid("evt_1", "cs_2"), shop::SECRET, now());
    for header in [None, Some(elsewhere), Some(genuine)] {
        let mut forgery = Request::post("/webhooks/stripe");
        if let Some(header) = header {
            forgery = forgery.header("stripe-signature", header);
        }
        let forgery = forgery.body(Body::from(body.clone())).unwrap();
        let app = app(shop.once.clone(), shop.worker.create_utils());
        assert_eq!(shop::answer(app, forgery).await, 400);
    }
    shop.work().await;
    assert_eq!(shop.rows("graphile_worker.jobs").await, 0);
    assert!(carrier.asked().is_empty());
}

#[tokio::test]
async fn an_address_that_nobody_has_stays_out_of_the_queue_and_the_next_worker_ships() {
    let carrier = StandIn::serve().await;
    let mut shop = Shop::open_with("http://127.0.0.1:1/marker").await;
    assert_eq!(shop.deliver(&shop::paid("evt_1", "cs_1")).await, 200);
    shop.work().await;
    let error = shop.last_error().await;
    assert!(error.contains("Connect"), "{error}");
    assert!(!error.contains("marker"), "{error}");
    shop.worker = shop::worker_of(&shop.pool, &carrier.base).await;
    shop.make_due().await;
    shop.work().await;
    assert_eq!(carrier.asked(), ["ship:evt_1"]);
}

#[tokio::test]
async fn a_parcel_whose_worker_is_killed_is_asked_for_by_the_next_with_the_same_key() {
    let carrier = StandIn::serve().await;
    carrier.answers([Answer::WhenReleased]);
    let shop = Shop::open(&carrier).await;
    let mut killed = Program::start(&shop, &carrier).await;
    assert_eq!(killed.deliver(&shop::paid("evt_1", "cs_1")).await, 200);
    carrier.asked_times(1).await;
    killed.kill().await;
    // As if it had been silent for long enough to count as dead.
    shop.run("update graphile_worker._private_workers set last_heartbeat_at = '2000-01-01'")
        .await;
    let mut next = Program::start(&shop, &carrier).await;
    shop.make_due().await;
    carrier.asked_times(2).await;
    assert_eq!(carrier.asked(), ["ship:evt_1"; 2]);
    assert_eq!(carrier.parcels(), ["cs_1"]);
    shop.has_no_jobs().await;
    next.kill().await;
}

#[cfg(unix)]
#[tokio::test]
async fn told_to_end_the_program_ships_what_it_has_begun() {
    let carrier = StandIn::serve().await;
    carrier.answers([Answer::WhenReleased]);
    let shop = Shop::open(&carrier).await;
    let mut program = Program::start(&shop, &carrier).await;
    assert_eq!(program.deliver(&shop::paid("evt_1", "cs_1")).await, 200);
    carrier.asked_times(1).await;
    program.terminate();
    carrier.release();
    assert_eq!(program.exit_code().await, Some(0));
    assert_eq!(shop.rows("graphile_worker.jobs").await, 0);
}

/// Or it would take in orders that nobody ships.
#[tokio::test]
async fn without_its_worker_the_program_ends() {
    let carrier = StandIn::serve().await;
    let shop = Shop::open(&carrier).await;
    let mut program = Program::start(&shop, &carrier).await;
    assert_eq!(program.deliver(&shop::paid("evt_1", "cs_1")).await, 200);
    shop.has_no_jobs().await;
    shop.run("alter schema graphile_worker rename to away")
        .await;
    assert_eq!(program.exit_code().await, Some(1));
    assert_eq!(carrier.asked(), ["ship:evt_1"]);
}
