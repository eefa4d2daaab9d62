//! What an operator sees of the inbox, and does with it.

use std::{collections::BTreeSet, time::Duration};

use axum::http::StatusCode;
use axum_stripe_webhook::{
    Disposition, EventTx, InboxOperations, Operator,
    inbox::{EntryFilter, EntryState, OperationError, Retention, RetryPolicy, Swept},
};

use crate::{
    database::{CONNECTIONS, TestBackend},
    endpoint::{Door, work},
    stored::{Stored, service, stops_at},
    stripe,
};

on_both!(
    entries_are_counted_by_state,
    entries_are_listed_page_by_page_each_once,
    a_filter_means_those_to_which_all_of_it_applies,
    an_entry_is_shown_without_its_payload,
    a_filter_by_time_means_what_is_shown,
    a_filter_that_no_text_can_match_finds_nothing,
    a_retry_begins_with_all_attempts_before_it,
    what_waits_for_its_next_attempt_can_be_retried_at_once,
    what_a_worker_has_is_left_alone,
    many_are_retried_as_the_dry_run_says,
    what_is_released_is_run_by_a_worker,
    what_is_discarded_is_never_run,
    who_did_it_and_why_is_recorded_with_what_was_done,
    what_cannot_be_done_is_named_and_changes_nothing,
    what_was_scrubbed_cannot_be_run,
    old_rows_are_swept_and_what_is_held_stays,
    a_ledger_does_not_forget_before_its_time,
    payloads_of_what_nobody_looks_after_are_scrubbed,
);

fn operator() -> Operator {
    Operator::new("ada", "looked into it").unwrap()
}

/// Events one to three are dead, four is quarantined, five waits.
async fn all_states<DB: TestBackend>() -> Stored<DB> {
    let stored = Stored::<DB>::new().await;
    for id in ["evt_1", "evt_2", "evt_3", "evt_4"] {
        assert_eq!(stored.deliver(id).await, StatusCode::OK);
    }
    let handler = async |tx: EventTx<DB>| match tx.event().id() {
        "evt_4" => Ok(Disposition::Quarantine { reason: "no_order" }),
        _ => Err(StatusCode::GONE),
    };
    stored.work_off(service(handler)).await;
    assert_eq!(stored.deliver("evt_5").await, StatusCode::OK);
    stored
}

async fn entries_are_counted_by_state<DB: TestBackend>() {
    let stored = all_states::<DB>().await;
    let counts = stored.operations.counts().await.unwrap();
    let by_state = (counts.pending, counts.due, counts.dead, counts.quarantined);
    assert_eq!(by_state, (1, 1, 3, 1));
    assert!(counts.oldest_due.unwrap() < Duration::from_secs(60));
    stored.work_off(service(work::<DB>)).await;
    let counts = stored.operations.counts().await.unwrap();
    assert_eq!(
        (counts.pending, counts.due, counts.oldest_due),
        (0, 0, None)
    );
}

async fn entries_are_listed_page_by_page_each_once<DB: TestBackend>() {
    let stored = Stored::<DB>::new().await;
    let events: Vec<_> = (0..25).map(|number| format!("evt_{number}")).collect();
    futures_util::future::join_all(events.iter().map(|id| stored.deliver(id))).await;
    let filter = EntryFilter::new().page(7);
    let (mut listed, mut pages, mut start) = (Vec::new(), 0, None);
    loop {
        let page = stored
            .operations
            .list(&filter, start.as_ref())
            .await
            .unwrap();
        assert!(page.entries.len() <= 7);
        listed.extend(
            page.entries
                .into_iter()
                .map(|entry| (entry.received_at, entry.event_id)),
        );
        pages += 1;
        match page.next {
            Some(next) => start = Some(next),
            None => break,
        }
    }
    assert_eq!(pages, 4);
    assert!(listed.is_sorted());
    let ids: BTreeSet<_> = listed.into_iter().map(|(_, id)| id).collect();
    assert_eq!(ids, events.into_iter().collect());
}

