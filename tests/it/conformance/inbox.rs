//! What an inbox stores, and what it answers.

use axum::{body::Body, http::StatusCode};
use axum_stripe_webhook::{
    Disposition, EventRouter, EventTx, Guards, Inbox, Mode, inbox::EntryState,
};
use tower::ServiceExt;

use crate::{
    database::TestBackend,
    endpoint::{Door, Endpoint, behind, work},
    stored::{Stored, service},
    stripe,
};

on_both!(
    what_is_stored_is_run_once_by_a_worker,
    what_is_stored_is_stored_as_signed,
    fifty_copies_at_once_are_stored_once,
    a_copy_of_an_event_whose_handler_runs_is_a_duplicate_at_once,
    what_a_guard_stops_is_quarantined_and_stored_by_a_delivery_that_passes,
    a_copy_that_a_guard_stops_does_not_replace_what_is_stored,
    a_forgery_is_not_stored,
    what_is_dead_stays_dead_when_it_is_delivered_again,
    what_was_scrubbed_is_stored_anew,
    an_event_that_is_quarantined_by_its_handler_is_a_duplicate,
    what_is_not_deduplicated_does_not_swallow_an_event_of_its_id,
    test_events_of_the_dashboard_are_each_stored,
    a_request_that_wants_a_decision_gets_it_and_is_never_stored,
    a_decision_that_nobody_makes_is_unhandled,
    named_types_are_run_at_once,
    deliveries_past_the_backlog_are_refused_at_once,
    a_client_that_leaves_does_not_stop_what_is_stored,
    a_database_that_is_gone_is_503,
    what_cannot_be_written_is_not_acknowledged,
    what_is_drained_is_refused,
    an_inbox_is_a_service_too,
    inline_and_inbox_know_of_each_others_events,
    the_twin_of_an_event_that_waits_is_not_swallowed_by_it,
    the_twin_of_an_event_in_one_group_with_it_is_not_swallowed_by_it,
    the_twin_of_a_quarantined_event_does_not_take_its_place,
    a_twin_that_a_guard_stops_is_not_acknowledged_while_the_other_waits,
    what_its_handler_has_quarantined_and_was_scrubbed_is_stored_anew,
);

async fn what_is_stored_is_run_once_by_a_worker<DB: TestBackend>() {
    let stored = Stored::<DB>::new().await;
    assert_eq!(stored.deliver("evt_1").await, StatusCode::OK);
    assert_eq!(stored.states().await, ["evt_1 pending"]);
    assert_eq!(stored.count("processed_stripe_events").await, 0);
    // A copy of what is stored is a duplicate.
    assert_eq!(stored.deliver("evt_1").await, StatusCode::OK);

    stored.work_off(service(work::<DB>)).await;
    assert_eq!(stored.processed().await, (1, 1));
    assert_eq!(stored.count("stripe_inbox").await, 0);
    // And so is one of what is processed.
    assert_eq!(stored.deliver("evt_1").await, StatusCode::OK);
    assert_eq!(stored.count("stripe_inbox").await, 0);
}

async fn what_is_stored_is_stored_as_signed<DB: TestBackend>() {
    let stored = Stored::<DB>::new().await;
    let body = stripe::event("evt_1");
    assert_eq!(stored.send(stripe::delivery(&body)).await, StatusCode::OK);
    let payload = stored.operations.payload("evt_1", "default").await.unwrap();
    assert_eq!(payload.unwrap(), body);
    let [entry] = stored.entries().await.try_into().unwrap();
    assert_eq!(entry.event_type, "checkout.session.completed");
    assert_eq!(entry.object_id.as_deref(), Some("cs_test_1"));
    assert_eq!(entry.livemode, Some(false));
    assert_eq!((entry.state, entry.attempts), (EntryState::Pending, 0));
    assert_eq!(entry.payload_bytes, Some(body.len() as u64));
    assert!(entry.created.is_some() && entry.due_at == Some(entry.received_at));
}

async fn fifty_copies_at_once_are_stored_once<DB: TestBackend>() {
    let stored = Stored::<DB>::new().await;
    let others = [stored.other_process().await, stored.other_process().await];
    let processes = [&stored, &others[0], &others[1]];
    let copies = (0..50).map(|copy| processes[copy % 3].deliver("evt_1"));
    for answer in futures_util::future::join_all(copies).await {
        assert!(
            [StatusCode::OK, StatusCode::CONFLICT].contains(&answer),
            "{answer}"
        );
    }
    assert_eq!(stored.states().await, ["evt_1 pending"]);
    stored.work_off(service(work::<DB>)).await;
    assert_eq!(stored.processed().await, (1, 1));
}