async fn a_filter_means_those_to_which_all_of_it_applies<DB: TestBackend>() {
    let stored = all_states::<DB>().await;
    let count = async |filter: EntryFilter| {
        let page = stored.operations.list(&filter, None).await.unwrap();
        page.entries.len()
    };
    let all = EntryFilter::new;
    assert_eq!(count(all()).await, 5);
    assert_eq!(count(all().state(EntryState::Dead)).await, 3);
    assert_eq!(
        count(all().state(EntryState::Dead).event_id("evt_1")).await,
        1
    );
    assert_eq!(
        count(all().state(EntryState::Pending).event_id("evt_1")).await,
        0
    );
    assert_eq!(count(all().endpoint("default")).await, 5);
    assert_eq!(count(all().endpoint("connect")).await, 0);
    assert_eq!(
        count(all().event_type("checkout.session.completed")).await,
        5
    );
    assert_eq!(count(all().event_type("checkout.session")).await, 0);
    assert_eq!(count(all().error("handler_failed")).await, 3);
    assert_eq!(count(all().error("handler_failed 410")).await, 3);
    assert_eq!(count(all().error("handler_no")).await, 1);
    assert_eq!(count(all().error("handler%")).await, 0);
    let hour = Duration::from_secs(3600);
    assert_eq!(count(all().received_from(stripe::now() - hour)).await, 5);
    assert_eq!(count(all().received_from(stripe::now() + hour)).await, 0);
    assert_eq!(count(all().received_before(stripe::now() - hour)).await, 0);
    assert_eq!(count(all().received_before(stripe::now() + hour)).await, 5);
    assert_eq!(count(all().page(0)).await, 1);
}

async fn a_filter_by_time_means_what_is_shown<DB: TestBackend>() {
    let stored = Stored::<DB>::new().await;
    for number in 0..20 {
        let id = format!("evt_{number}");
        assert_eq!(stored.deliver(&id).await, StatusCode::OK);
        let shown = stored
            .operations
            .show(&id, "default")
            .await
            .unwrap()
            .unwrap();
        let one = EntryFilter::new().event_id(&*id);
        let from = one.clone().received_from(shown.received_at);
        assert_eq!(
            stored
                .operations
                .list(&from, None)
                .await
                .unwrap()
                .entries
                .len(),
            1
        );
        let before = one.received_before(shown.received_at);
        assert!(
            stored
                .operations
                .list(&before, None)
                .await
                .unwrap()
                .entries
                .is_empty()
        );
    }
}

async fn a_filter_that_no_text_can_match_finds_nothing<DB: TestBackend>() {
    let stored = all_states::<DB>().await;
    let all = EntryFilter::new;
    for filter in [
        all().event_id("\0"),
        all().endpoint("a\0"),
        all().event_type("\0b"),
        all().error("\0"),
    ] {
        let found = stored.operations.list(&filter, None).await.unwrap();
        assert!(found.entries.is_empty());
        let retried = stored.operations.retry_many(&filter, &operator()).await;
        assert!(retried.unwrap().is_empty());
    }
}

async fn an_entry_is_shown_without_its_payload<DB: TestBackend>() {
    let stored = all_states::<DB>().await;
    let shown = stored.operations.show("evt_4", "default").await.unwrap();
    let shown = shown.unwrap();
    assert_eq!(shown.last_error.as_deref(), Some("handler_no_order"));
    assert!(!format!("{shown:?}").contains("amount_total"));
    let payload = stored.operations.payload("evt_4", "default").await.unwrap();
    assert!(
        String::from_utf8(payload.unwrap().to_vec())
            .unwrap()
            .contains("amount_total")
    );
    for (id, endpoint) in [
        ("evt_9", "default"),
        ("evt_4", "connect"),
        ("evt\0", "default"),
    ] {
        assert_eq!(stored.operations.show(id, endpoint).await.unwrap(), None);
        assert_eq!(stored.operations.payload(id, endpoint).await.unwrap(), None);
    }
}

async fn a_retry_begins_with_all_attempts_before_it<DB: TestBackend>() {
    let stored = all_states::<DB>().await;
    stored
        .operations
        .retry("evt_1", "default", &operator())
        .await
        .unwrap();
    let entry = stored
        .operations
        .show("evt_1", "default")
        .await
        .unwrap()
        .unwrap();
    assert_eq!((entry.state, entry.attempts), (EntryState::Pending, 0));
    stored.work_off(service(work::<DB>)).await;
    assert_eq!(stored.count("work").await, 2);
    assert_eq!(
        stored.states().await,
        ["evt_2 dead", "evt_3 dead", "evt_4 quarantined"]
    );
}

async fn what_waits_for_its_next_attempt_can_be_retried_at_once<DB: TestBackend>() {
    let stored = Stored::<DB>::new().await;
    assert_eq!(stored.deliver("evt_1").await, StatusCode::OK);
    let patient = RetryPolicy::new().retry_time_first(Duration::from_secs(3600));
    let failing = stored.worker(service(async || StatusCode::BAD_GATEWAY));
    let failing = failing.retry_policy(patient).start();
    stored.until_attempted(1).await;
    failing.stop().await;
    stored
        .operations
        .retry("evt_1", "default", &operator())
        .await
        .unwrap();
    stored.work_off(service(work::<DB>)).await;
    assert_eq!(stored.processed().await, (1, 1));
}

async fn what_a_worker_has_is_left_alone<DB: TestBackend>() {
    let (stored, door) = (Stored::<DB>::new().await, Door::closed());
    assert_eq!(stored.deliver("evt_1").await, StatusCode::OK);
    // Before its transaction: on SQLite nobody could write otherwise.
    let step = stops_at(&door, Ok(()));
    let worker = stored.worker(service(work::<DB>)).prepare(step).start();
    door.wait_for_arrival().await;
    let (operations, operator) = (&stored.operations, operator());
    let retried = operations.retry("evt_1", "default", &operator).await;
    assert!(
        matches!(retried, Err(OperationError::InHand)),
        "{retried:?}"
    );
    let discarded = operations.discard("evt_1", "default", &operator).await;
    assert!(
        matches!(discarded, Err(OperationError::InHand)),
        "{discarded:?}"
    );
    assert_eq!(stored.count("stripe_actions").await, 0);
    assert_eq!(stored.count("processed_stripe_events").await, 0);
    door.open(1);
    stored.until_empty().await;
    worker.stop().await;
    assert_eq!(stored.processed().await, (1, 1));
}

async fn many_are_retried_as_the_dry_run_says<DB: TestBackend>() {
    let stored = all_states::<DB>().await;
    let (all, operator) = (EntryFilter::new(), operator());
    let ids = |entries: Vec<axum_stripe_webhook::inbox::StoredEntry>| -> BTreeSet<String> {
        entries.into_iter().map(|entry| entry.event_id).collect()
    };
    let would = ids(stored.operations.retry_many_dry_run(&all).await.unwrap());
    assert_eq!(would, ["evt_1", "evt_2", "evt_3"].map(String::from).into());
    assert_eq!(stored.count("stripe_inbox where state = 'dead'").await, 3);
    let one = all.clone().page(1);
    assert_eq!(
        stored
            .operations
            .retry_many(&one, &operator)
            .await
            .unwrap()
            .len(),
        1
    );
    let rest = stored.operations.retry_many(&all, &operator).await.unwrap();
    assert_eq!(rest.len(), 2);
    assert!(
        stored
            .operations
            .retry_many(&all, &operator)
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(stored.count("stripe_actions").await, 3);
    let quarantined = all.state(EntryState::Quarantined);
    let retried = stored.operations.retry_many(&quarantined, &operator).await;
    assert!(retried.unwrap().is_empty());
    stored.work_off(service(work::<DB>)).await;
    assert_eq!(stored.count("work").await, 4);
}

async fn what_is_released_is_run_by_a_worker<DB: TestBackend>() {
    let stored = all_states::<DB>().await;
    stored
        .operations
        .release("evt_4", "default", &operator())
        .await
        .unwrap();
    assert_eq!(stored.count("processed_stripe_events").await, 0);
    // A copy is one of what is stored.
    assert_eq!(stored.deliver("evt_4").await, StatusCode::OK);
    stored.work_off(service(work::<DB>)).await;
    assert_eq!(stored.processed().await, (2, 2));
    assert_eq!(
        stored.states().await,
        ["evt_1 dead", "evt_2 dead", "evt_3 dead"]
    );
}

async fn what_is_discarded_is_never_run<DB: TestBackend>() {
    let stored = all_states::<DB>().await;
    let events = ["evt_1", "evt_2", "evt_3", "evt_4", "evt_5"];
    for id in events {
        stored
            .operations
            .discard(id, "default", &operator())
            .await
            .unwrap();
    }
    assert_eq!(stored.count("stripe_inbox").await, 0);
    for id in events {
        assert_eq!(stored.deliver(id).await, StatusCode::OK);
    }
    assert_eq!(stored.count("stripe_inbox").await, 0);
    assert_eq!(stored.processed().await, (5, 0));
    let held = "processed_stripe_events where held_by is not null";
    assert_eq!(stored.count(held).await, 0);
}

async fn who_did_it_and_why_is_recorded_with_what_was_done<DB: TestBackend>() {
    let stored = all_states::<DB>().await;
    let (operations, operator) = (&stored.operations, operator());
    operations
        .retry("evt_1", "default", &operator)
        .await
        .unwrap();
    operations
        .discard("evt_2", "default", &operator)
        .await
        .unwrap();
    operations
        .release("evt_4", "default", &operator)
        .await
        .unwrap();
    let recorded = "select event_id || ' ' || action || ' ' || actor || ': ' || reason
        from stripe_actions order by id";
    assert_eq!(
        DB::texts(&stored.pool, recorded).await,
        [
            "evt_1 retry ada: looked into it",
            "evt_2 discard ada: looked into it",
            "evt_4 release ada: looked into it",
        ]
    );
}

async fn what_cannot_be_done_is_named_and_changes_nothing<DB: TestBackend>() {
    let stored = all_states::<DB>().await;
    let (operations, operator) = (&stored.operations, operator());
    let not_found = |done: Result<(), OperationError>| {
        assert!(matches!(done, Err(OperationError::NotFound)), "{done:?}");
    };
    not_found(operations.retry("evt_9", "default", &operator).await);
    not_found(operations.retry("evt_1", "connect", &operator).await);
    not_found(operations.retry("evt_4", "default", &operator).await);
    not_found(operations.release("evt_1", "default", &operator).await);
    not_found(operations.release("evt_5", "default", &operator).await);
    not_found(operations.discard("evt_9", "default", &operator).await);
    not_found(operations.discard("", "", &operator).await);
    not_found(operations.discard("evt\0", "default", &operator).await);
    assert_eq!(stored.count("stripe_actions").await, 0);
    assert_eq!(stored.entries().await.len(), 5);
    stored.pool.close().await;
    let gone = InboxOperations::new(stored.pool.clone()).counts().await;
    assert!(matches!(gone, Err(OperationError::Database(_))));
    let unmigrated = DB::connect(&DB::fresh().await.url, CONNECTIONS).await;
    let missing = InboxOperations::new(unmigrated).counts().await;
    assert!(
        matches!(missing, Err(OperationError::NotMigrated)),
        "{missing:?}"
    );
}

async fn what_was_scrubbed_cannot_be_run<DB: TestBackend>() {
    let stored = all_states::<DB>().await;
    stored
        .run("update stripe_inbox set payload = null where state <> 'pending'")
        .await;
    let (operations, operator) = (&stored.operations, operator());
    let gone = |done: Result<(), OperationError>| {
        assert!(matches!(done, Err(OperationError::PayloadGone)), "{done:?}");
    };
    gone(operations.retry("evt_1", "default", &operator).await);
    gone(operations.release("evt_4", "default", &operator).await);
    let all = EntryFilter::new();
    assert!(
        operations
            .retry_many(&all, &operator)
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(operations.payload("evt_1", "default").await.unwrap(), None);
    operations
        .discard("evt_1", "default", &operator)
        .await
        .unwrap();
    assert_eq!(stored.count("stripe_actions").await, 1);
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

async fn swept<DB: TestBackend>(stored: &Stored<DB>) -> (u64, u64, u64) {
    let swept: Swept = Retention::new(stored.pool.clone())
        .ledger_age_max(40 * DAY)
        .payload_age_max(DAY)
        .sweep()
        .await
        .unwrap();
    assert!(!swept.is_partial);
    (swept.events, swept.objects, swept.payloads)
}

async fn old_rows_are_swept_and_what_is_held_stays<DB: TestBackend>() {
    let stored = all_states::<DB>().await;
    let orders = async |mut tx: EventTx<DB>| {
        tx.object_order("cs_1").await.unwrap();
    };
    stored.work_off(service(orders)).await;
    assert_eq!(stored.count("processed_stripe_events").await, 2);
    assert_eq!(swept(&stored).await, (0, 0, 0));
    DB::age(&stored.pool, "processed_stripe_events", "processed_at", 41).await;
    DB::age(&stored.pool, "stripe_objects", "touched_at", 41).await;
    assert_eq!(swept(&stored).await, (1, 1, 0));
    let left = "select event_id || ' ' || coalesce(held_by, '') from processed_stripe_events";
    assert_eq!(DB::texts(&stored.pool, left).await, ["evt_4 handler"]);
    assert_eq!(swept(&stored).await, (0, 0, 0));
}

async fn a_ledger_does_not_forget_before_its_time<DB: TestBackend>() {
    let stored = Stored::<DB>::new().await;
    assert_eq!(stored.deliver("evt_1").await, StatusCode::OK);
    stored.work_off(service(work::<DB>)).await;
    DB::age(&stored.pool, "processed_stripe_events", "processed_at", 34).await;
    let hasty = Retention::new(stored.pool.clone()).ledger_age_max(Duration::ZERO);
    assert_eq!(hasty.sweep().await.unwrap().events, 0);
    DB::age(&stored.pool, "processed_stripe_events", "processed_at", 2).await;
    assert_eq!(hasty.sweep().await.unwrap().events, 1);
}

async fn payloads_of_what_nobody_looks_after_are_scrubbed<DB: TestBackend>() {
    let stored = all_states::<DB>().await;
    DB::age(&stored.pool, "stripe_inbox", "received_at", 2).await;
    assert_eq!(swept(&stored).await, (0, 0, 4));
    assert_eq!(swept(&stored).await, (0, 0, 0));
    assert_eq!(stored.entries().await.len(), 5);
    let kept = stored.operations.payload("evt_5", "default").await.unwrap();
    assert!(kept.is_some(), "what waits is run");
}