async fn a_copy_of_an_event_whose_handler_runs_is_a_duplicate_at_once<DB: TestBackend>() {
    if DB::HAS_ONE_WRITER {
        // An accept waits for the handler there, as for every writer.
        return one_writer_answers_after_its_handler::<DB>().await;
    }
    let stored = Stored::<DB>::new().await;
    assert_eq!(stored.deliver("evt_1").await, StatusCode::OK);
    let door = Door::closed();
    let worker = stored.worker(service(behind::<DB>(door.clone()))).start();
    door.wait_for_arrival().await;
    // Its entry is deleted, and not committed: neither the copy nor the others wait for that.
    let group = ["evt_1", "evt_2", "evt_3"].map(|id| stored.deliver(id));
    for answer in futures_util::future::join_all(group).await {
        assert_eq!(answer, StatusCode::OK);
    }
    door.open(3);
    stored.until_empty().await;
    worker.stop().await;
    assert_eq!(stored.processed().await, (3, 3));
}

async fn one_writer_answers_after_its_handler<DB: TestBackend>() {
    let stored = Stored::<DB>::new().await;
    assert_eq!(stored.deliver("evt_1").await, StatusCode::OK);
    let door = Door::closed();
    let worker = stored.beside(service(behind::<DB>(door.clone()))).start();
    door.wait_for_arrival().await;
    door.open(2);
    let group = ["evt_1", "evt_2"].map(|id| stored.deliver(id));
    for answer in futures_util::future::join_all(group).await {
        assert_eq!(answer, StatusCode::OK);
    }
    stored.until_empty().await;
    worker.stop().await;
    assert_eq!(stored.processed().await, (2, 2));
}

async fn what_a_guard_stops_is_quarantined_and_stored_by_a_delivery_that_passes<DB: TestBackend>() {
    let live = Guards::new().mode(Mode::Live);
    let stored = Stored::<DB>::with(|inbox| inbox.guards(live)).await;
    assert_eq!(stored.deliver("evt_1").await, StatusCode::OK);
    assert_eq!(stored.deliver("evt_1").await, StatusCode::OK);
    assert_eq!(stored.states().await, ["evt_1 quarantined"]);
    let passing = stored.again(|inbox| inbox);
    assert_eq!(passing.deliver("evt_1").await, StatusCode::OK);
    assert_eq!(stored.states().await, ["evt_1 pending"]);
    assert_eq!(stored.count("processed_stripe_events").await, 0);
    stored.work_off(service(work::<DB>)).await;
    assert_eq!(stored.processed().await, (1, 1));
}

async fn a_copy_that_a_guard_stops_does_not_replace_what_is_stored<DB: TestBackend>() {
    let stored = Stored::<DB>::new().await;
    assert_eq!(stored.deliver("evt_1").await, StatusCode::OK);
    let live = Guards::new().mode(Mode::Live);
    let stopping = stored.again(|inbox| inbox.guards(live));
    assert_eq!(stopping.deliver("evt_1").await, StatusCode::OK);
    assert_eq!(stored.states().await, ["evt_1 pending"]);
    assert_eq!(stored.count("processed_stripe_events").await, 0);
    stored.work_off(service(work::<DB>)).await;
    assert_eq!(stored.processed().await, (1, 1));
}

async fn a_forgery_is_not_stored<DB: TestBackend>() {
    let stored = Stored::<DB>::new().await;
    let forged = stripe::delivery_with(stripe::event("evt_1"), "t=1,v1=00");
    assert_eq!(stored.send(forged).await, StatusCode::BAD_REQUEST);
    assert_eq!(stored.count("stripe_inbox").await, 0);
}

async fn what_is_dead_stays_dead_when_it_is_delivered_again<DB: TestBackend>() {
    let stored = Stored::<DB>::new().await;
    assert_eq!(stored.deliver("evt_1").await, StatusCode::OK);
    stored.work_off(service(async || StatusCode::GONE)).await;
    assert_eq!(stored.states().await, ["evt_1 dead"]);
    assert_eq!(stored.deliver("evt_1").await, StatusCode::OK);
    assert_eq!(stored.states().await, ["evt_1 dead"]);
}

async fn what_was_scrubbed_is_stored_anew<DB: TestBackend>() {
    let stored = Stored::<DB>::new().await;
    assert_eq!(stored.deliver("evt_1").await, StatusCode::OK);
    stored.work_off(service(async || StatusCode::GONE)).await;
    stored.run("update stripe_inbox set payload = null").await;
    assert_eq!(stored.deliver("evt_1").await, StatusCode::OK);
    let [entry] = stored.entries().await.try_into().unwrap();
    assert_eq!((entry.state, entry.attempts), (EntryState::Pending, 0));
    stored.work_off(service(work::<DB>)).await;
    assert_eq!(stored.processed().await, (1, 1));
}

async fn an_event_that_is_quarantined_by_its_handler_is_a_duplicate<DB: TestBackend>() {
    let stored = Stored::<DB>::new().await;
    assert_eq!(stored.deliver("evt_1").await, StatusCode::OK);
    let handler = async || Disposition::Quarantine { reason: "no_order" };
    stored.work_off(service(handler)).await;
    assert_eq!(stored.deliver("evt_1").await, StatusCode::OK);
    assert_eq!(stored.states().await, ["evt_1 quarantined"]);
}

async fn what_is_not_deduplicated_does_not_swallow_an_event_of_its_id<DB: TestBackend>() {
    let live = Guards::new().mode(Mode::Live);
    let stored = Stored::<DB>::with(|inbox| inbox.guards(live)).await;
    let planted = stripe::event_of_type("evt_1", "issuing_authorization.request");
    assert_eq!(
        stored.send(stripe::delivery(&planted)).await,
        StatusCode::OK
    );
    assert_eq!(stored.states().await, ["evt_1 quarantined"]);
    let passing = stored.again(|inbox| inbox);
    assert_eq!(passing.deliver("evt_1").await, StatusCode::OK);
    assert_eq!(stored.states().await, ["evt_1 pending"]);
    stored.work_off(service(work::<DB>)).await;
    assert_eq!(stored.processed().await, (1, 1));
}

async fn test_events_of_the_dashboard_are_each_stored<DB: TestBackend>() {
    let stored = Stored::<DB>::new().await;
    for _ in 0..3 {
        assert_eq!(stored.deliver("evt_00000000000000").await, StatusCode::OK);
    }
    assert_eq!(stored.count("stripe_inbox").await, 3);
    stored.work_off(service(work::<DB>)).await;
    assert_eq!(stored.processed().await, (0, 3));
    assert_eq!(stored.count("stripe_inbox").await, 0);
}

const DECISION: &str = "issuing_authorization.request";

async fn a_request_that_wants_a_decision_gets_it_and_is_never_stored<DB: TestBackend>() {
    let decide = async |_tx: EventTx<DB>| "approved";
    let none: [&str; 0] = [];
    let stored = Stored::<DB>::with(|inbox| inbox.synchronous(none, service(decide))).await;
    for event_type in [DECISION, "v1.issuing_authorization.request"] {
        for _ in 0..2 {
            let request = stripe::delivery(&stripe::event_of_type("evt_1", event_type));
            assert_eq!(stored.body(request).await, "approved");
        }
    }
    assert_eq!(stored.count("stripe_inbox").await, 0);
}

async fn a_decision_that_nobody_makes_is_unhandled<DB: TestBackend>() {
    let stored = Stored::<DB>::new().await;
    let request = stripe::delivery(&stripe::event_of_type("evt_1", DECISION));
    assert_eq!(stored.body(request).await, "unhandled\n");
    assert_eq!(stored.count("stripe_inbox").await, 0);
}

async fn named_types_are_run_at_once<DB: TestBackend>() {
    let types = ["checkout.session.completed"];
    let stored = Stored::<DB>::with(|inbox| inbox.synchronous(types, service(work::<DB>))).await;
    assert_eq!(stored.deliver("evt_1").await, StatusCode::OK);
    assert_eq!(stored.deliver("evt_1").await, StatusCode::OK);
    assert_eq!(stored.processed().await, (1, 1));
    let other = stripe::event_of_type("evt_2", "invoice.paid");
    assert_eq!(stored.send(stripe::delivery(&other)).await, StatusCode::OK);
    assert_eq!(stored.states().await, ["evt_2 pending"]);
}

async fn deliveries_past_the_backlog_are_refused_at_once<DB: TestBackend>() {
    let door = Door::closed();
    let types = ["invoice.paid"];
    let slow = service(behind::<DB>(door.clone()));
    let stored = Stored::<DB>::with(|inbox| inbox.deliveries_max(1).synchronous(types, slow)).await;
    let paid = stripe::event_of_type("evt_1", "invoice.paid");
    let first = tokio::spawn({
        let app = stored.app.clone();
        async move { app.oneshot(stripe::delivery(&paid)).await.unwrap().status() }
    });
    door.wait_for_arrival().await;
    assert_eq!(
        stored.deliver("evt_2").await,
        StatusCode::SERVICE_UNAVAILABLE
    );
    door.open(1);
    assert_eq!(first.await.unwrap(), StatusCode::OK);
    assert_eq!(stored.deliver("evt_2").await, StatusCode::OK);
}

async fn a_client_that_leaves_does_not_stop_what_is_stored<DB: TestBackend>() {
    let stored = Stored::<DB>::new().await;
    for id in 0..20 {
        let delivery = stripe::delivery(&stripe::event(&format!("evt_{id}")));
        let mut answer = std::pin::pin!(stored.app.clone().oneshot(delivery));
        // Given up after so many polls, wherever it is then.
        for _ in 0..=id {
            if futures_util::poll!(answer.as_mut()).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    stored.inbox.drain().await;
    let counts = stored.operations.counts().await.unwrap();
    let again = stored.again(|inbox| inbox);
    for id in 0..20 {
        assert_eq!(again.deliver(&format!("evt_{id}")).await, StatusCode::OK);
    }
    assert!(counts.pending > 0, "some were on their way");
    assert_eq!(stored.count("stripe_inbox").await, 20);
}

async fn a_database_that_is_gone_is_503<DB: TestBackend>() {
    let stored = Stored::<DB>::new().await;
    stored.pool.close().await;
    let answer = stored.deliver("evt_1").await;
    assert_eq!(answer, StatusCode::SERVICE_UNAVAILABLE);
}

async fn what_cannot_be_written_is_not_acknowledged<DB: TestBackend>() {
    let stored = Stored::<DB>::new().await;
    stored
        .run("alter table stripe_inbox rename to elsewhere")
        .await;
    let answer = stored.deliver("evt_1").await;
    assert_eq!(answer, StatusCode::SERVICE_UNAVAILABLE);
    stored
        .run("alter table elsewhere rename to stripe_inbox")
        .await;
    assert_eq!(stored.deliver("evt_1").await, StatusCode::OK);
    assert_eq!(stored.states().await, ["evt_1 pending"]);
}

async fn what_is_drained_is_refused<DB: TestBackend>() {
    let stored = Stored::<DB>::new().await;
    stored.inbox.drain().await;
    let answer = stored.deliver("evt_1").await;
    assert_eq!(answer, StatusCode::SERVICE_UNAVAILABLE);
}

async fn an_inbox_is_a_service_too<DB: TestBackend>() {
    let stored = Stored::<DB>::new().await;
    let inbox: Inbox<DB> = stored.inbox.clone();
    let request = stripe::delivery(&stripe::event("evt_1"));
    let answer = inbox.oneshot(request.map(Body::new)).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(stored.states().await, ["evt_1 pending"]);
}

/// As while a service moves from the one to the other.
async fn inline_and_inbox_know_of_each_others_events<DB: TestBackend>() {
    let stored = Stored::<DB>::new().await;
    let events = EventRouter::new().fallback(work::<DB>).build().unwrap();
    let (fresh, pool) = (stored.fresh.clone(), stored.pool.clone());
    let inline = Endpoint::<DB>::on(fresh, pool, events, |layer| layer);
    assert_eq!(inline.deliver("evt_1").await, StatusCode::OK);
    assert_eq!(stored.deliver("evt_1").await, StatusCode::OK);
    assert_eq!(stored.count("stripe_inbox").await, 0);

    assert_eq!(stored.deliver("evt_2").await, StatusCode::OK);
    assert_eq!(inline.deliver("evt_2").await, StatusCode::OK);
    assert_eq!(stored.processed().await, (2, 2));
    // What the worker finds processed goes without a second run.
    stored.work_off(service(work::<DB>)).await;
    assert_eq!(stored.processed().await, (2, 2));
    assert_eq!(stored.count("stripe_inbox").await, 0);
}

/// The thin form of `evt_1`, which nobody handles here.
const THIN_TWIN: &str = r#"{"id": "evt_thin", "object": "v2.core.event",
    "type": "v1.checkout.session.completed", "livemode": false, "snapshot_event": "evt_1"}"#;

fn snapshots_alone<DB: TestBackend>() -> EventRouter {
    let events = EventRouter::new().on("checkout.session.completed", work::<DB>);
    events.build().unwrap()
}

async fn the_twin_of_an_event_that_waits_is_not_swallowed_by_it<DB: TestBackend>() {
    let without = Guards::new().without_event_age_max();
    let stored = Stored::<DB>::with(|inbox| inbox.guards(without)).await;
    let thin = stored.send(stripe::delivery(THIN_TWIN)).await;
    assert_eq!(thin, StatusCode::OK);
    // What becomes of the thin one is not known yet.
    assert_eq!(stored.deliver("evt_1").await, StatusCode::CONFLICT);
    stored.work_off(snapshots_alone::<DB>()).await;
    assert_eq!(stored.processed().await, (0, 0));
    assert_eq!(stored.deliver("evt_1").await, StatusCode::OK);
    stored.work_off(snapshots_alone::<DB>()).await;
    assert_eq!(stored.processed().await, (1, 1));
    // Of two that are processed one is.
    let thin = stored.send(stripe::delivery(THIN_TWIN)).await;
    assert_eq!(thin, StatusCode::OK);
    assert_eq!(stored.count("stripe_inbox").await, 0);
}

async fn the_twin_of_an_event_in_one_group_with_it_is_not_swallowed_by_it<DB: TestBackend>() {
    let without = Guards::new().without_event_age_max();
    let stored = Stored::<DB>::with(|inbox| inbox.guards(without)).await;
    let thin = stored.send(stripe::delivery(THIN_TWIN));
    let (first, thin, snapshot) =
        tokio::join!(stored.deliver("evt_0"), thin, stored.deliver("evt_1"));
    assert_eq!(first, StatusCode::OK);
    let mut answers = [thin, snapshot];
    answers.sort();
    assert_eq!(answers, [StatusCode::OK, StatusCode::CONFLICT]);
    assert_eq!(stored.count("stripe_inbox").await, 2);
}

async fn the_twin_of_a_quarantined_event_does_not_take_its_place<DB: TestBackend>() {
    let stored = Stored::<DB>::new().await;
    let live = Guards::new().mode(Mode::Live);
    let stopping = stored.again(|inbox| inbox.guards(live));
    let thin = stopping.send(stripe::delivery(THIN_TWIN)).await;
    assert_eq!(thin, StatusCode::OK);
    assert_eq!(stored.deliver("evt_1").await, StatusCode::CONFLICT);
    let [entry] = stored.entries().await.try_into().unwrap();
    assert_eq!(entry.event_type, "v1.checkout.session.completed");
    assert_eq!(entry.state, EntryState::Quarantined);
    // Once an operator has given it up, the event is.
    let operator = axum_stripe_webhook::Operator::new("ada", "the snapshot is handled").unwrap();
    let released = stored.operations.release("evt_1", "default", &operator);
    released.await.unwrap();
    let events = EventRouter::new().on("v1.checkout.session.completed", work::<DB>);
    stored.work_off(events.build().unwrap()).await;
    assert_eq!(stored.processed().await, (1, 1));
}

async fn a_twin_that_a_guard_stops_is_not_acknowledged_while_the_other_waits<DB: TestBackend>() {
    let stored = Stored::<DB>::new().await;
    assert_eq!(stored.deliver("evt_1").await, StatusCode::OK);
    let live = Guards::new().mode(Mode::Live);
    let stopping = stored.again(|inbox| inbox.guards(live));
    let thin = stopping.send(stripe::delivery(THIN_TWIN)).await;
    assert_eq!(thin, StatusCode::CONFLICT);
    assert_eq!(stored.states().await, ["evt_1 pending"]);
    assert_eq!(stored.count("processed_stripe_events").await, 0);
}

async fn what_its_handler_has_quarantined_and_was_scrubbed_is_stored_anew<DB: TestBackend>() {
    let stored = Stored::<DB>::new().await;
    assert_eq!(stored.deliver("evt_1").await, StatusCode::OK);
    let handler = async || Disposition::Quarantine { reason: "no_order" };
    stored.work_off(service(handler)).await;
    stored.run("update stripe_inbox set payload = null").await;
    assert_eq!(stored.deliver("evt_1").await, StatusCode::OK);
    assert_eq!(stored.states().await, ["evt_1 pending"]);
    assert_eq!(stored.count("processed_stripe_events").await, 0);
    stored.work_off(service(work::<DB>)).await;
    assert_eq!(stored.processed().await, (1, 1));
}
